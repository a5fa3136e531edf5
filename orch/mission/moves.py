"""What may happen when: one table each for the mission, an item and a session.

Each table is `{status: {event type: next status}}`. An event of a kind that a table names is refused with
`IllegalTransition` where the present status does not list it. The functions look an item or a session up with
its next status, and put it back changed; a Reviewer's `session.started` is the item's `review.started`.
"""

from collections.abc import Mapping

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
)

MISSION_MOVES: Mapping[MissionStatus, Mapping[str, MissionStatus]] = {
    MissionStatus.NEW: {"mission.started": MissionStatus.RUNNING},
    MissionStatus.RUNNING: {
        "mission.resumed": MissionStatus.RUNNING,
        "mission.stopped": MissionStatus.ENDED,
        "mission.failed": MissionStatus.ENDED,
        "mission.planned": MissionStatus.ENDED,
        "mission.sealed": MissionStatus.CLOSED,
        "mission.answered": MissionStatus.CLOSED,
    },
    MissionStatus.ENDED: {"mission.resumed": MissionStatus.RUNNING},
    MissionStatus.CLOSED: {},
}

ITEM_MOVES: Mapping[ItemStatus, Mapping[str, ItemStatus]] = {
    ItemStatus.PENDING: {
        "item.started": ItemStatus.WORKING,
        "item.blocked": ItemStatus.BLOCKED,
        "item.failed": ItemStatus.FAILED,
        "item.dropped": ItemStatus.DROPPED,
    },
    ItemStatus.WORKING: {
        "item.started": ItemStatus.WORKING,
        "item.submitted": ItemStatus.SUBMITTED,
        "item.failed": ItemStatus.FAILED,
        "item.dropped": ItemStatus.DROPPED,
    },
    ItemStatus.SUBMITTED: {
        "setup.finished": ItemStatus.SUBMITTED,
        "review.started": ItemStatus.REVIEWING,
        "item.rejected": ItemStatus.REJECTED,
        "item.failed": ItemStatus.FAILED,
        "item.dropped": ItemStatus.DROPPED,
    },
    ItemStatus.REVIEWING: {
        "review.started": ItemStatus.REVIEWING,
        "item.completed": ItemStatus.COMPLETED,
        "item.rejected": ItemStatus.REJECTED,
        "item.failed": ItemStatus.FAILED,
        "item.dropped": ItemStatus.DROPPED,
    },
    ItemStatus.REJECTED: {
        "item.started": ItemStatus.WORKING,
        "item.failed": ItemStatus.FAILED,
        "item.dropped": ItemStatus.DROPPED,
    },
    ItemStatus.COMPLETED: {},
    ItemStatus.FAILED: {"item.reopened": ItemStatus.PENDING, "item.dropped": ItemStatus.DROPPED},
    ItemStatus.BLOCKED: {"item.reopened": ItemStatus.PENDING, "item.dropped": ItemStatus.DROPPED},
    ItemStatus.DROPPED: {},
}

SESSION_MOVES: Mapping[SessionStatus, Mapping[str, SessionStatus]] = {
    SessionStatus.RUNNING: {
        "message.sent": SessionStatus.RUNNING,
        "turn.started": SessionStatus.RUNNING,
        "turn.finished": SessionStatus.RUNNING,
        "turn.failed": SessionStatus.RUNNING,
        "model.switched": SessionStatus.RUNNING,
        "compaction": SessionStatus.RUNNING,
        "tool.called": SessionStatus.RUNNING,
        "tool.finished": SessionStatus.RUNNING,
        "session.idle": SessionStatus.IDLE,
        "session.ended": SessionStatus.ENDED,
    },
    SessionStatus.IDLE: {
        "message.sent": SessionStatus.RUNNING,
        "session.ended": SessionStatus.ENDED,
    },
    SessionStatus.ENDED: {},
}


def mission_status(state: MissionState, event_type: str) -> MissionStatus:
    """Return the mission's next status; while it runs, events that its table does not name keep it."""
    moves = MISSION_MOVES[state.status]
    if event_type in moves:
        return moves[event_type]
    if state.status is not MissionStatus.RUNNING or event_type == "mission.started":
        raise IllegalTransition(f"{event_type} in a mission that is {state.status}")
    return state.status


def known_item(state: MissionState, item_id: ev.ItemId, event_type: str) -> Item:
    """Return the item as it is."""
    item = state.items.get(item_id)
    if item is None:
        raise IllegalTransition(f"{event_type} of an unknown item {item_id}")
    return item


def moved_item(state: MissionState, item_id: ev.ItemId, event_type: str, seq: int) -> Item:
    """Return the item in its next status; the rest of it unchanged."""
    item = known_item(state, item_id, event_type)
    status = ITEM_MOVES[item.status].get(event_type)
    if status is None:
        raise IllegalTransition(f"{event_type} of item {item_id}, which is {item.status}")
    return evolve(item, status=status, moved_seq=seq)


def with_item(state: MissionState, item: Item) -> MissionState:
    """Put an item back."""
    return evolve(state, items={**state.items, item.spec.id: item})


def known_session(state: MissionState, event: ev.Event) -> Session:
    """Return the event's session as it is."""
    session = state.sessions.get(event.session) if event.session else None
    if session is None:
        raise IllegalTransition(f"{event.type} in an unknown session {event.session}")
    return session


def session_move(state: MissionState, event: ev.Event) -> tuple[Session, SessionStatus]:
    """Return the event's session as it is, and its next status: most events change more, in one copy."""
    session = known_session(state, event)
    status = SESSION_MOVES[session.status].get(event.type)
    if status is None:
        raise IllegalTransition(f"{event.type} in session {event.session}, which is {session.status}")
    return session, status


def with_session(state: MissionState, session: Session) -> MissionState:
    """Put a session back."""
    return evolve(state, sessions={**state.sessions, session.id: session})
