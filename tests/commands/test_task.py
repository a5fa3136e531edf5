"""`orch task` as a script sees it: the exit code, what stands on stdout, what on stderr, and one result."""

import shutil
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests import play, program
from tests.endpoint import MODELS, UNKNOWN_MODEL, Script, Step, Turn
from tests.program import GOAL, KEY, Bench, Ended

A, B = play.item("a"), play.item("b", after=["a"])


def _never(_turn: Turn) -> Step:
    raise AssertionError("no model was to be asked")


@pytest.mark.parametrize(
    ("script", "code", "subtype", "says"),
    [
        (play.mission(A), 0, "sealed", play.SUMMARY),
        (play.mission(A, commander=play.ask_first), 3, "blocked", play.QUESTION),
    ],
    ids=["sealed", "blocked"],
)
def test_people_get_the_report_on_stdout_and_progress_on_stderr(
    bench: Bench, script: Script, code: int, subtype: str, says: str
) -> None:
    """Without JSON, stdout is the closing report or the question alone; a pipe gets no colours."""
    with bench.served(script):
        ended = bench.task()
    assert ended.code == code
    assert ended.out.startswith(says)
    assert f"orch: {subtype}: " in ended.err
    assert ("orch: go on with: orch resume " in ended.err) == (code != 0)
    assert "\x1b" not in ended.out + ended.err


def test_a_refused_key_is_not_tried_again(bench: Bench) -> None:
    """One request, and the key itself stands nowhere in what is said."""
    with bench.served(play.mission(commander=play.always(play.refused(401)))) as endpoint:
        ended = bench.task()
    assert ended.code == 77
    assert len(endpoint.ledger) == 1
    assert KEY not in ended.out + ended.err


def test_a_model_that_the_endpoint_does_not_know_costs_no_turn(bench: Bench) -> None:
    """The result counts no turn and no token, and is worth no retry."""
    with bench.served(_never):
        ended = bench.task("-m", f"openai/{UNKNOWN_MODEL}", "--output-format", "json")
    assert (ended.result["num_turns"], ended.result["retryable"]) == (0, False)
    assert ended.result["usage"]["input_tokens"] == 0


def test_an_error_that_was_healed_leaves_no_trace_in_the_code(bench: Bench) -> None:
    """One 500 is retried, counted, and forgotten."""

    def commander(scene: play.Scene) -> Step:
        failing = play.refused(500, retry_after_ms="1")
        return failing if (scene.turn.number, scene.turn.attempt) == (0, 1) else play.lead(scene)

    with bench.served(play.mission(A, commander=commander)):
        ended = bench.task("--output-format", "json")
    assert ended.code == 0
    assert ended.result["num_retries"] == 1
    assert ended.result["blockers"] == []


def test_without_a_model_the_endpoint_is_asked_what_it_has(bench: Bench) -> None:
    """Exit 2 names the models; nothing is guessed and no turn is paid."""
    with bench.served(_never) as endpoint:
        ended = bench.run("task", GOAL)
    assert ended.code == 2
    assert all(f"openai/{model}" in ended.err for model in MODELS)
    assert (ended.out, endpoint.ledger) == ("", [])


