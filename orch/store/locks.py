"""Who may work: one mission in a workspace, one item on a file.

The mission lock is an exclusive `flock` on the workspace directory itself, so that deleting `.opencode/`
cannot make a second holder, with shared ones on all directories above it, so that a mission above or below
is excluded too. A lease is a `flock` on a file that is never removed; inside the process ownership is a dict.
The kernel frees both when their process dies, however it dies. What stands *in* lock files is a hint for
people: who holds a lock is asked of the kernel. Refusals are values (`acquire` of a lease) or `MissionHeld`.
"""

import errno
import fcntl
import hashlib
import json
import os
import shlex
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import lock_descriptor
from pydantic import BaseModel, ConfigDict, ValidationError

from orch.errors import MissionHeld, UsageError
from orch.mission.events import ItemId, MissionId
from orch.store.folder import Folder, atomic_write, disk_refused

PATIENCE_S = 0.5  # a reader's probe holds a shared lock for an instant
NAME_PATIENCE_S = 0.5  # a holder that has just begun has yet to write down who it is
RETRY_S = 0.02
SEARCH_LIMIT = 5_000  # directories looked into to name a mission below; about a tenth of a second

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
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


@dataclass(frozen=True, slots=True)
class _Lease:
    """One locked file: `descriptor` holds the lock on `file`."""

    item: ItemId
    file: Path
    descriptor: int


class Leases:
    """Which item owns which file, binding for other processes too. Safe to use from several threads.

    A path is relative to the workspace, spelled as in the plan: two spellings are two leases.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder.locks
        self._held: dict[str, _Lease] = {}
        self._is_closed = False
        self._guard = threading.Lock()

    def acquire(self, item: ItemId, paths: Iterable[str]) -> str | None:
        """Take all `paths` for `item`, or none; return why not. What it holds already stays its own.

        Raises:
            DiskRefused: a lock file could not be made; nothing was taken.
        """
        with self._guard, ExitStack() as undo:
            if self._is_closed:
                return "the run is over"
            taken: dict[str, _Lease] = {}
            for path in dict.fromkeys(paths):
                lease = self._held.get(path) or self._lock(item, path, undo)
                if isinstance(lease, str):
                    return lease
                if lease.item != item:
                    return f"{path} is held by item {lease.item}"
                taken[path] = lease
            undo.pop_all()
            self._held |= taken
        return None

    def extend(self, item: ItemId, paths: Iterable[str]) -> str | None:
        """Take more files for an item that works already: all or none, like `acquire`."""
        return self.acquire(item, paths)

    def holds(self, item: ItemId, path: str) -> bool:
        """Say whether `item` owns `path` now, and the lock file still is the one that binds others."""
        with self._guard:
            lease = self._held.get(path)
            return lease is not None and lease.item == item and _is_in_place(lease)

    def intact(self) -> bool:
        """Say whether all that is held still binds other processes: no lock file is gone or another one."""
        with self._guard:
            leases = list(self._held.values())
            return all(_is_in_place(lease) for lease in leases)

    def release(self, item: ItemId) -> None:
        """Free all that `item` holds."""
        with self._guard:
            for path in [path for path, lease in self._held.items() if lease.item == item]:
                os.close(self._held.pop(path).descriptor)

    def close(self) -> None:
        """Free everything, for good: who still is about to take something comes too late."""
        with self._guard:
            self._is_closed = True
            while self._held:
                os.close(self._held.popitem()[1].descriptor)

    def _file(self, path: str) -> Path:
        return self._folder / f"{hashlib.sha256(path.encode(errors='surrogatepass')).hexdigest()[:16]}.lock"

    def _lock(self, item: ItemId, path: str, undo: ExitStack) -> _Lease | str:
        """Lock the file of `path`, or return why that cannot be now."""
        file = self._file(path)
        try:
            descriptor = os.open(file, _LOCK_FILE, 0o600)
            undo.callback(os.close, descriptor)
            if not lock_descriptor(descriptor, blocking=False):
                return f"{path} is held by another process{_named_pid(file)}"
            note = json.dumps({"path": path, "pid": os.getpid()}).encode()
            os.pwrite(descriptor, note, 0)
            os.ftruncate(descriptor, len(note))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return f"{path} cannot be locked: too many files are open"
            raise disk_refused(file, error) from error
        return _Lease(item, file, descriptor)


def _is_in_place(lease: _Lease) -> bool:
    try:
        return os.path.samestat(lease.file.lstat(), os.fstat(lease.descriptor))
    except OSError:
        return False


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


def _named_pid(file: Path) -> str:
    try:
        return f" (pid {json.loads(file.read_bytes())['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
