"""The journal of a mission: append-only JSON lines, the only truth.

Theory of operation. One process writes, the holder of the mission lock; in it one thread takes all that is
queued, writes it, and syncs once for all of it. What is appended together is read together or not at all
(`orch.store.records` says how). Behind every few hundred events, when everybody has been told, the thread
leaves a checkpoint for readers (`orch.store.checkpoint`); nothing rests on it.

How it fails. Any error of the disk ends the writing: every waiting and later append raises `DiskRefused`,
and the file is cut back to what was acknowledged. A crash can only leave an unfinished batch at the end:
`open` sets it aside, readers stop before it. Anything else that is wrong is `JournalDamaged` with its line,
or `JournalNewer`, and the file is not touched.
"""

import asyncio
import itertools
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from orch.errors import DiskRefused, IllegalTransition, UsageError
from orch.mission.events import Event
from orch.mission.state import MissionState
from orch.store.blobs import Blobs
from orch.store.checkpoint import Checkpoint, Checkpoints
from orch.store.folder import MissionFolder, atomic_write, disk_refused, sync_folder
from orch.store.records import START, Place, batches, behind, encoded, line, read

__all__ = ["DISK", "Disk", "Journal", "Recovered", "read"]

CLOSE_LIMIT_S = 30.0  # for the last sync of a slow disk

_APPEND = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Disk:
    """The two system calls that an acknowledgement rests on."""

    write: Callable[[int, memoryview], int] = os.write
    sync: Callable[[int], None] = os.fdatasync if sys.platform == "linux" else os.fsync


