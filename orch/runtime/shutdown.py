"""Signals, for as long as a mission runs.

The first SIGINT, SIGTERM or SIGHUP asks the run to stop gracefully; a second one stops it at once. asyncio's
own handling would only do this for SIGINT, and would run no clean-up at all on the others. What was installed
before is put back afterwards. A SIGHUP that the caller had ignored (nohup) stays ignored.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orch.mission.events import StopSignal

_SIGNALS = {
    signal.SIGINT: StopSignal.INTERRUPT,
    signal.SIGTERM: StopSignal.TERMINATE,
    signal.SIGHUP: StopSignal.TERMINATE,
}


@contextmanager
def heeded(stop: Callable[[StopSignal], None], notice: Callable[[str], None]) -> Iterator[None]:
    """Call `stop` for each signal while inside; `notice` tells a person that it was heard."""
    loop = asyncio.get_running_loop()
    heard: set[signal.Signals] = set()

    def hear(number: signal.Signals) -> None:
        notice("stopping at once" if heard else "stopping: turns under way may finish; again: at once")
        heard.add(number)
        stop(_SIGNALS[number])

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        loop.add_signal_handler(number, hear, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
