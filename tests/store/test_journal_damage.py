"""A journal that a crash, a disk or a person changed: cut, refused with its line, never silently wrong."""

import asyncio
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import JournalDamaged, JournalNewer
from orch.mission.events import Event, Heal, MissionId, SessionId, SessionIdle
from orch.store import records
from orch.store.blobs import Blobs
from orch.store.folder import MissionFolder
from orch.store.journal import Journal, Recovered, read


def line(record: bytes) -> bytes:
    """Return the line of a record."""
    return b'%b,"crc":"%08x"}\n' % (record[:-1], zlib.crc32(record[:-1]))


@cache
def events() -> tuple[Event, ...]:
    """Return a few small events."""
    mission = MissionId("m-1")
    heals = [Heal(seq=seq, mission=mission, text=f"text {seq}") for seq in range(1, 5)]
    return (*heals, SessionIdle(seq=5, mission=mission, session=SessionId("s1")))


@cache
def lines() -> tuple[bytes, ...]:
    """Return their lines."""
    return tuple(
        line(
            event.model_dump_json(
                exclude={name for name in ("session", "item") if not getattr(event, name)}
            ).encode()
        )
        for event in events()
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> MissionFolder:
    """Return a folder whose journal each example writes anew."""
    mission = MissionFolder(tmp_path_factory.mktemp("m-1"))
    mission.create()
    return mission


def reopened(mission: MissionFolder) -> Recovered:
    """Open the journal and close it."""
    recovered = Journal.open(mission)
    recovered.journal.close()
    return recovered


def outcome(mission: MissionFolder) -> tuple[Event, ...] | int:
    """Return what a reader finds: the events, or the line that it refuses."""
    try:
        return tuple(read(mission))
    except JournalDamaged as damaged:
        return damaged.line


def write_and_close(recovered: Recovered, event: Event) -> None:
    """Append one event."""

    async def append() -> None:
        await recovered.journal.append([event])
        await asyncio.to_thread(recovered.journal.close)

    asyncio.run(append())


def _forget_asides(mission: MissionFolder) -> None:
    for aside in mission.path.glob("journal.torn-*"):
        aside.unlink()


def test_the_lines_of_these_tests_are_those_of_the_journal(folder: MissionFolder) -> None:
    """Else the rest would prove nothing."""
    folder.journal.write_bytes(b"".join(lines()[:-1]))
    write_and_close(Journal.open(folder), events()[-1])

    assert folder.journal.read_bytes() == b"".join(lines())
    assert tuple(read(folder)) == events()


def test_an_empty_journal_has_no_events(folder: MissionFolder) -> None:
    """A crash came between its creation and its first record."""
    folder.journal.write_bytes(b"")

    assert reopened(folder).events == ()


@pytest.mark.fault(4)
def test_a_torn_tail_is_cut_before_the_next_append(
    folder: MissionFolder, record_property: Callable[[str, object], None]
) -> None:
    """At whatever byte of the last three records; what was cut is kept, the next line is a fresh one."""
    _forget_asides(folder)
    whole = b"".join(lines())
    ends = [0]
    for one in lines():
        ends.append(ends[-1] + len(one))
    for cut in range(ends[-4], len(whole) + 1):
        survivors = sum(end <= cut for end in ends) - 1
        folder.journal.write_bytes(whole[:cut])

        assert tuple(read(folder)) == events()[:survivors]

        if cut in ends or cut % 7 == 0 or cut + 1 in ends:
            recovered = Journal.open(folder)
            write_and_close(recovered, Heal(seq=survivors + 1, text="next"))
            torn = whole[ends[survivors] : cut]
            asides = sorted(folder.path.glob("journal.torn-*"))

            assert recovered.events == events()[:survivors]
            assert [aside.read_bytes() for aside in asides] == ([torn] if torn else [])
            assert (recovered.healed is not None) == bool(torn)
            assert tuple(read(folder)) == (*recovered.events, Heal(seq=survivors + 1, text="next"))
            _forget_asides(folder)
    record_property("figure", f"{len(whole) + 1 - ends[-4]} cuts, prefix held in all")


@pytest.mark.fault(4)
@settings(deadline=None)
@given(st.integers(0, sum(map(len, lines()))))
def test_a_journal_cut_anywhere_is_a_beginning_of_what_was_written(folder: MissionFolder, cut: int) -> None:
    """Every whole record before the cut is there, and the next one stands on a line of its own."""
    _forget_asides(folder)
    whole = b"".join(lines())[:cut]
    folder.journal.write_bytes(whole)

    recovered = Journal.open(folder)
    kept = recovered.events
    write_and_close(recovered, Heal(seq=len(kept) + 1, text="next"))

    assert kept == events()[: whole.count(b"\n")]
    assert tuple(read(folder)) == (*kept, Heal(seq=len(kept) + 1, text="next"))


def batched(*sizes: int) -> bytes:
    """Return the lines of batches of so many events each."""
    data, seq = b"", 0
    for size in sizes:
        for more in range(size - 1, -1, -1):
            seq += 1
            data += records.line(
                records.encoded(Heal(seq=seq, text=f"text {seq}")), more, Blobs(Path("/nowhere"))
            )
    return data


@pytest.mark.fault(4)
def test_of_a_torn_batch_nothing_happened(folder: MissionFolder) -> None:
    """Cut at every byte: a batch is there as a whole or not at all, also for a reader."""
    whole, ends = batched(1, 3, 2), [len(batched(*sizes)) for sizes in ((), (1,), (1, 3), (1, 3, 2))]
    for cut in range(len(whole) + 1):
        _forget_asides(folder)
        folder.journal.write_bytes(whole[:cut])
        batches = sum(end <= cut for end in ends) - 1

        recovered = reopened(folder)

        assert [event.seq for event in recovered.events] == list(range(1, (0, 1, 4, 6)[batches] + 1))
        assert folder.journal.read_bytes() == whole[: ends[batches]]
        assert (recovered.healed is not None) == (cut not in ends)


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("more", "line_number"), [((2, 0, 0), 2), ((2, 2, 1), 2), ((1, 1, 0), 2), ((2, 1, 1), 3)]
)
def test_a_batch_that_does_not_count_down_is_damage(
    folder: MissionFolder, more: tuple[int, ...], line_number: int
) -> None:
    """A record of it was lost, or another one got between."""
    pieces = [
        records.line(records.encoded(Heal(seq=seq, text="x")), left, Blobs(Path("/nowhere")))
        for seq, left in enumerate(more, 1)
    ]
    folder.journal.write_bytes(b"".join(pieces))

    with pytest.raises(JournalDamaged, match="of one batch had to follow") as refused:
        reopened(folder)

    assert refused.value.line == line_number
    assert folder.journal.read_bytes() == b"".join(pieces)


