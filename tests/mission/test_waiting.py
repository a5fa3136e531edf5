"""Items that do not run wait for a slot, for other items, or for a file."""

from orch.mission import events as ev
from orch.mission.state import Item, ItemStatus, MissionState
from orch.mission.waiting import Reason, waiting
from tests.mission.casts import spec


def item(name: str, *files: str, after: tuple[str, ...] = (), **others: object) -> Item:
    """Return an item, pending if nothing else is said."""
    facts = {"spec": spec(name, *files, after=after), "origin": ev.ItemOrigin.PLANNED, **others}
    return Item(**facts)  # type: ignore[arg-type]


def counted(*items: Item) -> dict[Reason, int]:
    """Return who waits for what in a mission of these items."""
    return dict(waiting(MissionState(items={item.spec.id: item for item in items})))


def test_an_item_waits_for_the_first_thing_that_is_in_its_way() -> None:
    """Items before files before a slot; one that is worked on waits for nothing."""
    works = item("a", status=ItemStatus.WORKING, leased=True)
    assert counted(works) == {}
    assert counted(works, item("b", after=("a",)), item("c", "a.py"), item("d")) == {
        Reason.ITEMS: 1,
        Reason.FILES: 1,
        Reason.SLOT: 1,
    }


def test_what_is_completed_is_in_nobodys_way() -> None:
    """What is lost is."""
    assert counted(item("a", status=ItemStatus.COMPLETED), item("b", after=("a",))) == {Reason.SLOT: 1}
    assert counted(item("a", status=ItemStatus.FAILED), item("b", after=("a",))) == {Reason.ITEMS: 1}
    assert counted(item("b", after=("nobody",))) == {Reason.ITEMS: 1}


def test_what_was_submitted_or_rejected_waits_for_somebody_with_a_slot() -> None:
    """But where orch sets it up first."""
    assert counted(
        item("a", status=ItemStatus.SUBMITTED, setup_done=True),
        item("b", status=ItemStatus.REJECTED),
        item("c", status=ItemStatus.SUBMITTED, setup_done=False),
        item("d", status=ItemStatus.REVIEWING),
    ) == {Reason.SLOT: 2}
