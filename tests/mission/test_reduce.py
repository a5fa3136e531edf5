"""Tests of the reducer: the three tables over every pair, and every event there is."""

from copy import deepcopy
from dataclasses import replace
from typing import get_args

import pytest

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.reduce import ITEM_MOVES, MISSION_MOVES, SESSION_MOVES, plus, reduce, replay
from orch.mission.state import (
    Issue,
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    Verification,
    distinct,
)
from orch.mission.transcript import AssistantMessage, ToolCall, ToolMessage, UserMessage
from tests.mission.casts import cast, spec
from tests.mission.simulation import MODELS, Simulation

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
    changed = Session(**{name: getattr(present, name) for name in present.__slots__} | changes)
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
    (ev.Heal(text="t"), a_mission()),
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


# ---- the union


def test_the_samples_cover_every_event_there_is() -> None:
    """A new event needs a sample here."""
    union = get_args(get_args(ev.Event)[0])
    assert {type(event) for event, _ in SAMPLES} == set(union)


@pytest.mark.parametrize(("event", "state"), SAMPLES, ids=lambda value: getattr(value, "type", ""))
def test_every_event_round_trips_through_json_and_is_reduced(event: ev.Event, state: MissionState) -> None:
    """The journal holds what was recorded, and the reducer takes it without touching the old state."""
    fact = stamped(event, 10)
    before = deepcopy(state)

    again = ev.EVENT.validate_json(ev.EVENT.dump_json(fact))
    after = reduce(state, again)

    assert again == fact
    assert (after.seq, after.ts) == (10, TS)
    assert state == before


@pytest.mark.parametrize("seq", [0, 9, 11])
def test_a_gap_in_the_sequence_is_refused(seq: int) -> None:
    """A lost or doubled line of the journal cannot go unnoticed."""
    state = a_mission()

    with pytest.raises(IllegalTransition, match=f"event {seq}"):
        reduce(state, stamped(ev.Heal(text="t"), seq))


# ---- the tables


ITEM_EVENTS = distinct(name for moves in ITEM_MOVES.values() for name in moves)
MISSION_EVENTS = distinct(name for moves in MISSION_MOVES.values() for name in moves)
SESSION_EVENTS = distinct(name for moves in SESSION_MOVES.values() for name in moves)


@pytest.mark.parametrize("status", ItemStatus)
@pytest.mark.parametrize("event_type", ITEM_EVENTS)
def test_an_item_moves_as_its_table_says_and_no_other_way(status: ItemStatus, event_type: str) -> None:
    """Every pair of status and event is a move of the table or is refused."""
    state = a_mission(item=status)
    expected = ITEM_MOVES[status].get(event_type)

    if expected is None:
        refused(state, sample(event_type))
    else:
        assert reduce(state, stamped(sample(event_type), 10)).items[A].status is expected


@pytest.mark.parametrize("status", SessionStatus)
@pytest.mark.parametrize("event_type", SESSION_EVENTS)
def test_a_session_moves_as_its_table_says_and_no_other_way(status: SessionStatus, event_type: str) -> None:
    """Every pair of status and event is a move of the table or is refused."""
    state = {"turn.finished": RUNNING_TURN, "tool.called": OPEN_CALL, "tool.finished": OPEN_CALL}.get(
        event_type, a_mission()
    )
    moved = replace(state.sessions[S2], status=status)
    state = replace(state, sessions={**state.sessions, S2: moved})
    expected = SESSION_MOVES[status].get(event_type)

    if expected is None:
        refused(state, sample(event_type))
    else:
        assert reduce(state, stamped(sample(event_type), 10)).sessions[S2].status is expected


@pytest.mark.parametrize("status", MissionStatus)
@pytest.mark.parametrize("event_type", MISSION_EVENTS)
def test_a_mission_moves_as_its_table_says_and_no_other_way(status: MissionStatus, event_type: str) -> None:
    """Every pair of status and event is a move of the table or is refused."""
    state = replace(proven(), status=status)
    expected = MISSION_MOVES[status].get(event_type)

    if expected is None:
        refused(state, sample(event_type))
    else:
        assert reduce(state, stamped(sample(event_type), 10)).status is expected


