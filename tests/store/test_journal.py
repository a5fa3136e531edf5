"""What is acknowledged is in the journal, and what is in it comes back as it was."""

import asyncio
import errno
import itertools
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import DiskRefused, IllegalTransition, JournalDamaged, UsageError
from orch.mission.events import (
    EVENT,
    Event,
    FinishReason,
    Heal,
    ItemId,
    ItemStarted,
    MessageReason,
    MessageSent,
    MissionId,
    SessionId,
    TurnFinished,
    Usage,
    VerificationFinished,
    VerificationPhase,
)
from orch.mission.transcript import AssistantMessage, ToolCall
from orch.store import records
from orch.store.blobs import Blobs
from orch.store.folder import Folder, MissionFolder
from orch.store.journal import (
    DISK,
    Disk,
    Journal,
    Recovered,
    read,
)
from orch.store.records import LONGEST_LINE_BYTES, LONGEST_STRING

TIMEOUT_S = 20
MISSION = MissionId("m-1")


@pytest.fixture
def mission(tmp_path: Path) -> MissionFolder:
    """Return the folder of a mission that has not begun."""
    folder = Folder(tmp_path)
    folder.create()
    return folder.mission(MISSION)


@asynccontextmanager
async def created(mission: MissionFolder, disk: Disk = DISK) -> AsyncIterator[Journal]:
    """Create a journal and close it in the end."""
    journal = await asyncio.to_thread(Journal.create, mission, disk)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield journal
    finally:
        await asyncio.to_thread(journal.close)


async def opened(mission: MissionFolder) -> Recovered:
    """Open a journal and close it at once."""
    recovered = await asyncio.to_thread(Journal.open, mission)
    await asyncio.to_thread(recovered.journal.close)
    return recovered


async def stored(mission: MissionFolder) -> list[Event]:
    """Read a journal as a reader does."""
    return await asyncio.to_thread(lambda: list(read(mission)))


def heal(seq: int, text: str = "done") -> Event:
    """Return a small event."""
    return Heal(seq=seq, ts="2030-01-01T00:00:00Z", mission=MISSION, text=text)


def turn(seq: int, text: str, arguments: str = "{}") -> Event:
    """Return an event with text at several depths."""
    return TurnFinished(
        seq=seq,
        mission=MISSION,
        session=SessionId("s1"),
        turn=1,
        model="p/m",
        message=AssistantMessage(
            text=text, tool_calls=(ToolCall(id="c1", name="write", arguments=arguments),)
        ),
        finish=FinishReason.TOOL_CALLS,
        usage=Usage(input_tokens=1, cost_usd=0.1 + 0.2),
        duration_s=1.5,
    )


async def acknowledged(appends: Iterable[Awaitable[None]]) -> list[bool]:
    """Await all, and say of each whether it was acknowledged."""
    outcomes = []
    for append in appends:
        try:
            await append
        except DiskRefused:
            outcomes.append(False)
        else:
            outcomes.append(True)
    return outcomes


@pytest.mark.anyio
async def test_a_line_is_the_event_with_its_checksum_last(mission: MissionFolder) -> None:
    """Readable by any JSON tool; `session` and `item` are absent where there is none, other nulls stay."""
    async with created(mission) as journal:
        await journal.append([heal(1, "é")])
        await journal.append([turn(2, "text")])

    first, second = mission.journal.read_bytes().splitlines()

    head = rb'{"v":1,"seq":1,"ts":"2030-01-01T00:00:00Z","mission":"m-1","type":"heal"'
    head += rb',"text":"\u00e9","history":false'
    assert first == head + b',"crc":"%08x"}' % zlib.crc32(head)
    assert list(json.loads(second))[-1] == "crc"
    assert json.loads(second)["session"] == "s1"
    assert json.loads(second)["message"]["tool_calls"][0]["malformed"] is None
    assert "item" not in json.loads(second)


