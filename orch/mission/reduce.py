"""`reduce(state, event) -> state`: the one way in which a mission's state changes.

Theory of operation. Three tables say what may happen: `MISSION_MOVES`, `ITEM_MOVES` and `SESSION_MOVES`,
each `{status: {event type: next status}}`. An event of a kind that a table names is refused with
`IllegalTransition` where the present status does not list it; the state given is never changed. What a legal
event changes beyond a status is in one small function per event, chosen by the event's type.

The function is pure and total over `orch.mission.events.Event`, so the live mission, a resume and a reader
of the journal run the very same code: replaying a journal gives the live state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import singledispatch

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.state import (
    NOTHING_SPENT,
    Issue,
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    Spending,
    Verification,
    fingerprint,
    listed_items,
    open_issues,
)
from orch.mission.transcript import ToolMessage, UserMessage

MISSION_MOVES: Mapping[MissionStatus, Mapping[str, MissionStatus]] = {
    MissionStatus.NEW: {"mission.started": MissionStatus.RUNNING},
    MissionStatus.RUNNING: {
        "mission.resumed": MissionStatus.RUNNING,
        "mission.stopped": MissionStatus.ENDED,
        "mission.failed": MissionStatus.ENDED,
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


def reduce(state: MissionState, event: ev.Event) -> MissionState:
    """Return the state after `event`.

    Raises:
        IllegalTransition: The state does not allow the event.
    """
    if event.seq != state.seq + 1:
        raise IllegalTransition(f"event {event.seq} ({event.type}) after {state.seq}")
    status = _mission_status(state, event.type)
    return replace(_apply(event, state), status=status, seq=event.seq, ts=event.ts)


def replay(events: Iterable[ev.Event]) -> MissionState:
    """Return the state after all `events` of a journal."""
    state = MissionState()
    for event in events:
        state = reduce(state, event)
    return state


def _mission_status(state: MissionState, event_type: str) -> MissionStatus:
    moves = MISSION_MOVES[state.status]
    if event_type in moves:
        return moves[event_type]
    if state.status is not MissionStatus.RUNNING or event_type == "mission.started":
        raise IllegalTransition(f"{event_type} in a mission that is {state.status}")
    return state.status


@singledispatch
def _apply(event: ev.Fact, state: MissionState) -> MissionState:
    """Change what `event` says beyond the statuses; the default is nothing."""
    del event
    return state


# ---- the mission


@_apply.register
def _(event: ev.MissionStarted, state: MissionState) -> MissionState:
    return replace(
        state,
        mission=event.mission,
        goal=event.goal,
        models=event.models,
        max_parallel=event.max_parallel,
        max_turns=event.max_turns,
        answer_only=event.answer_only,
        demo=event.demo,
        settings_verify=event.verify,
        verify=event.verify,
        baseline_due=event.baseline,
        started=event.ts,
        run_started=event.ts,
        run_seq=event.seq,
    )


@_apply.register
def _(event: ev.MissionResumed, state: MissionState) -> MissionState:
    """Put what was in flight back: a turn is asked again, orch's own verification starts again."""
    sessions = {sid: _interrupted(s) for sid, s in state.sessions.items()}
    baseline_cut = (
        state.verification is not None and state.verification.phase is ev.VerificationPhase.BASELINE
    )
    return replace(
        state,
        models=event.models,
        max_parallel=event.max_parallel,
        max_turns=event.max_turns,
        sessions=sessions,
        outcome=None,
        ending="",
        stopped_by=None,
        is_usage=False,
        end_blockers=(),
        verification=None,
        baseline_due=state.baseline_due or baseline_cut,
        red_before=() if baseline_cut else state.red_before,
        seal_asked=False,
        stagnations=0,
        moved="",
        reply=event.reply or state.reply,
        duration_s=run_duration_s(state),
        run_started=event.ts,
        run_seq=event.seq,
    )


def _interrupted(session: Session) -> Session:
    """A crash may cut any batch in two: a session that was never told anything is over."""
    if session.messages:
        return replace(session, open_turn=False)
    return replace(session, status=SessionStatus.ENDED, outcome=ev.SessionOutcome.CANCELLED)


