"""How the live view writes: cells of an exact width, numbers that are read at a glance, few colours.

Colours mean something: green is proven, yellow waits, red failed, and roles have their own; nothing is said
by a colour alone. A cell takes the columns it was given, whatever the text holds. Where a terminal shows
nothing but ASCII, other characters of a text become as many `?` as they are wide; the view's own have
a stand-in.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import ceil, floor
from typing import Final, NamedTuple

from rich.style import Style
from rich.text import Span, Text

from orch.mission.events import Role
from orch.view import defuse

PLAIN: Final = Style.null()
DIM: Final = Style(dim=True)
STRONG: Final = Style(bold=True)
PROVEN: Final = Style(color="green")
WAITS: Final = Style(color="yellow")
FAILED: Final = Style(color="red")
ROLES: Final = {
    Role.COMMANDER: Style(color="magenta"),
    Role.PLANNER: Style(color="cyan"),
    Role.WORKER: PLAIN,
    Role.REVIEWER: Style(color="blue"),
}
DOT: Final = " · "

_IN_ASCII: Final = dict(zip("█▒░✓✗●·…", "#=.+x*.~", strict=True))
_TO_ASCII: Final = str.maketrans(_IN_ASCII)
_LONGEST: Final = 4_000
"""Characters of a text that are looked at; no line is nearly as long."""
_CACHED: Final = 8_192
_UNSURE: Final = dict.fromkeys([*range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400)])
"""Variation selectors and skin tones: terminals disagree about how wide they make what stands before."""
_SMALL: Final = 999.5
"""What is rounded to more has four digits."""
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_ONE_AND_A_HALF: Final = 1.5
"""A range is told in a unit of which it reaches so many: `1-2 min` says more than `40-110 s`."""


class Piece(NamedTuple):
    """Text that is fit to be shown, and how it looks."""

    text: str
    style: Style = PLAIN


@lru_cache(_CACHED)
def clean(text: str, longest: int, *, is_ascii: bool = False) -> str:
    """Return `text` as one harmless line of at most `longest` columns."""
    harmless = defuse.line(text[:_LONGEST].translate(_UNSURE), longest) if longest > 0 else ""
    if not is_ascii or harmless.isascii():
        return harmless
    return "".join(map(_in_ascii, harmless))


def _in_ascii(character: str) -> str:
    if character.isascii():
        return character
    return _IN_ASCII.get(character) or "?" * defuse.columns(character)


@lru_cache(_CACHED)
def cell(text: str, width: int, *, is_ascii: bool = False) -> str:
    """Return `text` as one harmless line of exactly `width` columns."""
    shown = clean(text, width, is_ascii=is_ascii)
    return shown + " " * (width - defuse.columns(shown))


def clip(pieces: Iterable[Piece], width: int) -> list[Piece]:
    """Return of pieces behind each other what has room in `width` columns."""
    kept: list[Piece] = []
    room = width
    for text, style in pieces:
        taken = defuse.columns(text)
        if taken > room:
            kept += [Piece(defuse.fit(text, room), style)] if room > 0 else []
            break
        if text:
            kept.append(Piece(text, style))
        room -= taken
    return kept


def line(pieces: Iterable[Piece], width: int, *, is_ascii: bool = False) -> Text:
    """Return pieces behind each other as one line, cut to `width` columns."""
    spans: list[Span] = []
    shown = ""
    for text, style in clip(pieces, width):
        if style is not PLAIN:
            spans.append(Span(len(shown), len(shown) + len(text), style))
        shown += text
    return Text(shown.translate(_TO_ASCII) if is_ascii else shown, spans=spans)


# ---- numbers


def amount(number: float) -> str:
    """Return a count in at most five characters: `940`, `48.1k`, `1.24M`."""
    value, unit = number, ""
    for larger in "kMGTPE":
        if value < _SMALL:
            break
        value, unit = value / 1_000, larger
    return f"{value:.3g}{unit}" if unit else str(int(number))


def short(seconds: float) -> str:
    """Return a duration in at most four characters: `7s`, `12m`, `3h`, `2d`."""
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "m")):
        if seconds >= unit_s:
            return f"{min(999, int(seconds // unit_s))}{unit}"
    return f"{max(0, int(seconds))}s"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: `4:05`, `1:04:05`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def between(low_s: float, high_s: float) -> str:
    """Return a range in one unit, rounded away from its middle: `8-21 min`, `up to 40 s`."""
    if high_s >= _ONE_AND_A_HALF * _HOUR_S:
        step, unit, unit_s = 1, "h", _HOUR_S
    elif high_s >= _ONE_AND_A_HALF * _MINUTE_S:
        step, unit, unit_s = 1, "min", _MINUTE_S
    else:
        step, unit, unit_s = 10, "s", 1
    low, high = floor(low_s / unit_s / step) * step, ceil(high_s / unit_s / step) * step
    if not low:
        return f"up to {max(high, step)} {unit}"
    return f"{low}-{high} {unit}" if low < high else f"{low} {unit}"