@pytest.mark.parametrize("status", [MissionStatus.NEW, MissionStatus.ENDED, MissionStatus.CLOSED])
@pytest.mark.parametrize(
    "event", [e for e, _ in SAMPLES if e.type not in MISSION_EVENTS], ids=lambda e: e.type
)
def test_nothing_happens_in_a_mission_that_does_not_run(status: MissionStatus, event: ev.Event) -> None:
    """Before the start and after the end every event is refused."""
    refused(a_mission(mission=status), event)


def test_what_is_final_is_final() -> None:
    """The tables have no way out of what the contract calls absorbing."""
    assert not ITEM_MOVES[ItemStatus.COMPLETED]
    assert not ITEM_MOVES[ItemStatus.DROPPED]
    assert not SESSION_MOVES[SessionStatus.ENDED]
    assert not MISSION_MOVES[MissionStatus.CLOSED]


def test_every_status_can_be_reached() -> None:
    """No status stands in a table that nothing leads to."""
    reached = {status for moves in ITEM_MOVES.values() for status in moves.values()}
    assert reached | {ItemStatus.PENDING} == set(ItemStatus)
    assert set(ITEM_MOVES) == set(ItemStatus)
    assert set(SESSION_MOVES) == set(SessionStatus)
    assert set(MISSION_MOVES) == set(MissionStatus)


# ---- what no table can say


ILLEGAL: tuple[tuple[str, MissionState, ev.Event], ...] = (
    ("unknown item", a_mission(), ev.ItemSubmitted(item=ev.ItemId("x"), session=S2)),
    ("unknown item's lease", a_mission(), ev.LeaseAcquired(item=ev.ItemId("x"), files=())),
    ("unknown item's lease freed", a_mission(), ev.LeaseReleased(item=ev.ItemId("x"), files=())),
    ("unknown session", a_mission(), ev.SessionIdle(session=S3)),
    ("unknown session's retry", a_mission(), ev.Retry(session=S3, attempt=1, delay_s=1, error="e", text="t")),
    ("unknown session's write", a_mission(), ev.FileChanged(session=S3, path="p", before=None, after="1")),
    ("session twice", a_mission(), ev.SessionStarted(session=S2, role=ev.Role.PLANNER, model="m", title="t")),
    ("item twice", a_mission(), ADDED.model_copy(update={"item": A})),
    ("unknown dependency", a_mission(), ADDED.model_copy(update={"spec": spec("t", after=["x"])})),
    ("plan over an open item", a_mission(), ev.PlanAccepted(items=(spec("b"),), verify=("v",), files={})),
    (
        "plan's unknown dependency",
        a_mission(),
        ev.PlanAccepted(items=(spec("n", after=["x"]),), verify=(), files={}),
    ),
    ("file held", a_mission(), ev.LeaseAcquired(item=B, files=("a.py",))),
    ("issue twice", a_mission(), ISSUE.model_copy(update={"issue": I1})),
    ("issue unknown", a_mission(), ev.IssueClosed(issue=ev.IssueId("I9"), reason="r")),
    ("turn in a turn", RUNNING_TURN, ev.TurnStarted(session=S2, turn=1, model="m")),
    ("turn before results", OPEN_CALL, ev.TurnStarted(session=S2, turn=1, model="m")),
    ("turn not started", a_mission(), turn(AssistantMessage(text="x"))),
    ("message in a turn", RUNNING_TURN, ev.MessageSent(session=S2, reason=ev.MessageReason.NUDGE, text="x")),
    (
        "message before results",
        OPEN_CALL,
        ev.MessageSent(session=S2, reason=ev.MessageReason.NUDGE, text="x"),
    ),
    ("idle in a turn", RUNNING_TURN, ev.SessionIdle(session=S2)),
    ("idle before results", OPEN_CALL, ev.SessionIdle(session=S2)),
    ("call not open", OPEN_CALL, ev.ToolCalled(session=S2, call_id="c2", tool="t", summary="s")),
    (
        "result not open",
        OPEN_CALL,
        ev.ToolFinished(session=S2, call_id="c2", tool="t", ok=True, text="x", duration_s=1),
    ),
    ("not verifying", a_mission(), verified("one")),
    ("another command", verifying(ev.VerificationPhase.SEAL), verified("two")),
    ("seal over open work", a_mission(), ev.MissionSealed(tree="t", summary="")),
    (
        "seal over an issue",
        replace(proven(), issues=a_mission().issues),
        ev.MissionSealed(tree="t", summary=""),
    ),
    ("seal of nothing", replace(proven(), items={}), ev.MissionSealed(tree="t", summary="")),
    ("seal unverified", replace(proven(), verification=None), ev.MissionSealed(tree="t", summary="")),
    (
        "seal on red",
        replace(proven(), verification=Verification(ev.VerificationPhase.SEAL, ("v",), (verified("v", 1),))),
        ev.MissionSealed(tree="t", summary=""),
    ),
    (
        "seal on nothing verified",
        replace(proven(), verification=Verification(ev.VerificationPhase.SEAL, ())),
        ev.MissionSealed(tree="t", summary=""),
    ),
)


