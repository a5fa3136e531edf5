"""What has to happen next. Pure: `decide(state)` and `work(state)` are the loop; the runtime carries out.

Theory of operation. `decide` returns the steps that the state calls for, each a batch of events to record;
once they are recorded, the state no longer calls for them. `work` names what has to be running: a session
that owes a turn, a setup command, a verification. Both are level-triggered, so the live loop, a resume and a
replay need no memory of their own: whoever asks `decide` until it returns nothing and keeps `work` running
has run the mission.

The order of the rules is the order of urgency:

1. sessions and leases whose item is settled end;
2. sessions that stopped calling tools are settled: submitted, nudged once, rejected, given up;
3. an issue on a completed item becomes a fix item, an item whose dependency is lost is blocked;
4. free slots go to reviews, then to rejections, then to new items;
5. the Commander is woken: at once for what only it can decide, else when nothing is left to run;
6. a Commander that was woken and did nothing does not stop the mission: no plan -> the Planner gets the
   goal, nothing left -> the seal, red -> its issues go to the owners named in the output, else the run ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from orch.mission import brief, seal
from orch.mission import events as ev
from orch.mission.review import next_issue, sent_back
from orch.mission.state import (
    LOST,
    OPEN,
    Issue,
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    distinct,
    fingerprint,
    free_slots,
    held_files,
    issues_of,
    listed_items,
    live_sessions,
    open_issues,
    open_items,
    owner_of,
    running_sessions,
    seal_commands,
)
from orch.mission.transcript import EMPTY_REPLY, AssistantMessage

MAX_REJECTIONS = 3
"""Rejections that go back to the same conversation; the next one gets a fresh Worker, once."""
MAX_FIXES_PER_FILE = 3
"""Fix items that orch makes for one file by itself; then the Commander decides."""
MAX_PLANNERS = 2
"""Planner sessions of a run that may end without a plan before the Commander hears of it."""
MAX_REVIEWERS = 2
"""Reviewer sessions that may be lost in one round before the item counts as rejected."""
MAX_COMMANDERS = 2
"""Commander sessions of a run that may fail; then the run ends as soon as it needs a decision."""


@dataclass(frozen=True, slots=True)
class Step:
    """Events to record as one batch. With `lease`, only once that item holds all its files."""

    events: tuple[ev.Event, ...]
    lease: ev.ItemId | None = None


class WorkKind(StrEnum):
    """What the runtime can be asked to keep running."""

    SESSION = "session"  # a session that owes a turn
    SETUP = "setup"  # an item's setup command
    VERIFICATION = "verification"  # orch's own run of commands


@dataclass(frozen=True, slots=True)
class Work:
    """Something that has to be running now; `subject` is a session, an item, or a phase."""

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
    return tuple(needed)


def decide(state: MissionState) -> tuple[Step, ...]:
    """Return the steps that the state calls for; none when it is up to what runs."""
    if state.status is not MissionStatus.RUNNING:
        return ()
    rules: tuple[Callable[[MissionState], tuple[Step, ...]], ...] = (
        _tidy,
        _settle,
        _route,
        _dispatch,
        _command,
    )
    for rule in rules:
        if steps := rule(state):
            return steps
    return ()


def _step(*events: ev.Event) -> tuple[Step, ...]:
    return (Step(events),) if events else ()


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
    return _step(*over, *free)


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
    return _step(*events)


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


def _message(session: Session, reason: ev.MessageReason, text: str) -> ev.Event:
    return ev.MessageSent(session=session.id, item=session.item, reason=reason, text=text)


def _nudge(session: Session, text: str) -> list[ev.Event]:
    return [_message(session, ev.MessageReason.NUDGE, text)]


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
        return [_message(session, ev.MessageReason.ISSUES, brief.new_issues(state, item))]
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
    return _review(state, item)


def _second_worker(state: MissionState, item: Item, session: Session) -> list[ev.Event]:
    if item.restarts == 0:
        return _fresh_worker(state, item)
    return [
        ev.ItemFailed(
            item=item.spec.id,
            kind=session.kind or ev.BlockerKind.ITEM,
            reason=f"two Workers did not finish it; the last: {session.reason or 'it ended'}",
        )
    ]


# ---- 3. issues find their owners


def _route(state: MissionState) -> tuple[Step, ...]:
    blocked = [
        ev.ItemBlocked(
            item=item.spec.id,
            kind=lost.kind,
            reason=f"it depends on {lost.spec.id}, which is {lost.status}",
        )
        for item in open_items(state)
        if item.status is ItemStatus.PENDING and (lost := _lost_dependency(state, item))
    ]
    if blocked:
        return _step(*blocked)
    for issue in open_issues(state):
        if issue.item is None and issue.path and (owner := owner_of(state, issue.path)):
            return _step(*_hand_over(state, issue, owner))
        if issue.item is not None and _wants_fix(state, issue):
            return _step(_fix(state, state.items[issue.item]))
    return ()


def _hand_over(state: MissionState, issue: Issue, owner: Item) -> tuple[ev.Event, ...]:
    """Move an issue that nobody owns to an item."""
    return (
        ev.IssueOpened(
            issue=next_issue(state),
            item=owner.spec.id,
            source=issue.source,
            path=issue.path,
            command=issue.command,
            text=issue.text,
        ),
        ev.IssueClosed(issue=issue.id, reason=f"goes to {owner.spec.id}"),
    )


def _lost_dependency(state: MissionState, item: Item) -> Item | None:
    dependencies = (state.items.get(d) for d in item.spec.depends_on)
    return next((d for d in dependencies if d is not None and d.status in LOST), None)


def _wants_fix(state: MissionState, issue: Issue) -> bool:
    """Whether orch itself sends the issue back to work."""
    return _is_unfixed(state, issue) and not _at_cap(state, issue)


def _is_unfixed(state: MissionState, issue: Issue) -> bool:
    """Whether the issue is on a completed item that was not completed to solve it.

    The issue of a red command stays open after its fix, until the command exits 0.
    """
    if issue.item is None or state.items[issue.item].status is not ItemStatus.COMPLETED:
        return False
    return issue.command is None or issue.opened_seq > state.items[issue.item].moved_seq


def _at_cap(state: MissionState, issue: Issue) -> bool:
    return any(_fixes_of(state, path) >= MAX_FIXES_PER_FILE for path in _fix_files(state, issue))


def _fixes_of(state: MissionState, path: str) -> int:
    return sum(1 for i in state.items.values() if i.origin is ev.ItemOrigin.FIX and path in i.spec.files)


def _fix_files(state: MissionState, issue: Issue) -> tuple[str, ...]:
    files = state.items[issue.item].files if issue.item else ()
    return (issue.path,) if issue.path in files and issue.path is not None else files


def _fix(state: MissionState, origin: Item) -> ev.Event:
    """Make the fix item for all issues that a completed item has on the same files."""
    issues = [i for i in issues_of(state, origin.spec.id) if _wants_fix(state, i)]
    files = _fix_files(state, issues[0])
    together = [i for i in issues if _fix_files(state, i) == files]
    root = _root(state, origin)
    spec = ev.ItemSpec(
        id=_fix_id(state, root.spec.id),
        title=f"fix {', '.join(files)}",
        files=files,
        instructions=brief.fix_instructions(tuple(i.text for i in together), root.spec),
        check=origin.spec.check,
    )
    return ev.ItemAdded(
        item=spec.id,
        spec=spec,
        origin=ev.ItemOrigin.FIX,
        issues=tuple(i.id for i in together),
        files={path: state.files.get(path) for path in files},
    )


def _root(state: MissionState, item: Item) -> Item:
    """Return the item that a fix, or a fix of a fix, was made for."""
    if item.origin is not ev.ItemOrigin.FIX:
        return item
    return state.items.get(ev.ItemId(item.spec.id.rpartition(".fix")[0]), item)


def _fix_id(state: MissionState, root: ev.ItemId) -> ev.ItemId:
    number = 1
    while f"{root}.fix{number}" in state.items:
        number += 1
    return ev.ItemId(f"{root}.fix{number}")


# ---- 4. slots


def _dispatch(state: MissionState) -> tuple[Step, ...]:
    """Fill the free slots: reviews, rejections, new items, in this order."""
    if baseline := _baseline(state):
        return baseline
    if state.verification is not None:
        return ()
    slots = free_slots(state)
    waiting = [i for i in open_items(state) if i.status is ItemStatus.SUBMITTED and i.setup_done]
    steps = [Step(tuple(_review(state, item))) for item in waiting]
    steps += [Step(tuple(_rework(state, i))) for i in open_items(state) if i.status is ItemStatus.REJECTED]
    steps += [Step(tuple(_begin(state, i)), lease=i.spec.id) for i in _ready(state)]
    return _numbered(state, steps[:slots])


def _baseline(state: MissionState) -> tuple[Step, ...]:
    """Run the verification once before the first write, if there is anything to run."""
    if not state.baseline_due or not open_items(state) or state.verification is not None or not state.verify:
        return ()
    return _step(ev.VerificationStarted(phase=ev.VerificationPhase.BASELINE, commands=distinct(state.verify)))


def _ready(state: MissionState) -> list[Item]:
    """Items that can start now: dependencies completed, files free, also of each other."""
    holders = dict(held_files(state))
    ready = []
    for item in open_items(state):
        done = all(state.items[d].status is ItemStatus.COMPLETED for d in item.spec.depends_on)
        free = all(holders.get(path, item.spec.id) == item.spec.id for path in item.files)
        if item.status is ItemStatus.PENDING and done and free:
            holders |= dict.fromkeys(item.files, item.spec.id)
            ready.append(item)
    return ready


def _numbered(state: MissionState, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Give the sessions that several steps start ids that do not collide."""
    numbered = []
    number = len(state.sessions)
    placeholder = _session_id(number)
    for step in steps:
        starts = any(isinstance(event, ev.SessionStarted) for event in step.events)
        events = tuple(_renamed(event, placeholder, _session_id(number)) for event in step.events)
        numbered.append(Step(events, step.lease))
        number += 1 if starts else 0
    return tuple(numbered)


