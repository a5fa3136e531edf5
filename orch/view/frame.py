"""What one look at a mission shows: lines that fit the terminal, whatever the mission holds.

From the top: where it is and for how long, what it is for, what is done, what waits and for what, what it
costs, what is left; then who is at work (`orch.view.rows`), the issues that are open if there is room, the
news (`orch.view.toasts`), and the hint of whoever draws. What there is no room for goes in the order of
`_Rank`; where the table of sessions is full, the news has its place kept, so that nothing jumps. Of a mission
that is over, or that nobody runs, the end is shown in place of the table, and how to go on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import zip_longest
from typing import Final

from rich.text import Text

from orch.mission.forecast import forecast
from orch.mission.state import Issue, MissionState, open_issues
from orch.view import facts, pen, rows
from orch.view.ending import ending
from orch.view.facts import LABEL, Line, Look
from orch.view.pen import Piece
from orch.view.toasts import Toast, Tone

_TABLE_SHARE: Final = 0.5
"""Of the lines, so many are for the sessions if they need them."""
_GUTTER: Final = 3
_TABLE_COLUMNS: Final = 78
"""Tables of this width stand side by side where sessions would not have room below each other."""
_MOST_ISSUES: Final = 5
_PAIRED, _SECOND, _SECOND_OF_WIDE = 80, 54, 64
"""From `_PAIRED` columns on two facts share a line; the second begins at the column after."""
_LOW, _HIGH = 16, 36
"""From so many lines on there is room for two pieces of news, and for three."""
_TONES: Final = {
    Tone.PROVEN: Piece("✓ ", pen.PROVEN),
    Tone.NEWS: Piece("· ", pen.DIM),
    Tone.WAITS: Piece("~ ", pen.WAITS),
    Tone.WRONG: Piece("✗ ", pen.FAILED),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What one look at a mission shows.

    `now` is aware; all times shown are relative to it. A mission that nobody runs (`is_alive`) and that has
    no end is interrupted. `hint` is the last line: keys, or a question. With `is_ascii` nothing else is used.
    """

    state: MissionState
    now: datetime
    is_alive: bool = True
    toasts: tuple[Toast, ...] = ()
    hint: str = ""
    is_ascii: bool = False


class _Rank(IntEnum):
    """What a line is worth: where there is no room, the last of these goes first."""

    HEAD = 0
    HINT = 1
    DONE = 2
    NEWEST = 3
    LEFT = 4
    FACT = 5
    GOAL = 6
    NEWS = 7
    GAP = 8


_Ranked = tuple[_Rank, Line]
_GAP: Final[_Ranked] = (_Rank.GAP, [])
_KEPT_FREE: Final[_Ranked] = (_Rank.NEWS, [])
"""The place of news that may come."""
_NOTHING: Final[Line] = []


def frame(scene: Scene, width: int, height: int) -> tuple[Text, ...]:
    """Return at most `height` lines of at most `width` columns. Never raises, for no state."""
    if width < 1 or height < 1:
        return ()
    look = Look(scene.state, scene.now, scene.is_alive, width, scene.is_ascii)
    everybody = rows.rows(scene.state, scene.now) if look.goes_on else ()
    over = [] if look.goes_on else ending(look)
    needed = len(everybody) + 1 if everybody else len(over)
    above, below = _above(look), _below(scene, look, height)
    is_full = bool(everybody) and len(above) + needed + len(below) > height
    if not is_full:
        below = [entry for entry in below if entry is not _KEPT_FREE]
    reserved = min(needed, int(height * _TABLE_SHARE))
    top, bottom = _kept(above, below, height - reserved)
    room = height - len(top) - len(bottom)
    middle = _table(everybody, look, room) if everybody else over[:room]
    middle += _issues(look, room - len(middle)) if look.goes_on else []
    top = top if middle else [one for one in top if one]
    return tuple(pen.line(one, width, is_ascii=scene.is_ascii) for one in (*top, *middle, *bottom))


def _kept(above: Sequence[_Ranked], below: Sequence[_Ranked], room: int) -> tuple[list[Line], list[Line]]:
    """Return the lines of each that have room, the most important of them, in their order."""
    every = [*above, *below]
    by_rank = sorted(range(len(every)), key=lambda place: every[place][0])
    kept = set(by_rank[:room])
    top = [line for place, (_, line) in enumerate(above) if place in kept]
    return top, [line for place, (_, line) in enumerate(below, len(above)) if place in kept]


