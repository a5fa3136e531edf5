"""Whole missions through the real house: slots, leases, stops, errors, and a cast at its worst."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.mission.reduce import reduce
from orch.mission.state import MissionState, running_sessions
from orch.runtime import holdings, orchestrator
from tests.endpoint import Script, Step
from tests.play import (
    Player,
    Scene,
    always,
    approve,
    build,
    call,
    delegate,
    item,
    lead,
    mission,
    reject,
    run,
    say,
)
from tests.runtime.chaos import chaos
from tests.runtime.house import House, Run

PROJECT = Path(__file__).parents[2]
HOLDER = """
import pathlib, sys
from orch.store.folder import Folder
from orch.store.leases import Leases

folder = Folder(pathlib.Path(sys.argv[1]))
folder.create()
leases = Leases(folder)
print(leases.acquire("other", sys.argv[2:]), flush=True)
sys.stdin.read()
"""


def slowly(script: Script, delay_s: float = 0.02) -> Script:
    """Return a script whose answers take their time."""
    return lambda turn: replace(script(turn), delay_s=delay_s)


def check_slots(run: Run, slots: int) -> None:
    """Assert for every moment what must always hold, and that the journal says what the run saw."""
    state = MissionState()
    for event in run.events:
        state = reduce(state, event)
        at_work = [s for s in running_sessions(state) if s.role in (ev.Role.WORKER, ev.Role.REVIEWER)]
        assert len(at_work) <= slots
        held = [path for item in state.items.values() if item.leased for path in item.files]
        assert len(held) == len(set(held)), "a file has two holders"
    assert state == run.state


def once_rejecting(path: str) -> Player:
    """Reviewer: reject the item of `path` until it was reworked."""

    def player(scene: Scene) -> Step:
        is_first = scene.files == [path] and "Issues that this round had to solve" not in scene.brief
        return reject("do it again")(scene) if is_first else approve(scene)

    return player


@pytest.mark.parametrize("seed", range(3))
def test_whatever_agents_do_the_mission_ends_and_its_journal_is_sound(house: House, seed: int) -> None:
    """Thirty items amid rejections, requests, cancels, intrusions, jobs left behind and calls not granted."""
    run = house.begin(chaos(seed, 30), max_parallel=8)

    ends = (ev.Outcome.SEALED, ev.Outcome.UNSEALED, ev.Outcome.STAGNATED)
    assert run.state.outcome in ends, run.result.result
    check_slots(run, 8)


def test_a_commander_that_has_the_same_done_again_and_again_is_stopped(house: House) -> None:
    """Each round is approved, and none moves anything: it is told so, asked for a plan, and then stopped."""

    def again(scene: Scene) -> Step:
        task = {"description": "once more", "prompt": "Make a.txt.", "files": ["a.txt"]}
        if scene.results("delegate_task"):
            return say()
        return call("delegate_task", agent="worker", check="grep -q made a.txt", **task)

    def same(scene: Scene) -> Step:
        path, done = scene.files[0], [call.name for call in scene.done]
        if "write" in done:
            return say()
        return call("write", path=path, content="made\n") if "read" in done else call("read", path=path)

    run = house.begin(mission(item("a"), commander=again, worker=same))

    assert run.result.exit_code == 5, run.result.result
    assert [event.stage for event in run.all(ev.Stagnation)] == list(ev.StagnationStage)
    assert len(run.state.items) <= 5


def test_one_slot_is_enough(house: House) -> None:
    """For items that depend on each other, with a rejection."""
    script = mission(item("a"), item("b", after=["a"]), item("c"), reviewer=once_rejecting("b.txt"))

    run = house.begin(script, max_parallel=1)

    assert run.result.exit_code == 0, run.result.result
    assert [event.item for event in run.all(ev.ItemRejected)] == ["b"]
    check_slots(run, 1)


def test_never_more_sessions_at_once_than_slots(house: House) -> None:
    """Twelve Workers, three slots: the endpoint never has more than three requests in flight."""
    run = house.begin(slowly(mission(*(item(f"i{n}") for n in range(12)))), max_parallel=3)

    assert run.result.exit_code == 0, run.result.result
    assert house.max_concurrent == 3
    check_slots(run, 3)


# ---- leases


@contextmanager
def another_process_holding(house: House, *paths: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the leases of `paths`, until its stdin is closed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(house.workspace), *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder:
        assert holder.stdout.readline() == "None\n"
        yield holder
        holder.stdin.close()


def test_an_item_waits_for_a_file_that_another_process_holds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once; others go on meanwhile, also with one slot; and it starts when the file is free."""
    monkeypatch.setattr(orchestrator, "LEASE_RETRY_S", 0.02)
    with another_process_holding(house, "a.txt") as holder:

        def frees(scene: Scene) -> Step:
            """Let go as soon as the other item is being built."""
            if scene.files == ["b.txt"] and holder.poll() is None:
                holder.kill()
                holder.wait()
            return build(scene)

        run = house.begin(mission(item("a"), item("b"), worker=frees), max_parallel=1)

    assert run.result.exit_code == 0, run.result.result
    (denied,) = run.all(ev.LeaseDenied)
    assert (denied.item, denied.files) == ("a", ("a.txt",))
    assert "another process" in denied.reason
    assert [event.item for event in run.all(ev.ItemStarted)] == ["b", "a"]


