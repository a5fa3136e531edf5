"""`orch resume`: goes on after every kind of end, and pays nothing twice."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import play, program
from tests.commands.rush import STARTERS, rounds
from tests.endpoint import Script, Step
from tests.program import GOAL, Bench

A, B = play.item("a"), play.item("b", after=["a"])


def _kill_in_b(bench: Bench) -> Path:
    """Kill a run with SIGKILL while the Worker of b waits for its first turn; return the mission's folder."""
    came = threading.Event()
    with bench.served(play.mission(A, B, worker=play.silent_once(play.build, came, "b"))):
        running = bench.start_task()
        program.wait(came)
        running.process.kill()
        assert running.end().code == -9
    (mission,) = bench.missions
    return mission


def _holds_lock(bench: Bench, pid: int) -> bool:
    """Whether the process has just written down that it holds the workspace: it has done no more yet."""
    try:
        return bool(
            json.loads((bench.workspace / ".opencode/orch/locks/holder.json").read_bytes())["pid"] == pid
        )
    except FileNotFoundError:
        return False


def test_a_killed_mission_goes_on_and_pays_nothing_twice(bench: Bench) -> None:
    """After `kill -9`: interrupted, then sealed; a stays completed once; one turn is asked again."""
    came = threading.Event()
    with bench.served(play.mission(A, B, worker=play.silent_once(play.build, came, "b"))) as endpoint:
        running = bench.start_task()
        program.wait(came)
        running.process.kill()
        running.end()
        (entry,) = bench.status()
        assert (entry["status"], entry["alive"], entry["pid"]) == ("interrupted", False, None)
        before = bench.journal()
        resumed = bench.run("resume", "--json")
    assert resumed.code == 0
    assert program.check_result(resumed, "sealed", "stream-json")["todo"] == {"done": 2, "total": 2}
    assert [event["seq"] for event in resumed.lines[:-1]] == [
        e["seq"] for e in bench.journal()[len(before) :]
    ]
    assert resumed.lines[0]["seq"] == before[-1]["seq"] + 1
    completed = [e["item"] for e in bench.journal() if e["type"] == "item.completed"]
    assert completed == ["a", "b"]
    assert [entry.attempt for entry in endpoint.ledger if entry.attempt > 1] == [2]
    assert len({(entry.session, entry.turn) for entry in endpoint.ledger}) == len(endpoint.ledger) - 1


def test_an_answer_reaches_the_commander_and_the_mission_seals(bench: Bench) -> None:
    """A blocked mission shows its question; `--reply` is told word for word, and its own limits stay."""
    reply = "PostgreSQL, of course"
    with bench.served(play.mission(A, commander=play.ask_first)) as endpoint:
        blocked = bench.task("-j", "3", "--max-turns", "90", "--output-format", "json")
        assert blocked.code == 3
        assert blocked.result["blockers"] == [{"kind": "decision", "item": None, "text": play.QUESTION}]
        resumed = bench.run("resume", "--reply", reply, "--max-turns", "91")
    assert (resumed.code, resumed.out) == (0, f"{play.SUMMARY}\n")
    (again,) = (event for event in bench.journal() if event["type"] == "mission.resumed")
    assert (again["max_parallel"], again["max_turns"]) == (3, 91)
    told = [str((entry.request or {})["messages"][-1]["content"]) for entry in endpoint.ledger]
    assert [text for text in told if reply in text]


def looks_around(scene: play.Scene) -> Step:
    """Look somewhere else in each turn, and never write."""
    return play.call("glob", pattern=f"*.{scene.turn.number}")


@pytest.mark.parametrize(
    ("script", "limit", "code"),
    [
        (play.mission(A, reviewer=play.reject("no good")), (), 1),
        (play.mission(A, worker=looks_around), ("--max-turns", "4"), 4),
    ],
    ids=["unsealed", "limit"],
)
def test_what_did_not_seal_gets_another_run(
    bench: Bench, script: Script, limit: tuple[str, ...], code: int
) -> None:
    """Failed items get fresh sessions; the line that the end proposes does it when pasted, from anywhere.

    A mission keeps its own limits; after one was reached, that line names a higher one.
    """
    with bench.served(script):
        ended = bench.task(*limit, "--output-format", "json")
        assert ended.code == code
    elsewhere = bench.beside("elsewhere")
    with elsewhere.served(play.mission(A)):
        assert elsewhere.run(*ended.result["next"].split()[1:]).code == 0


@pytest.mark.parametrize(
    ("script", "subtype"),
    [(play.mission(A), "sealed"), (play.mission(commander=play.answer("Rust.")), "answered")],
    ids=["sealed", "answered"],
)
def test_a_closed_mission_prints_its_result_again(bench: Bench, script: Script, subtype: str) -> None:
    """Exit 0, in the asked format, and no endpoint is asked or even needed."""
    with bench.served(script):
        first = bench.task("--output-format", "json")
    bench.endpoint = None
    again = bench.run("resume", "--json")
    assert again.code == 0
    result = program.check_result(again, subtype, "stream-json")
    assert len(again.lines) == 1
    assert {**result, "exit_code": 0} == {**first.result, "exit_code": 0}


