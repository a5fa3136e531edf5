"""How fast the journal is: run it as a script, in a folder on the disk that is meant.

python tests/bench/bench_journal.py

50 tasks append 100 times three events of about 900 bytes, each waiting until its own are durable: without
checkpoints, and with the state of a mission of 100 sessions to make them of. Then missions of 10,000 and of
100,000 events, of 100 sessions at work, are written, read back and reduced, and looked at with `orch status`:
with the checkpoint that their run left, with one that is older than it is while a run is on, and with none;
and the time is taken that a resume needs until it goes on. Each reader is a process of its own, so that its
memory is its own too; `orch status` is started with its bytecode compiled, as after an installation.
"""

import asyncio
import functools
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orch.mission.events import Event, MessageReason, MessageSent, MissionId, SessionId, ToolFinished
from orch.mission.reduce import reduce, replay
from orch.mission.state import MissionState
from orch.store.checkpoint import Checkpoint, dumped
from orch.store.folder import Folder, MissionFolder
from orch.store.journal import Journal, read
from orch.store.records import START
from tests.bench.bench_reduce import busy_mission

TASKS = 50
APPENDS = 100
EVENTS = 3
BATCH = 1_000
SIZES = (10_000, 100_000)
RUNS = 5
TOLD = 3_000
PADDING = 700  # with the envelope: about 900 bytes a line
ROOT = Path(__file__).resolve().parents[2]


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


async def append_together(mission: MissionFolder, after: MissionState | None) -> None:
    """Print throughput, latency, and what an append costs the event loop; `after` goes into checkpoints."""
    journal = await asyncio.to_thread(Journal.create, mission)
    latencies_s: list[float] = []
    on_loop_s: list[float] = []
    seq = itertools.count(1)

    async def session() -> None:
        for _ in range(APPENDS):
            events = [event(next(seq)) for _ in range(EVENTS)]
            started = time.perf_counter()
            cpu = time.thread_time()
            durable = journal.append(events, after)
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
    say(f"{'with' if after else 'without'} checkpoints: {TASKS * APPENDS * EVENTS / elapsed_s:,.0f} events/s")
    say(f"latency p50 {latencies_s[len(latencies_s) // 2] * 1e3:.1f} ms")
    say(f"latency p99 {latencies_s[len(latencies_s) * 99 // 100] * 1e3:.1f} ms")
    say(f"loop CPU per append of {EVENTS}: {sum(on_loop_s) / len(on_loop_s) * 1e6:.0f} µs")


async def fill(mission: MissionFolder, events: Sequence[Event]) -> bytes:
    """Write the journal that is read back; return the last checkpoint but one."""
    journal = await asyncio.to_thread(Journal.create, mission)
    state, earlier = MissionState(), b""
    for first in range(0, len(events), BATCH):
        batch = events[first : first + BATCH]
        state = functools.reduce(reduce, batch, state)
        if first + BATCH >= len(events):
            earlier = await asyncio.to_thread(mission.checkpoint.read_bytes)
        await journal.append(batch, state)
    await asyncio.to_thread(journal.close)
    size = mission.journal.stat().st_size
    say(f"{len(events):,} events, {size / 1e6:.0f} MB, {size / len(events):.0f} bytes an event")
    say(f"  a checkpoint has {len(earlier) / 1e3:.0f} KB; to make one takes {dump_ms(state):.1f} ms")
    return earlier


def dump_ms(state: MissionState) -> float:
    """Return the milliseconds that it takes to make a checkpoint: the best of a few."""
    kept = Checkpoint(START, 0, state)
    return min(timeit.repeat(lambda: dumped(kept), number=1, repeat=20)) * 1e3


def read_back(mission: MissionFolder) -> None:
    """Print how long readers and recovery take, and how much memory. In a process of its own."""
    base_mb = _peak_mb()
    started, cpu = time.perf_counter(), time.process_time()
    state = replay(read(mission))
    say(f"  read and reduce: {_took(started, cpu)} to seq {state.seq:,}")
    say(f"  memory at its most: {_peak_mb():.0f} MB, {base_mb:.0f} MB of it before")
    started, cpu = time.perf_counter(), time.process_time()
    recovered = Journal.open(mission)
    replay(recovered.events)
    say(f"  a resume is ready (open, check, reduce) after {_took(started, cpu)}")
    recovered.journal.close()


def _took(started: float, cpu: float) -> str:
    return f"{time.perf_counter() - started:.2f} s ({time.process_time() - cpu:.2f} s of CPU)"


def _peak_mb() -> float:
    """Return the most memory that this program had; what its parent had is not counted."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def look(workspace: Path, what: str) -> None:
    """Print how long `orch status` takes, from its start to its end."""
    command = [sys.executable, "-m", "orch", "status", "--json", "-C", str(workspace)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    times_s, cpu = [], resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times_s.append(time.perf_counter() - started)
    cpu_s = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - cpu) / RUNS
    times_s.sort()
    spread = f"{times_s[0]:.2f} - {times_s[RUNS // 2]:.2f} - {times_s[-1]:.2f} s"
    say(f"  orch status, {what}: {spread} ({cpu_s:.2f} s of CPU)")


def say(line: str) -> None:
    """Write one line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _told(event: Event) -> Event:
    """Let what a tool told be as long as it usually is: the events come to about 1 KB."""
    return event.model_copy(update={"text": "x" * TOLD}) if isinstance(event, ToolFinished) else event


def measure(size: int) -> None:
    """Measure a mission of `size` events in a temporary folder beneath the current directory."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Folder(Path(place))
        folder.create()
        events = [_told(event) for event in busy_mission(size)]
        mission = folder.mission(events[0].mission)
        earlier = asyncio.run(fill(mission, events))
        look(Path(place), "checkpoint at its end")
        mission.checkpoint.write_bytes(earlier)
        look(Path(place), f"checkpoint {BATCH:,} events before")
        mission.checkpoint.unlink()
        look(Path(place), "no checkpoint")
        subprocess.run([sys.executable, __file__, place, mission.path.name], check=True)


def main() -> None:
    """Measure; called by itself with a workspace and a mission, read that back."""
    if len(sys.argv) == 3:
        read_back(Folder(Path(sys.argv[1])).mission(sys.argv[2]))
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Folder(Path(place))
        folder.create()
        look(folder.workspace, "no mission at all")
        asyncio.run(append_together(folder.mission("m-append"), None))
        asyncio.run(append_together(folder.mission("m-checkpoints"), replay(busy_mission(BATCH))))
    for size in SIZES:
        measure(size)


if __name__ == "__main__":
    main()
