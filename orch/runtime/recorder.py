"""`record`: the one way in which anything happens in a run.

It stamps the events, reduces them into the state (an illegal one is refused before a byte is written), and
queues them for the journal in the same instant; it returns, and the views hear of them, once they are
durable. Whoever acts, acts after such a return; and since the journal keeps the order of the calls, all that
a decision rests on is then on disk too.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orch.mission import events as ev
from orch.mission.redaction import Redaction
from orch.mission.reduce import reduce
from orch.mission.state import MissionState, MissionStatus
from orch.runtime.clock import Clock
from orch.store.journal import Journal


class View(Protocol):
    """Somebody who looks: hears every event once it is durable, with the state after it."""

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Show an event. Must not block and must not raise."""
        ...


@dataclass(slots=True, eq=False)
class Recorder:
    """Keeps the state of one run. `state` is all that happened, `durable` the part of it that is on disk."""

    state: MissionState
    mission: ev.MissionId
    journal: Journal
    redact: Redaction
    views: Sequence[View]
    clock: Clock = field(default_factory=Clock)
    durable: MissionState = field(init=False)
    _latest: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.durable = self.state

    @property
    def is_running(self) -> bool:
        """Whether the mission's run is on."""
        return self.state.status is MissionStatus.RUNNING

    def tell(self, view: View) -> None:
        """Have one more view hear of what happens from now on."""
        self.views = (*self.views, view)

    async def record(self, *events: ev.Event) -> None:
        """Make `events` happen, as one batch; returns when they are durable.

        Raises:
            IllegalTransition: The state does not allow one of them; none of them happened.
            DiskRefused: They could not be written; the run is over.
        """
        if not events:
            return
        now = self.clock.now()
        state = self.state
        stamped: list[ev.Event] = []
        after: list[MissionState] = []
        for event in events:
            fact = self.redact(event)
            fact = fact.model_copy(update={"seq": state.seq + 1, "ts": now, "mission": self.mission})
            state = reduce(state, fact)
            stamped.append(fact)
            after.append(state)
        durable = self._latest = self.journal.append(stamped, state)
        self.state = state
        durable.add_done_callback(lambda done: self._publish(done, stamped, after))
        await asyncio.shield(durable)

    async def settled(self) -> None:
        """Wait until all that happened so far is durable."""
        if self._latest is not None:
            await asyncio.shield(self._latest)

    def _publish(
        self, done: asyncio.Future[None], events: list[ev.Event], states: list[MissionState]
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self.durable = states[-1]
        for event, state in zip(events, states, strict=True):
            for view in self.views:
                view.show(event, state)
