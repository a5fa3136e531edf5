"""Nothing escapes the workspace, nobody's work is overwritten, and a file is old or new but never mixed."""

import errno
import hashlib
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orch.errors import Conflict, DiskRefused, ToolError
from orch.mission import events as ev
from orch.store.folder import Folder
from orch.store.leases import Leases
from orch.tools import files
from orch.tools.files import Change, commit, fingerprint, prepare_delete, prepare_edit, prepare_write
from orch.tools.files import read_page as read
from orch.tools.paths import locate, missing
from orch.tools.walk import walk

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

OLD = b"one\ntwo\nthree\n"
relaxed = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def sha256(data: bytes) -> str:
    """Return the hash as orch writes it."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with one file, and a neighbour that nobody may touch."""
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "a.txt").write_bytes(OLD)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_bytes(b"outside\n")
    return root


def temporaries(root: Path) -> list[str]:
    """Return what an unfinished write has left."""
    return [path.name for path in root.rglob(".orch-*")]


def write(root: Path, path: str, content: str) -> Change:
    """Write a file as one who has just read it."""
    change = prepare_write(root, path, content, seen=fingerprint(root, path))
    commit(root, change)
    return change


def edit(root: Path, path: str, old: str, new: str, *, replace_all: bool = False) -> Change:
    """Edit a file as one who never read it."""
    change = prepare_edit(root, path, old, new, replace_all=replace_all, seen=None)
    commit(root, change)
    return change


# --- paths ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maze() -> Iterator[Path]:
    """A workspace full of links: inwards, outwards, in circles, dangling."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ws"
        (root / "d" / "e").mkdir(parents=True)
        (root / ".git").mkdir()
        (root / ".opencode" / "orch").mkdir(parents=True)
        for name in ("f", "d/f", "d/e/f", ".git/config", ".opencode/orch/journal", ".opencode/context.md"):
            (root / name).write_text(name)
        (Path(folder) / "f").write_text("outside")
        links = {"in": "d", "d/up": "..", "out": "/", "d/out": "../..", "loop": "loop", "hang": "d/new"}
        links |= {"g": ".git", "o": ".opencode", "d/file": "e/f"}
        for name, target in links.items():
            (root / name).symlink_to(target)
        yield root


NAMES = (
    *("f", "d", "e", "in", "up", "out", "loop", "hang", "file", "g", "o", "new", ".git", ".opencode", "orch"),
    *("..", "..", ".", "", "ws", "D", "F", "~", "$HOME", "-rf", "*", "f ", "f.", "a\nb", "é", "e\u0301"),
)
parts = st.sampled_from([*NAMES, "n" * 255])
paths = st.builds(
    lambda start, names, end: start + "/".join(names) + end,
    st.sampled_from(["", "", "", "/", "./"]),
    st.lists(parts, min_size=1, max_size=6),
    st.sampled_from(["", "/"]),
)


@pytest.mark.fault(35)
@relaxed
@given(path=paths | st.text(max_size=20))
def test_no_path_escapes(maze: Path, path: str) -> None:
    """A path is refused, or its file is inside, not git's, not orch's, and keeps its name."""
    try:
        canonical = locate(maze, path)
    except ToolError:
        return
    real = os.path.realpath(maze / canonical)
    assert os.path.commonpath([maze.resolve(), real]) == str(maze.resolve())
    assert ".git" not in canonical.split("/")
    assert not canonical.startswith(".opencode/orch")
    assert locate(maze, canonical) == canonical
    assert "//" not in canonical
    assert Path(os.path.realpath(maze / path)).exists() == (maze / canonical).exists()
    if (maze / path).exists():
        assert (maze / path).samefile(maze / canonical)


@pytest.mark.fault(35)
@relaxed
@given(first=paths, second=paths)
@example("in/../f", "./f")
@example("d/up/in//e/f/", "d/file")
@example("D/F", "d/f")
def test_the_same_file_has_one_name(maze: Path, first: str, second: str) -> None:
    """Two paths are the same file exactly if they have the same canonical name."""
    try:
        names = locate(maze, first), locate(maze, second)
    except ToolError:
        return
    if all((maze / name).exists() for name in names):
        assert (maze / names[0]).samefile(maze / names[1]) == (names[0] == names[1])


@pytest.fixture(scope="module")
def leases() -> Iterator[Leases]:
    """Return the leases of a workspace of their own."""
    with tempfile.TemporaryDirectory() as workspace:
        folder = Folder(Path(workspace))
        folder.create()
        yield Leases(folder)


@pytest.mark.fault(35)
@relaxed
@given(first=paths, second=paths)
@example("in/../f", "./f")
@example("e\u0301", "\u00e9")
def test_a_path_keeps_its_meaning_in_the_journal_and_has_one_lock(
    maze: Path, leases: Leases, first: str, second: str
) -> None:
    """Whatever is granted reads back as it was; two names share a lock exactly if they are one file's."""
    try:
        one, other = locate(maze, first), locate(maze, second)
    except ToolError:
        return
    event = ev.FileIntended(session=ev.SessionId("S1"), path=one, before=None, after=None)
    assert ev.EVENT.validate_json(event.model_dump_json(ensure_ascii=True)) == event
    assert json.loads(json.dumps(one)) == one
    assert (leases._file(one) == leases._file(other)) == (one == other)


