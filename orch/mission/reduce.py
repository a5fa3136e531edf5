"""`reduce(state, event) -> state`: the one way in which a mission's state changes.

Theory of operation. Three tables say what may happen when (`orch.mission.moves`); an event that they, or the
state, do not allow raises `IllegalTransition`, and the state given is never changed. A fourth, `CHANGES`,
names one small function for every event there is: it says what the event changes beyond the mission's status
and the place in the journal. The functions of the mission's run stand here, the others beside what they are
about: `reduce_items`, `reduce_sessions`, `reduce_files`, `reduce_proof`.

The function is pure and total over `orch.mission.events.Event`, so the live mission, a resume and a reader
of the journal run the very same code: replaying a journal gives the live state. It runs for every event of
every session on the event loop; its price is a few copied dicts (`orch.mission.evolve`).
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeVar, cast

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission import reduce_files as files
from orch.mission import reduce_items as items
from orch.mission import reduce_proof as proof
from orch.mission import reduce_sessions as sessions
from orch.mission import substitutes
from orch.mission.evolve import evolve
from orch.mission.moves import mission_status
from orch.mission.quarantine import after_crash
from orch.mission.state import (
    ItemStatus,
    MissionState,
    Session,
    SessionStatus,
    listed_items,
    open_issues,
    open_items,
)

_E = TypeVar("_E", bound=ev.Fact)
Change = Callable[[MissionState, ev.Event], MissionState]


def reduce(state: MissionState, event: ev.Event) -> MissionState:
    """Return the state after `event`.

    Raises:
        IllegalTransition: The state does not allow the event.
    """
    if event.seq != state.seq + 1:
        raise IllegalTransition(f"event {event.seq} ({event.type}) after {state.seq}")
    status = mission_status(state, event.type)
    return evolve(CHANGES[type(event)](state, event), status=status, seq=event.seq, ts=event.ts)


def replay(events: Iterable[ev.Event]) -> MissionState:
    """Return the state after all `events` of a journal."""
    state = MissionState()
    for event in events:
        state = reduce(state, event)
    return state


def run_duration_s(state: MissionState, now: str = "") -> float:
    """Seconds over all runs: those before, and this one up to `now` (or its last sign of life)."""
    if not state.run_started:
        return state.duration_s
    end = datetime.fromisoformat(now or state.ts)
    return state.duration_s + max(0.0, (end - datetime.fromisoformat(state.run_started)).total_seconds())


# ---- the mission's run


def mission_started(state: MissionState, event: ev.MissionStarted) -> MissionState:
    """Take over the goal and the settings."""
    return evolve(
        state,
        mission=event.mission,
        goal=event.goal,
        models=event.models,
        max_parallel=event.max_parallel,
        max_turns=event.max_turns,
        role_turns=event.role_turns,
        instructions=event.instructions,
        caps=event.caps,
        fallback=event.fallback,
        answer_only=event.answer_only,
        dry_run=event.dry_run,
        demo=event.demo,
        settings_verify=event.verify,
        verify=event.verify,
        baseline_due=event.baseline,
        started=event.ts,
        run_started=event.ts,
        run_seq=event.seq,
    )


def mission_resumed(state: MissionState, event: ev.MissionResumed) -> MissionState:
    """Put what was in flight back: a turn is asked again, orch's own verification starts again."""
    interrupted = {sid: _interrupted(after_crash(state, s)) for sid, s in state.sessions.items()}
    baseline_cut = (
        state.verification is not None and state.verification.phase is ev.VerificationPhase.BASELINE
    )
    return evolve(
        state,
        models=event.models,
        max_parallel=event.max_parallel,
        max_turns=event.max_turns,
        role_turns=event.role_turns,
        instructions=event.instructions,
        caps=event.caps,
        fallback=event.fallback,
        substitutes={},
        refusals={},
        dry_run=state.dry_run and state.outcome is not ev.Outcome.PLANNED,
        sessions={sid: substitutes.with_own_model(s, event.models) for sid, s in interrupted.items()},
        spending=functools.reduce(sessions.lost, state.sessions.values(), state.spending),
        outcome=None,
        ending="",
        stopped_by=None,
        is_usage=False,
        culprit=None,
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
        return sessions.cut_off(session)
    return evolve(session, status=SessionStatus.ENDED, outcome=ev.SessionOutcome.CANCELLED)


def _end(state: MissionState, outcome: ev.Outcome, text: str, ts: str) -> MissionState:
    return evolve(state, outcome=outcome, ending=text, duration_s=run_duration_s(state, ts), run_started="")


def mission_stopped(state: MissionState, event: ev.MissionStopped) -> MissionState:
    """End the run; nothing is wrong with it."""
    return evolve(_end(state, ev.Outcome.STOPPED, "", event.ts), stopped_by=event.signal)


def mission_sealed(state: MissionState, event: ev.MissionSealed) -> MissionState:
    """End the mission, proven."""
    _check_proven(state)
    return evolve(_end(state, ev.Outcome.SEALED, event.summary, event.ts), verification=None)


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


def mission_answered(state: MissionState, event: ev.MissionAnswered) -> MissionState:
    """End the mission with its answer."""
    return _end(state, ev.Outcome.ANSWERED, event.text, event.ts)


def mission_planned(state: MissionState, event: ev.MissionPlanned) -> MissionState:
    """End a dry run with the plan that the next run carries out."""
    if not state.dry_run or not open_items(state):
        raise IllegalTransition("mission.planned without a plan, or in a mission that is no dry run")
    return evolve(_end(state, ev.Outcome.PLANNED, event.text, event.ts), estimate=event.estimate)


def mission_failed(state: MissionState, event: ev.MissionFailed) -> MissionState:
    """End the run, and keep why."""
    is_bug = event.outcome is ev.Outcome.ERROR and not event.is_usage
    return evolve(
        _end(state, event.outcome, event.text, event.ts),
        end_blockers=event.blockers,
        is_usage=event.is_usage,
        culprit=event.session if is_bug else None,
    )


def stagnated(state: MissionState, _event: ev.Stagnation) -> MissionState:
    """Count the steps of the ladder."""
    return evolve(state, stagnations=state.stagnations + 1)


def capped(state: MissionState, event: ev.Budget) -> MissionState:
    """Keep what a run ran out of."""
    return evolve(state, exhausted=event if event.reached else state.exhausted)


def unchanged(state: MissionState, _event: ev.Fact) -> MissionState:
    """Change nothing: the event is for whoever reads the journal."""
    return state


# ---- what each event changes


def _row(
    event_type: type[_E], change: Callable[[MissionState, _E], MissionState]
) -> tuple[type[ev.Fact], Change]:
    """Pair an event with its function; here a type checker sees that they belong together."""
    return event_type, cast("Change", change)


CHANGES: Mapping[type[ev.Fact], Change] = dict(
    (
        _row(ev.MissionStarted, mission_started),
        _row(ev.MissionResumed, mission_resumed),
        _row(ev.MissionStopped, mission_stopped),
        _row(ev.MissionSealed, mission_sealed),
        _row(ev.MissionAnswered, mission_answered),
        _row(ev.MissionPlanned, mission_planned),
        _row(ev.MissionFailed, mission_failed),
        _row(ev.ContextUpdated, unchanged),
        _row(ev.PlanAccepted, items.plan_accepted),
        _row(ev.PlanRejected, unchanged),
        _row(ev.ItemAdded, items.item_added),
        _row(ev.ItemDropped, items.item_dropped),
        _row(ev.ItemStarted, items.item_started),
        _row(ev.ItemSubmitted, items.item_submitted),
        _row(ev.SetupFinished, items.setup_finished),
        _row(ev.ItemCompleted, items.item_completed),
        _row(ev.ItemRejected, items.item_rejected),
        _row(ev.ItemFailed, items.item_lost),
        _row(ev.ItemBlocked, items.item_lost),
        _row(ev.ItemReopened, items.item_reopened),
        _row(ev.SessionStarted, sessions.session_started),
        _row(ev.MessageSent, sessions.message_sent),
        _row(ev.SessionIdle, sessions.session_idle),
        _row(ev.SessionEnded, sessions.session_ended),
        _row(ev.TurnStarted, sessions.turn_started),
        _row(ev.TurnFinished, sessions.turn_finished),
        _row(ev.TurnFailed, sessions.turn_failed),
        _row(ev.ToolCalled, sessions.tool_called),
        _row(ev.ToolFinished, sessions.tool_finished),
        _row(ev.PermissionDenied, sessions.permission_denied),
        _row(ev.LeaseAcquired, files.lease_acquired),
        _row(ev.LeaseDenied, unchanged),
        _row(ev.LeaseReleased, files.lease_released),
        _row(ev.FileIntended, files.file_intended),
        _row(ev.FileChanged, files.file_changed),
        _row(ev.EvidenceRecorded, proof.evidence_recorded),
        _row(ev.ReviewSubmitted, unchanged),
        _row(ev.ReviewRefused, unchanged),
        _row(ev.IssueOpened, proof.issue_opened),
        _row(ev.IssueClosed, proof.issue_closed),
        _row(ev.VerificationStarted, proof.verification_started),
        _row(ev.VerificationFinished, proof.verification_finished),
        _row(ev.SealRequested, proof.seal_requested),
        _row(ev.SealRefused, proof.seal_refused),
        _row(ev.Retry, sessions.retried),
        _row(ev.ModelSwitched, substitutes.model_switched),
        _row(ev.ModelRestored, substitutes.model_restored),
        _row(ev.Budget, capped),
        _row(ev.Heal, sessions.healed),
        _row(ev.Compaction, sessions.compacted),
        _row(ev.Stagnation, stagnated),
    )
)
