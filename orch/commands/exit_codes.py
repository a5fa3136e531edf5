"""What an error that reaches the command line itself comes to: its exit code and its name in the `result`.

A mission's own code comes from its final state, not from here. Light, because `orch.main` needs it.
"""

from orch.errors import AuthRefused, DiskRefused, OrchError, ProviderUnavailable, Terminated, UsageError

USAGE = 2
BUG = 70
INTERRUPTED = 130
TERMINATED = 143

_TABLE: tuple[tuple[type[OrchError], int, str], ...] = (
    (UsageError, USAGE, "error"),
    (DiskRefused, 74, "disk"),
    (ProviderUnavailable, 75, "provider"),
    (AuthRefused, 77, "auth"),
)


def cut_short(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that a signal ended."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


def ending(error: OrchError) -> tuple[int, str]:
    """Return the exit code for `error`, and the result's `subtype`."""
    found = ((code, subtype) for kind, code, subtype in _TABLE if isinstance(error, kind))
    return next(found, (BUG, "error"))