def run_duration_s(state: MissionState, now: str = "") -> float:
    """Seconds over all runs: those before, and this one up to `now` (or its last sign of life)."""
    if not state.run_started:
        return state.duration_s
    end = datetime.fromisoformat(now or state.ts)
    return state.duration_s + max(0.0, (end - datetime.fromisoformat(state.run_started)).total_seconds())


def _end(state: MissionState, outcome: ev.Outcome, text: str, ts: str) -> MissionState:
    return replace(state, outcome=outcome, ending=text, duration_s=run_duration_s(state, ts), run_started="")


@_apply.register
def _(event: ev.MissionStopped, state: MissionState) -> MissionState:
    return replace(_end(state, ev.Outcome.STOPPED, "", event.ts), stopped_by=event.signal)


@_apply.register
def _(event: ev.MissionSealed, state: MissionState) -> MissionState:
    _check_proven(state)
    return replace(_end(state, ev.Outcome.SEALED, event.summary, event.ts), verification=None)


def _check_proven(state: MissionState) -> None:
    """Whoever asks for it: there is no seal over open work, an open issue, or anything but a green run."""
    run = state.verification
    undone = [i.spec.id for i in listed_items(state) if i.status is not ItemStatus.COMPLETED]
    if undone or not listed_items(state) or open_issues(state):
        raise IllegalTransition(f"mission.sealed over open work: {undone or 'issues, or an empty list'}")
    if run is None or run.phase is not ev.VerificationPhase.SEAL or not run.is_complete:
        raise IllegalTransition("mission.sealed without a complete verification")
    if not run.results or any(result.exit_code for result in run.results):
        raise IllegalTransition("mission.sealed on a verification that is not green")


@_apply.register
def _(event: ev.MissionAnswered, state: MissionState) -> MissionState:
    return _end(state, ev.Outcome.ANSWERED, event.text, event.ts)


@_apply.register
def _(event: ev.MissionFailed, state: MissionState) -> MissionState:
    return replace(
        _end(state, event.outcome, event.text, event.ts), end_blockers=event.blockers, is_usage=event.is_usage
    )


# ---- the plan and its items


@_apply.register
def _(event: ev.PlanAccepted, state: MissionState) -> MissionState:
    items = dict(state.items)
    for spec in event.items:
        present = items.get(spec.id)
        if present is not None and present.status is ItemStatus.COMPLETED:
            continue
        if present is not None and present.status is not ItemStatus.DROPPED:
            raise IllegalTransition(
                f"item {spec.id} is {present.status} and was not dropped before its new plan"
            )
        items.pop(spec.id, None)
        items[spec.id] = Item(spec=spec, origin=ev.ItemOrigin.PLANNED, moved_seq=event.seq)
    for spec in event.items:
        _check_dependencies(spec, items)
    return replace(
        _know(state, event.files),
        items=items,
        verify=event.verify or state.settings_verify,
        seal_asked=False,
    )


@_apply.register
def _(event: ev.ItemAdded, state: MissionState) -> MissionState:
    if event.item in state.items:
        raise IllegalTransition(f"item {event.item} is on the list already")
    _check_dependencies(event.spec, state.items)
    item = Item(spec=event.spec, origin=event.origin, moved_seq=event.seq)
    issues = dict(state.issues)
    for issue in event.issues:
        issues[issue] = replace(_issue(state, issue), item=event.item)
    return replace(
        _know(state, event.files), items={**state.items, event.item: item}, issues=issues, seal_asked=False
    )


def _check_dependencies(spec: ev.ItemSpec, items: Mapping[ev.ItemId, Item]) -> None:
    if unknown := [d for d in spec.depends_on if d not in items]:
        raise IllegalTransition(f"item {spec.id} depends on {', '.join(unknown)}, which is no item")


def _know(state: MissionState, files: Mapping[str, str | None]) -> MissionState:
    """Take over what `files` are, where orch does not know them yet."""
    new = {path: sha for path, sha in files.items() if path not in state.files}
    return replace(state, files={**state.files, **new})


def _item(state: MissionState, item_id: ev.ItemId, event_type: str) -> Item:
    item = state.items.get(item_id)
    if item is None:
        raise IllegalTransition(f"{event_type} of an unknown item {item_id}")
    return item


