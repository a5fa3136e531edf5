"""A session that brings orch down again and again is set aside; one that was only there is not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.brief import INTERRUPTED
from orch.mission.decide import decide
from orch.mission.quarantine import MAX_CRASHES
from orch.mission.reduce import reduce
from orch.mission.state import Item, ItemStatus, MissionState, Session, SessionStatus
from orch.mission.transcript import AssistantMessage, ToolCall
from tests.mission.casts import cast
from tests.mission.samples import S2, S3, A, B, a_mission, sample, session, stamped
from tests.mission.simulation import MODELS, Act, Simulation

RESUMED = ev.MissionResumed(orch_version="1", models=MODELS, max_parallel=2, max_turns=9)
BUG = ev.MissionFailed(session=S2, outcome=ev.Outcome.ERROR, text="a bug")
ASKS = ev.TurnStarted(session=S2, turn=1, model="m")


def after(state: MissionState, *events: ev.Event) -> MissionState:
    """Return the state after some events."""
    for event in events:
        state = reduce(state, stamped(event, state.seq + 1))
    return state


def answered(tool: str, arguments: str, call_id: str) -> Sequence[ev.Event]:
    """Return the answer of S2's model with one call, which is about to run."""
    call = ToolCall(id=call_id, name=tool, arguments=arguments)
    turn = sample("turn.finished").model_copy(
        update={"message": AssistantMessage(text="", tool_calls=(call,))}
    )
    called = ev.ToolCalled(session=S2, call_id=call_id, tool=tool, summary=tool)
    return (turn, called)


def result(call_id: str, text: str) -> ev.Event:
    """Return the result of a call of S2."""
    return ev.ToolFinished(session=S2, call_id=call_id, tool="t", ok=True, text=text, duration_s=0)


def crashes(state: MissionState) -> dict[str, int]:
    """Return who is blamed, and how often."""
    return {str(s.id): s.crashes for s in state.sessions.values() if s.crashes}


def two_at_work() -> MissionState:
    """Return a mission in which a Worker and a Planner run."""
    state = a_mission()
    planner = session(S3, ev.Role.PLANNER, SessionStatus.RUNNING, None)
    return replace(state, sessions={**state.sessions, S3: planner})


@pytest.mark.fault(54)
def test_a_bug_blames_the_session_that_it_came_up_in() -> None:
    """And nobody who was at work beside it."""
    other = ev.TurnStarted(session=S3, turn=1, model="m")

    assert crashes(after(two_at_work(), ASKS, other, BUG, RESUMED)) == {"S2": 1}
    assert crashes(after(two_at_work(), ASKS, other, BUG, RESUMED, ASKS, BUG, RESUMED)) == {"S2": 2}


@pytest.mark.fault(54)
def test_an_end_without_a_word_blames_who_was_in_the_middle_of_something() -> None:
    """A turn or a call that began in that run; who waits, or had not started again, is not blamed."""
    other = ev.TurnStarted(session=S3, turn=1, model="m")
    called = answered("read", "{}", "c1")

    assert crashes(after(two_at_work(), RESUMED)) == {}
    assert crashes(after(two_at_work(), ASKS, RESUMED)) == {"S2": 1}
    assert crashes(after(two_at_work(), ASKS, *called, other, RESUMED)) == {"S2": 1, "S3": 1}
    assert crashes(after(two_at_work(), ASKS, *called, RESUMED, RESUMED)) == {"S2": 1}
    assert crashes(after(two_at_work(), ASKS, *called, RESUMED, called[1], RESUMED)) == {"S2": 2}


@pytest.mark.parametrize(
    "end",
    [
        ev.MissionStopped(signal=ev.StopSignal.TERMINATE),
        ev.MissionFailed(outcome=ev.Outcome.PROVIDER, text="down"),
        ev.MissionFailed(outcome=ev.Outcome.ERROR, text="a bug elsewhere"),
        ev.MissionFailed(session=S2, outcome=ev.Outcome.ERROR, text="no such model", is_usage=True),
        ev.MissionFailed(session=S2, outcome=ev.Outcome.BLOCKED, text="which?"),
    ],
)
def test_an_end_that_is_no_crash_blames_nobody(end: ev.Event) -> None:
    """Whoever was in the middle of something."""
    assert crashes(after(two_at_work(), ASKS, end, RESUMED)) == {}


