"""Whatever in orch has a bug: one result, last, with the exit code; `result.json` where there is a mission.

The bug is put into the program before its command line is read; the product knows nothing of it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests import contract, play, program
from tests.program import GOAL, Bench, Ended, Running

A = play.item("a")
FORMS = ("json", "stream-json")


@dataclass(frozen=True)
class Bug:
    """Where orch breaks: what is run in the program first, and whether a mission exists by then."""

    prelude: str
    has_mission: bool = True
    subtype: str = "error"


def _raising(module: str, name: str, error: str = "LookupError('an idea')", kind: str = "def") -> str:
    """Return what makes a function of orch raise."""
    return f"import {module} as m\n{kind} broken(*_, **__): raise {error}\nm.{name} = broken\n"


BUGS: Mapping[str, Bug] = {
    "in a task of the run": Bug(
        _raising("orch.runtime.session", "Conversation._called", kind="async def"),
    ),
    "no memory left": Bug(_raising("orch.runtime.orchestrator", "work", "MemoryError()")),
    "too deep": Bug(_raising("orch.runtime.orchestrator", "decide", "RecursionError('too deep')")),
    "in what ends the run": Bug(_raising("orch.runtime.launch", "_attended", kind="async def")),
    "in the generated views": Bug(_raising("orch.runtime.launch", "board.write_view")),
    "in taking the run down": Bug(
        _raising("orch.tools.processes", "Processes.__aexit__", kind="async def"),
    ),
    "in the result itself": Bug(_raising("orch.runtime.launch", "summarise")),
    "in what is changed": Bug(_raising("orch.runtime.launch", "changes.keep")),
    "before the mission": Bug(_raising("orch.runtime.launch", "MissionLock.acquire"), has_mission=False),
    "in the settings": Bug(_raising("orch.config", "load"), has_mission=False),
    "in the parts of the house": Bug(_raising("orch.runtime.launch", "Processes"), has_mission=False),
    "while it is loaded": Bug(
        "import sys\nsys.modules['orch.commands.parts'] = None\n",
        has_mission=False,
    ),
}
HARMLESS: Mapping[str, str] = {
    "the lines": _raising("orch.view.lines", "Lines.show"),
    "the stream": _raising("orch.view.stream", "Stream.show"),
    "the last words": _raising("orch.commands.run", "closing"),
    "the report of tests": _raising("orch.view.junit", "document"),
    "the annotations": _raising("orch.view.github", "annotations"),
    "the summary": _raising("orch.view.github", "summary"),
    "what is said at the end": (
        "import orch.commands.screen as m\ntell = m.Screen._say\n"
        "def broken(self, shown):\n"
        "    if self.is_told: raise LookupError('an idea')\n"
        "    tell(self, shown)\n"
        "m.Screen._say = broken\n"
    ),
}


def _broken(bench: Bench, prelude: str, *arguments: str, **streams: Any) -> Ended:
    bench.extra["TMPDIR"] = str(bench.home)
    process = subprocess.Popen(
        [sys.executable, "-c", f"{prelude}\nfrom orch.main import main\nmain()", *arguments],
        cwd=bench.workspace,
        env=bench.environment(),
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
    )
    return Running(process, bench.workspace).end()


@pytest.mark.parametrize("where", BUGS)
def test_a_bug_anywhere_ends_with_one_result(bench: Bench, where: str) -> None:
    """Exit 70; what is printed is also what is stored; no traceback on stderr, but the path of a log."""
    bug = BUGS[where]
    with bench.served(play.mission(A)):
        ended = _broken(bench, bug.prelude, "task", GOAL, "-m", "openai/test", "--json")
        stored = "".join(p.read_text() for p in bench.workspace.glob(".opencode/orch/missions/*/result.json"))
        again = bench.run("resume", "-q")
    result = program.check_result(ended, "error", "stream-json")
    assert ended.code == 70, ended.err
    assert "Traceback" not in ended.err
    assert ".log" in ended.err + result["result"]
    assert (result["mission"] is not None) == bug.has_mission
    if bug.has_mission:
        (mission,) = bench.missions
        assert result["mission"] == mission.name
        assert json.loads(stored) == result
        assert (mission / "crash.log").exists()
    assert again.code == (0 if bug.has_mission else 2), again.err


@pytest.mark.parametrize("form", FORMS)
def test_a_bug_in_a_resume_ends_with_one_result(bench: Bench, form: str) -> None:
    """Before the mission is read, and behind it."""
    with bench.served(play.mission(A, commander=play.ask_first)):
        assert bench.task("-q").code == 3
    for prelude in (
        _raising("orch.commands.parts", "replay"),
        _raising("orch.runtime.launch", "_admit", kind="async def"),
    ):
        ended = _broken(bench, prelude, "resume", "-q", "--output-format", form)
        assert ended.code == 70
        program.check_result(ended, "error", form)


@pytest.mark.parametrize("what", HARMLESS)
def test_a_bug_in_what_only_shows_a_run_changes_nothing(bench: Bench, what: str) -> None:
    """The mission seals with 0 and its one result; the bug is said on stderr, in a line or two."""
    bench.extra |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(bench.home / "summary.md")}
    arguments = ("task", GOAL, "-m", "openai/test", "--json", "--junit", "junit.xml")
    with bench.served(play.mission(A)):
        ended = _broken(bench, HARMLESS[what], *arguments)
    assert ended.code == 0, ended.err
    assert program.check_result(ended, "sealed", "stream-json")["exit_code"] == 0
    assert "LookupError: an idea" in ended.err
    assert "Traceback" not in ended.err


def test_a_result_that_cannot_be_stored_is_printed_all_the_same(bench: Bench) -> None:
    """Somebody made a folder of the place where it goes."""
    came, go_on = threading.Event(), threading.Event()
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task("--json")
        program.wait(came)
        (mission,) = bench.missions
        (mission / "result.json").mkdir()
        (mission / "result.json/x").touch()
        go_on.set()
        running.workspace = None  # no result can be read there
        ended = running.end()
    assert ended.code == 0, ended.err
    assert program.check_result(ended, "sealed", "stream-json")["mission"] == mission.name


@pytest.mark.parametrize("form", FORMS)
def test_a_bug_with_stdout_closed_is_told_by_the_code(bench: Bench, form: str) -> None:
    """A pipe that nobody reads any more, also on stderr: 70, not a traceback's 1 nor 120."""
    ours, theirs = os.pipe()
    os.close(ours)
    ended = _broken(
        bench,
        "import sys\nsys.modules['orch.commands.parts'] = None\n",
        *("task", GOAL, "--output-format", form),
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert ended.code == 70


def test_an_interrupt_while_orch_is_loaded_has_its_result(bench: Bench) -> None:
    """Ctrl-C before the command line was read, by who asked for JSON."""
    for moment in ("orch.main", "orch.commands.parts"):
        ended = _broken(
            bench,
            "import sys, runpy, importlib.abc\n"
            "class Finder(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, *_):\n"
            f"        if name == {moment!r}: raise KeyboardInterrupt\n"
            "sys.meta_path.insert(0, Finder())\n"
            "from orch.__main__ import main\nmain()\n",
            *("task", GOAL, "--json"),
        )
        assert ended.code == 130
        assert program.check_result(ended, "stopped", "stream-json")["mission"] is None
        assert ended.err == ""


def test_after_a_kill_the_result_is_made_up_for_by_the_next_run_alone(bench: Bench) -> None:
    """`orch status` writes nothing; `orch resume` leaves the result of its own end."""
    came = threading.Event()
    with bench.served(play.mission(A, worker=play.silent_once(play.build, came))):
        running = bench.start_task("--json")
        program.wait(came)
        running.signal(signal.SIGKILL)
        assert running.end().code == -signal.SIGKILL
        (mission,) = bench.missions
        assert bench.status()[0]["status"] == "interrupted"
        assert not (mission / "result.json").exists()
        assert bench.run("resume", "-q").code == 0
    stored = json.loads((mission / "result.json").read_bytes())
    contract.check_result(stored)
    assert stored["subtype"] == "sealed"


@pytest.mark.parametrize("form", FORMS)
def test_quiet_and_a_report_in_a_file_go_with_every_form(bench: Bench, form: str) -> None:
    """`-q -o FILE`: nothing on stderr, the report in the file, the data on stdout."""
    with bench.served(play.mission(A)):
        ended = bench.task("-q", "-o", "report.md", "--output-format", form)
    assert (ended.code, ended.err) == (0, "")
    assert (bench.workspace / "report.md").read_text() == f"{play.SUMMARY}\n"
    assert program.check_result(ended, "sealed", form)["result"] == play.SUMMARY
