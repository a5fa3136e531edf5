"""Tests of the loop: each of its rules by a mission played to its end, and what holds in every mission."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.mission import brief, result
from orch.mission import events as ev
from orch.mission.decide import MAX_FIXES_PER_FILE, Work, WorkKind, decide, work
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
from tests.mission.simulation import (
    Act,
    Answer,
    Bash,
    Block,
    Break,
    Cancel,
    Delegate,
    DelegatePlan,
    Judge,
    Outcomes,
    Plan,
    RequestChange,
    Say,
    Seal,
    Simulation,
    Write,
)

ONE = Plan((spec("a"),), ("verify",))
TWO = Plan((spec("a"), spec("b")), ("verify",))
LIMIT = ev.BlockerKind.LIMIT

slow = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def roles(mission: Simulation) -> Counter[ev.Role]:
    """Count the sessions by role."""
    return Counter(s.role for s in mission.state.sessions.values())


def types(mission: Simulation) -> list[str]:
    """Name what happened, in order."""
    return [event.type for event in mission.events]


def statuses(mission: Simulation) -> dict[str, str]:
    """Name each item's status."""
    return {key: item.status.value for key, item in mission.state.items.items()}


def told(mission: Simulation, reason: ev.MessageReason) -> list[ev.MessageSent]:
    """Return the messages that were sent for a reason."""
    return [e for e in mission.events if isinstance(e, ev.MessageSent) and e.reason is reason]


def red(times: int, output: str) -> Outcomes:
    """Return outcomes of orch's own commands: red so many times at the seal, green before and after."""
    left = [times]

    def outcome(simulation: Simulation, _command: str) -> tuple[int, str]:
        run = simulation.state.verification
        if run is None or run.phase is not ev.VerificationPhase.SEAL or not left[0]:
            return 0, ""
        left[0] -= 1
        return 1, output

    return outcome


# ---- every mission


def outcome_is_right(state: MissionState) -> None:
    """Assert that the result tells the truth about the state."""
    summary = result.summarise(state, "orch resume m1")
    assert state.outcome is not None
    assert summary.exit_code == result.exit_code(state, state.outcome)
    assert (summary.exit_code == 0) == (
        state.outcome is ev.Outcome.SEALED or (state.outcome is ev.Outcome.ANSWERED and state.answer_only)
    )
    assert (state.status is MissionStatus.CLOSED) == (not summary.is_error)
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


# ---- the order of work


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


def test_one_slot_is_enough() -> None:
    """`-j 1` finishes, with one session at a time."""
    mission = Simulation(cast()).start(max_parallel=1).run()

    assert mission.state.outcome is ev.Outcome.SEALED
    assert mission.at_once == 1


def test_items_that_do_not_depend_on_each_other_run_side_by_side() -> None:
    """No model turn lies between ready and started."""
    mission = Simulation(cast()).start().run()
    plan = types(mission).index("plan.accepted")

    started = [e.item for e in mission.events[plan:] if isinstance(e, ev.ItemStarted)]
    first_turn = next(n for n, e in enumerate(mission.events[plan:]) if isinstance(e, ev.TurnStarted))

    assert started == ["a", "c", "b"]
    assert [e.item for e in mission.events[plan : plan + first_turn] if isinstance(e, ev.ItemStarted)] == [
        "a",
        "c",
    ]


def test_free_slots_go_to_reviews_then_to_rejections_then_to_new_items() -> None:
    """What is nearest to its end goes first."""
    items = Plan(tuple(spec(name) for name in "abcd"), ("verify",))
    mission = Simulation(cast(planner=script(items), reviewer=rejecting_reviewer(1)))
    mission.start(max_parallel=1).run()

    order = [
        (e.type, e.item)
        for e in mission.events
        if isinstance(e, ev.ItemStarted) or (isinstance(e, ev.SessionStarted) and e.role is ev.Role.REVIEWER)
    ]

    begun, review = "item.started", "session.started"
    assert order[:5] == [(begun, "a"), (review, "a"), (begun, "a"), (review, "a"), (begun, "b")]


