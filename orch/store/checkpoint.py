"""What a mission had come to at some place of its journal, so that a reader need not begin at its beginning.

A checkpoint is a cache and never truth: `resume`, the report and the seal read the journal. It holds the
gist of the state (`orch.mission.gist`), and where in the journal it was taken. A reader takes it only
if the record there still is the one that was there, and if the journal has grown or was not touched since; a
missing, torn, foreign or outdated one is none, which costs a reader nothing but time. It is replaced as a
whole and not synced: after a power cut there may be an old one, a torn one, or none.
"""

import functools
import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter

from orch.errors import JournalDamaged
from orch.mission.events import Role, Usage
from orch.mission.evolve import evolve
from orch.mission.gist import gist
from orch.mission.state import Issue, Item, MissionState, Session, Spending, Verification
from orch.store.folder import MissionFolder
from orch.store.records import Place, open_regular, stands

EVENTS_BETWEEN = 500
"""Behind so many events a checkpoint is due: they share what it costs, and a reader has few to read."""
MOST_BETWEEN = 4 * EVENTS_BETWEEN
"""So long it may wait for a moment in which nobody waits for the journal."""
_FORMAT = 1
"""Goes up when the same journal comes to another gist, or this file changes."""
_TEMPORARY = ".checkpoint.orch-tmp"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The gist of the state at `place` of the journal, which was last written to at `touched_ns`."""

    place: Place
    touched_ns: int
    state: MissionState


class Checkpoints:
    """Leaves the checkpoints of one run, for the journal's writer. A disk that refuses one is let be."""

    def __init__(self, mission: MissionFolder, last_seq: int) -> None:
        self._mission = mission
        self._last_seq = last_seq

    def is_due(self, seq: int, *, closing: bool, busy: bool) -> bool:
        """Say whether there is enough behind the last one; when the journal closes, anything is."""
        enough = 1 if closing else MOST_BETWEEN if busy else EVENTS_BETWEEN
        return seq - self._last_seq >= enough

    def leave(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint. One that cannot be written is tried again when the next one is due."""
        self._last_seq = checkpoint.place.seq
        with suppress(OSError, ValueError):  # ValueError: a text that no JSON can hold
            _replace(self._mission, dumped(checkpoint))


def load(mission: MissionFolder) -> Checkpoint | None:
    """Return the mission's checkpoint if it can be taken, else `None`. Never raises."""
    try:
        with open_regular(mission.checkpoint) as file:
            checkpoint = loaded(file.read())
        journal = mission.journal.stat()
    except (OSError, JournalDamaged):
        return None
    if checkpoint is None or journal.st_size < checkpoint.place.offset:
        return None
    is_touched = journal.st_mtime_ns != checkpoint.touched_ns
    if is_touched and journal.st_size == checkpoint.place.offset:
        return None  # not by its writer, who only lets it grow
    return checkpoint if stands(mission, checkpoint.place) else None


def dumped(checkpoint: Checkpoint) -> bytes:
    """Return the checkpoint as it stands on disk: a line about it, and the state."""
    place, state = checkpoint.place, gist(checkpoint.state)
    body = _states().dump_json(state, exclude={"spending"}, exclude_defaults=True, warnings=False)
    head = {
        "checkpoint": _kind(),
        "seq": place.seq,
        "offset": place.offset,
        "line_bytes": place.line_bytes,
        "record": place.crc,
        "touched_ns": checkpoint.touched_ns,
        "spending": [
            [role, model, usage.model_dump()] for (role, model), usage in state.spending.ledger.items()
        ],
        "crc": f"{zlib.crc32(body):08x}",
    }
    return json.dumps(head).encode() + b"\n" + body


def loaded(data: bytes) -> Checkpoint | None:
    """Return what `dumped` made, `None` if it is torn, altered, or of another orch."""
    line, _, body = data.partition(b"\n")
    try:
        head = json.loads(line)
        if head["checkpoint"] != _kind() or head["crc"] != f"{zlib.crc32(body):08x}":
            return None
        place = Place(head["seq"], head["offset"], head["line_bytes"], head["record"])
        state = evolve(_states().validate_json(body), spending=_spending(head["spending"]))
        return Checkpoint(place, head["touched_ns"], state)
    except (ValueError, LookupError, TypeError):
        return None


def _spending(rows: list[Any]) -> Spending:
    return Spending({(Role(role), model): Usage.model_validate(usage) for role, model, usage in rows})


@functools.cache
def _states() -> TypeAdapter[MissionState]:
    return TypeAdapter(MissionState)


@functools.cache
def _kind() -> str:
    """Name the shape of the state, so that one of another orch is not taken for one of this."""
    shapes = (MissionState, Item, Session, Issue, Verification, Spending)
    names = repr([(shape.__name__, [field.name for field in fields(shape)]) for shape in shapes])
    return f"{_FORMAT}-{zlib.crc32(names.encode()):08x}"


def _replace(mission: MissionFolder, data: bytes) -> None:
    temporary = mission.path / _TEMPORARY  # of that name `Folder.sweep` finds it; there is one writer
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, _WRITE, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(mission.checkpoint)
