"""`orch task --dry-run`: what it prints, and how it goes on."""

import threading

from tests import play, program
from tests.program import Bench

A, B = play.item("a"), play.item("b", after=["a"])


def test_the_plan_is_on_stdout_and_the_resume_line_runs_it(bench: Bench) -> None:
    """Exit 0 and nothing but `.opencode/`; `status` says `planned`; then it is sealed, planned once."""
    with bench.served(play.mission(A, B)):
        ended = bench.task("--dry-run")
        assert ended.code == 0, ended.err
        assert ended.out.startswith("Plan: 2 items in 2 waves.")
        assert "Still to pay: " in ended.out
        assert [path.name for path in bench.workspace.iterdir()] == [".opencode"]
        (entry,) = bench.status()
        assert (entry["status"], entry["todo"]) == ("planned", {"done": 0, "total": 2})
        assert f"run it with: {entry['resume']}" in ended.err
        resumed = bench.run(*entry["resume"].split()[1:], "--output-format", "json")
    assert program.check_result(resumed, "sealed", "json")["todo"] == {"done": 2, "total": 2}
    assert [event["type"] for event in bench.journal()].count("plan.accepted") == 1


def test_its_result_is_no_error_and_holds_the_estimate(bench: Bench) -> None:
    """What a script reads of it."""
    with bench.served(play.mission(A, B)):
        ended = bench.task("--dry-run", "--output-format", "json")
    result = program.check_result(ended, "planned", "json")
    assert (result["is_error"], result["blockers"], result["patch"]) == (False, [], None)
    assert 0 < result["estimate"]["tokens_least"] < result["estimate"]["tokens_most"]
    assert result["resume"]


def test_a_dry_run_that_was_killed_is_one_when_it_goes_on(bench: Bench) -> None:
    """`orch resume` finishes the plan, and begins no work."""
    came = threading.Event()
    planner = play.silent_once(play.plan(A), came)
    with bench.served(play.mission(A, planner=planner)):
        running = bench.start_task("--dry-run")
        program.wait(came)
        running.process.kill()
        assert running.end().code == -9
        resumed = bench.run("resume", "--output-format", "json")
    program.check_result(resumed, "planned", "json")
    assert not (bench.workspace / "a.txt").exists()


def test_a_question_is_not_planned(bench: Bench) -> None:
    """`--answer` with `--dry-run` is exit 2, before a mission begins."""
    ended = bench.run("task", "why?", "--answer", "--dry-run")
    assert ended.code == 2
    assert "leave out --dry-run" in ended.err
    assert not list(bench.workspace.iterdir())
