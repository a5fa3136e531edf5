"""`orch stop` from another process: it returns when nothing of the mission lives."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests import play, program
from tests.program import Bench, Running

A = play.item("a")
STUBBORN = "setsid sleep 300 & setsid -f sleep 301; (trap '' TERM; sleep 302) & nohup sleep 303 & sleep 304"
UNMARKED = (
    "env -i setsid sh -c 'echo $$ > escaped; exec sleep 300' & until [ -s escaped ]; do :; done; sleep 301"
)
MOMENTS = 2
HARD_LIMIT = 64


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
        stopped = stop.end()
        assert (stopped.code, stopped.err) == (
            0,
            f"orch: stopped {entry['mission']}; `orch resume` goes on\n",
        )
        ended = running.end()
        assert ended.code == 143
        assert program.check_result(ended, "stopped", "json")["retryable"]
        second = bench.run("stop", entry["mission"])
        assert (second.code, second.out, second.err) == (0, "", "orch: nothing was running here\n")
        assert bench.status()[0]["status"] == "stopped"
        assert bench.run("resume", "-q").code == 0


@pytest.mark.fault(15, 43)
@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
@pytest.mark.parametrize("how", [("stop", "--now"), ("stop",), ("kill",)], ids=["now", "grace", "kill-9"])
def test_no_command_of_an_agent_outlives_a_stop(bench: Bench, how: tuple[str, ...]) -> None:
    """Grandchildren in sessions of their own, and those deaf to SIGTERM, are gone when stop returns."""
    with bench.served(play.mission(A, reviewer=play.run(STUBBORN))):
        running = bench.start_task()
        program.until(lambda: list(bench.workspace.glob(".opencode/orch/missions/*/journal.jsonl")))
        (mission,) = bench.missions
        program.until(lambda: len(program.marked(mission.name)) >= 5)
        if how == ("kill",):
            running.process.kill()
            running.process.wait()
        stopped = bench.run(*(("stop",) if how == ("kill",) else how))
        assert (stopped.code, program.marked(mission.name)) == (0, [])
        assert running.end().code == (-9 if how == ("kill",) else 143)


@pytest.mark.fault(43)
@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are read from /proc")
@pytest.mark.parametrize("then", ["stop", "resume"])
def test_who_wiped_its_marks_and_outlived_orch_is_ended_all_the_same(bench: Bench, then: str) -> None:
    """After `kill -9` of orch it is nobody's child and has no marks, but it still writes to its log."""
    with bench.served(play.mission(A, reviewer=play.run(UNMARKED))):
        running = bench.start_task()
        escaped = bench.workspace / "escaped"
        program.until(lambda: escaped.exists() and escaped.read_text().strip())
        running.process.kill()
        running.end()
    status = Path(f"/proc/{int(escaped.read_text())}/stat")
    assert status.exists()
    with bench.served(play.mission(A)):
        assert bench.run(then).code == 0
    assert not status.exists() or status.read_text().rpartition(") ")[2][0] == "Z"


@pytest.mark.fault(15)
def test_a_mission_can_be_stopped_at_any_moment_from_outside(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """From its first second to its last: stop returns 0, the end is on record, and it goes on from there."""
    chance = Random(15)  # noqa: S311 - moments, no secret
    codes = set()

    def held() -> list[Path]:
        return list(bench.workspace.glob(".opencode/orch/locks/holder.json"))

    with bench.served(play.mission(A, worker=play.always(play.SILENCE))):
        for number in range(MOMENTS):
            running = bench.start_task() if number == 0 else bench.start("resume")
            note = f'"pid":{running.process.pid},'
            program.until(lambda note=note: any(note in file.read_text() for file in held()))  # type: ignore[misc]
            moment = time.monotonic() + chance.uniform(0.0, 0.6)
            program.until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            assert bench.run("stop", "--now").code == 0
            codes.add(running.end().code)
            assert codes <= {143, -signal.SIGTERM}  # the latter before it had begun to listen
    with bench.served(play.mission(A)):
        assert bench.run("resume", "-q").code == 0
    record_property("figure", f"{MOMENTS} stops, exit codes {sorted(codes)}")


@pytest.mark.fault(16, 48)
def test_a_process_that_was_stopped_and_continued_goes_on(bench: Bench) -> None:
    """Longer than a stream may be silent: at most one try more per session, and nothing is lost."""
    (bench.workspace / ".opencode").mkdir()
    (bench.workspace / ".opencode/orch.toml").write_text("[limits]\nidle_timeout_s = 2\n")
    came = threading.Event()
    worker = play.shown(play.slow(play.build, 0.5), came)
    with bench.served(play.mission(A, play.item("b"), worker=worker)):
        running = bench.start_task(start_new_session=True)
        program.wait(came)
        os.killpg(running.process.pid, signal.SIGSTOP)
        asleep = time.monotonic() + 2.5
        program.until(lambda: time.monotonic() > asleep)
        os.killpg(running.process.pid, signal.SIGCONT)
        ended = running.end()
    assert ended.code == 0, ended.err
    retries = [event["session"] for event in bench.journal() if event["type"] == "retry"]
    assert len(retries) == len(set(retries))
    completed = [event["item"] for event in bench.journal() if event["type"] == "item.completed"]
    assert sorted(completed) == ["a", "b"]


@pytest.mark.fault(16)
def test_a_reader_that_is_gone_does_not_stop_the_mission(bench: Bench) -> None:
    """Nobody reads stdout or stderr any more: the mission is sealed all the same."""
    with bench.served(play.mission(A)):
        running = bench.start_task("--json")
        for stream in (running.process.stdout, running.process.stderr):
            assert stream is not None
            stream.close()
        assert running.process.wait(program.LIMIT_S) == 0
    assert bench.journal()[-1]["type"] == "mission.sealed"


@pytest.mark.fault(10)
def test_fifty_sessions_take_turns_where_few_files_may_be_open(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """A hard limit of 64: said in one line, nothing breaks, and all items are sealed."""
    items = [play.item(f"i{number}") for number in range(50)]
    with bench.served(play.mission(*items)) as endpoint:
        limited = f'ulimit -n {HARD_LIMIT}; exec "$@"'
        task = (sys.executable, "-m", "orch", "task", program.GOAL, "-m", bench.model, "-j", "50", "--json")
        process = subprocess.Popen(
            ["/bin/sh", "-c", limited, "sh", *task],
            cwd=bench.workspace,
            env=bench.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        ended = Running(process).end()
    assert ended.code == 0, ended.err
    program.check_result(ended, "sealed", "stream-json")
    said = [line for line in ended.err.splitlines() if "sessions at once instead of 50" in line]
    assert len(said) == 1
    trouble = [line for line in ended.lines if line["type"] in ("retry", "lease.denied")]
    record_property(
        "figure", f"50 items, at most {endpoint.max_concurrent} requests at once, {len(trouble)} refusals"
    )


def test_stopping_what_does_not_run_is_no_error(bench: Bench) -> None:
    """An empty workspace, and nothing is made in it."""
    assert bench.run("stop").code == 0
    assert not list(bench.workspace.iterdir())


def test_an_unknown_mission_is_a_usage_error(bench: Bench) -> None:
    """Exit 2 names it."""
    ended = bench.run("stop", "20260101-000000-00000")
    assert ended.code == 2
    assert "20260101-000000-00000" in ended.err
