"""What `orch status` knows is what the journals and the lock say; looking changes nothing."""

import asyncio
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from orch.errors import JournalDamaged, UsageError
from orch.mission import events as ev
from orch.mission.gist import gist
from orch.mission.reduce import replay
from orch.runtime import survey
from orch.store import records
from orch.store.blobs import Blobs
from orch.store.folder import Folder
from orch.store.journal import Journal
from orch.store.locks import MissionLock
from tests.bench.bench_reduce import sealed_mission

OLD, NEW = ev.MissionId("20260101-000000-00000"), ev.MissionId("20260101-000000-00100")
STAMP = "2026-01-01T00:00:00.000Z"
PLAYED = [event.model_copy(update={"mission": NEW}) for event in sealed_mission()]


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


# ---- a follower


def lines(events: Sequence[ev.Event], *, together: bool = False) -> bytes:
    """Return `events` as lines of a journal, each a batch of its own, or one of all."""
    last = len(events) - 1
    return b"".join(
        records.line(records.encoded(event), last - n if together else 0, Blobs(Path("/nowhere")))
        for n, event in enumerate(events)
    )


def grow(folder: Folder, data: bytes) -> None:
    """Add bytes to the journal of the new mission."""
    with folder.mission(NEW).journal.open("ab") as file:
        file.write(data)


@pytest.fixture
def followed(folder: Folder) -> survey.Follower:
    """Follow the new mission, whose journal is begun anew."""
    folder.mission(NEW).journal.write_bytes(b"")
    return survey.Follower(folder, NEW)


def test_a_follower_tells_what_is_new(folder: Folder, followed: survey.Follower) -> None:
    """Each event once, in order, and the state that it comes to."""
    told: list[ev.Event] = []
    for first in range(0, len(PLAYED), 97):
        grow(folder, lines(PLAYED[first : first + 97], together=first % 2 == 0))
        told += followed.advance()
        assert followed.advance() == ()
        assert gist(followed.state) == gist(replay(told))
    assert told == PLAYED
    assert followed.entry() == survey.missions(folder, NEW, every=False).missions[0]


def test_a_follower_waits_for_the_rest_of_a_batch(folder: Folder, followed: survey.Follower) -> None:
    """Half a line, and half a batch, have not happened; where they are cut off nothing was missed."""
    data = lines(PLAYED[:5], together=True)
    whole = folder.mission(NEW).journal
    for size in range(0, len(data), 101):
        whole.write_bytes(data[:size])
        assert followed.advance() == ()
    whole.write_bytes(lines(PLAYED[:2]))
    assert followed.advance() == tuple(PLAYED[:2])
    grow(folder, lines(PLAYED[2:5], together=True)[:-9])
    assert followed.advance() == ()
    whole.write_bytes(lines(PLAYED[:3]))
    assert followed.advance() == (PLAYED[2],)


def test_a_follower_reads_what_is_new_alone(folder: Folder, followed: survey.Follower) -> None:
    """What it has read may be garbage by now; all but the last line of it."""
    journal = folder.mission(NEW).journal
    grow(folder, lines(PLAYED[:100]))
    followed.catch_up()
    garbage = bytearray(journal.read_bytes())
    garbage[: len(lines(PLAYED[:99]))] = b"x" * len(lines(PLAYED[:99]))
    journal.write_bytes(garbage)
    grow(folder, lines(PLAYED[100:103]))
    assert followed.advance() == tuple(PLAYED[100:103])


def test_a_follower_begins_at_the_checkpoint(folder: Folder) -> None:
    """It knows all, and tells what stands behind it."""
    folder.mission(NEW).journal.unlink()

    async def append() -> None:
        journal = await asyncio.to_thread(Journal.create, folder.mission(NEW))
        await journal.append(PLAYED[:300], replay(PLAYED[:300]))
        await asyncio.to_thread(journal.close)

    asyncio.run(append())
    grow(folder, lines(PLAYED[300:]))
    follower = survey.Follower(folder, NEW)
    assert follower.advance() == tuple(PLAYED[300:])
    assert gist(follower.state) == gist(replay(PLAYED))


def test_a_follower_forgets_what_a_disk_took_back(folder: Folder, followed: survey.Follower) -> None:
    """It was read before it was acknowledged; what came instead is the truth."""
    journal = folder.mission(NEW).journal
    grow(folder, lines(PLAYED[:20]))
    followed.catch_up()
    heal = ev.Heal(seq=19, ts=STAMP, mission=NEW, text="another end")
    more = [heal, heal.model_copy(update={"seq": 20}), heal.model_copy(update={"seq": 21})]
    journal.write_bytes(lines([*PLAYED[:18], *more]))

    assert followed.advance() == (more[-1],)
    assert gist(followed.state) == gist(replay([*PLAYED[:18], *more]))


def test_a_follower_refuses_what_is_damaged_or_gone(folder: Folder, followed: survey.Follower) -> None:
    """As every reader does."""
    grow(folder, lines(PLAYED[:3]) + b"no record\n" + lines(PLAYED[3:5]))
    with pytest.raises(JournalDamaged, match=":4:"):
        followed.advance()
    folder.mission(NEW).journal.unlink()
    with pytest.raises(UsageError):
        followed.advance()


def test_a_follower_knows_whether_anybody_runs_it(folder: Folder, followed: survey.Follower) -> None:
    """As the lock says, and for this mission."""
    grow(folder, lines(PLAYED[:3]))
    followed.catch_up()
    assert (followed.holder, followed.entry().status) == (None, "interrupted")
    with MissionLock.acquire(folder, OLD):
        other = followed.holder
    with MissionLock.acquire(folder, NEW):
        holder, entry = followed.holder, followed.entry()
    assert other is None
    assert holder is not None
    assert (entry.status, entry.pid) == ("running", holder.pid)
    assert entry.run_s is not None
    assert entry.duration_s >= entry.run_s > 0


# ---- one session


def test_a_session_is_told_with_all_its_events(folder: Folder) -> None:
    """Those of others are left out, whatever stands in them."""
    folder.mission(NEW).journal.write_bytes(lines(PLAYED))
    story, state = survey.story(folder, None, "S3")
    assert story.events == tuple(event for event in PLAYED if event.session == "S3")
    assert story.session in survey.entry(folder, state, None).sessions
    assert (story.mission, story.journal) == (NEW, str(folder.mission(NEW).journal))


@pytest.mark.parametrize(
    ("session", "words"), [("s3", "the nearest is S3"), ("nobody", "it has S1 to S"), ("", "it has S1")]
)
def test_an_unknown_session_is_named_with_the_nearest(folder: Folder, session: str, words: str) -> None:
    """So that the typo is seen."""
    folder.mission(NEW).journal.write_bytes(lines(PLAYED))
    with pytest.raises(UsageError, match=words):
        survey.story(folder, NEW, session)


def test_a_mission_without_sessions_has_none_to_tell_of(folder: Folder) -> None:
    """Nor has a workspace without missions."""
    with pytest.raises(UsageError, match="it has none yet"):
        survey.story(folder, NEW, "S1")
    with pytest.raises(UsageError, match="no mission in"):
        survey.story(Folder(folder.workspace / "elsewhere"), None, "S1")