@pytest.mark.anyio
async def test_a_line_says_how_many_of_its_batch_follow(mission: MissionFolder) -> None:
    """So that a reader knows whether the batch is whole; the last line, and one alone, say nothing."""
    async with created(mission) as journal:
        await journal.append([heal(1), turn(2, "x" * (LONGEST_LINE_BYTES + 1)), heal(3)])
        await journal.append([heal(4)])

    facts = [json.loads(line) for line in mission.journal.read_bytes().splitlines()]

    assert [fact.get("more") for fact in facts] == [2, 1, None, None]
    assert [list(fact)[-2:] for fact in facts[:2]] == [["more", "crc"]] * 2
    assert [event.seq for event in await stored(mission)] == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_the_journal_is_private(mission: MissionFolder) -> None:
    """Nobody else reads what the models said."""
    async with created(mission):
        assert mission.journal.stat().st_mode & 0o777 == 0o600
        assert mission.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.anyio
async def test_events_come_back_as_they_were_and_writing_goes_on_behind_them(mission: MissionFolder) -> None:
    """Also after it was opened again."""
    events = [
        heal(1),
        ItemStarted(seq=2, item=ItemId("a"), session=SessionId("s1")),
        turn(3, "x", '{"a":"é"}'),
    ]
    async with created(mission) as journal:
        await journal.append(events)
    recovered = await asyncio.to_thread(Journal.open, mission)
    await recovered.journal.append([heal(4)])
    await asyncio.to_thread(recovered.journal.close)

    assert recovered.events == tuple(events)
    assert recovered.healed is None
    assert await stored(mission) == [*events, heal(4)]


@pytest.mark.anyio
async def test_appends_are_ordered_by_their_calls_not_by_who_awaits_first(mission: MissionFolder) -> None:
    """The caller stamps `seq` and need not wait at once."""
    async with created(mission) as journal:
        waiting = [journal.append([heal(2 * n + 1), heal(2 * n + 2)]) for n in range(20)]
        for append in reversed(waiting):
            await append

    assert [event.seq for event in await stored(mission)] == list(range(1, 41))


@pytest.mark.anyio
async def test_an_append_is_durable_when_it_resolves_and_many_share_one_sync(mission: MissionFolder) -> None:
    """What was synced is what was acknowledged; fifty tasks do not pay fifty syncs."""
    synced_bytes: list[int] = []
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def sync(descriptor: int) -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(TIMEOUT_S)
        DISK.sync(descriptor)
        synced_bytes.append(os.fstat(descriptor).st_size)

    async with created(mission, Disk(sync=sync)) as journal:
        waiting = [journal.append([heal(seq)]) for seq in range(1, 51)]
        assert synced_bytes == []
        gate.set()
        for append in waiting:
            await append
        size_bytes = sum(len(line) for line in mission.journal.read_bytes().splitlines(keepends=True))

    assert synced_bytes[-1] == size_bytes
    assert len(synced_bytes) <= 2


@pytest.mark.anyio
async def test_a_cancelled_append_is_written_all_the_same(mission: MissionFolder) -> None:
    """Who waits may go; the order of `seq` has no hole."""
    async with created(mission) as journal:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await journal.append([heal(1)])
        await journal.append([heal(2)])

    assert [event.seq for event in await stored(mission)] == [1, 2]


@pytest.mark.anyio
@pytest.mark.parametrize("seq", [0, 1, 3])
async def test_an_event_out_of_sequence_is_refused_before_it_is_queued(
    mission: MissionFolder, seq: int
) -> None:
    """A bug of the caller must not make the journal unreadable."""
    async with created(mission) as journal:
        await journal.append([heal(1)])
        with pytest.raises(IllegalTransition, match=f"seq {seq} where the journal needs 2"):
            journal.append([heal(seq)])
        await journal.append([heal(2)])

    assert [event.seq for event in await stored(mission)] == [1, 2]


@pytest.mark.anyio
async def test_close_writes_what_is_queued_and_ends_the_appending(mission: MissionFolder) -> None:
    """Closing twice does no harm."""
    async with created(mission) as journal:
        append = journal.append([heal(1)])
        await asyncio.to_thread(journal.close)
        await append
        with pytest.raises(DiskRefused, match="is closed"):
            journal.append([heal(2)])

    assert [event.seq for event in await stored(mission)] == [1]


@pytest.mark.anyio
async def test_a_mission_has_one_journal(mission: MissionFolder) -> None:
    """Creating another is refused and changes nothing; reading where there is none is refused too."""
    async with created(mission) as journal:
        await journal.append([heal(1)])
        with pytest.raises(UsageError, match="exists already"):
            await asyncio.to_thread(Journal.create, mission)

    assert len(await stored(mission)) == 1

    with pytest.raises(UsageError, match="does not exist"):
        await stored(MissionFolder(mission.path.with_name("m-2")))


