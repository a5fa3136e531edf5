"""The Commander, and what happens without it.

Pure. It is woken at once for what only it can decide, else when nothing runs and nothing can start. Waking
it where nothing moved since climbs the ladder: told so, asked for another plan, stopped. One that was woken
and did nothing does not stop a mission: no plan -> the Planner gets the goal, nothing left -> the seal, red
-> its issues go to the owners named in the output, else the run ends and the blockers say how. A dry run that
has items needs nobody any more.
"""

from orch.mission import brief, seal
from orch.mission import events as ev
from orch.mission.routing import at_cap, hand_over, is_unfixed, named_owner
from orch.mission.state import (
    OPEN,
    Issue,
    ItemStatus,
    MissionState,
    Session,
    SessionStatus,
    fingerprint,
    listed_items,
    open_issues,
    open_items,
    running_sessions,
    seal_commands,
)
from orch.mission.steps import Step, at_once, message, start
from orch.mission.transcript import EMPTY_REPLY, AssistantMessage

MAX_PLANNERS = 2
"""Planner sessions of a run that may end without a plan before the Commander hears of it."""
MAX_COMMANDERS = 2
"""Commander sessions of a run that may fail; then the run ends as soon as it needs a decision."""


def command(state: MissionState) -> tuple[Step, ...]:
    """Start the Commander, speak to it, or act where it does not."""
    commander = state.sessions.get(state.commander) if state.commander else None
    if commander is None:
        return at_once(*start(state, ev.Role.COMMANDER, "command", state.goal))
    if commander.status is SessionStatus.RUNNING or state.verification is not None:
        return ()
    if commander.status is SessionStatus.ENDED:
        return _next_commander(state, commander)
    if state.reply:
        return at_once(message(commander, ev.MessageReason.REPLY, brief.reply(state.reply)))
    if _only_commander_can(state, commander.told_seq):
        return _wake(state, commander)
    return () if _is_busy(state) else _quiet(state, commander)


def _quiet(state: MissionState, commander: Session) -> tuple[Step, ...]:
    """Nothing runs and nothing can start without a decision."""
    if state.seal_asked:
        return _verify(state)
    if planner := _planner_again(state):
        return planner
    if _has_plan_only(state):
        return ()
    if _has_news(state, commander.told_seq):
        return _wake(state, commander)
    return _without_commander(state, commander)


def _verify(state: MissionState) -> tuple[Step, ...]:
    return at_once(ev.VerificationStarted(phase=ev.VerificationPhase.SEAL, commands=seal_commands(state)))


def _next_commander(state: MissionState, last: Session) -> tuple[Step, ...]:
    """A Commander that failed is followed by a fresh one, once; then the rest goes on without."""
    tries = sum(1 for s in _of_this_run(state) if s.role is ev.Role.COMMANDER)
    if tries < MAX_COMMANDERS:
        parts = [state.goal]
        parts += [brief.wake(state, 0, None)] if state.items else []
        parts += [brief.reply(state.reply)] if state.reply else []
        return at_once(*start(state, ev.Role.COMMANDER, "command", "\n\n".join(parts)))
    if _is_busy(state):
        return ()
    if state.seal_asked:
        return _verify(state)
    if step := _planner_again(state) or (_go_on(state) if state.items else ()):
        return step
    if _has_plan_only(state):
        return ()
    lost = ev.Blocker(
        kind=last.kind or ev.BlockerKind.PLAN, text=f"the Commander did not finish: {last.reason}"
    )
    return at_once(_ended((lost, *(seal.blockers(state) if state.items else ()))))


def _of_this_run(state: MissionState) -> list[Session]:
    return [s for s in state.sessions.values() if s.started_seq > state.run_seq]


def _is_busy(state: MissionState) -> bool:
    """Whether something runs or can run without a decision; no item can in a dry run."""
    if any(s.role is not ev.Role.COMMANDER for s in running_sessions(state)):
        return True
    return bool(open_items(state)) and not state.dry_run


def _has_plan_only(state: MissionState) -> bool:
    """Whether a dry run has what it was for: nobody is to act on its plan now."""
    return state.dry_run and bool(open_items(state))


def _only_commander_can(state: MissionState, since: int) -> bool:
    """Whether something new needs a decision at once: an item failed for good, an issue nobody owns."""
    failed = any(i.status is ItemStatus.FAILED and i.moved_seq > since for i in state.items.values())
    return failed or any(_is_unowned(state, i) and i.opened_seq > since for i in open_issues(state))


def _is_unowned(state: MissionState, issue: Issue) -> bool:
    return issue.item is None or (is_unfixed(state, issue) and at_cap(state, issue))


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
        return at_once(*told, end)
    since = commander.told_seq if commander.told_seq > state.run_seq else 0
    text = brief.wake(state, since, stage)
    return at_once(*told, message(commander, ev.MessageReason.WAKE, text))


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
    return at_once(*start(state, ev.Role.PLANNER, last.title, text))


def _without_commander(state: MissionState, commander: Session) -> tuple[Step, ...]:
    """Act where the Commander, awake, chose to do nothing; one that a crash cut off is asked again first."""
    if state.answer_only and (text := _last_words(commander)):
        return at_once(ev.MissionAnswered(text=text))
    if step := _go_on(state):
        return step
    if commander.told_seq < state.run_seq:
        return _wake(state, commander)
    if not state.items and not _planners(state) and not state.answer_only:
        return at_once(*start(state, ev.Role.PLANNER, "plan", state.goal))
    return at_once(_ended(seal.blockers(state)))


def _go_on(state: MissionState) -> tuple[Step, ...]:
    """Ask for the seal, or send a red command's issue to the owner that its output names."""
    if not seal.blockers(state):
        return at_once(ev.SealRequested(summary=""))
    for issue in open_issues(state):
        if issue.item is None and (owner := named_owner(state, issue)):
            return at_once(*hand_over(state, issue, owner))
    return ()


def _last_words(commander: Session) -> str:
    """Return what the Commander said last, where it only had to answer and called no tool to do so."""
    last = commander.messages[-1]
    return last.text if isinstance(last, AssistantMessage) and last.text != EMPTY_REPLY else ""


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
