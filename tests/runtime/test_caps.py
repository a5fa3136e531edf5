"""The caps of whole missions: what is going on ends in order, nothing paid is lost, a raised cap goes on."""

import os
import re
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from itertools import count, pairwise
from typing import Self

import pytest

from orch.mission import events as ev
from orch.mission.caps import Cap, Caps
from orch.mission.state import MissionState
from orch.runtime import clock, orchestrator
from tests.endpoint import Fault, Step, Turn
from tests.play import (
    SILENCE,
    Player,
    Scene,
    always,
    build,
    call,
    item,
    lead,
    mission,
    refused,
    run,
    say,
    scene_of,
    shown,
    silent_once,
)
from tests.runtime.house import House, Run

HUGE = 5_000_000
ITEMS = tuple(item(f"i{n}") for n in range(6))
LASTING = "sleep 60"


def usage(prompt: int, completion: int = 1) -> Mapping[str, int]:
    """Return a usage as an endpoint reports it."""
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def tokens(run: Run) -> int:
    """Return what the run's mission has spent."""
    total = run.state.spending.total
    return total.input_tokens + total.output_tokens


def capped(run: Run) -> ev.Budget:
    """Assert that the mission ended at a cap on what is spent, in order; return what it ran out of."""
    *_, budget, end = run.events
    assert isinstance(budget, ev.Budget)
    assert isinstance(end, ev.MissionFailed)
    assert (run.result.exit_code, run.result.subtype, run.result.retryable) == (4, "limit", True)
    assert [b.kind for b in run.result.blockers] == ["limit"]
    assert budget.limit.flag in run.result.result
    assert run.result.reached is budget.limit
    assert budget.reached
    return budget


def check_no_turn_was_cut(run: Run) -> None:
    """Assert that every call of a model came to its end."""
    begun = {(e.session, e.turn) for e in run.all(ev.TurnStarted)}
    assert begun == {(e.session, e.turn) for e in run.all(ev.TurnFinished)}


# ---- tokens and dollars


@pytest.mark.fault(30)
@pytest.mark.parametrize("fault", [None, Fault.NO_USAGE], ids=["counted", "not counted"])
def test_a_mission_stays_within_its_tokens_and_goes_on_with_more(
    house: House, fault: Fault | None, record_property: Callable[[str, object], None]
) -> None:
    """Also if the endpoint counts nothing; no turn is cut off, and a cap that is used up costs no turn."""

    def script(turn: Turn) -> Step:
        return replace(mission(*ITEMS)(turn), fault=fault)

    ended = house.begin(script, caps=Caps(max_tokens=25_000))
    assert capped(ended).cap == 25_000
    assert 15_000 < tokens(ended) <= 25_000
    record_property("figure", f"{tokens(ended)} tokens spent of 25000")
    assert [e.limit for e in ended.all(ev.Budget) if not e.reached] == [Cap.TOKENS]
    check_no_turn_was_cut(ended)

    again = house.resume(script, caps=Caps(max_tokens=25_000))
    assert [e.type for e in again.events[len(ended.events) :]] == [
        "mission.resumed",
        "budget",
        "mission.failed",
    ]
    capped(again)

    done = house.resume(script, caps=Caps(max_tokens=10_000_000))
    assert done.result.exit_code == 0, done.result.result
    assert (done.state.exhausted, done.result.reached) == (None, None)


@pytest.mark.fault(30)
def test_a_cap_that_one_answer_exceeds_lets_work_that_costs_nothing_end(house: House) -> None:
    """The last turn asked for the seal: orch verifies, and seals, far beyond the cap."""

    def dear(scene: Scene) -> Step:
        step = lead(scene)
        return replace(step, usage=usage(HUGE)) if scene.woken else step

    ended = house.begin(mission(item("a"), commander=dear), caps=Caps(max_tokens=HUGE))

    assert ended.result.exit_code == 0, ended.result.result
    assert tokens(ended) > HUGE
    assert [e.spent > HUGE for e in ended.all(ev.Budget)] == [True]


