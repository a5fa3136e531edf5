"""Sessions that bring orch down again and again are set aside, so that the others can finish. Pure.

Theory of operation. `Session.crashes` counts the runs in a row that ended in the same step of a session: a
step is a turn, or the calls of a turn. A run that a bug of orch ended names the session in whose task it came
up, and only that one is blamed. A run without any end (killed, out of memory) may be the fault of each
session that was in the middle of a step which began, or was taken up again, in that run. Whatever a session
finishes takes the blame from it. A command is never repeated by orch, so being told that it was cut off, and
asking for the very same command again, finishes nothing.
"""

from orch.mission import events as ev
from orch.mission.brief import INTERRUPTED
from orch.mission.evolve import evolve
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    running_sessions,
)
from orch.mission.steps import Step, at_once
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage

MAX_CRASHES = 3
"""Runs that may end in the same step of a session."""


def after_crash(state: MissionState, session: Session) -> Session:
    """Return the session as the next run finds it: with the blame for how the last one ended."""
    if state.status is MissionStatus.RUNNING:
        is_blamed = _is_in_a_step(state, session)
    else:
        is_blamed = session.id == state.culprit
    return evolve(session, crashes=session.crashes + 1) if is_blamed else session


def _is_in_a_step(state: MissionState, session: Session) -> bool:
    if session.status is not SessionStatus.RUNNING or session.step_seq <= state.run_seq:
        return False
    return session.open_turn or bool(session.open_calls)


def crashes_after_turn(session: Session, message: AssistantMessage) -> int:
    """Return how many crashes count against a session that finished a turn with `message`."""
    return session.crashes if session.crashes and _asks_again(session, message) else 0


def crashes_after_call(session: Session, result: str) -> int:
    """Return how many crashes count against a session whose call came to this result."""
    return session.crashes if result.startswith(INTERRUPTED) else 0


def _asks_again(session: Session, message: AssistantMessage) -> bool:
    """Whether the session asks for a command that the end of an earlier run cut off."""
    cut_off: set[str] = set()
    for earlier in reversed(session.messages):
        match earlier:
            case ToolMessage():
                cut_off |= {earlier.call_id} if earlier.text.startswith(INTERRUPTED) else set()
            case AssistantMessage():
                asked = {(call.name, call.arguments) for call in earlier.tool_calls if call.id in cut_off}
                return any((call.name, call.arguments) in asked for call in message.tool_calls)
            case UserMessage():
                return False
    return False


def set_aside(state: MissionState) -> tuple[Step, ...]:
    """End the sessions that orch does not survive; their items fail, and no second Worker tries."""
    events: list[ev.Event] = []
    for session in running_sessions(state):
        if session.crashes >= MAX_CRASHES:
            events += _without(state, session)
    return at_once(*events)


def _without(state: MissionState, session: Session) -> list[ev.Event]:
    times = f"orch came to its end {session.crashes} times in the same step of it"
    reason = f"session {session.id} was set aside: {times}"
    failed = ev.SessionOutcome.FAILED
    events: list[ev.Event] = [
        ev.Heal(session=session.id, item=session.item, text=reason),
        ev.SessionEnded(session=session.id, item=session.item, outcome=failed, reason=times),
    ]
    item = state.items[session.item] if session.item else None
    if item is not None and session.id == _holder(item):
        events.append(ev.ItemFailed(item=item.spec.id, kind=ev.BlockerKind.ITEM, reason=reason))
    return events


def _holder(item: Item) -> ev.SessionId | None:
    return {ItemStatus.WORKING: item.worker, ItemStatus.REVIEWING: item.reviewer}.get(item.status)
