"""The layout of `.opencode/` and how its files come to be."""

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orch.errors import DiskRefused, UsageError
from orch.store.folder import Folder, atomic_write

PROJECT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    """Return the permission bits of `path`."""
    return stat.S_IMODE(path.stat().st_mode)


def test_every_path_is_that_of_the_contract(tmp_path: Path) -> None:
    """The names on disk are public."""
    folder = Folder(tmp_path)
    mission = folder.mission("m-1")
    paths = [folder.context, folder.todo, folder.issues, folder.docs, folder.settings, folder.locks]
    paths += [mission.journal, mission.result, mission.blobs, mission.jobs]

    assert [path.relative_to(tmp_path / ".opencode").as_posix() for path in paths] == [
        "context.md",
        "todo.md",
        "issues.md",
        "docs",
        "orch.toml",
        "orch/locks",
        "orch/missions/m-1/journal.jsonl",
        "orch/missions/m-1/result.json",
        "orch/missions/m-1/blobs",
        "orch/missions/m-1/jobs",
    ]


def test_create_makes_a_private_folder_that_git_ignores(tmp_path: Path) -> None:
    """Nobody else reads orch's state, and nobody commits it; doing it twice changes nothing."""
    folder = Folder(tmp_path)

    folder.create()
    folder.create()

    assert mode(folder.orch) == 0o700
    assert (folder.orch / ".gitignore").read_bytes() == b"*\n"
    assert sorted(path.name for path in folder.orch.iterdir()) == [".gitignore", "locks", "missions"]


def test_create_closes_a_state_folder_that_was_open_to_others(tmp_path: Path) -> None:
    """A folder from an archive or a loose umask is made private again."""
    folder = Folder(tmp_path)
    folder.orch.mkdir(parents=True)
    folder.orch.chmod(0o777)

    folder.create()

    assert mode(folder.orch) == 0o700


@pytest.mark.parametrize("name", [".opencode", ".opencode/orch", ".opencode/orch/locks"])
def test_create_refuses_a_file_where_a_folder_must_stand(tmp_path: Path, name: str) -> None:
    """The line says which path is in the way."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")

    with pytest.raises(UsageError, match=rf"{name} is no folder.*move it away"):
        Folder(tmp_path).create()

    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", [".opencode", ".opencode/orch", ".opencode/orch/missions"])
def test_create_refuses_a_link_that_leads_out_of_the_workspace(tmp_path: Path, name: str) -> None:
    """A repository cannot make orch write elsewhere; nothing is made there."""
    outside = tmp_path / "outside"
    workspace = tmp_path / "workspace"
    (workspace / name).parent.mkdir(parents=True)
    outside.mkdir()
    (workspace / name).symlink_to(outside)

    with pytest.raises(UsageError, match="leads out of the workspace"):
        Folder(workspace).create()

    assert list(outside.iterdir()) == []


def test_create_refuses_a_link_to_itself(tmp_path: Path) -> None:
    """A loop is neither a folder nor can one be made in its place."""
    (tmp_path / ".opencode").symlink_to(".opencode")

    with pytest.raises(UsageError, match="cannot keep its state"):
        Folder(tmp_path).create()


def test_create_refuses_a_workspace_that_does_not_exist(tmp_path: Path) -> None:
    """Nothing is made in place of a typing error."""
    with pytest.raises(UsageError, match="is no directory"):
        Folder(tmp_path / "typo").create()

    assert not (tmp_path / "typo").exists()


@pytest.mark.fault(9)
def test_create_refuses_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Proven by writing, as a process whose files may have no byte."""
    script = (
        "import resource, sys, pathlib\n"
        "from orch.errors import UsageError\n"
        "from orch.store.folder import Folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n    Folder(pathlib.Path(sys.argv[1])).create()\n"
        "except UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert "orch cannot keep its state in" in done.stdout
    assert os.strerror(errno.EFBIG) in done.stdout
    assert [path.name for path in (tmp_path / ".opencode/orch").iterdir() if path.is_file()] == []


@pytest.mark.fault(9)
@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_create_refuses_a_read_only_workspace(tmp_path: Path) -> None:
    """Said in one line, before anything starts."""
    tmp_path.chmod(0o500)

    with pytest.raises(UsageError, match="Permission denied"):
        Folder(tmp_path).create()


@pytest.mark.parametrize("mission", ["", "..", "../x", "a/b", ".hidden", "-f", "a\nb", "x" * 101])
def test_what_is_no_mission_id_names_no_folder(tmp_path: Path, mission: str) -> None:
    """An id from the command line cannot leave `missions/`."""
    with pytest.raises(UsageError, match="no mission's id"):
        Folder(tmp_path).mission(mission)


def test_atomic_write_replaces_the_whole_and_keeps_the_mode(tmp_path: Path) -> None:
    """New files are private; one that exists stays as open as it was."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"a long old text")
    old.chmod(0o640)

    atomic_write(old, b"short")
    atomic_write(new, b"")

    assert (old.read_bytes(), mode(old)) == (b"short", 0o640)
    assert (new.read_bytes(), mode(new)) == (b"", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_refused_atomic_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A target that is a folder cannot be replaced."""
    (tmp_path / "target" / "child").mkdir(parents=True)

    with pytest.raises(DiskRefused, match=r"target: .*`orch resume`"):
        atomic_write(tmp_path / "target", b"data")

    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.fault(40)
def test_a_full_disk_during_an_atomic_write_leaves_the_old_file(tmp_path: Path) -> None:
    """The limit strikes in the middle of the new content."""
    target = tmp_path / "target"
    target.write_bytes(b"old")
    script = (
        "import resource, sys, pathlib\n"
        "from orch.errors import DiskRefused\n"
        "from orch.store.folder import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n    atomic_write(pathlib.Path(sys.argv[1]), b'n' * 100_000)\n"
        "except DiskRefused:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "refused\n"
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.fault(40)
def test_sweep_removes_only_what_an_unfinished_write_left(tmp_path: Path) -> None:
    """The leftovers of a killed process go, a person's dot files stay."""
    folder = Folder(tmp_path)
    folder.create()
    mission = folder.mission("m-1")
    mission.create()
    leftovers = [place / ".0123456789abcdef.orch-tmp" for place in (folder.root, folder.locks, mission.blobs)]
    kept = [folder.root / ".mine.tmp", mission.blobs / "abc", folder.root / "orch-tmp"]
    for path in leftovers + kept:
        path.write_bytes(b"x")

    folder.sweep()

    assert [path.exists() for path in leftovers] == [False] * 3
    assert [path.exists() for path in kept] == [True] * 3
