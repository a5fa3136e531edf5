"""Where text leaves the program: one of its standard streams, written by a thread of its own.

A reader that is slow, or a terminal that was told to wait, must not hold up a mission: `write` never blocks
and never raises. A reader that is gone, or a disk that is full, loses what is written from then on, and
changes nothing else; `finish` says why. Nothing is lost while somebody reads.
"""

import io
import os
import queue
import select
import threading
from contextlib import suppress

CHUNK_BYTES = 65_536


class Outlet(io.TextIOBase):
    """A text stream onto the descriptor `number`, which stays open. What cannot be encoded is escaped."""

    def __init__(self, number: int, encoding: str = "utf-8") -> None:
        self._number = number
        self._charset = encoding
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._refusal: OSError | None = None
        self._is_stuck = False

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has a plain attribute
        """What a console must be able to write in."""
        return self._charset

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
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"outlet {self._number}", daemon=True)
            self._thread.start()
        self._waiting.put(text.encode(self._charset, errors="backslashreplace"))
        return len(text)

    def finish(self, limit_s: float | None = None) -> OSError | None:
        """Wait until all is written and return what kept it from being written.

        What is not read within `limit_s`, and all that is written later, is given up.
        """
        if self._thread is not None and not self._is_stuck:
            self._waiting.put(None)
            self._thread.join(limit_s)
            self._is_stuck = self._thread.is_alive()
            self._thread = None
        return self._refusal

    def _work(self) -> None:
        while (data := self._waiting.get()) is not None:
            if self._refusal is not None:
                continue
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