@pytest.mark.fault(35)
def test_a_name_on_disk_that_is_no_utf8_is_never_handed_out(workspace: Path) -> None:
    """Neither by its bytes nor through a link to it; and nothing else in its folder is lost for it."""
    os.close(os.open(os.fsencode(workspace) + b"/caf\xe9", os.O_CREAT | os.O_WRONLY))
    (workspace / "link").symlink_to("caf\udce9")

    for path in ("caf\udce9", "link"):
        with pytest.raises(ToolError, match="UTF-8"):
            locate(workspace, path)
    assert list(walk(workspace)) == ["a.txt"]
    assert "café" not in str(missing(workspace, "cafe"))


@pytest.mark.parametrize(
    "path",
    [
        *("", "../outside/a.txt", "/etc/passwd", "a/../../x", "/proc/self/environ", "a\0b", "\ud800"),
        *(".git/config", "sub/.git/hooks/x", ".GIT/config", ".opencode/orch/locks/x", ".opencode/orch"),
        *("n" * 256, "n/" * 3000 + "n"),
    ],
)
def test_a_path_out_of_bounds_is_refused(workspace: Path, path: str) -> None:
    """Reading and writing such a path fail alike, with a text that can be sent to a model."""
    for use in (locate, read, fingerprint):
        with pytest.raises(ToolError) as refused:
            use(workspace, path)
        str(refused.value).encode()
    with pytest.raises(ToolError):
        prepare_write(workspace, path, "x", seen=None)


def test_an_absolute_path_inside_is_the_relative_one(workspace: Path) -> None:
    """Models like absolute paths; a workspace that is reached by a link has them too."""
    (workspace.parent / "alias").symlink_to(workspace)
    assert locate(workspace, str(workspace / "sub" / "a.txt")) == "sub/a.txt"
    assert locate(workspace.parent / "alias", str(workspace.parent / "alias" / "a.txt")) == "a.txt"
    assert locate(workspace, str(workspace)) == "."


def test_the_name_on_disk_counts_where_case_is_folded(workspace: Path) -> None:
    """`A.TXT` is `a.txt` where the file system says so, and a file of its own elsewhere."""
    folds = (workspace / "A.TXT").exists()
    assert locate(workspace, "A.TXT") == ("a.txt" if folds else "A.TXT")
    if not folds:
        (workspace / "A.TXT").touch()
        assert locate(workspace, "A.TXT") == "A.TXT"


def test_a_link_is_no_way_around_the_grant(workspace: Path) -> None:
    """A change needs the canonical name, so that a link made after the grant leads nowhere."""
    (workspace / "link.txt").symlink_to("a.txt")
    with pytest.raises(ToolError, match=r"another name of a\.txt"):
        prepare_write(workspace, "link.txt", "x", seen=sha256(OLD))
    assert read(workspace, "link.txt").path == "a.txt"


