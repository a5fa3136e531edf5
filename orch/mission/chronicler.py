"""Reads a mission's events once and writes its chronicle. Pure; a small function per event that it tells."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from orch.errors import RateLimited
from orch.mission import events as ev
from orch.mission.chronicle import (
    KILLED,
    LIVING,
    Chronicle,
    Edit,
    Incident,
    IssueTale,
    Kind,
    Review,
    Round,
    Run,
    SetUp,
    seconds_between,
)
from orch.mission.excerpt import relevant
from orch.mission.reduce import reduce
from orch.mission.spans import Spans
from orch.mission.state import MissionState, issues_of

OUTPUT_CHARS = 2_000
"""What is kept of a command's output; its log has all of it."""
_E = TypeVar("_E", bound=ev.Fact)


def chronicle(events: Iterable[ev.Event]) -> Chronicle:
    """Return the chronicle of all `events` of a journal, or of those that there are so far."""
    book = _Book()
    for event in events:
        book.take(event)
    return book.closed()


@dataclass(slots=True)
class _Book:
    """What is written down so far. `now_s` is when the event at hand happened."""

    state: MissionState = field(default_factory=MissionState)
    began: str = ""
    now_s: float = 0.0
    spans: Spans = field(default_factory=Spans)
    runs: list[Run] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    issues: dict[ev.IssueId, IssueTale] = field(default_factory=dict)
    reviews: list[Review] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    setups: list[SetUp] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    outputs: dict[ev.EvidenceId, str] = field(default_factory=dict)
    last_edit: dict[str, int] = field(default_factory=dict)
    last_proof: dict[ev.SessionId, ev.EvidenceId] = field(default_factory=dict)
    plans: int = 0

    def take(self, event: ev.Event) -> None:
        """Write down an event."""
        self.began = self.began or event.ts
        before_s, now_s = self.now_s, seconds_between(self.began, event.ts)
        if isinstance(event, ev.MissionResumed):
            self.end_run(KILLED, "", before_s)
        self.now_s = max(before_s, now_s)
        self.state = reduce(self.state, event)
        self.spans.take(event, self.now_s)
        if (write := _WRITES.get(type(event))) is not None:
            write(self, event)

    def closed(self) -> Chronicle:
        """Return the chronicle."""
        self.spans.pause(self.now_s)
        if self.runs:
            self.runs[-1] = replace(self.runs[-1], ended_s=max(self.now_s, self.runs[-1].ended_s))
        return Chronicle(
            state=self.state,
            began=self.began,
            runs=tuple(self.runs),
            sessions=self.spans.tales(),
            edits=tuple(self.edits),
            issues=self.issues,
            reviews=tuple(self.reviews),
            rounds=tuple(self.rounds),
            setups=tuple(self.setups),
            incidents=tuple(self.incidents),
            outputs=self.outputs,
            plans=self.plans,
            ended_s=self.now_s,
        )

    def begin_run(self, event: ev.MissionStarted | ev.MissionResumed) -> None:
        """Begin a run."""
        run = Run(
            began_s=self.now_s,
            ended_s=self.now_s,
            ending=LIVING,
            text="",
            orch_version=event.orch_version,
            models=event.models,
            caps=event.caps,
            max_parallel=event.max_parallel,
            reply=event.reply if isinstance(event, ev.MissionResumed) else None,
        )
        self.runs.append(run)
        self.spans.go_on(self.state, self.now_s)

    def end_run(self, ending: str, text: str, at_s: float) -> None:
        """End the run, unless it is over."""
        if self.runs and self.runs[-1].ending == LIVING:
            self.runs[-1] = replace(self.runs[-1], ending=ending, text=text, ended_s=at_s)
            self.spans.pause(at_s)

    def incident(self, event: ev.Fact, kind: Kind, text: str, session: ev.SessionId | None = None) -> None:
        """Write down what went wrong or was put right."""
        whose = session or event.session
        self.incidents.append(Incident(kind, self.now_s, text, session=whose, item=event.item))


# ---- the runs


def _ended(book: _Book, _event: ev.MissionSealed | ev.MissionAnswered | ev.MissionPlanned) -> None:
    book.end_run(book.state.outcome or LIVING, "", book.now_s)


def _failed(book: _Book, event: ev.MissionFailed) -> None:
    book.end_run(event.outcome, event.text, book.now_s)


def _stopped(book: _Book, event: ev.MissionStopped) -> None:
    book.end_run(ev.Outcome.STOPPED, f"by {event.signal}", book.now_s)


