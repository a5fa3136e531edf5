"""What is left is told as a range, on a basis that is named; before there is one nothing is estimated."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.forecast import Span, forecast
from orch.mission.gist import gist
from orch.mission.reduce import replay
from orch.mission.state import Item, ItemStatus, MissionState, Session
from tests.mission.casts import TROUPES, Troupe, spec

WORKED = st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=1, max_size=8)


def mission(
    *items: Item, worked: dict[str, tuple[float, float]] | None = None, slots: int = 50
) -> MissionState:
    """Return a mission of items; who worked for so long on which of them, as Worker and as Reviewer."""
    sessions = [
        Session(
            id=ev.SessionId(f"{role} {item}"),
            role=role,
            model="m",
            title="",
            started="",
            started_seq=1,
            item=ev.ItemId(item),
            worked_s=worked_s,
        )
        for item, both in (worked or {}).items()
        for role, worked_s in zip((ev.Role.WORKER, ev.Role.REVIEWER), both, strict=True)
    ]
    return MissionState(
        max_parallel=slots,
        items={item.spec.id: item for item in items},
        sessions={session.id: session for session in sessions},
    )


def item(name: str, *after: str, status: ItemStatus = ItemStatus.PENDING) -> Item:
    """Return an item."""
    return Item(spec(name, after=after), ev.ItemOrigin.PLANNED, status)


def done(name: str) -> Item:
    """Return an item that is completed."""
    return item(name, status=ItemStatus.COMPLETED)


def test_there_is_no_estimate_before_an_item_is_finished() -> None:
    """However much was worked; the chain is known all the same."""
    known = forecast(mission(item("a", status=ItemStatus.WORKING), item("b", "a"), worked={"a": (90.0, 9.0)}))
    assert known.work is None
    assert known.basis == 0
    assert known.chain == ("a", "b")
    assert known.chain_sessions == 4


def test_of_one_finished_item_the_range_is_half_to_double() -> None:
    """The next one is built and reviewed."""
    known = forecast(mission(done("a"), item("b"), worked={"a": (100.0, 20.0)}))
    assert known.work == Span(60.0, 240.0)
    assert known.basis == 1


def test_what_is_worked_already_is_not_left() -> None:
    """Of what takes longer than usual only the upper end is known."""
    item_b = item("b", status=ItemStatus.REVIEWING)
    for reviewed_s, left in ((5.0, Span(5.0, 35.0)), (100.0, Span(0.0, 10.0))):
        state = mission(done("a"), item_b, worked={"a": (100.0, 20.0), "b": (70.0, reviewed_s)})
        assert forecast(state).work == left


def test_a_chain_takes_as_long_as_its_items_and_others_go_on_beside_it() -> None:
    """With slots for all, three behind each other take three times one; in one slot all five take five."""
    chain, beside = (item("b"), item("c", "b"), item("d", "c")), (item("e"), item("f"))
    worked = {"a": (100.0, 20.0)}
    wide = forecast(mission(done("a"), *chain, *beside, worked=worked))
    narrow = forecast(mission(done("a"), *chain, *beside, worked=worked, slots=1))

    assert wide.chain == narrow.chain == ("b", "c", "d")
    assert wide.work is not None
    assert wide.work.low_s == 3 * 60.0
    assert narrow.work == Span(5 * 60.0, 5 * 240.0)


def test_items_in_a_circle_are_in_no_chain_and_break_nothing() -> None:
    """A plan has none; a state that was made by hand may."""
    known = forecast(mission(item("a", "b"), item("b", "a"), item("c")))
    assert known.chain == ("c",)
    assert known.open_items == 3


@given(WORKED, st.integers(1, 60), st.integers(0, 12), st.integers(1, 12))
def test_the_range_is_between_what_is_possible(
    worked: list[tuple[float, float]], slots: int, chained: int, free: int
) -> None:
    """Never below the chain at the least that an item took, never above all of it one after the other."""
    names = [f"d{number}" for number in range(len(worked))]
    chain = [item("c0"), *(item(f"c{n}", f"c{n - 1}") for n in range(1, chained))][:chained]
    rest = [item(f"f{number}") for number in range(free)]
    state = mission(
        *map(done, names), *chain, *rest, worked=dict(zip(names, worked, strict=True)), slots=slots
    )
    work = forecast(state).work

    assert work is not None
    assert 0 <= work.low_s <= work.high_s
    least, most = min(map(sum, worked)), max(map(sum, worked))
    assert work.low_s <= (chained + free) * most * (1 + 1e-9)
    assert work.low_s >= max(chained, 1) * min(b for b, _ in worked) / 2 * (1 - 1e-9)
    highest = (chained + free) * 2 * (max(b for b, _ in worked) + max(r for _, r in worked))
    assert least / 2 * (1 - 1e-9) <= work.high_s <= highest * (1 + 1e-9)


@given(st.floats(1, 1e4), st.integers(1, 6))
def test_the_more_is_known_the_narrower_the_range(seconds: float, count: int) -> None:
    """Where every item took the same."""
    spans = []
    for known in (count, count + 1):
        names = [f"d{number}" for number in range(known)]
        state = mission(*map(done, names), item("a"), worked=dict.fromkeys(names, (seconds, seconds)))
        span = forecast(state).work
        assert span is not None
        spans.append(span.high_s - span.low_s)
    assert spans[1] < spans[0]


@settings(max_examples=30)
@given(TROUPES, st.floats(0, 1))
def test_in_any_mission_what_is_left_are_open_items_that_follow_each_other(
    troupe: Troupe, where: float
) -> None:
    """A watcher's gist is told the same."""
    events = troupe.simulation().start(max_parallel=troupe.max_parallel).run().events
    state = replay(events[: int(where * len(events))])
    known = forecast(state)

    assert forecast(gist(state)) == known
    assert (known.work is None) == (not known.basis or not known.open_items)
    assert known.open_items >= len(known.chain)
    for one, other in pairwise(known.chain):
        assert one in state.items[other].spec.depends_on


def test_a_slot_more_never_makes_the_estimate_longer() -> None:
    """From one slot to more than there are items."""
    names = [f"f{number}" for number in range(9)]
    worked = {"a": (100.0, 20.0), "b": (300.0, 50.0)}
    state = mission(done("a"), done("b"), *map(item, names), worked=worked)
    spans = [forecast(evolve(state, max_parallel=slots)).work for slots in range(1, 12)]
    for fewer, more in pairwise(spans):
        assert fewer is not None
        assert more is not None
        assert more.low_s <= fewer.low_s
        assert more.high_s <= fewer.high_s * (1 + 1e-9)