# --- reading -------------------------------------------------------------------------------------------


def test_a_page_has_numbered_lines_and_says_how_to_read_on(workspace: Path) -> None:
    """Offset and limit count lines; the hash is that of the whole file."""
    page = read(workspace, "a.txt", offset=2, limit=1)
    assert page.text == "     2\ttwo\nlines 2-2 of 3; read on with offset=3"
    assert page.sha256 == sha256(OLD)
    assert read(workspace, "a.txt").text.endswith("lines 1-3 of 3; end of file")


@relaxed
@given(text=st.text(st.sampled_from("ab\n\r\té\0\ufeff"), max_size=60), size=st.integers(1, 5))
def test_pages_add_up_to_the_file(workspace: Path, text: str, size: int) -> None:
    """Reading on where each page says so shows every line once."""
    (workspace / "p").write_text(text, encoding="utf-8", newline="")
    if "\0" in text:
        with pytest.raises(ToolError, match="binary"):
            read(workspace, "p")
        return
    offset, shown = 1, list[str]()
    while offset:
        *lines, footer = read(workspace, "p", offset, size).text.split("\n")
        shown += [line.split("\t", 1)[1] for line in lines]
        offset = int(footer.rpartition("offset=")[2]) if "offset=" in footer else 0
    wanted = text.removeprefix("\ufeff").removesuffix("\n").split("\n") if text else []
    assert shown == [line.removesuffix("\r") for line in wanted]


def test_a_long_file_and_a_long_line_are_cut(workspace: Path) -> None:
    """A page has a limit in characters; a cut line says so, and its rest is skipped."""
    (workspace / "wide").write_text("é" * 300_000 + "\nnext\n", encoding="utf-8")
    wide = read(workspace, "wide").text
    assert "é … (line cut)\n     2\tnext\n" in wide
    assert len(wide) < files.LINE_CHARS + 200
    (workspace / "long").write_text("x" * 99 + "\n" * 1 + ("y" * 99 + "\n") * 5000, encoding="utf-8")
    long = read(workspace, "long", limit=9000).text
    assert files.PAGE_CHARS <= len(long) < files.PAGE_CHARS + 500
    assert "of 5001; read on with offset=" in long


def test_nothing_to_show_is_said(workspace: Path) -> None:
    """An empty file and an offset beyond the end are answers, no errors."""
    (workspace / "empty").touch()
    assert read(workspace, "empty").text == "the file is empty"
    assert read(workspace, "a.txt", offset=9).text == "offset 9 is beyond the end: the file has 3 lines"
    assert read(workspace, "a.txt", offset=-3, limit=0).text.startswith("     1\tone\n")


def test_a_missing_file_names_its_neighbours(workspace: Path) -> None:
    """The nearest folder that exists is searched for similar names."""
    (workspace / "src").mkdir()
    (workspace / "src" / "config.py").touch()
    with pytest.raises(ToolError, match=r"Did you mean src/config\.py\?"):
        read(workspace, "src/confg.py")
    with pytest.raises(ToolError, match=r"Did you mean src\?"):
        read(workspace, "scr/config.py")
    with pytest.raises(ToolError, match=r"does not exist in src; use glob"):
        read(workspace, "src/zzz")


@pytest.mark.parametrize("path", [".env", "sub/.env.local", "key.pem", "id_ed25519", ".netrc"])
def test_a_secret_is_not_read_and_not_guessed_by_an_edit(workspace: Path, path: str) -> None:
    """The error of an edit must not tell what the file says; one's own file may be changed."""
    (workspace / path).parent.mkdir(exist_ok=True)
    write(workspace, path, "KEY=hidden\n")
    with pytest.raises(ToolError, match="secrets"):
        read(workspace, path)
    with pytest.raises(ToolError) as refused:
        prepare_edit(workspace, path, "KEY=hidde", "", replace_all=False, seen=None)
    assert "read it first" in str(refused.value)
    seen = fingerprint(workspace, path)
    change = prepare_edit(workspace, path, "hidden", "x", replace_all=False, seen=seen)
    assert change.data == b"KEY=x\n"