# ---- files


def _changed(book: _Book, event: ev.FileChanged) -> None:
    item = book.state.items.get(event.item) if event.item is not None else None
    issues = tuple(issue.id for issue in issues_of(book.state, event.item)) if event.item else ()
    if not event.by_tool:
        reason = "a command changed it" if event.session or event.item else "found changed before the seal"
    else:
        reason = item.spec.title if item is not None else ""
    edit = Edit(
        path=event.path,
        before=event.before,
        after=event.after,
        at_s=book.now_s,
        session=event.session,
        item=event.item,
        by_tool=event.by_tool,
        reason=reason,
        issues=issues if event.by_tool else (),
    )
    _write_down(book, edit)


def _write_down(book: _Book, edit: Edit) -> None:
    """Keep an edit; what one hand does to a file in a row, for the same reason, is one."""
    number = book.last_edit.get(edit.path)
    last = book.edits[number] if number is not None else None
    if number is not None and last is not None and _hand(last) == _hand(edit):
        book.edits[number] = replace(last, after=edit.after, times=last.times + 1)
        return
    book.last_edit[edit.path] = len(book.edits)
    book.edits.append(edit)


def _hand(edit: Edit) -> tuple[object, ...]:
    return edit.session, edit.item, edit.by_tool, edit.reason, edit.issues


def _set_up(book: _Book, event: ev.SetupFinished) -> None:
    book.setups.append(SetUp(event, book.now_s))
    reason = f"made by the setup: {event.command}"
    known = {edit.path: edit.after for edit in book.edits}
    for path, sha in event.files.items():
        before = known.get(path)
        edit = Edit(path, before, sha, book.now_s, None, event.item, by_tool=False, reason=reason)
        _write_down(book, edit)


# ---- proof


def _proof(book: _Book, event: ev.EvidenceRecorded) -> None:
    book.last_proof[event.session] = event.evidence


def _result(book: _Book, event: ev.ToolFinished) -> None:
    """A Reviewer's command is told to its model right behind its evidence."""
    proof = book.last_proof.pop(event.session, None)
    if proof is not None:
        output = event.text.partition("\n")[2] if event.text.startswith("evidence ") else event.text
        book.outputs[proof] = relevant(output, OUTPUT_CHARS)


def _reviewed(book: _Book, event: ev.ReviewSubmitted) -> None:
    book.reviews.append(Review(event.session, event.item, event.verdict, event.evidence, book.now_s))


def _opened(book: _Book, event: ev.IssueOpened) -> None:
    """The issues of a review are recorded right behind it, that of an intrusion behind the change."""
    last = book.reviews[-1] if book.reviews else None
    is_review = event.source is ev.IssueSource.REVIEW and last is not None and last.at_s == book.now_s
    by = event.session or (last.session if last is not None and is_review else None)
    book.issues[event.issue] = IssueTale(event, book.now_s, session=by)
    if last is not None and is_review:
        book.reviews[-1] = replace(last, issues=(*last.issues, event.issue))
    changed = book.last_edit.get(event.path or "") if event.source is ev.IssueSource.INTRUSION else None
    if changed is not None:
        book.edits[changed] = replace(book.edits[changed], reason=event.text, issues=(event.issue,))


def _closed(book: _Book, event: ev.IssueClosed) -> None:
    """An approval closes its item's issues right behind it."""
    tale, owner = book.issues[event.issue], book.state.issues[event.issue].item
    last = book.reviews[-1] if book.reviews else None
    is_approval = last is not None and last.verdict is ev.Verdict.APPROVE and last.item == owner
    proof = last.evidence if last is not None and is_approval and last.at_s == book.now_s else ()
    book.issues[event.issue] = replace(tale, closed_s=book.now_s, reason=event.reason, evidence=proof)


def _round(book: _Book, event: ev.VerificationStarted) -> None:
    book.rounds.append(Round(event.phase, event.commands, book.now_s, book.now_s))


def _verified(book: _Book, event: ev.VerificationFinished) -> None:
    last = book.rounds[-1]
    book.rounds[-1] = replace(last, ended_s=book.now_s, results=(*last.results, event))


# ---- incidents


def _retry(book: _Book, event: ev.Retry) -> None:
    kind = Kind.GATE if event.error == RateLimited.__name__ else Kind.RETRY
    book.incident(event, kind, f"{event.error}, again in {event.delay_s:.1f} s: {event.text}")


