"""What stands in a journal, and how it is read: the lines, their checksums, their batches.

A line is one JSON object, an event, with `"crc":"<8 hex>"` as its last member: the CRC-32 of the bytes of the
line before `,"crc":`. What was appended together is read together or not at all: a line before which others
of its batch have to follow says how many, in `"more"`, and a batch without its end never happened. So readers
stop before an unfinished batch at the end. Anything else that is wrong is `JournalDamaged` with its line, or
`JournalNewer`. Reading changes nothing, and can be done while somebody writes.
"""

import json
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import ValidationError

from orch.errors import JournalDamaged, JournalNewer, UsageError
from orch.mission.events import EVENT, SCHEMA_VERSION, Event
from orch.mission.transcript import clean
from orch.store.blobs import REFERENCE, Blobs
from orch.store.folder import MissionFolder, disk_refused

LONGEST_LINE_BYTES = 16 * 1024  # a longer line has its long strings moved to blobs
LONGEST_STRING = 4 * 1024  # characters; what counts as long in such a line

_REFERENCE = f'"{REFERENCE}'.encode()
_RECORD = re.compile(rb'\{"v":')
_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_MORE = re.compile(rb',"more":(\d{1,9})\}')  # the last member of an event has another name
_T = TypeVar("_T")
_CRC_BYTES = len(b'01234567"}\n')


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a journal, behind a whole batch: whether it still is there can be asked of the file.

    `seq` events stand before it, in `offset` bytes; the last line is `line_bytes` long and has that `crc`.
    """

    seq: int = 0
    offset: int = 0
    line_bytes: int = 0
    crc: str = ""


START = Place()


def read(mission: MissionFolder) -> Iterator[Event]:
    """Yield the events of a journal that somebody may be writing; those of an unfinished batch are none.

    Raises:
        JournalDamaged, JournalNewer: as `batches`; DiskRefused, UsageError: it cannot be read, or is none.
    """
    for events, _ in patiently(mission):
        yield from events


def patiently(mission: MissionFolder, start: Place = START) -> Iterator[tuple[tuple[Event, ...], Place]]:
    """Yield as `batches` does, also while the journal is being repaired."""
    place, damaged = start, None
    while True:
        try:
            for events, end in batches(mission, place):
                place = end
                yield events, end
        except JournalDamaged as damage:
            # A repair that passed by is no damage: half of the tail was read before it, half behind it.
            if damage.line == damaged:
                raise
            damaged = damage.line
        else:
            return


def batches(mission: MissionFolder, start: Place = START) -> Iterator[tuple[tuple[Event, ...], Place]]:
    """Yield each whole batch behind `start`, with the place behind it.

    Raises:
        JournalDamaged: a record cannot be trusted.
        JournalNewer: a later orch wrote it.
        DiskRefused: it could not be read.
        UsageError: there is no journal.
    """
    return _batches(mission.journal, start, lambda record, number: _event(record, mission, number))


def began(mission: MissionFolder) -> bool:
    """Say whether anything ever happened in the mission. Raises like `batches`."""
    return next(_batches(mission.journal, START, lambda record, _: record), None) is not None


def of_session(mission: MissionFolder, session: str) -> Iterator[Event]:
    """Yield the events of one session; of the others only the checksums are looked at. Raises like `batches`.

    What is being repaired at the end of the journal is left out.
    """
    mark = b'"session":%b' % json.dumps(session).encode()

    def decode(record: bytes, number: int) -> Event | None:
        return _event(record, mission, number) if mark in record else None

    for events, _ in _batches(mission.journal, START, decode):
        yield from (event for event in events if event is not None and event.session == session)


def stands(mission: MissionFolder, place: Place) -> bool:
    """Say whether the record before `place` still is the one that was read there."""
    if place == START:
        return True
    try:
        with open_regular(mission.journal) as file:
            file.seek(place.offset - place.line_bytes)
            line = file.read(place.line_bytes)
    except (OSError, ValueError, JournalDamaged):
        return False
    return _record(line) is not None and _crc(line) == place.crc


# ---- one line


def encoded(event: Event) -> bytes:
    """Return the event as the JSON of its line; what no JSON can hold is replaced."""
    try:
        return _dump(event)
    except ValueError:  # a lone surrogate
        return _dump(EVENT.validate_python(cleaned(event.model_dump())))


def line(record: bytes, more: int, blobs: Blobs) -> bytes:
    """Return the line of a record that `more` of its batch follow; its long strings go to `blobs`."""
    is_long = len(record) > LONGEST_LINE_BYTES
    if is_long or _REFERENCE in record:
        longest = LONGEST_STRING if is_long else sys.maxsize
        record = json.dumps(blobs.detach(json.loads(record), longest), separators=(",", ":")).encode("ascii")
    head = record[:-1]
    if more:
        head = b'%b,"more":%d' % (head, more)
    return b'%b,"crc":"%08x"}\n' % (head, zlib.crc32(head))


def behind(place: Place, lines: list[bytes]) -> Place:
    """Return the place behind `lines`, which are whole batches, at `place`."""
    if not lines:
        return place
    return _after(place, len(lines), sum(map(len, lines)), lines[-1])


def _after(place: Place, records: int, size_bytes: int, last: bytes) -> Place:
    return Place(place.seq + records, place.offset + size_bytes, len(last), _crc(last))


def _crc(whole_line: bytes) -> str:
    return whole_line[-_CRC_BYTES:-3].decode("ascii")


def cleaned(value: Any) -> Any:
    """Return JSON-like `value` with its texts cleaned."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {cleaned(key): cleaned(member) for key, member in value.items()}
        case list() | tuple():
            return [cleaned(member) for member in value]
        case _:
            return value


