"""`bash` and the background jobs of a Reviewer: every finished command is evidence.

Evidence says what orch itself saw: the command, its exit status, and the hashes of the item's files when it
ended. It is void if they changed while it ran. A plan file that changed without a write of orch's tools is
recorded, and becomes an issue for its owner: the Reviewer never codes, also not by a formatter. A file that
a Worker or a setup is just changing is nobody's intrusion. One of no item that changed is named, to the
Reviewer and in the mission's result.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.review import next_issue
from orch.mission.state import ItemStatus, MissionState, owner_of, plan_files, tree_hash, tree_paths
from orch.tools.bystanders import FRESH_S, Look, changed
from orch.tools.desk import BackgroundJob, Desk, SessionOver, ToolResult
from orch.tools.processes import Finished

DEFAULT_TIMEOUT_S = 120.0
MAX_TIMEOUT_S = 3_600.0
MAX_JOBS = 20
"""Background jobs of one session that may run at once."""
NOTED_LIMIT_S = 10.0
"""From the end of a job until its evidence is on record: some hashes and one write to the journal."""

_ASKED = re.compile(
    r"/dev/tty|not a (?:tty|terminal)|no tty|terminal is (?:required|not)|not (?:from|to) a terminal|getpass"
    r"|EOF when reading|ioctl for device|could not read (?:username|password)"
    r"|(?:password|passphrase)[^\n]*:\s*\Z|\[y(?:es)?/n(?:o)?\]|\(y(?:es)?/n(?:o)?|empty commit message"
    r"|reading input|failed tty|[^\n][:?>] ?\Z",
    re.IGNORECASE,
)
"""What programs say that found nobody to ask."""
_ASKED_CHARS = 2_000
_NAMED_MAX = 5

Hashes = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Before:
    """What was there before a command: the hashes of its item's files, and the files of no item."""

    hashes: Hashes
    others: Look


async def _look(desk: Desk) -> _Before:
    hashes = await desk.place.hashes(desk.item.files)
    return _Before(hashes, await desk.place.bystanders.look(FRESH_S))


async def bash(desk: Desk, call_id: str, command: str, timeout_s: float | None) -> ToolResult:
    """Run a command to its end."""
    limit_s = _limit(timeout_s, DEFAULT_TIMEOUT_S)
    before = await _look(desk)
    finished = await desk.place.processes.run(
        command,
        cwd=desk.place.workspace,
        log=desk.place.logs / f"{desk.session_id}-{call_id}.log",
        timeout_s=limit_s,
    )
    proof, *intrusions = await _evidence(desk, command, finished, before)
    return ToolResult(text=_text(proof, intrusions, finished, limit_s), events=(proof, *intrusions))


def _limit(timeout_s: float | None, default_s: float) -> float:
    return min(max(timeout_s or default_s, 1.0), MAX_TIMEOUT_S)


async def _evidence(
    desk: Desk, command: str, finished: Finished, before: _Before
) -> tuple[ev.EvidenceRecorded, *tuple[ev.Event, ...]]:
    """Return what a finished command proves, and which files it should have left alone, as events."""
    known = desk.place.state()
    others = await desk.place.bystanders.look()
    after = await desk.place.hashes(tree_paths(known))
    state = desk.place.state()
    item = desk.item
    files = {path: after.get(path) for path in item.files}
    proof = ev.EvidenceRecorded(
        session=desk.session_id,
        item=item.spec.id,
        evidence=ev.EvidenceId(f"E{len(state.evidence) + 1}"),
        command=command,
        exit_code=finished.exit_code,
        duration_s=round(finished.duration_s, 3),
        tree=tree_hash(after),
        files=files,
        void=any(before.hashes.get(path) != sha for path, sha in files.items()),
        log=finished.log.name,
    )
    intruded = {path: sha for path, sha in after.items() if _is_intrusion(known, state, path, sha)}
    meddled = changed(before.others, others, [*plan_files(known), *plan_files(state)])
    found = [*_intrusions(desk, command, intruded), *_denials(desk, command, meddled)]
    return (proof, *found)


def _denials(desk: Desk, command: str, meddled: Sequence[str]) -> list[ev.Event]:
    """Return an event that names the files of no item that changed, unless a setup may have done it."""
    state = desk.place.state()
    if not meddled or any(_is_set_up(state, path) for path in plan_files(state)):
        return []
    more = f" and {len(meddled) - _NAMED_MAX} more" if len(meddled) > _NAMED_MAX else ""
    names = ", ".join(meddled[:_NAMED_MAX])
    reason = f"{names}{more} changed while `{command}` ran: no item's, and not for a Reviewer to change"
    return [ev.PermissionDenied(session=desk.session_id, item=desk.session.item, tool="bash", reason=reason)]


def _is_intrusion(known: MissionState, now: MissionState, path: str, sha: str | None) -> bool:
    """Whether a hash, taken between two states, is none that orch's own tools made.

    A file that these were changing meanwhile is not judged: the hash is of before, or of after.
    """
    was, intent = known.files.get(path), known.intents.get(path)
    if (was, intent) != (now.files.get(path), now.intents.get(path)):
        return False
    if sha == was or (intent is not None and sha == intent.after):
        return False
    return not (_is_set_up(known, path) or _is_set_up(now, path))


