"""Where a mission is, in a word or two: for whoever looks at it now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.style import Style

from orch.mission.events import Outcome, Role
from orch.mission.state import (
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    open_items,
    running_sessions,
)
from orch.view import pen
from orch.view.activity import activity, closed


@dataclass(frozen=True, slots=True)
class Phase:
    """A word for where a mission is; `mark` says of which kind it is."""

    mark: str
    word: str
    style: Style


_OVER: Final = {
    Outcome.SEALED: Phase("✓", "sealed", pen.PROVEN + pen.STRONG),
    Outcome.ANSWERED: Phase("✓", "answered", pen.STRONG),
    Outcome.PLANNED: Phase("✓", "planned", pen.STRONG),
    Outcome.BLOCKED: Phase("!", "blocked: it needs you", pen.WAITS + pen.STRONG),
    Outcome.STOPPED: Phase("!", "stopped", pen.WAITS + pen.STRONG),
    Outcome.TIMEOUT: Phase("!", "stopped by its timeout", pen.WAITS + pen.STRONG),
    Outcome.LIMIT: Phase("!", "stopped at a limit", pen.WAITS + pen.STRONG),
    Outcome.PROVIDER: Phase("!", "stopped: no answer from the provider", pen.WAITS + pen.STRONG),
}


def phase(state: MissionState, now: datetime, *, is_alive: bool) -> Phase:
    """Return where a mission is; one that nobody runs and that has no end is interrupted."""
    if state.outcome is not None:
        failed = Phase("✗", state.outcome.value, pen.FAILED + pen.STRONG)
        return _OVER.get(state.outcome, failed)
    if state.status is MissionStatus.NEW:
        return _going_on("starting")
    if not is_alive:
        return Phase("!", "interrupted", pen.WAITS + pen.STRONG)
    if state.verification is not None:
        return _going_on("verifying")
    sessions = running_sessions(state)
    if waits := _waiting(state, sessions, now):
        return Phase("~", waits, pen.WAITS + pen.STRONG)
    return _going_on(_work(state, {session.role for session in sessions}))


def _going_on(word: str) -> Phase:
    return Phase("●", word, pen.STRONG)


def _waiting(state: MissionState, sessions: tuple[Session, ...], now: datetime) -> str:
    """Say what everybody waits for, if everybody does."""
    gates = closed(state, now)
    doing = [activity(session, gates, now) for session in sessions]
    if not doing or not all(one.is_waiting for one in doing):
        return ""
    return "waiting for the provider" if gates else "healing"


def _work(state: MissionState, roles: set[Role]) -> str:
    if state.answer_only:
        return "reading"
    if Role.PLANNER in roles:
        return "planning"
    if not state.items:
        return "exploring"
    statuses = {item.status for item in open_items(state)}
    if not statuses:
        return "deciding"
    if statuses <= {ItemStatus.SUBMITTED, ItemStatus.REVIEWING}:
        return "reviewing"
    return "building"
