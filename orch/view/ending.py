"""What stands in place of the table when nobody works any more: the end, its proof, how it goes on."""

from typing import Final

from orch.mission.events import Outcome
from orch.mission.result import next_line
from orch.mission.state import ItemStatus, MissionStatus, listed_items
from orch.view import pen
from orch.view.facts import LABEL, Line, Look
from orch.view.pen import Piece
from orch.view.wrapping import wrapped

_WORDS_LINES: Final = 4
_LONGEST: Final = 1_200
_PROVEN: Final = (Outcome.SEALED,)
_MOST: Final = 6


def ending(look: Look) -> list[Line]:
    """Return how the mission ended, what it rests on or what is in its way, and how it goes on."""
    lines = _words(look)
    lines += _proof(look) if look.state.outcome in _PROVEN else _obstacles(look)
    return [*lines, *_next(look)]


def _named(name: str, words: list[str]) -> list[Line]:
    labels = [name, *[""] * len(words)]
    return [
        [Piece(f"{label:<{LABEL}}", pen.DIM), Piece(text)] for label, text in zip(labels, words, strict=False)
    ]


def _words(look: Look) -> list[Line]:
    room = max(10, look.width - LABEL)
    text = look.text(look.state.ending, _LONGEST)
    name = "asks" if look.state.outcome is Outcome.BLOCKED else "says"
    rows = list(wrapped(text, room)) if text else []
    if len(rows) > _WORDS_LINES:
        rows = [*rows[: _WORDS_LINES - 1], pen.clean(f"{rows[_WORDS_LINES - 1]} …", room)]
    return _named(name, rows)


def _proof(look: Look) -> list[Line]:
    return [
        [
            Piece("✓ ".ljust(LABEL) if not run.exit_code else "✗ ".ljust(LABEL), pen.PROVEN),
            Piece(look.text(run.command, max(10, look.width - 40))),
            Piece(f"  exit {run.exit_code}, {run.duration_s:.1f}s", pen.DIM),
        ]
        for run in look.state.verified[:_MOST]
    ]


def _obstacles(look: Look) -> list[Line]:
    lost = [i for i in listed_items(look.state) if i.status in (ItemStatus.FAILED, ItemStatus.BLOCKED)]
    lines: list[Line] = [
        [
            Piece("✗ ".ljust(LABEL), pen.FAILED),
            Piece(f"{look.text(item.spec.id, 28)} {item.status.value}"),
            Piece(f": {look.text(item.reason, look.width)}", pen.DIM),
        ]
        for item in lost[:_MOST]
    ]
    if len(lost) > _MOST:
        lines.append([Piece(" " * LABEL + f"and {len(lost) - _MOST} more", pen.DIM)])
    return lines


def _next(look: Look) -> list[Line]:
    state = look.state
    if state.status is MissionStatus.CLOSED or not state.mission:
        return []
    line = next_line(state, f"orch resume {state.mission}") or ""
    return [[Piece(f"{'next':<{LABEL}}", pen.DIM), Piece(look.text(line, _LONGEST), pen.STRONG)]]
