"""What the events of a session change: messages, turns, calls, and what they cost.

Every event that a session causes is also its last sign of life. An event in the middle of something that
excludes it (a message while a turn is open, a result of a call that nobody made) raises `IllegalTransition`.
"""

from orch.errors import IllegalTransition, RateLimited
from orch.mission import compaction, repair, size
from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.moves import known_session, moved_item, session_move, with_item, with_session
from orch.mission.quarantine import crashes_after_call, crashes_after_turn
from orch.mission.state import MissionState, Session, Spending, fingerprint, plus
from orch.mission.transcript import ToolMessage, UserMessage

_COUNTS_AFRESH = (ev.MessageReason.BRIEF, ev.MessageReason.WAKE, ev.MessageReason.REPLY)
"""Messages that start the counts of the turns and the time since."""


def session_started(state: MissionState, event: ev.SessionStarted) -> MissionState:
    """Open the conversation; a Reviewer has its item under review from now on."""
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
        last_activity=event.ts,
    )
    state = with_session(state, session)
    if event.role is ev.Role.COMMANDER:
        return evolve(state, commander=event.session)
    if event.role is ev.Role.REVIEWER and event.item is not None:
        item = moved_item(state, event.item, "review.started", event.seq)
        return with_item(state, evolve(item, reviewer=event.session, reviewers=item.reviewers + 1))
    return state


def message_sent(state: MissionState, event: ev.MessageSent) -> MissionState:
    """Tell the session something. A recovery is no news: it goes on with what it was told before."""
    session, status = session_move(state, event)
    if session.messages and isinstance(session.messages[-1], UserMessage):
        raise IllegalTransition(f"a message to session {event.session}, which has not answered the last")
    _check_between_turns(session, event)
    session = evolve(
        session,
        status=status,
        last_activity=event.ts,
        brief=session.brief or event.text,
        messages=(*session.messages, UserMessage(text=event.text)),
        doing="",
    )
    if event.reason is ev.MessageReason.RECOVERY:
        return with_session(state, session)
    if event.reason in _COUNTS_AFRESH:
        session = evolve(session, turns_since_wake=0, worked_s=0.0, late_at_s=None)
    nudge = event.reason is ev.MessageReason.NUDGE
    session = evolve(
        session,
        nudged=nudge,
        wrote=session.wrote and nudge,
        told_seq=event.seq,
    )
    return _told(with_session(state, session), session, event.reason)


def _told(state: MissionState, session: Session, reason: ev.MessageReason) -> MissionState:
    """Note what the session knows now: a Worker all its item's issues, the Commander where things stand."""
    if session.role is ev.Role.WORKER and reason is not ev.MessageReason.NUDGE:
        issues = {k: evolve(i, told=True) if i.item == session.item else i for k, i in state.issues.items()}
        return evolve(state, issues=issues)
    if reason is ev.MessageReason.WAKE:
        moved = fingerprint(state)
        return evolve(state, moved=moved, stagnations=state.stagnations if moved == state.moved else 0)
    return evolve(state, reply="") if session.role is ev.Role.COMMANDER else state


def _check_between_turns(session: Session, event: ev.Event) -> None:
    if session.open_calls or session.open_turn:
        raise IllegalTransition(f"{event.type} in session {session.id} in the middle of its turn")


def session_idle(state: MissionState, event: ev.SessionIdle) -> MissionState:
    """Wait for a message."""
    session, status = session_move(state, event)
    _check_between_turns(session, event)
    return with_session(state, evolve(session, status=status, last_activity=event.ts, doing=""))


def session_ended(state: MissionState, event: ev.SessionEnded) -> MissionState:
    """Close the conversation, also in the middle of a turn."""
    session, status = session_move(state, event)
    state = evolve(state, spending=lost(state.spending, session))
    session = evolve(
        cut_off(session),
        status=status,
        last_activity=event.ts,
        outcome=event.outcome,
        reason=event.reason,
        kind=event.kind,
        ended_seq=event.seq,
        open_calls=(),
        doing="",
    )
    return with_session(state, session)


def turn_started(state: MissionState, event: ev.TurnStarted) -> MissionState:
    """Open a turn."""
    session, status = session_move(state, event)
    _check_between_turns(session, event)
    session = evolve(
        session,
        status=status,
        last_activity=event.ts,
        open_turn=True,
        retry=None,
        estimate=event.estimate,
        step_seq=event.seq,
        doing="thinking",
    )
    return with_session(state, session)


def lost(spending: Spending, session: Session) -> Spending:
    """Count the call of an open turn of which nothing more will be heard: it may have been paid."""
    if not session.open_turn or session.estimate is None:
        return spending
    return spending.with_turn(session.role, session.model, session.estimate)


def cut_off(session: Session) -> Session:
    """Give up the session's open turn, if it has one."""
    usage = plus(session.usage, session.estimate) if session.open_turn and session.estimate else session.usage
    return evolve(session, open_turn=False, estimate=None, usage=usage)


def turn_failed(state: MissionState, event: ev.TurnFailed) -> MissionState:
    """Close the turn without an answer."""
    session, status = session_move(state, event)
    if not session.open_turn:
        raise IllegalTransition(f"a failed turn of session {event.session} that never started")
    session = evolve(session, status=status, last_activity=event.ts, open_turn=False, estimate=None, doing="")
    return _paid_beside(state, session, event.usage)