@pytest.mark.fault(5)
def test_a_damaged_journal_is_refused_with_its_line(bench: Bench) -> None:
    """Exit 2 names the line, and not a byte is changed."""
    journal = _kill_in_b(bench) / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = b'{"v":1,"seq":5,' + lines[4][20:]
    journal.write_bytes(b"".join(lines))
    for command in ("resume", "status"):
        ended = bench.run(command)
        assert ended.code == 2
        assert "journal.jsonl:5: " in ended.err
        assert ended.out == ""
    assert journal.read_bytes() == b"".join(lines)


@pytest.mark.fault(4)
def test_a_torn_last_line_is_cut_and_said(bench: Bench) -> None:
    """What a crash left of a write is no damage."""
    journal = _kill_in_b(bench) / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"v":1,"seq":')
    with bench.served(play.mission(A, B)):
        resumed = bench.run("resume", "--json")
    assert resumed.code == 0
    assert [line for line in resumed.lines if line["type"] == "heal"]


def test_a_mission_that_was_cut_before_its_first_event_is_none(bench: Bench) -> None:
    """An empty journal is neither shown nor resumed."""
    folder = bench.workspace / ".opencode/orch/missions/20260101-000000-00000"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").touch()
    assert bench.status("--all") == []
    ended = bench.run("resume")
    assert ended.code == 2
    assert "no mission" in ended.err


@pytest.mark.fault(11)
def test_of_six_that_start_or_resume_at_once_one_wins(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """The others exit 2 and name it; so in a workspace as on a mission."""
    seen = rounds(bench, 2)
    assert len({each.mission for each in seen}) == 1
    record_property("figure", f"{len(seen)} rounds of {STARTERS} processes, 1 winner each")


@pytest.mark.fault(11)
def test_a_running_mission_is_not_resumed_but_named(bench: Bench) -> None:
    """Exit 2 with its id and its pid, as a result for who asked for one; it goes on undisturbed."""
    came, go_on = threading.Event(), threading.Event()
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
        running = bench.start_task()
        program.wait(came)
        refused = bench.run("resume", "--output-format", "json")
        go_on.set()
        assert running.end().code == 0
    (mission,) = bench.missions
    result = program.check_result(refused, "error", "json")
    assert refused.code == 2
    for text in (refused.err, result["result"]):
        assert f"mission {mission.name} " in text
        assert f"(pid {running.process.pid})" in text


@pytest.mark.fault(16)
def test_a_resume_that_is_stopped_before_it_began_leaves_all_as_it_was(bench: Bench) -> None:
    """However early the signal comes: there is a result, and the next resume seals."""
    _kill_in_b(bench)
    with bench.served(play.mission(A, B, worker=play.slow(play.build, 0.5))):
        running = bench.start("resume", "--json")
        program.until(lambda: _holds_lock(bench, running.process.pid))
        running.signal(signal.SIGTERM)
        ended = running.end()
        assert ended.code == 143
        assert [line["subtype"] for line in ended.lines if line["type"] == "result"] == ["stopped"]
        assert bench.run("resume", "-q").code == 0


@pytest.mark.parametrize("arguments", [(), ("../../etc",)])
def test_no_such_mission_is_a_usage_error(bench: Bench, arguments: tuple[str, ...]) -> None:
    """Nothing to resume: exit 2, also as a result, and nothing is made."""
    ended = bench.run("resume", *arguments, "--output-format", "json")
    assert ended.code == 2
    assert program.check_result(ended, "error", "json")["mission"] is None
    assert not list(bench.workspace.iterdir())


def test_the_latest_mission_is_resumed_however_close_they_are(bench: Bench) -> None:
    """Missions of the same second are told apart."""
    with bench.served(play.mission(commander=play.ask_first)):
        names = [bench.task("--output-format", "json", "-q").result["mission"] for _ in range(2)]
    with bench.served(play.mission(A, commander=play.ask_first)):
        resumed = bench.run("resume", "--reply", "go", "--output-format", "json")
    assert resumed.result["mission"] == names[-1]
    assert [entry["mission"] for entry in bench.status("--all")] == names[::-1]


def test_another_model_can_take_over(bench: Bench) -> None:
    """`-m` at the resume counts; without it the mission keeps what it was started with."""
    _kill_in_b(bench)
    with bench.served(play.mission(A, B)) as endpoint:
        assert bench.run("resume", "-m", "openai/other").code == 0
    requests = [entry.request or {} for entry in endpoint.ledger]
    fresh = {json.dumps(r["model"]) for r in requests if r["messages"][1]["content"] != GOAL}
    assert '"other"' in fresh


def test_an_empty_reply_is_refused_and_the_question_stands(bench: Bench) -> None:
    """The line that helps on leaves room for the answer."""
    with bench.served(play.mission(A, commander=play.ask_first)):
        asked = bench.task()
        assert asked.code == 3
        assert "--reply TEXT" in asked.err
        assert bench.run("resume", "--reply", " ").code == 2
        assert bench.status()[0]["next"].endswith(" --reply TEXT")
