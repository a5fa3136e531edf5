"""One item on a file."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice, permutations
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orch.errors import DiskRefused
from orch.mission.events import ItemId
from orch.store.folder import Folder
from orch.store.leases import Leases

PROJECT = Path(__file__).parents[2]
A, B = ItemId("a"), ItemId("b")
LIMIT_S = 20.0

HOLDER = """
import pathlib, sys
from orch.store.folder import Folder
from orch.store.leases import Leases

leases = Leases(Folder(pathlib.Path(sys.argv[1])))
print(leases.acquire("other", sys.argv[2:]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder that is ready."""
    made = Folder(tmp_path)
    made.create()
    return made


def test_an_item_gets_all_its_files_or_none(folder: Folder) -> None:
    """The reason names the file and the item that holds it; a refusal leaves nothing behind."""
    leases = Leases(folder)

    assert leases.acquire(A, ["src/one.py", "src/two.py"]) is None
    assert leases.acquire(B, ["src/zero.py", "src/two.py"]) == "src/two.py is held by item a"
    assert [leases.holds(A, path) for path in ("src/one.py", "src/two.py", "src/zero.py")] == [
        True,
        True,
        False,
    ]
    assert not leases.holds(B, "src/zero.py")
    assert Leases(folder).acquire(B, ["src/zero.py"]) is None


def test_an_item_may_take_more_and_take_again(folder: Folder) -> None:
    """What it holds already stays its own, also when the rest is refused."""
    leases = Leases(folder)
    leases.acquire(A, ["one"])
    leases.acquire(B, ["two"])

    assert leases.extend(A, ["one", "three", "three"]) is None
    assert leases.extend(A, ["one", "four", "two"]) == "two is held by item b"
    assert [leases.holds(A, path) for path in ("one", "two", "three", "four")] == [True, False, True, False]


def test_a_release_frees_the_items_files_and_no_others(folder: Folder) -> None:
    """For the next item here and for other processes; the lock files stay."""
    leases, elsewhere = Leases(folder), Leases(folder)
    leases.acquire(A, ["one", "two"])
    leases.acquire(B, ["three"])

    leases.release(A)

    assert not leases.holds(A, "one")
    assert elsewhere.acquire(A, ["one", "two"]) is None
    assert elsewhere.acquire(A, ["three"]) == f"three is held by another process (pid {os.getpid()})"
    assert len(list(folder.locks.glob("*.lock"))) == 3


def test_close_frees_everything(folder: Folder) -> None:
    """The lock files stay, with the path inside for people."""
    leases = Leases(folder)
    leases.acquire(A, ["one"])
    leases.acquire(B, ["two"])

    leases.close()

    assert Leases(folder).acquire(A, ["one", "two"]) is None
    assert {'"path": "one"' in file.read_text() for file in folder.locks.glob("*.lock")} == {True, False}


@pytest.mark.parametrize("path", ["a\nb", "ü/é", "\udcff", "x" * 4000, "-f", "../x"])
def test_any_path_can_be_leased(folder: Folder, path: str) -> None:
    """The lock file's name is a hash, whatever the path."""
    leases = Leases(folder)

    assert leases.acquire(A, [path]) is None
    assert leases.holds(A, path)
    assert all(file.parent == folder.locks for file in folder.locks.iterdir())


@pytest.mark.fault(13)
def test_a_lease_whose_lock_file_is_gone_or_another_does_not_count(folder: Folder) -> None:
    """It binds nobody else any more, so it allows no write."""
    leases = Leases(folder)
    leases.acquire(A, ["one", "two"])
    for file in folder.locks.glob("*.lock"):
        shutil.copy(file, folder.locks / "copy")
        (folder.locks / "copy").replace(file)

    assert not leases.holds(A, "one")
    assert not leases.intact()

    shutil.rmtree(folder.root)

    assert not leases.holds(A, "two")


def test_a_lock_file_that_cannot_be_made_is_a_refusal_of_the_disk(folder: Folder) -> None:
    """And nothing is taken; a planted link is not followed either."""
    leases = Leases(folder)
    leases.acquire(A, ["one"])
    one = next(folder.locks.glob("*.lock"))
    leases.release(A)
    one.unlink()
    one.symlink_to(folder.workspace / "elsewhere")

    with pytest.raises(DiskRefused):
        leases.acquire(A, ["zero", "one"])

    assert not leases.holds(A, "zero")
    assert not (folder.workspace / "elsewhere").exists()


@pytest.mark.fault(12)
def test_two_processes_never_hold_one_lease(folder: Folder) -> None:
    """Until one of them dies, however it dies."""
    leases = Leases(folder)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.workspace), "one", "two"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "None\n"
        assert leases.acquire(A, ["zero", "two"]) == f"two is held by another process (pid {other.pid})"
        assert leases.acquire(A, ["zero"]) is None

        other.kill()
        other.wait()

        assert leases.acquire(A, ["one", "two"]) is None


@pytest.mark.fault(13)
def test_leases_are_intact_as_long_as_every_lock_file_is_where_it_was(folder: Folder) -> None:
    """Whatever is renamed: one file, the folder of locks, or all of orch's own."""
    leases = Leases(folder)
    assert leases.intact()
    leases.acquire(A, ["one", "two"])
    one = next(folder.locks.glob("*.lock"))
    for path in (one, folder.locks, folder.orch, folder.root):
        assert leases.intact()
        away = path.rename(path.with_name("away"))
        assert not leases.intact()
        away.rename(path)
    leases.release(A)
    shutil.rmtree(folder.root)
    assert leases.intact()


@pytest.mark.fault(10)
def test_without_a_free_descriptor_a_lease_is_refused_for_now(folder: Folder) -> None:
    """Nothing is taken, and it can be had once others are closed."""
    leases = Leases(folder)
    leases.acquire(A, ["one"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert leases.acquire(A, ["two"]) == "two cannot be locked: too many files are open"
        assert leases.acquire(B, ["one"]) == "one is held by item a"
        assert leases.acquire(A, ["one"]) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert leases.acquire(A, ["two"]) is None


TASKS, FILES, TURNS = 50, 5, 200


@pytest.mark.fault(17)
@pytest.mark.anyio
async def test_fifty_tasks_never_share_one_of_five_files(
    folder: Folder, record_property: Callable[[str, object], None]
) -> None:
    """Ten thousand acquisitions, counted from outside: never more than one holder, and all come to theirs."""
    leases = Leases(folder)
    holders: Counter[str] = Counter()
    most: Counter[str] = Counter()
    freed = asyncio.Event()

    async def work(number: int) -> int:
        chance, item, turns = Random(number), ItemId(f"i{number}"), 0  # noqa: S311 - an order, no secret
        while turns < TURNS:
            path = str(chance.randrange(FILES))
            if await asyncio.to_thread(leases.acquire, item, [path]) is not None:
                await freed.wait()
                continue
            holders[path] += 1
            most[path] = max(most[path], holders[path])
            freed.clear()
            await asyncio.sleep(0)
            holders[path] -= 1
            leases.release(item)
            freed.set()
            turns += 1
        return turns

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(number)) for number in range(TASKS)]

    assert sum(task.result() for task in tasks) == TASKS * TURNS
    assert set(most.values()) == {1}
    record_property("figure", f"{TASKS * TURNS} acquisitions, at most 1 holder")


@pytest.mark.fault(18)
@pytest.mark.anyio
async def test_waits_that_are_cancelled_leak_no_holder(
    folder: Folder, record_property: Callable[[str, object], None]
) -> None:
    """A thousand waits cut at any instant; then all is free."""
    chance, rounds, waiters = Random(3), 100, 10  # noqa: S311 - an order, no secret

    async def wait_for(leases: Leases, item: ItemId) -> None:
        while await asyncio.to_thread(leases.acquire, item, ["one", "two"]) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    for _ in range(rounds):
        leases, elsewhere = Leases(folder), Leases(folder)
        assert elsewhere.acquire(A, ["two"]) is None
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(wait_for(leases, ItemId(f"i{n}"))) for n in range(waiters)]
            for task in waiting:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                if task is waiting[waiters // 2]:
                    elsewhere.close()
                task.cancel()
        leases.close()
        third = Leases(folder)
        assert third.acquire(B, ["one", "two"]) is None
        third.close()

    record_property("figure", f"{rounds * waiters} cancelled, 0 leaked")


@pytest.mark.fault(18)
@pytest.mark.anyio
async def test_a_wait_that_is_cancelled_while_its_thread_takes_the_files_leaks_no_holder(
    folder: Folder,
) -> None:
    """The thread cannot be stopped and takes them for nobody; the end of the run frees them all the same."""
    leases, begun, go_on = Leases(folder), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def paths() -> Iterator[str]:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(LIMIT_S)
        yield from ("one", "two")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.to_thread(leases.acquire, A, paths()))
        await begun.wait()
        task.cancel()
    go_on.set()
    assert await asyncio.to_thread(leases.holds, A, "two")  # waits for the thread that takes it

    leases.close()
    assert Leases(folder).acquire(B, ["one", "two"]) is None