def _renamed(event: ev.Event, old: ev.SessionId, new: ev.SessionId) -> ev.Event:
    return event.model_copy(update={"session": new}) if event.session == old else event


def _session_id(number: int) -> ev.SessionId:
    return ev.SessionId(f"S{number + 1}")


def start(
    state: MissionState, role: ev.Role, title: str, text: str, item: ev.ItemId | None = None
) -> list[ev.Event]:
    """Start a session with its first message."""
    session = _session_id(len(state.sessions))
    return [
        ev.SessionStarted(session=session, item=item, role=role, model=state.models[role], title=title),
        ev.MessageSent(session=session, item=item, reason=ev.MessageReason.BRIEF, text=text),
    ]


def _review(state: MissionState, item: Item) -> list[ev.Event]:
    title = f"review {item.spec.title}"
    return start(state, ev.Role.REVIEWER, title, brief.reviewer_brief(state, item), item.spec.id)


def _fresh_worker(state: MissionState, item: Item) -> list[ev.Event]:
    started = start(state, ev.Role.WORKER, item.spec.title, brief.worker_brief(state, item), item.spec.id)
    session = _session_id(len(state.sessions))
    return [*started, ev.ItemStarted(item=item.spec.id, session=session)]


def _begin(state: MissionState, item: Item) -> list[ev.Event]:
    return [ev.LeaseAcquired(item=item.spec.id, files=item.files), *_fresh_worker(state, item)]


