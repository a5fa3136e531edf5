"""Dry runs in the whole house: they plan, touch nothing, and the next run carries the plan out."""

from dataclasses import replace
from pathlib import Path

import pytest

from orch.mission import events as ev
from tests.play import answer, delegate, item, mission
from tests.runtime.house import House, Run, a_mission

A, B = item("a", setup="echo set > up"), item("b", after=["a"])
SCRIPT = mission(A, B, item("c"), verify=["grep -q made b.txt"])


def nothing_was_done(house: House, run: Run) -> None:
    """Assert that the run planned, and that its workspace is as it was."""
    assert (run.result.subtype, run.result.exit_code, run.result.is_error) == (ev.Outcome.PLANNED, 0, False)
    assert run.result.blockers == ()
    assert run.result.estimate is not None
    assert [path.name for path in house.workspace.iterdir()] == [".opencode"]
    assert {s.role for s in run.state.sessions.values()} <= {ev.Role.COMMANDER, ev.Role.PLANNER}
    assert not run.all(ev.VerificationStarted) + run.all(ev.SetupFinished)


def test_a_dry_run_plans_and_the_next_run_carries_it_out(house: House) -> None:
    """The plan is in the result; nobody plans again, and what is proven is the whole plan."""
    planned = house.begin(SCRIPT, dry_run=True)
    nothing_was_done(house, planned)
    for words in ("3 items in 2 waves", "title of b (after a)", "grep -q made b.txt", "Critical path: a > b"):
        assert words in planned.result.result
    assert planned.result.resume is not None
    assert planned.result.patch is None

    sealed = house.resume(SCRIPT)

    assert sealed.result.subtype is ev.Outcome.SEALED
    assert len(sealed.all(ev.PlanAccepted)) == 1
    assert [s.role for s in sealed.state.sessions.values()].count(ev.Role.PLANNER) == 1
    assert sealed.result.estimate is None
    assert sealed.result.patch is not None


def test_items_that_the_commander_delegates_are_a_plan_too(house: House) -> None:
    """No Planner is needed."""
    run = house.begin(mission(commander=delegate(item("a"), item("b"))), dry_run=True)
    nothing_was_done(house, run)
    assert len(run.state.items) == 2
    assert not run.all(ev.PlanAccepted)


def test_a_goal_that_needs_no_plan_is_answered(house: House) -> None:
    """What the Commander says is not lost."""
    assert house.begin(mission(commander=answer("Rust.")), dry_run=True).result.result == "Rust."


@pytest.mark.parametrize("offset", range(3))
def test_a_dry_run_that_was_cut_anywhere_ends_planned(tmp_path: Path, offset: int) -> None:
    """It is a dry run still: what was killed in it does not begin to work when it goes on."""
    whole = House(_place(tmp_path / "whole"))
    length = len(whole.begin(SCRIPT, dry_run=True).events)
    for after in range(1 + offset, length, 9):
        house = House(_place(tmp_path / str(after)))
        house.cut(house.begin(SCRIPT, dry_run=True).events[after - 1])
        nothing_was_done(house, house.resume(SCRIPT))


def _place(path: Path) -> Path:
    (path / "workspace").mkdir(parents=True)
    return path / "workspace"


def test_earlier_missions_are_the_basis_of_the_estimate(house: House) -> None:
    """Those that are damaged are none, and do not matter."""
    assert house.begin(SCRIPT).result.exit_code == 0
    (house.workspace / "b.txt").unlink()
    damaged = house.folder.missions / "m-0"
    damaged.mkdir()
    (damaged / "journal.jsonl").write_text("nothing\n" * 3)

    run = replace(house, mission=a_mission()).begin(SCRIPT, dry_run=True)

    assert run.result.estimate is not None
    assert "3 completed items of 1 earlier mission here" in run.result.estimate.text
    assert "price of test/scripted is unknown" in run.result.result
    assert run.result.estimate.usd_most is None
