"""Texts that have come apart, and a corpus of ordinary ones that only look a little like it."""

import base64
import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission import degeneration as judged
from orch.mission.degeneration import degeneration

ROOT = Path(__file__).resolve().parents[2]
DICE = random.Random(7)  # noqa: S311 - replayable
WORDS = sorted(set((ROOT / "README.md").read_text().split()))
KANJI = [chr(code) for code in range(0x4E00, 0x5E00)]
KANA = [chr(code) for code in (*range(0x3042, 0x3090), *range(0x30A2, 0x30F0))]
HANGUL = [chr(code) for code in range(0xAC00, 0xB800)]
LETTERS = [
    range(0x61, 0x7B),
    range(0x430, 0x450),
    range(0x5D0, 0x5EB),
    range(0xE01, 0xE2F),
    range(0x4E00, 0x4F00),
]


def _minified() -> str:
    names = "abcdefghij"
    return ";".join(
        f"var {DICE.choice(names)}={DICE.choice(names)}({DICE.randrange(99)},{DICE.choice(names)})"
        for _ in range(3000)
    )


def _corpus() -> Mapping[str, str]:
    """Return ordinary texts, 50 kB each where there is so much to say."""
    rows = [f"| {n:4} | {DICE.choice(WORDS)[:20]:20} | {DICE.random():8.4f} | ok |" for n in range(900)]
    return {
        "prose": " ".join(DICE.choice(WORDS) for _ in range(8000)),
        "the readme": (ROOT / "README.md").read_text(),
        "code": (ROOT / "orch/tools/files.py").read_text() * 2,
        "minified code": _minified(),
        "a table": "\n".join(rows),
        "a table with empty cells": "\n".join(f"| {n} |      |      |      |" for n in range(2000)),
        "headings under rulers": "\n".join(
            f"{DICE.choice(WORDS)}\n{'=' * 78}\n{DICE.choice(WORDS)}" for _ in range(500)
        ),
        "one long ruler": f"Here it is:\n{'-' * 3000}\n",
        "a checklist": "\n".join(f"- [x] step {n}: checked and done" for n in range(1500)),
        "a log": "\n".join(
            f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z INFO test_{n} passed" for n in range(1200)
        ),
        "numbers": json.dumps([DICE.randrange(10**6) for _ in range(6000)]),
        "a matrix of digits": "\n".join(
            " ".join(str(DICE.randrange(2)) for _ in range(64)) for _ in range(400)
        ),
        "base64": base64.b64encode(DICE.randbytes(36_000)).decode(),
        "hex": DICE.randbytes(25_000).hex(),
        "Chinese": "".join(DICE.choice(KANJI) for _ in range(17_000)),
        "Japanese with Latin names": "".join(
            DICE.choice([*KANJI[:300], *KANA, "API", "Python"]) for _ in range(14_000)
        ),
        "Korean": " ".join("".join(DICE.choice(HANGUL) for _ in range(4)) for _ in range(4000)),
        "a list of languages": "English, русский, עברית, ไทย, 中文, 한국어, Ελληνικά, हिन्दी, العربية.\n" * 3
        + " ".join(DICE.choice(WORDS) for _ in range(2000)),
        "Greek letters in formulas": " ".join(f"Δ{w} = λ·{w}² + ∑µ{n}" for n, w in enumerate(WORDS * 4)),
        "emoji": " ".join(f"✅ {DICE.choice(WORDS)} 🚀" for _ in range(4000)),
        "indented blank lines": "\n".join(f"{' ' * 40}{n}\n" for n in range(1000)),
    }


CORPUS = _corpus()


@pytest.mark.parametrize("name", CORPUS)
def test_ordinary_text_does_not_trip_it_wherever_it_is_cut(name: str) -> None:
    """Judged at every thousand characters, as an answer that grows is."""
    text = CORPUS[name]
    assert [end for end in range(1000, len(text) + 1000, 1000) if degeneration(text[:end])] == []


@pytest.mark.parametrize(
    "loop",
    [
        "I will now fix the tests. ",
        "a",
        "\n",
        "0, ",
        "def test_it() -> None:\n    assert True\n\n",
        "让我再试一次。",
        "Let me look at the file again.\n\nActually, wait. Let me think about it.\n" * 2,
    ],
)
def test_a_loop_is_found_behind_an_ordinary_beginning(loop: str) -> None:
    """Soon after it began: within twice the window."""
    text = CORPUS["prose"][:20_000] + loop * 20_000
    found = next(end for end in range(0, len(text), 1000) if degeneration(text[:end]))
    assert 20_000 < found <= 20_000 + 2 * judged.WINDOW_CHARS
    assert degeneration(text[:found]) == ("it repeats itself" if loop.strip() else "it is nothing but blanks")


def test_a_flood_of_blanks_is_found() -> None:
    """Whatever the blanks: they say nothing, also where they do not repeat."""
    blanks = "".join(DICE.choice(" \t\n\r\N{NO-BREAK SPACE}") for _ in range(9000))
    assert degeneration("So:" + blanks) == "it is nothing but blanks"


def test_a_soup_of_scripts_is_found() -> None:
    """Words that change between scripts in their middle."""
    soup = "".join(
        chr(DICE.choice(DICE.choice(LETTERS))) + (" " if DICE.random() < 0.1 else "") for _ in range(6000)
    )
    assert degeneration(soup) == "it is no readable text"


def test_broken_characters_are_found() -> None:
    """A text of which every fifth character could not be decoded."""
    broken = "".join(
        "\N{REPLACEMENT CHARACTER}" if n % 5 == 0 else DICE.choice("abcdef ") for n in range(6000)
    )
    assert degeneration(broken) == "it is no readable text"


@given(st.text(max_size=200), st.integers(0, 19))
def test_a_short_text_is_never_judged(text: str, times: int) -> None:
    """Less than `LEAST_CHARS` says nothing, and nothing raises."""
    assert degeneration((text * times)[: judged.LEAST_CHARS - 1]) is None
