"""The running sessions as a table: a row for each, or the ones that matter and a count of the others.

Rows stand in the order in which their sessions were started, and do not move while what they do changes.
Where not all have room, those that are silent for long come first, then those that wait or were rejected,
then the Commander, the Planner and orch's own commands; the others share a row by role, which counts what
they do.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.style import Style

from orch.mission.events import Role, VerificationPhase
from orch.mission.state import Item, ItemStatus, MissionState, Session, open_items, running_sessions
from orch.view import defuse, pen
from orch.view.activity import Activity, Closed, activity, closed, moment
from orch.view.pen import Piece

SILENT_S: Final = 120.0
"""Who gives no sign of life for so long, and does not wait for a provider, is marked."""
_ORCH: Final = "orch"
_EVERYBODY: Final = "all"
_GAP: Final = "  "
_ROLES: Final = frozenset(role.value for role in Role)
_LEADERS: Final = (_ORCH, Role.COMMANDER.value, Role.PLANNER.value)
_WIDE, _NARROW, _TINY = 130, 60, 34
"""From so many columns on there are titles; below so many no counts, and below so many only what is done."""
_LONGEST_ITEM, _LONGEST_TITLE = 28, 44
_ROOM_FOR_HEAD: Final = 4


@dataclass(frozen=True, slots=True)
class Row:
    """Somebody who is at work; `silent_s` is the time since the last sign of life, where that is known."""

    role: str
    item: str
    doing: Activity
    session: str = ""
    title: str = ""
    rejections: int = 0
    turns: int = 0
    tokens: int = 0
    silent_s: float | None = None
    is_shared: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether it should have been heard of."""
        return (self.silent_s or 0.0) >= SILENT_S and not self.doing.is_waiting

    @property
    def rank(self) -> tuple[int, float]:
        """How soon it gets a row of its own where there are few: the lowest first."""
        if self.is_silent:
            return 0, -(self.silent_s or 0.0)
        if self.doing.is_waiting or self.rejections:
            return 1, 0.0
        return (2, 0.0) if self.role in _LEADERS else (3, 0.0)


# ---- who is at work


def rows(state: MissionState, now: datetime) -> tuple[Row, ...]:
    """Return everybody who is at work: orch's own commands, then the sessions in the order of their start."""
    gates = closed(state, now)
    return (*_own(state), *(_row(state, session, gates, now) for session in running_sessions(state)))


def _own(state: MissionState) -> Iterable[Row]:
    run = state.verification
    if run is not None and not run.is_complete:
        number, total = len(run.results), len(run.commands)
        what = "baseline" if run.phase is VerificationPhase.BASELINE else "seal"
        words = f"running {number + 1} of {total}: {run.commands[number]}"
        yield Row(_ORCH, what, Activity("running", words), title="verification by orch itself")
    for item in open_items(state):
        if item.status is ItemStatus.SUBMITTED and not item.setup_done:
            words = f"running {item.spec.setup or ''}"
            yield Row(_ORCH, item.spec.id, Activity("running", words), title=f"setup of {item.spec.title}")


def _row(state: MissionState, session: Session, gates: Mapping[str, Closed], now: datetime) -> Row:
    item = state.items.get(session.item) if session.item is not None else None
    heard = moment(session.last_activity)
    return Row(
        role=session.role,
        item=session.item or "-",
        doing=activity(session, gates, now),
        session=session.id,
        title=_title(session, item),
        rejections=item.rejections if item is not None else 0,
        turns=session.turns,
        tokens=session.usage.input_tokens + session.usage.output_tokens,
        silent_s=max(0.0, (now - heard).total_seconds()) if heard is not None else None,
    )


def _title(session: Session, item: Item | None) -> str:
    return item.spec.title if item is not None else session.title


# ---- who shares a row


def folded(everybody: Sequence[Row], room: int) -> tuple[Row, ...]:
    """Return at most `room` rows for `everybody`, at least one."""
    if len(everybody) <= room:
        return tuple(everybody)
    urgent = sorted(range(len(everybody)), key=lambda place: (everybody[place].rank, place))
    for kept in range(room - 1, -1, -1):
        others = Counter(everybody[place].role for place in urgent[kept:])
        alone = (place for place in urgent[kept:] if others[everybody[place].role] == 1)
        own = {*urgent[:kept], *alone}
        roles = [role for role, count in others.items() if count > 1]
        if len(own) + len(roles) <= room:
            rest = [row for place, row in enumerate(everybody) if place not in own]
            shared = [_shared([row for row in rest if row.role == role], role) for role in sorted(roles)]
            return (*(everybody[place] for place in sorted(own)), *shared)
    return (_shared(everybody, _EVERYBODY),)


