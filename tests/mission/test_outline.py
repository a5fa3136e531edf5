"""A plan as people read it before it is run."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.outline import INSTRUCTION_CHARS, outline
from orch.mission.state import Item, ItemStatus, MissionState
from tests.mission.casts import PLAN, cast, spec
from tests.mission.samples import COST, a_mission
from tests.mission.simulation import Simulation


def mission(*specs: ev.ItemSpec, **changes: object) -> MissionState:
    """Return a dry run whose plan is `specs`."""
    items = {each.id: Item(each, ev.ItemOrigin.PLANNED) for each in specs}
    state = replace(a_mission(), items=items, issues={}, dry_run=True, max_parallel=9)
    return replace(state, **changes)  # type: ignore[arg-type]


def waves(text: str) -> Mapping[str, list[str]]:
    """Return the ids under each wave."""
    found: dict[str, list[str]] = {}
    for part in text.split("\n\n"):
        head, *rest = part.splitlines()
        if head.startswith("Wave "):
            found[head] = [line.split()[0] for line in rest if line[:3] != "   "]
    return found


def test_a_dry_run_shows_all_of_its_plan() -> None:
    """Items in waves with files, dependencies and checks; what verifies it; the critical path; the cost."""
    state = Simulation(cast()).start(dry_run=True).run().state
    text = outline(state, COST)
    assert text.startswith(f"Plan: {len(PLAN.items)} items in 2 waves. Nothing was changed")
    assert waves(text) == {"Wave 1 (2 items)": ["a", "c"], "Wave 2 (1 item)": ["b"]}
    assert "  b  title of b (after a)\n    files: b.py\n    check: check\n    does:  make b" in text
    assert "\n  verify\n" in text
    assert "Critical path: a > b (2 of 3 items)" in text
    assert text.endswith("Still to pay: 10-20 tokens\n  typical turns")


def test_items_that_share_a_file_follow_each_other() -> None:
    """Who has the file goes first, whatever the plan says of dependencies."""
    text = outline(mission(spec("a", "x", "y"), spec("b", "y"), spec("c", "z")), COST)
    assert list(waves(text).values()) == [["a", "c"], ["b"]]


def test_a_circle_of_dependencies_does_not_keep_the_plan_from_being_shown() -> None:
    """Every item is shown once."""
    text = outline(mission(spec("a", after=["b"]), spec("b", after=["a"]), spec("c")), COST)
    assert sorted(name for names in waves(text).values() for name in names) == ["a", "b", "c"]


def test_a_wave_that_has_fewer_slots_than_items_says_so() -> None:
    """`-j` is part of the plan."""
    text = outline(mission(spec("a"), spec("b"), spec("c"), max_parallel=2), COST)
    assert list(waves(text)) == ["Wave 1 (3 items, 2 at a time)"]


def test_items_that_cannot_start_are_named() -> None:
    """They are on the list, and in no wave."""
    state = mission(spec("a"), spec("b"))
    lost = replace(state.items[ev.ItemId("b")], status=ItemStatus.BLOCKED)
    text = outline(replace(state, items={**state.items, ev.ItemId("b"): lost}), COST)
    assert text.startswith("Plan: 1 item in 1 wave. ")
    assert "1 item cannot start: b." in text


@pytest.mark.parametrize(
    ("instructions", "shown"),
    [
        ("make  it", "make it"),
        ("make it\n\nthen more", "make it …"),
        ("x" * (INSTRUCTION_CHARS + 1), "x" * INSTRUCTION_CHARS + "…"),
        ("", ""),
    ],
)
def test_long_instructions_are_cut_to_a_line(instructions: str, shown: str) -> None:
    """What a model wrote stays on its line, and a cut is marked."""
    one = spec("a").model_copy(update={"instructions": instructions, "title": "a\ntitle", "check": "a\n b"})
    lines = outline(mission(one), COST).splitlines()
    assert f"    does:  {shown}" in lines
    assert "  a  a title" in lines
    assert "    check: a b" in lines