@pytest.mark.parametrize(
    ("state", "event"), [case[1:] for case in ILLEGAL], ids=[case[0] for case in ILLEGAL]
)
def test_what_cannot_happen_is_refused_and_changes_nothing(state: MissionState, event: ev.Event) -> None:
    """An event that contradicts the state is a bug, said so, and leaves no trace."""
    refused(state, event)


def test_evidence_cannot_be_recorded_twice() -> None:
    """An evidence id stands for one command."""
    state = reduce(a_mission(), stamped(EVIDENCE, 10))

    refused(state, EVIDENCE)


def test_a_second_message_needs_a_turn_in_between() -> None:
    """A session that has not answered yet is not spoken to again."""
    nudge = ev.MessageSent(session=S2, reason=ev.MessageReason.NUDGE, text="go")
    state = reduce(a_mission(), stamped(nudge, 10))

    refused(state, nudge)


# ---- what events change


def test_a_turn_is_counted_where_it_was_spent() -> None:
    """Usage adds up for the session, the model, the role and the mission."""
    state = reduce(RUNNING_TURN, stamped(turn(AssistantMessage(text="", tool_calls=(CALL,))), 10))

    assert state.spending.total == USAGE
    assert state.spending.by_model == {"m": USAGE}
    assert state.spending.by_role == {"worker": USAGE}
    assert state.sessions[S2].usage == USAGE
    assert (state.num_turns, state.sessions[S2].turns, state.sessions[S2].open_calls) == (1, 1, (CALL,))


def test_an_unknown_cost_makes_the_sum_unknown() -> None:
    """Nobody is told a sum that leaves something out."""
    assert plus(USAGE, ev.Usage(input_tokens=1)).cost_usd is None
    assert plus(USAGE, USAGE).cost_usd == 0.5


def test_a_result_closes_its_call_and_says_what_the_session_knows() -> None:
    """The result is in the history, and the file's hash is what the session has seen."""
    event, before = next((e, s) for e, s in SAMPLES if e.type == "tool.finished")

    after = reduce(before, stamped(event, 10)).sessions[S2]

    assert after.messages[-1] == ToolMessage(call_id="c1", text="x")
    assert (after.open_calls, after.seen) == ((), {"a.py": "1"})


def test_a_file_that_is_again_what_it_was_is_not_changed() -> None:
    """`files_changed` names what the mission changed in the end."""
    there = ev.FileChanged(session=S2, path="a.py", before="0", after="1")
    back = ev.FileChanged(session=S2, path="a.py", before="1", after="0")

    changed = reduce(a_mission(), stamped(there, 10))
    restored = reduce(changed, stamped(back, 11))

    assert (changed.changed, restored.changed) == (("a.py",), ())
    assert changed.sessions[S2].wrote


