"""Caps as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission import caps
from orch.mission import events as ev
from orch.mission.caps import Cap, Caps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h30m15s", 5415),
        ("1.5h", 5400),
        (" 2H ", 7200),
        ("45", 45),
        ("0.5", 0.5),
        ("8760h", 365 * 86_400),
    ],
)
def test_a_duration_is_read(text: str, expected: float) -> None:
    """With its units, largest first, or as a number of seconds."""
    assert caps.seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "h", "soon", "2 hours", "-5s", "0", "0s", "30m1h", "1h30", "1e3", "nan", "inf", "8761h", "٣s", "1d"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed, and nothing is ever no time at all, or more than a year."""
    with pytest.raises(ValueError, match=r"^" if text else r"^$"):
        caps.seconds(text)


@given(st.integers(1, caps.LONGEST_S) | st.integers(1, 10**6).map(lambda n: n / 1000))
def test_what_is_shown_reads_as_the_same_duration(total_s: float) -> None:
    """So a resume line, and the text that names the flag, can be pasted."""
    assert caps.seconds(caps.duration(total_s)) == pytest.approx(total_s, rel=1e-5)


@pytest.mark.parametrize(
    ("cap", "amount", "text"),
    [
        (Cap.TIMEOUT, 7200.0, "--timeout 2h"),
        (Cap.TIMEOUT, 90.0, "--timeout 90s"),
        (Cap.TOKENS, 10_000_000, "--max-tokens 10000000"),
        (Cap.USD, 2.5, "--max-budget-usd 2.5"),
        (Cap.USD, 1e-4, "--max-budget-usd 0.0001"),
    ],
)
def test_a_cap_is_named_as_its_flag_is_typed(cap: Cap, amount: float, text: str) -> None:
    """A number without commas or exponent."""
    assert caps.setting(cap, amount) == text


def test_the_end_at_a_cap_names_the_flag_what_is_spent_and_what_goes_on() -> None:
    """What the next call would take is said only while something is left."""
    assert caps.reached(Cap.TOKENS, 20_000, 20_113, 900) == (
        "--max-tokens 20000: 20,113 tokens are spent; `orch resume --max-tokens N` goes on"
    )
    assert caps.reached(Cap.USD, 2.0, 1.99, 0.02) == (
        "--max-budget-usd 2: $1.99 are spent, and the next call may take $0.0200; "
        "`orch resume --max-budget-usd N` goes on"
    )


def test_a_journal_from_before_there_were_caps_reads_as_it_did() -> None:
    """What is not said is no cap, no estimate, and nothing paid for."""
    started = ev.MissionStarted(goal="g", orch_version="1", models={}, max_parallel=1, max_turns=1)
    turn = ev.TurnStarted(session=ev.SessionId("S1"), turn=1, model="m")
    for event, name, value in ((started, "caps", Caps()), (turn, "estimate", None)):
        line = event.model_dump(mode="json")
        del line[name]
        assert getattr(ev.EVENT.validate_python(line), name) == value


def test_every_cap_is_a_field_of_the_caps() -> None:
    """None of them is set by default: a journal without them reads as it did."""
    assert [Caps().of(cap) for cap in Cap] == [None, None, None]
    full = Caps(timeout_s=1, max_tokens=2, max_budget_usd=3)
    assert [full.of(cap) for cap in Cap] == [1, 2, 3]
