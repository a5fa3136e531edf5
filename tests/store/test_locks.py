"""One mission in a workspace."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orch.errors import MissionHeld, UsageError
from orch.mission.events import MissionId
from orch.store import locks
from orch.store.folder import Folder
from orch.store.locks import Holder, MissionLock, probe, verified_pid

PROJECT = Path(__file__).parents[2]
ROUNDS = 50

STARTER = """
import pathlib, sys
from orch.errors import MissionHeld
from orch.store import locks
from orch.store.folder import Folder

locks.PATIENCE_S = locks.NAME_PATIENCE_S = 0.02
name = sys.argv[1]
print("ready", flush=True)
for line in sys.stdin:
    place = line.strip()
    if place == "release":
        lock.release()
        print("released", flush=True)
        continue
    try:
        lock = locks.MissionLock.acquire(Folder(pathlib.Path(place)), name)
    except MissionHeld as held:
        print("held by", held.mission, flush=True)
    else:
        print("won", flush=True)
"""


class Starter:
    """A process that takes and frees the mission lock on demand."""

    def __init__(self, mission: str) -> None:
        self.mission = mission
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER, mission],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Give an order: a directory to lock, or `release`."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def starters(count: int) -> Iterator[list[Starter]]:
    """Start processes, and kill them in the end."""
    all_of_them = [Starter(f"m-{number}") for number in range(count)]
    try:
        for starter in all_of_them:
            assert starter.hear() == "ready"
        yield all_of_them
    finally:
        for starter in all_of_them:
            starter.process.kill()
            starter.process.communicate()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask once."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.0)
    monkeypatch.setattr(locks, "NAME_PATIENCE_S", 0.0)


@pytest.fixture
def acquire() -> Iterator["Acquire"]:
    """Return a way to take locks that are freed in the end."""
    taker = Acquire()
    yield taker
    for lock in taker.taken:
        lock.release()


class Acquire:
    """Takes the mission lock of directories, making them first."""

    def __init__(self) -> None:
        self.taken: list[MissionLock] = []

    def __call__(self, workspace: Path, mission: str = "m-1") -> MissionLock:
        """Take the lock of `workspace`."""
        workspace.mkdir(parents=True, exist_ok=True)
        self.taken.append(MissionLock.acquire(Folder(workspace), MissionId(mission)))
        return self.taken[-1]


def test_a_second_mission_is_refused_and_the_first_is_named(tmp_path: Path, acquire: Acquire) -> None:
    """With its id, its pid, its folder and the way to end it; then the lock is free again."""
    first = acquire(tmp_path, "m-first")

    with pytest.raises(MissionHeld, match=rf"m-first \(pid {os.getpid()}\).*orch stop -C {tmp_path}") as held:
        acquire(tmp_path)

    assert (held.value.mission, held.value.pid) == ("m-first", os.getpid())

    first.release()
    acquire(tmp_path, "m-second")


def test_releasing_twice_leaves_the_next_holder_alone(tmp_path: Path, acquire: Acquire) -> None:
    """Neither its lock nor its name."""
    first = acquire(tmp_path, "m-first")
    first.release()
    acquire(tmp_path, "m-second")
    first.release()

    holder = probe(tmp_path)

    assert holder is not None
    assert holder.mission == "m-second"


def test_the_lock_is_freed_at_the_end_of_a_with_block(tmp_path: Path, acquire: Acquire) -> None:
    """Also when the block raises."""
    with pytest.raises(ZeroDivisionError), acquire(tmp_path):
        raise ZeroDivisionError

    assert probe(tmp_path) is None


def test_a_mission_above_excludes_one_below(tmp_path: Path, acquire: Acquire) -> None:
    """However deep, and nothing is made in the refused directory."""
    acquire(tmp_path, "m-above")

    with pytest.raises(MissionHeld, match=f"m-above .* runs in {tmp_path};") as held:
        acquire(tmp_path / "a" / "b")

    assert held.value.mission == "m-above"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_mission_below_excludes_one_above_and_is_found(tmp_path: Path, acquire: Acquire) -> None:
    """Among others that run no more."""
    acquire(tmp_path / "z" / "dead", "m-dead").release()
    acquire(tmp_path / "a" / "b", "m-below")

    with pytest.raises(MissionHeld, match=f"m-below .* runs in {tmp_path / 'a' / 'b'};") as held:
        acquire(tmp_path)

    assert (held.value.mission, held.value.pid) == ("m-below", os.getpid())


def test_a_mission_that_cannot_be_found_below_is_still_excluded(
    tmp_path: Path, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search has a limit, the lock has none."""
    acquire(tmp_path / "a" / "b")
    monkeypatch.setattr(locks, "SEARCH_LIMIT", 1)

    with pytest.raises(MissionHeld, match=f"another mission runs somewhere below {tmp_path}") as held:
        acquire(tmp_path)

    assert held.value.mission is None


