"""A terminal as a person sees it: `Glass` does what is written to it, `Terminal` is a real one.

The glass is strict: a sequence that it does not know fails the test. It wraps as terminals do, and what
scrolls off is kept.
"""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from orch.view.keys import DELIBERATE_S
from tests import program

_TOKEN = re.compile(rb"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b\][^\a]*\a|\x1b|\r|\n|\a|[^\x1b\r\n\a]+")


class Glass:
    """What stands on a screen of `columns` and `rows`, and what has scrolled off it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.height = rows
        self.scrolled: list[str] = []
        self.rows = [""]
        self.column = 0
        self.row = 0
        self.modes: dict[str, bool] = {}
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Carry out what was written."""
        data = self.rest + data
        cut = re.search(rb"\x1b(\[[?\d;]*|\][^\a]*)?\Z|[\xc0-\xff][\x80-\xbf]{0,2}\Z", data)
        whole = data[: cut.start()] if cut is not None and not _is_whole(cut[0]) else data
        self.rest = data[len(whole) :]
        for token in _TOKEN.finditer(whole):
            if token[3] is not None:
                self._control(token[1], token[2].decode(), token[3].decode())
            elif token[0] == b"\r":
                self.column = 0
            elif token[0] == b"\n":
                self._feed_line()
            elif token[0][:1] not in (b"\x1b", b"\a"):
                for character in token[0].decode():
                    self._put(character)

    @property
    def text(self) -> str:
        """All that can be seen, with what has scrolled off above it."""
        return "\n".join(row.rstrip() for row in [*self.scrolled, *self.rows])

    @property
    def is_clean(self) -> bool:
        """Whether the cursor is shown, stands at the left, and the terminal wraps."""
        return not self.column and all(self.modes.get(mode, True) for mode in ("?25", "?7"))

    def _put(self, character: str) -> None:
        if self.column >= self.columns:
            if self.modes.get("?7", True):
                self._feed_line()
                self.column = 0
            else:
                self.column = self.columns - 1
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1

    def _feed_line(self) -> None:
        self.column = 0  # the line discipline sends a return with it
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")
        if len(self.rows) > self.height:
            self.scrolled.append(self.rows.pop(0))
            self.row -= 1

    def _control(self, private: bytes, number: str, letter: str) -> None:
        if private:
            assert letter in "hl", (number, letter)
            self.modes[f"?{number}"] = letter == "h"
        elif letter == "A":
            self.row = max(0, self.row - int(number or 1))
        elif letter == "K":
            self.rows[self.row] = ""
            assert number == "2"
        elif letter == "J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]
        else:
            assert letter == "m", f"what is CSI {number} {letter}?"


def _is_whole(data: bytes) -> bool:
    try:
        return bool(data.decode()) and data[:1] != b"\x1b"
    except UnicodeDecodeError:
        return False


class Terminal:
    """A terminal of the system while inside. `theirs` is the program's end, `shown` all that came out."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.ours, self.theirs = pty.openpty()
        self.shown = b""
        self._size = columns, rows
        self.resize(columns, rows)
        self.found = termios.tcgetattr(self.theirs)
        self._reader = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.theirs)
        self._reader.join(program.LIMIT_S)
        os.close(self.ours)

    @property
    def streams(self) -> dict[str, Any]:
        """A program's three streams."""
        return {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs}

    def is_as_found(self) -> bool:
        """Whether the attributes are what they were."""
        return termios.tcgetattr(self.theirs) == self.found

    @property
    def glass(self) -> Glass:
        """What a person sees now; of one that was resized, only what came since is laid out right."""
        glass = Glass(*self._size)
        glass.feed(self.shown)
        return glass

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._size = columns, rows

    def press(self, key: str) -> None:
        """Type a key."""
        os.write(self.ours, key.encode())

    def press_until(self, key: str, is_so: Callable[[], object]) -> None:
        """Type a key now and then until something holds: an answer must not come too fast."""
        deadline = time.monotonic() + program.LIMIT_S
        while not is_so():
            assert time.monotonic() < deadline, f"{key!r} did nothing"
            time.sleep(2 * DELIBERATE_S)
            self.press(key)

    def until(self, words: str, after: int = 0, also: Callable[[], object] = lambda: True) -> None:
        """Wait until the words came out behind the first `after` bytes."""
        program.until(lambda: words.encode() in self.shown[after:] and also())

    def _look(self) -> None:
        try:
            while piece := os.read(self.ours, 65_536):
                self.shown += piece
        except OSError:  # EIO: the last program has closed its end
            return
