"""`orch task --demo`: no key, no network, and nobody's files."""

from pathlib import Path

import pytest

from orch.commands.demo import refuse_foreign
from orch.errors import UsageError
from orch.models.demo_script import DEFECT, DEMO_GOAL, demo
from tests.program import GOAL, Bench


def test_the_demo_seals_in_a_directory_made_for_it_and_may_be_played_again(bench: Bench) -> None:
    """Eight items, a real rejection, exit 0; the built demo is no foreign directory."""
    ended = bench.run("task", "--demo", "-C", "new/demo", "--output-format", "json")
    assert ended.code == 0
    assert ended.result["goal"] == DEMO_GOAL
    assert ended.result["issues"] == {"open": 0, "closed": 1}
    assert (bench.workspace / "new/demo/demo_api/auth.py").read_text() == demo().files["demo_api/auth.py"]
    refuse_foreign(bench.workspace / "new/demo")


def test_another_goal_is_refused(bench: Bench) -> None:
    """Exit 2, before the directory is made."""
    ended = bench.run("task", GOAL, "--demo", "-C", "demo")
    assert ended.code == 2
    assert DEMO_GOAL in ended.err
    assert not (bench.workspace / "demo").exists()


def test_a_directory_of_somebody_is_refused_and_left_alone(bench: Bench) -> None:
    """A README.md that is not the demo's is nobody's to write over."""
    file = bench.workspace / "README.md"
    file.write_text("mine")
    ended = bench.run("task", "--demo")
    assert ended.code == 2
    assert "README.md" in ended.err
    assert file.read_text() == "mine"
    assert list(bench.workspace.iterdir()) == [file]


@pytest.mark.parametrize("path", ["notes.txt", "src/main.py", "src/.opencode/mine", "demo_api/more.py"])
def test_anything_but_the_demo_is_foreign(tmp_path: Path, path: str) -> None:
    """Wherever it stands, beside the demo's own files too."""
    refuse_foreign(tmp_path)
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(UsageError, match=path):
        refuse_foreign(tmp_path)


def test_a_link_is_foreign(tmp_path: Path) -> None:
    """It may lead out of the demo, to somebody's files."""
    (tmp_path / "demo_api").symlink_to(tmp_path.parent)
    with pytest.raises(UsageError, match="demo_api"):
        refuse_foreign(tmp_path)


def test_half_a_demo_is_a_demo(tmp_path: Path) -> None:
    """What a killed demo leaves, its defect included, does not stop the next one."""
    file = tmp_path / DEFECT.path
    file.parent.mkdir()
    file.write_text(demo().files[DEFECT.path].replace(DEFECT.right, DEFECT.wrong))
    refuse_foreign(tmp_path)


@pytest.mark.parametrize(
    "flags", [("-m", "openai/x"), ("--model-worker", "a/b"), ("--fallback-model", "a/b")]
)
def test_the_demo_takes_no_model(bench: Bench, flags: tuple[str, ...]) -> None:
    """What would do nothing is refused before anything is made."""
    ended = bench.run("task", "--demo", "-C", "demo", *flags)
    assert ended.code == 2
    assert "scripted model" in ended.err
    assert not (bench.workspace / "demo").exists()
