"""Missions are killed and stopped at random moments, and sealed in the end; an auditor looks at each step.

The long profile is run by hand: `python -m tests.chaos --kills 1000 --stops 100 --seed 7`.
"""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from orch.mission.decide import WorkKind, decide, work
from orch.mission.reduce import replay
from orch.mission.state import MissionState
from orch.store import journal
from orch.store.folder import Folder
from tests.chaos.auditor import Place, marked
from tests.chaos.ledger import Ledger, until
from tests.chaos.loop import KILLS, STOPS, Campaign, Figures, Moment, Strike, Trial
from tests.chaos.story import Aside, Kind, Story, Task, draw
from tests.endpoint import Fault, Step, Turn

KILLED, STOPPED = 40, 10
BUSY = 16
"""Requests after which the items of a small mission are at work."""
TIMES = frozenset({"ts", "started", "last_activity", "run_started", "duration_s"})
PLACES = frozenset({"seq", "run_seq", "step_seq", "told_seq", "started_seq", "opened_seq", "moved_seq"})
PAID = frozenset({"crashes", "estimate", "spending", "usage"})
"""What each run that is cut off adds to: the calls in flight are asked, and paid for, again."""


@pytest.mark.fault(1)
@pytest.mark.timeout(240)
def test_missions_that_are_killed_at_random_moments_are_sealed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nothing is lost, paid again beyond what was in flight, done twice, or left behind."""
    figures = Campaign("ci", KILLED, tmp_path, KILLS, 3, print).run(jobs=2)
    assert not figures.violations
    assert figures.struck >= KILLED
    record_property("figure", told(figures, "kills"))


@pytest.mark.fault(15)
@pytest.mark.timeout(240)
def test_missions_that_are_stopped_at_random_moments_are_sealed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A stop is over in time, leaves no process behind, and a second one does nothing."""
    figures = Campaign("ci", STOPPED, tmp_path, STOPS, 3, print).run(jobs=2)
    assert not figures.violations
    assert figures.struck >= STOPPED
    record_property("figure", f"{told(figures, 'stops')}, the slowest {figures.slowest_stop_s:.1f} s")


def told(figures: Figures, blows: str) -> str:
    """Return what a campaign came to, in one line."""
    return (
        f"{figures.struck} {blows}, {figures.missions} missions, {figures.in_flight} calls in flight, "
        f"{figures.asked_again} asked again, {figures.repairs} torn tails, "
        f"ready after {figures.slowest_ready_s:.1f} s at most, {len(figures.violations)} violations"
    )


# ---- crashes while a crash is recovered from


