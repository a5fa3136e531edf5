"""Wrapped text fits, says all that it said, and is harmless."""

from hypothesis import given
from hypothesis import strategies as st

from orch.view import defuse
from orch.view.wrapping import wrapped

TEXTS = st.text(st.sampled_from("ab  \n\t漢é-.\x1b[\u202e"), max_size=300)


@given(TEXTS, st.integers(8, 60))
def test_every_row_fits_and_no_letter_is_lost(text: str, width: int) -> None:
    """Blanks may go where a row ends; letters never."""
    rows = list(wrapped(text, width))
    assert all(defuse.columns(row) <= width for row in rows)
    letters = "".join(defuse.block(text).split())
    assert "".join("".join(rows).split()) == letters


def test_words_stay_whole_where_they_can() -> None:
    """Also in a line that holds wide characters; a word longer than a row is cut."""
    assert list(wrapped("eins zwei drei", 10)) == ["eins zwei", "drei"]
    assert list(wrapped("eins 漢字 drei", 10)) == ["eins 漢字", "drei"]
    assert list(wrapped("漢字漢字漢字", 9)) == ["漢字漢字", "漢字"]
    assert list(wrapped("a" * 20, 9)) == ["a" * 8, "a" * 8, "a" * 4]


def test_a_row_begins_with_nothing_that_a_runner_obeys() -> None:
    """Also where only the break put it there."""
    assert list(wrapped("say it now ::error::x", 12)) == ["say it now", ": :error::x"]


def test_lines_stay_lines() -> None:
    """With their indentation; empty ends go."""
    assert list(wrapped("\nif x:\n\ty = 1\n\nend\n\n", 40)) == ["if x:", "    y = 1", "", "end"]
