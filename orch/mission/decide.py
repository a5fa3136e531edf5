"""What has to happen next. Pure: `decide(state)` and `work(state)` are the loop; the runtime carries out.

Theory of operation. `decide` returns the steps that the state calls for, each a batch of events to record;
once they are recorded, the state no longer calls for them. `work` names what has to be running: a session
that owes a turn, a setup command, a verification. Both are level-triggered, so the live loop, a resume and a
replay need no memory of their own: whoever asks `decide` until it returns nothing and keeps `work` running
has run the mission.

The order of the rules is the order of urgency; the first two stand here:

1. sessions and leases whose item is settled end, and sessions that bring orch down (`quarantine`);
2. sessions that stopped calling tools are settled: submitted, nudged once, rejected, given up;
3. an issue on a completed item becomes a fix item, an item whose dependency is lost is blocked (`routing`);
4. free slots go to reviews, then to rejections, then to new items (`dispatch`), but never in a dry run;
5. the Commander is woken (`command`): at once for what only it can decide, else when nothing is left to run;
6. a Commander that was woken and did nothing does not stop the mission: no plan -> the Planner gets the
   goal, nothing left -> the seal, red -> its issues go to the owners named in the output, else the run ends.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from orch.mission import brief
from orch.mission import events as ev
from orch.mission.command import command
from orch.mission.dispatch import dispatch, start_review, start_worker
from orch.mission.quarantine import set_aside
from orch.mission.review import sent_back
from orch.mission.routing import route
from orch.mission.state import (
    OPEN,
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    issues_of,
    live_sessions,
    open_items,
    running_sessions,
)
from orch.mission.steps import Step, at_once, message, start

__all__ = ["Step", "Work", "WorkKind", "decide", "is_planned", "start", "work"]

MAX_REVIEWERS = 2
"""Reviewer sessions that may be lost in one round before the item counts as rejected."""


class WorkKind(StrEnum):
    """What the runtime can be asked to keep running."""

    SESSION = "session"  # a session that owes a turn
    SETUP = "setup"  # an item's setup command
    VERIFICATION = "verification"  # orch's own run of commands
    ESTIMATE = "estimate"  # what a dry run's plan may cost


@dataclass(frozen=True, slots=True)
class Work:
    """Something that has to be running now; `subject` is a session, an item, a phase, or the plan."""

    kind: WorkKind
    subject: str


def work(state: MissionState) -> tuple[Work, ...]:
    """Name everything that has to be running now.

    Sessions left by a run with more slots, and a Planner delegated while all are taken, take turns.
    """
    if state.status is not MissionStatus.RUNNING:
        return ()
    commanders = [s for s in running_sessions(state) if s.role is ev.Role.COMMANDER]
    others = [s for s in running_sessions(state) if s.role is not ev.Role.COMMANDER]
    needed = [Work(WorkKind.SESSION, s.id) for s in (*commanders, *others[: state.max_parallel])]
    needed += [
        Work(WorkKind.SETUP, item.spec.id)
        for item in open_items(state)
        if item.status is ItemStatus.SUBMITTED and not item.setup_done
    ]
    if state.verification is not None:
        needed.append(Work(WorkKind.VERIFICATION, state.verification.phase))
    if is_planned(state):
        needed.append(Work(WorkKind.ESTIMATE, "plan"))
    return tuple(needed)


def is_planned(state: MissionState) -> bool:
    """Say whether a dry run has all that it was for, if `decide` asks for nothing more."""
    is_dry = state.dry_run and state.status is MissionStatus.RUNNING
    return is_dry and bool(open_items(state)) and not running_sessions(state)


def decide(state: MissionState, denied: Collection[ev.ItemId] = ()) -> tuple[Step, ...]:
    """Return the steps that the state calls for; none when it is up to what runs.

    `denied` are items that cannot start now, because another process holds their files.
    """
    if state.status is not MissionStatus.RUNNING:
        return ()
    rules: tuple[Callable[[MissionState], tuple[Step, ...]], ...] = (
        _tidy,
        set_aside,
        _settle,
        route,
        *(() if state.dry_run else (partial(dispatch, denied=denied),)),
        command,
    )
    for rule in rules:
        if steps := rule(state):
            return steps
    return ()


# ---- 1. what is settled ends


def _tidy(state: MissionState) -> tuple[Step, ...]:
    over = [
        ev.SessionEnded(session=s.id, item=s.item, outcome=_farewell(state, s))
        for s in live_sessions(state)
        if _is_over(state, s)
    ]
    free = [
        ev.LeaseReleased(item=item.spec.id, files=item.files)
        for item in state.items.values()
        if item.leased and item.status not in OPEN
    ]
    return at_once(*over, *free)


def _is_over(state: MissionState, session: Session) -> bool:
    if session.item is None:
        return False
    item = state.items[session.item]
    if session.id == item.worker:
        return item.status not in OPEN
    return session.id != item.reviewer or item.status is not ItemStatus.REVIEWING


def _farewell(state: MissionState, session: Session) -> ev.SessionOutcome:
    item = state.items[session.item] if session.item else None
    done = item is not None and item.status is ItemStatus.COMPLETED
    return ev.SessionOutcome.DONE if done else ev.SessionOutcome.CANCELLED


# ---- 2. sessions that stopped, or broke


def _settle(state: MissionState) -> tuple[Step, ...]:
    events: list[ev.Event] = []
    for session in live_sessions(state):
        if session.status is SessionStatus.IDLE and not events:
            events += _settle_idle(state, session)
    for item in open_items(state):
        if not events:
            events += _settle_broken(state, item)
    return at_once(*events)


def _settle_idle(state: MissionState, session: Session) -> list[ev.Event]:
    match session.role:
        case ev.Role.PLANNER:
            return _settle_planner(session)
        case ev.Role.WORKER:
            return _settle_worker(state, session)
        case ev.Role.REVIEWER:
            return _settle_reviewer(state, session)
        case ev.Role.COMMANDER:
            return []


def _nudge(session: Session, text: str) -> list[ev.Event]:
    return [message(session, ev.MessageReason.NUDGE, text)]


def _settle_planner(session: Session) -> list[ev.Event]:
    if not session.nudged:
        return _nudge(session, brief.PLANNER_NUDGE)
    failed = ev.SessionOutcome.FAILED
    return [ev.SessionEnded(session=session.id, outcome=failed, reason="it ended without an accepted plan")]


def _settle_worker(state: MissionState, session: Session) -> list[ev.Event]:
    item = state.items[session.item] if session.item else None
    if item is None or item.status is not ItemStatus.WORKING:
        return []
    if any(not issue.told for issue in issues_of(state, item.spec.id)):
        return [message(session, ev.MessageReason.ISSUES, brief.new_issues(state, item))]
    if not session.wrote and not session.nudged:
        return _nudge(session, brief.WORKER_NUDGE)
    return [ev.ItemSubmitted(item=item.spec.id, session=session.id)]


def _settle_reviewer(state: MissionState, session: Session) -> list[ev.Event]:
    if not session.nudged:
        return _nudge(session, brief.REVIEWER_NUDGE)
    item = state.items[session.item] if session.item else None
    if item is None:
        return []
    failed = ev.SessionOutcome.FAILED
    end = ev.SessionEnded(session=session.id, item=session.item, outcome=failed, reason=brief.NO_VERDICT)
    return [*sent_back(state, item, ev.IssueSource.REVIEW, brief.NO_VERDICT), end]


def _settle_broken(state: MissionState, item: Item) -> list[ev.Event]:
    """An item whose session failed gets another session once; then it is given up or rejected."""
    holder = {ItemStatus.WORKING: item.worker, ItemStatus.REVIEWING: item.reviewer}.get(item.status)
    session = state.sessions.get(holder) if holder else None
    if session is None or session.status is not SessionStatus.ENDED:
        return []
    if item.status is ItemStatus.WORKING:
        return _second_worker(state, item, session)
    if item.reviewers >= MAX_REVIEWERS and session.kind is ev.BlockerKind.LIMIT:
        reason = f"{MAX_REVIEWERS} Reviewers came to no verdict; the last: {session.reason}"
        return [ev.ItemFailed(item=item.spec.id, kind=session.kind, reason=reason)]
    if item.reviewers >= MAX_REVIEWERS:
        text = f"{brief.NO_VERDICT} ({session.reason})"
        return [*sent_back(state, item, ev.IssueSource.REVIEW, text)]
    return start_review(state, item)


def _second_worker(state: MissionState, item: Item, session: Session) -> list[ev.Event]:
    if item.restarts == 0:
        return start_worker(state, item)
    return [
        ev.ItemFailed(
            item=item.spec.id,
            kind=session.kind or ev.BlockerKind.ITEM,
            reason=f"two Workers did not finish it; the last: {session.reason or 'it ended'}",
        )
    ]
