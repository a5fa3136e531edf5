"""A storm: an endpoint that refuses most of what fifty sessions ask for a while, and what orch makes of it.

`run` plays a mission of many items through one, in the program itself, and returns the figures: what was
asked and answered, whether anybody asked before the time it was told, how often a person was told of it.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from tests import play
from tests.endpoint import Entry, Script, Step, Turn
from tests.program import LIMIT_S, Bench, Ended

SESSIONS = 50
REFUSED = 0.95
SHORTEST_S, LONGEST_S = 0.2, 1.0
"""What the endpoint asks for."""
ON_ITS_WAY = 2 * SESSIONS
"""More than are on their way whenever the gate closes: 49 at first, then 24, 11, 5, 2 as it narrows."""


@dataclass
class Storm:
    """A script that refuses at random, from the first Worker's request on for `lasts_s`.

    `told` has the wait for each request in the order of arrival, `None` where it was answered.
    """

    script: Script
    lasts_s: float
    dice: Random
    told: list[float | None] = field(default_factory=list)
    began: float | None = None

    def __call__(self, turn: Turn) -> Step:
        """Answer, or refuse."""
        now = time.time()
        if self.began is None and play.scene_of(turn).role == "Worker":
            self.began = now
        rages = self.began is not None and now < self.began + self.lasts_s
        drawn_s = round(self.dice.uniform(SHORTEST_S, LONGEST_S), 3)
        wait_s = drawn_s if rages and self.dice.random() < REFUSED else None
        self.told.append(wait_s)
        return self.script(turn) if wait_s is None else play.refused(429, retry_after=f"{wait_s:.3f}")


@dataclass(frozen=True)
class Figures:
    """What came of it. `early` requests came before the time that their own session, or any, was told."""

    ended: Ended
    sealed: bool
    requests: int
    useful: int
    early_of_session: int
    early_of_any: int
    most_tries: int
    longest_wait_s: float
    lines: int
    took_s: float

    def text(self) -> str:
        """Return the figures in a line."""
        return (
            f"{self.requests} requests for {self.useful} answers, {self.requests - self.useful} refused, "
            f"{self.early_of_session} early, {self.early_of_any} on their way when others were told to wait; "
            f"a turn took at most {self.most_tries} tries "
            f"and {self.longest_wait_s:.1f}s; {self.lines} lines; {self.took_s:.1f}s"
        )


def run(bench: Bench, lasts_s: float, seed: str) -> Figures:
    """Run a mission of as many items as sessions through a storm."""
    items = [play.item(f"i{number}") for number in range(SESSIONS)]
    storm = Storm(play.mission(*items), lasts_s, Random(seed))  # noqa: S311 - replayable
    began = time.monotonic()
    with bench.served(storm) as endpoint:
        ended = bench.start_task("-j", str(SESSIONS)).end(limit_s=lasts_s + LIMIT_S)
    took_s = time.monotonic() - began
    asked = list(zip(endpoint.ledger, storm.told, strict=True))
    useful = sum(1 for entry in endpoint.ledger if entry.status == 200)
    return Figures(
        ended=ended,
        sealed=bench.journal()[-1]["type"] == "mission.sealed",
        requests=len(asked),
        useful=useful,
        early_of_session=sum(1 for entry, until in _own(asked) if entry.arrival < until),
        early_of_any=_early(asked),
        most_tries=max(entry.attempt for entry, _ in asked),
        longest_wait_s=max(_spans(endpoint.ledger)),
        lines=ended.err.count("the provider asks to wait"),
        took_s=took_s,
    )


Asked = list[tuple[Entry, float | None]]


def _said_at(entry: Entry) -> float:
    assert entry.first_byte is not None
    return entry.first_byte


def _own(asked: Asked) -> Iterator[tuple[Entry, float]]:
    """Yield each request of a session that was refused before, with the time it was told."""
    until: dict[str, float] = {}
    for entry, wait_s in asked:
        if entry.session in until:
            yield entry, until.pop(entry.session)
        if wait_s is not None:
            until[entry.session] = _said_at(entry) + wait_s


def _early(asked: Asked) -> int:
    """Count the requests that came although somebody had been told that nobody should ask yet.

    When a request left, and when what was told was read, nobody knows: those on their way are among them.
    """
    refusals = [(_said_at(entry), wait_s) for entry, wait_s in asked if wait_s is not None]
    return sum(any(said < entry.arrival < said + wait_s for said, wait_s in refusals) for entry, _ in asked)


def _spans(ledger: Iterable[Entry]) -> Iterator[float]:
    """Yield how long each turn took from its first request to its answer."""
    first: dict[tuple[str, int], float] = {}
    for entry in ledger:
        key = (entry.session, entry.turn)
        first.setdefault(key, entry.arrival)
        yield _said_at(entry) - first[key]
