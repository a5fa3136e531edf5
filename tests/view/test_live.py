"""The frame at the bottom of a terminal: what was printed stands above, and nothing of it stays behind."""

import io
import os
import pty
import termios
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from rich.text import Text

from orch.view.keys import Hush
from orch.view.live import LEAST_COLUMNS, LEAST_ROWS, Pane, Picture, Size, size_of, suits
from orch.view.outlet import Outlet
from tests.mission import casts
from tests.mission.simulation import Simulation
from tests.terminal import Glass, Terminal

PERSON = {"TERM": "xterm-256color"}
SOON_S = 60.0


class Stage:
    """A pane on a glass; a test says what the frame is and how large the terminal."""

    def __init__(self, columns: int = 20, rows: int = 8, *, is_coloured: bool = True) -> None:
        self.glass = Glass(columns, rows)
        self.rows: Sequence[str] = ()
        console = Console(file=io.StringIO(), color_system="256" if is_coloured else None)
        self.pane = Pane(console, -1, self._frame, size=lambda _: Size(self.glass.columns, self.glass.height))

    def draw(self, *rows: str, text: str = "") -> bytes:
        """Draw the frame anew, with a text that came since."""
        self.rows = rows
        data = self.pane.under(text.encode())
        self.glass.feed(data)
        assert self.glass.is_clean
        return data

    def off(self, text: str = "") -> None:
        """Take the frame off."""
        self.glass.feed(self.pane.off(text.encode()))
        assert self.glass.is_clean

    @property
    def seen(self) -> list[str]:
        """What stands there, but for empty rows at the end."""
        return self.glass.text.rstrip("\n").splitlines()

    def _frame(self, _size: Size) -> tuple[Text, ...]:
        return tuple(Text().append(row, style="bold red") for row in self.rows)


def test_text_goes_above_the_frame_and_stays() -> None:
    """However much it is: what scrolls off is all there, once."""
    stage = Stage()
    for number in range(30):
        stage.draw("one", f"now {number}", text=f"line {number}\n")
    stage.off("the end\n")
    assert stage.seen == [*(f"line {number}" for number in range(30)), "the end"]


def test_a_frame_that_is_the_same_is_not_drawn_again() -> None:
    """A terminal at rest gets nothing, and of a row that changes only that one."""
    stage = Stage()
    stage.draw("one", "two", "three")
    assert stage.draw("one", "two", "three") == b""
    changed = stage.draw("one", "2", "three")
    assert b"2" in changed
    assert b"one" not in changed
    assert stage.seen == ["one", "2", "three"]


def test_a_frame_grows_and_shrinks_without_a_trace() -> None:
    """Also below text, and at the bottom of a full screen."""
    stage = Stage(rows=6)
    stage.draw(text="".join(f"{n}\n" for n in range(10)))
    for height in (1, 4, 2, 5, 0, 3):
        stage.draw(*(f"row {n}" for n in range(height)))
        assert stage.seen == [*map(str, range(10)), *(f"row {n}" for n in range(height))]


def test_a_row_that_is_too_long_does_not_wrap() -> None:
    """A terminal may have become narrower since it was asked."""
    stage = Stage(columns=10)
    stage.draw("x" * 30, "y", text="t\n")
    stage.draw("x" * 30, "z")
    stage.off()
    assert stage.seen == ["t"]


def test_a_terminal_that_became_narrower_is_cleared_of_wrapped_rows() -> None:
    """A row of twenty columns takes two of ten: that many are taken off, and no text."""
    stage = Stage(columns=20, rows=12)
    stage.draw("a" * 20, "b", text="text\n")
    wrapped = Glass(10, 12)
    wrapped.feed(b"text\n" + b"a" * 10 + b"\n" + b"a" * 10 + b"\nb\n")
    stage.glass = wrapped
    stage.draw("c" * 10, "d")
    assert stage.seen == ["text", "c" * 10, "d"]


def test_after_a_stop_nothing_is_taken_for_granted() -> None:
    """Others wrote meanwhile; their text is not drawn over."""
    stage = Stage()
    stage.draw("frame")
    stage.off()
    stage.glass.feed(b"$ ls\nfile\n")
    stage.pane.lose()
    stage.draw("frame")
    assert stage.seen == ["$ ls", "file", "frame"]


def test_without_colour_rows_have_no_styles() -> None:
    """The cursor still moves."""
    assert b"\x1b[1" in Stage().draw("one")
    plain = Stage(is_coloured=False).draw("one")
    assert b"one" in plain
    assert b"m" not in plain


def test_the_style_of_a_whole_row_is_shown() -> None:
    """Also where no part of it has one."""
    console = Console(file=io.StringIO(), color_system="standard", force_terminal=True)
    pane = Pane(console, -1, lambda _: (Text("row", style="red"),), size=lambda _: Size(20, 8))
    assert b"\x1b[31mrow" in pane.under(b"")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A real terminal."""
    with Terminal(60, 12) as opened:
        yield opened


def test_a_frame_wants_a_persons_terminal(terminal: Terminal) -> None:
    """Not a CI job's, not one that cannot move its cursor, not a pipe."""
    assert suits(terminal.theirs, PERSON)
    for environment in ({}, {"TERM": "dumb"}, PERSON | {"CI": "true"}):
        assert not suits(terminal.theirs, environment)
    ours, theirs = os.pipe()
    assert not suits(theirs, PERSON)
    os.close(ours)
    os.close(theirs)


def test_the_size_is_that_of_now(terminal: Terminal) -> None:
    """One that says nothing has the usual one."""
    assert size_of(terminal.theirs) == Size(60, 12)
    terminal.resize(33, 7)
    assert size_of(terminal.theirs) == Size(33, 7)
    terminal.resize(0, 0)
    assert size_of(terminal.theirs) == Size(80, 24)


