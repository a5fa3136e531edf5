"""Journals that another version of orch wrote: read and gone on with, or refused by name; never rewritten.

`journals/before_batches.jsonl` is of an orch whose lines did not yet say how many of their batch follow.
"""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from orch.mission.reduce import replay
from orch.mission.state import ItemStatus, MissionStatus
from orch.store.journal import read
from tests.play import item, mission
from tests.program import Bench, bench
from tests.runtime.house import House

OLD = Path(__file__).parent / "journals/before_batches.jsonl"
LINES = OLD.read_bytes().splitlines(keepends=True)
MISSION = json.loads(LINES[0])["mission"]
SCRIPT = mission(item("a"), item("b", after=["a"]), item("c", after=["b"]), verify=["grep -q made c.txt"])
TEXTS = [f"made by {name}, {rounds}\n" for name in "abc" for rounds in (0, 1)]
CONTENTS = {hashlib.sha256(text.encode()).hexdigest(): text for text in TEXTS}


def left_behind(place: Path, data: bytes) -> House:
    """Return a house with that journal, and the files as it says they are."""
    workspace = place / "workspace"
    workspace.mkdir()
    house = House(workspace)  # of a fresh name: what carries a mission's mark is ended with it
    house.folder.create()
    house.folder.mission(house.mission).create()
    house.folder.mission(house.mission).journal.write_bytes(data)
    for path, sha256 in replay(house.events()).files.items():
        if sha256 is not None:
            (workspace / path).write_text(CONTENTS[sha256])
    return house


@pytest.mark.fault(61)
def test_a_journal_of_an_earlier_orch_is_read(tmp_path: Path) -> None:
    """All of it, to the same end; and it stays as it was."""
    house = left_behind(tmp_path, OLD.read_bytes())

    state = replay(read(house.folder.mission(house.mission)))

    assert state.seq == len(LINES)
    assert state.status is MissionStatus.CLOSED
    assert {i.status for i in state.items.values()} == {ItemStatus.COMPLETED}
    assert house.folder.mission(house.mission).journal.read_bytes() == OLD.read_bytes()


@pytest.mark.fault(61)
@pytest.mark.parametrize("after", [1, 6, 12, 18, 29, 46, 61, 79, 88, 104, 136, 151, 153])
def test_a_mission_of_an_earlier_orch_is_taken_up(tmp_path: Path, after: int) -> None:
    """From wherever it was cut off, to the seal; what was written stays as it was."""
    old = b"".join(LINES[:after])
    house = left_behind(tmp_path, old)

    again = house.resume(SCRIPT)

    assert again.result.exit_code == 0, again.result.result
    assert house.folder.mission(house.mission).journal.read_bytes().startswith(old)
    assert len(again.events) > after


def _newer(**facts: Any) -> bytes:
    """Return the line of a record that this orch does not know, behind the old ones."""
    record = {"v": 1, "seq": 31, "ts": "2030-01-01T00:00:00Z", "mission": MISSION, **facts}
    head = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return b'%b,"crc":"%08x"}\n' % (head, zlib.crc32(head))


@pytest.fixture
def place(tmp_path: Path) -> Bench:
    """Return a place to run the program in."""
    return bench(tmp_path)


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("record", "words", "commands"),
    [
        (
            _newer(type="item.teleported", item="b"),
            "'item.teleported' of version 1",
            (("status",), ("resume",)),
        ),
        (
            _newer(v=2, type="heal", text="x"),
            "'heal' of version 2",
            (("status", "--json", MISSION), ("resume", MISSION, "--json")),
        ),
    ],
    ids=["unknown type", "newer version"],
)
def test_a_journal_of_a_later_orch_is_refused_by_every_command(
    place: Bench, record: bytes, words: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    """Each says which record of which version it is, in which line, and changes nothing."""
    folder = place.workspace / ".opencode/orch/missions" / MISSION
    folder.mkdir(parents=True)
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"".join(LINES[:30]) + record + b"".join(LINES[31:35]))
    before = journal.read_bytes()

    for command in commands:
        ended = place.run(*command)

        assert ended.code == 2, command
        assert f"journal.jsonl:31: a record {words}" in ended.err
        assert "use the orch that wrote it" in ended.err
        assert "Traceback" not in ended.err
    assert journal.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["journal.jsonl"]
