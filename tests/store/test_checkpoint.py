"""A checkpoint saves a reader time and never changes what it sees; one that cannot be trusted is none."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orch.mission.events import Event, Heal
from orch.mission.gist import gist
from orch.mission.reduce import replay
from orch.mission.state import MissionState, MissionStatus
from orch.store import checkpoint
from orch.store.checkpoint import EVENTS_BETWEEN, MOST_BETWEEN, Checkpoint, dumped, load, loaded
from orch.store.folder import Folder, MissionFolder
from orch.store.journal import Journal, read
from orch.store.records import Place
from tests.bench.bench_reduce import busy_mission, sealed_mission
from tests.mission.simulation import MISSION

EVENTS = sealed_mission()[:600]
LONG = busy_mission(2 * EVENTS_BETWEEN + 500)


@pytest.fixture
def mission(tmp_path: Path) -> MissionFolder:
    """Return the folder of a mission that has not begun."""
    folder = Folder(tmp_path)
    folder.create()
    return folder.mission(MISSION)


def write(
    mission: MissionFolder,
    events: Sequence[Event],
    each: Callable[[int], None] = lambda _: None,
    size: int = 50,
) -> None:
    """Write a journal as a run does, in batches, and close it; `each` is told how much is durable."""

    async def append() -> None:
        opened = None if not mission.journal.exists() else await asyncio.to_thread(Journal.open, mission)
        journal = opened.journal if opened else await asyncio.to_thread(Journal.create, mission)
        before = opened.events if opened else ()
        for first in range(len(before), len(events), size):
            batch = events[first : first + size]
            await journal.append(batch, replay(events[: first + len(batch)]))
            await asyncio.to_thread(each, batch[-1].seq)
        await asyncio.to_thread(journal.close)

    asyncio.run(append())


def test_a_run_leaves_one_behind_itself(mission: MissionFolder) -> None:
    """It says what the whole journal says, and where it was taken."""
    write(mission, EVENTS)
    kept = load(mission)
    assert kept is not None
    assert kept.state == gist(replay(EVENTS))
    assert (kept.place.seq, kept.place.offset) == (len(EVENTS), mission.journal.stat().st_size)
    assert mission.checkpoint.stat().st_mode & 0o777 == 0o600


def test_a_long_run_leaves_one_every_few_hundred_events(mission: MissionFolder) -> None:
    """So a reader of a running mission never has more than so much to read, and a bit."""
    behind: list[int] = []

    def look(seq: int) -> None:
        kept = load(mission)
        behind.append(seq - (kept.place.seq if kept else 0))

    write(mission, LONG, look, size=100)

    assert max(behind) <= EVENTS_BETWEEN + 100
    kept = load(mission)
    assert kept is not None
    assert kept.place.seq == len(LONG)


def test_one_waits_for_a_quiet_moment_but_not_for_ever(mission: MissionFolder) -> None:
    """Nobody who waits for the journal waits for a checkpoint; an unending crowd gets one all the same."""
    due = checkpoint.Checkpoints(mission, 10).is_due
    seqs = [11, 10 + EVENTS_BETWEEN, 10 + MOST_BETWEEN]
    assert [due(seq, closing=False, busy=False) for seq in seqs] == [False, True, True]
    assert [due(seq, closing=False, busy=True) for seq in seqs] == [False, False, True]
    assert [due(seq, closing=True, busy=False) for seq in (10, 11)] == [False, True]


def test_without_a_state_there_is_none(mission: MissionFolder) -> None:
    """Who only appends says nothing that could be kept."""

    async def append() -> None:
        journal = await asyncio.to_thread(Journal.create, mission)
        await journal.append([Heal(seq=1, text="x")])
        await asyncio.to_thread(journal.close)

    asyncio.run(append())
    assert not mission.checkpoint.exists()
    assert load(mission) is None


@pytest.mark.parametrize("cut", [0, 1, 40, 200, -1])
def test_a_torn_or_altered_one_is_none(mission: MissionFolder, cut: int) -> None:
    """Whatever a power cut leaves of it."""
    write(mission, EVENTS)
    whole = mission.checkpoint.read_bytes()
    mission.checkpoint.write_bytes(whole[:cut])
    assert load(mission) is None
    mission.checkpoint.write_bytes(whole[:cut] + b"\0" * len(whole[cut:]))
    assert load(mission) is None


@pytest.mark.parametrize(
    "data", [b"{}\n{}", b"[]\n", b"null\nnull", b"\xff\n{}", b'{"checkpoint": "0-0"}\n{}']
)
def test_what_is_none_of_ours_is_none(data: bytes) -> None:
    """Of an earlier or a later orch, or of nobody."""
    assert loaded(data) is None


def test_one_of_another_orch_is_none(mission: MissionFolder) -> None:
    """Its state has other fields, or comes about in another way: it would be half of the truth."""
    write(mission, EVENTS)
    line, _, body = mission.checkpoint.read_bytes().partition(b"\n")
    head = json.loads(line)
    mission.checkpoint.write_bytes(json.dumps(head | {"checkpoint": "0-00000000"}).encode() + b"\n" + body)
    assert load(mission) is None
    mission.checkpoint.write_bytes(json.dumps(head).encode() + b"\n" + body)
    assert load(mission) is not None


def _shorter(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))


def _altered(journal: Path) -> None:
    data = journal.read_bytes()
    journal.write_bytes(data.replace(b"make", b"mark", 1))


def _touched(journal: Path) -> None:
    os.utime(journal, ns=(1, 1))


def _other_end(journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    data[-20] ^= 1
    journal.write_bytes(bytes(data) + b"more")


@pytest.mark.parametrize("change", [_shorter, _altered, _touched, _other_end, Path.unlink])
def test_a_journal_that_is_another_one_is_read_whole(
    mission: MissionFolder, change: Callable[[Path], None]
) -> None:
    """Cut, altered, restored from a copy, or gone."""
    write(mission, EVENTS)
    change(mission.journal)
    assert load(mission) is None


def test_a_journal_that_grew_keeps_its_checkpoint(mission: MissionFolder) -> None:
    """That is what it is for."""
    write(mission, EVENTS[:400])
    first = mission.checkpoint.read_bytes()
    write(mission, EVENTS)
    assert mission.checkpoint.read_bytes() != first

    mission.checkpoint.write_bytes(first)
    kept = load(mission)

    assert kept is not None
    assert kept.place.seq == 400


def test_what_goes_on_never_asks_it(mission: MissionFolder) -> None:
    """A resume, and whoever reads the journal, see the journal, whatever a checkpoint claims."""
    write(mission, EVENTS[:400])
    kept = load(mission)
    assert kept is not None
    lie = replace(kept.state, goal="another", status=MissionStatus.CLOSED)
    mission.checkpoint.write_bytes(dumped(replace(kept, state=lie)))

    write(mission, EVENTS)

    assert replay(read(mission)) == replay(EVENTS)
    again = load(mission)
    assert again is not None
    assert again.state == gist(replay(EVENTS))


def test_a_disk_that_refuses_it_disturbs_nobody(mission: MissionFolder) -> None:
    """The events are durable all the same; nothing is left behind."""
    mission.create()
    mission.checkpoint.mkdir()  # so that nothing can take its place
    write(mission, LONG)
    assert replay(read(mission)).seq == len(LONG)
    assert load(mission) is None
    mission.checkpoint.rmdir()
    write(mission, [*LONG, Heal(seq=len(LONG) + 1, ts=LONG[-1].ts, mission=MISSION, text="x")])
    assert load(mission) is not None


def test_a_text_that_no_json_can_hold_is_no_checkpoint(mission: MissionFolder) -> None:
    """And no error."""
    mission.create()
    checkpoints = checkpoint.Checkpoints(mission, 0)
    checkpoints.leave(Checkpoint(Place(1, 10, 10, "00000000"), 0, MissionState(goal="\ud800")))
    assert not mission.checkpoint.exists()


def test_a_pipe_in_its_place_holds_nobody_up(mission: MissionFolder) -> None:
    """Neither who reads nor who writes."""
    mission.create()
    for name in (mission.checkpoint, mission.path / checkpoint._TEMPORARY):
        os.mkfifo(name)
    assert load(mission) is None
    write(mission, EVENTS)
    assert load(mission) is not None
