"""What an endpoint's headers say of its rates: for how long nothing is left of one.

OpenAI's `x-ratelimit-remaining-requests` and its kin give the reset as a duration (`6m0s`, `12ms`),
Anthropic's `anthropic-ratelimit-requests-remaining` and its kin as a time (RFC 3339); both in their API
references under rate limits. Servers that copy the names send all sorts of values; what makes no sense, or
belongs to a limit that is none (`-1`, as Azure sends), is read over.
"""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime

_OPENAI = ("requests", "tokens")
_ANTHROPIC = ("requests", "tokens", "input-tokens", "output-tokens")
_DURATION = re.compile(
    r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?(?:(?P<ms>\d+(?:\.\d+)?)ms)?"
)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def exhausted_s(headers: Mapping[str, str], now_s: float | None = None) -> float:
    """Return for how many seconds nothing is left of some rate; 0 where something is, or nothing is said.

    `now_s` is the wall clock, in seconds since 1970.
    """
    now = time.time() if now_s is None else now_s
    return max((wait for wait in _waits(headers, now) if wait > 0), default=0.0)


def _waits(headers: Mapping[str, str], now_s: float) -> Iterator[float]:
    for kind in _OPENAI:
        if _is_used_up(headers, f"x-ratelimit-remaining-{kind}", f"x-ratelimit-limit-{kind}"):
            yield _duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
    for kind in _ANTHROPIC:
        name = f"anthropic-ratelimit-{kind}"
        if _is_used_up(headers, f"{name}-remaining", f"{name}-limit"):
            yield _until_s(headers.get(f"{name}-reset", ""), now_s)


def _is_used_up(headers: Mapping[str, str], remaining: str, limit: str) -> bool:
    return headers.get(remaining, "").strip() == "0" and not headers.get(limit, "").strip().startswith("-")


def _duration_s(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    parts = found.groupdict() if found else {}
    return sum(float(value) * _SECONDS[unit] for unit, value in parts.items() if value)


def _until_s(stamp: str, now_s: float) -> float:
    try:
        reset = datetime.fromisoformat(stamp.strip())
        return reset.timestamp() - now_s if reset.tzinfo else 0.0
    except (ValueError, OverflowError):
        return 0.0