def test_a_public_example_is_read(workspace: Path) -> None:
    """`.env.example` has no secret."""
    write(workspace, ".env.example", "KEY=\n")
    assert "KEY=" in read(workspace, ".env.example").text


@pytest.mark.parametrize(
    "use", [read, fingerprint, lambda root, path: prepare_write(root, path, "", seen=None)]
)
def test_what_is_no_file_is_refused_at_once(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path, str], object]
) -> None:
    """A pipe nobody writes to, a socket and a folder are refused without waiting."""
    os.mkfifo(workspace / "pipe")
    (workspace / "folder").mkdir()
    monkeypatch.chdir(workspace)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path in ("pipe", "socket", "folder", "."):
            with pytest.raises(ToolError, match=r"not a file|is a folder"):
                use(workspace, path)
    with pytest.raises(ToolError, match="use glob"):
        read(workspace, "folder")


def test_a_looping_link_is_refused(workspace: Path) -> None:
    """A link to itself is an error, not a hang."""
    (workspace / "loop").symlink_to("loop")
    with pytest.raises(ToolError):
        read(workspace, "loop")


class _Growing(RawIOBase):
    """A file that somebody keeps adding lines to."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Stand wherever one likes: it is all the same."""
        return offset + whence

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Find more, whenever one looks."""
        view = memoryview(buffer)
        view[:] = (b"line\n" * (len(view) // 5 + 1))[: len(view)]
        return len(view)


@pytest.mark.fault(34)
def test_a_file_that_grows_while_it_is_read_comes_to_an_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had when it was opened is what it was."""
    (workspace / "log").write_bytes(b"line\n" * 20)

    @contextmanager
    def growing(folder: int, name: str, path: str) -> Iterator[tuple[BufferedReader, os.stat_result]]:
        del path
        yield BufferedReader(_Growing()), os.stat(name, dir_fd=folder)

    monkeypatch.setattr(files, "opened", growing)
    page = read(workspace, "log", 19, 5)

    assert page.text == "    19\tline\n    20\tline\nlines 19-20 of 20; end of file"
    assert page.sha256 == fingerprint(workspace, "log") == sha256(b"line\n" * 20)


def test_a_huge_file_is_refused_without_being_read(workspace: Path) -> None:
    """Five sparse gigabytes are too much for a page and for a change."""
    os.close(os.open(workspace / "huge", os.O_CREAT | os.O_WRONLY))
    os.truncate(workspace / "huge", 5 << 30)
    with pytest.raises(ToolError, match="too large to read"):
        read(workspace, "huge")
    with pytest.raises(ToolError, match="over 1,000,000 bytes"):
        prepare_edit(workspace, "huge", "a", "b", replace_all=False, seen=None)