def test_an_item_holds_its_files_also_during_review() -> None:
    """Another item that names the same file starts when the first is completed."""
    items = script(Delegate(spec("T", "x.py")), Delegate(spec("T", "x.py")))
    mission = Simulation(cast(commander=items)).start().run()

    first = types(mission).index("item.completed")
    second = [n for n, e in enumerate(mission.events) if isinstance(e, ev.ItemStarted)][1]

    assert first < second
    assert mission.state.outcome is ev.Outcome.SEALED


def test_nothing_is_written_before_the_baseline_and_red_is_told() -> None:
    """What is red before the first write stands in `red_before`, and the Commander hears of it."""
    mission = Simulation(cast(), outcomes=lambda s, _: (int(not s.disk), "")).start().run()
    order = types(mission)

    assert mission.state.red_before == ("verify",)
    assert order.index("verification.finished") < order.index("lease.acquired")
    assert "Red before the first change: `verify`" in told(mission, ev.MessageReason.WAKE)[0].text
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_baseline_that_is_switched_off_or_has_nothing_to_run_is_left_out() -> None:
    """With checks alone there is nothing to run before the seal."""
    off = Simulation(cast()).start(baseline=False).run()
    checks = Simulation(cast(planner=script(Plan((spec("a"), spec("b")), ())))).start().run()

    assert [e.phase for e in off.events if isinstance(e, ev.VerificationStarted)] == ["seal"]
    assert [e.commands for e in checks.events if isinstance(e, ev.VerificationStarted)] == [("check",)]


def test_a_command_named_twice_is_verified_once() -> None:
    """Also when it is red, its issue is closed once."""
    twice = Plan((spec("a"),), ("verify", "verify"))
    mission = Simulation(cast(planner=script(twice)), outcomes=red(1, "a.py")).start().run()

    assert mission.state.outcome is ev.Outcome.SEALED
    assert len(mission.state.verified) == 1


# ---- Workers


def test_a_worker_that_wrote_nothing_is_told_so_once_and_then_submitted() -> None:
    """The review decides, not the loop."""
    mission = Simulation(cast(planner=script(ONE), worker=mute)).start().run()

    nudges = [m for m in told(mission, ev.MessageReason.NUDGE) if m.item == "a"]

    assert [m.text for m in nudges] == [brief.WORKER_NUDGE]
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_rejection_goes_back_to_the_same_conversation() -> None:
    """With the issue, at most three times."""
    mission = Simulation(cast(planner=script(ONE), reviewer=rejecting_reviewer(3))).start().run()

    rejections = told(mission, ev.MessageReason.REJECTION)

    assert roles(mission)[ev.Role.WORKER] == 1
    assert len(rejections) == 3
    assert "wrong, 1" in rejections[0].text
    assert "wrong, 3" in rejections[2].text
    assert mission.state.outcome is ev.Outcome.SEALED
    assert not [i for i in mission.state.issues.values() if i.is_open]


def test_after_three_rounds_a_fresh_worker_gets_the_item_once() -> None:
    """It is told that another had the item, and what is wrong."""
    mission = Simulation(cast(planner=script(ONE), reviewer=rejecting_reviewer(4))).start().run()

    briefs = [m for m in told(mission, ev.MessageReason.BRIEF) if m.text.startswith("Your item:")]

    assert len(briefs) == 2
    assert "Another Worker had this item before you" in briefs[1].text
    assert "wrong, 4" in briefs[1].text
    assert mission.state.outcome is ev.Outcome.SEALED


def test_an_item_that_is_rejected_after_its_fresh_worker_fails_and_the_commander_hears_of_it() -> None:
    """Five rejections are the end; nobody rejects for ever."""
    mission = Simulation(cast(planner=script(ONE), reviewer=rejecting_reviewer(99))).start().run()

    assert statuses(mission) == {"a": "failed"}
    assert types(mission).count("item.rejected") == 5
    assert roles(mission)[ev.Role.WORKER] == 2
    assert "failed: rejected again after a fresh Worker" in told(mission, ev.MessageReason.WAKE)[0].text
    assert (mission.state.outcome, result.exit_code(mission.state, ev.Outcome.UNSEALED)) == ("unsealed", 1)


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


