"""What a plan may cost: a range that says what it rests on."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.estimate import ENOUGH_ITEMS, Experience, Price, Spent, amounts, estimate, experience
from orch.mission.state import Item, ItemStatus, MissionState, SessionStatus
from tests.mission.casts import spec
from tests.mission.samples import S2, S3, a_mission, session

KNOWN = dict.fromkeys(ev.Role, Price("fake/model", 1.0, 10.0, 0.1))
UNKNOWN = KNOWN | {ev.Role.WORKER: Price("odd/model")}
NOTHING = Experience()


def planned(*items: str) -> MissionState:
    """Return a mission with a plan that nobody has begun."""
    specs = {ev.ItemId(name): Item(spec(name), ev.ItemOrigin.PLANNED) for name in items}
    return replace(a_mission(), items=specs, issues={}, dry_run=True)


def known(*tokens: int, missions: int = 1) -> Experience:
    """Return experience of items whose Workers and Reviewers took so many tokens each."""
    spent = tuple(Spent(turns=5, taken_in=each) for each in tokens)
    return Experience({ev.Role.WORKER: spent, ev.Role.REVIEWER: spent}, missions)


def test_without_experience_the_basis_is_said_and_it_is_a_range() -> None:
    """The least is less than the most, in tokens and in dollars."""
    cost = estimate(planned("a", "b"), {}, NOTHING, KNOWN)
    assert 0 < cost.tokens_least < cost.tokens_most
    assert cost.usd_least is not None
    assert cost.usd_most is not None
    assert 0 < cost.usd_least < cost.usd_most
    assert "no earlier mission here to go by" in cost.text
    assert "left out: " in cost.text


def test_more_items_and_larger_files_cost_more() -> None:
    """The figures follow from the plan."""
    one = estimate(planned("a"), {"a.py": 100}, NOTHING, KNOWN)
    large = estimate(planned("a"), {"a.py": 400_000}, NOTHING, KNOWN)
    two = estimate(planned("a", "b"), {"a.py": 100, "b.py": 100}, NOTHING, KNOWN)
    assert one.tokens_least < large.tokens_least
    assert one.tokens_most < large.tokens_most
    assert one.tokens_most < two.tokens_most


def test_an_unknown_price_leaves_the_dollars_unknown_and_is_named() -> None:
    """Half a sum is no sum."""
    cost = estimate(planned("a"), {}, NOTHING, UNKNOWN)
    assert (cost.usd_least, cost.usd_most) == (None, None)
    assert "the price of odd/model is unknown" in cost.text
    assert "$" not in amounts(cost)
    assert amounts(cost).endswith(" tokens")


def test_enough_experience_is_the_basis_its_middle_half_for_each_item() -> None:
    """One item that went out of hand does not move the range."""
    state = planned("a", "b")
    before = known(*[1_000] * 7, 9_000_000)
    cost = estimate(state, {}, before, KNOWN)
    closing = estimate(state, {}, known(*[0] * ENOUGH_ITEMS), KNOWN)
    assert cost.tokens_least - closing.tokens_least == 2 * 2 * 1_000
    assert cost.tokens_most - closing.tokens_most == 2 * 2 * 1_000
    assert "8 completed items of 1 earlier mission here" in cost.text


def test_too_little_experience_is_none() -> None:
    """No range can be read from two items."""
    few = known(*[5] * (ENOUGH_ITEMS - 1))
    assert estimate(planned("a"), {}, few, KNOWN) == estimate(planned("a"), {}, NOTHING, KNOWN)


def test_experience_is_what_the_sessions_of_completed_items_took() -> None:
    """All rounds count; what was not completed tells nothing."""
    usage = ev.Usage(input_tokens=70, output_tokens=30, cached_tokens=20)
    others = {
        key: replace(session(key, role, SessionStatus.ENDED), usage=usage, turns=2)
        for key, role in (
            (S2, ev.Role.WORKER),
            (S3, ev.Role.WORKER),
            (ev.SessionId("S4"), ev.Role.REVIEWER),
        )
    }
    state = replace(a_mission(item=ItemStatus.COMPLETED), sessions=others)
    found = experience(state)
    assert found.missions == 1
    assert found.of(ev.Role.WORKER) == (Spent(4, 140, 60, 40),)
    assert found.of(ev.Role.REVIEWER) == (Spent(2, 70, 30, 20),)
    assert experience(a_mission()) == Experience({ev.Role.WORKER: (), ev.Role.REVIEWER: ()}, 0)


def test_missions_add_up_and_those_that_tell_nothing_do_not_count() -> None:
    """The number of missions is that of the basis."""
    total = known(1, 2).plus(experience(a_mission())).plus(known(3))
    assert total.missions == 2
    assert [spent.taken_in for spent in total.of(ev.Role.WORKER)] == [1, 2, 3]
    assert total.suffices


def test_cached_tokens_have_a_price_of_their_own_where_it_is_known() -> None:
    """Else they cost what others do."""
    spent = Spent(taken_in=1_000_000, cached=500_000, given_out=100_000)
    assert spent.usd(KNOWN[ev.Role.WORKER]) == pytest.approx(0.5 + 0.05 + 1.0)
    assert spent.usd(Price("m", 1.0, 10.0)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("least", "most", "shown"),
    [(7, 950, "7-950"), (1_234, 45_678, "1.2k-46k"), (999_999, 2_340_000, "1M-2.3M")],
)
def test_amounts_are_said_no_more_exactly_than_they_are_known(least: int, most: int, shown: str) -> None:
    """Two digits."""
    cost = ev.Estimate(tokens_least=least, tokens_most=most, usd_least=0.1, usd_most=12)
    assert amounts(cost) == f"{shown} tokens, $0.10-$12.00"
