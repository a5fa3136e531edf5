"""How a report writes numbers, times and long texts."""

from orch.mission import events as ev

LONGEST_TEXT = 600
"""Characters of a text in a list; what is longer is cut, and says so."""
SHORT_HASH = 10
SUB_SECOND = 10
"""Below so many seconds, tenths matter."""


def cut(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return `text`, or its beginning and how much is left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest].rstrip()}… ({len(text) - longest:,} more characters)"


def first_line(text: str, longest: int = 120) -> str:
    """Return the first line that says something, cut."""
    line = next((row.strip() for row in text.splitlines() if row.strip()), "")
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def short(sha: str | None) -> str:
    """Return the beginning of a hash, as people compare them."""
    return sha[:SHORT_HASH] if sha else "absent"


def count(number: int, word: str, many: str = "") -> str:
    """Return a number with its word."""
    return f"{number:,} {word if number == 1 else many or f'{word}s'}"


def lasted(total_s: float) -> str:
    """Return how long something took: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if total_s < SUB_SECOND:
        return f"{total_s:.1f} s"
    minutes, seconds = divmod(round(total_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def offset(at_s: float) -> str:
    """Return a time since the mission began: `0:07`, `1:02:05`, `2 d 3:00:00`."""
    minutes, seconds = divmod(int(at_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours or days else f"{minutes}:{seconds:02d}"
    return f"{days} d {text}" if days else text


def moment(ts: str) -> str:
    """Return a time of the journal for people: `2026-01-31 12:00:05 UTC`."""
    return f"{ts[:10]} {ts[11:19]} UTC" if ts else "unknown"


def dollars(cost_usd: float | None) -> str:
    """Return a cost; one that nobody knows is said to be unknown, never zero."""
    if cost_usd is None:
        return "unknown"
    return f"${cost_usd:,.2f}" if cost_usd >= 1 or not cost_usd else f"${cost_usd:.4f}"


def tokens(usage: ev.Usage) -> str:
    """Return usage in one line."""
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    return f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out"
