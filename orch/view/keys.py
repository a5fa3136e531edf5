"""Keys of a terminal: one at a time, never echoed, and the terminal as it was found afterwards.

Only one key that comes alone is one: what arrives in a bunch is a paste, an arrow key, or was typed before
anybody listened, and counts for nothing. In the background nothing is read and nothing is changed, for the
terminal is somebody else's then.
"""

import os
import select
import signal
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

_LOCAL = 3  # where `tcgetattr` has the local flags
BUNCH_BYTES = 4096
DELIBERATE_S = 0.3
"""Somebody who reads a question takes longer than this to answer it."""
PATIENCE_S = 15.0
"""How long a question stands."""


def is_foreground(number: int) -> bool:
    """Say whether this process may use a terminal: nobody else does, or the shell gave it to us."""
    try:
        return os.tcgetpgrp(number) == os.getpgrp()
    except OSError:  # not the terminal that controls us: no shell hands it to and fro
        return True


class Hush:
    """Turns local flags of a terminal off, and on again those that were."""

    def __init__(self, number: int, flags: int = termios.ECHO) -> None:
        self._number = number
        self._flags = flags
        self._turned_off = 0

    def take(self) -> None:
        """Turn the flags off, if the terminal is ours; may be called again: a shell turns them on."""
        if is_foreground(self._number):
            self._turned_off |= self._turned(off=self._flags)

    def give_back(self) -> None:
        """Turn on again what was turned off. Safe to be called twice, and from any thread."""
        if self._turned_off:
            self._turned(on=self._turned_off)
            self._turned_off = 0

    def _turned(self, *, off: int = 0, on: int = 0) -> int:
        """Change flags; return those that were on and are off now. A terminal that is gone has none."""
        with suppress(termios.error):
            attributes = termios.tcgetattr(self._number)
            before = attributes[_LOCAL]
            attributes[_LOCAL] = before & ~off | on
            if attributes[_LOCAL] != before:
                with _unstoppable():
                    termios.tcsetattr(self._number, termios.TCSANOW, attributes)
            return int(before & off)
        return 0


@contextmanager
def _unstoppable() -> Iterator[None]:
    """Keep the kernel from stopping us, should we have come to be in the background just now."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Keys:
    """The keys pressed at the terminal `number`, while inside; signals such as Ctrl-C stay what they are."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._hush = Hush(number, termios.ECHO | termios.ICANON)
        self._is_open = os.isatty(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    @property
    def is_open(self) -> bool:
        """Whether there is a terminal that keys can come from."""
        return self._is_open

    def give_back(self) -> None:
        """Leave the terminal as it was found, until a key is waited for again."""
        self._hush.give_back()

    def wait(self, limit_s: float) -> str:
        """Return the key that is pressed within `limit_s`; empty if none is."""
        if not self._is_open or not is_foreground(self._number):
            time.sleep(limit_s)
            return ""
        self._hush.take()
        if not select.select([self._number], [], [], limit_s)[0] or not is_foreground(self._number):
            return ""
        try:
            typed = os.read(self._number, BUNCH_BYTES)
        except OSError:  # the terminal is gone
            typed = b""
        self._is_open = bool(typed)
        return typed.decode("ascii", errors="ignore") if len(typed) == 1 else ""


class Question:
    """A question that one deliberate key answers; any other, and time, take it back."""

    def __init__(self, asked_s: float) -> None:
        self._asked_s = asked_s

    def answer(self, key: str, now_s: float) -> bool | None:
        """Return what a key, or none, means at a time of the same clock; `None`: the question stands."""
        waited_s = now_s - self._asked_s
        if not key:
            return None if waited_s < PATIENCE_S else False
        return key in "yY" and waited_s >= DELIBERATE_S