def test_a_binary_file_is_neither_shown_nor_changed(workspace: Path) -> None:
    """Text tools would damage it; but it can be deleted without having been seen."""
    (workspace / "image").write_bytes(b"\x89PNG\0\xff")
    (workspace / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(ToolError, match="binary"):
        read(workspace, "image")
    assert "caf\ufffd" in read(workspace, "latin").text
    for path in ("image", "latin"):
        with pytest.raises(ToolError, match="not UTF-8"):
            prepare_edit(workspace, path, "caf", "tea", replace_all=False, seen=None)
        with pytest.raises(ToolError, match="not UTF-8"):
            prepare_write(workspace, path, "x", seen=fingerprint(workspace, path))
    commit(workspace, prepare_delete(workspace, "image", seen=None))
    assert not (workspace / "image").exists()


# --- what may be written -------------------------------------------------------------------------------


def test_a_new_file_gets_its_folders(workspace: Path) -> None:
    """Parents are made, the mode follows the umask."""
    change = write(workspace, "x/y/z.py", "pass\n")
    assert (change.before, change.after) == (None, sha256(b"pass\n"))
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE((workspace / "x/y/z.py").stat().st_mode) == 0o666 & ~mask
    assert temporaries(workspace) == []


def test_an_existing_file_must_have_been_seen(workspace: Path) -> None:
    """A write needs a look, an edit is its own proof, and an old look is a conflict."""
    with pytest.raises(ToolError, match="read it first"):
        prepare_write(workspace, "a.txt", "x", seen=None)
    with pytest.raises(ToolError, match="read it first"):
        prepare_delete(workspace, "a.txt", seen=None)
    assert prepare_edit(workspace, "a.txt", "two", "2", replace_all=False, seen=None).before == sha256(OLD)
    stale = sha256(b"as it was")
    with pytest.raises(Conflict, match="changed since you read it"):
        prepare_write(workspace, "a.txt", "x", seen=stale)
    with pytest.raises(Conflict):
        prepare_edit(workspace, "a.txt", "two", "2", replace_all=False, seen=stale)
    with pytest.raises(Conflict):
        prepare_delete(workspace, "a.txt", seen=stale)
    with pytest.raises(Conflict, match="deleted since you read it"):
        prepare_write(workspace, "gone.txt", "x", seen=stale)


def test_the_same_bytes_are_a_valid_change(workspace: Path) -> None:
    """Writing what is there is no error, and leaves the file alone."""
    before = (workspace / "a.txt").stat()
    change = write(workspace, "a.txt", OLD.decode())
    assert change.before == change.after
    assert (workspace / "a.txt").stat().st_ino == before.st_ino


@pytest.mark.parametrize("path", [".opencode/plugins/x.ts", ".opencode/context.md", ".OpenCode/todo.md"])
def test_the_state_folder_is_not_written_by_tools(workspace: Path, path: str) -> None:
    """Reading it is fine, writing is orch's alone."""
    (workspace / ".opencode").mkdir()
    (workspace / ".opencode" / "context.md").write_text("stack\n")
    assert "stack" in read(workspace, ".opencode/context.md").text
    with pytest.raises(ToolError):
        prepare_write(workspace, path, "x", seen=None)


def test_a_hard_link_is_not_written(workspace: Path) -> None:
    """Its other name may lie outside."""
    os.link(workspace.parent / "outside" / "a.txt", workspace / "hard.txt")
    with pytest.raises(ToolError, match="hard links"):
        prepare_write(workspace, "hard.txt", "x", seen=fingerprint(workspace, "hard.txt"))
    with pytest.raises(ToolError, match="hard links"):
        prepare_edit(workspace, "hard.txt", "outside", "x", replace_all=False, seen=None)


@pytest.mark.parametrize("content", ["x" * 1_000_001, "a\0b", "\ud800"])
def test_content_that_is_no_text_file_is_refused(workspace: Path, content: str) -> None:
    """Too much, NUL, and what has no UTF-8 are refused with a hint."""
    with pytest.raises(ToolError, match="new content of new"):
        prepare_write(workspace, "new", content, seen=None)
    with pytest.raises(ToolError, match=r"new content of a\.txt"):
        prepare_edit(workspace, "a.txt", "two", content, replace_all=False, seen=None)


def test_a_file_is_no_folder(workspace: Path) -> None:
    """A path through a file has no fingerprint and cannot be written."""
    assert fingerprint(workspace, "a.txt/b") is None
    with pytest.raises(ToolError, match="a part of it is a file"):
        prepare_write(workspace, "a.txt/b", "x", seen=None)


# --- form and edits ------------------------------------------------------------------------------------


def test_line_endings_bom_and_mode_are_kept(workspace: Path) -> None:
    """A model writes \\n and no BOM; the file keeps its form."""  # noqa: D301 - \n is meant
    file = workspace / "dos.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    file.chmod(0o754)
    edit(workspace, "dos.txt", "one\ntwo", "one\n2\n3")
    assert file.read_bytes() == b"\xef\xbb\xbfone\r\n2\r\n3\r\n"
    write(workspace, "dos.txt", "\ufeffa\nb\r\n")
    assert file.read_bytes() == b"\xef\xbb\xbfa\r\nb\r\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o754


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_is_kept(workspace: Path) -> None:
    """A file of another user stays that user's."""
    os.chown(workspace / "a.txt", 12345, 12346)
    edit(workspace, "a.txt", "two", "2")
    info = (workspace / "a.txt").stat()
    assert (info.st_uid, info.st_gid) == (12345, 12346)


ended = st.lists(st.tuples(st.text("ab", max_size=3), st.sampled_from(["\n", "\r\n"])), max_size=8)


@relaxed
@given(before=ended, after=ended, bom=st.booleans())
@example(before=[("a", "\r\n")], after=[("b", "\n")], bom=True)
def test_an_edit_changes_only_what_it_names(
    workspace: Path, before: list[tuple[str, str]], after: list[tuple[str, str]], bom: bool
) -> None:
    """Whatever mixture of endings surrounds the match, every byte of it stays."""
    head, tail = ("".join(line + end for line, end in lines).encode() for lines in (before, after))
    mark = b"\xef\xbb\xbf" if bom else b""
    (workspace / "e").write_bytes(mark + head + b"MARK\r\nLINE" + tail)
    edit(workspace, "e", "MARK\nLINE", "new")
    assert (workspace / "e").read_bytes() == mark + head + b"new" + tail


@relaxed
@given(text=st.text("ab\n", max_size=30), old=st.text("ab\n", min_size=1, max_size=2), crlf=st.booleans())
def test_replacing_all_is_what_replace_does(workspace: Path, text: str, old: str, crlf: bool) -> None:
    """An edit of every match equals `str.replace`, whatever the line ending; no match is an error."""
    eol = "\r\n" if crlf else "\n"
    (workspace / "r").write_bytes(text.replace("\n", eol).encode())
    if old not in text:
        with pytest.raises(ToolError, match="does not occur"):
            edit(workspace, "r", old, "X\nY", replace_all=True)
        return
    edit(workspace, "r", old, "X\nY", replace_all=True)
    wanted = text.replace(old, "X\nY")
    had_breaks = "\n" in text
    assert (workspace / "r").read_bytes() == wanted.replace("\n", eol if had_breaks else "\n").encode()


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("", "x", "old_string is empty"),
        ("two", "two", "the same"),
        ("o", "x", r"occurs 2 times in a\.txt, at lines 1, 2; .*replace_all"),
        ("  two", "x", "Line 2 differs in blanks: it is 'two', yours is '  two'"),
        ("one\ntwo\nfour", "x", "Line 3 differs: it is 'three', yours is 'four'"),
        ("three\n\n\n", "x", "not what is before or after"),
        ("     2\ttwo", "x", "Leave out the line numbers"),
        ("zzz", "x", "Nothing like it"),
    ],
)
def test_an_edit_that_does_not_fit_says_why(workspace: Path, old: str, new: str, hint: str) -> None:
    """The model learns what to give instead, and nothing is written."""
    with pytest.raises(ToolError, match=hint):
        prepare_edit(workspace, "a.txt", old, new, replace_all=False, seen=None)
    with pytest.raises(ToolError, match="does not exist"):
        prepare_edit(workspace, "b.txt", "old", "new", replace_all=False, seen=None)


