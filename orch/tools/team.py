"""The tools with which agents work together: plan, delegate, review, ask, seal.

None of them waits for anybody. Each looks at the state, and returns what it changes as events; what follows
from them (who starts, who is woken) is decided by `orch.mission.decide` alone.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orch.errors import ToolError
from orch.mission import brief, plan, review, seal
from orch.mission import events as ev
from orch.mission.decide import start
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    Session,
    SessionStatus,
    issues_of,
    listed_items,
    owner_of,
)
from orch.mission.transcript import AssistantMessage
from orch.tools import paths
from orch.tools.desk import Desk, ToolResult

CONTEXT_LIMIT_CHARS = 24_000


async def write_context(desk: Desk, content: str) -> ToolResult:
    """Replace what the Commander knows of the project."""
    if len(content) > CONTEXT_LIMIT_CHARS:
        raise ToolError(
            f"context of {len(content)} characters: at most {CONTEXT_LIMIT_CHARS}, it goes before every agent"
        )
    sha256 = await asyncio.to_thread(desk.place.write_context, content)
    event = ev.ContextUpdated(session=desk.session_id, sha256=sha256, size_bytes=len(content.encode()))
    return ToolResult(text="context.md is written; every agent reads it from now on", events=(event,))


async def submit_plan(desk: Desk, items: Sequence[ev.ItemSpec], verify: Sequence[str]) -> ToolResult:
    """Take over a plan, or say everything that is wrong with it."""
    reasons: list[str] = []
    specs = []
    for item in items:
        named, refused = await asyncio.to_thread(_locate_all, desk.place.workspace, item.files)
        reasons += [f"item {item.id}: {reason}" for reason in refused]
        specs.append(item.model_copy(update={"files": named}))
    hashes = await desk.place.hashes({path for item in specs for path in item.files})
    state = desk.place.state()
    reasons += plan.refusals(state, specs, verify)
    if reasons:
        text = "The plan is refused; mend all of this and submit it again:\n" + "\n".join(
            f"- {reason}" for reason in reasons
        )
        refusal = ev.PlanRejected(session=desk.session_id, reasons=tuple(reasons))
        return ToolResult(text=text, ok=False, events=(refusal,))
    accepted = ev.PlanAccepted(
        session=desk.session_id, items=tuple(specs), verify=tuple(verify), files=dict(hashes)
    )
    end = ev.SessionEnded(session=desk.session_id, outcome=ev.SessionOutcome.DONE)
    events = (*plan.replaced(state, specs), accepted, end)
    text = f"The plan is accepted: {len(specs)} items. orch starts their Workers now."
    return ToolResult(text=text, events=events, ends_turn=True)


def _locate_all(workspace: Path, named: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return canonical paths, and why some are refused; these stay as they were named."""
    located: list[str] = []
    refused: list[str] = []
    for path in named:
        try:
            located.append(paths.grantable(workspace, path))
        except ToolError as error:
            located.append(path)
            refused.append(str(error))
    return tuple(located), refused


async def delegate_task(desk: Desk, agent: ev.Role, spec: ev.ItemSpec) -> ToolResult:
    """Put one more item on the list, or give the Planner a goal. Returns its id at once."""
    if agent is ev.Role.PLANNER:
        return _delegate_plan(desk, spec)
    if agent is not ev.Role.WORKER:
        raise ToolError(
            "delegate to agent 'worker' or 'planner': orch gives every item a Reviewer when it is submitted"
        )
    named, reasons = await asyncio.to_thread(_locate_all, desk.place.workspace, spec.files)
    hashes = await desk.place.hashes(named)
    state = desk.place.state()
    spec = spec.model_copy(update={"id": _next_task(state), "files": named})
    if spec.check is None and not state.settings_verify:
        reasons.append("check is missing: name the command that fails if the task is not done right")
    reasons += _task_refusals(state, spec)
    if reasons:
        raise ToolError("not delegated:\n" + "\n".join(f"- {reason}" for reason in reasons))
    added = ev.ItemAdded(
        session=desk.session_id,
        item=spec.id,
        spec=spec,
        origin=ev.ItemOrigin.DELEGATED,
        files=dict(hashes),
    )
    return ToolResult(text=_delegated(spec.id), events=(added,))