def test_missions_side_by_side_do_not_meet(tmp_path: Path, acquire: Acquire) -> None:
    """They share the lock of the directory above."""
    acquire(tmp_path / "a")
    acquire(tmp_path / "b")


def test_a_link_to_the_workspace_is_the_same_workspace(tmp_path: Path, acquire: Acquire) -> None:
    """The lock belongs to the directory, not to its name."""
    acquire(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(MissionHeld):
        acquire(tmp_path / "link")


@pytest.mark.fault(13)
def test_deleting_the_state_folder_makes_no_second_holder(tmp_path: Path, acquire: Acquire) -> None:
    """As `git clean -fdx` does; the holder cannot be named any more."""
    lock = acquire(tmp_path)
    shutil.rmtree(tmp_path / ".opencode")

    with pytest.raises(MissionHeld, match="another mission runs in") as held:
        acquire(tmp_path)

    assert held.value.mission is None
    assert probe(tmp_path) == Holder()
    lock.release()
    assert probe(tmp_path) is None


def test_a_place_that_is_no_directory_or_cannot_hold_state_is_refused(
    tmp_path: Path, acquire: Acquire
) -> None:
    """And the lock does not stay taken."""
    with pytest.raises(UsageError, match="no directory"):
        MissionLock.acquire(Folder(tmp_path / "typo"), MissionId("m-1"))

    (tmp_path / ".opencode").write_text("a file")
    with pytest.raises(UsageError, match="no folder"):
        acquire(tmp_path)

    assert probe(tmp_path) is None


def test_what_a_killed_holder_left_is_swept(tmp_path: Path, acquire: Acquire) -> None:
    """Pieces of files, never files."""
    acquire(tmp_path).release()
    leftover = tmp_path / ".opencode" / ".00.orch-tmp"
    leftover.write_bytes(b"half a")

    acquire(tmp_path)

    assert not leftover.exists()


def test_a_holder_that_has_just_begun_is_named_all_the_same(
    tmp_path: Path, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is refused waits until it has written down who it is; an old note names nobody."""
    acquire(tmp_path, "m-first")
    note = Folder(tmp_path).locks / "holder.json"
    said = note.read_text()
    note.write_text(said.replace("m-first", "m-dead").replace('"start_ticks":', '"start_ticks":1'))
    monkeypatch.setattr(locks, "NAME_PATIENCE_S", 60.0)
    monkeypatch.setattr("time.sleep", lambda _: note.write_text(said))

    with pytest.raises(MissionHeld) as held:
        acquire(tmp_path)

    assert held.value.mission == "m-first"


def test_a_readers_probe_does_not_refuse_a_starter(
    tmp_path: Path, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared lock that is gone at the second try."""
    reader = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    monkeypatch.setattr(locks, "PATIENCE_S", 60.0)
    monkeypatch.setattr("time.sleep", lambda _: os.close(reader))

    acquire(tmp_path, "m-1")

    assert probe(tmp_path) is not None


def test_probe_sees_no_mission_where_none_is(tmp_path: Path, acquire: Acquire) -> None:
    """Not above or below one, not in a directory that does not exist, not after the end."""
    acquire(tmp_path / "a").release()
    acquire(tmp_path / "a" / "b")

    assert probe(tmp_path / "a") is None
    assert probe(tmp_path / "a" / "b" / "c") is None
    assert probe(tmp_path / "a" / "b") is not None


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid":"x"}', b"\xff", b"[]"])
def test_a_damaged_note_hides_who_holds_but_not_that_somebody_does(
    tmp_path: Path, acquire: Acquire, content: bytes
) -> None:
    """The kernel knows; the note is for people."""
    acquire(tmp_path)
    (Folder(tmp_path).locks / "holder.json").write_bytes(content)

    assert probe(tmp_path) == Holder()


@pytest.mark.fault(13)
@pytest.mark.parametrize("moved", [".opencode", ".opencode/orch", ".opencode/orch/locks"])
def test_renaming_the_state_folder_makes_no_second_holder(
    tmp_path: Path, acquire: Acquire, moved: str
) -> None:
    """Nor does renaming the workspace: the lock is the directory's own, whatever it is called."""
    workspace = tmp_path / "one"
    acquire(workspace)
    (workspace / moved).rename(tmp_path / "away")
    with pytest.raises(MissionHeld):
        acquire(workspace)

    workspace.rename(tmp_path / "two")
    with pytest.raises(MissionHeld):
        acquire(tmp_path / "two")


@pytest.mark.fault(14)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_pid_is_verified_by_its_start_and_the_boot(tmp_path: Path, acquire: Acquire) -> None:
    """A number that was given to another process is nobody's."""
    acquire(tmp_path)
    holder = probe(tmp_path)
    assert holder is not None
    assert holder.start_ticks is not None

    assert verified_pid(holder) == os.getpid()
    assert verified_pid(holder.model_copy(update={"start_ticks": holder.start_ticks + 1})) is None
    assert verified_pid(holder.model_copy(update={"boot_id": "another"})) is None
    assert verified_pid(holder.model_copy(update={"pid": 1})) is None
    assert verified_pid(Holder()) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_dead_process_that_nobody_has_waited_for_is_no_holder() -> None:
    """A zombie keeps its number, but neither its locks nor anything to stop."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        ticks = int(Path(f"/proc/{process.pid}/stat").read_text().split()[21])
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        holder = Holder(pid=process.pid, start_ticks=ticks, boot_id=boot_id)
        alive = verified_pid(holder)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert (alive, verified_pid(holder)) == (process.pid, None)


def test_without_proc_a_pid_is_verified_by_its_life() -> None:
    """A dead one is nobody's."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert verified_pid(Holder(pid=os.getpid())) == os.getpid()
    assert verified_pid(Holder(pid=process.pid)) is None


@pytest.mark.fault(11)
def test_of_six_simultaneous_starters_one_wins_each_round(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The losers are refused, and when the winner frees the lock the next round finds it free."""
    with starters(6) as six:
        for _ in range(ROUNDS):
            for starter in six:
                starter.tell(str(tmp_path))
            answers = [starter.hear() for starter in six]
            winner = six[answers.index("won")]

            assert answers.count("won") == 1
            assert all(answer.startswith("held by") for answer in answers if answer != "won")

            winner.tell("release")
            assert winner.hear() == "released"
    record_property("figure", f"{ROUNDS} rounds of 6 processes, 1 winner each")


@pytest.mark.fault(12)
def test_the_lock_of_a_killed_holder_is_taken_at_once(tmp_path: Path, acquire: Acquire) -> None:
    """Without asking anybody, at the first try; its stale note names nobody who lives."""
    with starters(1) as [holder]:
        holder.tell(str(tmp_path))
        assert holder.hear() == "won"
        note = Holder.model_validate(json.loads((Folder(tmp_path).locks / "holder.json").read_bytes()))
        assert probe(tmp_path) == note
        assert verified_pid(note) == holder.process.pid
        with pytest.raises(MissionHeld, match=f"m-0 \\(pid {holder.process.pid}\\)"):
            acquire(tmp_path)

        holder.process.kill()
        holder.process.wait()

        assert probe(tmp_path) is None
        assert verified_pid(note) is None
        acquire(tmp_path)
