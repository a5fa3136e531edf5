"""Tests of what the events of items change."""

from dataclasses import replace

from orch.mission import events as ev
from orch.mission.reduce import reduce
from orch.mission.state import (
    Item,
    ItemStatus,
)
from tests.mission.casts import spec
from tests.mission.samples import S3, SETUP, A, B, a_mission, stamped


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
