"""Tests of how issues find their owners: while they work, under review, completed, or nobody's."""

from collections.abc import Sequence

from orch.mission import events as ev
from orch.mission.decide import Work
from orch.mission.review import Finding
from orch.mission.routing import MAX_FIXES_PER_FILE
from orch.mission.state import Session
from tests.mission.casts import (
    cast,
    diligent_worker,
    honest_reviewer,
    script,
    spec,
)
from tests.mission.readings import ONE, TWO, red, statuses, told, types
from tests.mission.simulation import (
    Act,
    Break,
    Delegate,
    DelegatePlan,
    Judge,
    Plan,
    RequestChange,
    Say,
    Simulation,
)


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
