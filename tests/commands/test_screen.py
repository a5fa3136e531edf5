"""What a run shows on terminals, pipes and files of every kind; none of them changes how it ends."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests import play, program
from tests.endpoint import Endpoint
from tests.program import GOAL, Bench, Running
from tests.terminal import Glass, Terminal

A = play.item("a")
ESCAPE = "\x1b"
STYLE = re.compile(r"\x1b\[[\d;]*m")
HINT = "Ctrl-C stops it"
LONG_GOAL = "build it " + "x" * 300


@pytest.fixture
def sealing(bench: Bench) -> Iterator[Endpoint]:
    """An endpoint whose missions seal."""
    with bench.served(play.mission(A)) as endpoint:
        yield endpoint


def _on_terminal(bench: Bench, columns: int, rows: int, sign: str = HINT, **extra: str) -> str:
    """Return all that a run shows there that goes on until `sign` was shown."""
    came, go_on = threading.Event(), threading.Event()
    bench.extra |= {"TERM": "xterm-256color", **extra}
    script = play.mission(A, worker=play.held(play.build, came, go_on))
    with bench.served(script), Terminal(columns, rows) as terminal:
        running = bench.start("task", LONG_GOAL, "-m", "openai/test", **terminal.streams)
        terminal.until(sign)
        go_on.set()
        assert running.end().code == 0
        assert terminal.is_as_found()
    return terminal.shown.decode()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_progress_fits_the_terminal_and_is_coloured(bench: Bench, columns: int, rows: int) -> None:
    """Facts take one row each, the long goal is cut, and of the frame nothing is left behind."""
    shown = _on_terminal(bench, columns, rows)
    glass = Glass(columns, rows)
    glass.feed(shown.encode())
    plain = [line for line in glass.text.splitlines() if line.startswith(" ") and ":" in line[:5]]
    assert STYLE.search(shown)
    assert HINT not in glass.text
    assert glass.is_clean
    assert max(map(len, plain)) == columns
    assert "sealed" in plain[-1]


def test_a_terminal_that_wants_no_colour_gets_the_frame_without(bench: Bench) -> None:
    """`NO_COLOR` is about colours."""
    shown = _on_terminal(bench, 80, 24, NO_COLOR="1")
    assert not STYLE.search(shown)


@pytest.mark.parametrize("extra", [{"TERM": "dumb"}, {"CI": "true", "NO_COLOR": "1"}], ids=["dumb", "ci"])
def test_a_terminal_that_nobody_draws_on_gets_plain_lines(bench: Bench, extra: dict[str, str]) -> None:
    """`TERM=dumb` and a CI job's leave not one escape sequence."""
    shown = _on_terminal(bench, 80, 24, "started a", **extra)
    assert ESCAPE not in shown
    assert HINT not in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_a_terminal_that_works(bench: Bench, number: signal.Signals) -> None:
    """Gracefully without a trace of the frame; killed, with whole rows and a cursor."""
    came = threading.Event()
    bench.extra |= {"TERM": "xterm-256color"}
    with bench.served(play.mission(A, worker=play.silent_once(play.build, came))), Terminal() as terminal:
        running = bench.start_task(stdout=terminal.theirs, stderr=terminal.theirs)
        program.wait(came)
        terminal.until(HINT)
        running.signal(number)
        code = running.end().code
    assert code == (-9 if number is signal.SIGKILL else 128 + number)
    assert terminal.glass.is_clean
    assert (HINT in terminal.glass.text) == (number is signal.SIGKILL)


def test_a_run_that_was_suspended_goes_on_with_its_frame(bench: Bench) -> None:
    """Ctrl-Z takes the frame off and gives the terminal back; with `fg` it is there again."""
    came, go_on = threading.Event(), threading.Event()
    bench.extra |= {"TERM": "xterm-256color"}
    script = play.mission(A, worker=play.held(play.build, came, go_on))
    with bench.served(script), Terminal() as terminal:
        running = bench.start_task(**terminal.streams, process_group=0)
        program.wait(came)
        terminal.until(HINT)
        running.signal(signal.SIGTSTP)
        assert os.WIFSTOPPED(os.waitpid(running.process.pid, os.WUNTRACED)[1])
        assert terminal.is_as_found()
        program.until(lambda: HINT not in terminal.glass.text)
        assert terminal.glass.is_clean
        before = len(terminal.shown)
        running.signal(signal.SIGCONT)
        terminal.until(HINT, after=before)
        go_on.set()
        assert running.end().code == 0
        assert terminal.is_as_found()
    assert HINT not in terminal.glass.text


