"""What a session is doing now, in a few words and in one: from its last event, and its provider's refusals.

A session asks its model, runs a tool, or waits: for the time its provider named, or to try again. Whoever
began to ask while a provider's gate was closed waits for it, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from orch.errors import RateLimited
from orch.mission.events import Retry
from orch.mission.state import MissionState, Session
from orch.view.pen import short

REFUSED: Final = RateLimited.__name__
"""The error of a retry that its provider's gate waits out."""
_LONGEST_DELAY_S: Final = 31 * 86_400.0
THINKING, WAITING, STARTING = "thinking", "waiting", "starting"
_VERBS: Final = {
    "read": "reading",
    "glob": "searching",
    "grep": "searching",
    "write": "writing",
    "edit": "editing",
    "delete": "deleting",
    "bash": "running",
    "run_background": "running",
    "check_background": "checking job",
    "list_background": "checking jobs",
    "kill_background": "stopping job",
    "webfetch": "fetching",
    "write_context": "writing context.md",
    "delegate_task": "delegating",
    "get_task_result": "looking at task",
    "list_tasks": "looking at its tasks",
    "cancel_task": "cancelling",
    "submit_plan": "submitting the plan",
    "request_change": "asking for a change of",
    "submit_review": "submitting: ",
    "seal_mission": "asking for the seal",
    "answer": "answering",
    "block_mission": "asking a person:",
}
"""How a tool reads that runs. The first word of it stands where sessions are counted."""


@dataclass(frozen=True, slots=True)
class Activity:
    """`words` say it all, `word` is what is counted of many."""

    word: str
    words: str
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """A provider that refused at `since` and is asked again at `until`."""

    since: datetime
    until: datetime
    at_once: int | None


@lru_cache(4_096)
def moment(stamp: str) -> datetime | None:
    """Return the time that an event names; `None` where nobody stamped it."""
    try:
        named = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


def until(retry: Retry) -> datetime | None:
    """Return when a call is made again."""
    since = moment(retry.ts)
    delay_s = retry.delay_s if 0 <= retry.delay_s <= _LONGEST_DELAY_S else 0.0
    return since + timedelta(seconds=delay_s) if since else None


def closed(state: MissionState, now: datetime) -> Mapping[str, Closed]:
    """Return the providers that are not asked at `now`."""
    gates = {}
    for provider, retry in state.refusals.items():
        since, opens = moment(retry.ts), until(retry)
        if since is not None and opens is not None and opens > now:
            gates[provider] = Closed(since, opens, retry.at_once)
    return gates


def activity(session: Session, gates: Mapping[str, Closed], now: datetime) -> Activity:
    """Return what a running session does at `now`."""
    if session.open_turn:
        return _asking(session, gates, now)
    tool, _, subject = session.doing.partition(" ")
    verb = _VERBS.get(tool)
    if verb is not None:
        return Activity(verb.partition(" ")[0], f"{verb} {subject}")
    if not session.open_calls:
        return Activity(STARTING, "starting" if session.turns == 0 else "starting its next turn")
    return Activity("working", session.doing)


def _asking(session: Session, gates: Mapping[str, Closed], now: datetime) -> Activity:
    retry, provider = session.retry, session.model.partition("/")[0]
    again = until(retry) if retry is not None else None
    if retry is not None and again is not None and again > now:
        left = short((again - now).total_seconds() + 1)
        if retry.error == REFUSED:
            return Activity(WAITING, f"waiting {left} for {provider}", is_waiting=True)
        return Activity("retrying", f"retrying in {left}: {retry.text}", is_waiting=True)
    gate, began = gates.get(provider), moment(session.last_activity)
    if gate is not None and began is not None and began >= gate.since:
        left = short((gate.until - now).total_seconds() + 1)
        return Activity(WAITING, f"waiting {left} for {provider}", is_waiting=True)
    return Activity(THINKING, f"thinking, try {retry.attempt + 1}" if retry is not None else THINKING)
