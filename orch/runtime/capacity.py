"""How many sessions the open files of this process are enough for.

A session has a connection, its item's leases, and now and then a command with its log; the house has its
journal, its locks, its loop and a few files that are open for an instant. Where the hard limit of the system
leaves room for fewer sessions than were asked for, they take turns: a refused file is worse than a wait.
"""

from orch.tools.process_table import raise_file_limit

HOUSE_FILES = 32
"""What all sessions share, with a margin."""
SESSION_FILES = 6
"""Two connections (a Worker's rests while its Reviewer works), a lease or two, a command and its log."""


def slots(max_parallel: int) -> int:
    """Return how many of `max_parallel` sessions may work at once; always one. Raises the soft limit."""
    return max(1, min(max_parallel, (raise_file_limit() - HOUSE_FILES) // SESSION_FILES))