def _told(book: _Book, event: ev.MessageSent) -> None:
    kinds = {ev.MessageReason.NUDGE: Kind.NUDGE, ev.MessageReason.RECOVERY: Kind.RECOVERY}
    if event.reason in kinds:
        book.incident(event, kinds[event.reason], event.text)


def _rejected(book: _Book, event: ev.ItemRejected) -> None:
    worker = book.state.items[event.item].worker
    book.incident(event, Kind.REJECTION, f"round {event.round}: {event.reason}", session=worker)


def _session_ended(book: _Book, event: ev.SessionEnded) -> None:
    if event.outcome is ev.SessionOutcome.FAILED:
        book.incident(event, Kind.FAILED_SESSION, event.reason)


def _compacted(book: _Book, event: ev.Compaction) -> None:
    sizes = f"{event.before_tokens:,} to {event.after_tokens:,} tokens"
    book.incident(event, Kind.COMPACTION, f"{event.stage}, {sizes} ({event.cause})")


def _budget(book: _Book, event: ev.Budget) -> None:
    how = "reached" if event.reached else "much of it used"
    book.incident(event, Kind.BUDGET, f"{event.limit.flag} {event.cap:g}: {how}, {event.spent:g} spent")


def _planned(book: _Book, _event: ev.PlanAccepted) -> None:
    book.plans += 1


def _noting(
    event_type: type[_E], kind: Kind, text: Callable[[_E], str]
) -> tuple[type[ev.Fact], Callable[[_Book, ev.Fact], None]]:
    """Pair an event with a function that notes it as an incident."""
    return event_type, lambda book, event: book.incident(event, kind, text(cast("_E", event)))


def _row(
    event_type: type[_E], write: Callable[[_Book, _E], None]
) -> tuple[type[ev.Fact], Callable[[_Book, ev.Fact], None]]:
    return event_type, cast("Callable[[_Book, ev.Fact], None]", write)


_WRITES: Mapping[type[ev.Fact], Callable[[_Book, ev.Fact], None]] = dict(
    (
        _row(ev.MissionStarted, _Book.begin_run),
        _row(ev.MissionResumed, _Book.begin_run),
        _row(ev.MissionStopped, _stopped),
        _row(ev.MissionSealed, _ended),
        _row(ev.MissionAnswered, _ended),
        _row(ev.MissionPlanned, _ended),
        _row(ev.MissionFailed, _failed),
        _row(ev.PlanAccepted, _planned),
        _row(ev.FileChanged, _changed),
        _row(ev.SetupFinished, _set_up),
        _row(ev.EvidenceRecorded, _proof),
        _row(ev.ToolFinished, _result),
        _row(ev.ReviewSubmitted, _reviewed),
        _row(ev.IssueOpened, _opened),
        _row(ev.IssueClosed, _closed),
        _row(ev.VerificationStarted, _round),
        _row(ev.VerificationFinished, _verified),
        _row(ev.Retry, _retry),
        _row(ev.MessageSent, _told),
        _row(ev.ItemRejected, _rejected),
        _row(ev.SessionEnded, _session_ended),
        _row(ev.Compaction, _compacted),
        _row(ev.Budget, _budget),
        _noting(ev.TurnFailed, Kind.FAILED_TURN, lambda e: f"{e.error}: {e.text}"),
        _noting(ev.Heal, Kind.HEAL, lambda e: e.text),
        _noting(ev.ModelSwitched, Kind.SWITCH, lambda e: f"{e.before} to {e.model}: {e.reason}"),
        _noting(ev.ItemFailed, Kind.FAILED_ITEM, lambda e: f"failed: {e.reason}"),
        _noting(ev.ItemBlocked, Kind.FAILED_ITEM, lambda e: f"blocked: {e.reason}"),
        _noting(ev.PlanRejected, Kind.REFUSAL, lambda e: f"plan refused: {'; '.join(e.reasons)}"),
        _noting(ev.ReviewRefused, Kind.REFUSAL, lambda e: f"verdict refused: {'; '.join(e.reasons)}"),
        _noting(
            ev.SealRefused, Kind.REFUSAL, lambda e: f"seal refused: {'; '.join(b.text for b in e.blockers)}"
        ),
        _noting(ev.PermissionDenied, Kind.DENIAL, lambda e: f"{e.tool}: {e.reason}"),
        _noting(ev.LeaseDenied, Kind.LEASE, lambda e: e.reason),
        _noting(ev.Stagnation, Kind.STAGNATION, lambda e: f"nothing moved: {e.stage}"),
    )
)
