"""States in the middle of a mission, and a sample of every event with a state that allows it."""

from copy import deepcopy
from dataclasses import replace

import pytest

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.caps import Cap
from orch.mission.reduce import reduce
from orch.mission.state import (
    Issue,
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    Verification,
)
from orch.mission.transcript import AssistantMessage, ToolCall, UserMessage
from tests.mission.casts import spec
from tests.mission.simulation import MODELS

TS = "2026-01-01T00:00:09+00:00"
A, B = ev.ItemId("a"), ev.ItemId("b")
S1, S2, S3 = ev.SessionId("S1"), ev.SessionId("S2"), ev.SessionId("S3")
I1, E1 = ev.IssueId("I1"), ev.EvidenceId("E1")
CALL = ToolCall(id="c1", name="read", arguments="{}")
USAGE = ev.Usage(input_tokens=3, output_tokens=1, cost_usd=0.25)


def stamped(event: ev.Event, seq: int) -> ev.Event:
    """Return the event as `record()` would stamp it."""
    return event.model_copy(update={"seq": seq, "ts": TS, "mission": ev.MissionId("m1")})


def session(key: ev.SessionId, role: ev.Role, status: SessionStatus, item: ev.ItemId | None = A) -> Session:
    """Return a session that has been told something."""
    told = (UserMessage(text="brief"), AssistantMessage(text="hm"))
    return Session(key, role, "fake/model", "title", TS, 2, item=item, status=status, messages=told)


def a_mission(
    mission: MissionStatus = MissionStatus.RUNNING,
    item: ItemStatus = ItemStatus.WORKING,
    worker: SessionStatus = SessionStatus.RUNNING,
) -> MissionState:
    """Return a mission with one item of two, its Worker, and an open issue, in the given statuses."""
    return MissionState(
        mission=ev.MissionId("m1"),
        goal="goal",
        models=MODELS,
        max_parallel=2,
        status=mission,
        items={
            A: Item(spec("a"), ev.ItemOrigin.PLANNED, item, worker=S2, leased=True),
            B: Item(spec("b"), ev.ItemOrigin.PLANNED),
        },
        sessions={
            S1: session(S1, ev.Role.COMMANDER, SessionStatus.IDLE, None),
            S2: session(S2, ev.Role.WORKER, worker),
        },
        issues={I1: Issue(I1, ev.IssueSource.REVIEW, "wrong", None, A, None, 3)},
        commander=S1,
        run_started=TS,
        seq=9,
        ts=TS,
    )


def with_worker(**changes: object) -> MissionState:
    """Return a mission whose Worker is in the middle of something."""
    state = a_mission()
    present = state.sessions[S2]
    changed = Session(**{name: getattr(present, name) for name in present.__dict__} | changes)
    return replace(state, sessions={**state.sessions, S2: changed})


def verifying(phase: ev.VerificationPhase) -> MissionState:
    """Return a mission in which orch runs two commands."""
    return replace(a_mission(), verification=Verification(phase, ("one", "two")))


def proven() -> MissionState:
    """Return a mission that may be sealed."""
    items = {A: Item(spec("a"), ev.ItemOrigin.PLANNED, ItemStatus.COMPLETED)}
    run = Verification(ev.VerificationPhase.SEAL, ("verify",), (verified("verify"),))
    return replace(a_mission(), items=items, issues={}, verification=run)


def verified(
    command: str, code: int = 0, phase: ev.VerificationPhase = ev.VerificationPhase.SEAL
) -> ev.VerificationFinished:
    """Return the end of a command of orch's own."""
    return ev.VerificationFinished(
        phase=phase, command=command, exit_code=code, duration_s=1, tree="t", output=""
    )


def turn(message: AssistantMessage) -> ev.TurnFinished:
    """Return a finished turn of the Worker."""
    return ev.TurnFinished(
        session=S2, turn=1, model="m", message=message, finish=ev.FinishReason.STOP, usage=USAGE, duration_s=1
    )