@pytest.mark.usefixtures("sealing")
def test_a_pipe_gets_whole_lines_without_colours_unless_forced(bench: Bench) -> None:
    """A log is not cut to 80 columns; `COLUMNS` and `FORCE_COLOR` are honoured."""
    ended = bench.run("task", LONG_GOAL, "-m", "openai/test")
    assert LONG_GOAL in ended.err
    assert ESCAPE not in ended.err
    bench.extra |= {"COLUMNS": "60", "FORCE_COLOR": "1", "TERM": "xterm"}
    forced = bench.run("task", LONG_GOAL, "-m", "openai/test")
    assert ESCAPE in forced.err
    assert ESCAPE not in forced.out
    facts = [line for line in _without_styles(forced.err).splitlines() if line.startswith(" ")]
    assert max(map(len, facts)) == 60


def _without_styles(text: str) -> str:
    pieces = text.split(f"{ESCAPE}[")
    return pieces[0] + "".join(piece.partition("m")[2] for piece in pieces[1:])


@pytest.mark.usefixtures("sealing")
def test_stdin_is_not_touched(bench: Bench) -> None:
    """Neither a pipe that nobody writes to nor a closed stdin holds a run up."""
    ours, theirs = os.pipe()
    try:
        assert bench.task("-q", stdin=ours).code == 0
    finally:
        os.close(ours)
        os.close(theirs)
    assert _with_closed(bench, "<&-", "-q").code == 0


def _with_closed(bench: Bench, redirection: str, *arguments: str) -> program.Ended:
    command = f'exec "$@" {redirection}'
    python = (sys.executable, "-m", "orch", "task", GOAL, "-m", "openai/test", *arguments)
    process = subprocess.Popen(
        ["/bin/sh", "-c", command, "sh", *python],
        cwd=bench.workspace,
        env=bench.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Running(process).end()


@pytest.mark.usefixtures("sealing")
def test_a_closed_stream_is_nobodys_loss(bench: Bench) -> None:
    """Closed stdout: the run seals all the same. Closed stderr: no progress turns up among the data."""
    assert _with_closed(bench, ">&-").code == 0
    ended = _with_closed(bench, "2>&-", "--json")
    assert ended.code == 0
    program.check_result(ended, "sealed", "stream-json")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.usefixtures("sealing")
def test_a_reader_that_leaves_early_changes_nothing(bench: Bench, stream: str) -> None:
    """As with `| head -1`: exit 0, and not a word about a broken pipe."""
    ours, theirs = os.pipe()
    os.close(ours)
    running = bench.start_task("--json", **{stream: theirs})
    os.close(theirs)
    ended = running.end()
    assert ended.code == 0
    assert "roken" not in ended.out + ended.err
    assert bench.journal()[-1]["type"] == "mission.sealed"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.usefixtures("sealing")
def test_a_full_disk_behind_stdout_is_said(bench: Bench) -> None:
    """The mission seals; that its data was lost stands on stderr."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ended = bench.task("--json", stdout=full)
    assert ended.code == 0
    assert "No space left" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of another size")
def test_a_reader_that_does_not_read_cannot_keep_a_run_from_stopping(bench: Bench) -> None:
    """The stream is stuck in a full pipe; SIGTERM ends the run all the same."""
    came, go_on = threading.Event(), threading.Event()
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task("--json", stdout=theirs)
        os.close(theirs)
        program.wait(came)
        running.signal(signal.SIGTERM)
        running.line("again: at once")
        go_on.set()
        assert running.end().code == 143
    os.close(ours)
    assert bench.journal()[-1]["type"] == "mission.stopped"


def test_what_a_model_says_cannot_steer_the_terminal_or_the_ci(bench: Bench) -> None:
    """Escape sequences, bidi overrides and runner commands in an answer come out harmless, in every form."""
    evil = "\x1b]0;owned\x07\x1b[2Jhello\u202e\n::error::x\n  ::set-output name=a::b\n##[error]y"
    with bench.served(play.mission(commander=play.answer(evil))):
        text = bench.task("--answer")
        data = bench.task("--answer", "--json")
    assert text.code == data.code == 0
    assert data.lines[-1]["result"] == evil
    for shown in (text.out, text.err, data.out, data.err):
        assert not [c for c in shown if not (c.isprintable() or c == "\n")]
        assert "##[" not in shown
        assert not [line for line in shown.splitlines() if line.lstrip().startswith("::")]
    assert "hello" in text.out


def test_nothing_but_data_is_said_quietly(bench: Bench) -> None:
    """`-q` leaves stderr empty; what went wrong before the start is said even so."""
    with bench.served(play.mission(A)):
        assert bench.task("-q").err == ""
    assert "no goal" in bench.run("task", "-q").err


@pytest.mark.parametrize("where", [".", ".."], ids=["inside", "from above"])
@pytest.mark.usefixtures("sealing")
def test_the_patch_is_named_as_the_shell_finds_it(bench: Bench, where: str) -> None:
    """Relative to where orch was started, whatever the workspace is."""
    here = (bench.workspace / where).resolve()
    ended = bench.task("-C", str(bench.workspace), cwd=here)
    (words,) = [line for line in ended.err.splitlines() if " changed: " in line]
    named = words.rpartition("changed: ")[2]
    assert not named.startswith("/")
    assert (here / named).read_text().startswith("diff --git")
