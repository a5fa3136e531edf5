"""A session has its time, hears once that it is over, and has half as long again to finish."""

from dataclasses import replace

from orch.mission import events as ev
from orch.mission import worktime
from orch.mission.reduce import reduce
from orch.mission.state import MissionState, SessionStatus
from orch.mission.transcript import AssistantMessage, ToolCall
from tests.mission.samples import S2, a_mission, session, stamped

WORKER = session(S2, ev.Role.WORKER, SessionStatus.RUNNING)
CALL = ToolCall(id="c1", name="read", arguments="{}")


def test_who_was_told_has_half_the_limit_again() -> None:
    """From when it was told, which one long call may make later than the limit."""
    late = replace(WORKER, late_at_s=130.0)

    assert [worktime.is_due(WORKER, s, 100.0) for s in (99.9, 100.0, 500.0)] == [False, True, True]
    assert not worktime.is_due(late, 500.0, 100.0)
    assert not worktime.is_over(WORKER, 500.0, 100.0)
    assert [worktime.is_over(late, s, 100.0) for s in (179.9, 180.0)] == [False, True]
    assert worktime.told("result", 100.0).startswith("result\n[orch] This session's time is over")
    assert "session_timeout_s" in worktime.reason(100.0)


def _after(state: MissionState, *events: ev.Event) -> MissionState:
    for event in events:
        state = reduce(state, stamped(event, state.seq + 1))
    return state


def _turn() -> tuple[ev.Event, ...]:
    """Return a turn of ten seconds with a call of five, whose result says that the time is over."""
    message = AssistantMessage(text="", tool_calls=(CALL,))
    return (
        ev.TurnStarted(session=S2, turn=1, model="m/x"),
        ev.TurnFinished(
            session=S2,
            turn=1,
            model="m/x",
            message=message,
            finish=ev.FinishReason.TOOL_CALLS,
            usage=ev.Usage(),
            duration_s=10.0,
        ),
        ev.ToolFinished(session=S2, call_id="c1", tool="read", ok=True, text="so", duration_s=5.0, late=True),
    )


def test_the_time_of_answers_and_tools_is_in_the_journal() -> None:
    """What the state says of it is the sum, and when it was told; a wake starts it anew, a nudge does not."""
    told = _after(a_mission(), *_turn())

    assert (told.sessions[S2].worked_s, told.sessions[S2].late_at_s) == (15.0, 15.0)
    idle = _after(told, ev.SessionIdle(session=S2))
    for reason, worked_s, late_at_s in (
        (ev.MessageReason.NUDGE, 15.0, 15.0),
        (ev.MessageReason.WAKE, 0.0, None),
    ):
        woken = _after(idle, ev.MessageSent(session=S2, reason=reason, text="go on")).sessions[S2]
        assert (woken.worked_s, woken.late_at_s) == (worked_s, late_at_s)