EVIDENCE = ev.EvidenceRecorded(
    session=S2, item=A, evidence=E1, command="c", exit_code=0, duration_s=1, tree="t", files={}, log="l"
)
ISSUE = ev.IssueOpened(issue=ev.IssueId("I2"), item=A, source=ev.IssueSource.REVIEW, text="wrong")
ADDED = ev.ItemAdded(
    item=ev.ItemId("t"), spec=spec("t"), origin=ev.ItemOrigin.DELEGATED, files={"t.py": None}
)
SETUP = ev.SetupFinished(item=A, command="s", exit_code=0, duration_s=1, output="", files={"lock": "sha"})
COST = ev.Estimate(tokens_least=10, tokens_most=20, usd_least=0.5, text="typical turns")
RUNNING_TURN = with_worker(open_turn=True)
OPEN_CALL = with_worker(open_calls=(CALL,))
SAMPLES: tuple[tuple[ev.Event, MissionState], ...] = (
    (
        ev.MissionStarted(goal="g", orch_version="1", models=MODELS, max_parallel=2, max_turns=9),
        MissionState(seq=9),
    ),
    (
        ev.MissionResumed(orch_version="1", models=MODELS, max_parallel=2, max_turns=9, reply="yes"),
        a_mission(),
    ),
    (ev.MissionStopped(signal=ev.StopSignal.INTERRUPT), a_mission()),
    (ev.MissionSealed(tree="t", summary="s"), proven()),
    (ev.MissionAnswered(text="42"), a_mission()),
    (ev.MissionPlanned(text="the plan", estimate=COST), replace(a_mission(), dry_run=True)),
    (ev.MissionFailed(outcome=ev.Outcome.UNSEALED, text="no"), a_mission()),
    (ev.ContextUpdated(sha256="x", size_bytes=1), a_mission()),
    (ev.PlanAccepted(items=(spec("n", after=["b"]),), verify=("v",), files={"n.py": None}), a_mission()),
    (ev.PlanRejected(reasons=("no",)), a_mission()),
    (ADDED, a_mission()),
    (ev.ItemDropped(item=A, reason="r"), a_mission()),
    (ev.ItemStarted(item=A, session=S2), a_mission(item=ItemStatus.PENDING)),
    (ev.ItemSubmitted(item=A, session=S2), a_mission()),
    (SETUP, a_mission(item=ItemStatus.SUBMITTED)),
    (ev.ItemCompleted(item=A, evidence=(E1,)), a_mission(item=ItemStatus.REVIEWING)),
    (ev.ItemRejected(item=A, round=1, reason="r"), a_mission(item=ItemStatus.REVIEWING)),
    (ev.ItemFailed(item=A, kind=ev.BlockerKind.LIMIT, reason="r"), a_mission()),
    (ev.ItemBlocked(item=A, kind=ev.BlockerKind.ITEM, reason="r"), a_mission(item=ItemStatus.PENDING)),
    (ev.ItemReopened(item=A), a_mission(item=ItemStatus.FAILED)),
    (ev.SessionStarted(session=S3, role=ev.Role.PLANNER, model="m", title="t"), a_mission()),
    (ev.MessageSent(session=S2, reason=ev.MessageReason.NUDGE, text="go"), a_mission()),
    (ev.SessionIdle(session=S2), a_mission()),
    (ev.SessionEnded(session=S2, outcome=ev.SessionOutcome.DONE), a_mission()),
    (ev.TurnStarted(session=S2, turn=1, model="m"), a_mission()),
    (turn(AssistantMessage(text="", tool_calls=(CALL,))), RUNNING_TURN),
    (
        ev.TurnFailed(session=S2, turn=1, model="m", error="ConnectionLost", text="t", usage=USAGE),
        RUNNING_TURN,
    ),
    (ev.ToolCalled(session=S2, call_id="c1", tool="read", summary="read a.py"), OPEN_CALL),
    (
        ev.ToolFinished(
            session=S2, call_id="c1", tool="read", ok=True, text="x", duration_s=1, seen={"a.py": "1"}
        ),
        OPEN_CALL,
    ),
    (ev.PermissionDenied(session=S2, tool="bash", reason="r"), a_mission()),
    (ev.LeaseAcquired(item=B, files=("b.py",)), a_mission()),
    (ev.LeaseDenied(item=B, files=("b.py",), reason="r"), a_mission()),
    (ev.LeaseReleased(item=A, files=("a.py",)), a_mission()),
    (ev.FileIntended(session=S2, path="a.py", before=None, after="1"), a_mission()),
    (ev.FileChanged(session=S2, path="a.py", before=None, after="1"), a_mission()),
    (EVIDENCE, a_mission()),
    (ev.ReviewSubmitted(session=S2, item=A, verdict=ev.Verdict.APPROVE), a_mission()),
    (ev.ReviewRefused(session=S2, reasons=("r",)), a_mission()),
    (ISSUE, a_mission()),
    (ev.IssueClosed(issue=I1, reason="r"), a_mission()),
    (ev.VerificationStarted(phase=ev.VerificationPhase.SEAL, commands=("v",)), a_mission()),
    (verified("one"), verifying(ev.VerificationPhase.SEAL)),
    (ev.SealRequested(summary="s"), a_mission()),
    (ev.SealRefused(blockers=()), a_mission()),
    (ev.Retry(session=S2, attempt=1, delay_s=1, error="RateLimited", text="t"), a_mission()),
    (
        ev.ModelSwitched(
            session=S2, role=ev.Role.WORKER, model="other/model", before="fake/model", reason="r"
        ),
        a_mission(),
    ),
    (
        ev.ModelRestored(role=ev.Role.WORKER, model="fake/model"),
        replace(a_mission(), substitutes={ev.Role.WORKER: "other/model"}),
    ),
    (ev.Budget(limit=Cap.TOKENS, cap=9, spent=8, needed=3, reached=True), a_mission()),
    (ev.Heal(text="t"), a_mission()),
    (
        ev.Compaction(
            session=S2,
            stage=ev.CompactionStage.DIGESTED,
            cause=ev.CompactionCause.FULL,
            before_tokens=90,
            after_tokens=60,
            kept_from=1,
            text="t",
        ),
        a_mission(),
    ),
    (ev.Stagnation(stage=ev.StagnationStage.REPLAN, fingerprint="f"), a_mission()),
)
REVIEW_STARTED = ev.SessionStarted(session=S3, item=A, role=ev.Role.REVIEWER, model="m", title="t")


def sample(event_type: str) -> ev.Event:
    """Return the sample of a type; a Reviewer's start counts as the item's `review.started`."""
    if event_type == "review.started":
        return REVIEW_STARTED
    return next(event for event, _ in SAMPLES if event.type == event_type)


def refused(state: MissionState, event: ev.Event) -> None:
    """Assert that `event` is refused, and that `state` is what it was."""
    before = deepcopy(state)
    with pytest.raises(IllegalTransition):
        reduce(state, stamped(event, state.seq + 1))
    assert state == before