# ---- above the table


def _above(look: Look) -> list[_Ranked]:
    goal: Line = [Piece(f"{'goal':<{LABEL}}", pen.DIM), Piece(look.text(look.state.goal, look.width))]
    lines = [(_Rank.HEAD, facts.head(look)), (_Rank.GOAL, goal), (_Rank.DONE, facts.done(look))]
    spent, issues = facts.spent(look), facts.issues(look)
    if not look.goes_on:
        return [*lines, *_facts(look, (spent, issues)), _GAP]
    known = forecast(look.state)
    left, path = facts.left(look, known), facts.path(look, known)
    lines += _facts(look, (facts.queue(look), facts.gate(look)), (spent, issues))
    if look.is_wide and path:
        return [*lines, (_Rank.LEFT, facts.two(left, path, _SECOND_OF_WIDE)), _GAP]
    return [*lines, (_Rank.LEFT, left), *([(_Rank.FACT, path)] if path else []), _GAP]


def _facts(look: Look, *pairs: tuple[Line, Line]) -> list[_Ranked]:
    """Return facts in pairs where two have room beside each other."""
    if look.width < _PAIRED:
        return [(_Rank.FACT, line) for pair in pairs for line in pair]
    second = _SECOND_OF_WIDE if look.is_wide else _SECOND
    return [(_Rank.FACT, facts.two(one, other, second)) for one, other in pairs]


# ---- the table


def _table(everybody: Sequence[rows.Row], look: Look, room: int) -> list[Line]:
    """Return who is at work: below each other, or in tables side by side where that shows more of them."""
    if room < 1:
        return []
    depth = room - 1
    fitting = (look.width + _GUTTER) // (_TABLE_COLUMNS + _GUTTER)
    count = min(fitting, -(-len(everybody) // depth)) if depth else 1
    items = [row.item for row in everybody]
    if count <= 1:
        return rows.table(everybody, rows.Columns.of(look.width, items), room, is_ascii=look.is_ascii)
    width = (look.width - _GUTTER * (count - 1)) // count
    columns = rows.Columns.of(width, items)
    shown = rows.folded(everybody, depth * count)
    depth = -(-len(shown) // count)
    tables = [
        rows.table(shown[begin : begin + depth], columns, depth + 1, is_ascii=look.is_ascii)
        for begin in range(0, len(shown), depth)
    ]
    return [_beside(lines, width) for lines in zip_longest(*tables, fillvalue=_NOTHING)]


def _beside(parts: Sequence[Line], width: int) -> Line:
    """Return lines of tables of `width` columns as one line."""
    line: Line = []
    for place, part in enumerate(parts):
        line = facts.two(line, part, place * (width + _GUTTER)) if place else [*part]
    return line


# ---- below the table


def _issues(look: Look, room: int) -> list[Line]:
    """Return the issues that are open, the newest last, behind an empty line; none where there is no room."""
    still = open_issues(look.state)[-min(_MOST_ISSUES, room - 1) :] if room > 1 else ()
    lines: list[Line] = [
        [Piece("! ", pen.WAITS), Piece(look.text(_issue(issue), look.width), pen.DIM)] for issue in still
    ]
    return [[], *lines] if lines else []


def _issue(issue: Issue) -> str:
    where = issue.path or issue.item or issue.command
    return f"{issue.id} {where}: {issue.text}" if where else f"{issue.id} {issue.text}"


def _below(scene: Scene, look: Look, height: int) -> list[_Ranked]:
    """Return the news, with its place where there is none, and the hint."""
    most = 1 + (height >= _LOW) + (height >= _HIGH)
    news = [(_Rank.NEWS, _toast(toast, look)) for toast in scene.toasts[-most:]]
    if news:
        news[-1] = (_Rank.NEWEST, news[-1][1])
    free = [_KEPT_FREE] * (most - len(news))
    hint = [(_Rank.HINT, [Piece(look.text(scene.hint, look.width), pen.DIM)])] if scene.hint else []
    return [_GAP, *free, *news, *hint]


def _toast(toast: Toast, look: Look) -> Line:
    return [_TONES[toast.tone], Piece(look.text(toast.text, look.width))]
