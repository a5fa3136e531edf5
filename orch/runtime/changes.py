"""`changes.patch`: what a mission changed, for `git apply` and `patch -p1`, without any git.

From what each file was before its first change (kept among the mission's blobs) to what it is now, whoever
changed it last. What cannot be told so is named in a line on top: a file whose beginning nobody kept, that is
no file any more, that is very large, or in whose differences a provider's key stands, for keys are never
written down. The lines on top are for people; `git apply` and `patch` read over them.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from orch.errors import DiskRefused, OrchError, ToolError
from orch.mission import patch
from orch.mission.events import MissionId
from orch.mission.redaction import Redaction
from orch.mission.state import MissionState
from orch.store.blobs import Blobs
from orch.store.folder import Folder, MissionFolder, atomic_write, disk_refused
from orch.tools.paths import folder_of, opened, reported

FILE_BYTES_MAX = 1_000_000
"""As much as the write tool writes; a larger file is somebody else's product."""
PATCH_BYTES_MAX = 50_000_000
"""Who changed more reads no patch."""
_OWNER_EXECUTES = 0o100
_EXECUTABLE_MODE = "100755"


def keep(
    folder: Folder, state: MissionState, secrets: Collection[str], notice: Callable[[str], None]
) -> str | None:
    """Write the patch, and return its path in the workspace; `None` if there is none. Blocks.

    A disk that refuses is told with `notice`, and changes nothing else.
    """
    mission = folder.mission(state.mission)
    try:
        data = _text(folder, mission, state, Redaction(secrets).secrets)
        if data:
            atomic_write(mission.patch, data)
        else:
            _remove(mission.patch)  # what an earlier run left says something else
    except DiskRefused as refused:
        notice(f"changes.patch is not written: {refused.what}")
        return None
    return kept(folder, state.mission)


def kept(folder: Folder, mission: MissionId) -> str | None:
    """Return the path of a mission's patch in the workspace, if there is one."""
    path = folder.mission(mission).patch
    return str(path.relative_to(folder.workspace)) if path.is_file() else None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise disk_refused(path, error) from error


def _text(folder: Folder, mission: MissionFolder, state: MissionState, secrets: Collection[str]) -> bytes:
    keys = tuple(secret.encode() for secret in secrets)
    blobs = Blobs(mission.blobs)
    notes: list[bytes] = []
    parts: list[bytes] = []
    for path in state.changed:
        try:
            part = _part(_difference(folder.workspace, blobs, path, state.first_seen.get(path)), keys)
            _check_size("this patch", sum(map(len, parts)) + len(part), PATCH_BYTES_MAX)
            parts.append(part)
        except (ToolError, DiskRefused) as why:
            notes.append(f"# not in this patch: {path!a}: {_line(why)}\n".encode())
    return b"".join((*notes, *parts))


def _part(difference: patch.Difference, keys: Collection[bytes]) -> bytes:
    """Return the differences of one file. Raises `ToolError` if a key stands in them."""
    part, contents = patch.render(difference), (difference.before, difference.after)
    told = contents if any(map(patch.is_binary, contents)) else (part,)
    if any(key in text for key in keys for text in told if text):
        raise ToolError("a provider's key stands in it")
    return part


def _difference(workspace: Path, blobs: Blobs, path: str, first: str | None) -> patch.Difference:
    """Look at what a file was and is. Raises `ToolError` for what cannot be told."""
    before = _before(blobs, first)
    after, mode = _now(workspace, path)
    return patch.Difference(path, before, after, mode)


def _before(blobs: Blobs, first: str | None) -> bytes | None:
    if first is None:
        return None
    try:
        data = blobs.load(first)
    except LookupError:
        raise ToolError("what it was before is not known: no tool of orch changed it first") from None
    _check_size("it", len(data), FILE_BYTES_MAX)
    return data


def _now(workspace: Path, path: str) -> tuple[bytes | None, str]:
    """Return a file as it is, without following a link, and its mode as git writes it."""
    with reported(path):
        try:
            with folder_of(workspace, path) as (fd, name), opened(fd, name, path) as (file, info):
                _check_size("it", info.st_size, FILE_BYTES_MAX)
                return file.read(info.st_size), _mode(info)
        except (FileNotFoundError, NotADirectoryError):
            return None, patch.PLAIN_MODE


def _check_size(what: str, size_bytes: int, longest: int) -> None:
    if size_bytes > longest:
        raise ToolError(f"{what} would have {size_bytes:,} bytes, and {longest:,} are the most")


def _line(why: OrchError) -> str:
    return " ".join(str(why).encode("ascii", "backslashreplace").decode().split())


def _mode(info: os.stat_result) -> str:
    return _EXECUTABLE_MODE if info.st_mode & _OWNER_EXECUTES else patch.PLAIN_MODE
