"""Real processes that die, or run out of disk, while they write a journal."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from orch.mission.events import Heal
from orch.store.folder import Folder, MissionFolder
from orch.store.journal import Journal, read

PROJECT = Path(__file__).parents[2]

WRITER = """
import asyncio, itertools, pathlib, resource, sys
from orch.errors import DiskRefused
from orch.mission.events import Heal
from orch.store.folder import MissionFolder
from orch.store.journal import Journal

TASKS, PADDING = 10, "x" * 3000

async def session(journal, seq):
    while True:
        n = next(seq)
        try:
            await journal.append([Heal(seq=n, text=f"{n} {PADDING}")])
        except DiskRefused as refused:
            print("refused", refused, flush=True)
            return
        print(n, flush=True)

async def main(path, limit):
    recovered = Journal.open(MissionFolder(path))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    seq = itertools.count(len(recovered.events) + 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(session(recovered.journal, seq))
    recovered.journal.close()

asyncio.run(main(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.fixture
def mission(tmp_path: Path) -> MissionFolder:
    """Return a mission with an empty journal."""
    folder = Folder(tmp_path)
    folder.create()
    made = folder.mission("m-1")
    Journal.create(made).close()
    return made


def start(mission: MissionFolder, limit_bytes: int = 0) -> "subprocess.Popen[str]":
    """Start a process that appends from ten tasks and prints each `seq` once it is acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(mission.path), str(limit_bytes)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )


def append_one(mission: MissionFolder) -> int:
    """Recover the journal, append one event and return its `seq`."""

    async def append() -> int:
        recovered = await asyncio.to_thread(Journal.open, mission)
        seq = len(recovered.events) + 1
        await recovered.journal.append([Heal(seq=seq, text="recovered")])
        await asyncio.to_thread(recovered.journal.close)
        return seq

    return asyncio.run(append())


def test_kill_nine_loses_nothing_acknowledged(mission: MissionFolder) -> None:
    """Four times over one journal: all that was printed is there, and it can be written again."""
    for kill_after in (1, 17, 60, 110):
        writer = start(mission)
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(kill_after)]
        writer.kill()
        seen += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()

        events = list(read(mission))

        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert len(events) >= max(seen)
        assert append_one(mission) == len(events) + 1


@pytest.mark.fault(7)
def test_a_full_disk_is_told_to_everybody_and_the_journal_stays_whole(mission: MissionFolder) -> None:
    """The kernel cuts a write short, then refuses; with space again the journal goes on."""
    writer = start(mission, limit_bytes=50_000)
    output, _ = writer.communicate()
    printed = output.splitlines()
    acknowledged = [int(line) for line in printed if line.isdigit()]
    refused = [line for line in printed if line.startswith("refused")]

    events = list(read(mission))

    assert writer.returncode == 0
    assert len(refused) == 10
    assert all("File too large" in line for line in refused)
    assert [event.seq for event in events] == sorted(acknowledged)
    assert append_one(mission) == len(acknowledged) + 1
    assert not list(mission.path.glob("journal.torn-*"))
