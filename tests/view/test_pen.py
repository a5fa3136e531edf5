"""Cells have their width, numbers are short, ranges are never narrower than what they tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orch.view import pen
from orch.view.pen import Piece


@given(st.text(), st.integers(1, 60), st.booleans())
def test_a_cell_takes_its_columns(text: str, width: int, is_ascii: bool) -> None:
    """Whatever it holds."""
    shown = pen.cell(text, width, is_ascii=is_ascii)
    assert cell_len(shown) == width
    assert not is_ascii or shown.isascii()


@given(st.lists(st.text("ab見·", max_size=9)), st.integers(1, 30))
def test_a_line_keeps_within_its_columns(texts: list[str], width: int) -> None:
    """And is whole where it fits."""
    line = pen.line([Piece(text) for text in texts], width)
    assert cell_len(line.plain) <= width
    assert cell_len("".join(texts)) > width or line.plain == "".join(texts)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (940, "940"),
        (999.4, "999"),
        (999.6, "1k"),
        (48_100, "48.1k"),
        (1_240_000, "1.24M"),
        (2e9, "2G"),
    ],
)
def test_an_amount_is_short(number: float, shown: str) -> None:
    """Three digits and a unit."""
    assert pen.amount(number) == shown


@given(st.floats(0, 1e20))
def test_an_amount_has_six_characters_at_most(number: float) -> None:
    """As its column has."""
    assert len(pen.amount(number)) <= 6


@pytest.mark.parametrize(
    ("seconds", "short", "clock"),
    [
        (-1, "0s", "0:00"),
        (59.9, "59s", "0:59"),
        (60, "1m", "1:00"),
        (3_845, "1h", "1:04:05"),
        (9e4, "1d", "25:00:00"),
    ],
)
def test_a_duration_is_short_or_a_clock(seconds: float, short: str, clock: str) -> None:
    """Rounded down; time that runs backwards is none."""
    assert (pen.short(seconds), pen.clock(seconds)) == (short, clock)


@pytest.mark.parametrize(
    ("low_s", "high_s", "shown"),
    [
        (480, 1_230, "8-21 min"),
        (0, 33, "up to 40 s"),
        (12, 60, "10-60 s"),
        (5_000, 20_000, "1-6 h"),
        (0, 0, "up to 10 s"),
        (120, 120, "2 min"),
    ],
)
def test_a_range_is_told_in_one_unit(low_s: float, high_s: float, shown: str) -> None:
    """Rounded away from its middle."""
    assert pen.between(low_s, high_s) == shown
