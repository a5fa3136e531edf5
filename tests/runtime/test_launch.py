"""Runs begin, end, and go on after any crash: nothing is paid twice, done twice, or lost."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from orch.errors import DiskRefused, MissionHeld, UsageError
from orch.mission import events as ev
from orch.mission.reduce import replay
from orch.mission.state import MissionState
from orch.store import board
from orch.store.folder import Folder
from orch.store.locks import MissionLock
from tests.endpoint import Step
from tests.play import Scene, approve, ask_first, build, item, mission, run
from tests.runtime.house import House

SCRIPT = mission(item("a"), item("b", after=["a"]), verify=["grep -q made b.txt"])
TEXTS = ("made by a, 0\n", "made by b, 0\n")
CONTENTS = {hashlib.sha256(text.encode()).hexdigest(): text for text in TEXTS}
STEP = 7
"""Every so many events of a mission the crash is tried, from several offsets."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Return a house whose mission was never disturbed; its disk is to be copied."""
    place = tmp_path_factory.mktemp("whole") / "workspace"
    place.mkdir()
    house = House(place)
    assert house.begin(SCRIPT).result.exit_code == 0
    return house


def crashed(whole: House, place: Path, after: int, *, written: bool) -> House:
    """Return a house as a crash after an event leaves it; with `written`, an intended write had happened."""
    shutil.copytree(whole.workspace, place / "workspace")
    house = House(place / "workspace", whole.mission)
    events = house.events()
    house.cut(events[after - 1])
    state = replay(events[:after])
    files = {**dict.fromkeys(("a.txt", "b.txt")), **state.files}
    if written:
        files |= {path: intent.after for path, intent in state.intents.items()}
    for path, sha256 in files.items():
        (house.workspace / path).unlink()
        if sha256 is not None:
            (house.workspace / path).write_text(CONTENTS[sha256])
    return house


@pytest.mark.parametrize("offset", range(0, STEP, 2))
def test_a_mission_goes_on_after_a_crash_at_any_event(whole: House, tmp_path: Path, offset: int) -> None:
    """It is sealed; no finished turn is asked again, and no completed item is touched again."""
    for after in range(1 + offset, len(whole.events()), STEP):
        place = tmp_path / str(after)
        place.mkdir()
        house = crashed(whole, place, after, written=False)
        known = house.events()
        done = {event.item for event in known if isinstance(event, ev.ItemCompleted)}

        again = house.resume(SCRIPT)

        assert again.result.exit_code == 0, (after, again.result.result)
        assert again.events[: len(known)] == known
        assert not [e for e in again.events[after:] if isinstance(e, ev.ItemStarted) and e.item in done]
        assert all("made by" in path.read_text() for path in house.workspace.glob("*.txt"))


@pytest.mark.fault(40)
@pytest.mark.parametrize("last", [ev.FileIntended, ev.FileChanged])
def test_a_write_whose_result_was_lost_is_not_repeated(
    whole: House, tmp_path: Path, last: type[ev.Fact]
) -> None:
    """The file is what was intended: its Worker is told that it is written, and goes on.

    Also if half of the batch with the result is on disk: it never happened.
    """
    cut = next(event for event in whole.events() if isinstance(event, last))
    house = crashed(whole, tmp_path, cut.seq, written=True)
    before = (house.workspace / "a.txt").stat()

    again = house.resume(SCRIPT)

    assert again.result.exit_code == 0, again.result.result
    assert again.said("write")[0] == "a.txt: created"
    assert (house.workspace / "a.txt").stat().st_mtime_ns == before.st_mtime_ns
    assert len(again.all(ev.FileIntended)) == len(again.all(ev.FileChanged)) == 2


def last(house: House, kind: type[ev.Fact], **facts: object) -> ev.Event:
    """Return the last event of a kind with these facts."""
    return [
        event
        for event in house.events()
        if isinstance(event, kind) and all(getattr(event, key) == value for key, value in facts.items())
    ][-1]