def _shared(some: Sequence[Row], role: str) -> Row:
    counts = Counter(row.doing.word for row in some)
    most_first = sorted(counts, key=lambda word: (-counts[word], word))
    words = pen.DOT.join(f"{counts[word]} {word}" for word in most_first)
    return Row(
        role=role,
        item=f"{len(some)} more" if role != _EVERYBODY else str(len(some)),
        doing=Activity(words, words),
        turns=sum(row.turns for row in some),
        tokens=sum(row.tokens for row in some),
        silent_s=max((row.silent_s for row in some if row.silent_s is not None), default=None),
        is_shared=True,
    )


# ---- the table


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide the columns are; 0 where one is left out."""

    session: int
    role: int
    item: int
    title: int
    doing: int
    counts: int
    silent: int

    @classmethod
    def of(cls, width: int, items: Iterable[str]) -> "Columns":
        """Return what fits `width`, for items of these ids."""
        wide, narrow = width >= _WIDE, width < _NARROW
        longest = max((defuse.columns(pen.clean(item, _LONGEST_ITEM)) for item in items), default=0)
        session = 5 if wide else 0
        role = 0 if width < _TINY else 9
        item = 0 if width < _TINY else min(max(8, longest), _LONGEST_ITEM if wide else max(8, width // 5))
        counts, silent = (0 if narrow else 15), (0 if width < _TINY else 8)
        taken = 2 + sum(part + 2 for part in (session, role, item) if part) + counts + silent
        title = min(_LONGEST_TITLE, (width - taken) // 2) if wide else 0
        doing = max(1, width - taken - (title + 2 if title else 0))
        return cls(session, role, item, title, doing, counts, silent)


def table(everybody: Sequence[Row], columns: Columns, room: int, *, is_ascii: bool) -> list[list[Piece]]:
    """Return at most `room` lines: the names of the columns, where there is room for them, and the rows."""
    head = [[Piece(_head(columns), pen.DIM)]] if room >= _ROOM_FOR_HEAD else []
    shown = folded(everybody, room - len(head))
    return [*head, *(_pieces(row, columns, is_ascii=is_ascii) for row in shown)]


def _head(columns: Columns) -> str:
    named = (
        (columns.session, "id"),
        (columns.role, "role"),
        (columns.item, "item"),
        (columns.title, "title"),
    )
    left = "".join(f"{name:<{width}}  " for width, name in named if width)
    counts = f"  {'turns':>5}  {'tokens':>6}" if columns.counts else ""
    silent = f"  {'silent':>6}" if columns.silent else ""
    return f"  {left}{'doing':<{columns.doing}}{counts}{silent}"


def _pieces(row: Row, columns: Columns, *, is_ascii: bool) -> list[Piece]:
    def text(value: str, width: int) -> str:
        return pen.cell(value, width, is_ascii=is_ascii) + _GAP if width else ""

    mark, style = _mark(row)
    again = f"round {row.rejections + 1}: " if row.rejections else ""
    silent = f"  {'' if row.silent_s is None else pen.short(row.silent_s):>6}" if columns.silent else ""
    doing = pen.cell(again + row.doing.words, columns.doing, is_ascii=is_ascii)
    return [
        Piece(mark + " ", style),
        Piece(text(row.session, columns.session), pen.DIM),
        Piece(text(row.role, columns.role), pen.DIM if row.is_shared else _style(row.role)),
        Piece(text(row.item, columns.item), pen.DIM if row.is_shared else pen.PLAIN),
        Piece(text(row.title, columns.title), pen.DIM),
        Piece(doing, pen.DIM if row.is_shared else pen.WAITS if row.doing.is_waiting else pen.PLAIN),
        Piece(_counts(row) if columns.counts else "", pen.DIM),
        Piece(silent, style if row.is_silent else pen.DIM),
    ]


def _mark(row: Row) -> tuple[str, Style]:
    """Return what stands before a row: silent for long, waiting, or nothing."""
    if row.is_shared:
        return "+", pen.DIM
    if row.is_silent:
        return "!", pen.WAITS
    return ("~", pen.WAITS) if row.doing.is_waiting else (" ", pen.PLAIN)


def _style(role: str) -> Style:
    return pen.ROLES.get(Role(role), pen.PLAIN) if role in _ROLES else pen.STRONG


def _counts(row: Row) -> str:
    if row.role == _ORCH:
        return " " * 15
    return f"  {pen.amount(row.turns):>5}  {pen.amount(row.tokens):>6}"