def test_a_file_that_stays_taken_fails_its_item(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the holder's name; the rest is done."""
    monkeypatch.setattr(orchestrator, "LEASE_RETRY_S", 0.02)
    monkeypatch.setattr(holdings, "LEASE_LIMIT_S", 0.1)
    with another_process_holding(house, "a.txt") as holder:
        run = house.begin(mission(item("a"), item("b")))

    (failed,) = run.all(ev.ItemFailed)
    assert run.result.exit_code == 1
    assert f"held by another process (pid {holder.pid})" in failed.reason
    assert run.status("b") == "completed"


@pytest.mark.parametrize("stays", [False, True])
def test_a_file_that_somebody_took_between_two_runs_is_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    """Its Worker goes on when the file is free; if it stays taken the item fails, and the others are done."""
    monkeypatch.setattr(orchestrator, "LEASE_RETRY_S", 0.02)
    monkeypatch.setattr(holdings, "LEASE_LIMIT_S", 0.1 if stays else 60.0)
    plan = (item("a"), item("b"))
    whole = house.begin(mission(*plan), max_parallel=1)
    house.cut(next(e for e in whole.all(ev.ItemStarted) if e.item == "a"))
    (house.workspace / "a.txt").unlink()

    with another_process_holding(house, "a.txt") as holder:

        def worker(scene: Scene) -> Step:
            if not stays and scene.field("id") == "b" and holder.stdin is not None:
                holder.stdin.close()
            return build(scene)

        again = house.resume(mission(*plan, worker=worker))

    (denied,) = again.all(ev.LeaseDenied)
    assert (denied.item, f"pid {holder.pid}" in denied.reason) == ("a", True)
    assert again.status("a") == ("failed" if stays else "completed")
    assert again.status("b") == "completed"
    assert again.result.exit_code == int(stays)


def test_a_plan_in_the_place_of_another_takes_its_files_over(house: House) -> None:
    """Items of the same names with the same files: the new Workers hold what the old ones held."""

    def commander(scene: Scene) -> Step:
        """Cancel whatever runs and delegate it again, thrice, then lead."""
        if scene.woken:
            return lead(scene)
        orders = [
            step for n in range(1, 4) for step in (_task("a.txt"), call("cancel_task", task_id=f"T{n}"))
        ]
        return [*orders, _task("a.txt"), say()][len(scene.done)]

    run = house.begin(mission(commander=commander))

    assert run.result.exit_code == 0, run.result.result
    assert [run.status(f"T{n}") for n in range(1, 5)] == ["dropped"] * 3 + ["completed"]
    assert run.all(ev.LeaseDenied) == []
    assert not [text for text in run.said("write") if "lease" in text]
    check_slots(run, 4)


def _task(path: str) -> Step:
    return call(
        "delegate_task",
        agent="worker",
        description="make it",
        prompt="Make it.",
        files=[path],
        check=f"grep -q made {path}",
    )


# ---- what is running ends


def test_cancelling_a_task_ends_its_commands(house: House) -> None:
    """A Reviewer in the middle of a long command is gone at once, and its slot and file are free."""
    started = house.workspace / "started"

    def commander(scene: Scene) -> Step:
        """Wait for the command, then cancel."""
        if scene.woken:
            return lead(scene)
        if not scene.done:
            return _task("a.txt")
        if not started.exists():
            return replace(call("glob", pattern=f"{len(scene.done)}"), delay_s=0.05)
        if not scene.results("cancel_task"):
            return call("cancel_task", task_id="T1")
        return _task("b.txt") if scene.done[-1].name == "cancel_task" else say()

    def reviewer(scene: Scene) -> Step:
        """Hang on the first item."""
        if scene.files == ["a.txt"] and not scene.done:
            return call("bash", command="touch started; sleep 600")
        return approve(scene)

    run = house.begin(mission(commander=commander, reviewer=reviewer), max_parallel=1)

    assert (run.status("T1"), run.status("T2")) == ("dropped", "completed")
    assert run.result.duration_s < 60
    assert run.result.exit_code == 1
    assert "a.txt was changed, and no item has it any more" in run.result.blockers[0].text
    assert [dropped.item for dropped in run.result.dropped] == ["T1"]


def test_a_job_has_ended_before_the_mission_is_verified(house: House) -> None:
    """It ends with its session, if unwillingly; the final tree is looked at when all is still."""
    job = "trap '' TERM; echo $$ > pid; while :; do sleep 0.02; done"

    def reviewer(scene: Scene) -> Step:
        """Leave a job behind."""
        if not scene.done:
            return call("run_background", command=job)
        return run("until test -s pid; do sleep 0.02; done")(replace(scene, done=scene.done[1:]))

    seen = house.begin(
        mission(
            item("a", check="test -f a.txt"), verify=["! kill -0 $(cat pid)"], reviewer=once_run(reviewer)
        )
    )

    assert seen.result.exit_code == 0, seen.result.result
    assert [
        v.exit_code for v in seen.all(ev.VerificationFinished) if v.phase is ev.VerificationPhase.SEAL
    ] == [0]


def once_run(player: Player) -> Player:
    """Reviewer: do as `player` until a command ran, then run the check and approve."""

    def then(scene: Scene) -> Step:
        runs = scene.results("bash")
        if len(runs) == 1:
            return call("bash", command=scene.field("check"))
        return approve(scene) if runs else player(scene)

    return then


# ---- stops


def stopping(player: Player, number: signal.Signals) -> Player:
    """Return `player`, which signals this very process before its first answer."""
    left = [number]

    def stopped(scene: Scene) -> Step:
        while left:
            os.kill(os.getpid(), left.pop())
        return replace(player(scene), delay_s=0.05)

    return stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_turn_under_way_may_finish_before_a_stop(house: House, number: signal.Signals, code: int) -> None:
    """It is paid for; nothing new starts, and the resume does not ask it again."""
    script = mission(item("a"))
    stopped = house.begin(mission(item("a"), worker=stopping(build, number)))
    turns = len(stopped.all(ev.TurnFinished))

    again = house.resume(script)

    assert stopped.result.exit_code == code
    assert stopped.events[-1].type == "mission.stopped"
    assert stopped.said("write") == []
    assert stopped.all(ev.ToolCalled)[-1].tool == "write"
    assert again.result.exit_code == 0, again.result.result
    assert again.all(ev.TurnFinished)[turns].turn == 2, "the write was done, not asked for again"


def test_a_second_signal_waits_for_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn under way is lost, and asked again by the next run."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 600.0)
    hanging = always(Step(text="late", delay_s=600.0))

    def player(scene: Scene) -> Step:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        return hanging(scene)

    stopped = house.begin(mission(item("a"), worker=player))

    assert stopped.result.exit_code in (130, 143)
    assert stopped.result.duration_s < orchestrator.GRACE_S / 2
    assert house.resume(mission(item("a"))).result.exit_code == 0


def test_a_long_command_is_ended_after_the_grace(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session hears on resume that the outcome is unknown, and it is not run again."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 0.1)

    def reviewer(scene: Scene) -> Step:
        """Hang, and have the process stopped meanwhile."""
        if not scene.done:
            return call("bash", command=f"echo run >> runs; kill -TERM {os.getpid()}; sleep 600")
        return approve(replace(scene, done=scene.done[1:]))

    stopped = house.begin(mission(item("a"), reviewer=reviewer))
    again = house.resume(mission(item("a"), reviewer=reviewer))

    assert stopped.result.exit_code == 143
    assert again.result.exit_code == 0, again.result.result
    assert [text for text in again.said("bash") if text.startswith("interrupted")]
    assert (house.workspace / "runs").read_text() == "run\n"


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (".opencode/orch/missions", "journal is gone"),
        (".opencode/orch/locks", "lock files of this mission are gone"),
        (".opencode/orch", "journal is gone"),
        (".opencode", "journal is gone"),
        ("", "journal is gone"),
    ],
)
@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_who_takes_the_state_away_stops_the_run(
    house: House, monkeypatch: pytest.MonkeyPatch, gone: str, said: str, how: str
) -> None:
    """What would be written could never be found again, what is locked binds nobody else any more."""
    monkeypatch.setattr(orchestrator, "WATCH_S", 0.02)
    path = house.workspace / gone

    def worker(scene: Scene) -> Step:
        if path.exists():
            path.rename(house.workspace.parent / "away")
            if how == "deleted":
                shutil.rmtree(house.workspace.parent / "away")
        return replace(build(scene), delay_s=60.0)

    state, result = house.launch(mission(item("a"), worker=worker))

    assert result.exit_code == 74
    assert said in state.ending
    assert (result.resume is None) == (said == "journal is gone"), "a line that cannot work"
    assert result.duration_s < 30


