"""An outlet never holds its writer up: it writes in order while somebody reads, and gives up else."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from orch.view.outlet import Outlet

LIMIT_S = 30.0
MUCH = 300_000  # more than a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where to read, where to write. A test may close either; who still writes is waited for."""
    ours, theirs = os.pipe()
    yield ours, theirs
    with suppress(OSError):
        os.close(ours)
    for thread in threading.enumerate():
        if thread.name == f"outlet {theirs}":
            thread.join(LIMIT_S)
    with suppress(OSError):
        os.close(theirs)


def test_everything_arrives_in_order(pipe: tuple[int, int]) -> None:
    """Many writes, one text; what UTF-8 cannot hold is escaped."""
    outlet = Outlet(pipe[1])
    for number in range(1000):
        outlet.write(f"{number}\n")
    outlet.write("é\ud800")
    assert outlet.finish() is None
    os.close(pipe[1])
    with open(pipe[0], encoding="utf-8", closefd=False) as reader:
        assert reader.read() == "".join(f"{n}\n" for n in range(1000)) + "é\\ud800"


def test_a_slow_reader_gets_all_of_it(pipe: tuple[int, int]) -> None:
    """More than the pipe holds: `write` returns at once, the rest follows as it is read."""
    os.set_blocking(pipe[1], False)
    outlet = Outlet(pipe[1])
    outlet.write("x" * MUCH)
    read = 0
    while read < MUCH:
        read += len(os.read(pipe[0], 65_536))
    assert outlet.finish() is None


def test_a_reader_that_does_not_read_is_not_waited_for_longer_than_said(pipe: tuple[int, int]) -> None:
    """`finish` with a limit returns although nothing moved."""
    outlet = Outlet(pipe[1])
    outlet.write("x" * MUCH)
    outlet.finish(0.0)


def test_a_reader_that_is_gone_is_no_error_for_the_writer(pipe: tuple[int, int]) -> None:
    """Writes go on, nothing is raised, and `finish` says why."""
    os.close(pipe[0])
    outlet = Outlet(pipe[1])
    for _ in range(3):
        outlet.write("lost\n")
    assert isinstance(outlet.finish(), BrokenPipeError)


def test_an_outlet_that_was_not_used_is_finished(pipe: tuple[int, int]) -> None:
    """No thread, no wait."""
    outlet = Outlet(pipe[1])
    assert outlet.finish() is None
    assert not outlet.isatty()
    assert outlet.writable()
    assert outlet.fileno() == pipe[1]


def test_what_is_written_after_the_limit_is_given_up(pipe: tuple[int, int]) -> None:
    """A stuck outlet stays stuck: nothing is written out of order, nothing blocks."""
    outlet = Outlet(pipe[1])
    outlet.write("x" * MUCH)
    outlet.finish(0.0)
    outlet.write("late")
    assert outlet.finish() is None


def test_an_outlet_goes_on_after_it_was_finished(pipe: tuple[int, int]) -> None:
    """Finished means written so far."""
    outlet = Outlet(pipe[1])
    for word in ("one ", "two"):
        outlet.write(word)
        assert outlet.finish() is None
    assert os.read(pipe[0], 100) == b"one two"
