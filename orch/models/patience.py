"""How long a call of a model may take, on a loop that may stand still.

A limit on silence asks how long the endpoint has said nothing, and only a loop that moves can hear it. If the
loop stood still, or the process was stopped, a limit comes due too late and all at once in every session,
while the answers lie unread in the sockets. So one that comes due late is not the endpoint's silence: it
begins anew, `STALLS_MAX` times in a call.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

LATE_S = 1.0
"""A limit that comes due later than this was held up by a loop that stood still."""
STALLS_MAX = 3
"""So often in one call a limit that was late begins anew."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one call may be silent, before the first event and between two, and how long it may last."""

    idle_s: float = 120.0
    call_s: float = 600.0


class Patience:
    """The limits of one call: leaving its context too late raises `TimeoutError`. Good for one use."""

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + limits.call_s
        self._limit_s = limits.idle_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._scope = asyncio.timeout(None)
        self._stalls = 0

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self.wait_for(self._limit_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disarm()
        await self._scope.__aexit__(kind, error, trace)

    def wait_for(self, limit_s: float) -> None:
        """Wait for another `limit_s` from now on, within the deadline of the whole call."""
        self._disarm()
        self._limit_s = limit_s
        self._due = min(self.deadline, self._loop.time() + limit_s)
        self._timer = self._loop.call_at(self._due, self._come_due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _come_due(self) -> None:
        now = self._loop.time()
        if now - self._due <= LATE_S or self._stalls == STALLS_MAX:
            self._scope.reschedule(now)
            return
        self._stalls += 1
        self.deadline = max(self.deadline, now + self._limit_s)
        self.wait_for(self._limit_s)
