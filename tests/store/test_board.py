"""Generated views and the context of the project."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.errors import DiskRefused, ToolError
from orch.store.board import (
    GENERATED,
    LONGEST_SOURCE_BYTES,
    Context,
    _with_block,
    advice,
    write_context,
    write_view,
)
from orch.store.folder import Folder

pieces = st.lists(
    st.sampled_from([b"<!-- orch -->", b"<!-- /orch -->", b"\n", b"mine\r\n", b"\xff", b"<!-- "]), max_size=8
).map(b"".join)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder that is ready."""
    made = Folder(tmp_path)
    made.create()
    return made


def test_a_view_is_written_with_its_mark_and_readable_for_all(folder: Folder) -> None:
    """The first line says who owns the file."""
    os.umask(umask := os.umask(0))

    assert write_view(folder, "todo.md", "- [ ] a\n") is None

    assert folder.todo.read_bytes() == b"<!-- orch:generated -->\n- [ ] a\n"
    assert folder.todo.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_view_replaces_an_older_view_but_not_the_same_one(folder: Folder) -> None:
    """A watcher is not woken for nothing."""
    write_view(folder, "todo.md", "old\n")
    write_view(folder, "todo.md", "new\n")
    before = folder.todo.stat()

    write_view(folder, "todo.md", "new\n")

    assert os.path.samestat(before, folder.todo.stat())
    assert folder.todo.read_text().endswith("new\n")


@pytest.mark.fault(38)
def test_a_view_that_was_edited_or_deleted_is_generated_anew(folder: Folder) -> None:
    """Nobody reads it back."""
    write_view(folder, "todo.md", "- [ ] a\n")
    folder.todo.write_bytes(folder.todo.read_bytes().replace(b"[ ]", b"[x]") + b"\x00" * 1000)
    write_view(folder, "todo.md", "- [ ] a\n")
    edited = folder.todo.read_text()
    folder.todo.unlink()
    write_view(folder, "todo.md", "- [ ] a\n")

    assert edited == folder.todo.read_text() == "<!-- orch:generated -->\n- [ ] a\n"


@pytest.mark.parametrize(
    "content", [b" ", b"my list", b"\n<!-- orch:generated -->\n", b"<!-- orch:generated -->x\n", b"\xff\x00"]
)
def test_a_persons_file_of_the_same_name_is_left_alone(folder: Folder, content: bytes) -> None:
    """The view goes to orch's own folder and one line says so."""
    folder.todo.write_bytes(content)

    notice = write_view(folder, "todo.md", "generated\n")

    assert folder.todo.read_bytes() == content
    assert (folder.orch / "todo.md").read_text() == "<!-- orch:generated -->\ngenerated\n"
    assert notice is not None
    assert str(folder.orch / "todo.md") in notice
    assert "\n" not in notice


MANGLED: dict[str, bytes | None] = {
    "deleted": None,
    "emptied": b"",
    "huge": GENERATED + b"\n" + b"- [ ] x\n" * 100_000,
    "in a merge": GENERATED + b"\n<<<<<<< HEAD\n- [x] a\n=======\n- [ ] a\n>>>>>>> theirs\n",
    "binary": GENERATED + b"\n" + bytes(range(256)),
    "cut in its mark": GENERATED[:-3],
    "written by a person": b"my own list\n",
    "a person's, with the mark inside": b"mine\n" + GENERATED + b"\n",
}


@pytest.mark.fault(38)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.sampled_from([*MANGLED, "a folder", "a link"]), max_size=3))
def test_whatever_becomes_of_a_view_it_stands_somewhere_and_nobodys_file_is_lost(
    folder: Folder, fates: list[str]
) -> None:
    """After any number of accidents the next write leaves it whole, and a person's file as it was."""
    elsewhere = folder.workspace / "elsewhere"
    elsewhere.write_bytes(GENERATED + b"\nof somebody else")
    for number, fate in enumerate(fates):
        _clear(folder.todo)
        if fate == "a folder":
            folder.todo.mkdir()
        elif fate == "a link":
            folder.todo.symlink_to(elsewhere)
        elif (content := MANGLED[fate]) is not None:
            folder.todo.write_bytes(content)
        whole = GENERATED + b"\n- [ ] %d\n" % number

        notice = write_view(folder, "todo.md", f"- [ ] {number}\n")

        is_ours = fate in MANGLED and (MANGLED[fate] or b"").splitlines()[:1] in ([GENERATED], [])
        assert (folder.todo if is_ours else folder.orch / "todo.md").read_bytes() == whole
        assert (notice is None) == is_ours
        assert is_ours or fate not in MANGLED or folder.todo.read_bytes() == MANGLED[fate]
        assert elsewhere.read_bytes().endswith(b"of somebody else")


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def test_a_link_of_that_name_is_a_persons_too(folder: Folder, tmp_path: Path) -> None:
    """Also when it leads to something that looks generated."""
    target = tmp_path / "target"
    target.write_text("<!-- orch:generated -->\nelsewhere")
    folder.todo.symlink_to(target)

    assert write_view(folder, "todo.md", "generated\n") is not None
    assert folder.todo.is_symlink()
    assert target.read_text().endswith("elsewhere")


def test_a_view_without_its_folder_is_refused(tmp_path: Path) -> None:
    """Somebody removed `.opencode/` meanwhile."""
    with pytest.raises(DiskRefused):
        write_view(Folder(tmp_path), "todo.md", "x")


def test_context_gets_a_block_that_is_replaced_the_next_time(folder: Folder) -> None:
    """The hash is that of the whole file."""
    write_context(folder, "old")
    sha256 = write_context(folder, "  new\n\n")

    assert folder.context.read_bytes() == b"<!-- orch -->\nnew\n<!-- /orch -->\n"
    assert sha256 == hashlib.sha256(folder.context.read_bytes()).hexdigest()