def test_recovery_says_what_it_cut_and_never_overwrites_an_earlier_piece(folder: MissionFolder) -> None:
    """A second crash leaves a second file; recovering what is whole changes nothing."""
    _forget_asides(folder)
    for piece in (b'{"v":1', b'{"v":1,"seq"'):
        folder.journal.write_bytes(lines()[0] + piece)
        healed = reopened(folder).healed
        once = folder.journal.read_bytes()

        assert reopened(folder).healed is None
        assert folder.journal.read_bytes() == once == lines()[0]
        assert healed is not None
        assert f"cut {len(piece)} bytes" in healed

    assert (folder.path / "journal.torn-1").read_bytes() == b'{"v":1'
    assert (folder.path / "journal.torn-2").read_bytes() == b'{"v":1,"seq"'


@pytest.mark.fault(5)
def test_no_flipped_bit_is_ever_silent(
    folder: MissionFolder, record_property: Callable[[str, object], None]
) -> None:
    """Every single bit: refused with its line, or, in the last record alone, cut as an unfinished one."""
    whole = bytearray(b"".join(lines()))
    last = len(whole) - len(lines()[-1])
    for bit in range(len(whole) * 8):
        whole[bit // 8] ^= 1 << bit % 8
        folder.journal.write_bytes(whole)
        if bit // 8 < last:
            assert outcome(folder) == whole[: bit // 8].count(b"\n") + 1
        else:
            assert outcome(folder) in (events()[:-1], len(lines()))
        whole[bit // 8] ^= 1 << bit % 8
    record_property("figure", f"{len(whole) * 8} bits, 0 silent")


@pytest.mark.fault(5)
@settings(deadline=None)
@given(st.integers(0, sum(map(len, lines()[:-1])) - 1), st.integers(1, 200))
def test_a_run_of_zeros_is_refused_with_its_line(folder: MissionFolder, at: int, length: int) -> None:
    """What a file system leaves of a block that never reached the disk; the file stays untouched."""
    whole = b"".join(lines())
    end = min(at + length, sum(map(len, lines()[:-1])))
    data = whole[:at] + bytes(end - at) + whole[end:]
    folder.journal.write_bytes(data)

    with pytest.raises(JournalDamaged) as refused:
        reopened(folder)

    assert refused.value.line == whole[:at].count(b"\n") + 1
    assert folder.journal.read_bytes() == data


def _edited(whole: list[bytes], edit: str, at: int, to: int) -> list[bytes]:
    match edit:
        case "duplicate":
            return [*whole[: at + 1], whole[at], *whole[at + 1 :]]
        case "swap":
            whole[at], whole[to] = whole[to], whole[at]
        case "glue":
            whole[at] = whole[at].rstrip(b"\n")
        case "drop":
            del whole[at]
        case "blank":
            whole[at] = b"\x00" * (len(whole[at]) - 1) + b"\n"
        case _:
            whole[at] = whole[at][:to] + whole[at]
    return whole


@pytest.mark.fault(5)
@settings(deadline=None)
@given(
    st.sampled_from(["duplicate", "swap", "glue", "drop", "blank", "stutter"]),
    st.integers(0, len(lines()) - 2),
    st.integers(1, len(lines()) - 1),
)
def test_lines_that_were_moved_glued_or_blanked_are_refused(
    folder: MissionFolder, edit: str, at: int, to: int
) -> None:
    """Whatever an editor, a merge or a bad sector does before the last record; the file stays untouched."""
    if edit == "swap" and at == to:
        return
    data = b"".join(_edited(list(lines()), edit, at, to))
    folder.journal.write_bytes(data)

    for refuse in (lambda: list(read(folder)), lambda: reopened(folder)):
        with pytest.raises(JournalDamaged, match=r"journal\.jsonl:\d+: .*was not touched"):
            refuse()

    assert folder.journal.read_bytes() == data


@pytest.mark.fault(5)
@settings(deadline=None)
@given(st.binary(min_size=1, max_size=30), st.integers(0, sum(map(len, lines()))))
def test_bytes_from_nowhere_never_add_or_change_an_event(
    folder: MissionFolder, noise: bytes, at: int
) -> None:
    """Inserted anywhere, they are refused or cut; what is read is a beginning of what was written."""
    whole = b"".join(lines())
    folder.journal.write_bytes(whole[:at] + noise + whole[at:])

    found = outcome(folder)

    if isinstance(found, int):
        return
    assert found == events()[: len(found)]
    assert len(found) >= len(events()) - 1


@pytest.mark.parametrize(
    "tail",
    [
        lines()[3][:-1] + lines()[4],
        lines()[3][:-1] + lines()[4][:-20],
        lines()[3][:-1] + b"J",
        b"garbage" + lines()[3],
        lines()[3][:-20] + lines()[3],
    ],
    ids=["glued", "glued and torn", "line end lost", "garbage before", "stuttered"],
)
def test_a_last_line_that_holds_a_whole_record_is_no_torn_tail(folder: MissionFolder, tail: bytes) -> None:
    """It was acknowledged: cutting it would lose it."""
    folder.journal.write_bytes(b"".join(lines()[:3]) + tail)

    with pytest.raises(JournalDamaged) as refused:
        reopened(folder)

    assert refused.value.line == 4


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            b'{"v":1,"seq":2,"ts":"","mission":"m-1","type":"item.teleported"}',
            r"'item\.teleported' of version 1",
        ),
        (b'{"v":2,"seq":2,"ts":"","mission":"m-1","type":"heal","text":"x"}', r"'heal' of version 2"),
        (
            b'{"v":1,"seq":2,"ts":"","mission":"m-1","type":"heal","text":"x","why":"y"}',
            r"'heal' of version 1",
        ),
    ],
)
def test_what_a_later_orch_wrote_is_refused_with_both_versions(
    folder: MissionFolder, record: bytes, words: str
) -> None:
    """Also as the last line: an intact record is never dropped as a torn one."""
    data = lines()[0] + line(record)
    folder.journal.write_bytes(data)

    with pytest.raises(JournalNewer, match=rf":2: .*{words}.*version 1\).*use the orch that wrote it"):
        reopened(folder)

    assert folder.journal.read_bytes() == data


