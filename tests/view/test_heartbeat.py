"""A log that is silent gets a sign of life; one that is not gets none."""

import io
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from orch.mission import events as ev
from orch.mission.state import MissionState, MissionStatus
from orch.view import heartbeat
from orch.view.lines import Lines
from tests.mission import casts
from tests.mission.simulation import Simulation

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def _working() -> MissionState:
    """Return a mission with one session at work, last heard of at `BEGAN`."""
    simulation = Simulation(casts.cast()).start()
    simulation.settle()
    state = simulation.state
    stamp = BEGAN.isoformat()
    sessions = {
        sid: replace(s, started=stamp, last_activity=stamp, doing="\x1b[2Jpytest")
        for sid, s in state.sessions.items()
    }
    return replace(state, sessions=sessions, run_started=stamp, started=stamp)


def _log(clock: Clock, state: MissionState) -> tuple[Lines, io.StringIO]:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200), lambda: 200, clock)
    lines.take_up(state)
    return lines, out


def test_thirty_seconds_of_silence_are_broken_once() -> None:
    """And again thirty seconds after that, with the time and what is going on."""
    clock = Clock()
    lines, out = _log(clock, _working())
    for _ in range(65):
        clock.passes(1)
        lines.beat()
    said = out.getvalue().splitlines()
    assert [row[:8] for row in said] == ["  0:30  ", "  1:00  "]
    assert all("still here: " in row for row in said)


def test_a_line_starts_the_silence_anew() -> None:
    """Whatever it says."""
    clock = Clock()
    lines, out = _log(clock, _working())
    clock.passes(29)
    lines.say("orch: something")
    clock.passes(29)
    lines.beat()
    assert "still here" not in out.getvalue()
    clock.passes(1)
    lines.beat()
    assert "still here" in out.getvalue()


def test_routine_breaks_no_silence() -> None:
    """What is not printed is not seen."""
    clock = Clock()
    state = _working()
    lines, out = _log(clock, state)
    clock.passes(31)
    session = next(iter(state.sessions))
    lines.show(ev.TurnStarted(session=session, turn=1, model="p/m", ts=clock().isoformat()), state)
    lines.beat()
    assert "still here" in out.getvalue()


def test_a_mission_that_is_over_has_no_heartbeat() -> None:
    """Nor one that has not begun."""
    for status in MissionStatus:
        clock = Clock()
        lines, out = _log(clock, replace(_working(), status=status))
        clock.passes(300)
        lines.beat()
        assert bool(out.getvalue()) == (status is MissionStatus.RUNNING)


def test_the_line_names_who_was_silent_for_longest_and_is_harmless() -> None:
    """What a command is called cannot steer the log."""
    clock = Clock()
    lines, out = _log(clock, _working())
    clock.passes(40)
    lines.beat()
    assert "longest silent: commander S1, 40 s (" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_numbers_agree_with_their_words() -> None:
    """One session, no items, two tokens; thousands are rounded."""
    assert heartbeat.sentence(_working(), BEGAN).startswith("still here: 1 session at work, 0 of 0 done, ")
    assert [heartbeat.counted(n, "item") for n in (0, 1, 2)] == ["0 items", "1 item", "2 items"]
    assert [heartbeat.tokens(n) for n in (0, 9_999, 10_000, 1_234_567)] == ["0", "9999", "10k", "1235k"]


def test_the_pulse_beats_until_it_is_ended() -> None:
    """In a thread of its own, which is gone afterwards."""
    came = threading.Event()
    with heartbeat.Pulse(came.set, every_s=0.0):
        assert came.wait(60.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
