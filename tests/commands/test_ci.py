"""What a CI job gets: a JUnit report at every end, and in GitHub Actions annotations and a summary."""

import signal
import threading
from pathlib import Path
from xml.etree.ElementTree import Element, parse

import pytest

from tests import play, program
from tests.endpoint import Script, Step, Turn
from tests.program import GOAL, Bench

A, B = play.item("a"), play.item("b", after=["a"])


def _never(_turn: Turn) -> Step:
    raise AssertionError("no model was to be asked")


def _github(bench: Bench) -> Path:
    """Make the bench a step of GitHub Actions whose repository is the folder above the workspace."""
    summary = bench.home / "summary.md"
    summary.write_text("before\n")
    bench.extra |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_WORKSPACE": str(bench.workspace.parent),
    }
    return summary


def _cases(file: Path) -> list[tuple[str, list[str]]]:
    """Return the test cases of a report, each with what is in it."""
    root: Element = parse(file).getroot()  # noqa: S314 - our own
    return [(case.attrib["classname"], [fault.tag for fault in case]) for case in root.iter("testcase")]


@pytest.mark.parametrize(
    ("script", "arguments", "code", "cases"),
    [
        (play.mission(A, B), (), 0, [("orch.items", [])] * 2 + [("orch.verification", [])] * 2),
        (
            play.mission(A, B, reviewer=play.approve_unseen),
            (),
            1,
            [("orch.items", ["failure"]), ("orch.items", ["skipped"])]
            + [("orch.verification", ["skipped"])] * 2,
        ),
        (
            play.mission(A, reviewer=play.run("sleep 60")),
            ("--timeout", "1.5s"),
            124,
            [("orch.items", ["skipped"]), ("orch.verification", ["skipped"]), ("orch.mission", ["error"])],
        ),
        (_never, ("--max-tokens", "x"), 2, [("orch.mission", ["error"])]),
    ],
    ids=["sealed", "unsealed", "timeout", "usage"],
)
def test_there_is_a_report_at_every_end(
    bench: Bench,
    script: Script,
    arguments: tuple[str, ...],
    code: int,
    cases: list[tuple[str, list[str]]],
) -> None:
    """A case per item and per command; what none of them says is an error of the mission itself."""
    other = bench.beside("elsewhere")
    with bench.served(script):
        ended = bench.task("-q", "--junit", "junit.xml", *arguments, "-C", str(other.workspace))
    assert ended.code == code, ended.err
    assert _cases(bench.workspace / "junit.xml") == cases


def test_a_stopped_run_has_its_report_and_the_resume_replaces_it(bench: Bench) -> None:
    """SIGTERM, then `orch resume --junit` with the same file."""
    came, go_on = threading.Event(), threading.Event()
    file = bench.workspace / "junit.xml"
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task("--junit", "junit.xml")
        program.wait(came)
        running.signal(signal.SIGTERM)
        running.line("again: at once")
        go_on.set()
        assert running.end().code == 143
        assert ("orch.mission", ["error"]) in _cases(file)
        assert bench.run("resume", "--junit", "junit.xml", "-q").code == 0
    assert _cases(file) == [("orch.items", []), ("orch.verification", [])]
    assert file.stat().st_mode & 0o044
    again = bench.run("resume", "--junit", "again.xml", "-q")
    assert again.code == 0
    assert _cases(bench.workspace / "again.xml") == _cases(file)


@pytest.mark.parametrize("file", ["no/such/folder/junit.xml", "."])
def test_a_report_that_could_not_be_written_is_refused_before_anything_is_paid(
    bench: Bench, file: str
) -> None:
    """Exit 2 names the option and the file."""
    with bench.served(_never):
        ended = bench.task("--junit", file, "--output-format", "json")
    assert ended.code == 2
    assert f"--junit {file}" in ended.err
    assert not (bench.workspace / ".opencode").exists()


def test_a_report_that_cannot_be_written_any_more_changes_nothing_else(bench: Bench) -> None:
    """Somebody took its folder away meanwhile: said in a line, and exit 0."""
    came, go_on = threading.Event(), threading.Event()
    folder = bench.workspace.parent / "reports"
    folder.mkdir()
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task("-q", "--junit", str(folder / "junit.xml"))
        program.wait(came)
        folder.rmdir()
        go_on.set()
        ended = running.end()
    assert ended.code == 0
    assert "--junit" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_github_is_told_of_what_is_wrong_where_it_is(bench: Bench) -> None:
    """Paths are the repository's; the summary is added to what is there; no other line is a command."""
    summary = _github(bench)
    evil = "bad\n::warning::x %0A ##[error]y <b>"
    with bench.served(play.mission(A, reviewer=play.reject(evil))):
        ended = bench.task("-q")
    assert ended.code == 1
    commands = [line for line in (ended.err + ended.out).splitlines() if line.lstrip().startswith("::")]
    folder = bench.workspace.name
    assert commands
    assert all(line.startswith(f"::error file={folder}/a.txt,title=issue I") for line in commands)
    assert commands[0].endswith("::bad%0A: :warning::x %250A ## [error]y <b>")
    text = summary.read_text()
    assert text.startswith("before\n## orch: unsealed (exit 1)\n")
    assert "<b>" not in text


def test_a_summary_that_cannot_be_written_changes_nothing_else(bench: Bench) -> None:
    """It is said, and a sealed mission leaves no annotation."""
    _github(bench)
    bench.extra["GITHUB_STEP_SUMMARY"] = str(bench.home / "no/such/summary.md")
    with bench.served(play.mission(A)):
        ended = bench.task("-q")
    assert ended.code == 0
    assert ended.err.startswith("orch: the step's summary cannot be written: ")
    assert len(ended.err.splitlines()) == 1


def test_github_is_told_of_a_run_that_did_not_start(bench: Bench) -> None:
    """One error with the reason."""
    _github(bench)
    ended = bench.run("task", GOAL, "-m", "nobody/test", "-q")
    assert ended.code == 2
    (command,) = [line for line in ended.err.splitlines() if line.startswith("::")]
    assert command.startswith("::error title=orch%3A error::exit 2: nobody/test: ")
