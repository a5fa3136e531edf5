"""Who only reads a journal: while it grows, is cut off and is repaired, and when it is long."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orch.mission.events import Event, MessageReason, MessageSent, MissionId, SessionId
from orch.store.folder import Folder, MissionFolder
from orch.store.journal import Journal, read
from tests.bench.bench_reduce import busy_mission

pytestmark = pytest.mark.anyio
PROJECT = Path(__file__).parents[2]
READERS, CRASHES, BATCHES, EVENTS = 4, 12, 4, 5
LONG = 10_000
MOST_CPU_S, MOST_MB = 3.0, 200.0
"""Several times of what it takes."""

READER = """
import sys, time
from pathlib import Path
from orch.mission.reduce import replay
from orch.store.folder import Folder
from orch.store.journal import Journal

def most_mb():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e3

mission = Folder(Path(sys.argv[1])).mission(sys.argv[2])
mb, cpu = most_mb(), time.process_time()
recovered = Journal.open(mission)
state = replay(recovered.events)
print(state.seq, time.process_time() - cpu, most_mb() - mb)
recovered.journal.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder that is ready."""
    made = Folder(tmp_path)
    made.create()
    return made


def _events(first: int) -> list[Event]:
    return [
        MessageSent(
            seq=seq,
            ts="2030-01-01T00:00:00.000Z",
            mission=MissionId("m-readers"),
            session=SessionId("s1"),
            reason=MessageReason.WAKE,
            text="x" * (seq % 7 * 100),
        )
        for seq in range(first, first + EVENTS)
    ]


async def _write(mission: MissionFolder) -> int:
    """Append, crash in the middle of a write, repair, again and again; return the last number."""
    journal = await asyncio.to_thread(Journal.create, mission)
    seq = 0
    for crash in range(CRASHES):
        for _ in range(BATCHES):
            await journal.append(_events(seq + 1))
            seq += EVENTS
        await asyncio.to_thread(journal.close)
        whole = (await asyncio.to_thread(mission.journal.read_bytes)).splitlines()[-1]
        with mission.journal.open("ab") as file:
            file.write(whole[: 1 + crash * len(whole) // CRASHES])
        await asyncio.sleep(0.005)
        journal = (await asyncio.to_thread(Journal.open, mission)).journal
    await asyncio.to_thread(journal.close)
    return seq


@pytest.mark.fault(50)
async def test_readers_never_see_a_journal_that_cannot_be_read(
    folder: Folder, record_property: Callable[[str, object], None]
) -> None:
    """While it is appended to, torn and repaired, each sees whole batches, and never fewer than before."""
    mission = folder.mission("m-readers")
    over = asyncio.Event()

    def follow() -> list[int]:
        counts: list[int] = []
        while not over.is_set():
            seqs = [event.seq for event in read(mission)] if mission.journal.exists() else []
            assert seqs == list(range(1, len(seqs) + 1))
            counts.append(len(seqs))
        return counts

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(asyncio.to_thread(follow)) for _ in range(READERS)]
        try:
            last = await _write(mission)
        finally:
            over.set()

    for counts in (reader.result() for reader in readers):
        assert counts == sorted(counts)
        assert set(counts) <= set(range(0, last + 1, EVENTS))
    looks = sum(len(reader.result()) for reader in readers)
    record_property("figure", f"{READERS} readers, {looks} looks, {CRASHES} repairs, 0 errors")


@pytest.mark.fault(49)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_a_long_journal_is_read_and_reduced_in_little_time_and_memory(
    folder: Folder, record_property: Callable[[str, object], None]
) -> None:
    """Ten thousand events; `tests/bench/bench_journal.py` does it with a hundred thousand."""
    events = busy_mission(LONG)
    mission = folder.mission(events[0].mission)
    journal = await asyncio.to_thread(Journal.create, mission)
    await journal.append(events)
    await asyncio.to_thread(journal.close)

    command = [sys.executable, "-c", READER, str(folder.workspace), mission.path.name]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    out = await asyncio.to_thread(subprocess.check_output, command, env=environment, text=True)

    seq, cpu_s, mb = map(float, out.split())
    assert seq == LONG
    assert cpu_s < MOST_CPU_S
    assert mb < MOST_MB
    record_property("figure", f"{LONG} events: ready after {cpu_s:.2f} s of CPU, +{mb:.0f} MB")