def test_a_command_that_was_cut_off_is_never_run_again(house: House) -> None:
    """Its session hears that the outcome is unknown, and decides."""
    script = mission(item("a"), reviewer=run("echo run >> runs"))
    house.begin(script)
    house.cut(last(house, ev.ToolCalled, tool="bash", summary="bash echo run >> runs"))

    def reviewer(scene: Scene) -> Step:
        """Review once told."""
        told = [done for done in scene.results("bash") if done.result.startswith("interrupted")]
        return approve(Scene(**{**vars(scene), "done": scene.done[len(told) :]}))

    again = house.resume(mission(item("a"), reviewer=reviewer))

    assert again.result.exit_code == 0, again.result.result
    assert "its outcome is unknown" in again.said("bash")[0]
    assert (house.workspace / "runs").read_text() == "run\n"


@pytest.mark.parametrize("kind", [ev.VerificationStarted, ev.VerificationFinished])
def test_a_verification_that_was_cut_off_starts_again(house: House, kind: type[ev.Fact]) -> None:
    """From its first command: the tree may be another one."""
    script = mission(item("a"), verify=["echo one >> runs", "echo two >> runs"])
    house.settings = {"baseline": False}
    house.begin(script, baseline=False)
    (house.workspace / "runs").unlink()
    started = [event for event in house.events() if isinstance(event, kind)]
    house.cut(started[0])

    again = house.resume(script)

    assert again.result.exit_code == 0, again.result.result
    assert (house.workspace / "runs").read_text() == "one\ntwo\n"


def test_a_third_state_after_a_crash_is_a_conflict(whole: House, tmp_path: Path) -> None:
    """A person changed the file while orch was dead: the Worker is told, and nothing is overwritten."""
    intended = next(e for e in whole.events() if isinstance(e, ev.FileIntended))
    house = crashed(whole, tmp_path, intended.seq, written=False)
    (house.workspace / "a.txt").write_text("made by a person\n")

    again = house.resume(SCRIPT)

    assert again.result.exit_code == 0, again.result.result
    worker = [event.tool for event in again.all(ev.ToolFinished) if event.session == intended.session]
    assert "read it first" in again.said("write")[0]
    assert worker == ["write", "read", "write"]


# ---- beginnings and ends


def test_a_run_leaves_its_result_and_its_views(house: House) -> None:
    """Beside the journal, for whoever comes later."""
    ended = house.begin(SCRIPT)

    stored = json.loads(house.folder.mission(house.mission).result.read_text())
    assert stored == json.loads(ended.result.model_dump_json())
    assert "- [x] **a** title of a" in house.folder.todo.read_text()
    assert house.folder.issues.read_text().splitlines()[1] == "# Issues: 0 open"
    assert not (house.folder.mission(house.mission).path / "crash.log").exists()


def test_a_view_that_belongs_to_a_person_is_left_alone(house: House) -> None:
    """It is said once where the generated one went."""
    house.folder.root.mkdir()
    house.folder.todo.write_text("buy milk\n")

    house.begin(SCRIPT)

    assert house.folder.todo.read_text() == "buy milk\n"
    assert len([notice for notice in house.notices if "todo.md" in notice]) == 1


def test_a_sealed_mission_is_not_run_again(house: House) -> None:
    """Its result is what it was."""
    ended = house.begin(SCRIPT)

    again = house.resume(mission(item("c")))

    assert again.events == ended.events
    assert again.result.exit_code == 0


def test_a_second_run_in_the_workspace_is_refused(house: House) -> None:
    """Before anything of it is on disk."""
    house.folder.create()
    with MissionLock.acquire(house.folder, ev.MissionId("other")), pytest.raises(MissionHeld):
        house.begin(SCRIPT)

    assert not house.folder.mission(house.mission).path.exists()


def test_failed_items_get_another_try(house: House) -> None:
    """With a fresh session and new rounds; what was done stays done."""
    first = house.begin(mission(item("a"), item("b", setup="test -f allowed")))
    (house.workspace / "allowed").touch()
    again = house.resume(mission(item("a"), item("b", setup="test -f allowed")))

    assert first.result.exit_code == 1
    assert (first.status("a"), first.status("b")) == ("completed", "failed")
    assert again.result.exit_code == 0, again.result.result
    assert [event.item for event in again.all(ev.ItemReopened)] == ["b"]


