"""Whether a model's text has come apart: the same over and over, nothing but blanks, a soup of scripts. Pure.

Only the newest `WINDOW_CHARS` are judged, so it can be asked while an answer still grows. Repetition is
measured by how far the text can be compressed: prose, code and even wide tables shrink to a tenth at most, a
loop to less than a fiftieth. Gibberish is measured by words that change between scripts in their middle,
which no language does with four of them. What is short is never judged: a ruler is no loop.
"""

import unicodedata
import zlib
from functools import lru_cache

WINDOW_CHARS = 8_000
LEAST_CHARS = 4_000
"""Less than this is not judged."""
LOOP_RATIO = 50
"""A text that compresses better than this says nothing new."""
SOUP_SCRIPTS = 4
SOUP_SWITCHES = 0.05
"""Letters of a soup that belong to another script than the letter before them, as a part of all."""
BROKEN = 0.1
"""Replacement characters, as a part of all, that no readable text has."""

_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "BOPOMOFO": "CJK", "IDEOGRAPHIC": "CJK"}
_SHARED = frozenset({"MODIFIER", "FULLWIDTH", "HALFWIDTH", "MATHEMATICAL", "MICRO", "FEMININE", "MASCULINE"})


def degeneration(text: str) -> str | None:
    """Return what is wrong with the end of `text`, in a few words; `None` if nothing is."""
    newest = text[-WINDOW_CHARS:]
    if len(newest) < LEAST_CHARS:
        return None
    if not newest.strip():
        return "it is nothing but blanks"
    data = newest.encode("utf-8", errors="replace")
    if len(data) > LOOP_RATIO * len(zlib.compress(data, 6)):
        return "it repeats itself"
    if newest.count("\N{REPLACEMENT CHARACTER}") > BROKEN * len(newest) or _is_soup(newest):
        return "it is no readable text"
    return None


def _is_soup(text: str) -> bool:
    if text.isascii():
        return False
    scripts: set[str] = set()
    letters = switches = 0
    before = ""
    for character in text:
        script = _script(character)
        letters += bool(script)
        switches += bool(script and before and script != before)
        scripts.add(script)
        before = script
    return len(scripts - {""}) >= SOUP_SCRIPTS and switches > SOUP_SWITCHES * letters


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """Return the script of a letter by the first word of its Unicode name; nothing for what is no letter."""
    if not character.isalpha():
        return ""
    word = unicodedata.name(character, "").partition(" ")[0]
    return "" if word in _SHARED else _ONE_SCRIPT.get(word, word)
