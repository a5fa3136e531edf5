"""Keys come one at a time; a terminal is left as it was found, whoever had changed it before."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from orch.view.keys import DELIBERATE_S, PATIENCE_S, Hush, Keys, Question, is_foreground

LOCAL = 3


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the person's end and the program's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_a_key_is_heard_without_return_and_without_echo(terminal: tuple[int, int]) -> None:
    """And the terminal is the same afterwards."""
    ours, theirs = terminal
    found = termios.tcgetattr(theirs)
    with Keys(theirs) as keys:
        assert keys.wait(0.0) == ""
        assert not termios.tcgetattr(theirs)[LOCAL] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(theirs)[LOCAL] & termios.ISIG
        os.write(ours, b"q")
        assert keys.wait(60.0) == "q"
    assert termios.tcgetattr(theirs) == found


@pytest.mark.parametrize("typed", [b"\x1b[A", b"rm -rf s\n", b"sy", b"\xc3"])
def test_a_bunch_of_keys_is_none(terminal: tuple[int, int], typed: bytes) -> None:
    """An arrow key and a paste must not stop a mission."""
    with Keys(terminal[1]) as keys:
        keys.wait(0.0)
        os.write(terminal[0], typed)
        assert keys.wait(60.0) == ""


def test_where_no_terminal_is_there_are_no_keys() -> None:
    """A pipe is not read: what is in it is somebody else's."""
    ours, theirs = os.pipe()
    os.write(theirs, b"q")
    with Keys(ours) as keys:
        assert not keys.is_open
        assert keys.wait(0.0) == ""
    assert os.read(ours, 9) == b"q"
    os.close(ours)
    os.close(theirs)


def test_a_terminal_that_is_gone_has_no_more_keys() -> None:
    """It is said once; nothing is raised, and nothing spins."""
    ours, theirs = pty.openpty()
    with Keys(theirs) as keys:
        keys.wait(0.0)
        os.close(ours)
        assert keys.wait(60.0) == ""
        assert not keys.is_open
    os.close(theirs)


def test_what_was_off_before_stays_off(terminal: tuple[int, int]) -> None:
    """Given back is what was taken; twice is as good as once."""
    attributes = termios.tcgetattr(terminal[1])
    attributes[LOCAL] &= ~termios.ECHO
    termios.tcsetattr(terminal[1], termios.TCSANOW, attributes)
    found = termios.tcgetattr(terminal[1])
    hush = Hush(terminal[1], termios.ECHO | termios.ICANON)
    for _ in range(2):
        hush.take()
    assert termios.tcgetattr(terminal[1]) != found
    for _ in range(2):
        hush.give_back()
    assert termios.tcgetattr(terminal[1]) == found


def test_a_terminal_that_does_not_control_us_may_be_used(terminal: tuple[int, int]) -> None:
    """No shell hands it to and fro."""
    assert is_foreground(terminal[1])


@pytest.mark.parametrize(
    ("key", "after_s", "answer"),
    [
        ("y", DELIBERATE_S + 0.1, True),
        ("Y", PATIENCE_S, True),
        ("y", DELIBERATE_S / 2, False),
        ("n", 1.0, False),
        ("x", 1.0, False),
        ("", 1.0, None),
        ("", PATIENCE_S, False),
    ],
)
def test_only_a_deliberate_yes_is_one(key: str, after_s: float, answer: bool | None) -> None:
    """Any other key takes the question back, and so does time."""
    assert Question(100.0).answer(key, 100.0 + after_s) is answer