# ---- issues find their owners


def test_a_change_asked_of_a_working_owner_is_told_before_its_review() -> None:
    """The owner solves it in its own conversation."""

    def asks(simulation: Simulation, session: Session) -> Act:
        if session.item == "b" and session.turns == 0:
            return RequestChange("a.py")
        return diligent_worker(simulation, session)

    mission = Simulation(cast(planner=script(TWO), worker=asks), pick=lambda needed: needed[-1]).start().run()

    assert [m.item for m in told(mission, ev.MessageReason.ISSUES)] == ["a"]
    assert set(statuses(mission)) == {"a", "b"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_late_issue_on_an_item_under_review_becomes_a_fix() -> None:
    """The review did not judge it, so the approval does not close it."""

    def raises(simulation: Simulation, session: Session) -> Act:
        act = honest_reviewer(simulation, session)
        if session.item == "b" and isinstance(act, Judge):
            return Judge(act.verdict, act.cited, (Finding("a.py", "and this?"),))
        return act

    def b_is_reviewed_first(needed: Sequence[Work]) -> Work:
        return needed[-1] if needed[0].subject == "S5" else needed[0]

    mission = Simulation(cast(planner=script(TWO), reviewer=raises), pick=b_is_reviewed_first).start().run()
    fix = mission.state.items[ev.ItemId("a.fix1")]

    assert (fix.spec.files, fix.spec.check) == (("a.py",), "check")
    assert "and this?" in fix.spec.instructions
    assert "make a" in fix.spec.instructions
    assert mission.state.outcome is ev.Outcome.SEALED
    assert types(mission).count("message.sent") - len(told(mission, ev.MessageReason.BRIEF)) == 1


def test_an_issue_on_a_file_that_nobody_owns_wakes_the_commander_and_goes_to_the_item_it_makes() -> None:
    """Only the Commander can put a file on the list."""

    def asks(simulation: Simulation, session: Session) -> Act:
        if session.turns == 0 and session.item == "a":
            return RequestChange("x.py")
        return diligent_worker(simulation, session)

    def adds(simulation: Simulation, session: Session) -> Act:
        if session.turns == 0:
            return DelegatePlan("goal")
        orphan = any(i.item is None for i in simulation.state.issues.values() if i.is_open)
        return Delegate(spec("T", "x.py")) if orphan and not session.turns_since_wake else Say()

    mission = Simulation(cast(commander=adds, planner=script(ONE), worker=asks)).start().run()

    assert statuses(mission) == {"a": "completed", "T1": "completed"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_an_item_whose_dependency_failed_is_blocked_and_the_rest_goes_on() -> None:
    """A blocked item is a state, not a loop."""

    def fails(simulation: Simulation, session: Session) -> Act:
        return Break() if session.item == "a" else diligent_worker(simulation, session)

    mission = Simulation(cast(worker=fails)).start().run()

    assert statuses(mission) == {"a": "failed", "b": "blocked", "c": "completed"}
    assert mission.state.outcome is ev.Outcome.UNSEALED


# ---- the seal


def test_a_red_seal_that_names_one_owner_is_routed_without_the_commander() -> None:
    """Its output goes to the owner of the file as a fix."""
    mission = Simulation(cast(planner=script(ONE)), outcomes=red(1, "a.py:3: boom")).start().run()

    started = next(n for n, e in enumerate(mission.events) if isinstance(e, ev.SealRefused))
    commander = [
        n for n, e in enumerate(mission.events) if e.session == mission.state.commander and n > started
    ]
    fixed = next(
        n for n, e in enumerate(mission.events) if isinstance(e, ev.ItemCompleted) and e.item == "a.fix1"
    )

    assert min(commander) > fixed
    assert "a.py:3: boom" in mission.state.items[ev.ItemId("a.fix1")].spec.instructions
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_red_seal_that_names_nobody_wakes_the_commander() -> None:
    """It decides; if it does nothing, nothing is left to run."""
    mission = Simulation(cast(planner=script(ONE)), outcomes=red(9, "boom")).start().run()

    assert "`verify` exited 1" in told(mission, ev.MessageReason.WAKE)[-1].text
    assert mission.state.outcome is ev.Outcome.UNSEALED
    assert {b.kind for b in mission.state.end_blockers} == {ev.BlockerKind.VERIFICATION}


def test_a_red_seal_that_names_two_owners_goes_to_the_first_if_the_commander_does_nothing() -> None:
    """A mute Commander does not stop a mission."""
    mission = Simulation(cast(planner=script(TWO)), outcomes=red(1, "b.py then a.py")).start().run()

    assert set(statuses(mission)) == {"a", "b", "b.fix1"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_file_is_fixed_at_most_three_times_before_the_commander_decides() -> None:
    """Fixes are named after the item, not after each other."""
    mission = Simulation(cast(planner=script(ONE)), outcomes=red(99, "a.py")).start().run()

    assert set(statuses(mission)) == {"a", "a.fix1", "a.fix2", "a.fix3"}
    assert MAX_FIXES_PER_FILE == 3
    assert mission.state.outcome is ev.Outcome.UNSEALED
    third = mission.state.items[ev.ItemId("a.fix3")].spec.instructions
    assert third.count("Solve, in the files") == 1


def test_a_fix_takes_a_free_id_and_leaves_names_with_a_dot_alone() -> None:
    """`test.fixtures` is no fix of `test`."""
    items = Plan((spec("test.fixtures"), spec("test.fixtures.fix1")), ("verify",))
    mission = Simulation(cast(planner=script(items)), outcomes=red(1, "test.fixtures.py")).start().run()

    assert set(statuses(mission)) == {"test.fixtures", "test.fixtures.fix1", "test.fixtures.fix2"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_file_that_changed_after_its_review_is_reviewed_again() -> None:
    """Evidence is fresh at the seal, or there is none."""
    mission = Simulation(cast(planner=script(ONE)))

    def edit(simulation: Simulation) -> None:
        run = simulation.state.verification
        if run and run.phase is ev.VerificationPhase.SEAL and "a.fix1" not in simulation.state.items:
            simulation.edit("a.py", "by hand")

    mission.before_work = edit
    mission.start().run()

    assert set(statuses(mission)) == {"a", "a.fix1"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_the_seal_is_refused_while_work_is_open_and_that_wakes_nobody() -> None:
    """`seal_mission` answers at once."""
    early = script(Delegate(spec("T", "x.py")), Seal())
    mission = Simulation(cast(commander=early)).start().run()

    assert types(mission).count("seal.refused") == 1
    assert len(told(mission, ev.MessageReason.WAKE)) == 1
    assert mission.state.outcome is ev.Outcome.SEALED


# ---- the Commander


def test_the_commanders_first_message_is_the_goal() -> None:
    """Verbatim, and nothing else."""
    mission = Simulation(cast()).start(goal="  do *this*\n").run()

    assert mission.state.sessions[ev.SessionId("S1")].messages[0] == UserMessage(text="  do *this*\n")


def test_a_commander_that_is_mute_from_the_start_does_not_stop_a_mission() -> None:
    """The Planner gets the goal, the items are dispatched, the seal is asked for: exit 0."""
    mission = Simulation(cast(commander=mute)).start().run()

    assert mission.state.sessions[ev.SessionId("S2")].messages[0] == UserMessage(text="make it so")
    assert mission.state.outcome is ev.Outcome.SEALED
    assert "a (title of a) completed" in result.report(mission.state)


def test_a_mute_commander_and_a_planner_without_a_plan_end_at_1() -> None:
    """Asked once more, then a fresh Planner, then the Commander, then the end."""
    mission = Simulation(cast(commander=mute, planner=mute)).start().run()

    assert roles(mission)[ev.Role.PLANNER] == 2
    assert [m.text for m in told(mission, ev.MessageReason.NUDGE)] == [brief.PLANNER_NUDGE] * 2
    assert len(told(mission, ev.MessageReason.WAKE)) == 1
    assert (mission.state.outcome, mission.state.end_blockers[0].kind) == ("unsealed", "plan")


def test_the_commander_is_woken_once_for_a_batch() -> None:
    """Never for single results while work goes on."""
    mission = Simulation(cast()).start().run()

    wakes = told(mission, ev.MessageReason.WAKE)

    assert len(wakes) == 1
    assert all(f"- {name} (title of {name}) completed" in wakes[0].text for name in "abc")


def test_the_commander_is_woken_at_once_for_an_item_that_failed() -> None:
    """While others still work."""

    def fails(simulation: Simulation, session: Session) -> Act:
        return Break() if session.item == "a" else diligent_worker(simulation, session)

    mission = Simulation(cast(planner=script(TWO), worker=fails)).start().run()

    assert "Still under way: b." in told(mission, ev.MessageReason.WAKE)[0].text


def test_a_broken_commander_is_followed_by_a_fresh_one_that_is_told_what_happened() -> None:
    """Once; its first words are the goal."""

    def breaks(_simulation: Simulation, session: Session) -> Act:
        if session.id != "S1":
            return Seal()
        return DelegatePlan("goal") if session.turns == 0 else Break()

    mission = Simulation(cast(commander=breaks)).start().run()
    second = [s for s in mission.state.sessions.values() if s.role is ev.Role.COMMANDER][1]

    assert isinstance(second.messages[0], UserMessage)
    assert second.messages[0].text.startswith("make it so")
    assert mission.state.outcome is ev.Outcome.SEALED


def test_two_broken_commanders_do_not_stop_work_that_can_be_sealed() -> None:
    """The rest goes on without."""

    def breaks(_simulation: Simulation, session: Session) -> Act:
        return DelegatePlan("goal") if session.id == "S1" and session.turns == 0 else Break()

    mission = Simulation(cast(commander=breaks), outcomes=red(1, "a.py b.py")).start().run()

    assert roles(mission)[ev.Role.COMMANDER] == 2
    assert mission.state.outcome is ev.Outcome.SEALED


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


# ---- how it ends


def test_an_answer_ends_the_mission_with_6_and_with_answer_only_with_0() -> None:
    """Nothing was changed, nothing proven."""
    answered = Simulation(cast(commander=script(Answer("42")))).start().run()
    asked = Simulation(cast(commander=script(Answer("42")))).start(answer_only=True).run()

    assert [result.exit_code(m.state, ev.Outcome.ANSWERED) for m in (answered, asked)] == [6, 0]
    assert result.report(asked.state) == "42"


def test_with_answer_only_the_last_words_are_the_answer() -> None:
    """A model that forgets the tool has answered too; one that says nothing has not."""
    said = Simulation(cast(commander=script(Say("it is 42")))).start(answer_only=True).run()
    silent = Simulation(cast(commander=script(Say("(empty reply)")))).start(answer_only=True).run()

    assert (said.state.outcome, said.state.ending) == (ev.Outcome.ANSWERED, "it is 42")
    assert silent.state.outcome is ev.Outcome.UNSEALED
    assert roles(silent) == {ev.Role.COMMANDER: 1}


def test_a_question_ends_the_run_with_3_and_the_answer_reaches_the_commander() -> None:
    """`orch resume --reply` is told once, in the same conversation."""

    def asks(_simulation: Simulation, session: Session) -> Act:
        return Block("which colour?") if session.turns == 0 else Say()

    mission = Simulation(cast(commander=asks)).start().run()
    assert result.summarise(mission.state, None).exit_code == 3

    mission.resume(reply="blue").run()

    assert [m.text for m in told(mission, ev.MessageReason.REPLY)] == ["[orch] A person answers:\nblue"]
    assert mission.state.outcome is ev.Outcome.SEALED


@pytest.mark.parametrize("role", ["worker", "reviewer", "planner", "commander"])
def test_sessions_that_run_into_their_limit_end_the_run_with_4(role: str) -> None:
    """A fresh session once; then the limit is what stands between."""
    mission = Simulation(cast(**{role: script(Break(LIMIT))})).start()
    mission.agents = {**mission.agents, ev.Role.PLANNER: script(Break(LIMIT) if role == "planner" else ONE)}
    mission.run()

    assert roles(mission)[ev.Role(role)] == 2
    assert result.summarise(mission.state, None).exit_code == 4


def test_a_resume_with_a_higher_limit_gets_fresh_sessions() -> None:
    """Every end is resumable, also with new Commanders."""
    mission = Simulation(cast(commander=script(Break(LIMIT)))).start().run()
    mission.agents = cast()

    mission.resume().run()

    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_resume_after_a_red_end_asks_the_commander_again() -> None:
    """Nothing new happened, but a person wants another try."""
    mission = Simulation(cast(planner=script(ONE)), outcomes=red(1, "boom")).start().run()
    assert mission.state.outcome is ev.Outcome.UNSEALED
    wakes = len(told(mission, ev.MessageReason.WAKE))

    mission.resume()
    mission.settle()

    assert len(told(mission, ev.MessageReason.WAKE)) == wakes + 1


def test_a_resume_gives_a_failed_item_new_rounds() -> None:
    """Its files are free, its counters at zero."""
    mission = Simulation(cast(planner=script(TWO), reviewer=rejecting_reviewer(5))).start().run()
    assert result.summarise(mission.state, None).exit_code == 1

    mission.resume().run()

    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_mission_where_nothing_moves_is_told_so_then_replanned_then_stopped_with_5() -> None:
    """The ladder has three rungs, and each is an event."""

    def stubborn(_simulation: Simulation, session: Session) -> Act:
        return Delegate(spec("T", "x.py")) if session.turns_since_wake == 0 else Say()

    mission = Simulation(cast(commander=stubborn, worker=script(Break()))).start().run()

    assert [e.stage for e in mission.events if isinstance(e, ev.Stagnation)] == list(ev.StagnationStage)
    assert result.summarise(mission.state, None).exit_code == 5
    wakes = [m.text for m in told(mission, ev.MessageReason.WAKE)]
    assert ["Nothing moved" in w for w in wakes] == [False, True, False]
    assert "Delegate a new plan" in wakes[2]


def test_progress_takes_the_mission_off_the_ladder() -> None:
    """Three failures in a row are not stagnation if something was done in between."""

    def patient(_simulation: Simulation, session: Session) -> Act:
        return Delegate(spec("T", "x.py")) if session.turns_since_wake == 0 and session.turns < 14 else Say()

    def moody(simulation: Simulation, session: Session) -> Act:
        even = str(session.item).endswith(("2", "4", "6"))
        return diligent_worker(simulation, session) if even else Break()

    mission = Simulation(cast(commander=patient, worker=moody)).start().run()

    assert "stop" not in [e.stage for e in mission.events if isinstance(e, ev.Stagnation)]
    assert mission.state.outcome is ev.Outcome.UNSEALED


def test_work_names_a_verification_and_a_setup_as_well_as_sessions() -> None:
    """Whatever has to run is named, and nothing once the run is over."""
    seen: set[WorkKind] = set()
    items = Plan((spec("a", setup="set up"),), ("verify",))
    mission = Simulation(cast(planner=script(items)))
    mission.before_work = lambda s: seen.update(w.kind for w in work(s.state))

    mission.start().run()

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


def test_a_write_of_the_same_bytes_is_a_write() -> None:
    """The Worker is not told that it wrote nothing."""

    def same(simulation: Simulation, session: Session) -> Act:
        return Say() if session.wrote else Write("a.py", simulation.disk.get("a.py") or "")

    mission = Simulation(cast(planner=script(ONE), worker=same)).start().run()

    assert not told(mission, ev.MessageReason.NUDGE)
    assert mission.state.outcome is ev.Outcome.SEALED
