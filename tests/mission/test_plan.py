"""Tests of what a plan must be, and of the views of it."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission import events as ev
from orch.mission.decide import work
from orch.mission.plan import cannot_fail, issues_md, leave, refusals, replaced, todo_md
from orch.mission.state import MissionState
from tests.mission.casts import cast, diligent_worker, script, spec
from tests.mission.simulation import Break, Plan, Simulation

NEW = MissionState(models={})


def mission(*items: ev.ItemSpec) -> Simulation:
    """Return a mission whose plan was just accepted."""
    simulation = Simulation(cast(planner=script(Plan(items, ("verify",))))).start()
    while simulation.settle() and not simulation.state.items:
        simulation.go_on(work(simulation.state)[-1])
    return simulation


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", True),
        (" : ", True),
        ("exit 0", True),
        ("exit  0 # fine", True),
        ("echo all good", True),
        ("echo 'a; b'", False),
        ("true && echo ok; :", True),
        ("", True),
        ("# later", True),
        ("pytest || true", True),
        ("false; true", True),
        ("pytest -q; echo done", True),
        ("pytest -q 2>&1 | tail -5", True),
        ("pytest | tee log.txt", True),
        ("pytest &", True),
        ("false || /bin/true", True),
        ("test -f x || exit 1; echo ok", False),
        ("set -e; pytest; echo ok", False),
        ("set -o pipefail; pytest | tail -5", False),
        ("pytest | grep -q passed", False),
        ("make 2>&1", False),
        ("a && b", False),
        ("cat x | head -3 | grep -q y", False),
        ("cd x && pytest || echo failed", True),
        ("pytest || exit 0", True),
        ("pytest", False),
        ("true && pytest", False),
        ("pytest || true && lint", False),
        ("echo $(false) > /missing/x", False),
        ("echo hi | grep -q ho", False),
        ("test -f a || exit 1; echo ok", False),
        ("grep -q 'a || true' file", False),
        ("exit 1", False),
        ("truely", False),
        ("python -c 'exit(0)'", False),
    ],
)
def test_a_command_that_cannot_fail_is_known(command: str, expected: bool) -> None:
    """Only what surely proves nothing is refused; what is in doubt may fail."""
    assert cannot_fail(command) is expected


def test_a_sound_plan_is_not_refused() -> None:
    """One item per file, known dependencies, something to verify."""
    assert refusals(NEW, [spec("a"), spec("b", after=["a"])], ["pytest"]) == ()


def test_a_plan_is_refused_with_every_reason_at_once() -> None:
    """Its author mends all of them in one go."""
    nothing = ev.ItemSpec(id=ev.ItemId("no files!"), title="t", files=(), instructions=" ", check="true")
    twice = spec("a", "x.py", "x.py", after=["ghost"])

    reasons = "\n".join(refusals(NEW, [nothing, twice, spec("a", "y.py")], ["echo ok"]))

    assert "item id 'no files!': use letters" in reasons
    assert "item no files! has no file" in reasons
    assert "item no files! has no instructions" in reasons
    assert "the check of item no files! cannot fail: 'true'" in reasons
    assert "item a names a file twice" in reasons
    assert "item id a is used twice" in reasons
    assert "item a depends on ghost, which is no item" in reasons
    assert "a verify command cannot fail: 'echo ok'" in reasons


def test_an_empty_plan_is_refused() -> None:
    """A plan needs something to do."""
    assert refusals(NEW, [], ["pytest"]) == ("a plan needs at least one item",)


@pytest.mark.parametrize("circle", [["a"], ["b", "a"], ["c", "b", "a"]])
def test_a_circle_of_dependencies_is_refused_and_named(circle: list[str]) -> None:
    """Whatever its length."""
    items = [spec(one, after=[other]) for one, other in zip(circle, [*circle[1:], circle[0]], strict=True)]

    (reason,) = refusals(NEW, items, ["pytest"])

    assert "items depend on each other in a circle" in reason


def test_verify_may_be_empty_only_if_every_item_has_a_check_or_the_settings_have_commands() -> None:
    """Something of orch's own has to run at the seal."""
    unchecked = [spec("a"), spec("b", check=None)]

    assert refusals(NEW, [spec("a")], []) == ()
    assert refusals(NEW, unchecked, []) == ("verify is empty, and these items have no check: b",)
    assert refusals(MissionState(settings_verify=("make test",)), unchecked, []) == ()


def test_a_completed_item_without_a_check_keeps_verify_from_being_empty() -> None:
    """A later plan cannot take the proof of earlier work away."""
    done = Simulation(cast(planner=script(Plan((spec("a", check=None),), ("verify",))))).start().run()

    assert refusals(done.state, [spec("b")], []) == ("verify is empty, and these items have no check: a",)


