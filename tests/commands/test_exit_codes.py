"""Every exit code of the contract as a CI job meets it: the program, a workspace, an endpoint, one number.

Nobody is there: stdin is a pipe that stays open and is never written to, there is no `TERM`. Each way to end
is taken once with stdout read, and once with stdout closed, which changes nothing but what can be read.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import play, program
from tests.endpoint import MODELS, UNKNOWN_MODEL, Script, Step, Turn
from tests.program import GOAL, Bench, Ended, Running

A, B = play.item("a"), play.item("b", after=["a"])
UNAVAILABLE = play.refused(503, retry_after="600")
FULL_BYTES = 2_000
"""No file may grow beyond this: about two records of the journal."""


def _never(_turn: Turn) -> Step:
    raise AssertionError("no model was to be asked")


def _again(scene: play.Scene) -> Step:
    """Commander: have the same file made again and again."""
    if scene.results("delegate_task"):
        return play.say()
    return play.call(
        "delegate_task",
        agent="worker",
        description="once more",
        prompt="Make a.txt.",
        files=["a.txt"],
        check="grep -q made a.txt",
    )


def _same(scene: play.Scene) -> Step:
    """Worker: write the same bytes, whatever is there."""
    called = [done.name for done in scene.done]
    if "write" in called:
        return play.say()
    if "read" in called:
        return play.call("write", path="a.txt", content="made\n")
    return play.call("read", path="a.txt")


@dataclass(frozen=True)
class Way:
    """How a mission is played, how it has to end, and what its report has to say.

    `prelude` is run in the program before its command line is read, `file_limit_bytes` as the disk's end.
    """

    code: int
    subtype: str
    script: Script
    arguments: tuple[str, ...] = ()
    says: str = ""
    prelude: str = ""
    file_limit_bytes: int | None = None


BROKEN = (
    "from orch.runtime.session import Conversation\n"
    "async def broken(*_): raise LookupError('an idea')\n"
    "Conversation._called = broken\n"
)
WAYS: Mapping[str, Way] = {
    "sealed": Way(0, "sealed", play.mission(A, B), says=play.SUMMARY),
    "asked": Way(
        0, "answered", play.mission(commander=play.answer("It is Rust.")), ("--answer",), "It is Rust."
    ),
    "planned": Way(0, "planned", play.mission(A, B), ("--dry-run",), "title of a"),
    "unsealed": Way(1, "unsealed", play.mission(A, reviewer=play.approve_unseen), says="item a is failed"),
    "model": Way(2, "error", _never, ("-m", f"openai/{UNKNOWN_MODEL}"), MODELS[0]),
    "usage": Way(2, "error", _never, ("--max-parallel", "0"), "--max-parallel"),
    "blocked": Way(3, "blocked", play.mission(A, commander=play.ask_first), says=play.QUESTION),
    "turns": Way(
        4,
        "limit",
        play.mission(A, worker=play.always(play.call("glob", pattern="*"))),
        ("--max-turns", "2"),
        "--max-turns",
    ),
    "tokens": Way(4, "limit", play.mission(A), ("--max-tokens", "9000"), "--max-tokens 9000"),
    "stagnated": Way(5, "stagnated", play.mission(A, commander=_again, worker=_same), says="nothing"),
    "answered": Way(6, "answered", play.mission(commander=play.answer("It is Rust.")), says="It is Rust."),
    "bug": Way(70, "error", play.mission(A), says="crash.log", prelude=BROKEN),
    "disk": Way(74, "disk", play.mission(A), says="", file_limit_bytes=FULL_BYTES),
    "provider": Way(75, "provider", play.mission(commander=play.always(UNAVAILABLE))),
    "auth": Way(77, "auth", play.mission(commander=play.always(play.refused(401)))),
    "timeout": Way(124, "timeout", play.mission(A, reviewer=play.run("sleep 60")), ("--timeout", "1.5s")),
}
MARKED = [pytest.param(way, marks=pytest.mark.exit_code(way.code), id=name) for name, way in WAYS.items()]


@pytest.fixture
def open_pipe() -> Iterator[int]:
    """Return the reading end of a pipe that nobody writes to, and that is not closed either."""
    ours, theirs = os.pipe()
    yield ours
    os.close(ours)
    os.close(theirs)


def _go(bench: Bench, way: Way, stdin: int, redirection: str = "") -> Ended:
    """Run `orch task --json` as a job would: no terminal, no `TERM`, an open stdin."""
    bench.extra |= {"TMPDIR": str(bench.home)} | program.whole_bytecode(way.file_limit_bytes)
    python = f"import sys\n{way.prelude}\nfrom orch.main import main\nmain()"
    limit = f"ulimit -f {way.file_limit_bytes // 1000};" if way.file_limit_bytes else ""
    asked = ("task", GOAL, "-m", "openai/test", "--json", *way.arguments)
    process = subprocess.Popen(
        ["/bin/bash", "-c", f'{limit} exec "$@" {redirection}', "bash", sys.executable, "-c", python, *asked],
        cwd=bench.workspace,
        env={name: value for name, value in bench.environment().items() if name != "TERM"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Running(process).end()


@pytest.mark.parametrize("way", MARKED)
def test_every_end_has_its_code_and_one_result(bench: Bench, way: Way, open_pipe: int) -> None:
    """The code is the contract's, the last line repeats it, people are told on stderr without a traceback."""
    with bench.served(way.script) as endpoint:
        ended = _go(bench, way, open_pipe)
    result = program.check_result(ended, way.subtype, "stream-json")
    assert ended.code == way.code, ended.err
    assert way.says in result["result"]
    assert result["is_error"] == (way.subtype not in ("sealed", "answered", "planned"))
    assert "orch: " in ended.err
    assert "Traceback" not in ended.err
    assert not [refusal for refusal in endpoint.refusals if UNKNOWN_MODEL not in refusal]


@pytest.mark.parametrize("way", MARKED)
def test_no_code_depends_on_somebody_who_reads(bench: Bench, way: Way, open_pipe: int) -> None:
    """Stdout is closed: the same code, and the mission's folder holds the result, if there is a mission."""
    with bench.served(way.script):
        ended = _go(bench, way, open_pipe, ">&-")
    assert ended.code == way.code, ended.err
    assert "Traceback" not in ended.err
    for mission in _missions(bench) if way.subtype != "disk" else ():
        kept = json.loads((mission / "result.json").read_text())
        assert (kept["subtype"], kept["exit_code"]) == (way.subtype, way.code)


def _missions(bench: Bench) -> list[Path]:
    return bench.missions if (bench.workspace / ".opencode/orch/missions").is_dir() else []
