"""A session that orch does not survive, in each run: after three it is set aside, and the others finish."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.mission.quarantine import MAX_CRASHES
from orch.tools import edits
from orch.tools.desk import Desk, ToolResult
from tests.endpoint import Step
from tests.play import SILENCE, Scene, build, item, mission
from tests.program import Bench, Running, bench
from tests.runtime.house import House, Run

SCRIPT = mission(item("a"), item("b"), item("c", after=["a"]))
ASIDE = f"orch came to its end {MAX_CRASHES} times in the same step of it"


def culprits(run: Run) -> list[ev.SessionId | None]:
    """Return in whose session each run of the mission crashed."""
    return [event.session for event in run.all(ev.MissionFailed) if event.outcome is ev.Outcome.ERROR]


def put_aside(run: Run) -> list[str]:
    """Return what was said of the sessions that were set aside."""
    return [event.text for event in run.all(ev.Heal) if "set aside" in event.text]


@pytest.mark.fault(54)
def test_a_session_with_a_bug_in_its_step_is_set_aside_after_three_runs(
    house: House, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Each run says whose session it was; the fourth does without it, and a later one starts afresh."""
    write = edits.write

    async def breaks(desk: Desk, call_id: str, path: str, content: str) -> ToolResult:
        if path == "b.txt":
            raise ZeroDivisionError("a bug")
        return await write(desk, call_id, path, content)

    with monkeypatch.context() as patched:
        patched.setattr(edits, "write", breaks)
        runs = [house.begin(SCRIPT), *(house.resume(SCRIPT) for _ in range(MAX_CRASHES))]
    healed = house.resume(SCRIPT)

    last = runs[-1]
    (culprit,) = set(culprits(last))
    record_property("figure", f"exits {' '.join(str(run.result.exit_code) for run in [*runs, healed])}")
    assert [run.result.exit_code for run in runs] == [70] * MAX_CRASHES + [1]
    assert culprits(last) == [culprit] * MAX_CRASHES
    assert put_aside(last) == [f"session {culprit} was set aside: {ASIDE}"]
    assert [last.status(name) for name in "abc"] == ["completed", "failed", "completed"]
    assert last.result.blockers[0].text == f"item b is failed: session {culprit} was set aside: {ASIDE}"
    assert len([e for e in last.all(ev.ItemStarted) if e.item == "b"]) == 1, "a second Worker tried"
    assert healed.result.exit_code == 0, healed.result.result


@pytest.mark.fault(54)
def test_a_bug_that_goes_away_takes_its_blame_along(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs crash, the third does not: the session goes on, in the same conversation."""

    async def breaks(*_: object) -> ToolResult:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(edits, "write", breaks)
        house.begin(mission(item("a")))
        house.resume(mission(item("a")))
    run = house.resume(mission(item("a")))

    assert run.result.exit_code == 0, run.result.result
    assert not put_aside(run)
    assert {session.crashes for session in run.state.sessions.values()} == {0}


@pytest.mark.fault(54)
def test_a_session_that_kills_the_process_is_set_aside_after_three_runs(tmp_path: Path) -> None:
    """Killed with no chance to say anything, while that session's answer is due; `orch resume`, and again."""
    place = bench(tmp_path)
    alive: list[Running] = []
    deadly = True

    def worker(scene: Scene) -> Step:
        """Kill orch wherever item b is asked for."""
        if deadly and scene.field("id") == "b":
            os.kill(alive[-1].process.pid, signal.SIGKILL)
            return SILENCE
        return build(scene)

    with place.served(mission(item("a"), item("b"), item("c"), worker=worker)):
        alive.append(place.start_task("-q", "-j", "1"))
        runs = [alive[-1].end()]
        while len(runs) <= MAX_CRASHES:
            alive.append(place.start("resume", "-q", "--output-format", "json"))
            runs.append(alive[-1].end())
        deadly = False
        again = place.run("resume", "-q", "--output-format", "json")

    assert [ended.code for ended in runs] == [-signal.SIGKILL] * MAX_CRASHES + [1]
    assert runs[-1].result["todo"] == {"done": 2, "total": 3}
    assert ASIDE in runs[-1].result["blockers"][0]["text"]
    assert _heals(place) == [ASIDE]
    assert again.code == 0, again.out


def _heals(place: Bench) -> list[str]:
    texts = [event["text"] for event in place.journal() if event["type"] == "heal"]
    return [text.partition("set aside: ")[2] for text in texts if "set aside" in text]
