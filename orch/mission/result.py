"""What a run comes to: the `result` of the contract, and the exit code that a CI job can trust.

Both come from the final state alone: a transient error that was healed leaves no trace in them.
"""

from collections.abc import Mapping
from typing import Literal

from orch.mission import brief, seal
from orch.mission.caps import Amount, Cap, Caps, setting
from orch.mission.events import (
    Blocker,
    Budget,
    Estimate,
    ItemId,
    MissionId,
    Outcome,
    SessionId,
    Sha256,
    StopSignal,
    Usage,
)
from orch.mission.reduce import run_duration_s
from orch.mission.state import (
    ItemStatus,
    MissionState,
    Spending,
    listed_items,
    open_issues,
    turns_of,
)
from orch.mission.transcript import Frozen

EXIT_CODES: Mapping[Outcome, int] = {
    Outcome.SEALED: 0,
    Outcome.PLANNED: 0,
    Outcome.UNSEALED: 1,
    Outcome.BLOCKED: 3,
    Outcome.LIMIT: 4,
    Outcome.STAGNATED: 5,
    Outcome.ANSWERED: 6,
    Outcome.ERROR: 70,
    Outcome.DISK: 74,
    Outcome.PROVIDER: 75,
    Outcome.AUTH: 77,
    Outcome.TIMEOUT: 124,
    Outcome.STOPPED: 143,
}
"""The contract's table; `exit_code` knows its exceptions."""
USAGE = 2

RETRYABLE = frozenset(
    {
        Outcome.DISK,
        Outcome.PROVIDER,
        Outcome.STOPPED,
        Outcome.TIMEOUT,
        Outcome.LIMIT,
        Outcome.BLOCKED,
    }
)
"""Outcomes after which `orch resume` can help without a change to the goal or the code."""


class Count(Frozen):
    """How many of a total are done."""

    done: int
    total: int


class IssueCount(Frozen):
    """Issues by whether they are open."""

    open: int
    closed: int


class Verified(Frozen):
    """One command that orch itself ran at the seal."""

    command: str
    exit_code: int
    duration_s: float
    tree: Sha256


class Denial(Frozen):
    """A tool call that a role was not granted."""

    session: SessionId
    tool: str
    reason: str


class UsageReport(Usage):
    """Usage of the whole mission, and who spent it."""

    by_model: dict[str, Usage]
    by_role: dict[str, Usage]


class Dropped(Frozen):
    """An item that left the list without being completed: nothing of it is proven."""

    item: ItemId
    title: str
    reason: str


class Result(Frozen):
    """The contract's `result`; the last line of `stream-json`, and `result.json`.

    `caps` are those of the last run, `reached` the one that ended it, `estimate` is what a dry run's plan may
    cost. `patch` is the file that holds what was changed, relative to the workspace.
    """

    type: Literal["result"] = "result"
    subtype: Outcome
    is_error: bool
    exit_code: int
    retryable: bool
    mission: MissionId | None
    goal: str
    resume: str | None
    next: str | None
    todo: Count
    issues: IssueCount
    blockers: tuple[Blocker, ...]
    verification: tuple[Verified, ...]
    red_before: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    files_changed: tuple[str, ...]
    permission_denials: tuple[Denial, ...]
    usage: UsageReport
    num_sessions: int
    num_turns: int
    num_retries: int
    duration_s: float
    caps: Caps = Caps()
    reached: Cap | None = None
    estimate: Estimate | None = None
    patch: str | None = None
    sandbox: Literal["none"] = "none"
    result: str


def exit_code(state: MissionState, outcome: Outcome) -> int:
    """Return the process's exit code for a run that ended as `outcome`."""
    if outcome is Outcome.STOPPED and state.stopped_by is StopSignal.INTERRUPT:
        return 130
    if outcome is Outcome.ANSWERED and state.answer_only:
        return 0
    if outcome is Outcome.ERROR and state.is_usage:
        return USAGE
    return EXIT_CODES[outcome]


