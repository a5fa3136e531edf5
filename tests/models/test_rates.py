"""The headers by which endpoints tell what is left of a rate."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.models.rates import exhausted_s

NOW_S = 1_755_780_000.0  # 2025-08-21T12:40:00Z


def openai(kind: str, remaining: str, reset: str, limit: str = "100") -> dict[str, str]:
    """Return OpenAI's headers of one rate."""
    return {
        f"x-ratelimit-limit-{kind}": limit,
        f"x-ratelimit-remaining-{kind}": remaining,
        f"x-ratelimit-reset-{kind}": reset,
    }


def anthropic(kind: str, remaining: str, reset: str) -> dict[str, str]:
    """Return Anthropic's headers of one rate."""
    name = f"anthropic-ratelimit-{kind}"
    return {f"{name}-limit": "50", f"{name}-remaining": remaining, f"{name}-reset": reset}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 0),
        (openai("requests", "3", "12ms"), 0),
        (openai("requests", "0", "12ms"), 0.012),
        (openai("requests", "0", "1s") | openai("tokens", "0", "6m0s"), 360),
        (openai("tokens", "0", "1h2m3.5s"), 3723.5),
        (openai("tokens", "0", "soon"), 0),
        (openai("tokens", "0", "0", limit="-1"), 0),
        (openai("tokens", "0", "30s", limit="-1"), 0),
        (openai("tokens", "-1", "30s"), 0),
        (anthropic("requests", "0", "2025-08-21T12:40:59Z"), 59),
        (anthropic("input-tokens", "0", "2025-08-21T14:40:10+02:00"), 10),
        (anthropic("output-tokens", "7", "2025-08-21T12:40:59Z"), 0),
        (anthropic("tokens", "0", "2025-08-21T12:39:00Z"), 0),
        (anthropic("tokens", "0", "2025-08-21T12:40:59"), 0),
    ],
)
def test_a_rate_that_is_used_up_says_for_how_long(headers: Mapping[str, str], wait_s: float) -> None:
    """The longest of them, whatever the dialect."""
    assert exhausted_s(headers, NOW_S) == pytest.approx(wait_s)


@given(st.sampled_from(["requests", "tokens"]), st.text(max_size=30), st.text(max_size=12))
def test_headers_that_make_no_sense_are_read_over(kind: str, reset: str, remaining: str) -> None:
    """Whatever a server sends, it is a number of seconds and none below zero."""
    for headers in (openai(kind, remaining, reset), openai(kind, "0", reset), anthropic(kind, "0", reset)):
        assert exhausted_s(headers, NOW_S) >= 0