def _until(ready: threading.Event, then: Player) -> Player:
    """Worker of b: look around until `ready`, then go on at a price that uses up everything."""

    def player(scene: Scene) -> Step:
        if scene.field("id") != "b":
            return build(scene)
        if not ready.is_set():
            return replace(call("glob", pattern=f"*{scene.turn.number}"), delay_s=0.02)
        return replace(then(scene), usage=usage(HUGE))

    return player


@pytest.mark.fault(30)
def test_commands_under_way_end_before_the_run_does(house: House) -> None:
    """A Reviewer's command outlasts the last paid turn of another session; its evidence is on record."""
    runs = threading.Event()
    reviewer = shown(run("until [ -e b.txt ]; do sleep 0.02; done; sleep 0.2; grep -q made a.txt"), runs)
    script = mission(item("a"), item("b"), worker=_until(runs, build), reviewer=reviewer)
    ended = house.begin(script, caps=Caps(max_tokens=HUGE))

    capped(ended)
    check_no_turn_was_cut(ended)
    (evidence,) = ended.all(ev.EvidenceRecorded)
    assert evidence.exit_code == 0
    assert all(not session.open_calls for session in ended.state.sessions.values())
    done = house.resume(script, caps=Caps(max_tokens=100 * HUGE))
    assert done.result.exit_code == 0, done.result.result


@pytest.mark.fault(30)
def test_a_retry_is_a_call_like_any_other(house: House) -> None:
    """While it waits for its second try, another session uses up the cap: the try is not made."""
    refusals = threading.Event()

    reviewer = shown(always(refused(503, retry_after="1")), refusals)
    tries: list[Turn] = []

    def script(turn: Turn) -> Step:
        if scene_of(turn).role == "Reviewer":
            tries.append(turn)
        return played(turn)

    played = mission(item("a"), item("b"), worker=_until(refusals, build), reviewer=reviewer)
    ended = house.begin(script, caps=Caps(max_tokens=HUGE))

    capped(ended)
    assert [e.attempt for e in ended.all(ev.Retry)] == [1]
    assert len(tries) == 1


@pytest.mark.fault(30)
def test_a_call_that_may_have_been_paid_counts(house: House) -> None:
    """A stream that broke off does, with what was expected of it; a refusal does not."""

    def commander(scene: Scene) -> Step:
        step, attempt = lead(scene), scene.turn.attempt
        if scene.turn.number or attempt > 3:
            return step
        return (replace(step, fault=Fault.CUT), refused(500), replace(step, fault=Fault.NO_FINISH))[
            attempt - 1
        ]

    ended = house.begin(mission(item("a"), commander=commander))

    assert ended.result.exit_code == 0, ended.result.result
    wasted = [e.usage for e in ended.all(ev.Retry)]
    assert [u is not None for u in wasted] == [True, False, True]
    paid = sum(e.usage.input_tokens for e in ended.all(ev.TurnFinished))
    assert ended.result.usage.input_tokens == paid + sum(u.input_tokens for u in wasted if u is not None)


@pytest.mark.fault(30)
def test_a_call_that_a_crash_cut_off_counts_with_its_estimate(house: House) -> None:
    """It may have been paid, and nobody will ever say so."""
    sealed = house.begin(mission(item("a")))
    cut = sealed.all(ev.TurnStarted)[3]
    assert cut.estimate is not None
    house.cut(cut)

    resumed = house.resume(mission(item("a")))

    paid = sum(e.usage.input_tokens for e in resumed.all(ev.TurnFinished))
    assert resumed.result.usage.input_tokens == paid + cut.estimate.input_tokens


# ---- the timeout