def _rework(state: MissionState, item: Item) -> list[ev.Event]:
    """Send a rejected item to its Worker, then to a fresh one once, then give it up."""
    worker = state.sessions.get(item.worker) if item.worker else None
    if item.last_chance:
        reason = f"rejected again after a fresh Worker: {item.reason}"
        return [ev.ItemFailed(item=item.spec.id, kind=ev.BlockerKind.ITEM, reason=reason)]
    if worker and worker.status is SessionStatus.IDLE and item.rejections <= MAX_REJECTIONS:
        return [
            ev.ItemStarted(item=item.spec.id, session=worker.id),
            _message(worker, ev.MessageReason.REJECTION, brief.rejection(state, item)),
        ]
    return _fresh_worker(state, item)


# ---- 5. and 6. the Commander, and what happens without it


def _command(state: MissionState) -> tuple[Step, ...]:
    commander = state.sessions.get(state.commander) if state.commander else None
    if commander is None:
        return _step(*start(state, ev.Role.COMMANDER, "command", state.goal))
    if commander.status is SessionStatus.RUNNING or state.verification is not None:
        return ()
    if commander.status is SessionStatus.ENDED:
        return _next_commander(state, commander)
    if state.reply:
        return _step(_message(commander, ev.MessageReason.REPLY, brief.reply(state.reply)))
    if _only_commander_can(state, commander.told_seq):
        return _wake(state, commander)
    return () if _is_busy(state) else _quiet(state, commander)