def test_overlapping_matches_are_several(workspace: Path) -> None:
    """`aa` is not unique in `aaa`."""
    (workspace / "o").write_text("aaa")
    with pytest.raises(ToolError, match="occurs 2 times"):
        edit(workspace, "o", "aa", "b")
    edit(workspace, "o", "aa", "b", replace_all=True)
    assert (workspace / "o").read_text() == "ba"


# --- committing ----------------------------------------------------------------------------------------


@pytest.mark.fault(41)
def test_a_change_in_between_is_a_conflict(workspace: Path) -> None:
    """What another wrote after the change was prepared stays."""
    changes = [
        prepare_write(workspace, "a.txt", "mine\n", seen=sha256(OLD)),
        prepare_delete(workspace, "a.txt", seen=sha256(OLD)),
        prepare_write(workspace, "new.txt", "mine\n", seen=None),
    ]
    (workspace / "a.txt").write_bytes(b"theirs\n")
    (workspace / "new.txt").write_bytes(b"theirs\n")
    for change in changes:
        with pytest.raises(Conflict):
            commit(workspace, change)
        assert (workspace / change.path).read_bytes() == b"theirs\n"
    assert temporaries(workspace) == []


@pytest.mark.fault(41)
@pytest.mark.parametrize("save", ["in place", "by a rename", "delete"])
def test_a_save_while_the_last_look_is_taken_is_a_conflict(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, save: str
) -> None:
    """The content was still the old one when it was read, and is a person's before the rename."""
    changes = [
        prepare_write(workspace, "a.txt", "mine\n", seen=sha256(OLD)),
        prepare_edit(workspace, "a.txt", "two", "2", replace_all=False, seen=sha256(OLD)),
        prepare_delete(workspace, "a.txt", seen=sha256(OLD)),
    ]
    digest = files._digest

    def digest_while_a_person_saves(file: BufferedReader, size_bytes: int) -> str:
        found = digest(file, size_bytes)
        if save == "delete":
            (workspace / "a.txt").unlink()
        elif save == "in place":
            (workspace / "a.txt").write_bytes(b"theirs\n")
        else:
            (workspace / "b.txt").write_bytes(b"theirs\n")
            (workspace / "b.txt").replace(workspace / "a.txt")
        return found

    monkeypatch.setattr(files, "_digest", digest_while_a_person_saves)
    for change in changes:
        (workspace / "a.txt").write_bytes(OLD)
        with pytest.raises(Conflict):
            commit(workspace, change)
        left = (workspace / "a.txt").read_bytes() if (workspace / "a.txt").exists() else None
        assert left == (None if save == "delete" else b"theirs\n")
    assert temporaries(workspace) == []


