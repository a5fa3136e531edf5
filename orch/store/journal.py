"""The journal of a mission: append-only JSON lines, the only truth.

Theory of operation. A line is one JSON object, an event, with `"crc":"<8 hex>"` as its last member: the
CRC-32 of the bytes of the line before `,"crc":`. One process writes, the holder of the mission lock; in it
one thread takes all that is queued, writes it, and syncs once for all of it. Long strings go to blobs first.
What is appended together is read together or not at all: a line before which others of its batch have to
follow says how many, in `"more"`, and a batch without its end never happened.

How it fails. Any error of the disk ends the writing: every waiting and later append raises `DiskRefused`,
and the file is cut back to what was acknowledged. A crash can only leave an unfinished batch at the end:
`open` sets it aside, readers stop before it. Anything else that is wrong is `JournalDamaged` with its line,
or `JournalNewer`, and the file is not touched.
"""

import asyncio
import itertools
import json
import os
import queue
import re
import stat
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from orch.errors import DiskRefused, IllegalTransition, JournalDamaged, JournalNewer, UsageError
from orch.mission.events import EVENT, SCHEMA_VERSION, Event
from orch.mission.transcript import clean
from orch.store.blobs import REFERENCE, Blobs
from orch.store.folder import MissionFolder, atomic_write, disk_refused, sync_folder

LONGEST_LINE_BYTES = 16 * 1024  # a longer line has its long strings moved to blobs
LONGEST_STRING = 4 * 1024  # characters; what counts as long in such a line
CLOSE_LIMIT_S = 30.0  # for the last sync of a slow disk

_APPEND = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_REFERENCE = f'"{REFERENCE}'.encode()
_RECORD = re.compile(rb'\{"v":')
_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_MORE = re.compile(rb',"more":(\d{1,9})\}')  # the last member of an event has another name


@dataclass(frozen=True, slots=True)
class Disk:
    """The two system calls that an acknowledgement rests on."""

    write: Callable[[int, memoryview], int] = os.write
    sync: Callable[[int], None] = os.fdatasync if sys.platform == "linux" else os.fsync


DISK = Disk()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One append: its records as JSON, and who waits for them."""

    records: list[bytes]
    done: "asyncio.Future[None]"


class Journal:
    """The one writer of a mission's journal. `append` belongs to the event loop, the rest may block.

    Made by `create` or `open`, whose caller holds the mission lock; to be closed.
    """

    def __init__(self, mission: MissionFolder, descriptor: int, last_seq: int, disk: Disk) -> None:
        self._path = mission.journal
        self._blobs = Blobs(mission.blobs)
        self._descriptor = descriptor
        self._last_seq = last_seq
        self._disk = disk
        self._durable_bytes = os.fstat(descriptor).st_size
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
        return cls(mission, descriptor, 0, disk)

    @classmethod
    def open(cls, mission: MissionFolder, disk: Disk = DISK) -> "Recovered":
        """Read all events, cut an unfinished batch off the end, and go on writing behind them.

        Raises:
            JournalDamaged: a record cannot be trusted; nothing was changed.
            JournalNewer: a later orch wrote it; nothing was changed.
            DiskRefused: it could not be read or repaired.
        """
        scanned = list(_scan(mission))
        end_bytes = scanned[-1][1] if scanned else 0
        try:
            mission.create()
            descriptor = os.open(mission.journal, _APPEND)
            healed = _cut(mission, descriptor, end_bytes)
        except OSError as error:
            raise disk_refused(mission.journal, error) from error
        events = tuple(event for event, _ in scanned)
        return Recovered(cls(mission, descriptor, len(events), disk), events, healed)

    def append(self, events: Sequence[Event]) -> "asyncio.Future[None]":
        """Queue `events` now, in the order of the calls; the result resolves when they are durable.

        Raises:
            DiskRefused: at once, or when awaited; nothing can be appended any more.
            IllegalTransition: their `seq` does not follow; nothing was queued.
        """
        if self._refusal is not None or not self._writer.is_alive():
            raise _again(self._refusal or DiskRefused(f"{self._path}: the journal is closed"))
        for seq, event in enumerate(events, self._last_seq + 1):
            if event.seq != seq:
                raise IllegalTransition(f"{event.type} has seq {event.seq} where the journal needs {seq}")
        entry = _Entry([_json(event) for event in events], asyncio.get_running_loop().create_future())
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

    def _commit(self, entries: list[_Entry]) -> None:
        # What they hear if this very method has a bug: nobody may be left waiting.
        refusal: DiskRefused | None = self._refusal or DiskRefused(f"{self._path}: its writer failed")
        try:
            if self._refusal is None:
                self._write(record for entry in entries for record in _counted(entry.records))
                refusal = None
        except OSError as error:
            refusal = self._refusal = disk_refused(self._path, error)
            self._take_back()
        except DiskRefused as error:
            refusal = self._refusal = error
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                entries[0].done.get_loop().call_soon_threadsafe(_settle, entries, refusal)

    def _write(self, records: Iterable[tuple[bytes, int]]) -> None:
        if os.fstat(self._descriptor).st_size != self._durable_bytes:
            raise DiskRefused(f"{self._path}: somebody else wrote into the journal, and it cannot be trusted")
        data = memoryview(b"".join(_line(record, more, self._blobs) for record, more in records))
        written = 0
        while written < len(data):
            written += self._disk.write(self._descriptor, data[written:])
        self._disk.sync(self._descriptor)
        self._durable_bytes += written

    def _take_back(self) -> None:
        with suppress(OSError):  # the disk may refuse this too; `open` cuts what is left
            os.ftruncate(self._descriptor, self._durable_bytes)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A journal that was opened again, its events, and what had to be repaired, in words."""

    journal: Journal
    events: tuple[Event, ...]
    healed: str | None