def test_what_a_person_wrote_in_the_context_stays_byte_for_byte(folder: Folder) -> None:
    """Before and behind the block, whatever its encoding and line ends."""
    folder.context.write_bytes(b"\xff mine\r\n<!-- orch -->old<!-- /orch -->\r\nalso mine")
    folder.context.chmod(0o664)

    write_context(folder, "new")

    assert folder.context.read_bytes() == (b"\xff mine\r\n<!-- orch -->\nnew\n<!-- /orch -->\r\nalso mine")
    assert folder.context.stat().st_mode & 0o777 == 0o664


@given(pieces, st.lists(st.sampled_from(["<!-- orch -->", "<!-- /orch -->", "<!-- ", "text"])).map("".join))
def test_a_second_write_undoes_the_first_whatever_stands_there(persons: bytes, content: str) -> None:
    """Stray markers in the file or the content never make orch take more than its own block."""
    once = _with_block(persons, "first")
    twice = _with_block(_with_block(once, content), "first")

    assert twice == once
    if persons.find(b"<!-- /orch -->", persons.find(b"<!-- orch -->")) < 0:
        assert once.startswith(persons)


def test_context_is_not_written_through_a_link(folder: Folder, tmp_path: Path) -> None:
    """A link could lead anywhere."""
    (tmp_path / "elsewhere").write_text("old")
    folder.context.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ToolError, match="no regular file"):
        write_context(folder, "new")

    assert (tmp_path / "elsewhere").read_text() == "old"


def test_without_any_file_there_is_no_context(folder: Folder) -> None:
    """Nothing goes before the agents; a blank file counts as none."""
    folder.context.write_text(" \n")

    assert Context(folder).text() == ""


def test_context_stands_under_its_name(folder: Folder) -> None:
    """So an agent knows what may be changed where."""
    folder.context.write_text("uses pytest\n")

    assert Context(folder).text() == "# .opencode/context.md\n\nuses pytest\n"


def test_the_advice_of_the_folders_of_the_files_follows_that_of_the_workspace(folder: Folder) -> None:
    """The nearest stands last, and the rule is said; other folders say nothing, nor does a CLAUDE.md."""
    (folder.workspace / "CLAUDE.md").write_text("not for us")
    for place, text in {".": "root", "api": "api", "api/v1/deep": "deep", "web": "web"}.items():
        (folder.workspace / place).mkdir(parents=True, exist_ok=True)
        (folder.workspace / place / "AGENTS.md").write_text(text)

    assert advice(folder.workspace, ()) == "# AGENTS.md\n\nroot\n"
    head, *rest = advice(folder.workspace, ("api/v1/deep/er/a.py", "b.py")).split("\n\n# ")
    assert "the one nearest to a file counts" in head
    assert rest == ["AGENTS.md\n\nroot", "api/AGENTS.md\n\napi", "api/v1/deep/AGENTS.md\n\ndeep\n"]


def test_all_advice_together_is_bounded_and_the_nearest_is_cut_last(folder: Folder) -> None:
    """What is cut says so."""
    (folder.workspace / "api").mkdir()
    (folder.workspace / "AGENTS.md").write_text("r" * LONGEST_SOURCE_BYTES)
    (folder.workspace / "api" / "AGENTS.md").write_text("a" * (LONGEST_SOURCE_BYTES - 100))

    text = advice(folder.workspace, ["api/x.py"])

    assert "a" * (LONGEST_SOURCE_BYTES - 100) in text
    assert "bytes of AGENTS.md stand here]" in text
    assert len(text.encode()) < LONGEST_SOURCE_BYTES + 500


def test_context_is_the_same_object_until_a_file_changes(folder: Folder) -> None:
    """A cache of prompts stays warm."""
    context = Context(folder)
    write_context(folder, "one")
    first = context.text()

    assert context.text() is first

    write_context(folder, "two")

    assert "two" in context.text()


def test_a_long_context_is_cut_and_says_so(folder: Folder) -> None:
    """A character that the cut would split goes too."""
    (folder.workspace / "AGENTS.md").write_text("a" + "é" * LONGEST_SOURCE_BYTES)

    text = advice(folder.workspace, ())

    assert text.endswith("é\n[cut: only the first 32768 bytes of AGENTS.md stand here]\n")
    assert text.count("é") == LONGEST_SOURCE_BYTES // 2 - 1


def test_what_leads_out_of_the_workspace_or_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A planted link shows no secret, a planted pipe blocks nobody; a link inside is followed."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    folder = Folder(workspace)
    folder.create()
    (tmp_path / "secret").write_text("hunter2")
    (workspace / "AGENTS.md").symlink_to(tmp_path / "secret")
    os.mkfifo(folder.context)
    (workspace / "advice.txt").write_text("be brief")
    for name in ("api", "web"):
        (workspace / name).mkdir()
    (workspace / "api/AGENTS.md").symlink_to("../advice.txt")
    (workspace / "web/AGENTS.md").symlink_to("AGENTS.md")

    assert Context(folder).text() == ""
    assert advice(workspace, ["api/a.py", "web/a.py"]) == "# api/AGENTS.md\n\nbe brief\n"


def test_a_directory_in_the_place_of_a_file_is_nobodys_bug(folder: Folder) -> None:
    """The view goes elsewhere, the context is refused in words, and nothing is read from it."""
    for name in ("todo.md", "context.md"):
        (folder.root / name).mkdir(parents=True)

    notice = write_view(folder, "todo.md", "text")

    assert notice is not None
    assert (folder.orch / "todo.md").read_text().endswith("text")
    assert Context(folder).text() == ""
    with pytest.raises(ToolError):
        write_context(folder, "text")
