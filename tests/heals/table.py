"""Plays the cases of `tests.heals.faults`, and says of each how it was healed, as the journal has it."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from orch.mission import events as ev
from orch.mission import stumbles
from tests.heals.faults import LINES, LONG, Case, Wire, rows
from tests.runtime.house import House, Run


@dataclass(frozen=True)
class Line:
    """What came of a case on one wire; `usual_requests` are those of the mission without the fault."""

    case: Case
    wire: Wire
    account: str
    requests: int
    usual_requests: int
    code: int
    outcome: str

    @property
    def is_as_promised(self) -> bool:
        """Whether it ended as it should, and was healed as it should be."""
        return self.code == self.case.code and self.case.healed in self.account

    def __str__(self) -> str:
        mark = " " if self.is_as_promised else "!"
        spent = f"{self.requests} for {self.usual_requests}"
        ending = f"{self.outcome} ({self.code})"
        return f"{mark} {self.case.name:30} {self.wire:10} {spent:>9}  {ending:13} {self.account}"


HEADING = f"  {'fault':30} {'wire':10} {'requests':>9}  {'ended':13} healed by"


def lines() -> Iterator[Line]:
    """Play every case on each of its wires."""
    for case, wire in rows():
        yield play(case, wire)


def play(case: Case, wire: Wire) -> Line:
    """Play one case, and the same mission without its fault."""
    run, requests = _played(case, wire, is_disturbed=True)
    usual = _usual(case, wire)
    account = _account(run)
    if not account and requests > usual:
        account = f"asked {requests - usual} more, by the client"
    outcome = str(run.result.subtype)
    return Line(case, wire, account, requests, usual, run.result.exit_code, outcome)


_KNOWN: dict[object, int] = {}
"""What missions without a fault take: most cases disturb the same one."""


def _usual(case: Case, wire: Wire) -> int:
    key = (case.usual, case.check, case.verify, repr(case.facts), wire)
    if key not in _KNOWN:
        _KNOWN[key] = _played(case, wire, is_disturbed=False)[1]
    return _KNOWN[key]


def _played(case: Case, wire: Wire, *, is_disturbed: bool) -> tuple[Run, int]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = case.script(wire) if is_disturbed else case.undisturbed(wire)
        endpoint = stack.enter_context(wire.serve(script))
        house = House(folder / "workspace", settings=case.settings, serve=lambda _: nullcontext(endpoint))
        house.facts = {**case.facts, **(case.narrow if is_disturbed else {})}
        house.workspace.mkdir()
        (house.workspace / LONG).write_text(LINES)
        others = [endpoint]
        if case.has_fallback:
            others.append(stack.enter_context(wire.serve(case.undisturbed(wire))))
            house.others = {"spare": others[-1]}
        fallback = ("spare/scripted",) if case.has_fallback else ()
        models = dict.fromkeys(ev.Role, f"test/{case.model if is_disturbed else 'scripted'}")
        run = house.begin(script, max_parallel=1, fallback=fallback, models=models)
        return run, sum(len(each.ledger) for each in others)


# ---- what the journal says


def _account(run: Run) -> str:
    """Say in one line what was done about the fault."""
    return "; ".join([*_in_the_turn(run), *_in_the_session(run), *_in_the_mission(run)])


def _in_the_turn(run: Run) -> Iterator[str]:
    for error, times in Counter(retry.error for retry in run.all(ev.Retry)).items():
        what = "waited" if error == "RateLimited" else "tried again"
        yield f"{what} ({error}{f', {times} times' if times > 1 else ''})"
    failed = [event for event in run.all(ev.ToolFinished) if not event.ok]
    if failed:
        yield "told in the result" + (f", {len(failed)} times" if len(failed) > 1 else "")
    if any(stumbles.MARK in event.text for event in failed):
        yield "a recovery prompt"
    if any("ended by orch" in text for text in run.said("bash")):
        yield "a command was ended, and its Reviewer told"


def _in_the_session(run: Run) -> Iterator[str]:
    for event in run.all(ev.Compaction):
        yield f"compacted ({event.cause}: {event.before_tokens} -> {event.after_tokens}, {event.stage})"
    yield from (event.text for event in run.all(ev.Heal))
    asked = [e for e in run.all(ev.MessageSent) if e.reason is ev.MessageReason.RECOVERY]
    if asked:
        yield "asked again"
    if any(event.late for event in run.all(ev.ToolFinished)):
        yield "told that its time is over"
    yield from (f"another model ({event.model})" for event in run.all(ev.ModelSwitched))


def _in_the_mission(run: Run) -> Iterator[str]:
    items = Counter((e.role, e.item) for e in run.all(ev.SessionStarted) if e.item is not None)
    if any(role is ev.Role.WORKER and count > 1 for (role, _), count in items.items()):
        (reason, *_) = [e.reason for e in run.all(ev.SessionEnded) if e.outcome is ev.SessionOutcome.FAILED]
        yield f"a fresh worker ({reason})"
    if run.all(ev.ItemRejected):
        yield "back to its worker"
    for event in run.all(ev.ItemAdded):
        if event.origin is ev.ItemOrigin.FIX:
            yield f"a fix item ({event.item})"
