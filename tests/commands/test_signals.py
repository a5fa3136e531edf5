"""SIGINT and SIGTERM in every phase of a mission: 130 and 143, one result, and a line that goes on.

Nobody is there: stdin is a pipe that stays open, there is no `TERM`. What is under way (a turn, a command) is
let go once orch has said that it heard the signal, so that the graceful end is what is seen.
"""

import os
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import play, program
from tests.endpoint import Script, Step
from tests.program import Bench

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
A = play.item("a")
WAITS_LONG = {"retry_after": "60"}


@dataclass
class Scene:
    """What one phase is played with: `came` says that it is there, `go_on` lets it end."""

    folder: Path
    came: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def held(self, player: play.Player) -> play.Player:
        """Return `player`, whose first turn is the phase."""
        return play.held(player, self.came, self.go_on)

    def refused_once(self, status: int) -> play.Player:
        """Return a Worker that is refused at first, and asked to come back in a minute."""

        def player(scene: play.Scene) -> Step:
            if self.go_on.is_set():
                return play.build(scene)
            self.came.set()
            return play.refused(status, **WAITS_LONG)

        return player

    @property
    def command(self) -> str:
        """A command that is the phase: it says that it runs, and ends when it is let go."""
        came, go_on = (shlex.quote(str(self.folder / name)) for name in ("came", "go"))
        return f"touch {came}; until test -e {go_on}; do sleep 0.05; done"

    def wait(self) -> None:
        """Return when the phase is reached."""
        program.until(lambda: self.came.is_set() or (self.folder / "came").exists())

    def let_go(self) -> None:
        """Let the phase end."""
        self.go_on.set()
        (self.folder / "go").touch()


PHASES: dict[str, Callable[[Scene], Script]] = {
    "exploring": lambda scene: play.mission(A, commander=scene.held(play.lead)),
    "planning": lambda scene: play.mission(A, planner=scene.held(play.plan(A))),
    "the baseline": lambda scene: play.mission(A, verify=[scene.command]),
    "working": lambda scene: play.mission(A, worker=scene.held(play.build)),
    "the setup": lambda scene: play.mission(play.item("a", setup=scene.command)),
    "reviewing": lambda scene: play.mission(A, reviewer=scene.held(play.approve)),
    "a command of the Reviewer": lambda scene: play.mission(A, reviewer=play.run(scene.command)),
    "the last verification": lambda scene: play.mission(
        A, verify=[f"test ! -e a.txt || {{ {scene.command}; }}"]
    ),
    "waiting for the gate": lambda scene: play.mission(A, worker=scene.refused_once(429)),
    "waiting to try again": lambda scene: play.mission(A, worker=scene.refused_once(503)),
}


@pytest.fixture
def open_pipe() -> Iterator[int]:
    """Return the reading end of a pipe that nobody writes to, and that is not closed either."""
    ours, theirs = os.pipe()
    yield ours
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """What a phase is played with; whatever becomes of the test, nobody is held for ever."""
    made = Scene(tmp_path)
    yield made
    made.let_go()


@pytest.mark.fault(16)
@pytest.mark.exit_code(130, 143)
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_stops_the_run_and_the_mission_goes_on(
    bench: Bench, scene: Scene, open_pipe: int, phase: str, number: signal.Signals
) -> None:
    """The stream ends with its one result, no process of the mission is left, and a resume seals."""
    with bench.served(PHASES[phase](scene)):
        running = bench.start_task("--json", stdin=open_pipe)
        scene.wait()
        running.signal(number)
        running.line("again: at once")
        scene.let_go()
        ended = running.end()
        result = program.check_result(ended, "stopped", "stream-json")
        assert (ended.code, result["exit_code"]) == (CODES[number], CODES[number])
        assert "Traceback" not in ended.err
        assert program.marked(str(result["mission"])) == []
        shutil.rmtree(bench.home / ".local", ignore_errors=True)  # the minute that was asked for is over
        resumed = bench.run(*shlex.split(str(result["resume"]))[1:], "--json", stdin=open_pipe)
    assert resumed.code == 0, resumed.err
    assert program.check_result(resumed, "sealed", "stream-json")["todo"] == {"done": 1, "total": 1}


@pytest.mark.fault(16)
@pytest.mark.exit_code(130, 143)
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_resumed_run_is_stopped_like_a_first_one(
    bench: Bench, scene: Scene, open_pipe: int, number: signal.Signals
) -> None:
    """Nobody reads its stdout any more; the mission's folder has the result."""
    with bench.served(play.mission(A, commander=play.ask_first)):
        assert bench.task("-q").code == 3
    with bench.served(play.mission(A, commander=play.ask_first, worker=scene.held(play.build))):
        ours, theirs = os.pipe()
        os.close(ours)
        running = bench.start("resume", "--reply", "Postgres", "--json", stdin=open_pipe, stdout=theirs)
        os.close(theirs)
        scene.wait()
        running.signal(number)
        running.line("again: at once")
        scene.let_go()
        assert running.end().code == CODES[number]
    (mission,) = bench.missions
    assert f'"exit_code":{CODES[number]}' in (mission / "result.json").read_text().replace(" ", "")
