"""The auditor finds what it looks for: each promise is broken once, in a mission that kept them all."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.auditor import Auditor, Place, Violation, parse
from tests.chaos.ledger import Ledger, Note
from tests.chaos.loop import KILLS, Figures, Trial
from tests.chaos.story import RAN, Aside, Kind, Story, Task

TASK = Task("i0", Kind.NEW, ("a.txt",), asides=(Aside.PLAIN,))
STORY = Story("sound", (TASK, replace(TASK, id="i1", files=("b.txt",))))

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Sound:
    """A sealed mission on disk, and the endpoint's books of it."""

    place: Place
    notes: Sequence[Note]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Return a mission that was sealed undisturbed."""
    place = Place(tmp_path_factory.mktemp("sound") / "mission")
    place.furnish(STORY)
    with Ledger(STORY.answer) as ledger:
        Trial(STORY, place, ledger, Figures()).run(KILLS, lambda: True)
        return Sound(place, list(ledger.notes))


@pytest.fixture
def mission(sound: Sound, tmp_path: Path) -> Sound:
    """Return a copy of it, to be broken."""
    shutil.copytree(sound.place.root, tmp_path / "mission")
    return Sound(Place(tmp_path / "mission"), [replace(note) for note in sound.notes])


def judged(mission: Sound, code: int = 0) -> str:
    """Return what the auditor says; empty if it finds nothing."""
    try:
        Auditor(mission.place, STORY, mission.notes).close(code)
    except Violation as violation:
        return str(violation)
    return ""


def rewrite(mission: Sound, change: Callable[[Lines], None]) -> None:
    """Change the journal, and make numbers and checksums right again."""
    path = mission.place.journal
    assert path is not None
    records: Lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(records)
    lines = []
    for seq, record in enumerate(records, 1):
        record.pop("more", None)
        head = json.dumps({**record, "seq": seq, "crc": None}).partition(', "crc"')[0].encode()
        lines.append(b'%b,"crc":"%08x"}\n' % (head, zlib.crc32(head)))
    path.write_bytes(b"".join(lines))


def first(records: Lines, kind: str) -> int:
    """Return the place of the first record of a type."""
    return next(number for number, record in enumerate(records) if record["type"] == kind)


def doubled(kind: str) -> Callable[[Lines], None]:
    """Return a change that records something twice."""
    return lambda records: records.insert((at := first(records, kind)) + 1, dict(records[at]))


def without(kind: str) -> Callable[[Lines], None]:
    """Return a change that loses a record."""
    return lambda records: records.__delitem__(first(records, kind))


def test_a_mission_that_kept_all_promises_is_sound(mission: Sound) -> None:
    """The auditor finds nothing, also once its journal was written anew with the same content."""
    assert not judged(mission)
    rewrite(mission, lambda _: None)
    assert not judged(mission)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (doubled("item.completed"), "I1: item.completed of i"),
        (doubled("turn.finished"), "I2: turn.finished 1 of S1 where 2 is due"),
        (doubled("turn.started"), "I2: turn ('S1', 1) was started 2 times"),
        (without("turn.started"), "I2: turn 1 of S1 finished unstarted"),
        (doubled("tool.finished"), "I2: ('S1', "),
        (doubled("evidence.recorded"), "I5: two evidences of one command"),
        (without("file.changed"), "I5: ['"),
        (lambda records: records.pop(), "I5: exit code 0 after"),
        (lambda records: records[-1].update(tree="another"), "I5: the tree is"),
    ],
)
def test_a_journal_that_breaks_a_promise_is_found(
    mission: Sound, change: Callable[[Lines], None], rule: str
) -> None:
    """Also where every line of it is intact."""
    rewrite(mission, change)
    assert judged(mission).startswith(rule)


def test_a_journal_that_was_damaged_is_found(mission: Sound) -> None:
    """One changed byte is enough, if it is not in the last line."""
    path = mission.place.journal
    assert path is not None
    path.write_bytes(path.read_bytes().replace(b'"goal":"Do', b'"goal":"Di', 1))
    assert "line 1 of the journal is broken" in judged(mission)


def test_a_batch_that_a_kill_cut_off_is_not_on_record() -> None:
    """What was written together counts together; one that lacks its middle is damage."""
    batch = [line(1), line(2, more=2), line(3, more=1), line(4)]
    assert [len(parse(b"".join(batch[:end]))[0]) for end in range(5)] == [0, 1, 1, 1, 4]
    assert parse(b"".join(batch[:3]))[1] == len(batch[0])
    with pytest.raises(Violation, match="line 3 breaks up a batch"):
        parse(b"".join([*batch[:2], line(3)]))


def line(seq: int, **facts: int) -> bytes:
    """Return an intact line of a journal."""
    head = json.dumps({"seq": seq, **facts})[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (head, zlib.crc32(head))


def test_what_is_taken_off_the_record_is_found(mission: Sound) -> None:
    """What the auditor saw there once has to stay there."""
    auditor = Auditor(mission.place, STORY, mission.notes)
    auditor.look()
    rewrite(mission, without("session.started"))
    with pytest.raises(Violation, match="I1: what was on record is no longer there"):
        auditor.look()


def test_requests_that_should_not_have_come_are_found(mission: Sound) -> None:
    """One that is asked again although nothing was lost, and one that rests on an answer nobody has."""
    again = Sound(mission.place, [*mission.notes, mission.notes[3]])
    assert "was asked 2 times" in judged(again)
    early = Sound(mission.place, [*mission.notes[:-1], replace(mission.notes[-1], history=(999,))])
    assert "rests on lost answers" in judged(early)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("work/a.txt", "I3: a.txt is"),
        ("work/stray.txt", "I3: nobody made"),
        ("work/.orch-1.tmp", "I3: temporary files"),
        ("work/.opencode/stray", "I3: nobody made"),
        ("home/.cache", "I3: nobody made"),
        ("tmp/left", "I3: nobody made"),
        ("stray", "I3: nobody made"),
    ],
)
def test_a_file_that_should_not_be_is_found(mission: Sound, name: str, rule: str) -> None:
    """Wherever it lies, in the workspace or around it."""
    (mission.place.root / name).write_text("stray")
    assert judged(mission).startswith(rule)


def test_a_command_that_ran_twice_is_found(mission: Sound) -> None:
    """Each leaves its number behind."""
    ran = mission.place.home / RAN
    ran.write_text(ran.read_text() + ran.read_text().splitlines(keepends=True)[0])
    assert "ran more than once" in judged(mission)


def test_a_process_that_is_left_is_found(mission: Sound) -> None:
    """By the HOME that it was given."""
    left = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        env={**os.environ, "HOME": str(mission.place.home)},
    )
    with left:
        assert f"I4: {left.pid}" in judged(mission)
        left.kill()


def test_an_exit_code_that_does_not_fit_is_found(mission: Sound) -> None:
    """The last record says what it has to be, and so does the result."""
    assert judged(mission, code=1) == "I5: exit code 1 after mission.sealed"
    result = next(mission.place.workspace.rglob("result.json"))
    result.write_text(result.read_text().replace('"exit_code": 0', '"exit_code": 3', 1))
    assert "result.json says" in judged(mission)
    with pytest.raises(Violation, match="status says"):
        Auditor(mission.place, STORY, mission.notes).check_status([{"status": "running", "alive": True}])
