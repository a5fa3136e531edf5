"""Notices when the event loop stands still, and says what held it and for how long.

Theory of operation. All sessions share one loop: whatever blocks it blocks everything, and nothing in the
loop can notice that. So a thread asks the loop for a sign of life, every `PULSE_S`. If none comes within
`STALL_S`, the thread looks once at what the loop's thread is doing; when the loop moves again, that is
reported in the loop. Where the watching thread did not run either, and hardly any CPU was used, it was not
orch that stood still but its process: it was stopped (Ctrl-Z, a lid that was closed) or starved.

Costs less than a millisecond of CPU a second. Nothing here raises, but for what a report raises.
"""

import asyncio
import selectors
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

STALL_S = 1.0
"""A loop that gives no sign of life for this long stands still."""
PULSE_S = 0.5
"""From one sign of life to the next question."""
REPORTS_MAX = 20
"""Stalls of one run that are reported; after that many it is known that the machine is too slow."""

_BUSY_SHARE = 0.5
"""The share of a stall in which CPU was used, from which on orch itself was busy."""
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the code: where the loop's thread was."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        """Return it as people read it."""
        return f"{self.function} ({self.file}:{self.line})"


@dataclass(frozen=True, slots=True)
class Stall:
    """The loop stood still for about `duration_s`.

    `spot` is where it was, `None` if it was not in any code; `caller` is orch's own code that led there,
    `None` if `spot` is orch's own.
    """

    duration_s: float
    spot: Spot | None = None
    caller: Spot | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        if self.spot is None:
            return f"orch was stopped or starved for {self.duration_s:.1f} s; it goes on"
        called = f", called by {self.caller}" if self.caller else ""
        return f"the event loop stood still for {self.duration_s:.1f} s in {self.spot}{called}; it goes on"


async def watch(report: Callable[[Stall], Awaitable[None]]) -> None:
    """Watch the running loop until cancelled; `report` each stall once it is over."""
    stalls: asyncio.Queue[Stall] = asyncio.Queue(REPORTS_MAX)
    watcher = _Watcher(asyncio.get_running_loop(), stalls.put_nowait)
    watcher.start()
    try:
        while True:
            await report(await stalls.get())
    finally:
        watcher.over.set()


class _Watcher(threading.Thread):
    """The thread that asks; belongs to the loop of the thread that makes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[Stall], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.over = threading.Event()
        self._loop = loop
        self._tell = tell
        self._watched = threading.get_ident()

    def run(self) -> None:
        """Ask until it is over, or the loop is closed."""
        reports = 0
        with suppress(RuntimeError):  # the loop is closed
            while reports < REPORTS_MAX and not self.over.is_set():
                stall = self._pulse()
                if stall is not None:
                    reports += 1
                    self._loop.call_soon_threadsafe(self._tell, stall)

    def _pulse(self) -> Stall | None:
        """Wait, ask once, and return the stall that happened meanwhile."""
        began, used_s = time.monotonic(), time.process_time()
        self.over.wait(PULSE_S)
        answer = threading.Event()
        self._loop.call_soon_threadsafe(answer.set)
        answered = answer.wait(STALL_S)
        elapsed_s = time.monotonic() - began
        if answered and elapsed_s < PULSE_S + STALL_S:
            return None
        was_busy = time.process_time() - used_s > _BUSY_SHARE * elapsed_s
        ran_itself = elapsed_s < PULSE_S + 2 * STALL_S
        spot, caller = _where(self._watched) if ran_itself or was_busy else (None, None)
        while not answer.wait(PULSE_S):
            if self.over.is_set():
                return None
        return Stall(time.monotonic() - began - PULSE_S, spot, caller)


def _where(thread: int) -> tuple[Spot | None, Spot | None]:
    """Return where a thread is, and the code of orch's own that led there if that is other code."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - the only way to look at another thread
    if frame is None or frame.f_code.co_filename == selectors.__file__:  # it only waits for something to do
        return None, None
    innermost = frame
    while frame is not None and not _is_own(frame):
        frame = frame.f_back
    return _spot(innermost), None if frame is None or frame is innermost else _spot(frame)


def _is_own(frame: FrameType) -> bool:
    return _PACKAGE in Path(frame.f_code.co_filename).parents


def _spot(frame: FrameType) -> Spot:
    """Name the place of a frame: by its path from the package's folder on, else by the end of its path."""
    path = Path(frame.f_code.co_filename)
    shown = path.relative_to(_PACKAGE.parent) if _is_own(frame) else Path(*path.parts[-2:])
    return Spot(frame.f_code.co_qualname, shown.as_posix(), frame.f_lineno)
