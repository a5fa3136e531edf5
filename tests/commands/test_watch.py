"""`orch status --watch`: a mission from another terminal, its keys, and a terminal left as it was found."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import play, program
from tests.program import Bench, Ended, Running
from tests.terminal import Terminal

A = play.item("a")
KEYS = "q leaves the watch"
STOP_KEY = "s stops the mission"


@contextmanager
def _mission(bench: Bench) -> Iterator[tuple[Running, threading.Event]]:
    """Run a mission whose Worker waits for an event."""
    came, go_on = threading.Event(), threading.Event()
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task()
        program.wait(came)
        try:
            yield running, go_on
        finally:
            go_on.set()
            if running.process.poll() is None:
                running.process.kill()
            running.end()


def _watch(bench: Bench, terminal: Terminal, *arguments: str) -> Running:
    bench.extra |= {"TERM": "xterm-256color"}
    return bench.start("status", "--watch", *arguments, **terminal.streams)


def _ended(watch: Running) -> Ended:
    """A watch prints for people: nothing of it is JSON."""
    return Ended(watch.process.wait(program.LIMIT_S), "", "")


def test_it_follows_a_resize_and_leaves_with_q(bench: Bench) -> None:
    """The mission goes on; the frame is gone, how it stands remains."""
    with _mission(bench) as (running, _), Terminal() as terminal:
        watch = _watch(bench, terminal)
        terminal.until(STOP_KEY)
        assert not terminal.is_as_found()
        before = len(terminal.shown)
        terminal.resize(120, 40)
        terminal.until(STOP_KEY, after=before)
        terminal.press("q")
        assert _ended(watch).code == 0
        terminal.until("is still running")
        assert terminal.is_as_found()
        assert terminal.glass.is_clean
        assert KEYS not in terminal.glass.text
        assert running.process.poll() is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_leaves_it_too(bench: Bench, number: signal.Signals, code: int) -> None:
    """Ctrl-C is one way to leave; the terminal is as it was found."""
    with _mission(bench) as (running, _), Terminal() as terminal:
        watch = _watch(bench, terminal)
        terminal.until(STOP_KEY)
        watch.signal(number)
        assert _ended(watch).code == code
        assert terminal.is_as_found()
        assert terminal.glass.is_clean
        assert running.process.poll() is None


def test_s_stops_the_mission_once_that_was_confirmed(bench: Bench) -> None:
    """`n` takes it back; after the stop the end is shown, and the watch stays until `q`."""
    with _mission(bench) as (running, go_on), Terminal() as terminal:
        watch = _watch(bench, terminal)
        terminal.until(STOP_KEY)
        terminal.press("s")
        terminal.until("y/n")
        before = len(terminal.shown)
        terminal.press("n")
        terminal.until(STOP_KEY, after=before)
        before = len(terminal.shown)
        terminal.press("s")
        terminal.until("y/n", after=before)
        terminal.press_until("y", lambda: b"stopping the mission" in terminal.shown)
        running.line("again: at once")
        go_on.set()
        assert running.process.wait(program.LIMIT_S) == 143
        terminal.until("orch resume")
        assert watch.process.poll() is None
        terminal.press("q")
        assert _ended(watch).code == 0
        terminal.until("stopped: ")
        assert terminal.is_as_found()


def test_a_mission_that_was_killed_is_interrupted(bench: Bench) -> None:
    """It is seen while one watches, with the line that goes on."""
    with _mission(bench) as (running, _), Terminal() as terminal:
        watch = _watch(bench, terminal)
        terminal.until(STOP_KEY)
        running.process.kill()
        terminal.until("interrupted")
        terminal.until("orch resume")
        terminal.press("q")
        assert _ended(watch).code == 0
        assert f"go on with: orch resume {bench.missions[0].name}" in terminal.glass.text.replace("\n", " ")


def test_a_pipe_gets_plain_lines_until_the_mission_ends(bench: Bench) -> None:
    """Exit 0, no escape sequence; afterwards it says the end at once."""
    with _mission(bench) as (running, go_on):
        watch = bench.start("status", "--watch")
        assert watch.process.stdout is not None
        first = watch.process.stdout.readline()
        go_on.set()
        ended = watch.end()
        assert running.end().code == 0
    assert (ended.code, ended.err) == (0, "")
    assert "is still running: 0/1 done" in first
    assert "sealed, tree" in ended.out
    assert "\x1b" not in ended.out
    assert ended.out.splitlines()[-1].endswith("sealed: 1/1 done, 0 issues open")
    assert bench.run("status", "--watch").out.splitlines() == ended.out.splitlines()[-1:]


def test_without_a_mission_it_waits_on_a_terminal_only(bench: Bench) -> None:
    """Elsewhere it says that there is none."""
    assert bench.run("status", "--watch").out == "orch: no mission here yet\n"
    with Terminal() as terminal:
        watch = _watch(bench, terminal)
        terminal.until("waiting for one")
        terminal.press_until("q", lambda: watch.process.poll() is not None)
        assert _ended(watch).code == 0
        assert terminal.is_as_found()


@pytest.mark.parametrize("also", ["--json", "--all"])
def test_it_is_for_one_mission_and_a_person(bench: Bench, also: str) -> None:
    """What excludes each other is refused."""
    ended = bench.run("status", "--watch", also)
    assert ended.code == 2
    assert "--watch" in ended.err
