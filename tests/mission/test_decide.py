"""Tests of the loop: what holds in every mission, and what becomes of sessions that stopped or broke."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.mission import brief, result
from orch.mission import events as ev
from orch.mission.decide import WorkKind, decide, work
from orch.mission.reduce import replay
from orch.mission.review import Finding
from orch.mission.state import ItemStatus, MissionState, MissionStatus, Session, fingerprint
from orch.mission.transcript import UserMessage
from tests.mission.casts import (
    PLAN,
    TROUPES,
    Troupe,
    cast,
    diligent_worker,
    honest_reviewer,
    mute,
    rejecting_reviewer,
    script,
    spec,
)
from tests.mission.readings import LIMIT, ONE, roles, statuses, told, types
from tests.mission.simulation import (
    Act,
    Bash,
    Break,
    Cancel,
    Cut,
    Delegate,
    DelegatePlan,
    Judge,
    Plan,
    Say,
    Simulation,
    Write,
)

slow = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


# ---- every mission


def outcome_is_right(state: MissionState) -> None:
    """Assert that the result tells the truth about the state."""
    summary = result.summarise(state, "orch resume m1")
    assert state.outcome is not None
    assert summary.exit_code == result.exit_code(state, state.outcome)
    assert (summary.exit_code == 0) == (
        state.outcome in (ev.Outcome.SEALED, ev.Outcome.PLANNED)
        or (state.outcome is ev.Outcome.ANSWERED and state.answer_only)
    )
    is_planned = state.outcome is ev.Outcome.PLANNED
    assert (state.status is MissionStatus.CLOSED or is_planned) == (not summary.is_error)
    if state.outcome is ev.Outcome.SEALED:
        assert summary.todo.done == summary.todo.total > 0
        assert summary.issues.open == 0
    elif summary.is_error:
        assert summary.blockers
    kinds = {blocker.kind for blocker in summary.blockers}
    if state.outcome is ev.Outcome.LIMIT:
        assert kinds == {LIMIT}
    if state.outcome is ev.Outcome.BLOCKED:
        assert kinds <= {ev.BlockerKind.DECISION, ev.BlockerKind.PERMISSION}


def completed_once(mission: Simulation) -> None:
    """Assert that no item was completed twice."""
    done = [e.item for e in mission.events if isinstance(e, ev.ItemCompleted)]
    assert len(done) == len(set(done))


@slow
@given(TROUPES)
def test_every_mission_ends_with_an_honest_result(troupe: Troupe) -> None:
    """Whatever its agents do; the simulation itself checks leases, slots, livelock, deadlock and the seal."""
    mission = (
        troupe.simulation().start(max_parallel=troupe.max_parallel, answer_only=troupe.answer_only).run()
    )

    outcome_is_right(mission.state)
    completed_once(mission)
    assert decide(mission.state) == ()
    assert work(mission.state) == ()


@slow
@given(TROUPES, st.floats(0, 1))
def test_a_dry_run_touches_nothing_wherever_it_crashed(troupe: Troupe, where: float) -> None:
    """Nobody works, nothing is set up or verified; one that was cut is still a dry run, and ends as one."""
    mission = troupe.simulation().start(max_parallel=troupe.max_parallel, dry_run=True).run()
    again = mission.crashed_after(max(1, int(where * (len(mission.events) - 1))))
    again.resume(max_parallel=troupe.max_parallel).run()

    for each in (mission, again):
        outcome_is_right(each.state)
        assert not each.state.changed
        assert not {ev.Role.WORKER, ev.Role.REVIEWER} & {s.role for s in each.state.sessions.values()}
        assert not any(isinstance(e, ev.VerificationStarted | ev.SetupFinished) for e in each.events)
        assert each.state.outcome is not ev.Outcome.SEALED


def test_the_run_after_a_dry_run_carries_its_plan_out() -> None:
    """Nobody plans again, and the mission is sealed; a cut right after the end changes nothing of that."""
    mission = Simulation(cast()).start(dry_run=True).run()
    assert mission.state.outcome is ev.Outcome.PLANNED
    assert len(mission.state.items) == len(PLAN.items)

    again = mission.crashed_after(len(mission.events))
    again.resume().run()

    assert again.state.outcome is ev.Outcome.SEALED
    assert types(again).count("plan.accepted") == 1
    assert roles(again)[ev.Role.PLANNER] == 1


@slow
@given(TROUPES, st.floats(0, 1))
def test_a_replay_of_any_prefix_gives_the_live_state(troupe: Troupe, where: float) -> None:
    """The state is the sum of its journal, at every point of it."""
    mission = troupe.simulation().start(max_parallel=troupe.max_parallel)
    seen: dict[int, MissionState] = {}
    mission.before_work = lambda s: seen.update({len(s.events): s.state})
    mission.run()

    length = sorted(seen)[int(where * (len(seen) - 1))]

    assert replay(mission.events) == mission.state
    assert replay(mission.events[:length]) == seen[length]


@slow
@given(TROUPES, st.floats(0, 1), st.integers(1, 4))
def test_a_mission_that_crashed_anywhere_goes_on_to_its_end(troupe: Troupe, where: float, slots: int) -> None:
    """Also in the middle of a batch; what was completed stays so."""
    mission = troupe.simulation().start(max_parallel=troupe.max_parallel).run()
    again = mission.crashed_after(max(1, int(where * (len(mission.events) - 1))))
    done = {key for key, item in again.state.items.items() if item.status is ItemStatus.COMPLETED}

    again.resume(max_parallel=slots).run()

    outcome_is_right(again.state)
    completed_once(again)
    assert all(again.state.items[key].status is ItemStatus.COMPLETED for key in done)


@pytest.mark.parametrize("length", range(1, 118))
def test_a_good_mission_is_sealed_wherever_it_crashed(length: int) -> None:
    """No event is one too many or one too few to go on from."""
    mission = Simulation(cast()).start().run()
    again = mission.crashed_after(min(length, len(mission.events) - 1))

    again.resume().run()

    assert again.state.outcome is ev.Outcome.SEALED


def test_a_mission_of_good_agents_is_sealed() -> None:
    """One Commander, one Planner, a Worker and a Reviewer per item, one verification before and one after."""
    mission = Simulation(cast()).start().run()

    assert mission.state.outcome is ev.Outcome.SEALED
    assert roles(mission) == {
        ev.Role.COMMANDER: 1,
        ev.Role.PLANNER: 1,
        ev.Role.WORKER: 3,
        ev.Role.REVIEWER: 3,
    }
    assert [e.phase for e in mission.events if isinstance(e, ev.VerificationStarted)] == ["baseline", "seal"]
    assert result.report(mission.state) == "all is well"


def test_work_names_a_verification_and_a_setup_as_well_as_sessions() -> None:
    """Whatever has to run is named, and nothing once the run is over."""
    seen: set[WorkKind] = set()
    items = Plan((spec("a", setup="set up"),), ("verify",))
    mission = Simulation(cast(planner=script(items)))
    mission.before_work = lambda s: seen.update(w.kind for w in work(s.state))

    mission.start(dry_run=True).run()
    mission.resume().run()

    assert seen == set(WorkKind)


def test_a_failure_alone_is_no_progress() -> None:
    """The fingerprint looks at what is open or completed, at issues and at the tree."""
    mission = Simulation(cast(planner=script(ONE), worker=script(Break()))).start()
    before = fingerprint(mission.state)

    mission.run()

    assert statuses(mission) == {"a": "failed"}
    assert fingerprint(mission.state) != before  # the plan's file is known now
    files_only = fingerprint(MissionState(files=mission.state.files, items=mission.state.items))
    assert fingerprint(mission.state) == files_only


def test_a_cancelled_item_is_off_the_list() -> None:
    """Its sessions end and its files are free."""
    orders = script(Delegate(spec("T", "x.py")), Delegate(spec("T", "y.py")), Cancel(ev.ItemId("T1")))
    mission = Simulation(cast(commander=orders)).start().run()

    assert statuses(mission) == {"T1": "dropped", "T2": "completed"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_later_plan_keeps_what_is_completed_and_drops_what_it_does_not_name() -> None:
    """A failed item of the same id is tried anew."""

    def fails(simulation: Simulation, session: Session) -> Act:
        first = types(simulation).count("plan.accepted") == 1
        return Break() if session.item == "b" and first else diligent_worker(simulation, session)

    def replans(_simulation: Simulation, session: Session) -> Act:
        return DelegatePlan(f"goal {session.turns}") if session.turns in (0, 2) else Say()

    def planner(_simulation: Simulation, session: Session) -> Act:
        again = session.messages[0] == UserMessage(text="goal 2")
        return Plan((spec("b"), spec("d")), ("verify",)) if again else PLAN

    mission = Simulation(cast(commander=replans, planner=planner, worker=fails)).start().run()

    assert statuses(mission)["b"] == "completed"
    assert statuses(mission)["d"] == "completed"
    assert mission.state.outcome is ev.Outcome.SEALED


# ---- Workers


def test_a_worker_that_wrote_nothing_is_told_so_once_and_then_submitted() -> None:
    """The review decides, not the loop."""
    mission = Simulation(cast(planner=script(ONE), worker=mute)).start().run()

    nudges = [m for m in told(mission, ev.MessageReason.NUDGE) if m.item == "a"]

    assert [m.text for m in nudges] == [brief.WORKER_NUDGE]
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_worker_that_wrote_nothing_since_its_rejection_is_told_so() -> None:
    """What it wrote before does not count."""

    def writes_once(simulation: Simulation, session: Session) -> Act:
        return Say() if session.turns else Write("a.py", f"{simulation.state.seq}")

    mission = (
        Simulation(cast(planner=script(ONE), worker=writes_once, reviewer=rejecting_reviewer(1)))
        .start()
        .run()
    )

    assert [m.text for m in told(mission, ev.MessageReason.NUDGE)] == [brief.WORKER_NUDGE]
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_broken_worker_is_followed_by_a_fresh_one_once() -> None:
    """Then the item fails."""

    def breaks_once(simulation: Simulation, session: Session) -> Act:
        return Break() if session.id == "S3" else diligent_worker(simulation, session)

    healed = Simulation(cast(planner=script(ONE), worker=breaks_once)).start().run()
    broken = Simulation(cast(planner=script(ONE), worker=script(Break()))).start().run()

    assert healed.state.outcome is ev.Outcome.SEALED
    assert (broken.state.outcome, statuses(broken)) == (ev.Outcome.UNSEALED, {"a": "failed"})
    assert roles(broken)[ev.Role.WORKER] == 2


def test_a_setup_that_fails_sends_the_item_back_without_a_review() -> None:
    """The setup is run after the Worker submits, before the review."""
    items = Plan((spec("a", setup="set up"),), ("verify",))
    left = ["red"]

    def outcome(_simulation: Simulation, command: str) -> tuple[int, str]:
        return (1, f"no {left.pop()}") if command == "set up" and left else (0, "")

    mission = Simulation(cast(planner=script(items)), outcomes=outcome).start().run()

    assert types(mission).count("setup.finished") == 2
    assert types(mission).index("item.rejected") < types(mission).index("evidence.recorded")
    assert mission.state.items[ev.ItemId("a")].files == ("a.py", "made-by-a")
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_write_of_the_same_bytes_is_a_write() -> None:
    """The Worker is not told that it wrote nothing."""

    def same(simulation: Simulation, session: Session) -> Act:
        return Say() if session.wrote else Write("a.py", simulation.disk.get("a.py") or "")

    mission = Simulation(cast(planner=script(ONE), worker=same)).start().run()

    assert not told(mission, ev.MessageReason.NUDGE)
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_worker_whose_answer_was_cut_goes_on_where_it_was() -> None:
    """The recovery takes nothing back: its write counts, and no nudge comes again."""
    mission = Simulation(
        cast(planner=script(ONE), worker=script(Write("a.py", "1"), Cut(), Cut(), Say()))
    ).start()

    mission.run()

    (worker,) = (s for s in mission.state.sessions.values() if s.role is ev.Role.WORKER)
    assert (worker.turns, len(told(mission, ev.MessageReason.RECOVERY))) == (4, 2)
    assert not told(mission, ev.MessageReason.NUDGE)
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_session_that_is_cut_for_ever_runs_into_its_limit() -> None:
    """Recoveries do not wind the count of turns back, for nobody."""
    for role in ev.Role:
        mission = Simulation(cast(**{role.value: lambda _simulation, _session: Cut()})).start().run()

        outcome_is_right(mission.state)
        ended = [e for e in mission.events if isinstance(e, ev.SessionEnded) and e.kind is LIMIT]
        assert role in {mission.state.sessions[e.session].role for e in ended}


# ---- Reviewers


def test_a_reviewer_without_a_verdict_is_asked_once_more_and_then_counts_as_a_rejection() -> None:
    """The item goes back to work with that as its issue."""

    def shy(simulation: Simulation, session: Session) -> Act:
        return Say() if session.id == "S4" else honest_reviewer(simulation, session)

    mission = Simulation(cast(planner=script(ONE), reviewer=shy)).start().run()

    assert [m.text for m in told(mission, ev.MessageReason.NUDGE)] == [brief.REVIEWER_NUDGE]
    assert brief.NO_VERDICT in told(mission, ev.MessageReason.REJECTION)[0].text
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_broken_reviewer_is_followed_by_a_fresh_one_once_then_the_item_is_rejected() -> None:
    """A review that never comes must not hold the item."""
    mission = Simulation(cast(planner=script(ONE), reviewer=script(Break()))).start().run()

    assert roles(mission)[ev.Role.REVIEWER] == 10
    assert types(mission).count("item.rejected") == 5
    assert statuses(mission) == {"a": "failed"}


def test_a_command_that_changes_the_items_file_proves_nothing() -> None:
    """The Reviewer never codes, also not by a formatter: it has to reject, and the Worker looks."""

    def formats(simulation: Simulation, session: Session) -> Act:
        if session.id != "S4":
            return honest_reviewer(simulation, session)
        if session.turns == 0:
            return Bash("check", 0, {"a.py": "formatted"})
        if session.turns == 1:
            return Judge(ev.Verdict.APPROVE, (ev.EvidenceId("E1"),))
        return Judge(ev.Verdict.REJECT, findings=(Finding(None, "the formatter changes it"),))

    mission = Simulation(cast(planner=script(ONE), reviewer=formats)).start().run()

    refusal = next(e for e in mission.events if isinstance(e, ev.ReviewRefused))
    assert any("E1 is void" in reason for reason in refusal.reasons)
    assert mission.state.outcome is ev.Outcome.SEALED
