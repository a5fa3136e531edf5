"""Reads and changes files of the workspace, and nothing outside it.

Every path is first made canonical (`locate`); the file is then opened from the workspace's own descriptor,
one folder at a time and without following links, so that a folder swapped for a link in between is refused
and not followed. A change is prepared, so that its hashes can be recorded, and then committed: the commit
looks once more at what is there, and a file that is neither what it was nor what it shall be is left alone
(`Conflict`). The target holds the old bytes or the new ones, never a mixture.

All functions block; run them in a thread. They fail with `ToolError`, whose text is for the model, or with
`DiskRefused`. The caller decides who may write which file: what `prepare_*` is given must be the canonical
path that was granted, and no link that appears later leads `commit` anywhere else.
"""

import hashlib
import os
import re
import stat
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from orch.errors import Conflict, ToolError
from orch.tools.diagnostics import near_miss
from orch.tools.paths import folder_of, is_orchs, locate, missing, opened, reported
from orch.tools.walk import BINARY_PROBE_BYTES, is_secret

PAGE_LINES = 2000
PAGE_CHARS = 40_000
LINE_CHARS = 2000
READ_BYTES_MAX = 50_000_000
WRITE_BYTES_MAX = 1_000_000

_DIGEST_BYTES = 1 << 18
_PIECE_BYTES = 4 * (LINE_CHARS + 1)  # holds one character too many, whatever their size
_BOM = b"\xef\xbb\xbf"
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMED_LINES_MAX = 10


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a file: numbered lines and a last line that says how to read on; the whole file's hash."""

    path: str
    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit will do: sha256 before (`None`: absent) and after (`None`: deleted), the new bytes.

    `old` are the bytes whose hash is `before`.
    """

    path: str
    before: str | None
    after: str | None
    data: bytes | None
    old: bytes | None = None


def fingerprint(workspace: Path, path: str) -> str | None:
    """Return the sha256 of a file's bytes, `None` if it is absent.

    Raises:
        ToolError: The path is out of bounds, or no regular file.
    """
    path = locate(workspace, path)
    with reported(path):
        try:
            with folder_of(workspace, path) as (fd, name):
                return _sha256_at(fd, name, path)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _sha256_at(folder: int, name: str, path: str) -> str | None:
    try:
        with opened(folder, name, path) as (file, info):
            return _digest(file, info.st_size)
    except FileNotFoundError:
        return None


def _digest(file: BufferedReader, size_bytes: int) -> str:
    """Hash what a file had when it was opened: one that somebody keeps adding to has no end."""
    digest = hashlib.sha256()
    while size_bytes > 0 and (piece := file.read(min(size_bytes, _DIGEST_BYTES))):
        digest.update(piece)
        size_bytes -= len(piece)
    return digest.hexdigest()


def read_page(workspace: Path, path: str, offset: int = 1, limit: int = PAGE_LINES) -> Page:
    """Return `limit` lines from line `offset` (1-based) on, at most `PAGE_CHARS`, long lines cut.

    Raises:
        ToolError: The file is missing, a secret, binary, too large, or no regular file.
    """
    path = locate(workspace, path)
    if is_secret(path):
        raise ToolError(f"{path} may hold secrets and is not shown; work without its content.")
    try:
        with (
            reported(path),
            folder_of(workspace, path) as (fd, name),
            opened(fd, name, path) as (file, info),
        ):
            if info.st_size > READ_BYTES_MAX:
                raise ToolError(f"{path} has {info.st_size:,} bytes, too large to read; use grep.")
            if b"\0" in file.read(BINARY_PROBE_BYTES):
                raise ToolError(f"{path} is a binary file ({info.st_size:,} bytes) and cannot be shown.")
            file.seek(0)
            return _page(path, file, info.st_size, range(max(1, offset), max(1, offset) + max(1, limit)))
    except FileNotFoundError:
        raise missing(workspace, path) from None


def _page(path: str, file: BufferedReader, size_bytes: int, wanted: range) -> Page:
    """Hash the whole file, as large as it was when it was opened, and keep the lines that are wanted."""
    digest = hashlib.sha256()
    lines: list[str] = []
    chars, number, begins, first = 0, 1, True, wanted.start
    while piece := file.readline(min(_PIECE_BYTES, size_bytes)):
        size_bytes -= len(piece)
        digest.update(piece)
        if begins and number == first + len(lines) and number in wanted and chars < PAGE_CHARS:
            lines.append(f"{number:>6}\t{_shown(piece, number)}")
            chars += len(lines[-1])
        begins = piece.endswith(b"\n")
        number += begins
    total = number - begins
    text = "\n".join([*lines, _footer(first, first + len(lines) - 1, total)])
    return Page(path, text, digest.hexdigest())


def _shown(piece: bytes, number: int) -> str:
    data = piece.removeprefix(_BOM) if number == 1 else piece
    line = data.decode(errors="replace").removesuffix("\n").removesuffix("\r").replace("\0", "\ufffd")
    return line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]} … (line cut)"


def _footer(first: int, last: int, total: int) -> str:
    if total == 0:
        return "the file is empty"
    if last < first:
        return f"offset {first} is beyond the end: the file has {total} lines"
    if last < total:
        return f"lines {first}-{last} of {total}; read on with offset={last + 1}"
    return f"lines {first}-{last} of {total}; end of file"


@dataclass(frozen=True, slots=True)
class _Existing:
    """A text file as it is: its hash, its text with its own line endings, and how it is written."""

    sha256: str
    text: str
    bom: bytes

    @property
    def eol(self) -> str:
        """The line ending of new lines: CRLF only in a file that has no other."""
        crlf = self.text.count("\r\n")
        return "\r\n" if crlf and crlf == self.text.count("\n") else "\n"


def _load(workspace: Path, path: str) -> bytes | None:
    """Return a file's bytes, `None` if it is absent."""
    try:
        with (
            reported(path),
            folder_of(workspace, path) as (fd, name),
            opened(fd, name, path) as (file, info),
        ):
            if info.st_nlink > 1:
                raise ToolError(f"{path} is one of several hard links to a file; it cannot be changed here.")
            data = file.read(WRITE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    if len(data) > WRITE_BYTES_MAX:
        raise ToolError(f"{path} is over {WRITE_BYTES_MAX:,} bytes; make it with a command instead.")
    return data


def _existing(path: str, data: bytes) -> _Existing:
    bom = _BOM if data.startswith(_BOM) else b""
    try:
        text = data[len(bom) :].decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ToolError(f"{path} is a binary file or not UTF-8; make it with a command instead.")
    return _Existing(_sha256(data), text, bom)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refuse_unwritable(workspace: Path, path: str) -> None:
    """Refuse a path that is not canonical: a grant for it would not hold for the file behind a new link."""
    canonical = locate(workspace, path)
    if canonical != path:
        raise ToolError(f"{path} is another name of {canonical}; use that one.")
    if is_orchs(path):
        raise ToolError(f"{path}: only orch itself writes in .opencode/.")


def _refuse_stale(path: str, current: str | None, seen: str | None) -> None:
    if seen is not None and seen != current:
        what = "deleted" if current is None else "changed"
        raise Conflict(f"{path} was {what} since you read it; nothing was written. Read it again first.")


def _refuse_unseen(path: str, seen: str | None) -> None:
    if seen is None:
        raise ToolError(f"{path} exists and you have not read it in this conversation; read it first.")


def _encoded(path: str, text: str, bom: bytes = b"") -> bytes:
    try:
        data = bom + text.encode()
    except UnicodeEncodeError:
        raise ToolError(f"The new content of {path} is not valid UTF-8; nothing was written.") from None
    if len(data) > WRITE_BYTES_MAX:
        raise ToolError(
            f"The new content of {path} is over {WRITE_BYTES_MAX:,} bytes; split it into several files."
        )
    if b"\0" in data:
        raise ToolError(f"The new content of {path} has a NUL; binary files cannot be written.")
    return data


def prepare_write(workspace: Path, path: str, content: str, *, seen: str | None) -> Change:
    """Plan the whole new content of a file; `seen` is the hash that the session last saw (`None`: never).

    Raises:
        Conflict: The file changed since it was seen.
        ToolError: It exists and was never seen, or cannot or may not be written.
    """
    _refuse_unwritable(workspace, path)
    data = _load(workspace, path)
    _refuse_stale(path, _sha256(data) if data is not None else None, seen)
    if data is None:
        after = _encoded(path, content)
        return Change(path, None, _sha256(after), after)
    _refuse_unseen(path, seen)
    old = _existing(path, data)
    if old.bom:
        content = content.removeprefix("\ufeff")
    if old.eol == "\r\n":
        content = content.replace("\r\n", "\n").replace("\n", "\r\n")
    after = _encoded(path, content, old.bom)
    return Change(path, old.sha256, _sha256(after), after, data)


def prepare_edit(
    workspace: Path, path: str, old: str, new: str, *, replace_all: bool, seen: str | None
) -> Change:
    """Plan the replacement of `old`, which must occur exactly once unless `replace_all`.

    Line endings are no part of the comparison. A file that was never seen may be edited: the match shows
    that its content is known. Only a secret must have been seen.

    Raises:
        Conflict: The file changed since it was seen.
        ToolError: No match, several matches, or the file cannot or may not be edited.
    """
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if not old:
        raise ToolError("old_string is empty; give the text to replace, or use write for a whole file.")
    if old == new:
        raise ToolError("old_string and new_string are the same; nothing would change.")
    _refuse_unwritable(workspace, path)
    data = _load(workspace, path)
    _refuse_stale(path, _sha256(data) if data is not None else None, seen)
    if data is None:
        raise missing(workspace, path)
    if is_secret(path):
        _refuse_unseen(path, seen)
    file = _existing(path, data)
    starts = _occurrences(path, file.text.replace("\r\n", "\n"), old, replace_all=replace_all)
    after = _encoded(path, _spliced(file, starts, len(old), new), file.bom)
    return Change(path, file.sha256, _sha256(after), after, data)


def _occurrences(path: str, text: str, old: str, *, replace_all: bool) -> list[int]:
    """Return where `old` starts; overlapping ones count where only one may match."""
    starts: list[int] = []
    start = text.find(old)
    while start >= 0:
        starts.append(start)
        start = text.find(old, start + (len(old) if replace_all else 1))
    if not starts:
        raise ToolError(f"old_string does not occur in {path}. {near_miss(text, old)}")
    if len(starts) > 1 and not replace_all:
        lines = [str(text.count("\n", 0, start) + 1) for start in starts[:_NAMED_LINES_MAX]]
        more = " and more" if len(starts) > len(lines) else ""
        raise ToolError(
            f"old_string occurs {len(starts)} times in {path}, at lines {', '.join(lines)}{more}; "
            "give more of the lines around the one you mean, or set replace_all."
        )
    return starts


def _spliced(file: _Existing, starts: list[int], length: int, new: str) -> str:
    """Put `new` in place of each match; all other lines keep the ending they have."""
    breaks = [match.start() - nth for nth, match in enumerate(re.finditer("\r\n", file.text))]
    pieces, done = [], 0
    for start in starts:
        pieces.append(file.text[done : start + bisect_left(breaks, start)])
        done = start + length + bisect_left(breaks, start + length)
    pieces.append(file.text[done:])
    return new.replace("\n", file.eol).join(pieces)


def prepare_delete(workspace: Path, path: str, *, seen: str | None) -> Change:
    """Plan the removal of a file. A binary file, which cannot be read, needs not have been seen.

    Raises:
        Conflict: The file changed since it was seen.
        ToolError: It does not exist, was never seen, or may not be deleted.
    """
    _refuse_unwritable(workspace, path)
    data = _load(workspace, path)
    if data is None:
        raise missing(workspace, path)
    _refuse_stale(path, _sha256(data), seen)
    if b"\0" not in data[:BINARY_PROBE_BYTES]:
        _refuse_unseen(path, seen)
    return Change(path, _sha256(data), None, None, data)


def commit(workspace: Path, change: Change) -> None:
    """Carry out a change; one that was carried out before is left as it is.

    Raises:
        Conflict: The file is neither what it was when the change was prepared, nor what it shall be.
        ToolError: The system refused.
        DiskRefused: The disk is full, read-only or broken; the old file is intact.
    """
    make = change.before is None and change.data is not None
    try:
        with reported(change.path), folder_of(workspace, change.path, make=make) as (fd, name):
            if _sha256_at(fd, name, change.path) == change.after:
                return
            if change.data is None:
                _refuse_conflict(fd, name, change)
                os.unlink(name, dir_fd=fd)
            else:
                _replace(fd, name, change, change.data)
    except FileNotFoundError:
        if change.after is not None:
            raise Conflict(
                f"The folder of {change.path} was deleted meanwhile; nothing was written."
            ) from None


def _refuse_conflict(folder: int, name: str, change: Change) -> None:
    """Look at the content, and once more at the file: somebody may save it while its content is read."""
    signature = _signature(folder, name)
    steady = _sha256_at(folder, name, change.path) == change.before and _signature(folder, name) == signature
    if not steady:
        raise Conflict(f"{change.path} was changed meanwhile; nothing was written. Read it again first.")


def _signature(folder: int, name: str) -> tuple[int, ...] | None:
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _replace(folder: int, name: str, change: Change, data: bytes) -> None:
    """Write a temporary file, look at the target once more, and rename.

    The temporary name follows from the change, so that a change which is repeated after a crash clears
    away what the crash left.
    """
    temporary = f".orch-{_sha256(f'{name}/{change.after}'.encode())[:16]}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)
    try:
        _fill(folder, name, temporary, data)
        _refuse_conflict(folder, name, change)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)


def _fill(folder: int, name: str, temporary: str, data: bytes) -> None:
    """Write the temporary file, with owner and mode of the file that it will replace."""
    try:
        like = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        like = None
    mode = 0o600 if like else 0o666
    with os.fdopen(os.open(temporary, _NEW_FLAGS, mode, dir_fd=folder), "wb") as file:
        file.write(data)
        if like:
            with suppress(PermissionError):  # only root may give a file away
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