@pytest.mark.fault(41)
def test_a_change_at_the_last_moment_is_a_conflict(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that counts is the one directly before the rename."""
    change = prepare_write(workspace, "a.txt", "mine\n", seen=sha256(OLD))
    fill = files._fill

    def fill_while_a_person_saves(folder: int, name: str, temporary: str, data: bytes) -> None:
        fill(folder, name, temporary, data)
        (workspace / "a.txt").write_bytes(b"theirs\n")

    monkeypatch.setattr(files, "_fill", fill_while_a_person_saves)
    with pytest.raises(Conflict):
        commit(workspace, change)
    assert (workspace / "a.txt").read_bytes() == b"theirs\n"
    assert temporaries(workspace) == []


def test_a_commit_that_was_done_is_done(workspace: Path) -> None:
    """Repeating a change after a crash changes nothing and is no conflict."""
    for change in (
        prepare_write(workspace, "sub/new.txt", "x\n", seen=None),
        prepare_edit(workspace, "a.txt", "two", "2", replace_all=False, seen=None),
    ):
        commit(workspace, change)
        commit(workspace, change)
        assert fingerprint(workspace, change.path) == change.after
    gone = prepare_delete(workspace, "sub/new.txt", seen=sha256(b"x\n"))
    commit(workspace, gone)
    (workspace / "sub").rmdir()
    commit(workspace, gone)
    assert fingerprint(workspace, "sub/new.txt") is None


def test_a_folder_that_is_gone_is_a_conflict(workspace: Path) -> None:
    """A change of a file is not the permission to make its folder again."""
    write(workspace, "sub/b.txt", "b\n")
    change = prepare_write(workspace, "sub/b.txt", "c\n", seen=sha256(b"b\n"))
    (workspace / "sub" / "b.txt").unlink()
    (workspace / "sub").rmdir()
    with pytest.raises(Conflict, match="deleted meanwhile"):
        commit(workspace, change)
    assert not (workspace / "sub").exists()


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the system refuse larger files, root's too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("path", ["a.txt", "new.txt"])
def test_a_write_that_fails_halfway_leaves_the_old_bytes(workspace: Path, path: str) -> None:
    """When the system takes only the first bytes, the target is as it was and nothing else is left."""
    change = prepare_write(workspace, path, "x" * 200_000, seen=fingerprint(workspace, path))
    with files_of_at_most(65_536), pytest.raises(ToolError, match="cannot be used"):
        commit(workspace, change)
    assert fingerprint(workspace, path) == change.before
    assert temporaries(workspace) == []
    commit(workspace, change)
    assert fingerprint(workspace, path) == change.after


def test_what_a_kill_left_is_cleared_by_the_next_try(workspace: Path) -> None:
    """A process that dies between write and rename leaves the old bytes, and no rest after the repeat."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom orch.tools import files\nroot = Path(sys.argv[1])\n"
        "change = files.prepare_edit(root, 'a.txt', 'two', '2', replace_all=False, seen=None)\n"
        "os.replace = lambda *_, **__: os._exit(9)\nfiles.commit(root, change)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(workspace)], check=False, cwd=Path.cwd())
    assert killed.returncode == 9
    assert (workspace / "a.txt").read_bytes() == OLD
    assert len(temporaries(workspace)) == 1
    edit(workspace, "a.txt", "two", "2")
    assert (workspace / "a.txt").read_bytes() == b"one\n2\nthree\n"
    assert temporaries(workspace) == []


def test_a_disk_that_refuses_is_not_the_models_business(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends the run, not the turn."""
    change = prepare_write(workspace, "a.txt", "new\n", seen=sha256(OLD))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskRefused, match=r"a\.txt"):
        commit(workspace, change)
    assert (workspace / "a.txt").read_bytes() == OLD
    assert temporaries(workspace) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_the_models_business(workspace: Path) -> None:
    """It is told, and can ask for something else."""
    (workspace / "locked").mkdir(mode=0o500)
    with pytest.raises(ToolError, match="cannot be used: Permission denied"):
        write(workspace, "locked/x", "x")


def test_a_folder_swapped_for_a_link_is_not_followed(workspace: Path) -> None:
    """Between the check and the write, a parent becomes a link to the outside: refused."""
    write(workspace, "sub/a.txt", "inside\n")
    changes = [
        prepare_write(workspace, "sub/a.txt", "x", seen=sha256(b"inside\n")),
        prepare_write(workspace, "sub/new/b.txt", "x", seen=None),
        prepare_delete(workspace, "sub/a.txt", seen=sha256(b"inside\n")),
    ]
    (workspace / "sub").rename(workspace / "moved")
    (workspace / "sub").symlink_to(workspace.parent / "outside")
    for change in changes:
        with pytest.raises(ToolError, match="a file or a link"):
            commit(workspace, change)
    assert [path.name for path in (workspace.parent / "outside").iterdir()] == ["a.txt"]
    assert (workspace.parent / "outside" / "a.txt").read_bytes() == b"outside\n"


def test_a_file_swapped_for_a_link_is_not_followed(workspace: Path) -> None:
    """The last part of the path is not followed either."""
    change = prepare_write(workspace, "a.txt", "x", seen=sha256(OLD))
    (workspace / "a.txt").unlink()
    (workspace / "a.txt").symlink_to(workspace.parent / "outside" / "a.txt")
    with pytest.raises(ToolError, match="is a link"):
        commit(workspace, change)
    assert (workspace.parent / "outside" / "a.txt").read_bytes() == b"outside\n"


def test_a_race_of_swaps_never_escapes(workspace: Path) -> None:
    """While a folder flips between itself and a link to the outside, nothing outside is read or written."""
    write(workspace, "sub/a.txt", "inside\n")
    write(workspace, "sub/b.txt", "b\n")
    sub, outside = workspace / "sub", workspace.parent / "outside"
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            sub.rename(workspace / "moved")
            sub.symlink_to(outside)
            sub.unlink()
            (workspace / "moved").rename(sub)

    flipping = threading.Thread(target=flip)
    flipping.start()
    outcomes = set[str]()
    try:
        for nth in range(600):
            try:
                assert "outside" not in read(workspace, "sub/a.txt").text
                before, data = fingerprint(workspace, "sub/b.txt"), str(nth).encode()
                if before:  # a new file would get its folder, in the flipping thread's way
                    commit(workspace, Change("sub/b.txt", before, sha256(data), data))
                outcomes.add("done")
            except ToolError:
                outcomes.add("refused")
    finally:
        done.set()
        flipping.join()
    assert [path.name for path in outside.iterdir()] == ["a.txt"]
    assert "refused" in outcomes