@pytest.mark.anyio
async def test_alive_notices_that_the_file_is_gone_or_another(mission: MissionFolder) -> None:
    """What is written after `rm -rf .opencode/orch` would never be found."""
    async with created(mission) as journal:
        assert await asyncio.to_thread(journal.alive)

        shutil.copy(mission.journal, mission.path / "copy")
        (mission.path / "copy").replace(mission.journal)
        assert not await asyncio.to_thread(journal.alive)

        shutil.rmtree(mission.path)
        assert not await asyncio.to_thread(journal.alive)


@pytest.mark.anyio
@pytest.mark.parametrize("tamper", [b"", b"{}\n"])
async def test_a_journal_that_somebody_else_wrote_into_is_refused(
    mission: MissionFolder, tamper: bytes
) -> None:
    """A command of an agent may truncate it or add to it: nothing more is acknowledged in such a file."""
    async with created(mission) as journal:
        await journal.append([Heal(seq=1, text="mine")])

        mission.journal.write_bytes(mission.journal.read_bytes() + tamper if tamper else b"")
        with pytest.raises(DiskRefused, match="somebody else"):
            await journal.append([Heal(seq=2, text="more")])


@pytest.mark.anyio
async def test_long_strings_of_a_long_line_become_blobs(mission: MissionFolder) -> None:
    """The line stays short, the event comes back whole, and equal texts share a blob."""
    long = "x" * (LONGEST_LINE_BYTES + 1)
    short = "y" * LONGEST_STRING
    async with created(mission) as journal:
        await journal.append([turn(1, long, json.dumps({"content": long})), turn(2, long, short)])

    assert await stored(mission) == [turn(1, long, json.dumps({"content": long})), turn(2, long, short)]
    assert mission.journal.stat().st_size < LONGEST_LINE_BYTES
    assert short in mission.journal.read_text()
    assert len(list(mission.blobs.iterdir())) == 2


@pytest.mark.anyio
async def test_a_text_that_looks_like_a_reference_comes_back_as_it_was(mission: MissionFolder) -> None:
    """Even one that names a blob that exists."""
    long = "x" * (LONGEST_LINE_BYTES + 1)
    async with created(mission) as journal:
        await journal.append([heal(1, long)])
        name = next(mission.blobs.iterdir()).name
        await journal.append(
            [heal(2, f"blob:sha256:{name}"), heal(3, "blob:sha256:"), heal(4, " blob:sha256:")]
        )

    assert [event.text for event in await stored(mission) if isinstance(event, Heal)] == [
        long,
        f"blob:sha256:{name}",
        "blob:sha256:",
        " blob:sha256:",
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(("content", "state"), [(None, "missing"), (b"altered", "altered")])
async def test_a_lost_blob_is_damage_in_its_line(
    mission: MissionFolder, content: bytes | None, state: str
) -> None:
    """Other bytes are never taken for it."""
    async with created(mission) as journal:
        await journal.append([heal(1), heal(2, "x" * (LONGEST_LINE_BYTES + 1))])
    blob = next(mission.blobs.iterdir())
    blob.unlink()
    if content is not None:
        blob.write_bytes(content)

    with pytest.raises(JournalDamaged, match=f"blob {blob.name} is {state}") as refused:
        await stored(mission)

    assert (refused.value.path, refused.value.line) == (str(mission.journal), 2)


@pytest.mark.anyio
async def test_lone_surrogates_never_brick_the_journal(mission: MissionFolder) -> None:
    """What no JSON parser can hold is replaced, wherever it stands."""
    broken = MessageSent(seq=1, session=SessionId("s\udcff"), reason=MessageReason.WAKE, text="a\ud800b")
    async with created(mission) as journal:
        await journal.append([broken])
        await journal.append([heal(2)])

    first, _ = await stored(mission)

    assert first == MessageSent(
        seq=1, session=SessionId("s\ufffd"), reason=MessageReason.WAKE, text="a\ufffdb"
    )


texts = st.text(max_size=20) | st.text(max_size=20).map("blob:sha256:".__add__)


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.floats(allow_nan=False, allow_infinity=False)), max_size=4))
def test_any_text_and_number_comes_back(facts: list[tuple[str, float]]) -> None:
    """One event is one line of ASCII, whatever stands in it; only what no JSON can hold is replaced."""
    events = [
        VerificationFinished(
            seq=seq,
            phase=VerificationPhase.SEAL,
            command=text,
            exit_code=0,
            duration_s=number,
            tree="",
            output=text * 2000,
        )
        for seq, (text, number) in enumerate(facts, 1)
    ]
    with tempfile.TemporaryDirectory() as place:
        mission = MissionFolder(Path(place))
        mission.create()
        data = b"".join(records.line(records.encoded(event), 0, Blobs(mission.blobs)) for event in events)
        mission.journal.write_bytes(data)
        found = list(read(mission))

    assert data.isascii()
    assert len(data.splitlines()) == len(events)
    for event, back in zip(events, found, strict=True):
        assert back in (event, EVENT.validate_python(records.cleaned(event.model_dump())))


