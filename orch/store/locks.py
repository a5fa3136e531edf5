"""Who may work: one mission in a workspace.

The mission lock is an exclusive `flock` on the workspace directory itself, so that deleting `.opencode/`
cannot make a second holder, with shared ones on all directories above it, so that a mission above or below
is excluded too. The kernel frees it when its process dies, however it dies. What the holder wrote of itself
is a hint for people: who holds the lock is asked of the kernel. A refusal is `MissionHeld`.
"""

import fcntl
import os
import shlex
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from orch.errors import MissionHeld, UsageError
from orch.mission.events import MissionId
from orch.store.folder import Folder, atomic_write

PATIENCE_S = 0.5  # a reader's probe holds a shared lock for an instant
NAME_PATIENCE_S = 0.5  # a holder that has just begun has yet to write down who it is
RETRY_S = 0.02
SEARCH_LIMIT = 5_000  # directories looked into to name a mission below; about a tenth of a second

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HOLDER = "holder.json"
_UNSEARCHED = frozenset({".git", ".opencode", "node_modules"})
_DEAD = frozenset({"Z", "X"})


class Holder(BaseModel):
    """What the holder of a mission lock wrote about itself; `None`: not known. Hints, not proofs."""

    model_config = ConfigDict(frozen=True)

    mission: str | None = None
    pid: int | None = None
    started: str | None = None
    start_ticks: int | None = None  # of the process, since boot: with `boot_id` a pid cannot be mistaken
    boot_id: str | None = None


class MissionLock:
    """The right to run a mission in a workspace; held until `release` or the end of the process.

    Taken by `acquire`, which may block for a second.
    """

    def __init__(self, locks: ExitStack) -> None:
        self._locks = locks

    @classmethod
    def acquire(cls, folder: Folder, mission: MissionId) -> Self:
        """Take the lock, then make `.opencode/orch/` and write there who holds it.

        Raises:
            MissionHeld: a mission runs here, above or below; it is named where it can be.
            UsageError: no such directory, or no place to write.
        """
        with ExitStack() as locks:
            locks.enter_context(_take_patiently(folder.workspace))
            folder.create()
            holder = folder.locks / _HOLDER
            locks.callback(_forget, holder)
            atomic_write(holder, _self(mission).model_dump_json().encode())
            folder.sweep()
            return cls(locks.pop_all())

    def release(self) -> None:
        """Let the next mission in. Doing it twice does no harm."""
        self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def probe(workspace: Path) -> Holder | None:
    """Return who runs a mission in exactly this workspace now, `None` if nobody does. For readers."""
    with ExitStack() as stack:
        descriptor = _open_directory(workspace, stack)
        if descriptor is None or _flock(descriptor, fcntl.LOCK_SH):
            return None
    return _holder(workspace)


def verified_pid(holder: Holder) -> int | None:
    """Return the holder's pid if that process still is the one that wrote it, else `None`."""
    if holder.pid is None:
        return None
    if holder.start_ticks is None:  # a system without /proc: all there is to ask is whether it lives
        return holder.pid if _is_running(holder.pid) else None
    same = (_start_ticks(holder.pid), _boot_id()) == (holder.start_ticks, holder.boot_id)
    return holder.pid if same else None


def _take_patiently(workspace: Path) -> ExitStack:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        taken = _take(workspace)
        if isinstance(taken, ExitStack):
            return taken
        late_s = time.monotonic() - deadline
        if late_s >= NAME_PATIENCE_S or (late_s >= 0 and verified_pid(_holder(taken)) is not None):
            raise _held(workspace, taken)
        time.sleep(RETRY_S)


def _take(workspace: Path) -> ExitStack | Path:
    """Return all locks, or the directory whose lock was refused."""
    with ExitStack() as locks:
        descriptor = _open_directory(workspace, locks)
        if descriptor is None:
            raise UsageError(f"{workspace} is no directory that can be read; name one with -C")
        if not _flock(descriptor, fcntl.LOCK_EX):
            return workspace
        for above in Path(os.path.realpath(workspace)).parents:
            descriptor = _open_directory(above, locks)
            # What cannot be opened cannot be a workspace of this user either.
            if descriptor is not None and not _flock(descriptor, fcntl.LOCK_SH):
                return above
        return locks.pop_all()


def _forget(holder: Path) -> None:
    with suppress(OSError):  # the folder may be gone; the lock never was in it
        holder.unlink()


def _open_directory(path: Path, stack: ExitStack) -> int | None:
    try:
        descriptor = os.open(path, _DIRECTORY)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN; EACCES on some file systems
        return False
    except OSError as error:
        if kind == fcntl.LOCK_SH:
            return True  # a file system without locks holds no mission
        raise UsageError(f"the file system of this workspace has no locks ({error.strerror})") from error
    return True


def _held(workspace: Path, refused: Path) -> MissionHeld:
    place, holder = _named(workspace, refused)
    mission = f"mission {holder.mission}" if holder.mission else "another mission"
    pid = f" (pid {holder.pid})" if holder.pid else ""
    where, end = f"somewhere below {workspace}", "`orch stop` there"
    if place is not None:
        where, end = f"in {place}", f"`orch stop -C {shlex.quote(str(place))}`"
    message = f"{mission}{pid} runs {where}; wait for it, or end it with {end}"
    return MissionHeld(message, mission=holder.mission, pid=holder.pid)


def _named(workspace: Path, refused: Path) -> tuple[Path | None, Holder]:
    """Find out whose lock stands in the way: here, above, or below (where only a search can tell)."""
    if refused != workspace or probe(workspace) is not None:
        return refused, _holder(refused)
    return next(_below(workspace), (None, Holder()))


def _below(workspace: Path) -> Iterator[tuple[Path, Holder]]:
    """Yield the missions that run beneath `workspace`, nearest first, as far as the search goes."""
    waiting = deque([workspace])
    for _ in range(SEARCH_LIMIT):
        if not waiting:
            return
        directory = waiting.popleft()
        with suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and entry.name not in _UNSEARCHED:
                    waiting.append(Path(entry.path))
        if (Folder(directory).locks / _HOLDER).exists() and (holder := probe(directory)) is not None:
            yield directory, holder


def _self(mission: MissionId) -> Holder:
    return Holder(
        mission=mission,
        pid=os.getpid(),
        started=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        start_ticks=_start_ticks(os.getpid()),
        boot_id=_boot_id(),
    )


def _holder(workspace: Path) -> Holder:
    try:
        return Holder.model_validate_json((Folder(workspace).locks / _HOLDER).read_bytes())
    except (OSError, ValidationError):
        return Holder()


def _start_ticks(pid: int) -> int | None:
    """Return when a living process started, as Linux counts it (proc(5): field 22 of stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _DEAD else int(fields[19])


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