# ---- who may do what


def test_a_call_that_is_not_granted_is_refused_and_recorded(house: House) -> None:
    """The session is told what it has, and goes on; the result names it."""

    def worker(scene: Scene) -> Step:
        """Try a shell first."""
        return build(scene) if scene.results("bash") else call("bash", command="touch evil")

    run = house.begin(mission(item("a"), worker=worker))

    assert run.result.exit_code == 0, run.result.result
    assert [(e.tool, e.reason) for e in run.all(ev.PermissionDenied)] == [
        ("bash", "a worker may not call bash")
    ]
    assert run.said("bash")[0].startswith("a worker may not call bash; you have: delete, edit, glob,")
    assert not (house.workspace / "evil").exists()
    assert len(run.result.permission_denials) == 1


def test_a_request_reaches_the_owner(house: House) -> None:
    """While it works, with its next brief; after its completion, as a fix."""

    def worker(scene: Scene) -> Step:
        """Ask for a change of a file that is done by then."""
        if scene.files == ["b.txt"] and not scene.results("request_change"):
            return call("request_change", path="a.txt", description="export a")
        if scene.field("id") == "a.fix1" and not scene.results("read"):
            return call("read", path="a.txt")
        return build(scene)

    run = house.begin(mission(item("a"), item("b", after=["a"]), worker=worker))

    assert run.result.exit_code == 0, run.result.result
    assert run.status("a.fix1") == "completed"
    assert "export a" in run.state.items[ev.ItemId("a.fix1")].spec.instructions
    assert run.state.issues[ev.IssueId("I1")].is_open is False


def test_a_mute_commander_stops_nothing(house: House) -> None:
    """It is planned, dispatched and sealed without it."""
    run = house.begin(mission(item("a"), commander=always(say())))

    assert run.result.exit_code == 0, run.result.result


def test_a_delegated_task_needs_no_planner(house: House) -> None:
    """A one-file change is one Worker and one Reviewer."""
    run = house.begin(mission(commander=delegate(item("a"))))

    assert run.result.exit_code == 0, run.result.result
    assert [s.role for s in run.state.sessions.values()] == ["commander", "worker", "reviewer"]