def _is_set_up(state: MissionState, path: str) -> bool:
    owner = owner_of(state, path)
    return owner is not None and owner.status is ItemStatus.SUBMITTED and not owner.setup_done


def _intrusions(desk: Desk, command: str, intruded: Hashes) -> list[ev.Event]:
    """Return events for plan files that are not what orch's tools made them."""
    state = desk.place.state()
    events: list[ev.Event] = []
    for number, (path, sha) in enumerate(intruded.items()):
        before = state.files.get(path)
        owner = owner_of(state, path)
        events += [
            ev.FileChanged(session=desk.session_id, path=path, before=before, after=sha, by_tool=False),
            ev.IssueOpened(
                issue=next_issue(state, number),
                session=desk.session_id,
                item=owner.spec.id if owner else None,
                source=ev.IssueSource.INTRUSION,
                path=path,
                text=f"{path} changed while `{command}` ran, not by its Worker.",
            ),
        ]
    return events


def _text(proof: ev.EvidenceRecorded, intrusions: list[ev.Event], finished: Finished, limit_s: float) -> str:
    lines = [_headline(proof.evidence, finished)]
    if finished.timed_out:
        lines.append(f"ended by orch: it ran longer than {limit_s:.0f} s")
    if hint := _hint(finished):
        lines.append(hint)
    if proof.void:
        lines.append("void as evidence: the command changed the item's own files")
    lines += [f"changed while it ran: {e.path}" for e in intrusions if isinstance(e, ev.FileChanged)]
    lines += [f"not yours to change: {e.reason}" for e in intrusions if isinstance(e, ev.PermissionDenied)]
    return "\n".join([*lines, finished.output.rstrip() or "(no output)"])


def _hint(finished: Finished) -> str:
    """Say what to do instead where a command seems to have wanted somebody to answer it; else nothing."""
    failed = finished.exit_code != 0 or finished.timed_out
    if failed and _ASKED.search(finished.output[-_ASKED_CHARS:]):
        return (
            "hint: it seems to have asked for input; nobody answers here and there is no terminal: give it "
            "what it wants as arguments, by a pipe, or use its flag for that (-y, --yes, --no-input, -m)"
        )
    return "hint: what has to run for longer belongs into run_background" if finished.timed_out else ""


def _headline(evidence: ev.EvidenceId, finished: Finished) -> str:
    return f"evidence {evidence} · exit {finished.exit_code} · {finished.duration_s:.1f}s"


async def run_background(desk: Desk, command: str, label: str | None, timeout_s: float | None) -> ToolResult:
    """Start a command and return its job id at once."""
    if sum(1 for background in desk.jobs.values() if background.job.running) >= MAX_JOBS:
        raise ToolError(f"{MAX_JOBS} jobs are running already: kill_background one first")
    job_id = f"{desk.session_id}-job{len(desk.jobs) + 1}"
    before = await _look(desk)
    job = await desk.place.processes.start(
        command,
        cwd=desk.place.workspace,
        log=desk.place.logs / f"{job_id}.log",
        timeout_s=_limit(timeout_s, MAX_TIMEOUT_S),
    )
    background = desk.jobs[job_id] = BackgroundJob(job)
    desk.place.spawn(_note_end(desk, background, before), f"job {job_id}")
    return ToolResult(text=f"job {job_id} started{f' ({label})' if label else ''}: {command}")


async def _note_end(desk: Desk, background: BackgroundJob, before: "_Before") -> None:
    """Put a job's end on record, unless it could not be ended, or outlived its session."""
    try:
        with suppress(ToolError, SessionOver):
            finished = await background.job.wait()
            events = await _evidence(desk, background.job.command, finished, before)
            await desk.record(*events)
            background.evidence = events[0].evidence
    finally:
        background.noted.set()


async def check_background(desk: Desk, job_id: str, tail: int) -> ToolResult:
    """Say how a job is, with the end of its output."""
    background = _job(desk, job_id)
    state = await _report(job_id, background)
    output = await background.job.tail(tail)
    return ToolResult(text=f"{state}\n{output.rstrip() or '(no output yet)'}")


async def list_background(desk: Desk) -> ToolResult:
    """Name the session's jobs."""
    reports = [await _report(job_id, background) for job_id, background in desk.jobs.items()]
    return ToolResult(text="\n".join(reports) or "no jobs")


async def kill_background(desk: Desk, job_id: str) -> ToolResult:
    """End a job and all its descendants."""
    background = _job(desk, job_id)
    await background.job.kill()
    return ToolResult(text=await _report(job_id, background))


def _job(desk: Desk, job_id: str) -> BackgroundJob:
    background = desk.jobs.get(job_id)
    if background is None:
        raise ToolError(
            f"no job {job_id} in this session: list_background names them; when orch itself stops, they end"
        )
    return background


async def _report(job_id: str, background: BackgroundJob) -> str:
    """Say how a job is; first of all its evidence, once it has ended."""
    job = background.job
    if job.running:
        return f"job {job_id} running: {job.command}"
    with suppress(TimeoutError):
        async with asyncio.timeout(NOTED_LIMIT_S):
            await background.noted.wait()
    if job.finished is None or background.evidence is None:
        return f"job {job_id} is over, and its outcome is not known: {job.command}"
    return f"{_headline(background.evidence, job.finished)}\njob {job_id} ended: {job.command}"
