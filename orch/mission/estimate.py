"""What a plan that was not run yet may cost: a range, and what it rests on, said with it.

Pure arithmetic. Where earlier missions of the workspace completed items, their Workers' and Reviewers' turns
and tokens are the basis; without any it is a model that is stated: typical numbers of turns, and requests as
large as the brief and the item's files make them. A price that is unknown leaves the dollars unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

from orch.mission import brief, size
from orch.mission.events import Estimate, Role
from orch.mission.state import Item, ItemStatus, MissionState, Session, open_items

TYPICAL_TURNS: Mapping[Role, tuple[int, int]] = {
    Role.WORKER: (4, 12),
    Role.REVIEWER: (3, 8),
    Role.COMMANDER: (1, 3),
}
"""Turns for one item, the Commander's for the mission, where there is nothing to go by."""
ENOUGH_ITEMS = 3
"""Completed items that make a basis; from fewer no range can be read."""
OPENING_TOKENS = 4_000
"""A role's prompt, its tools and the project's context, which begin every request."""
GROWTH_TOKENS = (300, 1_200)
"""What an answer and its results add to the requests behind it."""
ANSWER_TOKENS = (100, 500)
"""What an answer takes, the files that it writes left out."""
NEW_FILE_TOKENS = (300, 2_500)
"""What a file is taken to become that is not there yet."""
LEFT_OUT = "rejections beyond those of the basis, fixes, retries, thinking, files that grow"
"""What no plan tells."""
_THOUSAND, _MILLION = 1_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens of a model; `None` where unknown."""

    model: str
    input_usd: float | None = None
    output_usd: float | None = None
    cached_usd: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether dollars can be told."""
        return self.input_usd is not None and self.output_usd is not None


@dataclass(frozen=True, slots=True)
class Spent:
    """Turns, and tokens in all of them; `cached` are part of `taken_in`."""

    turns: float = 0
    taken_in: float = 0
    given_out: float = 0
    cached: float = 0

    def plus(self, other: "Spent") -> "Spent":
        """Add what another spent."""
        return Spent(
            self.turns + other.turns,
            self.taken_in + other.taken_in,
            self.given_out + other.given_out,
            self.cached + other.cached,
        )

    @property
    def tokens(self) -> float:
        """All tokens that are paid."""
        return self.taken_in + self.given_out

    def usd(self, price: Price) -> float:
        """Return what it costs at a price that is known."""
        asked, answered = price.input_usd or 0.0, price.output_usd or 0.0
        cached = asked if price.cached_usd is None else price.cached_usd
        fresh = self.taken_in - self.cached
        return (fresh * asked + self.cached * cached + self.given_out * answered) / _MILLION


Range = tuple[Spent, Spent]
"""The least and the most."""


@dataclass(frozen=True, slots=True)
class Experience:
    """What completed items took, by role, and of how many missions they are."""

    items: Mapping[Role, tuple[Spent, ...]] = field(default_factory=dict)
    missions: int = 0

    def plus(self, other: "Experience") -> "Experience":
        """Add what another mission tells."""
        if not any(other.items.values()):
            return self
        roles = {*self.items, *other.items}
        items = {role: (*self.items.get(role, ()), *other.items.get(role, ())) for role in roles}
        return Experience(items, self.missions + other.missions)

    def of(self, role: Role) -> tuple[Spent, ...]:
        """Return what the role took for each item."""
        return self.items.get(role, ())

    @property
    def suffices(self) -> bool:
        """Whether a range can be read from it."""
        return all(len(self.of(role)) >= ENOUGH_ITEMS for role in (Role.WORKER, Role.REVIEWER))


def experience(state: MissionState) -> Experience:
    """Return what the completed items of a mission took, all their rounds included."""
    done = [item for item in state.items.values() if item.status is ItemStatus.COMPLETED]
    found: dict[Role, list[Spent]] = {Role.WORKER: [], Role.REVIEWER: []}
    for item in done:
        for role, spent in found.items():
            theirs = [s for s in state.sessions.values() if s.item == item.spec.id and s.role is role]
            spent.append(_sum(_spent(session) for session in theirs))
    return Experience({role: tuple(spent) for role, spent in found.items()}, 1 if done else 0)


def _spent(session: Session) -> Spent:
    usage = session.usage
    return Spent(session.turns, usage.input_tokens, usage.output_tokens, usage.cached_tokens)


def _sum(several: Iterable[Spent]) -> Spent:
    total = Spent()
    for one in several:
        total = total.plus(one)
    return total


def estimate(
    state: MissionState,
    sizes: Mapping[str, int | None],
    known: Experience,
    prices: Mapping[Role, Price],
) -> Estimate:
    """Return what is left to pay for the plan. `sizes` are its files' bytes on disk (`None`: absent)."""
    ranges = {role: _role_range(state, role, sizes, known) for role in TYPICAL_TURNS}
    least, most = (round(sum(each[end].tokens for each in ranges.values())) for end in (0, 1))
    unpriced = sorted({prices[role].model for role in ranges if not prices[role].is_known})
    dollars = [sum(each[end].usd(prices[role]) for role, each in ranges.items()) for end in (0, 1)]
    return Estimate(
        tokens_least=least,
        tokens_most=most,
        usd_least=None if unpriced else dollars[0],
        usd_most=None if unpriced else dollars[1],
        text=_words(len(open_items(state)), ranges, known, unpriced),
    )