def test_without_a_provider_the_ways_to_get_going_are_shown(bench: Bench) -> None:
    """The demo stands first; nothing was made in the workspace."""
    ended = bench.run("task", GOAL)
    assert ended.code == 2
    ways = [line for line in ended.err.splitlines() if line.startswith("  ")]
    assert "orch task --demo" in ways[0]
    assert not list(bench.workspace.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no goal"),
        ((GOAL, "-f", "goal.md"), "twice"),
        ((GOAL, "and another"), "another"),
        ((GOAL, "--bogus"), "--bogus"),
        ((GOAL, "-m", "nobody/test"), "nobody"),
        ((GOAL, "-C", "/nowhere/at/all"), "/nowhere/at/all"),
        ((GOAL, "-o", "no/such/folder/report.md"), "no/such/folder/report.md"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    bench: Bench, arguments: tuple[str, ...], says: str
) -> None:
    """Exit 2 says what is wrong on stderr, and in one result where JSON is asked for; nothing is made."""
    (bench.workspace / "goal.md").write_text(GOAL)
    ended = bench.run("task", *arguments, "--output-format=json")
    assert ended.code == 2
    assert says in ended.err
    assert says in program.check_result(ended, "error", "json")["result"]
    assert not (bench.workspace / ".opencode").exists()


def test_a_format_that_does_not_exist_is_refused(bench: Bench) -> None:
    """Exit 2 names those that do; nobody who reads text gets a word on stdout."""
    ended = bench.run("task", GOAL, "--output-format", "yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "stream-json" in ended.err


def test_settings_that_cannot_be_used_name_file_key_and_the_nearest_one(bench: Bench) -> None:
    """A misspelt key and a provider in the project's file are both refused with one line."""
    settings = bench.workspace / ".opencode/orch.toml"
    settings.parent.mkdir()
    settings.write_text("max_paralel = 3\n")
    ended = bench.task("--output-format", "json")
    assert ended.code == 2
    assert program.check_result(ended, "error", "json")["goal"] == GOAL
    assert all(word in ended.err for word in (str(settings), "max_paralel", "max_parallel"))
    settings.write_text('[providers.mine]\nkind = "openai"\nbase_url = "http://127.0.0.1:1"\n')
    refused = bench.task()
    assert refused.code == 2
    assert "providers" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_a_provider_of_the_users_own_file_is_used(bench: Bench) -> None:
    """`[providers.x]` in the user's config.toml makes `-m x/model` work, without a word about its window."""
    with bench.served(play.mission(A)) as endpoint:
        config = bench.home / ".config/orch/config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(
            f'[providers.mine]\nkind = "openai"\nbase_url = "{endpoint.base_url}"\n'
            '[providers.mine.models."test"]\ncontext_tokens = 32768\n'
        )
        ended = bench.task("-m", "mine/test")
    assert ended.code == 0
    assert "window unknown" not in ended.err


def _from_stdin(bench: Bench) -> Ended:
    return bench.run("task", "-", "-m", "openai/test", text=f"{GOAL}\n")


def _from_file(bench: Bench) -> Ended:
    (bench.workspace / "goal.md").write_text(f"{GOAL}\n")
    return bench.run("task", "-f", "goal.md", "-m", "openai/test")


@pytest.mark.parametrize("given", [_from_stdin, _from_file])
def test_the_goal_reaches_the_commander_word_for_word(bench: Bench, given: Callable[[Bench], Ended]) -> None:
    """However it is given, the first user message is the goal."""
    with bench.served(play.mission(commander=play.answer("yes"))) as endpoint:
        assert given(bench).code == 6
    request = endpoint.ledger[0].request
    assert request is not None
    assert [m["content"] for m in request["messages"] if m["role"] == "user"] == [GOAL]


def test_the_report_goes_to_a_file_of_the_current_directory(bench: Bench) -> None:
    """`-o FILE` is relative to where the shell is, not to -C."""
    other = bench.beside("other")
    with bench.served(play.mission(A)):
        ended = bench.task("-C", str(other.workspace), "-o", "report.md", "-q")
    assert ended.code == 0
    assert (bench.workspace / "report.md").read_text() == f"{play.SUMMARY}\n"
    assert ended.out == f"{play.SUMMARY}\n"
    assert ended.err == ""
    assert (other.workspace / "a.txt").exists()


def test_the_stream_tells_everything_in_order(bench: Bench) -> None:
    """Every line is an event of a known type with the next number, and the journal says the same."""
    with bench.served(play.mission(A, B)):
        ended = bench.task("--json")
    *events, result = ended.lines
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["type"] for event in events} <= _known_types()
    assert {event["mission"] for event in events} == {result["mission"]}
    assert [event["seq"] for event in bench.journal()] == [event["seq"] for event in events]
    assert [e["item"] for e in events if e["type"] == "item.completed"] == ["a", "b"]


def _known_types() -> set[str]:
    from orch.mission import events as ev  # noqa: PLC0415 - only this test looks inside

    return {kind.model_fields["type"].default for kind in ev.Fact.__subclasses__()}


def test_the_result_is_stored_as_it_is_printed(bench: Bench) -> None:
    """`result.json` in the mission's folder and stdout hold the same object, with all the contract's keys."""
    with bench.served(play.mission(A)):
        ended = bench.task("--output-format", "json")
    (mission,) = bench.missions
    stored = (mission / "result.json").read_text()
    assert ended.result == program.Ended(0, stored, "").result
    assert set(_RESULT_KEYS.split()) <= set(ended.result)
    assert ended.result["todo"] == {"done": 1, "total": 1}
    assert ended.result["files_changed"] == ["a.txt"]
    assert [v["exit_code"] for v in ended.result["verification"]] == [0]
    assert ended.result["goal"] == GOAL


_RESULT_KEYS = """
type subtype is_error exit_code retryable mission goal resume todo issues blockers verification red_before
files_changed permission_denials usage num_sessions num_turns num_retries duration_s result
"""


