"""The tables that pytest prints of the tests themselves: faults, exit codes, and which test shows each.

A test names what it injects with `@pytest.mark.fault(7)`, and how it sees the program end with
`@pytest.mark.exit_code(3)`; it says what it measured with `record_property("figure", "...")`.
`pytest --faults` and `pytest --exit-codes` run those tests alone and print the table; a row without a test is
an error of that run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FAULTS: Mapping[int, str] = {
    1: "kill -9 at random times, resume, until sealed",
    2: "kill -9 before and after each write, fsync, rename, spawn and model event",
    3: "a crash during a resume, again and again",
    4: "a torn tail of the journal, cut at every byte",
    5: "corruption in the middle of the journal",
    6: "a record of an unknown type, a journal of a newer version",
    7: "no space left at the Nth write",
    8: "an I/O error of fsync",
    9: "a read-only file system or folder, before the start and in mid-run",
    10: "64 file descriptors for 50 sessions",
    11: "six starters at once, on one mission or one workspace",
    12: "the lock of a holder that died",
    13: "locks, state folder or workspace deleted or renamed in mid-run",
    14: "a pid that belongs to somebody else by now",
    15: "`orch stop` at random times",
    16: "SIGINT once and twice, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE",
    17: "50 tasks that want the same 5 files",
    18: "a wait for a lock that is cancelled",
    19: "tasks that each want several files, in any order",
    25: "an answer that was paid for and lost before its last byte",
    26: "answers that are cut off, refused, empty or blank",
    27: "arguments that are no JSON, or JSON at its worst",
    28: "unknown tools, extra arguments, 200 calls in a turn, ids that repeat",
    29: "the same calls over and over",
    30: "caps on tokens, dollars, turns and wall clock; usage that is missing",
    31: "endless output of a command",
    32: "output of a command that is no text",
    34: "files that cannot be read as files: huge, FIFO, device, socket, folder, changing",
    35: "paths at their worst",
    38: "todo.md deleted, emptied, overwritten",
    40: "kill -9 or a full disk in the middle of writing a file",
    41: "a person edits a file under its Worker",
    42: "a command that ignores SIGTERM, SIGINT and SIGHUP",
    43: "grandchildren: in the background, nohup, setsid, double fork, with the pipe held open",
    45: "commands that read stdin, ask for a password, open a pager or an editor",
    46: "background jobs: ended, killed, a hundred at once",
    47: "a wall clock that jumps",
    48: "the process group stopped and continued",
    49: "a journal of 100,000 events",
    50: "readers of a journal that is being written and repaired",
    51: "a loop that stands still",
    52: "all sessions cancelled at any await",
    53: "a cancellation at each wait of a retry",
    54: "a session that crashes in the same step on each resume",
    61: "a journal of an older version",
}

EXIT_CODES: Mapping[int, str] = {
    0: "sealed, or answered as asked with --answer, or planned with --dry-run",
    1: "ran to its end, not sealed",
    2: "usage or configuration: no turn was paid",
    3: "blocked: a person has to answer",
    4: "a limit was reached",
    5: "stagnation",
    6: "answered: the goal asked for no change",
    70: "a bug in orch",
    74: "the disk refused",
    75: "the provider is unavailable",
    77: "the key was refused",
    124: "--timeout was reached",
    130: "SIGINT",
    143: "SIGTERM, or `orch stop`",
}


@dataclass
class Table:
    """The tests of each row, their outcome, and the figures they gave."""

    names: Mapping[int, str]
    rows: dict[int, list[tuple[str, str, str]]] = field(default_factory=dict)

    def add(self, numbers: Iterable[int], test: str, outcome: str, figure: str) -> None:
        """Note that `test` belongs to the rows `numbers`."""
        for number in numbers:
            self.rows.setdefault(number, []).append((test, outcome, figure))

    @property
    def missing(self) -> tuple[int, ...]:
        """The rows without a test."""
        return tuple(sorted(self.names.keys() - self.rows.keys()))

    def lines(self) -> Iterable[str]:
        """Yield the table as text: a line a row, and one for each of its tests below it."""
        for number, words in self.names.items():
            yield f"{number:3d}  {words}" + ("" if number in self.rows else "  NO TEST")
            for test, outcome, figure in sorted(set(self.rows.get(number, ()))):
                yield f"     {outcome}  {test}" + (f"  [{figure}]" if figure else "")


TABLES: Mapping[str, Table] = {"fault": Table(FAULTS), "exit_code": Table(EXIT_CODES)}
"""By mark, of this session; filled by the process that hears of all tests."""