def _pane(terminal: Terminal, rows: Sequence[str]) -> Pane:
    console = Console(file=io.StringIO(), color_system=None)
    return Pane(console, terminal.theirs, lambda _: tuple(Text(row) for row in rows))


def test_an_outlet_draws_by_itself_and_ends_clean(terminal: Terminal) -> None:
    """Nobody has to ask; what was written stands there at the end, alone."""
    rows = ["first"]
    outlet = Outlet(terminal.theirs)
    outlet.stand_on(_pane(terminal, rows))
    terminal.until("first")
    rows[0] = "second"
    terminal.until("second")
    outlet.write("text\n")
    outlet.finish()
    outlet.write("after\n")
    outlet.finish()
    terminal.until("after\r\n")
    assert terminal.glass.text.split() == ["text", "after"]
    assert terminal.glass.is_clean


def test_a_paused_frame_is_off_until_it_goes_on(terminal: Terminal) -> None:
    """As with Ctrl-Z and `fg`."""
    outlet = Outlet(terminal.theirs)
    outlet.stand_on(_pane(terminal, ["frame"]))
    terminal.until("frame")
    outlet.pause(SOON_S)
    terminal.until("\x1b[J", also=lambda: not terminal.glass.text.strip())
    before = len(terminal.shown)
    outlet.go_on()
    terminal.until("frame", after=before)
    outlet.finish()


def test_what_is_typed_does_not_show_while_the_frame_stands(terminal: Terminal) -> None:
    """Echo is off, back during a pause, off again, and back at the end."""
    console = Console(file=io.StringIO(), color_system=None)
    outlet = Outlet(terminal.theirs)
    outlet.stand_on(Pane(console, terminal.theirs, lambda _: (Text("frame"),), Hush(terminal.theirs)))
    terminal.until("frame")
    assert not termios.tcgetattr(terminal.theirs)[3] & termios.ECHO
    outlet.pause(SOON_S)
    assert terminal.is_as_found()
    before = len(terminal.shown)
    outlet.go_on()
    terminal.until("frame", after=before)
    assert not terminal.is_as_found()
    outlet.finish()
    assert terminal.is_as_found()


def test_a_terminal_that_was_told_to_wait_misses_frames_and_no_lines(terminal: Terminal) -> None:
    """With Ctrl-S the writer goes on; behind it come all lines, and the frame of then."""
    rows = ["frame"]
    outlet = Outlet(terminal.theirs)
    outlet.stand_on(_pane(terminal, rows))
    terminal.until("frame")
    termios.tcflow(terminal.theirs, termios.TCOOFF)
    for number in range(2000):
        rows[0] = f"frame {number}"
        outlet.write(f"line {number}\n")
    termios.tcflow(terminal.theirs, termios.TCOON)
    terminal.until("frame 1999")
    outlet.finish()
    terminal.until("line 1999")
    seen = terminal.glass.text.split("\n")
    assert [row for row in seen if "line" in row] == [f"line {number}" for number in range(2000)]


def test_a_terminal_that_waits_holds_nobody_up() -> None:
    """Ctrl-S, or nobody reads: writing returns, pausing and finishing keep their limits."""
    ours, theirs = pty.openpty()
    console = Console(file=io.StringIO(), color_system=None)
    numbers = iter(range(10**9))
    outlet = Outlet(theirs)
    outlet.stand_on(Pane(console, theirs, lambda _: (Text(str(next(numbers))),)))
    outlet.write("x" * 1_000_000)
    outlet.pause(0.0)
    outlet.finish(0.0)
    outlet.write("given up\n")
    assert outlet.finish() is None
    os.close(ours)
    os.close(theirs)


def test_a_bug_of_the_frame_costs_the_frame_alone(terminal: Terminal) -> None:
    """It is said once, and text goes on."""

    def broken(_size: Size) -> tuple[Text, ...]:
        raise ZeroDivisionError

    outlet = Outlet(terminal.theirs)
    outlet.stand_on(Pane(Console(file=io.StringIO()), terminal.theirs, broken))
    terminal.until("no live view")
    outlet.write("text\n")
    outlet.finish()
    terminal.until("text")
    assert terminal.shown.count(b"no live view") == 1


STATE = Simulation(casts.cast()).start().run().state
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_picture_is_made_anew_when_something_changed_or_a_second_went_by() -> None:
    """A redraw between costs next to nothing."""
    now = [NOW]
    picture = Picture("q leaves", now=lambda: now[0])
    assert picture.rows(Size(80, 24)) == ()
    picture.show_state(STATE)
    first = picture.rows(Size(80, 24))
    assert first
    assert picture.rows(Size(80, 24)) is first
    now[0] += timedelta(seconds=1)
    second = picture.rows(Size(80, 24))
    assert second is not first
    picture.hint = "really?"
    assert "really?" in "".join(row.plain for row in picture.rows(Size(80, 24)))


@pytest.mark.parametrize("size", [Size(80, 24), Size(200, 50), Size(LEAST_COLUMNS, LEAST_ROWS)])
def test_a_picture_leaves_a_row_for_the_cursor(size: Size) -> None:
    """And is no wider than the terminal; in less there is none."""
    picture = Picture("hint", now=lambda: NOW)
    picture.show_state(STATE)
    rows = picture.rows(size)
    assert 0 < len(rows) < size.rows
    assert all(row.cell_len <= size.columns for row in rows)
    assert picture.rows(Size(LEAST_COLUMNS - 1, 50)) == ()
    assert picture.rows(Size(80, LEAST_ROWS - 1)) == ()
