"""The time of one run, which goes on as time passes, whatever becomes of the wall clock meanwhile.

A run looks at the wall clock once. From then on it counts what has passed since, time asleep included: so
what is measured between two events of a run is right, also if the clock was set in between, and no event
bears an earlier time than the one before it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops its monotonic clock while the machine sleeps, and has this one; macOS does not stop it."""


def _wall() -> datetime:
    return datetime.now(UTC)


def _passed_s() -> float:
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class Clock:
    """Tells the time; `wall` is asked once."""

    wall: Callable[[], datetime] = _wall
    passed_s: Callable[[], float] = _passed_s
    _began: datetime = field(init=False)
    _mark_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began, self._mark_s = self.wall(), self.passed_s()

    def now(self) -> str:
        """Return the time, RFC 3339 in UTC."""
        now = self._began + timedelta(seconds=self.passed_s() - self._mark_s)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