def _endless(where: str) -> tuple[Sequence[str], Mapping[str, Player]]:
    """Return the verification and the players of a mission that hangs in one place."""
    players: Mapping[str, Mapping[str, Player]] = {
        "a command": {"reviewer": run(LASTING)},
        "a call": {"worker": lambda _scene: SILENCE},
        "a retry": {"planner": lambda _scene: refused(503, retry_after="60")},
        "verification": {},
    }
    return ([LASTING] if where == "verification" else []), players[where]


@pytest.mark.fault(30)
@pytest.mark.parametrize("where", ["a command", "a call", "a retry", "verification"])
def test_a_run_whose_time_is_over_ends_wherever_it_is(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    record_property: Callable[[str, object], None],
) -> None:
    """As a graceful stop does, with an end of its own; the next run has all of its time, and seals."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 0.1)
    verify, players = _endless(where)
    ended = house.begin(
        mission(item("a"), verify=verify, **players), caps=Caps(timeout_s=0.6), baseline=False
    )

    assert (ended.result.exit_code, ended.result.subtype) == (124, "timeout")
    assert (ended.result.retryable, ended.result.reached) == (True, Cap.TIMEOUT)
    assert ended.result.result.startswith("--timeout 0.6s is over; `orch resume` goes on")
    record_property("figure", f"in {where}: over after {ended.result.duration_s} s of 0.6 s")
    assert [e.reached for e in ended.all(ev.Budget)] == [False, True]
    if where != "verification":
        assert house.resume(mission(item("a")), caps=Caps(timeout_s=60)).result.exit_code == 0


def test_who_waits_for_the_budget_does_not_outlast_the_timeout(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One session holds the budget with a call that never comes back, the other waits for it."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 0.1)
    asked = threading.Event()
    worker = silent_once(_until(asked, build), asked, "a")
    caps = Caps(timeout_s=3.0, max_tokens=HUGE)  # both have asked long before

    ended = house.begin(mission(item("a"), item("b"), worker=worker), caps=caps)

    assert ended.result.exit_code == 124
    assert tokens(ended) > HUGE


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_after_the_timeout_changes_no_more_than_the_grace(house: House, signals: int) -> None:
    """What came first is why the run ended; asked twice, it does not wait for the turn under way."""

    class Impatient:
        """Sends signals as soon as the time is over."""

        def show(self, event: ev.Event, state: MissionState) -> None:
            """Look at an event."""
            del state
            if isinstance(event, ev.Budget) and event.reached:
                for _ in range(signals):
                    os.kill(os.getpid(), signal.SIGINT)

    house.views = (Impatient(),)
    late = replace(say(), delay_s=2.5) if signals == 1 else SILENCE  # asked in time, it comes after it
    ended = house.begin(mission(item("a"), worker=lambda _scene: late), caps=Caps(timeout_s=2.0))

    assert ended.result.exit_code == 124
    assert bool(ended.state.sessions[ev.SessionId("S3")].turns) is (signals == 1)


# ---- clocks


@pytest.mark.fault(47)
def test_a_wall_clock_that_jumps_moves_neither_times_nor_limits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set to another day at every look: times follow each other, and the duration is what passed."""
    days = count(0, 7)
    begin = datetime.now(UTC)

    class Jumping(datetime):
        """A wall clock that nobody can rely on."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            """Return the time, days off."""
            return cls.fromtimestamp(begin.timestamp() - 86_400 * next(days), tz)

    monkeypatch.setattr(clock, "datetime", Jumping)
    stopped = house.begin(mission(item("a"), reviewer=run(LASTING)), caps=Caps(timeout_s=0.6))
    sealed = house.resume(mission(item("a")))

    assert stopped.result.exit_code == 124
    assert sealed.result.exit_code == 0
    assert 0.5 < stopped.result.duration_s < sealed.result.duration_s < 60
    assert [event.seq for event in sealed.events] == list(range(1, len(sealed.events) + 1))
    resumed = sealed.all(ev.MissionResumed)[0].seq
    for one, other in pairwise(sealed.events):
        assert one.ts <= other.ts or other.seq == resumed
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", sealed.events[0].ts)
