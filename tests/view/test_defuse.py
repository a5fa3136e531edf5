"""Text from outside is harmless once defused, whatever it holds; and what people can read stays."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.view import defuse

EVIL = (
    "\x1b[31m",
    "\x1b]0;t\x07",
    "\x1bP",
    "\x1b\\",
    "\x9b2J",
    "\r",
    "\n",
    "\t",
    "\u202e",
    "\u2066",
    "\ufeff",
)
RUNNER = ("::", ":", " ", "##[", "##vso[", "#", "error::", "\U000e0041", "\u200b", "\ud800", "漢", "e\u0301")
TEXTS = st.lists(st.sampled_from(EVIL + RUNNER) | st.text(max_size=5), max_size=12).map("".join)


def _hidden(text: str, allowed: str) -> list[str]:
    """Return what a terminal obeys or nobody sees."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    kept = set("\u06dd\u070f\u08e2\u0600\u0601\u0602\u0603\u0604\u0605\u0890\u0891\U000110bd\U000110cd")
    return [
        c
        for c in text
        if unicodedata.category(c) in kinds and c not in allowed and c not in kept and not _music(c)
    ]


def _music(character: str) -> bool:
    """Format characters that have a shape, or belong to a script."""
    return any(word in unicodedata.name(character, "") for word in ("MUSICAL", "EGYPTIAN", "SHORTHAND"))


def _commands(text: str) -> list[str]:
    rows = text.split("\n")
    return [row for row in rows if row.lstrip().startswith("::") or "##[" in row or "##vso[" in row]


@given(TEXTS)
def test_a_block_holds_nothing_that_steers(text: str) -> None:
    """Lines and tabs stay; controls, bidi, tags and runner commands do not; twice is as once."""
    shown = defuse.block(text)
    assert _hidden(shown, "\n\t") == []
    assert _commands(shown) == []
    assert defuse.block(shown) == shown


@given(TEXTS, st.integers(min_value=1, max_value=30))
def test_a_line_is_one_row_that_fits(text: str, longest: int) -> None:
    """Nothing that steers, no line break, at most so many columns; twice is as once."""
    shown = defuse.line(text, longest)
    assert _hidden(shown, "") == []
    assert _commands(shown) == []
    assert defuse.columns(shown) <= longest
    assert defuse.line(shown, longest) == shown


@given(st.text(st.characters(categories=("L", "N", "P"), exclude_characters=":#"), max_size=40))
def test_plain_text_stays_as_it_is(text: str) -> None:
    """Letters, digits and marks of every script."""
    assert defuse.block(text) == text
    assert defuse.line(text, 200) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\r\nb\tc", "a b c"),
        ("safe\u202etxt.exe", "safetxt.exe"),
        ("::error file=x::y", ": :error file=x::y"),
        ("std::vector", "std::vector"),
        ("a ##[error] b", "a ## [error] b"),
        ("## heading", "## heading"),
    ],
)
def test_what_is_meant_is_still_read(text: str, shown: str) -> None:
    """Only what steers is taken out or apart."""
    assert defuse.line(text) == shown


def test_a_block_keeps_its_shape() -> None:
    """Empty lines, indentation and tabs are what they were; carriage returns of Windows are not."""
    assert defuse.block("a\r\n\r\n  b\tc\n") == "a\n\n  b\tc\n"


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("", 0)])
def test_wide_and_combining_characters_are_counted_as_a_terminal_does(text: str, columns: int) -> None:
    """A wide character takes two columns, a combining one none."""
    assert defuse.columns(text) == columns


def test_what_is_cut_shows_it() -> None:
    """Also in the middle of wide characters."""
    assert defuse.fit("abcdef", 4) == "abc…"
    assert defuse.fit("漢字漢字", 6) == "漢字…"
    assert defuse.fit("abcd", 4) == "abcd"
