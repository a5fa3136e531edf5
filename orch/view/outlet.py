"""Where text leaves the program: one of its standard streams, written by a thread of its own.

A reader that is slow, or a terminal that was told to wait, must not hold up a mission: `write` never blocks
and never raises. A reader that is gone, or a disk that is full, loses what is written from then on, and
changes nothing else; `finish` says why. Nothing is lost while somebody reads. On a terminal a picture can
stand below the text: it is drawn by the same thread, with the text that came since, a few times a second; a
terminal that waits gets no more of them, and the next one is of then.
"""

import io
import os
import queue
import select
import threading
import time
from contextlib import suppress
from typing import Protocol

CHUNK_BYTES = 65_536
REDRAW_S = 0.25
"""Between two looks at the picture below; text waits for the next one."""
STOPPED_S = 1.5
"""Who wakes up so much too late was stopped."""
_NOW = b""
"""Wakes the thread."""


class Bottom(Protocol):
    """What stands below the text on a terminal. Asked by the outlet's thread alone, but for `release`."""

    def under(self, text: bytes) -> bytes:
        """Return what shows `text`, whole lines, with the picture as it is now below; empty: all is there."""
        ...

    def off(self, text: bytes) -> bytes:
        """Return what shows `text` and nothing below."""
        ...

    def lose(self) -> None:
        """Take nothing for granted that was drawn: the program was stopped, and others wrote since."""
        ...

    def release(self) -> None:
        """Leave the terminal's settings as they were found."""
        ...


class Outlet(io.TextIOBase):
    """A text stream onto the descriptor `number`, which stays open. What cannot be encoded is escaped."""

    def __init__(self, number: int, encoding: str = "utf-8") -> None:
        self._number = number
        self._charset = encoding
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._refusal: OSError | None = None
        self._is_stuck = False
        self._bottom: Bottom | None = None
        self._rest = threading.Event()
        self._rests = threading.Event()

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has a plain attribute
        """What a console must be able to write in."""
        return self._charset

    @property
    def refusal(self) -> OSError | None:
        """What keeps text from being written, as far as it is known."""
        return self._refusal

    def writable(self) -> bool:
        """Text can be written."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._number

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return os.isatty(self._number)

    def write(self, text: str, /) -> int:
        """Have `text` written, in order."""
        if self._is_stuck:
            return len(text)
        self._start()
        self._waiting.put(text.encode(self._charset, errors="backslashreplace"))
        return len(text)

    def stand_on(self, bottom: Bottom) -> None:
        """Have a picture below the text from now on, until `finish`."""
        self._bottom = bottom
        self._start()
        self._waiting.put(_NOW)

    def pause(self, limit_s: float) -> None:
        """Take the picture off until `go_on`; wait for that as long as `limit_s`."""
        if self._bottom is None or self._thread is None:
            return
        self._rests.clear()
        self._rest.set()
        self._waiting.put(_NOW)
        self._rests.wait(limit_s)
        self._bottom.release()

    def go_on(self) -> None:
        """Draw the picture again."""
        self._rest.clear()

    def finish(self, limit_s: float | None = None) -> OSError | None:
        """Wait until all is written and return what kept it from being written; there is no picture after.

        What is not read within `limit_s`, and all that is written later, is given up.
        """
        if self._thread is not None and not self._is_stuck:
            self._waiting.put(None)
            self._thread.join(limit_s)
            self._is_stuck = self._thread.is_alive()
            self._thread = None
            if self._bottom is not None:
                self._bottom.release()
        self._bottom = None
        return self.refusal

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"outlet {self._number}", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        is_over = False
        while not is_over:
            text, is_over = self._gathered()
            is_bare = is_over or self._rest.is_set()
            self._hand_over(self._with_bottom(text, is_bare=is_bare))
            if is_bare:
                self._rests.set()

    def _gathered(self) -> tuple[bytes, bool]:
        """Return what is to be written next, and whether it is the last; with a picture, all of a moment."""
        bottom = self._bottom
        if bottom is None:
            piece = self._waiting.get()
            return piece or b"", piece is None
        pieces: list[bytes] = []
        deadline = time.monotonic() + REDRAW_S
        with suppress(queue.Empty):
            while (left_s := deadline - time.monotonic()) > 0:
                piece = self._waiting.get(timeout=left_s)
                if not piece:
                    return b"".join(pieces), piece is None
                pieces.append(piece)
        if time.monotonic() - deadline > STOPPED_S:
            bottom.lose()
        return b"".join(pieces), False

    def _with_bottom(self, text: bytes, *, is_bare: bool) -> bytes:
        bottom = self._bottom
        if bottom is None or self._refusal is not None:
            return text
        try:
            return bottom.off(text) if is_bare else bottom.under(text)
        except Exception as bug:  # noqa: BLE001 - the boundary of the picture: it may cost itself, not the text
            self._bottom = None
            bottom.release()
            return text + f"orch: no live view, it has a bug: {bug!r}\n".encode(errors="replace")

    def _hand_over(self, data: bytes) -> None:
        if self._refusal is not None or not data:
            return
        try:
            self._write(data)
        except OSError as refusal:
            self._refusal = refusal

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            with suppress(BlockingIOError):  # somebody who shares the terminal made it non-blocking
                left = left[os.write(self._number, left[:CHUNK_BYTES]) :]
                continue
            select.select((), (self._number,), ())