def test_items_share_a_path_only_if_one_waits_for_the_other() -> None:
    """Directly or not; the reason names both and the path."""
    chain = [spec("a", "x.py"), spec("b", after=["a"]), spec("c", "x.py", after=["b"])]

    (reason,) = refusals(NEW, [spec("a", "x.py"), spec("b", "x.py")], ["pytest"])

    assert reason.startswith("items a and b may run at the same time and share x.py")
    assert refusals(NEW, chain, ["pytest"]) == ()


def test_a_reason_about_dependencies_hides_no_other() -> None:
    """Also where an item's id sounds like one."""
    items = [spec("depend-a", "x.py"), spec("depend-b", "x.py", check="true")]

    reasons = refusals(NEW, items, ["pytest"])

    assert [reason.split(" ")[0] for reason in reasons] == ["the", "items"]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sets(st.integers(0, 5))), min_size=1, max_size=6))
def test_overlap_is_refused_exactly_where_two_items_could_run_at_once(
    plan: list[tuple[str, set[int]]],
) -> None:
    """Held against a search of the paths between two items."""
    items = [
        spec(f"i{n}", f"{path}.py", after=[f"i{d}" for d in sorted(deps) if d < n])
        for n, (path, deps) in enumerate(plan)
    ]

    def waits(one: ev.ItemSpec, other: ev.ItemSpec) -> bool:
        by_id = {item.id: item for item in items}
        return any(d == other.id or waits(by_id[d], other) for d in one.depends_on)

    expected = {
        (one.id, other.id)
        for one, other in combinations(items, 2)
        if one.files == other.files and not waits(other, one)
    }

    found = {(r.split()[1], r.split()[3]) for r in refusals(NEW, items, ["pytest"])}

    assert found == expected


def test_a_new_plan_may_depend_on_completed_items_and_replaces_the_rest() -> None:
    """Completed items stay; what is open or lost leaves the list, whether it is named again or not."""
    fails = Simulation(cast(planner=script(Plan((spec("a"), spec("b")), ("v",))))).start()
    fails.agents = {**fails.agents, ev.Role.COMMANDER: script()}
    fails.agents = {
        **fails.agents,
        ev.Role.WORKER: lambda s, x: Break() if x.item == "b" else diligent_worker(s, x),
    }
    fails.run()
    again = [spec("c", after=["a"]), spec("b", "other.py")]

    gone = [e for e in replaced(fails.state, again) if isinstance(e, ev.ItemDropped)]

    assert refusals(fails.state, again, ["v"]) == ()
    assert [(e.item, e.reason) for e in gone] == [("b", "replaced by a new plan")]
    assert not replaced(fails.state, [spec("a")])[1:]


def test_an_item_that_leaves_ends_its_session_frees_its_files_and_closes_its_issues() -> None:
    """In an order of which every beginning makes sense after a crash."""
    simulation = mission(spec("a"))
    simulation.settle()
    while not simulation.state.items[ev.ItemId("a")].leased:
        simulation.go_on(work(simulation.state)[-1])
        simulation.settle()
    simulation.record(
        ev.IssueOpened(issue=ev.IssueId("I1"), item=ev.ItemId("a"), source=ev.IssueSource.REQUEST, text="x")
    )

    events = leave(simulation.state, simulation.state.items[ev.ItemId("a")], "cancelled")

    assert [e.type for e in events] == ["issue.closed", "item.dropped", "session.ended", "lease.released"]
    simulation.record(*events)


def test_the_todo_list_shows_each_item_with_its_state() -> None:
    """What is done is ticked; dependencies, files and reasons stand with their item."""
    items = Plan((spec("a"), spec("b"), spec("c", after=["b"])), ("verify",))
    simulation = Simulation(cast(planner=script(items), commander=script()))
    simulation.agents = {
        **simulation.agents,
        ev.Role.WORKER: lambda s, x: Break() if x.item == "b" else diligent_worker(s, x),
    }
    text = todo_md(simulation.start(goal="two\nlines").run().state)

    assert text.startswith("# TODO 1/3\n\nGoal: two lines\n")
    assert "- [x] **a** title of a - completed\n  - `a.py`\n" in text
    assert "- [!] **b** title of b - failed" in text
    assert (
        "- [!] **c** title of c - blocked (after b)\n  - `c.py`\n  - it depends on b, which is failed" in text
    )
    assert "Verified at the seal by:\n\n- `verify`\n" in text


def test_the_list_of_issues_names_path_owner_and_source() -> None:
    """One line each, also for a text of many lines."""
    simulation = mission(spec("a"))
    simulation.record(
        ev.IssueOpened(
            issue=ev.IssueId("I1"),
            item=ev.ItemId("a"),
            source=ev.IssueSource.REVIEW,
            path="a.py",
            text="first\nsecond",
        ),
        ev.IssueOpened(issue=ev.IssueId("I2"), source=ev.IssueSource.VERIFICATION, text="red", command="v"),
    )

    assert issues_md(simulation.state) == (
        "# Issues: 2 open\n\n"
        "- **I1** `a.py` on a (review): first second\n"
        "- **I2** on no item (verification): red\n"
    )
