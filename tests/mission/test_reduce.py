"""Tests of the reducer: every event there is, what cannot happen, the run, and the replay."""

from copy import deepcopy
from dataclasses import replace
from typing import get_args

import pytest

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.reduce import CHANGES, reduce, replay, unchanged
from orch.mission.state import (
    MissionState,
    SessionStatus,
    Verification,
)
from orch.mission.transcript import AssistantMessage
from tests.mission.casts import cast, spec
from tests.mission.samples import (
    ADDED,
    I1,
    ISSUE,
    OPEN_CALL,
    REVIEW_STARTED,
    RUNNING_TURN,
    S2,
    S3,
    SAMPLES,
    TS,
    A,
    B,
    a_mission,
    proven,
    refused,
    stamped,
    turn,
    verified,
    verifying,
)
from tests.mission.simulation import MODELS, Simulation


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


def test_every_event_there_is_has_its_row() -> None:
    """An event that nobody gave a function would be a `KeyError` in the middle of a mission."""
    assert set(CHANGES) == set(get_args(get_args(ev.Event)[0]))


def test_an_event_for_readers_moves_nothing_but_the_journal() -> None:
    """Such events change the place in the journal and the time, and nothing else."""
    state = a_mission()

    for event_type in (event for event, change in CHANGES.items() if change is unchanged):
        event, _ = next((e, s) for e, s in SAMPLES if type(e) is event_type)
        assert replace(reduce(state, stamped(event, 10)), seq=state.seq, ts=state.ts) == state
