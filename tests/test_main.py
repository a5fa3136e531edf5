"""The command line as a whole: help, version, start-up, and what becomes of bugs and of Windows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orch.commands import exit_codes
from orch.commands.page import PANELS
from orch.mission.result import EXIT_CODES
from tests import program
from tests.program import Bench, Ended

COMMANDS = ("task", "stop", "status", "resume")
HEAVY = ("httpx", "pydantic", "rich.console", "rich.live", "asyncio", "orch.config", "orch.mission")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place to run the program in."""
    return program.bench(tmp_path)


def _python(bench: Bench, *arguments: str) -> Ended:
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=bench.workspace,
        env=bench.environment(),
        capture_output=True,
        text=True,
        timeout=program.LIMIT_S,
        check=False,
    )
    return Ended(run.returncode, run.stdout, run.stderr)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=["orch", *COMMANDS])
def test_help_reads_well_on_80_columns(bench: Bench, command: tuple[str, ...]) -> None:
    """No line is wider, nothing is cut off, each option says what it does."""
    bench.extra["COLUMNS"] = "80"
    ended = bench.run(*command, "--help")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.rstrip().endswith("...") and line.startswith("  ")]
    assert "[[" not in ended.out
    assert "\x1b" not in ended.out
    assert "│" not in ended.out
    options = "\n".join(re.split(rf"^(?:{'|'.join(PANELS)}|Options):$", ended.out, flags=re.MULTILINE)[1:])
    assert "-h, --help" in options
    bare = re.findall(r"^  (-\S.*\S)$\n(?! {10})", options, re.MULTILINE)
    assert [option for option in bare if not re.search(r"\S {2,}\S", option)] == []


def test_help_names_the_four_commands(bench: Bench) -> None:
    """In the order in which a person meets them, each with its sentence."""
    page = bench.run("--help").out
    listed = page.partition("Commands:\n")[2].partition("\n\n")[0]
    assert "To begin:\n  orch task --demo -C demo " in page
    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)
    assert all(line.endswith(".") for line in listed.splitlines())


def test_the_help_of_task_is_a_page(bench: Bench) -> None:
    """What to do comes first, then models, limits, output; then examples, and every exit code there is."""
    page = bench.run("task", "--help").out
    headings = re.findall(r"^(\w.*):$", page, re.MULTILINE)
    codes = re.findall(r"^ +(\d+)  \S", page.partition("Exit codes:")[2], re.MULTILINE)

    assert headings == [*PANELS, "Examples", "Exit codes"]
    assert page.count("\n  orch task ") >= 3
    assert {int(code) for code in codes} == set(EXIT_CODES.values()) | {
        1,
        exit_codes.USAGE,
        exit_codes.BUG,
        exit_codes.INTERRUPTED,
    }
    assert codes == sorted(codes, key=int)
    assert all(f"[env: ORCH_{name}]" in page for name in ("CD", "MODEL", "MODEL_COMMANDER", "TIMEOUT"))


def test_help_costs_no_heavy_import(bench: Bench) -> None:
    """`orch --help` needs neither the network's library nor the models of the mission."""
    ended = _python(bench, "-X", "importtime", "-m", "orch", "--help")
    imported = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    heavy = {name for name in imported if name.startswith(HEAVY)}
    assert ended.code == 0
    assert heavy == set()
    assert len(imported) < 350


def test_the_version_is_printed(bench: Bench) -> None:
    """One line on stdout, for scripts."""
    ended = bench.run("--version")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"orch \d+\.\d+\S*\n", ended.out)


@pytest.mark.parametrize("arguments", [("bogus",), ("--bogus",), ("task", "--bogus"), ("status", "a", "b")])
def test_what_cannot_be_read_is_a_usage_error(bench: Bench, arguments: tuple[str, ...]) -> None:
    """Exit 2, usage and reason on stderr, nothing on stdout."""
    ended = bench.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: " in ended.err
    assert arguments[-1] in ended.err


def test_only_who_gets_results_gets_one_for_a_misread_command_line(bench: Bench) -> None:
    """`status --json` prints no result, as it never does."""
    ended = bench.run("status", "--json", "--bogus")
    assert (ended.code, ended.out) == (2, "")
    assert program.check_result(bench.run("resume", "--json", "--bogus"), "error", "json")


@pytest.mark.parametrize("command", ["task", "status"])
def test_windows_is_sent_to_wsl(bench: Bench, command: str) -> None:
    """Exit 2 with a word about WSL, reached without anything that Windows lacks."""
    code = (
        "import sys; sys.modules['fcntl'] = sys.modules['termios'] = None\n"
        "import zoneinfo; from orch.main import main; sys.platform = 'win32'\n"
        f"sys.argv = ['orch', '{command}']; main()"
    )
    ended = _python(bench, "-c", code)
    assert (ended.code, ended.out) == (2, "")
    assert "WSL" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_bug_keeps_its_traceback_in_a_log(bench: Bench, tmp_path: Path) -> None:
    """Exit 70, the log's path on stderr and a result on stdout; the traceback stands in the log alone."""
    bench.extra["TMPDIR"] = str(tmp_path)
    code = (
        "import sys, orch.main as m\n"
        "def broken(*_, **__): raise LookupError('an idea')\n"
        "m.app = broken; sys.argv = ['orch', 'task', 'x', '--output-format', 'json']; m.main()"
    )
    ended = _python(bench, "-c", code)
    result = program.check_result(ended, "error", "json")
    assert ended.code == 70
    (log,) = tmp_path.glob("*.log")
    assert str(log) in ended.err
    assert str(log) in result["result"]
    assert "Traceback" not in ended.err
    assert "an idea" in log.read_text()


def test_arguments_that_are_no_utf_8_do_no_harm(bench: Bench) -> None:
    """A folder that cannot be named in a journal is refused, not crashed upon."""
    ended = bench.run("task", "x", "-m", "ollama/x", "-C", "caf\udce9")
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_an_interrupt_while_orch_is_loaded_ends_it_without_a_word(tmp_path: Path) -> None:
    """A module that it loads is interrupted, as Ctrl-C would: no traceback, 130."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{program.ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-m", "orch", "--help"],
        env=environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
