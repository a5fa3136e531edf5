"""What `orch status` knows is what the journals and the lock say; looking changes nothing."""

import zlib
from pathlib import Path

import pytest

from orch.errors import JournalDamaged, UsageError
from orch.mission import events as ev
from orch.runtime import survey
from orch.store.folder import Folder
from orch.store.locks import MissionLock

OLD, NEW = ev.MissionId("20260101-000000-00000"), ev.MissionId("20260101-000000-00100")
STAMP = "2026-01-01T00:00:00.000Z"


def began(mission: ev.MissionId) -> ev.MissionStarted:
    """Return the first event of a mission."""
    return ev.MissionStarted(
        seq=1,
        ts=STAMP,
        mission=mission,
        goal=f"goal of {mission}",
        orch_version="0",
        models=dict.fromkeys(ev.Role, "openai/test"),
        max_parallel=1,
        max_turns=1,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A workspace with two missions."""
    folder = Folder(tmp_path)
    folder.create()
    for mission in (OLD, NEW):
        write(folder, began(mission))
    return folder


def write(folder: Folder, *events: ev.Event) -> None:
    """Write a journal as it stands on disk: a JSON object per line, its checksum last."""
    mission = folder.mission(events[0].mission)
    mission.create()
    heads = [event.model_dump_json(exclude={"session", "item"})[:-1] for event in events]
    mission.journal.write_text("".join(f'{h},"crc":"{zlib.crc32(h.encode()):08x}"}}\n' for h in heads))


def entries(folder: Folder, mission: str | None = None, *, every: bool = False) -> list[tuple[str, str]]:
    """Return mission and status of what is shown."""
    return [(e.mission, e.status) for e in survey.missions(folder, mission, every=every).missions]


def test_the_latest_mission_is_shown_unless_another_is_named(folder: Folder) -> None:
    """Newest first, also within one second."""
    assert entries(folder) == [(NEW, "interrupted")]
    assert entries(folder, OLD) == [(OLD, "interrupted")]
    assert entries(folder, every=True) == [(NEW, "interrupted"), (OLD, "interrupted")]


def test_the_running_mission_comes_before_the_latest(folder: Folder) -> None:
    """Who holds the lock runs; a resumed old mission is what is going on."""
    with MissionLock.acquire(folder, OLD):
        assert entries(folder) == [(OLD, "running")]
        assert entries(folder, NEW) == [(NEW, "interrupted")]
        (entry,) = survey.missions(folder, None, every=False).missions
    assert (entry.alive, entry.resume, entry.goal) == (True, None, f"goal of {OLD}")
    assert entries(folder) == [(NEW, "interrupted")]


def test_an_ended_mission_is_called_by_its_outcome(folder: Folder) -> None:
    """With the line to go on where that makes sense."""
    end = ev.MissionFailed(seq=2, ts=STAMP, mission=NEW, outcome=ev.Outcome.STAGNATED, text="stuck")
    write(folder, began(NEW), end)
    (entry,) = survey.missions(folder, None, every=False).missions
    assert entry.status == "stagnated"
    assert entry.resume == survey.resume_line(folder.workspace, NEW)


def test_what_never_began_is_no_mission(folder: Folder) -> None:
    """A folder without a journal, with an empty one, with half an event, or with a strange name."""
    for name, text in (("3-none", None), ("4-empty", ""), ("5-torn", '{"v":1,'), (".strange", "{}\n")):
        (folder.missions / name).mkdir()
        if text is not None:
            (folder.missions / name / "journal.jsonl").write_text(text)
    assert survey.mission_ids(folder) == (NEW, OLD)
    assert survey.mission_ids(Folder(folder.workspace / "elsewhere")) == ()


def test_an_unknown_mission_is_named_with_the_latest(folder: Folder) -> None:
    """So that the typo is seen."""
    with pytest.raises(UsageError, match=f"nothing.*{NEW}"):
        survey.missions(folder, "nothing", every=False)


def test_a_journal_that_cannot_be_read_is_an_error(folder: Folder) -> None:
    """It is never shown as something that it is not."""
    journal = folder.mission(NEW).journal
    journal.write_text("no JSON\n" + journal.read_text())
    with pytest.raises(JournalDamaged) as caught:
        survey.missions(folder, None, every=False)
    assert caught.value.line == 1


def test_looking_leaves_no_trace(folder: Folder) -> None:
    """Not a file is written or touched."""

    def state() -> dict[Path, tuple[int, int]]:
        found = folder.workspace.rglob("*")
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}

    before = state()
    survey.missions(folder, None, every=True)
    assert state() == before


def test_the_line_to_go_on_survives_a_shell() -> None:
    """A path with blanks and quotes is quoted."""
    line = survey.resume_line(Path("/a b/it's"), NEW)
    assert line == f"orch resume {NEW} -C '/a b/it'\"'\"'s'"
