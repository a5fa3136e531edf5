"""`orch stop` from another process: it returns when nothing of the mission lives."""

import sys
import threading

import pytest

from tests import play, program
from tests.program import Bench

A = play.item("a")
STUBBORN = "setsid sleep 300 & setsid -f sleep 301; (trap '' TERM; sleep 302) & sleep 303"


def test_a_stopped_mission_says_so_and_can_go_on(bench: Bench) -> None:
    """The task exits 143 with its result, stop exits 0, a second stop too, and resume seals."""
    came, go_on = threading.Event(), threading.Event()
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task("--output-format", "json")
        program.wait(came)
        (entry,) = bench.status()
        assert (entry["status"], entry["alive"], entry["pid"]) == ("running", True, running.process.pid)
        stop = bench.start("stop")
        running.line("again: at once")
        go_on.set()
        assert stop.end().code == 0
        ended = running.end()
        assert ended.code == 143
        assert program.check_result(ended, "stopped", "json")["retryable"]
        second = bench.run("stop", entry["mission"])
        assert (second.code, second.out, second.err) == (0, "", "")
        assert bench.status()[0]["status"] == "stopped"
        assert bench.run("resume", "-q").code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
@pytest.mark.parametrize("how", [("stop", "--now"), ("stop",), ("kill",)], ids=["now", "grace", "kill-9"])
def test_no_command_of_an_agent_outlives_a_stop(bench: Bench, how: tuple[str, ...]) -> None:
    """Grandchildren in sessions of their own, and those deaf to SIGTERM, are gone when stop returns."""
    with bench.served(play.mission(A, reviewer=play.run(STUBBORN))):
        running = bench.start_task()
        program.until(lambda: list(bench.workspace.glob(".opencode/orch/missions/*/journal.jsonl")))
        (mission,) = bench.missions
        program.until(lambda: len(program.marked(mission.name)) >= 4)
        if how == ("kill",):
            running.process.kill()
            running.process.wait()
        stopped = bench.run(*(("stop",) if how == ("kill",) else how))
        assert (stopped.code, program.marked(mission.name)) == (0, [])
        assert running.end().code == (-9 if how == ("kill",) else 143)


def test_stopping_what_does_not_run_is_no_error(bench: Bench) -> None:
    """An empty workspace, and nothing is made in it."""
    assert bench.run("stop").code == 0
    assert not list(bench.workspace.iterdir())


def test_an_unknown_mission_is_a_usage_error(bench: Bench) -> None:
    """Exit 2 names it."""
    ended = bench.run("stop", "20260101-000000-00000")
    assert ended.code == 2
    assert "20260101-000000-00000" in ended.err