def summarise(state: MissionState, resume: str | None) -> Result:
    """Return the result of a mission whose run is over. `resume` is a line that works when pasted."""
    outcome = state.outcome or Outcome.ERROR
    closed = outcome in (Outcome.SEALED, Outcome.ANSWERED)
    issues = open_issues(state)
    items = listed_items(state)
    return Result(
        subtype=outcome,
        is_error=not closed and outcome is not Outcome.PLANNED,
        exit_code=exit_code(state, outcome),
        retryable=outcome in RETRYABLE,
        mission=state.mission or None,
        goal=state.goal,
        resume=None if closed else resume,
        next=None if closed else next_line(state, resume),
        todo=Count(done=sum(1 for i in items if i.status is ItemStatus.COMPLETED), total=len(items)),
        issues=IssueCount(open=len(issues), closed=len(state.issues) - len(issues)),
        blockers=_blockers(state, outcome),
        verification=tuple(
            Verified(command=v.command, exit_code=v.exit_code, duration_s=v.duration_s, tree=v.tree)
            for v in state.verified
        ),
        red_before=state.red_before,
        dropped=tuple(
            Dropped(item=i.spec.id, title=i.spec.title, reason=i.reason)
            for i in state.items.values()
            if i.status is ItemStatus.DROPPED
        ),
        files_changed=state.changed,
        permission_denials=tuple(
            Denial(session=d.session, tool=d.tool, reason=d.reason) for d in state.denials
        ),
        usage=usage_report(state.spending),
        num_sessions=len(state.sessions),
        num_turns=state.num_turns,
        num_retries=state.num_retries,
        duration_s=round(run_duration_s(state), 3),
        caps=state.caps,
        reached=_reached(state),
        estimate=state.estimate if outcome is Outcome.PLANNED else None,
        result=report(state),
    )


def _blockers(state: MissionState, outcome: Outcome) -> tuple[Blocker, ...]:
    if outcome in (Outcome.SEALED, Outcome.ANSWERED, Outcome.PLANNED):
        return ()
    return state.end_blockers or seal.blockers(state)


def _reached(state: MissionState) -> Cap | None:
    capped = state.outcome in (Outcome.LIMIT, Outcome.TIMEOUT)
    return state.exhausted.limit if capped and state.exhausted is not None else None


def next_line(state: MissionState, resume: str | None) -> str | None:
    """Return the line that helps a person on: `resume`, with what is wanting filled in or left to fill in.

    A cap is proposed as the double, or as what makes room for the call that did not fit; the `resume` that
    programs read stays without it, so that none raises a cap by itself.
    """
    if resume is None:
        return None
    fact = state.exhausted
    if state.outcome is Outcome.BLOCKED:
        return f"{resume} --reply TEXT"
    if state.outcome is Outcome.LIMIT and fact is not None:
        return f"{resume} {setting(fact.limit, _more(fact))}"
    limits = [turns_of(state, s.role) for s in state.sessions.values() if s.turns >= turns_of(state, s.role)]
    if state.outcome is Outcome.LIMIT and limits:
        return f"{resume} --max-turns {max(state.max_turns, 2 * max(limits))}"
    return resume


def _more(fact: Budget) -> Amount:
    """Return a cap that makes room: the double, unless that is not enough."""
    wanted = fact.spent + fact.needed
    if fact.cap * 2 > wanted:
        return fact.cap * 2
    return float(f"{wanted * 2:.2g}") if fact.limit is Cap.USD else int(wanted * 2)


def usage_report(spending: Spending) -> UsageReport:
    """Return the spending in the contract's shape."""
    return UsageReport(
        **spending.total.model_dump(), by_model=dict(spending.by_model), by_role=dict(spending.by_role)
    )


def report(state: MissionState) -> str:
    """Return the closing report: the Commander's summary or answer, the plan, else one from the journal."""
    if state.outcome in (Outcome.SEALED, Outcome.ANSWERED, Outcome.PLANNED) and state.ending.strip():
        return state.ending
    lines = [state.ending] if state.ending else []
    for item in listed_items(state):
        reason = f": {item.reason}" if item.reason and item.status is not ItemStatus.COMPLETED else ""
        lines.append(f"- {item.spec.id} ({item.spec.title}) {item.status}{reason}")
    lines += [f"- open issue {i.id}: {i.text.splitlines()[0] if i.text else ''}" for i in open_issues(state)]
    if state.changed:
        lines.append(f"Changed: {', '.join(state.changed)}")
    if red := brief.red_before_line(state):
        lines.append(red)
    return "\n".join(lines)


def nothing_started(goal: str, outcome: Outcome, code: int, text: str) -> Result:
    """Return the result of a command that could not start a mission."""
    nothing = Spending()
    return Result(
        subtype=outcome,
        is_error=True,
        exit_code=code,
        retryable=False,
        mission=None,
        goal=goal,
        resume=None,
        next=None,
        todo=Count(done=0, total=0),
        issues=IssueCount(open=0, closed=0),
        blockers=(),
        verification=(),
        red_before=(),
        dropped=(),
        files_changed=(),
        permission_denials=(),
        usage=usage_report(nothing),
        num_sessions=0,
        num_turns=0,
        num_retries=0,
        duration_s=0.0,
        result=text,
    )


def broken_off(mission: MissionId, resume: str, text: str) -> Result:
    """Return the result of a mission of which a bug in orch left nothing to tell but how to go on."""
    nothing = nothing_started("", Outcome.ERROR, EXIT_CODES[Outcome.ERROR], text)
    return nothing.model_copy(update={"mission": mission, "resume": resume, "next": resume})