def _delegated(task_id: str) -> str:
    return f"task {task_id} is on the list. Its result comes by itself: stop when all is delegated."


def _delegate_plan(desk: Desk, spec: ev.ItemSpec) -> ToolResult:
    state = desk.place.state()
    busy = [
        s.id
        for s in state.sessions.values()
        if s.role is ev.Role.PLANNER and s.status is not SessionStatus.ENDED
    ]
    if busy:
        raise ToolError(f"the planner is at work already (task {busy[0]}); its plan is dispatched by itself")
    text = state.goal
    if spec.instructions.strip() and spec.instructions.strip() != state.goal.strip():
        text = f"{state.goal}\n\nWhat the Commander adds:\n{spec.instructions}"
    events = start(state, ev.Role.PLANNER, spec.title, text)
    session = events[0].session
    return ToolResult(text=_delegated(str(session)), events=tuple(events))


def _next_task(state: MissionState) -> ev.ItemId:
    number = 1
    while f"T{number}" in state.items:
        number += 1
    return ev.ItemId(f"T{number}")


def _task_refusals(state: MissionState, spec: ev.ItemSpec) -> list[str]:
    """Check a delegated item as a plan is; it may share a file with another, and then waits for it."""
    unknown = [d for d in spec.depends_on if d not in state.items]
    alone = spec.model_copy(update={"depends_on": ()})
    reasons = [f"depends_on names {d}, which is no task" for d in unknown]
    return [*reasons, *plan.refusals(state, [alone], ["needed at the seal"])]


def get_task_result(desk: Desk, task_id: str) -> ToolResult:
    """Say how a task is, and what came of it."""
    state = desk.place.state()
    item = state.items.get(ev.ItemId(task_id))
    if item is not None:
        return ToolResult(text=_item_report(state, item))
    session = state.sessions.get(ev.SessionId(task_id))
    if session is None or session.role is not ev.Role.PLANNER:
        raise ToolError(f"no task {task_id}; list_tasks names them")
    return ToolResult(
        text=f"{task_id} ({session.title}) {session.status} {session.reason}\n{_words(session)}"
    )


def _item_report(state: MissionState, item: Item) -> str:
    lines = [f"{item.spec.id} ({item.spec.title}) {item.status}"]
    lines += [item.reason] if item.reason else []
    lines += [f"files: {', '.join(item.files)}"]
    if item.evidence:
        proofs = (state.evidence[e] for e in item.evidence)
        lines += [f"evidence {p.evidence}: `{p.command}` exited {p.exit_code}" for p in proofs]
    lines += [f"open issue {issue.id}: {issue.text}" for issue in issues_of(state, item.spec.id)]
    worker = state.sessions.get(item.worker) if item.worker else None
    return "\n".join([*lines, _words(worker) if worker else ""]).rstrip()


def _words(session: Session) -> str:
    """Return what the session said last."""
    said = (m.text for m in reversed(session.messages) if isinstance(m, AssistantMessage) and m.text)
    return next(said, "")[: brief.OUTPUT_EXCERPT_CHARS]


def list_tasks(desk: Desk, status: str | None) -> ToolResult:
    """List every task with its status."""
    state = desk.place.state()
    lines = [
        f"{item.spec.id} {item.status}: {item.spec.title} ({', '.join(item.files)})"
        for item in state.items.values()
        if status is None or item.status == status
    ]
    lines += [
        f"{s.id} planner {s.status}: {s.title}"
        for s in state.sessions.values()
        if s.role is ev.Role.PLANNER and status in (None, s.status)
    ]
    return ToolResult(text="\n".join(lines) or "no tasks")


def cancel_task(desk: Desk, task_id: str) -> ToolResult:
    """Take a task off the list, queued or running."""
    state = desk.place.state()
    item = state.items.get(ev.ItemId(task_id))
    if item is not None:
        if item.status in (ItemStatus.COMPLETED, ItemStatus.DROPPED):
            raise ToolError(f"task {task_id} is {item.status}: it cannot be cancelled")
        return ToolResult(
            text=f"task {task_id} is cancelled",
            events=tuple(plan.leave(state, item, "cancelled by the Commander")),
        )
    session = state.sessions.get(ev.SessionId(task_id))
    if session is None or session.role is not ev.Role.PLANNER:
        raise ToolError(f"no task {task_id}; list_tasks names them")
    if session.status is SessionStatus.ENDED:
        raise ToolError(f"task {task_id} is over")
    end = ev.SessionEnded(
        session=session.id, outcome=ev.SessionOutcome.CANCELLED, reason="cancelled by the Commander"
    )
    return ToolResult(text=f"task {task_id} is cancelled", events=(end,))