@pytest.mark.parametrize("reply", ["Postgres.", None])
def test_a_persons_answer_wakes_the_commander(house: House, reply: str | None) -> None:
    """It is told the answer once; without one it is told that the run goes on."""
    script = mission(item("a"), commander=ask_first)
    blocked = house.begin(script)
    again = house.resume(script, reply=reply)

    told = [event.text for event in again.all(ev.MessageSent) if event.reason is ev.MessageReason.REPLY]
    assert blocked.result.exit_code == 3
    assert told == (["[orch] A person answers:\nPostgres."] if reply else [])
    assert again.result.exit_code in ((0,) if reply else (0, 1, 3))


def test_a_bug_in_a_view_or_a_part_ends_the_run_with_its_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 70; the journal says so too, and the mission can be resumed."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("orch.runtime.session.Conversation._called", broken)
        ended = house.begin(SCRIPT)
    again = house.resume(SCRIPT)

    log = house.folder.mission(house.mission).path / "crash.log"
    assert ended.result.exit_code == 70
    assert "ZeroDivisionError: a bug" in log.read_text()
    assert str(log) in ended.result.result
    assert again.result.exit_code == 0, again.result.result


@pytest.mark.fault(7)
def test_a_full_disk_ends_the_run_and_loses_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 74; what was acknowledged is there, and the resume goes on from it."""
    full = OSError(28, "No space left on device")

    def worker(scene: Scene) -> Step:
        """Let the disk be full from now on."""
        if not scene.done:
            monkeypatch.setattr("orch.store.journal.Journal._write", refuse)
        return build(scene)

    def refuse(*_: object) -> None:
        raise full

    state, result = house.launch(mission(item("a"), worker=worker))
    monkeypatch.undo()
    again = house.resume(mission(item("a")))

    assert (result.exit_code, result.retryable) == (74, True)
    assert "No space left" in state.ending
    assert again.result.exit_code == 0, again.result.result


@pytest.mark.fault(7)
def test_a_mission_whose_beginning_cannot_be_written_was_never_started(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a matter of the place (exit 2), not of a mission that could be resumed; no model is asked."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orch.store.journal.Journal._write", refuse)

    with pytest.raises(UsageError, match=r"No space left on device; nothing was started: .* `orch task`"):
        house.launch(SCRIPT)

    assert house.events() == ()


@pytest.mark.fault(7)
def test_a_view_that_cannot_be_written_ends_the_run_on_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the journal's own disk is in order, the journal says why the run ended."""
    write_view = board.write_view

    def refuse(folder: Folder, name: str, text: str) -> str | None:
        if "completed" in text:
            raise DiskRefused(f"{name}: No space left on device")
        return write_view(folder, name, text)

    monkeypatch.setattr(board, "write_view", refuse)
    run = house.begin(SCRIPT)
    monkeypatch.setattr(board, "write_view", write_view)
    again = house.resume(SCRIPT)

    assert (run.result.exit_code, run.result.subtype) == (74, "disk")
    assert [event.outcome for event in run.all(ev.MissionFailed)] == [ev.Outcome.DISK]
    assert again.result.exit_code == 0, again.result.result


@pytest.mark.fault(7)
def test_a_seal_on_record_is_a_seal_whatever_becomes_of_the_views(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is the truth; the views are made again from it."""

    def refuse(folder: Folder, name: str, text: str) -> str | None:
        raise DiskRefused(f"{folder.root / name} {len(text)}: No space left on device")

    class Late:
        """Lets the disk be full once the seal is on record."""

        def show(self, event: ev.Event, state: MissionState) -> None:
            """Look at an event."""
            del state
            if isinstance(event, ev.MissionSealed):
                monkeypatch.setattr(board, "write_view", refuse)

    house.views = (Late(),)
    run = house.begin(SCRIPT)

    assert (run.result.exit_code, run.result.subtype) == (0, "sealed")