def _quiet(state: MissionState, commander: Session) -> tuple[Step, ...]:
    """Nothing runs and nothing can start without a decision."""
    if state.seal_asked:
        return _verify(state)
    if planner := _planner_again(state):
        return planner
    if _has_news(state, commander.told_seq):
        return _wake(state, commander)
    return _without_commander(state, commander)


def _verify(state: MissionState) -> tuple[Step, ...]:
    return _step(ev.VerificationStarted(phase=ev.VerificationPhase.SEAL, commands=seal_commands(state)))


def _next_commander(state: MissionState, last: Session) -> tuple[Step, ...]:
    """A Commander that failed is followed by a fresh one, once; then the rest goes on without."""
    tries = sum(1 for s in _of_this_run(state) if s.role is ev.Role.COMMANDER)
    if tries < MAX_COMMANDERS:
        parts = [state.goal]
        parts += [brief.wake(state, 0, None)] if state.items else []
        parts += [brief.reply(state.reply)] if state.reply else []
        return _step(*start(state, ev.Role.COMMANDER, "command", "\n\n".join(parts)))
    if _is_busy(state):
        return ()
    if state.seal_asked:
        return _verify(state)
    if step := _planner_again(state) or (_go_on(state) if state.items else ()):
        return step
    lost = ev.Blocker(
        kind=last.kind or ev.BlockerKind.PLAN, text=f"the Commander did not finish: {last.reason}"
    )
    return _step(_ended((lost, *(seal.blockers(state) if state.items else ()))))


def _of_this_run(state: MissionState) -> list[Session]:
    return [s for s in state.sessions.values() if s.started_seq > state.run_seq]


def _is_busy(state: MissionState) -> bool:
    """Whether something runs or can run without a decision."""
    return any(s.role is not ev.Role.COMMANDER for s in running_sessions(state)) or bool(open_items(state))


def _only_commander_can(state: MissionState, since: int) -> bool:
    """Whether something new needs a decision at once: an item failed for good, an issue nobody owns."""
    failed = any(i.status is ItemStatus.FAILED and i.moved_seq > since for i in state.items.values())
    return failed or any(_is_unowned(state, i) and i.opened_seq > since for i in open_issues(state))


def _is_unowned(state: MissionState, issue: Issue) -> bool:
    return issue.item is None or (_is_unfixed(state, issue) and _at_cap(state, issue))


def _has_news(state: MissionState, since: int) -> bool:
    items = any(i.status not in OPEN and i.moved_seq > since for i in listed_items(state))
    failed = ev.SessionOutcome.FAILED
    planners = any(
        s.ended_seq > since and s.outcome is failed
        for s in state.sessions.values()
        if s.role is ev.Role.PLANNER
    )
    return items or planners