def _move(state: MissionState, item_id: ev.ItemId, event_type: str, seq: int) -> Item:
    """Return the item in its next status; the rest of it unchanged."""
    item = _item(state, item_id, event_type)
    status = ITEM_MOVES[item.status].get(event_type)
    if status is None:
        raise IllegalTransition(f"{event_type} of item {item_id}, which is {item.status}")
    return replace(item, status=status, moved_seq=seq)


def _with_item(state: MissionState, item: Item) -> MissionState:
    return replace(state, items={**state.items, item.spec.id: item})


@_apply.register
def _(event: ev.ItemStarted, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    same = item.worker in (None, event.session)
    was_rejected = state.items[event.item].status is ItemStatus.REJECTED
    item = replace(
        item,
        worker=event.session,
        reviewer=None,
        restarts=item.restarts + (not same and not was_rejected),
        rejections=item.rejections if same else 0,
        last_chance=item.last_chance or (was_rejected and not same),
    )
    return _with_item(state, item)


def _told(state: MissionState, item: ev.ItemId | None) -> MissionState:
    """Note that the item's Worker knows of all its issues."""
    issues = {k: replace(i, told=True) if i.item == item else i for k, i in state.issues.items()}
    return replace(state, issues=issues)


@_apply.register
def _(event: ev.ItemSubmitted, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    return _with_item(state, replace(item, setup_done=item.spec.setup is None, reviewer=None, reviewers=0))


@_apply.register
def _(event: ev.SetupFinished, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    extra = tuple(dict.fromkeys((*item.extra_files, *event.files)))
    state = _with_item(state, replace(item, setup_done=event.exit_code == 0, extra_files=extra))
    for path, sha in event.files.items():
        state = _changed(state, path, state.files.get(path), sha)
    return state


@_apply.register
def _(event: ev.ItemCompleted, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    return _with_item(state, replace(item, evidence=event.evidence))


@_apply.register
def _(event: ev.ItemRejected, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    return _with_item(state, replace(item, rejections=item.rejections + 1, reason=event.reason))


@_apply.register
def _(event: ev.ItemFailed, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    return _with_item(state, replace(item, kind=event.kind, reason=event.reason))


@_apply.register
def _(event: ev.ItemBlocked, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    return _with_item(state, replace(item, kind=event.kind, reason=event.reason))


@_apply.register
def _(event: ev.ItemDropped, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    return _with_item(state, replace(item, reason=event.reason))


@_apply.register
def _(event: ev.ItemReopened, state: MissionState) -> MissionState:
    item = _move(state, event.item, event.type, event.seq)
    fresh = Item(
        spec=item.spec,
        origin=item.origin,
        status=item.status,
        extra_files=item.extra_files,
        moved_seq=item.moved_seq,
    )
    return _with_item(state, fresh)


# ---- sessions


def _known_session(state: MissionState, session: ev.SessionId, event_type: str) -> Session:
    present = state.sessions.get(session)
    if present is None:
        raise IllegalTransition(f"{event_type} in an unknown session {session}")
    return present


def _session(state: MissionState, session: ev.SessionId, event_type: str) -> Session:
    """Return the session in its next status."""
    present = _known_session(state, session, event_type)
    status = SESSION_MOVES[present.status].get(event_type)
    if status is None:
        raise IllegalTransition(f"{event_type} in session {session}, which is {present.status}")
    return replace(present, status=status)


def _with_session(state: MissionState, session: Session, ts: str) -> MissionState:
    session = replace(session, last_activity=ts)
    return replace(state, sessions={**state.sessions, session.id: session})


@_apply.register
def _(event: ev.SessionStarted, state: MissionState) -> MissionState:
    if event.session in state.sessions:
        raise IllegalTransition(f"session {event.session} exists already")
    session = Session(
        id=event.session,
        role=event.role,
        model=event.model,
        title=event.title,
        item=event.item,
        started=event.ts,
        started_seq=event.seq,
    )
    state = _with_session(state, session, event.ts)
    if event.role is ev.Role.COMMANDER:
        return replace(state, commander=event.session)
    if event.role is ev.Role.REVIEWER and event.item is not None:
        item = _move(state, event.item, "review.started", event.seq)
        return _with_item(state, replace(item, reviewer=event.session, reviewers=item.reviewers + 1))
    return state


@_apply.register
def _(event: ev.MessageSent, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    if (
        session.open_calls
        or session.open_turn
        or (session.messages and isinstance(session.messages[-1], UserMessage))
    ):
        raise IllegalTransition(f"a message to session {event.session} in the middle of its turn")
    wakes = event.reason in (ev.MessageReason.BRIEF, ev.MessageReason.WAKE, ev.MessageReason.REPLY)
    nudge = event.reason is ev.MessageReason.NUDGE
    session = replace(
        session,
        messages=(*session.messages, UserMessage(text=event.text)),
        nudged=nudge,
        wrote=session.wrote and nudge,
        turns_since_wake=0 if wakes else session.turns_since_wake,
        told_seq=event.seq,
        doing="",
    )
    state = _with_session(state, session, event.ts)
    if session.role is ev.Role.WORKER and not nudge:
        return _told(state, session.item)
    if event.reason is ev.MessageReason.WAKE:
        moved = fingerprint(state)
        return replace(state, moved=moved, stagnations=state.stagnations if moved == state.moved else 0)
    return replace(state, reply="") if session.role is ev.Role.COMMANDER else state


@_apply.register
def _(event: ev.SessionIdle, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    if session.open_calls or session.open_turn:
        raise IllegalTransition(f"session {event.session} is idle in the middle of its turn")
    return _with_session(state, replace(session, doing=""), event.ts)


@_apply.register
def _(event: ev.SessionEnded, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    session = replace(
        session,
        outcome=event.outcome,
        reason=event.reason,
        kind=event.kind,
        ended_seq=event.seq,
        open_turn=False,
        open_calls=(),
        doing="",
    )
    return _with_session(state, session, event.ts)


@_apply.register
def _(event: ev.TurnStarted, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    if session.open_calls or session.open_turn:
        raise IllegalTransition(f"a turn of session {event.session} while another is open")
    return _with_session(state, replace(session, open_turn=True, doing="thinking"), event.ts)


@_apply.register
def _(event: ev.TurnFinished, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    if not session.open_turn:
        raise IllegalTransition(f"a finished turn of session {event.session} that never started")
    session = replace(
        session,
        messages=(*session.messages, event.message),
        open_turn=False,
        open_calls=event.message.tool_calls,
        turns=session.turns + 1,
        turns_since_wake=session.turns_since_wake + 1,
        usage=plus(session.usage, event.usage),
    )
    spending = Spending(
        total=plus(state.spending.total, event.usage),
        by_model=_spend(state.spending.by_model, event.model, event.usage),
        by_role=_spend(state.spending.by_role, session.role.value, event.usage),
    )
    return replace(_with_session(state, session, event.ts), spending=spending, num_turns=state.num_turns + 1)


def plus(one: ev.Usage, other: ev.Usage) -> ev.Usage:
    """Add usage; a cost that is unknown anywhere is unknown in the sum."""
    known = one.cost_usd is not None and other.cost_usd is not None
    return ev.Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cost_usd=(one.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
    )


def _spend(ledger: Mapping[str, ev.Usage], key: str, usage: ev.Usage) -> Mapping[str, ev.Usage]:
    return {**ledger, key: plus(ledger.get(key, NOTHING_SPENT), usage)}


@_apply.register
def _(event: ev.ToolCalled, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    if all(call.id != event.call_id for call in session.open_calls):
        raise IllegalTransition(f"call {event.call_id} of session {event.session} is not open")
    return _with_session(state, replace(session, doing=event.summary), event.ts)


@_apply.register
def _(event: ev.ToolFinished, state: MissionState) -> MissionState:
    session = _session(state, event.session, event.type)
    left = tuple(call for call in session.open_calls if call.id != event.call_id)
    if len(left) == len(session.open_calls):
        raise IllegalTransition(
            f"a result of call {event.call_id} of session {event.session}, which is not open"
        )
    session = replace(
        session,
        messages=(*session.messages, ToolMessage(call_id=event.call_id, text=event.text)),
        open_calls=left,
        seen={**session.seen, **event.seen} if event.seen else session.seen,
    )
    return _with_session(state, session, event.ts)


@_apply.register
def _(event: ev.Retry, state: MissionState) -> MissionState:
    session = _known_session(state, event.session, event.type)
    state = _with_session(state, replace(session, doing=f"retry {event.attempt}"), event.ts)
    return replace(state, num_retries=state.num_retries + 1)


@_apply.register
def _(event: ev.PermissionDenied, state: MissionState) -> MissionState:
    return replace(state, denials=(*state.denials, event))


# ---- leases and files


@_apply.register
def _(event: ev.LeaseAcquired, state: MissionState) -> MissionState:
    item = _item(state, event.item, event.type)
    for other in state.items.values():
        if other.leased and other.spec.id != event.item and set(other.files) & set(event.files):
            raise IllegalTransition(f"item {other.spec.id} holds a file of item {event.item}")
    return replace(_with_item(state, replace(item, leased=True)), baseline_due=False)


@_apply.register
def _(event: ev.LeaseReleased, state: MissionState) -> MissionState:
    return _with_item(state, replace(_item(state, event.item, event.type), leased=False))


@_apply.register
def _(event: ev.FileIntended, state: MissionState) -> MissionState:
    return replace(state, intents={**state.intents, event.path: event.after})


@_apply.register
def _(event: ev.FileChanged, state: MissionState) -> MissionState:
    state = _changed(state, event.path, event.before, event.after)
    if event.session is None or not event.by_tool:
        return state
    session = _known_session(state, event.session, event.type)
    session = replace(session, wrote=True, seen={**session.seen, event.path: event.after})
    return _with_session(state, session, event.ts)


def _changed(state: MissionState, path: str, before: str | None, after: str | None) -> MissionState:
    """Take over a file's new hash; a file that is again what it was first is no longer changed."""
    first = {path: before, **state.first_seen}
    others = tuple(p for p in state.changed if p != path)
    intents = {p: sha for p, sha in state.intents.items() if p != path}
    return replace(
        state,
        files={**state.files, path: after},
        first_seen=first,
        changed=others if first[path] == after else tuple(sorted((*others, path))),
        intents=intents,
    )


# ---- evidence, reviews, issues, the seal


@_apply.register
def _(event: ev.EvidenceRecorded, state: MissionState) -> MissionState:
    if event.evidence in state.evidence:
        raise IllegalTransition(f"evidence {event.evidence} exists already")
    return replace(state, evidence={**state.evidence, event.evidence: event})


@_apply.register
def _(event: ev.IssueOpened, state: MissionState) -> MissionState:
    if event.issue in state.issues:
        raise IllegalTransition(f"issue {event.issue} exists already")
    issue = Issue(
        id=event.issue,
        source=event.source,
        text=event.text,
        path=event.path,
        item=event.item,
        command=event.command,
        opened_seq=event.seq,
    )
    return replace(state, issues={**state.issues, event.issue: issue}, seal_asked=False)


def _issue(state: MissionState, issue: ev.IssueId) -> Issue:
    present = state.issues.get(issue)
    if present is None or not present.is_open:
        raise IllegalTransition(f"issue {issue} is not open")
    return present


@_apply.register
def _(event: ev.IssueClosed, state: MissionState) -> MissionState:
    issue = replace(_issue(state, event.issue), is_open=False)
    return replace(state, issues={**state.issues, event.issue: issue})


@_apply.register
def _(event: ev.SealRequested, state: MissionState) -> MissionState:
    return replace(state, seal_asked=True, seal_summary=event.summary or state.seal_summary)


@_apply.register
def _(event: ev.SealRefused, state: MissionState) -> MissionState:
    del event
    return replace(state, seal_asked=False, verification=None)


@_apply.register
def _(event: ev.VerificationStarted, state: MissionState) -> MissionState:
    due = state.baseline_due and event.phase is not ev.VerificationPhase.BASELINE
    return replace(
        state, verification=Verification(phase=event.phase, commands=event.commands), baseline_due=due
    )


@_apply.register
def _(event: ev.VerificationFinished, state: MissionState) -> MissionState:
    run = state.verification
    if run is None or run.is_complete or run.commands[len(run.results)] != event.command:
        raise IllegalTransition(f"a result of {event.command!r}, which is not being verified")
    run = replace(run, results=(*run.results, event))
    if event.phase is ev.VerificationPhase.SEAL:
        return replace(state, verification=run, verified=run.results)
    red = (*state.red_before, event.command) if event.exit_code else state.red_before
    return replace(state, verification=None if run.is_complete else run, red_before=red)


@_apply.register
def _(event: ev.Stagnation, state: MissionState) -> MissionState:
    del event
    return replace(state, stagnations=state.stagnations + 1)
