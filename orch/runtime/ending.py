"""Why a run stops before its work is done: somebody asked, or its time is over. What came first counts."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orch.mission import events as ev
from orch.mission.caps import Cap
from orch.runtime.budget import MUCH, Budget, failure
from orch.runtime.recorder import Recorder


@dataclass(slots=True, eq=False)
class Ending:
    """The wish to stop. `at_once` is set when not even turns under way may finish.

    `changed` is called when there is one; `hurry` ends commands without the time they have to end themselves.
    `began_s` is the time of `time.monotonic` from which the timeout counts.
    """

    recorder: Recorder
    budget: Budget
    changed: Callable[[], None]
    hurry: Callable[[], None]
    began_s: float
    at_once: asyncio.Event = field(default_factory=asyncio.Event)
    _is_asked: bool = False
    _stopped_by: ev.StopSignal | None = None
    _timed_out: ev.Budget | None = None

    def stop(self, signal: ev.StopSignal, *, now: bool = False) -> None:
        """Ask the run to stop: gracefully, and with `now` (or asked again) at once."""
        if now or self._stopped_by is not None:
            self.at_once.set()
            self.hurry()
        self._stopped_by = self._stopped_by or signal
        self._begin()

    def is_asked(self) -> bool:
        """Whether no new turn may start."""
        return self._is_asked

    def last_word(self) -> ev.Event:
        """Return why the run stopped."""
        if self._timed_out is not None:
            return failure(self._timed_out)
        return ev.MissionStopped(signal=self._stopped_by or ev.StopSignal.TERMINATE)

    async def time_out(self) -> None:
        """Stop the run when its time is over; say before that much of it is."""
        timeout_s = self.recorder.state.caps.timeout_s
        if timeout_s is None:
            return
        for part in (MUCH, 1.0):
            await asyncio.sleep(self.began_s + part * timeout_s - time.monotonic())
            if self._is_asked or not self.recorder.is_running:
                return
            spent_s = round(time.monotonic() - self.began_s, 3)
            fact = ev.Budget(limit=Cap.TIMEOUT, cap=timeout_s, spent=spent_s, reached=part == 1.0)
            if fact.reached:
                self._timed_out = fact
                self._begin()
            await self.recorder.record(fact)

    def _begin(self) -> None:
        self._is_asked = True
        self.budget.close()
        self.changed()