def _dump(event: Event) -> bytes:
    absent = {name for name in ("session", "item") if getattr(event, name) is None}
    return event.model_dump_json(ensure_ascii=True, exclude=absent).encode("ascii")


def _record(line: bytes) -> bytes | None:
    """Return the JSON of an intact line, else `None`."""
    head, mark, tail = line.rpartition(b',"crc":"')
    if not mark or tail != b'%08x"}\n' % zlib.crc32(head):
        return None
    return head + b"}"


# ---- many lines


def _batches(
    path: Path, start: Place, decode: Callable[[bytes, int], _T]
) -> Iterator[tuple[tuple[_T, ...], Place]]:
    """Yield what the records of each whole batch behind `start` say, with the place behind it."""
    place, batch, size_bytes = start, list[_T](), 0
    due = 0  # records of the batch that have to follow
    for number, whole, head in _lines(path, start):
        record, more = _split(head)
        if batch and more != due - 1:
            raise _damaged(path, number, f"a record stands where {due} of one batch had to follow")
        batch.append(decode(record, number))
        size_bytes += len(whole)
        due = more
        if not due:
            place = _after(place, len(batch), size_bytes, whole)
            yield tuple(batch), place
            batch, size_bytes = [], 0


def _split(record: bytes) -> tuple[bytes, int]:
    """Return the event of a record, and how many records of its batch follow."""
    found = _MORE.search(record, max(0, len(record) - len(b',"more":123456789}')))
    return (record[: found.start()] + b"}", int(found[1])) if found else (record, 0)


def _lines(path: Path, start: Place) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each intact line behind `start`: its number, itself, its JSON; stop before an unfinished one."""
    try:
        with open_regular(path) as file:
            file.seek(start.offset)
            for number, whole in enumerate(file, start.seq + 1):
                record = _record(whole)
                if record is None:
                    if not _is_unfinished(whole) or (whole.endswith(b"\n") and file.read(1)):
                        raise _damaged(path, number, "the record does not match its checksum")
                    return
                yield number, whole, record
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; `orch status --all` lists the missions") from error
    except OSError as error:
        raise disk_refused(path, error) from error


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read; what is none is damage, and holds nobody up."""
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
