"""`orch status`: the running mission, else the latest; as a table and as the contract's JSON."""

import threading

import pytest

from tests import play, program
from tests.program import GOAL, Bench

A = play.item("a")
ENTRY = """
mission goal status pid alive started updated duration_s todo issues sessions usage resume
"""
SESSION = "session role item state turns tokens since last_activity"


def test_a_workspace_without_missions_is_no_error(bench: Bench) -> None:
    """`{"missions": []}`, exit 0, and for people a word on how to begin."""
    ended = bench.run("status", "--json")
    assert (ended.code, ended.result, ended.err) == (0, {"missions": []}, "")
    assert "orch task" in bench.run("status").out
    assert bench.run("status", "--all").code == 0
    assert not list(bench.workspace.iterdir())


def test_a_running_mission_is_shown_with_its_sessions(bench: Bench) -> None:
    """While a Worker waits for its answer: running, its pid, its item, and what it is about."""
    came = threading.Event()
    with bench.served(play.mission(A, worker=play.silent_once(play.build, came))):
        running = bench.start_task()
        program.wait(came)
        (entry,) = bench.status()
        table = bench.run("status")
        running.process.kill()
        running.end()
    assert set(entry) >= set(ENTRY.split())
    assert all(set(session) >= set(SESSION.split()) for session in entry["sessions"])
    assert (entry["status"], entry["pid"], entry["resume"]) == ("running", running.process.pid, None)
    (worker,) = [s for s in entry["sessions"] if s["role"] == "worker"]
    assert (worker["item"], worker["state"]) == ("a", "running")
    assert f"pid {running.process.pid}" in table.out
    assert "worker" in table.out
    assert table.err == ""


def test_a_mission_is_named_or_the_latest_is_shown(bench: Bench) -> None:
    """The latest by default, an older one by its id, all with --all, newest first."""
    with bench.served(play.mission(commander=play.ask_first)):
        first = bench.task("--output-format", "json").result
    with bench.served(play.mission(A)):
        second = bench.task("--output-format", "json").result
    (latest,) = bench.status()
    assert (latest["mission"], latest["status"], latest["goal"]) == (second["mission"], "sealed", GOAL)
    assert (latest["resume"], latest["todo"]) == (None, {"done": 1, "total": 1})
    assert latest["usage"] == second["usage"]
    (named,) = bench.status(first["mission"])
    assert (named["status"], named["resume"]) == ("blocked", first["resume"])
    assert [entry["mission"] for entry in bench.status("--all")] == [second["mission"], first["mission"]]
    listed = bench.run("status", "--all").out.splitlines()
    assert [line.split()[1] for line in listed] == ["sealed", "blocked"]


def test_an_unknown_mission_is_a_usage_error(bench: Bench) -> None:
    """Exit 2 names it, and stdout stays empty."""
    ended = bench.run("status", "20260101-000000-00000", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "20260101-000000-00000" in ended.err


def test_another_workspace_is_named_with_cd_or_the_environment(bench: Bench) -> None:
    """`-C` and `ORCH_CD` say where to look."""
    with bench.served(play.mission(commander=play.answer("yes"))):
        bench.task()
    elsewhere = bench.beside("elsewhere")
    assert len(elsewhere.status("-C", str(bench.workspace))) == 1
    elsewhere.extra["ORCH_CD"] = str(bench.workspace)
    assert len(elsewhere.status()) == 1


def test_a_blocked_mission_shows_its_question_and_how_to_answer(bench: Bench) -> None:
    """In the table, and for programs."""
    with bench.served(play.mission(commander=play.ask_first)):
        result = bench.task("--output-format", "json").result
    (entry,) = bench.status()
    assert entry["blockers"] == result["blockers"]
    rows = bench.run("status").out.splitlines()
    assert f"asks: {play.QUESTION}" in rows
    assert rows[-1] == f"next: {result['next']}"
    assert rows[-1].endswith("--reply TEXT")


def test_a_session_can_be_read(bench: Bench) -> None:
    """What it was told, said and did; as one object for programs; only one at a time."""
    with bench.served(play.mission(A)):
        bench.task("-q")
    text = bench.run("status", "--session", "S3").out
    assert text.startswith("S3 worker, item a: ")
    for words in ("briefed", "> write a.txt", "made a.txt", "ended: done"):
        assert words in text
    told = bench.run("status", "--session", "S3", "--json").result
    assert (told["session"]["session"], told["session"]["role"]) == ("S3", "worker")
    assert {event["session"] for event in told["events"]} == {"S3"}
    unknown = bench.run("status", "--session", "S33")
    assert (unknown.code, unknown.out) == (2, "")
    assert "the nearest is S3" in unknown.err


@pytest.mark.parametrize("others", ["--all --session S1", "--full"])
def test_a_session_is_asked_for_alone(bench: Bench, others: str) -> None:
    """What cannot be meant is refused."""
    ended = bench.run("status", *others.split())
    assert (ended.code, ended.out) == (2, "")
    assert "--session ID" in ended.err


@pytest.mark.parametrize("path", [".opencode", ".opencode/orch", ".opencode/orch/missions"])
@pytest.mark.parametrize("command", ["status", "stop", "resume"])
def test_a_file_in_the_place_of_the_state_is_said(bench: Bench, command: str, path: str) -> None:
    """No bug of orch's: somebody put it there."""
    file = bench.workspace / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("hi")
    ended = bench.run(command)
    assert ended.code == 2, ended.err
    assert "cannot be read" in ended.err
