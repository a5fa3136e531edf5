"""What an error that reaches the command line itself comes to: its exit code and its name in the `result`.

A mission's own code comes from its final state, not from here. Light, because `orch.main` needs it.
"""

from collections.abc import Mapping

from orch.errors import AuthRefused, DiskRefused, OrchError, ProviderUnavailable, Terminated, UsageError

USAGE = 2
BUG = 70
INTERRUPTED = 130
TERMINATED = 143

MEANINGS: Mapping[int, str] = {
    0: "sealed: every item done with evidence, no open issue, verified",
    1: "ran to its end, not sealed: failed items, issues, red verification",
    2: "usage or configuration; no turn was paid",
    3: "blocked: a person has to decide; `orch resume --reply TEXT` answers",
    4: "a limit on turns, tokens or dollars was reached; resumable",
    5: "stagnation: nothing moved after the interventions",
    6: "answered: the goal asked for no change (with --answer: 0)",
    70: "a bug in orch; the path of its log is printed",
    74: "the disk refused; nothing acknowledged is lost; resumable",
    75: "the provider is unavailable, and so is every fallback; resumable",
    77: "the provider refused the key",
    124: "--timeout was reached; resumable",
    INTERRUPTED: "stopped by SIGINT; resumable",
    TERMINATED: "stopped by SIGTERM or `orch stop`; resumable",
}
"""Every code that a run ends with, in words."""

_TABLE: tuple[tuple[type[OrchError], int, str], ...] = (
    (UsageError, USAGE, "error"),
    (DiskRefused, 74, "disk"),
    (ProviderUnavailable, 75, "provider"),
    (AuthRefused, 77, "auth"),
)


def described() -> str:
    """Return the codes as `--help` shows them, under their heading."""
    return "\n".join(["Exit codes", *(f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items())])


def cut_short(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that a signal ended."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


def ending(error: OrchError) -> tuple[int, str]:
    """Return the exit code for `error`, and the result's `subtype`."""
    found = ((code, subtype) for kind, code, subtype in _TABLE if isinstance(error, kind))
    return next(found, (BUG, "error"))