def read(mission: MissionFolder) -> Iterator[Event]:
    """Yield the events of a journal that somebody may be writing; those of an unfinished batch are none.

    Raises:
        JournalDamaged, JournalNewer, DiskRefused: as `Journal.open`; UsageError: there is no journal.
    """
    seq, damaged = 0, None
    while True:
        try:
            for event, _ in _scan(mission):
                if event.seq > seq:
                    seq = event.seq
                    yield event
        except JournalDamaged as damage:
            # A repair that passed by is no damage: half of the tail was read before it, half behind it.
            if damage.line == damaged:
                raise
            damaged = damage.line
        else:
            return


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


def _json(event: Event) -> bytes:
    try:
        return _dump(event)
    except ValueError:  # a lone surrogate, which no JSON can hold
        return _dump(EVENT.validate_python(_cleaned(event.model_dump())))


def _dump(event: Event) -> bytes:
    absent = {name for name in ("session", "item") if getattr(event, name) is None}
    return event.model_dump_json(ensure_ascii=True, exclude=absent).encode("ascii")


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {_cleaned(key): _cleaned(member) for key, member in value.items()}
        case list() | tuple():
            return [_cleaned(member) for member in value]
        case _:
            return value


def _counted(records: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the records of one batch, each with the number of those that follow it."""
    return zip(records, range(len(records) - 1, -1, -1), strict=True)


def _line(record: bytes, more: int, blobs: Blobs) -> bytes:
    is_long = len(record) > LONGEST_LINE_BYTES
    if is_long or _REFERENCE in record:
        longest = LONGEST_STRING if is_long else sys.maxsize
        record = json.dumps(blobs.detach(json.loads(record), longest), separators=(",", ":")).encode("ascii")
    head = record[:-1]
    if more:
        head = b'%b,"more":%d' % (head, more)
    return b'%b,"crc":"%08x"}\n' % (head, zlib.crc32(head))


def _record(line: bytes) -> bytes | None:
    """Return the JSON of an intact line, else `None`."""
    head, mark, tail = line.rpartition(b',"crc":"')
    if not mark or tail != b'%08x"}\n' % zlib.crc32(head):
        return None
    return head + b"}"


def _scan(mission: MissionFolder) -> Iterator[tuple[Event, int]]:
    """Yield each event with the offset behind its line, up to an unfinished batch."""
    batch: list[tuple[Event, int]] = []
    due = 0  # records of the batch that have to follow
    for number, line, end_bytes in _records(mission.journal):
        record, more = _split(line)
        if batch and more != due - 1:
            raise _damaged(mission.journal, number, f"a record stands where {due} of one batch had to follow")
        batch.append((_event(record, mission, number), end_bytes))
        due = more
        if not due:
            yield from batch
            batch.clear()


def _split(record: bytes) -> tuple[bytes, int]:
    """Return the event of a record, and how many records of its batch follow."""
    found = _MORE.search(record, max(0, len(record) - len(b',"more":123456789}')))
    return (record[: found.start()] + b"}", int(found[1])) if found else (record, 0)


def _records(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yield each intact line: its number, its JSON, the offset behind it; stop before an unfinished one."""
    end_bytes = 0
    try:
        with _open_for_reading(path) as file:
            for number, line in enumerate(file, 1):
                record = _record(line)
                if record is None:
                    if not _is_unfinished(line) or (line.endswith(b"\n") and file.read(1)):
                        raise _damaged(path, number, "the record does not match its checksum")
                    return
                end_bytes += len(line)
                yield number, record, end_bytes
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; `orch status --all` lists the missions") from error
    except OSError as error:
        raise disk_refused(path, error) from error


def _open_for_reading(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _damaged(path, 1, "it is no regular file")
    return os.fdopen(descriptor, "rb")


def _is_unfinished(line: bytes) -> bool:
    """Say whether a crash can have left this: no whole record stands in it, but for its line end."""
    if _record(line + b"\n") is not None:
        return True
    starts = [start.start() for start in _RECORD.finditer(line)]
    return not any(
        zlib.crc32(line[start : seal.start()]) == int(seal[1], 16)
        for seal in _SEAL.finditer(line)
        for start in starts
        if start < seal.start()
    )


def _event(record: bytes, mission: MissionFolder, number: int) -> Event:
    try:
        if _REFERENCE in record:
            record = json.dumps(Blobs(mission.blobs).attach(json.loads(record))).encode("ascii")
        event = EVENT.validate_json(record)
    except LookupError as error:
        raise _damaged(mission.journal, number, str(error)) from error
    except ValidationError as error:
        raise _unknown(record, mission.journal, number) from error
    if event.seq != number:
        raise _damaged(mission.journal, number, f"it has seq {event.seq} where {number} must stand")
    return event


def _damaged(path: Path, number: int, what: str) -> JournalDamaged:
    return JournalDamaged(
        f"{path}:{number}: {what}. The journal is damaged and was not touched: "
        "restore it from a copy, or start afresh with `orch task`",
        path=str(path),
        line=number,
    )


def _unknown(record: bytes, path: Path, number: int) -> JournalNewer | JournalDamaged:
    """Say why a record with a valid checksum is no event of this version."""
    try:
        facts = json.loads(record)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or "v" not in facts:
        return _damaged(path, number, "the record is no event")
    return JournalNewer(
        f"{path}:{number}: a record {facts.get('type')!r} of version {facts['v']}, which this orch "
        f"(version {SCHEMA_VERSION}) cannot read; use the orch that wrote it"
    )


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
