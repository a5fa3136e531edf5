"""An item owns files of the workspace under their one name; the rest of `locate` is in `test_files`."""

from pathlib import Path

import pytest

from orch.errors import ToolError
from orch.tools.paths import grantable, is_orchs


def test_a_file_is_granted_under_its_canonical_name(tmp_path: Path) -> None:
    """Whether it exists or not."""
    (tmp_path / "src").mkdir()
    (tmp_path / "alias").symlink_to("src")

    assert grantable(tmp_path, "./src/../src/new.py") == "src/new.py"
    assert grantable(tmp_path, "alias/new.py") == "src/new.py"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("src", "is a folder; name the files"),
        (".", "is a folder"),
        (".opencode/context.md", "only orch itself writes"),
        (".OpenCode/x", "only orch itself writes"),
        (".opencode/orch/x", "leave it alone"),
        ("../x", "outside the workspace"),
        ("", "empty"),
    ],
)
def test_what_no_worker_could_write_is_not_granted(tmp_path: Path, path: str, words: str) -> None:
    """It is said when the plan is made, not when the Worker fails."""
    (tmp_path / "src").mkdir()

    with pytest.raises(ToolError, match=words):
        grantable(tmp_path, path)


@pytest.mark.parametrize(
    ("path", "is_so"), [(".opencode/todo.md", True), ("x/.opencode/y", False), ("a", False)]
)
def test_orchs_own_files_lie_in_its_folder(path: str, is_so: bool) -> None:
    """In the workspace's own, in no other."""
    assert is_orchs(path) is is_so
