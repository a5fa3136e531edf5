"""The frame of a mission at the bottom of a terminal, redrawn in place; what is printed scrolls off above it.

`rich.live` would draw on the caller's thread, block with a terminal that waits, hide the cursor, and redraw
all rows each time; so this moves the cursor itself. A frame is rows that end with a line feed, and the cursor
rests below them, visible, so that a program that is killed leaves whole rows and a terminal that works. One
write takes the old rows off, or those that changed, and puts the new ones there; it hides the cursor, keeps
rows from wrapping, and undoes both at its end. Whoever tells the picture something never waits.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from rich.console import COLOR_SYSTEMS, Console
from rich.text import Text

from orch.mission.events import Event
from orch.mission.state import MissionState
from orch.view import defuse
from orch.view.frame import Scene, frame
from orch.view.keys import Hush, is_foreground
from orch.view.outlet import Outlet
from orch.view.toasts import Toasts

LEAST_ROWS, LEAST_COLUMNS = 4, 20
"""In less there is no frame."""
NEWS = 500
"""So many events wait for a terminal that waits; older ones are no news any more."""
PAUSE_LIMIT_S = 0.6
"""How long Ctrl-Z waits for the frame to go: more than one redraw."""
_BEGIN = "\x1b[?2026h\x1b[?25l"  # terminals that know the first show all of it at once
_END = "\x1b[?25h\x1b[?2026l"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_CLEAR_ROW, _CLEAR_BELOW = "\r\x1b[2K", "\r\x1b[J"


def suits(number: int, environment: Mapping[str, str]) -> bool:
    """Say whether a frame can be drawn on a descriptor: a person's terminal that can move its cursor."""
    term = environment.get("TERM", "").lower()
    return os.isatty(number) and term not in ("", "dumb", "unknown") and not environment.get("CI")


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal."""

    columns: int
    rows: int


def size_of(number: int) -> Size:
    """Return the size of a terminal now; one that says nothing has the usual one."""
    with suppress(OSError):
        size = os.get_terminal_size(number)
        if size.columns and size.lines:
            return Size(size.columns, size.lines)
    return Size(80, 24)


class Picture:
    """The latest of a mission, told by one thread and drawn by another.

    `hint` is the frame's last line; `is_alive` says whether somebody runs the mission.
    """

    def __init__(
        self,
        hint: str = "",
        *,
        is_ascii: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.hint = hint
        self.is_alive = True
        self._is_ascii = is_ascii
        self._now = now
        self._state: MissionState | None = None
        self._news: deque[tuple[Event, MissionState]] = deque(maxlen=NEWS)
        self._toasts = Toasts()
        self._drawn: tuple[object, ...] = ()
        self._rows: tuple[Text, ...] = ()

    def show(self, event: Event, state: MissionState) -> None:
        """Take in an event."""
        self._state = state
        self._news.append((event, state))

    def show_state(self, state: MissionState) -> None:
        """Take in how a mission stands of whose events nothing more is said."""
        self._state = state

    def rows(self, size: Size) -> tuple[Text, ...]:
        """Return the frame as it is now: made anew if something changed, or a second went by."""
        while self._news:
            self._toasts.hear(*self._news.popleft())
        now = self._now()
        state = self._state
        if state is None or size.rows < LEAST_ROWS or size.columns < LEAST_COLUMNS:
            return ()
        what = (size, state.mission, state.seq, self.hint, self.is_alive, int(now.timestamp()))
        if what != self._drawn:
            scene = Scene(
                state, now, self.is_alive, self._toasts.shown(now), self.hint, is_ascii=self._is_ascii
            )
            self._rows = frame(scene, size.columns, size.rows - 1)[: size.rows - 1]
            self._drawn = what
        return self._rows


class Pane:
    """The place of a picture on the terminal `number`: an outlet's `Bottom`.

    `hush` keeps what is typed from being shown in the midst of it.
    """

    def __init__(
        self,
        console: Console,
        number: int,
        rows: Callable[[Size], Sequence[Text]],
        hush: Hush | None = None,
        size: Callable[[int], Size] = size_of,
    ) -> None:
        self._console = console
        self._number = number
        self._rows = rows
        self._hush = hush
        self._size_of = size
        self._size = size(number)
        self._texts: tuple[Text, ...] = ()
        self._shown: tuple[str, ...] = ()

    def under(self, text: bytes) -> bytes:
        """Return what shows `text` with the picture below; in the background there is none."""
        if not is_foreground(self._number):
            self._forget()
            return text
        if self._hush is not None:
            self._hush.take()
        size = self._size_of(self._number)
        texts = tuple(self._rows(size))
        rows = self._drawn(texts)
        is_same_place = not text and size == self._size and len(rows) == len(self._shown)
        if is_same_place and rows == self._shown:
            return b""
        drawn = self._changed(rows) if is_same_place else self._anew(text, rows, size)
        self._texts, self._shown, self._size = texts, rows, size
        return drawn

    def off(self, text: bytes) -> bytes:
        """Return what takes the picture away and shows `text`."""
        drawn = self._anew(text, (), self._size_of(self._number)) if self._shown else text
        self._forget()
        return drawn

    def lose(self) -> None:
        """Take it that others wrote to the terminal since."""
        self._forget()

    def release(self) -> None:
        """Have what is typed shown again."""
        if self._hush is not None:
            self._hush.give_back()

    def _forget(self) -> None:
        self._texts = self._shown = ()

    def _drawn(self, texts: Sequence[Text]) -> tuple[str, ...]:
        """Return rows with their styles; those that stand there already are not made anew."""
        known = dict(zip(map(_key, self._texts), self._shown, strict=True))
        return tuple(known.get(_key(text)) or self._styled(text) for text in texts)

    def _styled(self, text: Text) -> str:
        system = COLOR_SYSTEMS.get(self._console.color_system or "")
        whole = self._console.get_style(text.style, default="")  # where no span is, `render` leaves it out
        return "".join(
            (piece.style or whole).render(piece.text, color_system=system)
            for piece in text.render(self._console)
        )

    def _changed(self, rows: Sequence[str]) -> bytes:
        """Draw the rows that differ where they are."""
        pieces = [_BEGIN, _NO_WRAP, f"\x1b[{len(rows)}A"]
        for old, new in zip(self._shown, rows, strict=True):
            pieces.append("\n" if old == new else f"{_CLEAR_ROW}{new}\n")
        return "".join([*pieces, "\r", _WRAP, _END]).encode()

    def _anew(self, text: bytes, rows: Sequence[str], size: Size) -> bytes:
        """Take the old rows off, then show the text, then the rows."""
        gone = min(self._height(size.columns), size.rows - 1)
        up = f"\x1b[{gone}A" if gone else ""
        below = _NO_WRAP + "".join(f"{row}\n" for row in rows) + "\r" + _WRAP if rows else ""
        head = f"{_BEGIN}{up}{_CLEAR_BELOW}" if gone else _BEGIN
        return head.encode() + text + (below + _END).encode()

    def _height(self, columns: int) -> int:
        """How many rows the old frame takes now: a terminal that became narrower has wrapped them."""
        if columns >= self._size.columns:
            return len(self._shown)
        return sum(max(1, -(-defuse.columns(text.plain) // columns)) for text in self._texts)


def _key(text: Text) -> Hashable:
    return text.plain, text.style, tuple(text.spans)


@contextmanager
def stoppable(outlet: Outlet, *others: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-Z take the frame off and call `others` first; with `fg` the frame is back."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        outlet.pause(PAUSE_LIMIT_S)
        for give_back in others:
            give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when we are continued
        signal.signal(signal.SIGTSTP, stop)
        outlet.go_on()

    before = signal.getsignal(signal.SIGTSTP)
    if before is not signal.SIG_DFL:  # somebody does not want us to be stopped
        yield
        return
    signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
