"""What is left of a mission: the longest chain of open items, and how long the work may still take.

Pure, and moved by events alone: between two of them nothing changes. An estimate rests on the items that this
mission has completed: how long its Workers and its Reviewers worked for one, rejections included, waiting
excluded (`Session.worked_s`). It is a range from a lower to an upper quartile, wider the fewer there are;
before the first there is none. The range is for all open items: their work cannot be over before the longest
chain is, nor before all slots have shared it evenly; and no order of the work takes longer than both together
(Graham's bound). What the seal takes, what a rejection yet to come costs beyond the usual, and what a
provider keeps waiting are not in it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from orch.mission.events import ItemId, Role
from orch.mission.state import Item, ItemStatus, MissionState, open_items

_UNFINISHED = (ItemStatus.PENDING, ItemStatus.WORKING, ItemStatus.REJECTED)
"""Items that still need a Worker, and a Reviewer behind it; the other open ones need a Reviewer."""


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds of work, from `low_s` to `high_s`."""

    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left. `chain` are open items that can only follow each other, in `chain_sessions` sessions.

    `work` is `None` where there is nothing to go by, `basis` the number of finished items that it rests on.
    """

    open_items: int
    chain: tuple[ItemId, ...]
    chain_sessions: int
    basis: int
    work: Span | None


def forecast(state: MissionState) -> Forecast:
    """Return what is left of a mission."""
    left = {item.spec.id: item for item in open_items(state)}
    order = _in_order(left)
    sessions = {item_id: 2 if left[item_id].status in _UNFINISHED else 1 for item_id in order}
    chain = _longest(left, order, sessions)
    built, reviewed = _worked(state, Role.WORKER), _worked(state, Role.REVIEWER)
    done = [
        item_id
        for item_id, item in state.items.items()
        if item.status is ItemStatus.COMPLETED and item_id in built and item_id in reviewed
    ]
    return Forecast(
        open_items=len(left),
        chain=chain,
        chain_sessions=sum(sessions[item_id] for item_id in chain),
        basis=len(done),
        work=_work(state, left, order, _Usual.of(done, built, reviewed)) if done and order else None,
    )


# ---- chains


def _in_order(left: Mapping[ItemId, Item]) -> tuple[ItemId, ...]:
    """Return the open items so that each stands behind those it depends on; without those in a circle."""
    waits = {item_id: {d for d in item.spec.depends_on if d in left} for item_id, item in left.items()}
    behind: dict[ItemId, list[ItemId]] = {}
    for item_id, needed in waits.items():
        for needed_id in needed:
            behind.setdefault(needed_id, []).append(item_id)
    order = [item_id for item_id, needed in waits.items() if not needed]
    for item_id in order:  # grows while it is walked
        for follower in behind.get(item_id, ()):
            waits[follower].discard(item_id)
            if not waits[follower]:
                order.append(follower)
    return tuple(order)


def _longest(
    left: Mapping[ItemId, Item], order: Sequence[ItemId], weights: Mapping[ItemId, float]
) -> tuple[ItemId, ...]:
    """Return the heaviest chain of dependent items; of several that are equal, the first on the list."""
    totals: dict[ItemId, float] = {}
    before: dict[ItemId, ItemId] = {}
    for item_id in order:
        needed = [d for d in left[item_id].spec.depends_on if d in totals]
        heaviest = max(needed, key=totals.__getitem__, default=None)
        totals[item_id] = weights[item_id] + (totals[heaviest] if heaviest else 0.0)
        if heaviest:
            before[item_id] = heaviest
    if not totals:
        return ()
    chain = [max(totals, key=totals.__getitem__)]
    while chain[-1] in before:
        chain.append(before[chain[-1]])
    return tuple(reversed(chain))


# ---- durations


def _worked(state: MissionState, role: Role) -> Mapping[ItemId, float]:
    """Return how long sessions of a role have worked for each item."""
    worked: dict[ItemId, float] = {}
    for session in state.sessions.values():
        if session.role is role and session.item is not None and session.worked_s > 0:
            worked[session.item] = worked.get(session.item, 0.0) + session.worked_s
    return worked


@dataclass(frozen=True, slots=True)
class _Usual:
    """What an item took so far, by who worked; `built` and `reviewed` are the work on items by now."""

    build: Span
    review: Span
    built: Mapping[ItemId, float]
    reviewed: Mapping[ItemId, float]

    @classmethod
    def of(
        cls, done: Collection[ItemId], built: Mapping[ItemId, float], reviewed: Mapping[ItemId, float]
    ) -> "_Usual | None":
        """Return what items take, if there are any."""
        if not done:
            return None
        build = _usual([built[item_id] for item_id in done])
        return cls(build, _usual([reviewed[item_id] for item_id in done]), built, reviewed)

    def left(self, item: Item) -> Span:
        """Return what an open item still takes."""
        item_id = item.spec.id
        match item.status:
            case ItemStatus.PENDING:
                return _sum(self.build, self.review)
            case ItemStatus.WORKING:
                return _sum(_rest(self.build, self.built.get(item_id, 0.0)), self.review)
            case ItemStatus.REJECTED:  # a part of it once more, nobody knows how much
                return _sum(Span(0.0, self.build.high_s), self.review)
            case _:
                return _rest(self.review, self.reviewed.get(item_id, 0.0))


def _usual(seconds: Sequence[float]) -> Span:
    """Return the lower and the upper quartile, set apart by what so few can hide: of one, half and double."""
    ordered, last = sorted(seconds), len(seconds) - 1
    slack = (len(seconds) + 1) / len(seconds)
    return Span(ordered[last // 4] / slack, ordered[last - last // 4] * slack)


def _sum(one: Span, other: Span) -> Span:
    return Span(one.low_s + other.low_s, one.high_s + other.high_s)


def _rest(usual: Span, worked_s: float) -> Span:
    """Return what is left; of what takes longer than usual, nobody knows more than that it is not over."""
    return Span(max(0.0, usual.low_s - worked_s), max(usual.low_s, usual.high_s - worked_s))


def _work(
    state: MissionState, left: Mapping[ItemId, Item], order: Sequence[ItemId], usual: _Usual | None
) -> Span | None:
    if usual is None:
        return None
    spans = {item_id: usual.left(left[item_id]) for item_id in order}
    width = max(1, min(state.max_parallel, len(order)))

    def bounds(end: Callable[[Span], float]) -> tuple[float, float]:
        weights = {item_id: end(span) for item_id, span in spans.items()}
        chain_s = sum(weights[item_id] for item_id in _longest(left, order, weights))
        return chain_s, sum(weights.values()) / width

    low_chain_s, low_share_s = bounds(lambda span: span.low_s)
    high_chain_s, high_share_s = bounds(lambda span: span.high_s)
    return Span(max(low_chain_s, low_share_s), high_share_s + high_chain_s * (1 - 1 / width))