def _role_range(state: MissionState, role: Role, sizes: Mapping[str, int | None], known: Experience) -> Range:
    items = open_items(state)
    if role is Role.COMMANDER:
        return _closing(state)
    if known.suffices:
        least, most = _quartiles(known.of(role))
        return _times(least, len(items)), _times(most, len(items))
    each = [_typical(state, item, role, sizes) for item in items]
    return _sum(low for low, _ in each), _sum(high for _, high in each)


def _times(spent: Spent, number: int) -> Spent:
    return Spent(
        spent.turns * number, spent.taken_in * number, spent.given_out * number, spent.cached * number
    )


def _quartiles(spent: Sequence[Spent]) -> Range:
    """Return the lower and the upper quartile of each figure."""

    def ends(values: Iterable[float]) -> tuple[float, float]:
        low, _, high = quantiles(values, n=4, method="inclusive")
        return low, high

    turns, taken = ends(s.turns for s in spent), ends(s.taken_in for s in spent)
    given, cached = ends(s.given_out for s in spent), ends(s.cached for s in spent)
    return Spent(turns[0], taken[0], given[0], cached[0]), Spent(turns[1], taken[1], given[1], cached[1])


def _typical(state: MissionState, item: Item, role: Role, sizes: Mapping[str, int | None]) -> Range:
    """Return what a role may take for an item: requests begin with the brief and grow with each turn."""
    text = brief.worker_brief(state, item) if role is Role.WORKER else brief.reviewer_brief(state, item)
    opening = OPENING_TOKENS + size.tokens_in((text,))
    ends = []
    for end, turns in enumerate(TYPICAL_TURNS[role]):
        files = sum(_file_tokens(sizes.get(path), end) for path in item.files)
        seen = files if role is Role.REVIEWER or end else files // 2
        a_turn = opening + seen + GROWTH_TOKENS[end] * (turns - 1) / 2
        written = files if role is Role.WORKER else 0
        ends.append(Spent(turns, turns * a_turn, turns * ANSWER_TOKENS[end] + written))
    return ends[0], ends[1]


def _file_tokens(size_bytes: int | None, end: int) -> int:
    return NEW_FILE_TOKENS[end] if size_bytes is None else size_bytes // size.BYTES_PER_TOKEN


def _closing(state: MissionState) -> Range:
    """Return what the Commander may take to be woken and to close: its history as it is, and some more."""
    commander = state.sessions.get(state.commander) if state.commander else None
    opening = max(OPENING_TOKENS, commander.counted_tokens if commander else 0)
    low, high = TYPICAL_TURNS[Role.COMMANDER]
    grown = opening + GROWTH_TOKENS[1] * high
    return (
        Spent(low, low * opening, low * ANSWER_TOKENS[0]),
        Spent(high, high * grown, high * ANSWER_TOKENS[1]),
    )


def _words(number: int, ranges: Mapping[Role, Range], known: Experience, unpriced: Sequence[str]) -> str:
    """Say how it was reckoned, from what, and what it leaves out."""
    items = "1 item" if number == 1 else f"{number} items"
    each = ", ".join(
        f"{role} ~{_count(ranges[role][0].turns / number)}-{_count(ranges[role][1].turns / number)} turns"
        for role in (Role.WORKER, Role.REVIEWER)
    )
    per_turn = [
        sum(r[end].tokens for r in ranges.values()) / sum(r[end].turns for r in ranges.values())
        for end in (0, 1)
    ]
    low, high = (_count(tokens) for tokens in sorted(per_turn))
    closing = "-".join(_count(each.turns) for each in ranges[Role.COMMANDER])
    basis = "no earlier mission here to go by, so typical turns, the briefs and the files' sizes"
    if known.suffices:
        missions = "1 earlier mission" if known.missions == 1 else f"{known.missions} earlier missions"
        basis = f"{len(known.of(Role.WORKER))} completed items of {missions} here, their middle half"
    sessions = f"{items} x ({each}) and ~{closing} turns of the commander"
    lines = [
        f"an estimate: {sessions}, at ~{low}-{high} tokens each",
        f"basis: {basis}",
        f"left out: {LEFT_OUT}{'' if known.suffices else ', and caching, which makes it cheaper'}",
    ]
    if unpriced:
        lines.append(f"no dollars: the price of {', '.join(unpriced)} is unknown")
    return "\n".join(lines)


def _count(number: float) -> str:
    """Return a number as people say it of what is not exact: two digits, in thousands or millions."""
    rounded = float(f"{number:.2g}")
    for unit, name in ((_MILLION, "M"), (_THOUSAND, "k")):
        if rounded >= unit:
            return f"{rounded / unit:g}{name}"
    return f"{rounded:g}"


def amounts(cost: Estimate) -> str:
    """Return an estimate in one line: tokens and, where they are known, dollars."""
    tokens = f"{_count(cost.tokens_least)}-{_count(cost.tokens_most)} tokens"
    if cost.usd_least is None or cost.usd_most is None:
        return tokens
    return f"{tokens}, ${cost.usd_least:.2f}-${cost.usd_most:.2f}"
