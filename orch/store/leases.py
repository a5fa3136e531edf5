"""Which item may write a file: leases that bind other processes too.

A lease is a `flock` on a file that is never removed; inside the process ownership is a dict. The kernel frees
it when the process dies, however it dies. What stands *in* a lock file is a hint for people: who holds a lock
is asked of the kernel. A refusal is a value.
"""

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import lock_descriptor

from orch.mission.events import ItemId
from orch.store.folder import Folder, disk_refused

_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


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


def _named_pid(file: Path) -> str:
    try:
        return f" (pid {json.loads(file.read_bytes())['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