@pytest.mark.fault(54)
def test_whatever_is_finished_takes_the_blame_away() -> None:
    """A turn, or a call."""
    blamed = after(a_mission(), ASKS, BUG, RESUMED, ASKS)
    called = answered("read", "{}", "c1")

    assert crashes(blamed) == {"S2": 1}
    assert crashes(after(blamed, called[0])) == {}
    busy = after(a_mission(), ASKS, *called, BUG, RESUMED)
    assert crashes(busy) == {"S2": 1}
    assert crashes(after(busy, result("c1", "x"))) == {}


@pytest.mark.fault(54)
def test_a_command_that_ends_orch_whenever_it_is_run_is_found_out() -> None:
    """It is never repeated by orch, but by the model: being told that it was cut off finishes nothing."""
    state = after(a_mission(), ASKS, *answered("bash", '{"command": "kill"}', "c0"))
    for number in range(1, MAX_CRASHES):
        state = after(state, RESUMED, result(f"c{number - 1}", INTERRUPTED), ASKS)
        asks_again = after(state, *answered("bash", '{"command": "kill"}', f"c{number}"))
        assert crashes(asks_again) == {"S2": number}
        assert crashes(after(state, *answered("bash", '{"command": "ls"}', "c9"))) == {}
        state = asks_again
    state = after(state, RESUMED)

    assert crashes(state) == {"S2": MAX_CRASHES}
    assert [e.type for step in decide(state) for e in step.events][:2] == ["heal", "session.ended"]


def crashed(state: MissionState, session_id: ev.SessionId, times: int) -> MissionState:
    """Return the state in which a session is blamed so often."""
    blamed = replace(state.sessions[session_id], crashes=times)
    return replace(state, sessions={**state.sessions, session_id: blamed})


@pytest.mark.fault(54)
def test_a_worker_is_set_aside_and_its_item_fails() -> None:
    """No second Worker tries, and the result says why; before that, nothing happens."""
    assert decide(crashed(a_mission(), S2, MAX_CRASHES - 1)) == decide(a_mission())

    (step,) = decide(crashed(a_mission(), S2, MAX_CRASHES))

    assert [event.type for event in step.events] == ["heal", "session.ended", "item.failed"]
    failed = after(crashed(a_mission(), S2, MAX_CRASHES), *step.events).items[A]
    assert (failed.status, failed.kind) == (ItemStatus.FAILED, ev.BlockerKind.ITEM)
    assert failed.reason == (
        f"session S2 was set aside: orch came to its end {MAX_CRASHES} times in the same step of it"
    )


@pytest.mark.fault(54)
def test_a_reviewer_is_set_aside_with_its_item_and_a_planner_without_one() -> None:
    """The Planner is followed by a fresh one, the Commander too; the others go on."""
    reviewer = session(S3, ev.Role.REVIEWER, SessionStatus.RUNNING, B)
    state = two_at_work()
    reviewing = replace(
        state,
        items={
            **state.items,
            B: Item(state.items[B].spec, ev.ItemOrigin.PLANNED, ItemStatus.REVIEWING, reviewer=S3),
        },
        sessions={**state.sessions, S3: reviewer},
    )

    (with_item,) = decide(crashed(reviewing, S3, MAX_CRASHES))
    (without,) = decide(crashed(state, S3, MAX_CRASHES))

    assert [(e.type, e.item) for e in with_item.events][-1] == ("item.failed", B)
    assert [e.type for e in without.events] == ["heal", "session.ended"]


class Crash(Exception):
    """The end of a run."""


@pytest.mark.fault(54)
@pytest.mark.parametrize("role", ev.Role)
def test_a_mission_ends_whichever_session_brings_it_down(role: ev.Role) -> None:
    """Set aside after three runs, the first session of a role is missed by its item alone."""
    good = cast()[role]

    def crashes_orch(simulation: Simulation, session: Session) -> Act:
        first = next(s.id for s in simulation.state.sessions.values() if s.role is role)
        if session.id != first:
            return good(simulation, session)
        simulation.record(ev.MissionFailed(session=first, outcome=ev.Outcome.ERROR, text="a bug"))
        raise Crash

    mission = Simulation(cast(**{role.value: crashes_orch})).start()
    for _ in range(MAX_CRASHES):
        with pytest.raises(Crash):
            mission.run()
        mission.resume()
    mission.run()

    has_item = role in (ev.Role.WORKER, ev.Role.REVIEWER)
    statuses = {str(key): item.status for key, item in mission.state.items.items()}
    assert mission.state.outcome is (ev.Outcome.UNSEALED if has_item else ev.Outcome.SEALED)
    assert statuses["c"] is ItemStatus.COMPLETED
    assert statuses["a"] is (ItemStatus.FAILED if has_item else ItemStatus.COMPLETED)
