"""What is due and does not run: items without a slot, behind other items, behind a file. Pure."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from orch.mission.events import ItemId
from orch.mission.state import Item, ItemStatus, MissionState, held_files, open_items


class Reason(StrEnum):
    """What an item waits for."""

    SLOT = "slot"  # a Worker or a Reviewer could take it now
    ITEMS = "items"  # another item has to be completed first
    FILES = "files"  # another item holds one of its files


def waiting(state: MissionState) -> Mapping[Reason, int]:
    """Return how many items wait, by what they wait for."""
    held = held_files(state)
    reasons = (_reason(state, item, held) for item in open_items(state))
    return Counter(reason for reason in reasons if reason is not None)


def _reason(state: MissionState, item: Item, held: Mapping[str, ItemId]) -> Reason | None:
    match item.status:
        case ItemStatus.REJECTED:
            return Reason.SLOT
        case ItemStatus.SUBMITTED:
            return Reason.SLOT if item.setup_done else None
        case ItemStatus.PENDING:
            return _of_pending(state, item, held)
        case _:
            return None


def _of_pending(state: MissionState, item: Item, held: Mapping[str, ItemId]) -> Reason:
    needed = (state.items.get(other) for other in item.spec.depends_on)
    if any(other is None or other.status is not ItemStatus.COMPLETED for other in needed):
        return Reason.ITEMS
    return Reason.FILES if any(path in held for path in item.files) else Reason.SLOT