def _wake(state: MissionState, commander: Session) -> tuple[Step, ...]:
    """Wake the Commander; if nothing moved since it was last woken, climb the ladder."""
    stages = tuple(ev.StagnationStage)
    now = fingerprint(state)
    stage = stages[min(state.stagnations, len(stages) - 1)] if now == state.moved else None
    told: list[ev.Event] = []
    if stage is not None:
        told.append(ev.Stagnation(stage=stage, fingerprint=now))
    if stage is ev.StagnationStage.STOP:
        text = "nothing moved after the Commander was told so and asked for a new plan"
        end = ev.MissionFailed(outcome=ev.Outcome.STAGNATED, text=text, blockers=seal.blockers(state))
        return _step(*told, end)
    since = commander.told_seq if commander.told_seq > state.run_seq else 0
    text = brief.wake(state, since, stage)
    return _step(*told, _message(commander, ev.MessageReason.WAKE, text))


def _planners(state: MissionState) -> list[Session]:
    return [s for s in _of_this_run(state) if s.role is ev.Role.PLANNER]


def _planner_again(state: MissionState) -> tuple[Step, ...]:
    """A Planner that ended without a plan is followed by a fresh one, once per task."""
    planners = _planners(state)
    if not planners:
        return ()
    last = planners[-1]
    if last.outcome is not ev.SessionOutcome.FAILED:
        return ()
    text = last.messages[0].text
    tries = sum(1 for s in planners if s.messages[0].text == text)
    if tries >= MAX_PLANNERS:
        return ()
    return _step(*start(state, ev.Role.PLANNER, last.title, text))


def _without_commander(state: MissionState, commander: Session) -> tuple[Step, ...]:
    """Act where the Commander, awake, chose to do nothing; one that a crash cut off is asked again first."""
    if state.answer_only and (text := _last_words(commander)):
        return _step(ev.MissionAnswered(text=text))
    if step := _go_on(state):
        return step
    if commander.told_seq < state.run_seq:
        return _wake(state, commander)
    if not state.items and not _planners(state) and not state.answer_only:
        return _step(*start(state, ev.Role.PLANNER, "plan", state.goal))
    return _step(_ended(seal.blockers(state)))


def _go_on(state: MissionState) -> tuple[Step, ...]:
    """Ask for the seal, or send a red command's issue to the owner that its output names."""
    if not seal.blockers(state):
        return _step(ev.SealRequested(summary=""))
    for issue in open_issues(state):
        if issue.item is None and (owner := _named_owner(state, issue)):
            return _step(*_hand_over(state, issue, owner))
    return ()


def _last_words(commander: Session) -> str:
    """Return what the Commander said last, where it only had to answer and called no tool to do so."""
    last = commander.messages[-1]
    return last.text if isinstance(last, AssistantMessage) and last.text != EMPTY_REPLY else ""


def _named_owner(state: MissionState, issue: Issue) -> Item | None:
    """Return the completed item whose file the issue names first and that may still be fixed."""
    for item in seal.named_owners(state, issue.text):
        capped = any(_fixes_of(state, path) >= MAX_FIXES_PER_FILE for path in item.files)
        if item.status is ItemStatus.COMPLETED and not capped:
            return item
    return None


def _ended(blockers: tuple[ev.Blocker, ...]) -> ev.Event:
    """End the run without a seal; why decides how it is called."""
    kinds = {blocker.kind for blocker in blockers}
    outcome = ev.Outcome.UNSEALED
    if kinds and kinds <= {ev.BlockerKind.DECISION, ev.BlockerKind.PERMISSION}:
        outcome = ev.Outcome.BLOCKED
    elif kinds == {ev.BlockerKind.LIMIT}:
        outcome = ev.Outcome.LIMIT
    text = "; ".join(blocker.text for blocker in blockers) or "nothing was left to do, and nothing was proven"
    return ev.MissionFailed(outcome=outcome, text=text, blockers=blockers)
