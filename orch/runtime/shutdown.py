"""Signals: what they mean before a mission runs, while it runs, and once it is over.

While it runs, the first SIGINT, SIGTERM or SIGHUP asks it to stop gracefully; a second one, or SIGQUIT (which
leaves no core: orch's memory holds keys), stops it at once. Both are checkpointed. asyncio's own handling
would only do this for SIGINT, and would run no clean-up at all on the others. Before and after, any of them
ends the command by an exception; what comes between the end of the run and the release of its lock comes too
late and changes nothing. A SIGHUP that the caller had ignored (nohup) stays ignored; SIGPIPE always is.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from orch.errors import Terminated
from orch.mission.events import StopSignal

_SIGNALS = {
    signal.SIGINT: StopSignal.INTERRUPT,
    signal.SIGTERM: StopSignal.TERMINATE,
    signal.SIGHUP: StopSignal.TERMINATE,
    signal.SIGQUIT: StopSignal.TERMINATE,
}


class Stop(Protocol):
    """Asks a run to stop; with `now`, at once."""

    def __call__(self, signal: StopSignal, /, *, now: bool) -> None:
        """Return at once; the run ends by and by."""
        ...


@contextmanager
def heeded(stop: Stop, notice: Callable[[str], None]) -> Iterator[None]:
    """Call `stop` for each signal while inside; `notice` tells a person that it was heard.

    Behind it they are ignored, until `settled` is left.
    """
    loop = asyncio.get_running_loop()
    heard: set[signal.Signals] = set()

    def hear(number: signal.Signals) -> None:
        now = bool(heard) or number is signal.SIGQUIT
        heard.add(number)
        notice("stopping at once" if now else "stopping: turns under way may finish; again: at once")
        stop(_SIGNALS[number], now=now)

    numbers = tuple(_installed())
    for number in numbers:
        loop.add_signal_handler(number, hear, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def settled() -> Iterator[None]:
    """Put back at the end what was installed before: to be left when the run and its lock are over."""
    before = _installed()
    try:
        yield
    finally:
        _install(before)


@contextmanager
def raised() -> Iterator[None]:
    """Let each signal raise while inside: `KeyboardInterrupt` for SIGINT, `Terminated` for the others."""
    before = _installed()
    _install({number: _terminate for number in before if number is not signal.SIGINT})
    try:
        yield
    finally:
        _install(before)


_Handler = Callable[[int, FrameType | None], object] | int | None


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _installed() -> Mapping[signal.Signals, _Handler]:
    """Return what is installed now, but for a SIGHUP that stays ignored."""
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    if found[signal.SIGHUP] is signal.SIG_IGN:
        del found[signal.SIGHUP]
    return found


def _install(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