def test_two_missions_do_not_work_in_one_place(bench: Bench) -> None:
    """The second exits 2 and names the first and its process, also from a folder below; the first seals."""
    came, go_on = threading.Event(), threading.Event()

    def worker(scene: play.Scene) -> Step:
        if not go_on.is_set() and not came.is_set():
            came.set()
            return play.SILENCE
        return play.build(scene)

    below = bench.workspace / "below"
    below.mkdir()
    with bench.served(play.mission(A, worker=worker)):
        first = bench.start_task()
        program.wait(came)
        (mission,) = bench.missions
        for place in (".", "below"):
            second = bench.task("-C", place, "--output-format", "json")
            program.check_result(second, "error", "json")
            assert second.code == 2
            assert mission.name in second.err
            assert str(first.process.pid) in second.err
        assert "running" in bench.run("resume").err
        first.process.kill()
        first.end()
    assert len(bench.missions) == 1
    assert not (below / ".opencode").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_turn_under_way(bench: Bench, number: signal.Signals, code: int) -> None:
    """The paid turn is kept, the result says how to go on, and going on seals without asking it again."""
    came, go_on = threading.Event(), threading.Event()
    with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))) as endpoint:
        running = bench.start_task("--json")
        program.wait(came)
        running.signal(number)
        running.line("again: at once")
        go_on.set()
        ended = running.end()
        result = program.check_result(ended, "stopped", "stream-json")
        assert ended.code == code
        resumed = bench.run(*str(result["resume"]).split()[1:], "--json")
    assert resumed.code == 0
    assert resumed.lines[0]["seq"] == ended.lines[-2]["seq"] + 1
    assert all(entry.attempt == 1 for entry in endpoint.ledger)


def test_a_second_interrupt_does_not_wait_for_the_turn(bench: Bench) -> None:
    """The turn under way would have come within the grace; it was given up instead."""
    came = threading.Event()
    worker = play.shown(play.slow(play.build, 4.0), came)
    with bench.served(play.mission(A, worker=worker)):
        running = bench.start_task()
        program.wait(came)
        running.signal(signal.SIGINT)
        running.line("again: at once")
        running.signal(signal.SIGINT)
        assert running.end().code == 130
    workers = {e["session"] for e in bench.journal() if e["type"] == "item.started"}
    assert [e for e in bench.journal() if e["type"] == "turn.finished" and e["session"] in workers] == []
    assert bench.journal()[-1]["type"] == "mission.stopped"


def test_a_hangup_that_was_ignored_stays_ignored(bench: Bench) -> None:
    """`nohup orch task` outlives its terminal."""
    came, go_on = threading.Event(), threading.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with bench.served(play.mission(A, worker=play.held(play.build, came, go_on))):
            running = bench.start_task()
            program.wait(came)
            running.signal(signal.SIGHUP)
            go_on.set()
            assert running.end().code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_mission_whose_folder_is_deleted_ends(bench: Bench) -> None:
    """Exit 74 with a result, although there is no journal to write to any more."""
    came = threading.Event()
    with bench.served(play.mission(A, worker=play.silent_once(play.build, came))):
        running = bench.start_task("--json")
        program.wait(came)
        shutil.rmtree(bench.workspace / ".opencode/orch")
        ended = running.end()
    assert ended.code == 74
    assert "journal" in program.check_result(ended, "disk", "stream-json")["result"]


def test_a_full_disk_ends_the_run_and_loses_nothing(bench: Bench) -> None:
    """Exit 74 where a file may not grow; with more room it is resumed and seals."""
    with bench.served(play.mission(A, B)) as endpoint:
        ended = bench.task("--json", file_limit_bytes=6_000)
        assert ended.code == 74
        assert program.check_result(ended, "disk", "stream-json")["retryable"]
        events = [line for line in ended.lines if line["type"] != "result"]
        assert [e["seq"] for e in bench.journal()][: len(events)] == [e["seq"] for e in events]
        assert bench.run("resume", "-q").code == 0
    assert endpoint.refusals == []


def test_keys_stand_in_no_file(bench: Bench) -> None:
    """Neither the journal nor any other file of the workspace holds the key, nor does a command see it."""
    reviewer = play.run("env")
    with bench.served(play.mission(A, reviewer=reviewer)):
        assert bench.task("--json").code == 0
    texts: list[Any] = [p.read_bytes() for p in bench.workspace.rglob("*") if p.is_file()]
    assert not [text for text in texts if KEY.encode() in text]