def test_after_the_end_nothing_is_taken(folder: Folder) -> None:
    """A thread that was about to finds that it comes too late."""
    leases = Leases(folder)
    leases.close()

    assert leases.acquire(A, ["one"]) == "the run is over"
    assert Leases(folder).acquire(A, ["one"]) is None


@pytest.mark.fault(19)
def test_many_threads_never_share_a_file(
    folder: Folder, record_property: Callable[[str, object], None]
) -> None:
    """Eight items want three of five files again and again, in any order; all come to their turn."""
    leases = Leases(folder)
    paths = ["1", "2", "3", "4", "5"]
    working: set[str] = set()
    violations: list[str] = []
    guard = threading.Lock()

    def work(number: int) -> int:
        turns = 0
        for wanted in islice(cycle(permutations(paths, 3)), number * 7, None):
            if turns == 40:
                break
            if leases.acquire(ItemId(f"i{number}"), wanted) is not None:
                continue
            with guard:
                violations.extend(working & set(wanted))
                working.update(wanted)
            with guard:
                working.difference_update(wanted)
            leases.release(ItemId(f"i{number}"))
            turns += 1
        return turns

    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(work, range(8)))

    assert turns == [40] * 8
    assert violations == []
    record_property("figure", f"{sum(turns)} turns with 3 of 5 files, all came to theirs")