DISK = Disk()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One append: its records as JSON, what the mission comes to with them, and who waits for them."""

    records: list[bytes]
    after: MissionState | None
    done: "asyncio.Future[None]"


class Journal:
    """The one writer of a mission's journal. `append` belongs to the event loop, the rest may block.

    Made by `create` or `open`, whose caller holds the mission lock; to be closed.
    """

    def __init__(self, mission: MissionFolder, descriptor: int, end: Place, disk: Disk) -> None:
        self._path = mission.journal
        self._blobs = Blobs(mission.blobs)
        self._descriptor = descriptor
        self._last_seq = end.seq
        self._disk = disk
        self._durable = end
        self._after: MissionState | None = None
        self._checkpoints = Checkpoints(mission, end.seq)
        self._refusal: DiskRefused | None = None
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._writer.start()

    @classmethod
    def create(cls, mission: MissionFolder, disk: Disk = DISK) -> Self:
        """Start the journal of a new mission. Raises `DiskRefused`, or `UsageError` if it has one."""
        mission.create()
        try:
            descriptor = os.open(mission.journal, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            sync_folder(mission.path)
        except FileExistsError as error:
            raise UsageError(f"{mission.journal} exists already; `orch resume` goes on with it") from error
        except OSError as error:
            raise disk_refused(mission.journal, error) from error
        return cls(mission, descriptor, START, disk)

    @classmethod
    def open(cls, mission: MissionFolder, disk: Disk = DISK) -> "Recovered":
        """Read all events, cut an unfinished batch off the end, and go on writing behind them.

        Raises:
            JournalDamaged: a record cannot be trusted; nothing was changed.
            JournalNewer: a later orch wrote it; nothing was changed.
            DiskRefused: it could not be read or repaired.
        """
        found = list(batches(mission))
        end = found[-1][1] if found else START
        try:
            mission.create()
            descriptor = os.open(mission.journal, _APPEND)
            healed = _cut(mission, descriptor, end.offset)
        except OSError as error:
            raise disk_refused(mission.journal, error) from error
        events = tuple(event for batch, _ in found for event in batch)
        return Recovered(cls(mission, descriptor, end, disk), events, healed)

    def append(self, events: Sequence[Event], after: MissionState | None = None) -> "asyncio.Future[None]":
        """Queue `events` now, in the order of the calls; the result resolves when they are durable.

        `after` is what the mission comes to with them, for a checkpoint; without it there will be none here.

        Raises:
            DiskRefused: at once, or when awaited; nothing can be appended any more.
            IllegalTransition: their `seq` does not follow; nothing was queued.
        """
        if self._refusal is not None or not self._writer.is_alive():
            raise _again(self._refusal or DiskRefused(f"{self._path}: the journal is closed"))
        for seq, event in enumerate(events, self._last_seq + 1):
            if event.seq != seq:
                raise IllegalTransition(f"{event.type} has seq {event.seq} where the journal needs {seq}")
        records = [encoded(event) for event in events]
        entry = _Entry(records, after, asyncio.get_running_loop().create_future())
        self._last_seq += len(events)
        self._queue.put(entry)
        return entry.done

    def alive(self) -> bool:
        """Say whether the journal is still the file at its path, so that what is written will be found."""
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Write what is queued and end the writer. Blocks; nothing can be appended afterwards."""
        self._queue.put(None)
        self._writer.join(CLOSE_LIMIT_S)
        if not self._writer.is_alive() and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _serve(self) -> None:
        closing = False
        while not closing:
            queued = [self._queue.get()]
            with suppress(queue.Empty):
                while True:
                    queued.append(self._queue.get_nowait())
            entries = [entry for entry in queued if entry is not None]
            closing = len(entries) < len(queued)
            if entries:
                self._commit(entries)
            self._leave_checkpoint(closing=closing)

    def _commit(self, entries: list[_Entry]) -> None:
        # What they hear if this very method has a bug: nobody may be left waiting.
        refusal: DiskRefused | None = self._refusal or DiskRefused(f"{self._path}: its writer failed")
        try:
            if self._refusal is None:
                self._write(entries)
                refusal = None
        except OSError as error:
            refusal = self._refusal = disk_refused(self._path, error)
            self._take_back()
        except DiskRefused as error:
            refusal = self._refusal = error
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                entries[0].done.get_loop().call_soon_threadsafe(_settle, entries, refusal)

    def _write(self, entries: Sequence[_Entry]) -> None:
        if os.fstat(self._descriptor).st_size != self._durable.offset:
            raise DiskRefused(f"{self._path}: somebody else wrote into the journal, and it cannot be trusted")
        lines = [line(*counted, self._blobs) for entry in entries for counted in _counted(entry.records)]
        data = memoryview(b"".join(lines))
        written = 0
        while written < len(data):
            written += self._disk.write(self._descriptor, data[written:])
        self._disk.sync(self._descriptor)
        self._durable = behind(self._durable, lines)
        self._after = entries[-1].after

    def _take_back(self) -> None:
        with suppress(OSError):  # the disk may refuse this too; `open` cuts what is left
            os.ftruncate(self._descriptor, self._durable.offset)

    def _leave_checkpoint(self, *, closing: bool) -> None:
        busy = not self._queue.empty()
        if self._after is None or not self._checkpoints.is_due(self._durable.seq, closing=closing, busy=busy):
            return
        touched_ns = os.fstat(self._descriptor).st_mtime_ns
        self._checkpoints.leave(Checkpoint(self._durable, touched_ns, self._after))


@dataclass(frozen=True, slots=True)
class Recovered:
    """A journal that was opened again, its events, and what had to be repaired, in words."""

    journal: Journal
    events: tuple[Event, ...]
    healed: str | None


def _again(refused: DiskRefused) -> DiskRefused:
    """Return the same error for one more to raise: a raised one carries where it was raised."""
    return DiskRefused(str(refused), what=refused.what)


def _settle(entries: list[_Entry], refusal: DiskRefused | None) -> None:
    for entry in entries:
        if entry.done.done():  # its task was cancelled; the events are written all the same
            continue
        if refusal is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(_again(refusal))


def _counted(records: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the records of one batch, each with the number of those that follow it."""
    return zip(records, range(len(records) - 1, -1, -1), strict=True)


def _cut(mission: MissionFolder, descriptor: int, end_bytes: int) -> str | None:
    """Set aside what stands behind the last whole batch; say so in words."""
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes == end_bytes:
        return None
    asides = (mission.path / f"journal.torn-{number}" for number in itertools.count(1))
    aside = next(path for path in asides if not path.exists())
    atomic_write(aside, os.pread(descriptor, size_bytes - end_bytes, end_bytes))
    os.ftruncate(descriptor, end_bytes)
    os.fsync(descriptor)
    return f"cut {size_bytes - end_bytes} bytes of an unfinished record off the journal; kept as {aside.name}"
