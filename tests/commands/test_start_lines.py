"""What is said when a mission starts: in real git trees, also hostile ones."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from orch.commands.start_lines import OUTPUT_BYTES_MAX, changes, tell, uncommitted
from orch.store.folder import Folder
from tests import play
from tests.runtime.house import House


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return an environment without anybody's git settings."""
    (tmp_path / "home").mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def tree(tmp_path: Path, home: dict[str, str]) -> Path:
    """Return a git tree with one committed file."""
    place = tmp_path / "tree"
    place.mkdir()
    (place / "kept.txt").write_text("kept\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        git(place, home, *command)
    return place


def git(place: Path, environment: dict[str, str], *command: str) -> None:
    """Run git, which has to succeed."""
    found = shutil.which("git")
    assert found is not None
    subprocess.run([found, *command], cwd=place, env=environment, check=True, timeout=30)


def told(place: Path, environment: dict[str, str]) -> Sequence[str]:
    """Return what is said when a mission starts there."""
    said: list[str] = []
    tell(Folder(place), environment, said.append)
    return said


def test_a_dirty_tree_is_named_in_one_line(tree: Path, home: dict[str, str]) -> None:
    """The number and the first names; orch's own files are no change."""
    (tree / ".opencode").mkdir()
    (tree / ".opencode/mine").touch()
    assert told(tree, home) == []
    (tree / "kept.txt").write_text("changed\n")
    (line,) = told(tree, home)
    assert "has 1 uncommitted change: kept.txt;" in line
    for name in ("x", "y", "z\x1b[31m\n"):
        (tree / name).touch()
    (line,) = told(tree, home)
    assert "has 4 uncommitted changes: kept.txt, x, y, …" in line
    assert line.isprintable()


def test_names_cannot_move_the_cursor_and_many_are_not_counted() -> None:
    """A name is what somebody chose; an empty one stands for those that were not read."""
    line = uncommitted(["a\x1b[2J\n", ""])
    assert line.isprintable()
    assert "more than 1 uncommitted change:" in line
    assert uncommitted([]) == uncommitted(None) == ""


def test_where_there_is_no_git_nothing_is_said(tmp_path: Path, tree: Path, home: dict[str, str]) -> None:
    """No tree, no git, a broken tree: never a reason not to start."""
    (tmp_path / "plain").mkdir()
    (tree / "x").touch()
    assert told(tmp_path / "plain", home) == []
    assert told(tree, home | {"PATH": str(tmp_path / "plain")}) == []
    (tree / ".git/HEAD").write_text("nonsense")
    assert told(tree, home) == []


@pytest.mark.parametrize("name", ["core.fsmonitor", "filter.evil.clean", "filter.evil.process"])
def test_a_hostile_tree_has_nothing_run(tree: Path, home: dict[str, str], name: str) -> None:
    """What its configuration names is not executed by a look."""
    proof, script = tree.parent / "proof", tree.parent / "evil"
    script.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    script.chmod(0o755)
    git(tree, home, "config", name, str(script))
    (tree / ".gitattributes").write_text("* filter=evil\n")
    (tree / "kept.txt").write_text("chan\n")  # as long as before: git has to look into it
    said = told(tree, home)
    assert not proof.exists()
    assert len(said) == (name == "core.fsmonitor")


def test_a_git_that_takes_too_long_is_not_waited_for(tree: Path, home: dict[str, str]) -> None:
    """A person hears what is waited for; then it goes on without an answer."""
    slow = tree.parent / "slow"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (slow / "git").chmod(0o755)
    said: list[str] = []
    assert changes(tree, home | {"PATH": f"{slow}:{home['PATH']}"}, said.append) is None
    assert said == ["git looks for uncommitted changes"]


def test_more_than_anybody_counts_is_cut(tree: Path, home: dict[str, str]) -> None:
    """The list of git is read no further than needed."""
    loud = tree.parent / "loud"
    loud.mkdir()
    endless = 'yes "?? name" | tr "\\n" "\\0"'
    (loud / "git").write_text(f'#!/bin/sh\ncase "$*" in *status*) {endless};; *) exit 1;; esac\n')
    (loud / "git").chmod(0o755)
    names = changes(tree, home | {"PATH": f"{loud}:{home['PATH']}"}, lambda _: None)
    assert names is not None
    assert names[-1] == ""
    assert OUTPUT_BYTES_MAX / 8 - 1 < len(names) < OUTPUT_BYTES_MAX


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return an empty house."""
    (tmp_path / "workspace").mkdir()
    return House(tmp_path / "workspace")


def test_a_mission_that_is_not_finished_is_named_with_its_line(house: House, home: dict[str, str]) -> None:
    """A plan is offered to be run, a blocked mission to be gone on with; a sealed one is not worth a word."""
    item = play.item("a")
    house.begin(play.mission(item, commander=play.ask_first))
    (line,) = told(house.workspace, home)
    assert line.startswith(f"mission {house.mission} is unfinished (blocked, 0/0 done): orch resume ")
    house.resume(play.mission(item, commander=play.ask_first), reply="go")
    assert told(house.workspace, home) == []


def test_a_plan_that_was_not_run_is_named(house: House, home: dict[str, str]) -> None:
    """With the line that runs it."""
    house.begin(play.mission(play.item("a")), dry_run=True)
    (line,) = told(house.workspace, home)
    assert line.startswith(f"mission {house.mission} is planned (1 item): orch resume {house.mission}")
