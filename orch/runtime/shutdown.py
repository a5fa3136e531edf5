"""Signals, for as long as a mission runs.

The first SIGINT, SIGTERM or SIGHUP asks the run to stop gracefully; a second one stops it at once. asyncio's
own handling would only do this for SIGINT, and would run no clean-up at all on the others. What was installed
before is put back afterwards.
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
def heeded(stop: Callable[[StopSignal], None]) -> Iterator[None]:
    """Call `stop` for each signal while inside."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, meaning in _SIGNALS.items():
        loop.add_signal_handler(number, stop, meaning)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