items = st.sampled_from([A, B, ItemId("c")])
path_sets = st.lists(st.sampled_from(["1", "2", "3", "4"]), max_size=3)


class TwoProcesses(RuleBasedStateMachine):
    """Two owners of leases over one folder behave like one table of paths."""

    @initialize()
    def begin(self) -> None:
        """Start with nothing held."""
        self.place = tempfile.TemporaryDirectory()
        self.folder = Folder(Path(self.place.name))
        self.folder.create()
        self.processes = [Leases(self.folder), Leases(self.folder)]
        self.model: dict[str, tuple[int, ItemId]] = {}

    @rule(process=st.integers(0, 1), item=items, paths=path_sets)
    def acquire(self, process: int, item: ItemId, paths: list[str]) -> None:
        """All or none."""
        owners = {self.model.get(path, (process, item)) for path in paths}
        reason = self.processes[process].acquire(item, paths)

        assert (reason is None) == (owners <= {(process, item)})
        if reason is None:
            self.model |= dict.fromkeys(paths, (process, item))

    @rule(process=st.integers(0, 1), item=items)
    def release(self, process: int, item: ItemId) -> None:
        """Only that item's, only in that process."""
        self.processes[process].release(item)
        self.model = {path: owner for path, owner in self.model.items() if owner != (process, item)}

    @rule(process=st.integers(0, 1))
    def die(self, process: int) -> None:
        """A process ends and another takes its place."""
        self.processes[process].close()
        self.processes[process] = Leases(self.folder)
        self.model = {path: owner for path, owner in self.model.items() if owner[0] != process}

    @invariant()
    def the_table_is_right(self) -> None:
        """Each file is held by whom the model says, and by nobody else."""
        for process, leases in enumerate(self.processes):
            for item in (A, B, ItemId("c")):
                for path in ("1", "2", "3", "4"):
                    assert leases.holds(item, path) == (self.model.get(path) == (process, item))

    def teardown(self) -> None:
        """Free the locks and the folder."""
        for leases in self.processes:
            leases.close()
        self.place.cleanup()


TestTwoProcesses = pytest.mark.fault(17)(TwoProcesses.TestCase)
TestTwoProcesses.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