@pytest.mark.fault(3)
def test_a_resume_that_is_killed_leaves_what_one_resume_leaves(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """After one recovery and after three, state and files are the same; then the mission is sealed."""
    story = draw("recovery", 4)
    story = replace(story, tasks=tuple(replace(task, setup="") for task in story.tasks), stumbles=0.0)
    place = Place(tmp_path / "first")
    place.furnish(story)
    with trial_in(place, story) as trial:
        trial.launch()
        until(lambda: len(trial.ledger.notes) >= BUSY, "the mission never came so far")
        trial.strike(Strike.KILL, Moment.ASKING)
    shutil.copytree(place.root, tmp_path / "other")

    once = recovered(place, story, crashes=0)
    thrice = recovered(Place(tmp_path / "other"), story, crashes=2)

    assert thrice == once
    record_property("figure", f"{len(once[1])} files and {len(str(once[0])):,} characters of state are equal")


@contextmanager
def trial_in(place: Place, story: Story) -> Iterator[Trial]:
    """Yield a trial whose endpoint lives for as long."""
    with Ledger(story.answer) as ledger, ExitStack() as stack:
        trial = Trial(story, place, ledger, Figures())
        stack.callback(trial.give_up)
        yield trial


def recovered(place: Place, story: Story, *, crashes: int) -> tuple[object, Mapping[str, bytes]]:
    """Return the state and the files after so many crashed resumes and a whole one; seal the mission then.

    The endpoint answers nobody meanwhile, so each recovery comes to the same point, and no further.
    """
    with Ledger(story.answer) as ledger, ExitStack() as stack:
        ledger.mute(on=True)
        trial = Trial(story, place, ledger, Figures())
        stack.callback(trial.give_up)
        trial.auditor.mark(0)
        for moment in (Moment.HOLDING, Moment.READY)[:crashes]:
            trial.launch()
            trial.await_moment(moment)
            trial.process.send_signal(signal.SIGKILL)
            trial.process.wait()
        trial.launch()
        until(lambda: is_waiting(place), "it never came to where it waits for answers", pause_s=0.05)
        trial.process.send_signal(signal.SIGKILL)
        trial.process.wait()
        found = plain(state_of(place)), {path.name: path.read_bytes() for path in files_of(place)}
        ledger.mute(on=False)
        trial.launch()
        assert trial.process.wait() == 0
    assert {path.name: path.read_text() for path in files_of(place)} == story.afterwards
    return found


def state_of(place: Place) -> MissionState:
    """Return the state that the journal tells."""
    path = place.journal
    assert path is not None
    return replay(journal.read(Folder(place.workspace).mission(path.parent.name)))


def is_waiting(place: Place) -> bool:
    """Whether a run that was resumed has nothing to do any more but to wait for answers."""
    state = state_of(place)
    if decide(state):
        return False
    sessions = [state.sessions[wanted.subject] for wanted in work(state) if wanted.kind is WorkKind.SESSION]  # type: ignore[index]
    return len(sessions) == len(work(state)) and all(
        session.open_turn and session.step_seq > state.run_seq for session in sessions
    )


def plain(value: object) -> object:
    """Return a value as text and containers, without times and places in the journal."""
    left_out = TIMES | PLACES | PAID
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    elif is_dataclass(value):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    match value:
        case dict():
            return {str(key): plain(member) for key, member in value.items() if key not in left_out}
        case list() | tuple():
            return [plain(member) for member in value]
        case _:
            return str(value)


def files_of(place: Place) -> Sequence[Path]:
    """Return the workspace's files; the views are left out, which follow the journal when there is time."""
    return [path for path in place.workspace.iterdir() if path.is_file()]


# ---- answers that are paid for and lost


@pytest.mark.fault(25)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.HEADERS_ONLY])
def test_an_answer_that_was_lost_on_the_way_is_paid_for_once_more_at_most(
    tmp_path: Path, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    """The first answer of each Worker never arrives in full: it is asked for again, and nothing else is."""
    task = Task("i0", Kind.NEW, ("a.txt",), asides=(Aside.PLAIN,))
    tasks = (task, replace(task, id="i1", files=("b.txt",)))
    story = Story("lost", tasks)

    def script(turn: Turn) -> Step:
        step = story.answer(turn)
        is_lost = "You are the Worker." in turn.system and turn.number == 1 and turn.attempt == 1
        return replace(step, fault=fault) if is_lost else step

    place = Place(tmp_path / "mission")
    place.furnish(story)
    with Ledger(script) as ledger, ExitStack() as stack:
        trial = Trial(story, place, ledger, Figures())
        stack.callback(trial.give_up)
        trial.run(KILLS, lambda: True)
        lost = [note.key for note in ledger.notes if note.is_faulty]
        asked = [note.key for note in ledger.notes]
    assert len(lost) == len(set(lost)) == len(tasks)
    assert all(asked.count(key) == 1 + (key in lost) for key in asked if key[0] == "answer")
    assert not marked(place)
    record_property("figure", f"{len(asked)} requests, {len(lost)} lost answers, each paid once more")


def test_the_same_seed_draws_the_same_missions() -> None:
    """A violation can be looked for again."""
    assert [draw(f"7.{n}", 12) for n in range(20)] == [draw(f"7.{n}", 12) for n in range(20)]
    assert len({task.kind for n in range(20) for task in draw(f"7.{n}", 12).tasks}) == len(Kind)
