"""What `decide` is made of: a step, a message, the start of a session.

Pure. A session's id is the next number that is free in the state; who starts several sessions in one batch
numbers them on (`orch.mission.dispatch`).
"""

from dataclasses import dataclass

from orch.mission import events as ev
from orch.mission import substitutes
from orch.mission.state import MissionState, Session


@dataclass(frozen=True, slots=True)
class Step:
    """Events to record as one batch. With `lease`, only once that item holds all its files."""

    events: tuple[ev.Event, ...]
    lease: ev.ItemId | None = None


def at_once(*events: ev.Event) -> tuple[Step, ...]:
    """Return the one step of a rule that has no other; none without events."""
    return (Step(events),) if events else ()


def message(session: Session, reason: ev.MessageReason, text: str) -> ev.Event:
    """Say something to a session that exists."""
    return ev.MessageSent(session=session.id, item=session.item, reason=reason, text=text)


def session_id(number: int) -> ev.SessionId:
    """Return the id of the session after `number` others."""
    return ev.SessionId(f"S{number + 1}")


def start(
    state: MissionState, role: ev.Role, title: str, text: str, item: ev.ItemId | None = None
) -> list[ev.Event]:
    """Start a session with its first message."""
    session, model = session_id(len(state.sessions)), substitutes.present(state, role)
    return [
        ev.SessionStarted(session=session, item=item, role=role, model=model, title=title),
        ev.MessageSent(session=session, item=item, reason=ev.MessageReason.BRIEF, text=text),
    ]
