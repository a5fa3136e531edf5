"""Where a path of the workspace leads: its one canonical name, and a descriptor that follows no link.

`locate` makes a path canonical; `folder_of` and `opened` then open the file from the workspace's own
descriptor, one folder at a time, so that a folder swapped for a link in between is refused and not followed.
All functions block. They fail with `ToolError`, whose text is for the model; `reported` turns what the
system refuses into that, or into `DiskRefused`.
"""

import difflib
import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from orch.errors import DiskRefused, ToolError
from orch.tools.walk import is_reserved

PATH_BYTES_MAX = 4000
NAME_BYTES_MAX = 255

_COMPARED_NAMES_MAX = 1000
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def locate(workspace: Path, path: str) -> str:
    """Return the one relative, `/` separated name of a file that may not exist yet; `.` is the workspace.

    Links are resolved; where the file system folds case or Unicode, the name on disk counts.

    Raises:
        ToolError: The path is malformed, leaves the workspace, or belongs to git or to orch.
    """
    _refuse_malformed(path)
    root = os.path.realpath(workspace)
    try:
        real = os.path.realpath(f"{root}/{path}" if not path.startswith("/") else path)
    except OSError as error:  # a link that goes while it is read
        raise ToolError(f"{path} cannot be resolved: {error.strerror}; try again.") from error
    if os.path.commonpath([root, real]) != root:
        raise ToolError(f"{path} lies outside the workspace; use a path inside it.")
    canonical = _name_on_disk(root, os.path.relpath(real, root))
    _refuse_malformed(canonical)
    if is_reserved(canonical):
        raise ToolError(f"{path} belongs to git or to orch itself; leave it alone.")
    return canonical


def grantable(workspace: Path, path: str) -> str:
    """Return the canonical name of a file that an item may own.

    Raises:
        ToolError: As `locate`; or it is a folder, or one of orch's own files.
    """
    canonical = locate(workspace, path)
    if is_orchs(canonical):
        raise ToolError(f"{path}: only orch itself writes in .opencode/.")
    if (workspace / canonical).is_dir():
        raise ToolError(f"{path} is a folder; name the files in it that will be written.")
    return canonical


def is_orchs(canonical: str) -> bool:
    """Say whether only orch itself writes this file."""
    return canonical.casefold().split("/")[0] == ".opencode"


def _refuse_malformed(path: str) -> None:
    shown = ascii(path[:80])
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ToolError(f"The path {shown} is not valid UTF-8.") from None
    if not path or "\0" in path:
        raise ToolError(f"The path {shown} is {'not valid: it has a NUL' if path else 'empty'}.")
    if len(encoded) > PATH_BYTES_MAX or max(map(len, encoded.split(b"/"))) > NAME_BYTES_MAX:
        raise ToolError(f"The path {shown}… is too long: a name has at most {NAME_BYTES_MAX} bytes.")


def _name_on_disk(root: str, path: str) -> str:
    """Spell every existing part of `path` as its folder does."""
    spelled = root
    for name in path.split("/"):
        spelled = f"{spelled}/{_spelling(spelled, name)}"
    return spelled[len(root) + 1 :]


def _spelling(folder: str, name: str) -> str:
    """List the folder only where another spelling finds something too."""
    variants = {name.swapcase(), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))} - {name}
    if not os.path.lexists(f"{folder}/{name}"):
        return name
    if not any(os.path.lexists(f"{folder}/{variant}") for variant in variants):
        return name
    try:
        names = [entry.name for entry in Path(folder).iterdir()]
    except OSError:
        return name
    return name if name in names else next((other for other in names if _fold(other) == _fold(name)), name)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@contextmanager
def reported(path: str) -> Iterator[None]:
    """Turn the system's refusals into words; `FileNotFoundError` passes, its meaning is the caller's."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _DISK:
            raise DiskRefused(f"{path} cannot be written or read: {error.strerror}.") from error
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise ToolError(f"{path} cannot be reached: a part of it is a file or a link.") from error
        raise ToolError(f"{path} cannot be used: {error.strerror}.") from error


@contextmanager
def folder_of(workspace: Path, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Yield a descriptor of the folder that holds `path`, and the name in it; follow no link on the way."""
    *folders, name = path.split("/")
    fd = os.open(workspace, _FOLDER_FLAGS)
    try:
        for folder in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=fd)
            below = os.open(folder, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd, name
    finally:
        os.close(fd)


@contextmanager
def opened(folder: int, name: str, path: str) -> Iterator[tuple[BufferedReader, os.stat_result]]:
    """Open a regular file; what is none is not even touched, as a look can wake a pipe's writer."""
    _refuse_special(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
    with os.fdopen(os.open(name, _FILE_FLAGS, dir_fd=folder), "rb") as file:
        info = os.fstat(file.fileno())
        _refuse_special(info, path)
        yield file, info


def _refuse_special(info: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise ToolError(f"{path} is a folder; use glob to see the files in it.")
    if not stat.S_ISREG(info.st_mode):
        raise ToolError(f"{path} is a link, pipe, socket or device, not a file.")


def missing(workspace: Path, path: str) -> ToolError:
    """Say that a file does not exist, and what in the nearest folder is called like it."""
    parts = path.split("/")
    for depth in range(len(parts) - 1, -1, -1):
        try:
            with folder_of(workspace, "/".join([*parts[:depth], "."])) as (fd, _), os.scandir(fd) as entries:
                names = [entry.name for entry in entries if entry.name.isprintable()]
        except OSError:
            continue
        folder = "/".join(parts[:depth])
        close = difflib.get_close_matches(parts[depth], names[:_COMPARED_NAMES_MAX], n=3)
        if close:
            near = ", ".join(f"{folder}/{name}" if folder else name for name in close)
            return ToolError(f"{path} does not exist. Did you mean {near}?")
        return ToolError(f"{path} does not exist in {folder or 'the workspace'}; use glob to find it.")
    return ToolError(f"{path} does not exist.")
