"""`orch stop` as a function: it asks, insists, kills, and never says that it is over when it is not."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orch.errors import UsageError
from orch.mission import events as ev
from orch.runtime import halt
from orch.store import locks
from orch.store.folder import Folder
from orch.tools.process_table import MISSION_MARK, read_table
from tests import program
from tests.runtime.test_survey import NEW, OLD, began, write

HOLDER = """
import signal, sys, time
from pathlib import Path
from orch.mission.events import MissionId
from orch.store.folder import Folder
from orch.store.locks import MissionLock
if sys.argv[3] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with MissionLock.acquire(Folder(Path(sys.argv[1])), MissionId(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


SLEEPS = "import time; time.sleep(300)"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A workspace with two missions."""
    folder = Folder(tmp_path)
    folder.create()
    for mission in (OLD, NEW):
        write(folder, began(mission))
    return folder


@contextmanager
def holding(folder: Folder, mission: ev.MissionId, mood: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Have another process hold the mission."""
    command = [sys.executable, "-c", HOLDER, str(folder.workspace), mission, mood]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(program.ROOT)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_runs_is_asked_to_stop(folder: Folder) -> None:
    """SIGTERM, and it is over once the process is gone."""
    with holding(folder, OLD) as process:
        assert halt.halt(folder, None, now=False).is_over
        assert process.wait() == -signal.SIGTERM


def test_what_does_not_listen_is_killed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its limit, with SIGKILL; `--now` has the shorter one."""
    monkeypatch.setattr(halt, "NOW_LIMIT_S", 0.1)
    monkeypatch.setattr(halt, "SECOND_S", 0.05)
    with holding(folder, OLD, "deaf") as process:
        assert halt.halt(folder, OLD, now=True).is_over
        assert process.wait() == -signal.SIGKILL


def test_another_mission_is_left_alone(folder: Folder) -> None:
    """Stopping NEW, which does not run, does not stop OLD, which does."""
    with holding(folder, OLD) as process:
        assert halt.halt(folder, NEW, now=False).is_over
        assert process.poll() is None


def test_a_holder_that_cannot_be_named_is_not_called_over(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deleted what it wrote about itself: it is still held, and that is said."""
    for limit in ("NAME_LIMIT_S", "GRACEFUL_LIMIT_S", "KILL_LIMIT_S"):
        monkeypatch.setattr(halt, limit, 0.1)
    with holding(folder, OLD) as process:
        (folder.locks / "holder.json").unlink()
        halted = halt.halt(folder, None, now=False)
        assert (halted.is_over, halted.is_held, halted.pids) == (False, True, ())
        assert process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
def test_what_a_killed_orch_left_behind_is_ended(folder: Folder) -> None:
    """A process with the mission's mark, although nobody holds the workspace; one of others lives on."""
    mission = ev.MissionId(f"{NEW}{os.getpid()}")  # no other test may end whoever carries its mark
    write(folder, began(mission))
    left, other = (
        subprocess.Popen(
            [sys.executable, "-c", SLEEPS], env=os.environ | {MISSION_MARK: mark}, start_new_session=True
        )
        for mark in (mission, "someone-else")
    )
    try:
        assert locks.probe(folder.workspace) is None
        program.until(lambda: left.pid in program.marked(mission))
        threading.Thread(target=left.wait, daemon=True).start()  # as its new parent would
        assert halt.halt(folder, None, now=False).is_over
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


@pytest.mark.fault(14)
@pytest.mark.skipif(sys.platform != "linux", reason="needs the start of a process")
@pytest.mark.parametrize("forged", [{"start_ticks": 1}, {"boot_id": "another"}])
def test_an_innocent_process_with_the_holders_pid_hears_no_signal(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, forged: dict[str, object]
) -> None:
    """Its number was the holder's, before it or before the last boot: not stopped, not even continued."""
    for limit in ("NAME_LIMIT_S", "GRACEFUL_LIMIT_S", "KILL_LIMIT_S"):
        monkeypatch.setattr(halt, limit, 0.1)
    innocent = subprocess.Popen([sys.executable, "-c", SLEEPS])
    try:
        with holding(folder, OLD):
            note = folder.locks / "holder.json"
            stale = json.loads(note.read_bytes()) | {"pid": innocent.pid} | forged
            note.write_text(json.dumps(stale))
            halted = halt.halt(folder, None, now=False)
        assert (halted.is_over, halted.is_held, halted.pids) == (False, True, ())
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.fault(15)
def test_a_holder_that_has_just_begun_is_waited_for_until_it_says_who_it_is(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock comes first, the name a moment later: then it is asked to stop like any other."""
    monkeypatch.setattr(halt, "NAME_LIMIT_S", program.LIMIT_S)
    with holding(folder, OLD) as process:
        note = folder.locks / "holder.json"
        said = note.read_bytes()
        note.unlink()
        threading.Timer(0.1, note.write_bytes, (said,)).start()
        assert halt.halt(folder, OLD, now=False).is_over
        assert process.wait() == -signal.SIGTERM


@pytest.mark.fault(15, 48)
@pytest.mark.skipif(sys.platform != "linux", reason="states are read from /proc")
@pytest.mark.parametrize(("mood", "ended_by"), [("", signal.SIGTERM), ("deaf", signal.SIGKILL)])
def test_a_holder_that_was_stopped_is_continued_so_that_it_hears(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, mood: str, ended_by: signal.Signals
) -> None:
    """Ctrl-Z and forgotten: it can still stop gracefully; if it does not, it is killed."""
    monkeypatch.setattr(halt, "GRACEFUL_LIMIT_S", 0.2 if mood else program.LIMIT_S)
    with holding(folder, OLD, mood) as process:
        process.send_signal(signal.SIGSTOP)
        program.until(lambda: _state(process.pid) == "T")
        assert halt.halt(folder, None, now=False).is_over
        assert process.wait() == -ended_by


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


@pytest.mark.fault(15, 43)
@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are read from /proc")
def test_who_wiped_its_marks_is_known_by_the_log_it_writes_to(folder: Folder) -> None:
    """What a killed orch left behind is ended; who only reads the log, a person say, is not."""
    jobs = folder.mission(OLD).jobs
    jobs.mkdir(parents=True, exist_ok=True)
    log = jobs / "1.log"
    with log.open("ab") as writes, log.open("rb") as reads:
        left, person = (
            subprocess.Popen(
                [sys.executable, "-c", SLEEPS], env={}, stdin=reads, stdout=out, start_new_session=True
            )
            for out in (writes, None)
        )
    try:
        threading.Thread(target=left.wait, daemon=True).start()  # as its new parent would
        assert halt.halt(folder, NEW, now=False).is_over
        assert not read_table([left.pid])[left.pid].is_dead
        assert halt.halt(folder, OLD, now=False).is_over
        assert left.wait() == -signal.SIGKILL
        assert person.poll() is None
    finally:
        for process in (left, person):
            process.kill()
            process.wait()


def test_an_unknown_mission_is_a_usage_error(folder: Folder) -> None:
    """Also while another one runs."""
    with holding(folder, OLD), pytest.raises(UsageError, match="nothing"):
        halt.halt(folder, "nothing", now=False)
