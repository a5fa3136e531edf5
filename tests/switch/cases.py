"""The cases of the switch: a crash at a point, a crash in the resume after it, a disk that refuses.

Each case is a mission of its own. `play` runs them two at a time and returns those that went wrong, with the
place where what they left behind can be looked at.
"""

import errno
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.switch.switch import Death, Failure, Plan, When
from tests.switch.voyage import KILLED, Stage, Voyage, audit_cut, audit_sealed, refused_in, voyage

SIDE_BY_SIDE = 2
TRIES = 3
DISK = 74
USAGE = 2
DEEPEST = 300
"""Up to this call of a kind the disk is made to refuse."""


@dataclass(frozen=True)
class Case:
    """What happens to one mission: `first` in its first run, `second` in the run after that."""

    first: Plan
    second: Plan = None

    @property
    def name(self) -> str:
        """What to call its folder."""
        words = f"{self.first} {self.second or ''}"
        return "".join(c if c.isalnum() else "-" for c in words)[:150].strip("-")


@dataclass(frozen=True)
class Verdict:
    """What came of a case: whether its point was reached, and what was wrong."""

    case: Case
    reached: bool
    wrong: Sequence[str]


# ---- which cases there are


def counted(place: Path) -> list[str]:
    """Return the points of a mission that nothing happens to."""
    with Stage() as stage, voyage(place, stage) as v:
        ended = v.task()
        wrong = audit_sealed(v)
        assert not wrong, wrong
        return list(ended.points)


def deaths(points: Sequence[str]) -> Iterator[Death]:
    """Yield a death before and after each point, and in the middle of each write."""
    seen: Counter[str] = Counter()
    for point in points:
        seen[point] += 1
        middle = [When.MIDDLE] if point.startswith("write ") else []
        for when in (When.BEFORE, *middle, When.AFTER):
            yield Death(point, seen[point], when)


def refusals(points: Sequence[str]) -> Iterator[Failure]:
    """Yield a refusal at each call of each kind, once and from then on."""
    calls = Counter(point.partition(" ")[0] for point in points)
    kinds = {
        ("write",): (errno.ENOSPC, errno.EIO),
        ("fsync",): (errno.EIO,),
        ("create", "rename", "mkdir"): (errno.EROFS, errno.EACCES),
    }
    for names, numbers in kinds.items():
        for number in numbers:
            for nth in range(1, min(DEEPEST, sum(calls[name] for name in names)) + 1):
                for lasting in (True, False):
                    yield Failure(names, nth, number, lasting)


# ---- one case


def crash(v: Voyage, case: Case) -> Verdict:
    """Kill the mission (twice, if the case says so), take it up again, and look at all it left."""
    wrong: list[str] = []
    reached = v.task(case.first).code == KILLED
    wrong += audit_cut(v)
    if case.second is not None:
        reached = v.resume(case.second).code == KILLED and reached
        wrong += audit_cut(v)
    if reached or v.runs[-1].code != 0:
        v.resume()
    return Verdict(case, reached, [*wrong, *audit_sealed(v)])


def refuse(v: Voyage, case: Case) -> Verdict:
    """Have the disk refuse, look at what orch says of it, give the disk back and take the mission up."""
    ended = v.task(case.first)
    if not ended.failed:
        return Verdict(case, reached=False, wrong=audit_sealed(v))
    wrong = [*audit_cut(v), *_refusal_faults(v)]
    v.resume()
    return Verdict(case, reached=True, wrong=[*wrong, *audit_sealed(v)])


def _refusal_faults(v: Voyage) -> Iterator[str]:
    ended = v.runs[-1]
    first = ended.points[ended.failed[0]]
    if first.endswith(" journal") and first in ended.points[ended.failed[0] + 1 :]:
        yield f"{first} was tried again on a descriptor that had failed"
    if ended.code == 0:
        return  # it could do without
    expected = DISK if v.missions else USAGE
    if ended.code != expected or ended.result.get("exit_code") != expected:
        yield f"exit {ended.code}, result {ended.result.get('exit_code')}, where {expected} is right: {first}"
    if expected == DISK and ended.result.get("subtype") != "disk":
        yield f"subtype {ended.result.get('subtype')}"
    if expected == USAGE and v.endpoint.ledger:
        yield "a model was asked before the disk was proven"
    if "Traceback" in ended.err:
        yield f"a traceback: {ended.err[-500:]}"
    if not refused_in(ended):
        yield f"no clear line: {ended.err[-500:]!r} {ended.result.get('result')!r}"


# ---- many cases


def play(
    cases: Sequence[Case], place: Path, one: Callable[[Voyage, Case], Verdict], say: Callable[[str], None]
) -> list[Verdict]:
    """Play all cases and return their verdicts."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    verdicts: list[Verdict] = []

    def work() -> None:
        with Stage() as stage:
            while not waiting.empty():
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                verdict = _played(place / case.name, stage, case, one)
                verdicts.append(verdict)
                if verdict.wrong:
                    say(f"{case.name}: {'; '.join(verdict.wrong)}")

    threads = [threading.Thread(target=work, name=f"stage {n}") for n in range(SIDE_BY_SIDE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts


def _played(place: Path, stage: Stage, case: Case, one: Callable[[Voyage, Case], Verdict]) -> Verdict:
    """Play a case; again if its point was not reached: a generated view is written once more or less."""
    verdict = Verdict(case, reached=False, wrong=())
    for _ in range(TRIES):
        if not verdict.reached and not verdict.wrong:
            with voyage(place, stage) as v:
                verdict = one(v, case)
                v.keep = bool(verdict.wrong)
    return verdict
