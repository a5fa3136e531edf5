"""The caps of a run: how long it may take and what it may spend, and how they are written.

A cap is set by the flag of its name, `Cap.flag`; durations read and write as `90s`, `15m`, `2h`, `1h30m`.
"""

import re
from enum import StrEnum

from orch.mission.transcript import Frozen

LONGEST_S = 365 * 86_400
"""No run lasts a year; a longer timeout is a slip of the hand."""
DURATION = "a duration such as 90s, 15m, 2h or 1h30m, or a number of seconds; at most a year"
"""What a person is told who wrote something else."""
Amount = int | float
"""Seconds, tokens or US dollars, as the cap says; tokens are whole."""

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(rf"(?=[0-9])(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)


class Cap(StrEnum):
    """What a run can run out of."""

    TIMEOUT = "timeout"  # wall clock of one run
    TOKENS = "max_tokens"  # of all sessions, over the mission's life
    USD = "max_budget_usd"  # likewise, in US dollars

    @property
    def flag(self) -> str:
        """The flag that sets it."""
        return f"--{self.replace('_', '-')}"


class Caps(Frozen):
    """The caps of a run; `None` where there is none. The timeout counts per run, the others per mission."""

    timeout_s: float | None = None
    max_tokens: int | None = None
    max_budget_usd: float | None = None

    def of(self, cap: Cap) -> Amount | None:
        """Return the amount of one cap."""
        match cap:
            case Cap.TIMEOUT:
                return self.timeout_s
            case Cap.TOKENS:
                return self.max_tokens
            case Cap.USD:
                return self.max_budget_usd


def seconds(text: str) -> float:
    """Return the seconds that `text` says. Raises `ValueError` for what is no duration, or too long a one."""
    words = text.strip().lower()
    plain, parts = _PLAIN.fullmatch(words), _DURATION.fullmatch(words)
    if plain is not None:
        total = float(plain[1])
    elif parts is not None:
        total = sum(
            float(part) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True) if part
        )
    else:
        raise ValueError(text)
    if not 0 < total <= LONGEST_S:
        raise ValueError(text)
    return total


def duration(total_s: float) -> str:
    """Return `total_s` as `seconds` reads it: `2h`, `1h30m`, `90s`, `0.5s`."""
    whole = int(total_s)
    if whole != total_s or whole < 2 * 60:  # people say 90 s, not 1 min 30
        return f"{total_s:g}s"
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n)


def setting(cap: Cap, amount: Amount) -> str:
    """Return the flag with its amount, as it is typed: `--max-tokens 20000`."""
    return f"{cap.flag} {duration(amount) if cap is Cap.TIMEOUT else f'{amount:.15g}'}"


def shown(cap: Cap, amount: Amount) -> str:
    """Return an amount as people read it: `20,113 tokens`, `$1.50`, `2h`."""
    match cap:
        case Cap.TIMEOUT:
            return duration(round(amount, 1))
        case Cap.TOKENS:
            return f"{amount:,} tokens"
        case Cap.USD:
            return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


def reached(cap: Cap, amount: Amount, spent: Amount, needed: Amount) -> str:
    """Say that the next call does not fit under a cap, and what goes on."""
    more = f", and the next call may take {shown(cap, needed)}" if spent < amount else ""
    return f"{setting(cap, amount)}: {shown(cap, spent)} are spent{more}; `orch resume {cap.flag} N` goes on"


def timed_out(timeout_s: float) -> str:
    """Say that a run's time is over, and what goes on."""
    return f"{setting(Cap.TIMEOUT, timeout_s)} is over; `orch resume` goes on"