async def request_change(desk: Desk, path: str, description: str) -> ToolResult:
    """Ask the owner of a file for a change."""
    where = await asyncio.to_thread(paths.locate, desk.place.workspace, path)
    state = desk.place.state()
    if where in desk.item.files:
        raise ToolError(f"{where} is a file of your own item: change it yourself")
    if not description.strip():
        raise ToolError("say what should change, and why")
    owner = owner_of(state, where)
    issue = ev.IssueOpened(
        issue=review.next_issue(state),
        session=desk.session_id,
        item=owner.spec.id if owner else None,
        source=ev.IssueSource.REQUEST,
        path=where,
        text=f"{description} (asked for by item {desk.item.spec.id})",
    )
    whose = f"goes to item {owner.spec.id}" if owner else "goes to the Commander: no item owns that file"
    return ToolResult(
        text=f"issue {issue.issue} {whose}. Do not wait for it: finish your own files against the change.",
        events=(issue,),
    )


async def submit_review(
    desk: Desk, verdict: ev.Verdict, cited: Sequence[str], findings: Sequence[review.Finding]
) -> ToolResult:
    """Take a verdict over, or say everything that keeps it from counting."""
    located = [
        review.Finding(await _finding_path(desk, finding.path), finding.description) for finding in findings
    ]
    hashes = await desk.place.hashes(desk.item.files)
    state = desk.place.state()
    session = desk.session
    evidence = tuple(ev.EvidenceId(e.strip()) for e in cited)
    reasons = review.refusals(state, session, verdict, evidence, tuple(located), hashes)
    if reasons:
        text = "The verdict does not count:\n" + "\n".join(f"- {reason}" for reason in reasons)
        refusal = ev.ReviewRefused(session=session.id, item=session.item, reasons=reasons)
        return ToolResult(text=text, ok=False, events=(refusal,))
    events = review.accepted(state, session, verdict, evidence, tuple(located))
    return ToolResult(text=f"verdict {verdict} is accepted", events=events, ends_turn=True)


async def _finding_path(desk: Desk, path: str | None) -> str | None:
    """Return the canonical path; a path that is none (`app.py:12`) leaves the issue with the item."""
    if not path:
        return None
    try:
        return await asyncio.to_thread(paths.locate, desk.place.workspace, path)
    except ToolError:
        return None


def seal_mission(desk: Desk, summary: str) -> ToolResult:
    """Ask for the seal: refused with the exact blockers, or orch verifies."""
    state = desk.place.state()
    blockers = seal.blockers(state)
    if blockers:
        refusal = ev.SealRefused(session=desk.session_id, blockers=blockers)
        text = "Not sealed; what stands between:\n" + "\n".join(f"- {b.text}" for b in blockers)
        return ToolResult(text=text, ok=False, events=(refusal,))
    asked = ev.SealRequested(session=desk.session_id, summary=summary)
    text = "orch verifies the final tree now; you are woken if something is red."
    return ToolResult(text=text, events=(asked,), ends_turn=True)


def answer(desk: Desk, text: str) -> ToolResult:
    """End the mission with an answer; only while nothing was started."""
    if listed_items(desk.place.state()):
        raise ToolError("there are items already: finish them and call seal_mission, or cancel them first")
    if not text.strip():
        raise ToolError("the answer is empty")
    return ToolResult(
        text="answered", events=(ev.MissionAnswered(session=desk.session_id, text=text),), ends_turn=True
    )


def block_mission(desk: Desk, question: str) -> ToolResult:
    """End the run with a question that only a person can answer."""
    if not question.strip():
        raise ToolError("the question is empty")
    blocker = ev.Blocker(kind=ev.BlockerKind.DECISION, text=question)
    end = ev.MissionFailed(
        session=desk.session_id, outcome=ev.Outcome.BLOCKED, text=question, blockers=(blocker,)
    )
    return ToolResult(text="the mission waits for a person", events=(end,), ends_turn=True)