@pytest.mark.parametrize("record", [b"{}", b'{"seq":2}', b'["v"]', b"{nonsense}"])
def test_an_intact_line_that_is_no_event_is_damage(folder: MissionFolder, record: bytes) -> None:
    """Its checksum says that somebody made it so."""
    folder.journal.write_bytes(lines()[0] + line(record) + lines()[1])

    with pytest.raises(JournalDamaged):
        list(read(folder))


def test_a_journal_that_does_not_begin_with_one_is_refused(folder: MissionFolder) -> None:
    """Its head was lost."""
    folder.journal.write_bytes(b"".join(lines()[1:]))

    with pytest.raises(JournalDamaged, match="it has seq 2 where 1 must stand"):
        list(read(folder))


def test_a_link_in_place_of_the_journal_is_refused(tmp_path: Path) -> None:
    """Nothing is read or written elsewhere."""
    mission = MissionFolder(tmp_path / "m-1")
    mission.create()
    (tmp_path / "elsewhere").write_bytes(b"".join(lines()))
    mission.journal.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Exception, match=r"journal\.jsonl"):
        reopened(mission)

    assert (tmp_path / "elsewhere").read_bytes() == b"".join(lines())


def test_a_reader_stops_before_a_record_that_is_being_written(folder: MissionFolder) -> None:
    """The rest of it may come while the reader looks."""
    folder.journal.write_bytes(lines()[0] + lines()[1][:50])
    reader = read(folder)
    first = next(reader)
    with folder.journal.open("ab") as file:
        file.write(lines()[1][50:] + lines()[2])

    rest = list(reader)

    assert first == events()[0]
    assert rest == list(events()[1 : 1 + len(rest)])
