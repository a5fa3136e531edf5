"""`orch stop` as a function: it asks, insists, kills, and never says that it is over when it is not."""

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
from orch.tools.process_table import MISSION_MARK
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
    monkeypatch.setattr(halt, "GRACEFUL_LIMIT_S", 0.1)
    monkeypatch.setattr(halt, "KILL_LIMIT_S", 0.1)
    with holding(folder, OLD) as process:
        (folder.locks / "holder.json").unlink()
        halted = halt.halt(folder, None, now=False)
        assert (halted.is_over, halted.is_held, halted.pids) == (False, True, ())
        assert process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
def test_what_a_killed_orch_left_behind_is_ended(folder: Folder) -> None:
    """A process with the mission's mark, although nobody holds the workspace; one of others lives on."""
    left, other = (
        subprocess.Popen(
            [sys.executable, "-c", SLEEPS], env=os.environ | {MISSION_MARK: mark}, start_new_session=True
        )
        for mark in (OLD, "someone-else")
    )
    try:
        assert locks.probe(folder.workspace) is None
        program.until(lambda: left.pid in program.marked(OLD))
        threading.Thread(target=left.wait, daemon=True).start()  # as its new parent would
        assert halt.halt(folder, None, now=False).is_over
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def test_an_unknown_mission_is_a_usage_error(folder: Folder) -> None:
    """Also while another one runs."""
    with holding(folder, OLD), pytest.raises(UsageError, match="nothing"):
        halt.halt(folder, "nothing", now=False)
