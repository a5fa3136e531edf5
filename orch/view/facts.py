"""The lines above the table: where a mission is, what is done, what waits, what it costs, what is left.

Each says what is known and no more: a cost that nobody told is unknown, and there is no estimate before there
is something to go by. Nothing here is a part of a whole that shrinks in silence: what came later is said.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.style import Style

from orch.mission.events import ItemOrigin
from orch.mission.forecast import Forecast
from orch.mission.state import (
    ItemStatus,
    MissionState,
    MissionStatus,
    listed_items,
    open_issues,
    running_sessions,
)
from orch.mission.waiting import Reason, waiting
from orch.view import defuse, pen
from orch.view.activity import activity, closed, moment
from orch.view.pen import DOT, Piece
from orch.view.phase import phase

Line = list[Piece]
"""Pieces that stand behind each other."""

LABEL: Final = 8
"""Columns of the name before each fact."""
_NEARLY: Final = 0.8
"""From here on a cap is marked."""
_QUIET_S: Final = 120.0
"""A mission in which nothing happened for so long is marked."""
_LONGEST_ID: Final = 40
_WIDE: Final = 120
_REASONS: Final = {
    Reason.SLOT: "ready",
    Reason.ITEMS: "behind items",
    Reason.FILES: "behind files",
}


@dataclass(frozen=True, slots=True)
class Look:
    """A mission as somebody looks at it, in so many columns."""

    state: MissionState
    now: datetime
    is_alive: bool
    width: int
    is_ascii: bool

    @property
    def goes_on(self) -> bool:
        """Whether somebody runs it."""
        return self.is_alive and self.state.status is MissionStatus.RUNNING

    @property
    def is_wide(self) -> bool:
        """Whether there is room for more than the shortest words."""
        return self.width >= _WIDE

    def text(self, text: str, longest: int) -> str:
        """Return words from outside, fit to be shown."""
        return pen.clean(text, longest, is_ascii=self.is_ascii)

    def since_s(self, stamp: str) -> float | None:
        """Return the seconds since an event, where its time is known."""
        then = moment(stamp)
        return None if then is None else max(0.0, (self.now - then).total_seconds())


# ---- where it is


def head(look: Look) -> Line:
    """Return where the mission is, its name, and its time: what fits of it."""
    stage = phase(look.state, look.now, is_alive=look.is_alive)
    word = Piece(f"{stage.mark} {stage.word}", stage.style)
    name = Piece(f"   {look.text(look.state.mission, _LONGEST_ID)}", pen.DIM)
    time, rest, moved = Piece(pen.clock(elapsed_s(look)), pen.STRONG), _left_of_run(look), _moved(look)
    forms: tuple[tuple[Line, Line], ...] = (
        ([word, name], [moved, time, rest]),
        ([word, name], [time, rest]),
        ([word], [time, rest]),
        ([word], [time]),
    )
    for left, right in forms:
        gap = look.width - _columns(left) - _columns(right)
        if gap > 1:
            return [*left, Piece(" " * gap), *right]
    return [word]


def _columns(line: Iterable[Piece]) -> int:
    return sum(defuse.columns(piece.text) for piece in line)


def elapsed_s(look: Look) -> float:
    """Return for how long the mission was run: until now, its end, or its last sign of life."""
    state = look.state
    began, end = moment(state.run_started), look.now if look.goes_on else moment(state.ts)
    if began is None or end is None:
        return state.duration_s
    return state.duration_s + max(0.0, (end - began).total_seconds())


def _left_of_run(look: Look) -> Piece:
    used_s, limit_s = look.since_s(look.state.run_started), look.state.caps.timeout_s
    if used_s is None or limit_s is None or not look.goes_on:
        return Piece("")
    mark, style = _near(used_s, limit_s)
    return Piece(f", timeout in {pen.clock(limit_s - used_s)}{mark}", style)


def _moved(look: Look) -> Piece:
    """Say when something happened last: whether it moves."""
    passed_s = look.since_s(look.state.ts)
    if passed_s is None:
        return Piece("")
    is_quiet = look.goes_on and passed_s >= _QUIET_S
    mark, style = ("! ", pen.WAITS) if is_quiet else ("", pen.DIM)
    return Piece(f"{mark}last event {pen.short(passed_s)} ago   ", style)


def _near(spent: float, cap: float) -> tuple[str, Style]:
    """Return the mark and the style of what is spent under a cap."""
    return ("!", pen.WAITS) if spent >= _NEARLY * cap else ("", pen.DIM)


# ---- what is done


def done(look: Look) -> Line:
    """Return the bar of the list, and how many items are where."""
    items = listed_items(look.state)
    counts = Counter(item.status for item in items)
    finished, failed = counts[ItemStatus.COMPLETED], counts[ItemStatus.FAILED]
    review = counts[ItemStatus.SUBMITTED] + counts[ItemStatus.REVIEWING]
    work = counts[ItemStatus.WORKING]
    later = sum(1 for item in items if item.origin is not ItemOrigin.PLANNED)
    has_plan = later < len(items)
    parts = (
        (counts[ItemStatus.BLOCKED], "blocked", pen.FAILED),
        (failed, "failed", pen.FAILED),
        (work, "building", pen.PLAIN),
        (review, "in review", pen.PLAIN),
        (later if has_plan else 0, "added since the plan", pen.DIM),
    )
    line = [_label("todo"), *_bar(look.width // 4, len(items), (finished, review + work, failed))]
    line.append(Piece(f" {finished}/{len(items)} done", pen.STRONG))
    return line + [Piece(f"{DOT}{count} {word}", style) for count, word, style in parts if count]


def _label(name: str) -> Piece:
    return Piece(f"{name:<{LABEL}}", pen.DIM)


def _bar(cells: int, total: int, counts: tuple[int, int, int]) -> Line:
    """Return a bar of what is proven, at work, failed, and open. It is full only where all is."""
    ends = [cells * sum(counts[: place + 1]) // total if total else 0 for place in range(len(counts))]
    proven, work, failed = ends[0], ends[1] - ends[0], ends[2] - ends[1]
    return [
        Piece("█" * proven, pen.PROVEN),
        Piece("▒" * work),
        Piece("✗" * failed, pen.FAILED),
        Piece("░" * (cells - ends[2]), pen.DIM),
    ]


def queue(look: Look) -> Line:
    """Return what waits, and for what."""
    counts = waiting(look.state)
    words = [f"{counts[reason]} {words}" for reason, words in _REASONS.items() if counts.get(reason)]
    return [_label("queue"), Piece(DOT.join(words) or "empty", pen.PLAIN if words else pen.DIM)]


def issues(look: Look) -> Line:
    """Return how many issues are open."""
    still, known = len(open_issues(look.state)), len(look.state.issues)
    style = pen.WAITS if still else pen.DIM
    return [_label("issues"), Piece(f"{still} open", style), Piece(f"{DOT}{known - still} closed", pen.DIM)]


# ---- what it costs


def spent(look: Look) -> Line:
    """Return tokens and money, each against its cap if it has one."""
    total, caps = look.state.spending.total, look.state.caps
    tokens = _against(total.input_tokens + total.output_tokens, caps.max_tokens, pen.amount, " tokens")
    if total.cost_usd is not None:
        money = _against(total.cost_usd, caps.max_budget_usd, _dollars)
    else:
        cap = "" if caps.max_budget_usd is None else f" of {_dollars(caps.max_budget_usd)}"
        money = Piece(f"cost unknown{cap}")
    return [_label("spent"), tokens, Piece(DOT, pen.DIM), money]


def _against(spent: float, cap: float | None, shown: Callable[[float], str], unit: str = "") -> Piece:
    if cap is None:
        return Piece(shown(spent) + unit)
    mark, style = _near(spent, cap)
    return Piece(f"{shown(spent)} of {shown(cap)}{unit}{mark}", style if mark else pen.PLAIN)


def _dollars(cost_usd: float) -> str:
    return f"${cost_usd:,.2f}"


def gate(look: Look) -> Line:
    """Return for how long a provider is not asked, and how many calls are in flight of how many at most."""
    state = look.state
    gates = closed(state, look.now)
    asking = [s for s in running_sessions(state) if s.open_turn]
    flying = sum(1 for s in asking if not activity(s, gates, look.now).is_waiting)
    if not gates:
        unit = "" if look.is_wide else " calls"
        return [_label("gate"), Piece(f"open{DOT}{_calls(look, flying, state.max_parallel)}{unit}")]
    shut = max(gates.values(), key=lambda one: one.until)
    limit = shut.at_once if shut.at_once is not None else state.max_parallel
    left = pen.short((shut.until - look.now).total_seconds() + 1)
    return [
        _label("gate"),
        Piece(f"closed {left}{DOT}{_calls(look, flying, limit)}", pen.WAITS),
    ]


def _calls(look: Look, flying: int, limit: int) -> str:
    return f"{flying} of {limit} calls in flight" if look.is_wide else f"{flying}/{limit}"


# ---- what is left


def left(look: Look, known: Forecast) -> Line:
    """Return an estimate of the work that is left, with what it rests on."""
    if not look.state.items:
        return [_label("left"), Piece("no estimate before there is a plan", pen.DIM)]
    if not known.open_items:
        return [_label("left"), Piece("no item is open: the seal", pen.DIM)]
    if known.work is None:
        return [_label("left"), Piece("no estimate yet: no item is finished", pen.DIM)]
    waits = " and the wait" if closed(look.state, look.now) else ""
    work = f"{pen.between(known.work.low_s, known.work.high_s)} of work{waits}"
    basis = f", by {known.basis} finished item{'' if known.basis == 1 else 's'}"
    return [_label("left"), Piece(work, pen.STRONG), Piece(basis, pen.DIM)]


def path(look: Look, known: Forecast) -> Line:
    """Return the longest chain of open items, the critical path; nothing where none is open."""
    count = len(known.chain)
    if not count:
        return []
    sessions = f"{known.chain_sessions} session{'' if known.chain_sessions == 1 else 's'}"
    names = " > ".join(look.text(name, _LONGEST_ID) for name in known.chain[: look.width // 4])
    words = f"{count} item{'' if count == 1 else 's'}, {sessions}: "
    return [_label("path"), Piece(words), Piece(names, pen.DIM)]


def two(one: Line, other: Line, second: int) -> Line:
    """Return two facts as one line; the second begins at a column of its own."""
    first = pen.clip(one, second - 2)
    return [*first, Piece(" " * (second - _columns(first))), *other]