async def append_until_refused(journal: Journal) -> tuple[int, str]:
    """Append one event after the other; return how many were acknowledged, and the refusal."""
    for seq in itertools.count(1):
        try:
            await journal.append([heal(seq)])
        except DiskRefused as refused:
            return seq - 1, str(refused)
    raise AssertionError


@pytest.mark.fault(7)
@pytest.mark.anyio
@pytest.mark.parametrize("fails_at", [1, 2, 3, 5, 8, 13, 21])
async def test_a_disk_that_fills_up_loses_nothing_acknowledged(mission: MissionFolder, fails_at: int) -> None:
    """Every write is short; at the Nth the disk is full. What was not acknowledged is taken back."""
    calls = itertools.count(1)

    def write(descriptor: int, data: memoryview) -> int:
        if next(calls) >= fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data[: 1 + len(data) // 2])

    async with created(mission, Disk(write=write)) as journal:
        count, refusal = await append_until_refused(journal)
        with pytest.raises(DiskRefused, match="No space left"):
            journal.append([heal(99)])
    recovered = await opened(mission)

    assert "No space left" in refusal
    assert "nothing acknowledged is lost" in refusal
    assert recovered.events == tuple(heal(seq) for seq in range(1, count + 1))
    assert recovered.healed is None


@pytest.mark.fault(8)
@pytest.mark.anyio
async def test_a_failing_sync_ends_the_writing_and_is_not_tried_again(mission: MissionFolder) -> None:
    """After EIO the kernel may call the next sync good; everybody who waits is told."""
    calls = itertools.count(1)

    def sync(descriptor: int) -> None:
        if next(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        DISK.sync(descriptor)

    async with created(mission, Disk(sync=sync)) as journal:
        await journal.append([heal(1)])
        waiting = [journal.append([heal(seq)]) for seq in range(2, 12)]

        assert await acknowledged(waiting) == [False] * 10
        with pytest.raises(DiskRefused, match="Input/output error"):
            journal.append([heal(12)])

    assert next(calls) == 3
    assert [event.seq for event in await stored(mission)] == [1]


@pytest.mark.fault(7)
@pytest.mark.anyio
async def test_a_refused_blob_ends_the_writing_too(mission: MissionFolder) -> None:
    """No line is written whose payload is not durable."""
    async with created(mission) as journal:
        await journal.append([heal(1)])
        await asyncio.to_thread(shutil.rmtree, mission.blobs)
        with pytest.raises(DiskRefused, match="No such file"):
            await journal.append([heal(2, "x" * (LONGEST_LINE_BYTES + 1))])
        with pytest.raises(DiskRefused):
            journal.append([heal(3)])

    assert [event.seq for event in await stored(mission)] == [1]


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_bug_in_the_writer_leaves_nobody_waiting(mission: MissionFolder) -> None:
    """An error that no disk makes ends the thread; who waits and who comes later is told."""

    def write(_descriptor: int, _data: memoryview) -> int:
        raise ZeroDivisionError

    async with created(mission, Disk(write=write)) as journal:
        with pytest.raises(DiskRefused, match="its writer failed"):
            await journal.append([heal(1)])
        await asyncio.to_thread(journal.close)
        with pytest.raises(DiskRefused):
            journal.append([heal(2)])
