"""Tests of the slots: who works when, and what a rejected item gets."""

from orch.mission import events as ev
from orch.mission import result
from orch.mission.decide import decide, work
from orch.mission.state import running_sessions
from tests.mission.casts import (
    cast,
    rejecting_reviewer,
    script,
    spec,
)
from tests.mission.readings import ONE, TWO, red, roles, statuses, told, types
from tests.mission.simulation import (
    Delegate,
    DelegatePlan,
    Look,
    Plan,
    Simulation,
)


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


def test_items_that_become_ready_together_do_not_share_a_file() -> None:
    """The second waits, although neither held the file before."""
    orders = script(
        Delegate(spec("T")),
        Delegate(spec("T", "x.py", after=["T1"])),
        Delegate(spec("T", "x.py", after=["T1"])),
    )
    mission = Simulation(cast(commander=orders)).start().run()

    assert statuses(mission) == {"T1": "completed", "T2": "completed", "T3": "completed"}
    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_run_with_fewer_slots_lets_its_sessions_take_turns() -> None:
    """What an earlier run left running is not run all at once."""
    mission = Simulation(cast()).start(max_parallel=4).run()
    second = [n for n, e in enumerate(mission.events, 1) if isinstance(e, ev.ItemStarted)][1]

    again = mission.crashed_after(second).resume(max_parallel=1)
    again.settle()

    assert len(running_sessions(again.state)) == 2
    assert [w.subject for w in work(again.state)] == ["S3"]
    assert again.run().state.outcome is ev.Outcome.SEALED


def test_nothing_is_written_before_the_baseline_and_red_is_told() -> None:
    """What is red before the first write stands in `red_before`, and the Commander hears of it."""
    mission = Simulation(cast(), outcomes=lambda s, _: (int(not s.disk), "")).start().run()
    order = types(mission)

    assert mission.state.red_before == ("verify",)
    assert order.index("verification.finished") < order.index("lease.acquired")
    assert "Red before the first change: `verify`" in told(mission, ev.MessageReason.WAKE)[0].text
    assert mission.state.outcome is ev.Outcome.SEALED


def test_there_is_no_baseline_once_something_may_have_been_written() -> None:
    """It would blame the project for what a Worker just did."""
    orders = script(Delegate(spec("T", "x.py")), DelegatePlan("goal"))
    mission = Simulation(cast(commander=orders)).start().run()

    phases = {e.phase for e in mission.events if isinstance(e, ev.VerificationStarted)}
    assert ev.VerificationPhase.BASELINE not in phases
    assert any(isinstance(e, ev.LeaseAcquired) for e in mission.events)


def test_the_commander_needs_no_slot() -> None:
    """A Worker starts while it still explores."""
    mission = (
        Simulation(cast(commander=script(Delegate(spec("T")), Look(), Look()))).start(max_parallel=1).run()
    )

    begun = types(mission).index("item.started")
    commander_turns = [
        n for n, e in enumerate(mission.events) if isinstance(e, ev.TurnStarted) and e.session == "S1"
    ]

    assert begun < commander_turns[1]


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


def test_an_item_whose_files_another_process_holds_leaves_its_slot_to_the_next() -> None:
    """What cannot start now does not keep the rest from starting."""
    mission = Simulation(cast(planner=script(TWO))).start(max_parallel=1, baseline=False)
    while not mission.state.items:
        mission.settle()
        mission.go_on(work(mission.state)[0])

    (first,) = decide(mission.state)
    (second,) = decide(mission.state, denied=[ev.ItemId("a")])

    assert (first.lease, second.lease) == ("a", "b")
    assert not [s for s in decide(mission.state, denied=[ev.ItemId("a"), ev.ItemId("b")]) if s.lease]