def _paid_beside(state: MissionState, session: Session, usage: ev.Usage | None) -> MissionState:
    if usage is None:
        return with_session(state, session)
    spending = state.spending.with_turn(session.role, session.model, usage)
    return with_session(evolve(state, spending=spending), evolve(session, usage=plus(session.usage, usage)))


def turn_finished(state: MissionState, event: ev.TurnFinished) -> MissionState:
    """Take the answer into the history; its calls are open, its usage is spent."""
    session, status = session_move(state, event)
    if not session.open_turn:
        raise IllegalTransition(f"a finished turn of session {event.session} that never started")
    counted_tokens = size.counted(event.message, event.usage)
    session = evolve(
        session,
        status=status,
        last_activity=event.ts,
        messages=(*session.messages, event.message),
        counted_messages=len(session.messages) + 1 if counted_tokens else 0,
        counted_tokens=counted_tokens,
        open_turn=False,
        estimate=None,
        open_calls=event.message.tool_calls,
        crashes=crashes_after_turn(session, event.message),
        turns=session.turns + 1,
        turns_since_wake=session.turns_since_wake + 1,
        worked_s=session.worked_s + event.duration_s,
        usage=plus(session.usage, event.usage),
    )
    return evolve(
        state,
        sessions={**state.sessions, session.id: session},
        spending=state.spending.with_turn(session.role, event.model, event.usage),
        num_turns=state.num_turns + 1,
        exhausted=None,
    )


def tool_called(state: MissionState, event: ev.ToolCalled) -> MissionState:
    """Say what the session is doing."""
    session, status = session_move(state, event)
    if all(call.id != event.call_id for call in session.open_calls):
        raise IllegalTransition(f"call {event.call_id} of session {event.session} is not open")
    session = evolve(session, status=status, last_activity=event.ts, doing=event.summary, step_seq=event.seq)
    return with_session(state, session)


def tool_finished(state: MissionState, event: ev.ToolFinished) -> MissionState:
    """Take the result into the history; its call is closed."""
    session, status = session_move(state, event)
    left = tuple(call for call in session.open_calls if call.id != event.call_id)
    if len(left) == len(session.open_calls):
        raise IllegalTransition(
            f"a result of call {event.call_id} of session {event.session}, which is not open"
        )
    worked_s = session.worked_s + event.duration_s
    message = ToolMessage(call_id=event.call_id, text=event.text, failed=not event.ok)
    session = evolve(
        session,
        status=status,
        last_activity=event.ts,
        messages=(*session.messages, message),
        open_calls=left,
        worked_s=worked_s,
        late_at_s=worked_s if event.late else session.late_at_s,
        crashes=crashes_after_call(session, event.text),
        seen={**session.seen, **event.seen} if event.seen else session.seen,
    )
    return with_session(state, session)


def compacted(state: MissionState, event: ev.Compaction) -> MissionState:
    """Make the history shorter; a summary was asked for in a turn of its own, which is over."""
    session, status = session_move(state, event)
    if session.open_calls:
        raise IllegalTransition(f"{event.type} in session {session.id} in the middle of its turn")
    is_summary = event.stage is not ev.CompactionStage.DROPPED
    kept = session.messages[event.kept_from :]
    messages = (
        compaction.with_summary(session.brief, event.text, kept)
        if is_summary
        else compaction.without_results(session.messages, event.dropped)
    )
    session = evolve(
        session,
        status=status,
        last_activity=event.ts,
        messages=messages,
        counted_messages=len(messages),
        counted_tokens=event.after_tokens,
        digest=event.digest if is_summary else session.digest,
        summarised_turn=session.turns if is_summary else session.summarised_turn,
        overflowed_turn=session.turns
        if event.cause is ev.CompactionCause.OVERFLOW
        else session.overflowed_turn,
        seen={**session.seen, **event.seen},
        open_turn=False,
        estimate=None,
        doing="",
    )
    return _paid_beside(state, session, event.usage)


def healed(state: MissionState, event: ev.Heal) -> MissionState:
    """Put a broken history right, and leave its thoughts out: they cannot be altered."""
    if not event.history:
        return state
    session = known_session(state, event)
    _check_between_turns(session, event)
    session = evolve(
        session,
        last_activity=event.ts,
        messages=repair.without_thinking(repair.repair(session.messages)),
        counted_messages=0,
        counted_tokens=0,
        repaired_turn=session.turns,
    )
    return with_session(state, session)


def retried(state: MissionState, event: ev.Retry) -> MissionState:
    """Count the retry, and what the failed call may have cost; a refusal for the rate is the provider's."""
    session = evolve(
        known_session(state, event), last_activity=event.ts, doing=f"retry {event.attempt}", retry=event
    )
    if event.error == RateLimited.__name__:
        provider = session.model.partition("/")[0]
        state = evolve(state, refusals={**state.refusals, provider: event})
    return evolve(_paid_beside(state, session, event.usage), num_retries=state.num_retries + 1)


def permission_denied(state: MissionState, event: ev.PermissionDenied) -> MissionState:
    """Keep the denial for the result."""
    return evolve(state, denials=(*state.denials, event))
