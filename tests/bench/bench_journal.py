"""How fast the journal is: run it as a script, in a folder on the disk that is meant.

50 tasks append 100 times three events of about 900 bytes, each waiting until its own are durable. Then
100,000 events of about 1 KB are written and read back.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path

from orch.mission.events import Event, MessageReason, MessageSent, MissionId, SessionId
from orch.store.folder import Folder, MissionFolder
from orch.store.journal import Journal, read

TASKS = 50
APPENDS = 100
EVENTS = 3
REPLAYED = 100_000
BATCH = 1_000
PADDING = 700  # with the envelope: about 900 bytes a line


def event(seq: int, padding: int = PADDING) -> Event:
    """Return one event whose line has the usual length."""
    return MessageSent(
        seq=seq,
        ts="2030-01-01T00:00:00.000Z",
        mission=MissionId("m-bench"),
        session=SessionId("s1"),
        reason=MessageReason.WAKE,
        text="x" * padding,
    )


async def append_together(mission: MissionFolder) -> None:
    """Print throughput, latency, and what an append costs the event loop."""
    journal = await asyncio.to_thread(Journal.create, mission)
    latencies_s: list[float] = []
    on_loop_s: list[float] = []
    seq = itertools.count(1)

    async def session() -> None:
        for _ in range(APPENDS):
            events = [event(next(seq)) for _ in range(EVENTS)]
            started = time.perf_counter()
            cpu = time.thread_time()
            durable = journal.append(events)
            on_loop_s.append(time.thread_time() - cpu)
            await durable
            latencies_s.append(time.perf_counter() - started)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(session())
    elapsed_s = time.perf_counter() - started
    await asyncio.to_thread(journal.close)
    latencies_s.sort()
    say(f"{TASKS * APPENDS * EVENTS / elapsed_s:,.0f} events/s")
    say(f"latency p50 {latencies_s[len(latencies_s) // 2] * 1e3:.1f} ms")
    say(f"latency p99 {latencies_s[len(latencies_s) * 99 // 100] * 1e3:.1f} ms")
    say(f"loop CPU per append of {EVENTS}: {sum(on_loop_s) / len(on_loop_s) * 1e6:.0f} µs")


async def fill(mission: MissionFolder) -> None:
    """Write the journal that is read back."""
    journal = await asyncio.to_thread(Journal.create, mission)
    for first in range(1, REPLAYED, BATCH):
        await journal.append([event(seq, 850) for seq in range(first, first + BATCH)])
    await asyncio.to_thread(journal.close)


def replay(mission: MissionFolder) -> None:
    """Print how long readers and recovery take."""
    size_mb = mission.journal.stat().st_size / 1e6
    started = time.perf_counter()
    count = sum(1 for _ in read(mission))
    say(f"read {count:,} events, {size_mb:.0f} MB: {time.perf_counter() - started:.2f} s")
    started = time.perf_counter()
    recovered = Journal.open(mission)
    say(f"open with {len(recovered.events):,} events: {time.perf_counter() - started:.2f} s")
    recovered.journal.close()


def say(line: str) -> None:
    """Write one line of the report."""
    sys.stdout.write(line + "\n")


def main() -> None:
    """Measure in a temporary folder beneath the current directory."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Folder(Path(place))
        folder.create()
        asyncio.run(append_together(folder.mission("m-append")))
        asyncio.run(fill(folder.mission("m-replay")))
        replay(folder.mission("m-replay"))


if __name__ == "__main__":
    main()