def test_a_failed_setup_is_due_again() -> None:
    """A crash between the failure and the rejection must not lead to a review."""
    failed = SETUP.model_copy(update={"exit_code": 1, "files": {}})

    state = reduce(a_mission(item=ItemStatus.SUBMITTED), stamped(failed, 10))

    assert not state.items[A].setup_done


def test_files_that_a_setup_makes_become_the_items() -> None:
    """What `npm install` writes belongs to the item that asked for it."""
    state = reduce(a_mission(item=ItemStatus.SUBMITTED), stamped(SETUP, 10))

    assert state.items[A].files == ("a.py", "lock")
    assert state.files["lock"] == "sha"


def test_a_resume_asks_a_cut_turn_again_and_starts_verification_afresh() -> None:
    """What was in flight goes back to its queue."""
    resumed, _ = next((e, s) for e, s in SAMPLES if e.type == "mission.resumed")
    state = replace(RUNNING_TURN, verification=verifying(ev.VerificationPhase.BASELINE).verification)
    state = replace(state, red_before=("one",), seal_asked=True, stagnations=2)

    after = reduce(state, stamped(resumed, 10))

    assert not after.sessions[S2].open_turn
    assert (after.verification, after.red_before, after.baseline_due) == (None, (), True)
    assert (after.seal_asked, after.stagnations, after.reply, after.run_seq) == (False, 0, "yes", 10)


def test_a_session_that_was_cut_before_its_brief_is_over() -> None:
    """A crash may cut the batch that starts a session in two."""
    resumed, state = next((e, s) for e, s in SAMPLES if e.type == "mission.resumed")
    state = reduce(state, stamped(REVIEW_STARTED.model_copy(update={"role": ev.Role.PLANNER}), 10))

    after = reduce(state, stamped(resumed, 11))

    assert after.sessions[S3].status is SessionStatus.ENDED


def test_a_reopened_item_starts_from_nothing_but_its_spec() -> None:
    """A resume gives a failed item a fresh session and new rounds, also if its lease was never freed."""
    state = a_mission(item=ItemStatus.FAILED)
    spoiled = replace(state.items[A], rejections=4, restarts=1, last_chance=True, reason="r", reviewer=S3)
    state = replace(state, items={A: spoiled})

    after = reduce(state, stamped(ev.ItemReopened(item=A), 10)).items[A]

    assert after == Item(spec("a"), ev.ItemOrigin.PLANNED, moved_seq=10)


def test_a_replanned_item_goes_to_the_end_of_the_list() -> None:
    """The owner of a file is the last item that names it."""
    plan = ev.PlanAccepted(items=(spec("a"),), verify=("v",), files={})

    dropped = reduce(a_mission(), stamped(ev.ItemDropped(item=A, reason="r"), 10))
    planned = reduce(dropped, stamped(plan, 11))

    assert list(planned.items) == [B, A]


def test_the_duration_counts_runs_and_not_the_pause_between() -> None:
    """`duration_s` is a float over all runs."""
    started = ev.MissionStarted(goal="g", orch_version="1", models=MODELS, max_parallel=1, max_turns=1)
    resumed = ev.MissionResumed(orch_version="1", models=MODELS, max_parallel=1, max_turns=1)
    stopped = ev.MissionStopped(signal=ev.StopSignal.INTERRUPT)
    times = {1: "00:00:00", 2: "00:00:10", 3: "01:00:00", 4: "01:00:05"}
    facts: tuple[ev.Event, ...] = (started, stopped, resumed, stopped)
    events = [
        event.model_copy(update={"seq": seq, "ts": f"2026-01-01T{times[seq]}+00:00"})
        for seq, event in enumerate(facts, 1)
    ]

    assert replay(events).duration_s == 15.0


def test_a_replay_through_json_gives_the_live_state() -> None:
    """Live, resume and reader run the same code over the same lines."""
    mission = Simulation(cast()).start().run()

    lines = [ev.EVENT.dump_json(event) for event in mission.events]

    assert replay(ev.EVENT.validate_json(line) for line in lines) == mission.state
