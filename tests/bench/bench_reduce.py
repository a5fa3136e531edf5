"""What the reducer costs: events a second, and microseconds an event, for `reduce` alone.

python tests/bench/bench_reduce.py [--profile]

One journal is that of a mission of 50 items, played to its seal by the simulation: every kind of event, few
turns. The other is 100,000 events of 100 sessions that work side by side: turns, reads and now and then a
write, as in a long mission. Both are made before the clock runs, and are replayed from memory. With
`--profile` the functions that the second spends its time in are listed.
"""

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orch.mission import events as ev
from orch.mission.reduce import reduce, replay
from orch.mission.state import MissionState
from orch.mission.transcript import AssistantMessage, ToolCall
from tests.mission.casts import cast, script, spec
from tests.mission.simulation import MISSION, MODELS, Plan, Simulation

ITEMS = 50
SESSIONS = 100
EVENTS = 100_000
TURNS_PER_WRITE = 10
REPEATS = 5
SLICE = 500
TS = "2030-01-01T00:00:00.000Z"
USAGE = ev.Usage(input_tokens=9_000, output_tokens=300, cached_tokens=8_000, cost_usd=0.01)


def sealed_mission() -> list[ev.Event]:
    """Return the journal of a mission of many items, whose sessions take turns in no order."""
    items = tuple(spec(f"i{number}") for number in range(ITEMS))
    rng = Random(1)  # noqa: S311 - a reproducible order, no secret
    simulation = Simulation(cast(planner=script(Plan(items, ("verify",)))), pick=rng.choice)
    return simulation.start(max_parallel=ITEMS).run().events


def busy_mission(size: int = EVENTS) -> list[ev.Event]:
    """Return the first events of the journal of many Workers at work."""
    seq = count(1)
    return [
        event.model_copy(update={"seq": next(seq), "ts": TS, "mission": MISSION})
        for event in islice(_at_work(), size)
    ]


def _at_work() -> Iterator[ev.Event]:
    yield ev.MissionStarted(
        goal="goal", orch_version="1", models=MODELS, max_parallel=SESSIONS, max_turns=1_000, baseline=False
    )
    items = tuple(spec(f"i{number}") for number in range(SESSIONS))
    yield ev.PlanAccepted(items=items, verify=("verify",), files={f: None for i in items for f in i.files})
    workers = [ev.SessionId(f"S{number}") for number in range(SESSIONS)]
    for worker, item in zip(workers, items, strict=True):
        yield from _begun(worker, item)
    for turn in count(1):
        for worker, item in zip(workers, items, strict=True):
            yield from _turn(worker, item, turn)


def _begun(worker: ev.SessionId, item: ev.ItemSpec) -> Iterator[ev.Event]:
    model = MODELS[ev.Role.WORKER]
    yield ev.LeaseAcquired(item=item.id, files=item.files)
    yield ev.SessionStarted(session=worker, item=item.id, role=ev.Role.WORKER, model=model, title=item.title)
    yield ev.MessageSent(session=worker, item=item.id, reason=ev.MessageReason.BRIEF, text="brief")
    yield ev.ItemStarted(item=item.id, session=worker)


def _turn(worker: ev.SessionId, item: ev.ItemSpec, turn: int) -> Iterator[ev.Event]:
    model = MODELS[ev.Role.WORKER]
    call = ToolCall(id=f"c{turn}", name="read", arguments="{}")
    path, before, after = item.files[0], f"{turn - TURNS_PER_WRITE}", f"{turn}"
    yield ev.TurnStarted(session=worker, item=item.id, turn=turn, model=model)
    yield ev.TurnFinished(
        session=worker,
        item=item.id,
        turn=turn,
        model=model,
        message=AssistantMessage(text="I look.", tool_calls=(call,)),
        finish=ev.FinishReason.TOOL_CALLS,
        usage=USAGE,
        duration_s=1.0,
    )
    yield ev.ToolCalled(session=worker, item=item.id, call_id=call.id, tool=call.name, summary="read")
    if turn % TURNS_PER_WRITE == 0:
        yield ev.FileIntended(session=worker, item=item.id, path=path, before=before, after=after)
        yield ev.FileChanged(session=worker, item=item.id, path=path, before=before, after=after)
    yield ev.ToolFinished(
        session=worker,
        item=item.id,
        call_id=call.id,
        tool=call.name,
        ok=True,
        text="content",
        duration_s=0.1,
        seen={path: before},
    )


def measure(name: str, events: Sequence[ev.Event]) -> None:
    """Print what `reduce` costs: the best of a few replays, slice by slice, so that neighbours count less."""
    replays = [_slices_s(events) for _ in range(REPEATS)]
    best_s = sum(min(slices) for slices in zip(*replays, strict=True))
    rate, each_us = len(events) / best_s, best_s / len(events) * 1e6
    say(f"{name}: {len(events):,} events in {best_s:.3f} s, {rate:,.0f} events/s, {each_us:.1f} µs an event")


def _slices_s(events: Sequence[ev.Event]) -> list[float]:
    """Replay once; return the CPU seconds of every slice."""
    state, times_s = MissionState(), []
    for first in range(0, len(events), SLICE):
        started = time.process_time()
        for event in events[first : first + SLICE]:
            state = reduce(state, event)
        times_s.append(time.process_time() - started)
    return times_s


def profile(events: Sequence[ev.Event]) -> None:
    """Print where the time goes."""
    with cProfile.Profile() as profiler:
        replay(events)
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(15)


def say(line: str) -> None:
    """Write one line of the report."""
    sys.stdout.write(line + "\n")


def main() -> None:
    """Make both journals and replay them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="list the dearest functions")
    arguments = parser.parse_args()
    measure(f"a sealed mission of {ITEMS} items", sealed_mission())
    busy = busy_mission()
    measure(f"{SESSIONS} sessions at work", busy)
    if arguments.profile:
        profile(busy)


if __name__ == "__main__":
    main()
