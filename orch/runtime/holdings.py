"""The leases of a run: taken before an item starts, held until it is settled, taken again after a crash.

Taking a lease takes time, so it happens before `decide` is asked for the steps that need it. What another
process holds is asked for again; that is said once, and in the end the item is given up.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from orch.mission import events as ev
from orch.mission.state import OPEN, Item, MissionState
from orch.runtime.recorder import Recorder
from orch.store.leases import Leases

LEASE_LIMIT_S = 60.0
"""An item whose files another process holds for this long is given up."""


@dataclass(slots=True, eq=False)
class Holdings:
    """Which item has its files. Hears of events, to free what was released once that is durable."""

    leases: Leases
    recorder: Recorder
    _taken: dict[ev.ItemId, tuple[str, ...]] = field(default_factory=dict)
    _denied_since: dict[ev.ItemId, float] = field(default_factory=dict)
    _unheld: set[ev.ItemId] = field(init=False)

    def __post_init__(self) -> None:
        items = self.recorder.state.items.values()
        self._unheld = {item.spec.id for item in items if item.leased}
        self.recorder.tell(self)

    def show(self, event: ev.Event, _state: MissionState) -> None:
        """Free the files of an item whose release is durable."""
        if isinstance(event, ev.LeaseReleased):
            self.leases.release(event.item)

    @property
    def is_waiting(self) -> bool:
        """Whether an item that an earlier run left half done waits for its files."""
        return bool(self._unheld)

    def may_work(self, item: ev.ItemId | None) -> bool:
        """Whether nobody else may hold files of an item that is under way."""
        return item not in self._unheld

    async def hold_again(self) -> None:
        """Take the leases that an earlier run held; until they are taken, nobody works on their items."""
        for item_id in tuple(self._unheld):
            item = self._item(item_id)
            if item.leased and not await self._acquire(item):
                continue
            self._unheld.discard(item_id)

    async def take(self, wanted: Collection[ev.ItemId]) -> Collection[ev.ItemId] | None:
        """Take what items that are about to start need; return those denied, `None` if all was there already.

        What was taken for items that do not start after all, or have other files by now, is given back.
        """
        for item in list(self._taken):
            if item not in wanted or self._taken[item] != self._item(item).files:
                del self._taken[item]
                self.leases.release(item)
        missing = [item for item in wanted if item not in self._taken]
        return [item for item in missing if not await self._take(item)] if missing else None

    def hand_over(self, items: Collection[ev.ItemId]) -> None:
        """Note that items start with what was taken for them."""
        for item in items:
            del self._taken[item]

    async def extend(self, item_id: ev.ItemId) -> None:
        """Take the files too that an item's setup made."""
        item = self._item(item_id)
        if item.extra_files and item.leased:
            await asyncio.to_thread(self.leases.extend, item_id, item.extra_files)

    async def _take(self, item_id: ev.ItemId) -> bool:
        await self.recorder.settled()  # what the state calls free is released when that is durable
        item = self._item(item_id)
        if not await self._acquire(item):
            return False
        self._taken[item_id] = item.files
        return True

    async def _acquire(self, item: Item) -> bool:
        reason = await asyncio.to_thread(self.leases.acquire, item.spec.id, item.files)
        if reason is None:
            self._denied_since.pop(item.spec.id, None)
            return True
        await self._note_denial(item, reason)
        return False

    async def _note_denial(self, item: Item, reason: str) -> None:
        """Say once that another process holds a file of an item; give the item up in the end."""
        now = asyncio.get_running_loop().time()
        since = self._denied_since.get(item.spec.id)
        if since is None:
            self._denied_since[item.spec.id] = now
            await self.recorder.record(ev.LeaseDenied(item=item.spec.id, files=item.files, reason=reason))
        elif now - since >= LEASE_LIMIT_S and self._item(item.spec.id).status in OPEN:
            failed = ev.ItemFailed(item=item.spec.id, kind=ev.BlockerKind.ITEM, reason=reason)
            await self.recorder.record(failed)

    def _item(self, item: ev.ItemId) -> Item:
        return self.recorder.state.items[item]
