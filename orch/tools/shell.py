"""`bash` and the background jobs of a Reviewer: every finished command is evidence.

Evidence says what orch itself saw: the command, its exit status, and the hashes of the item's files when it
ended. It is void if they changed while it ran. A plan file that changed without a write of orch's tools is
recorded, and becomes an issue for its owner: the Reviewer never codes, also not by a formatter.
"""

from collections.abc import Mapping

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.review import next_issue
from orch.mission.state import owner_of, tree_hash, tree_paths
from orch.tools.desk import Desk, ToolResult
from orch.tools.processes import Finished

DEFAULT_TIMEOUT_S = 120.0
MAX_TIMEOUT_S = 3_600.0
MAX_JOBS = 20
"""Background jobs of one session that may run at once."""


async def bash(desk: Desk, call_id: str, command: str, timeout_s: float | None) -> ToolResult:
    """Run a command to its end."""
    before = await desk.place.hashes(desk.item.files)
    finished = await desk.place.processes.run(
        command,
        cwd=desk.place.workspace,
        log=desk.place.logs / f"{desk.session_id}-{call_id}.log",
        timeout_s=_limit(timeout_s),
    )
    after = await desk.place.hashes(tree_paths(desk.place.state()))
    events = evidence(desk, command, finished, before, after)
    return ToolResult(text=_text(events, finished, _limit(timeout_s)), events=events)


def _limit(timeout_s: float | None) -> float:
    return min(max(timeout_s or DEFAULT_TIMEOUT_S, 1.0), MAX_TIMEOUT_S)


def evidence(
    desk: Desk,
    command: str,
    finished: Finished,
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
) -> tuple[ev.Event, ...]:
    """Return what a finished command proves, and which files it changed, as events; the evidence first."""
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
        void=any(before.get(path) != sha for path, sha in files.items()),
        log=finished.log.name,
    )
    return (proof, *_intrusions(desk, command, after))


def _intrusions(desk: Desk, command: str, after: Mapping[str, str | None]) -> list[ev.Event]:
    """Return events for plan files that are not what orch's tools made them."""
    state = desk.place.state()
    events: list[ev.Event] = []
    for path, sha in after.items():
        known = state.files.get(path)
        if sha == known or (path in state.intents and sha == state.intents[path]):
            continue
        owner = owner_of(state, path)
        events += [
            ev.FileChanged(session=desk.session_id, path=path, before=known, after=sha, by_tool=False),
            ev.IssueOpened(
                issue=next_issue(state, len(events) // 2),
                session=desk.session_id,
                item=owner.spec.id if owner else None,
                source=ev.IssueSource.INTRUSION,
                path=path,
                text=f"{path} changed while `{command}` ran, not by its Worker.",
            ),
        ]
    return events


def _text(events: tuple[ev.Event, ...], finished: Finished, limit_s: float) -> str:
    proof = events[0]
    assert isinstance(proof, ev.EvidenceRecorded)  # noqa: S101 - evidence() puts it first
    lines = [f"evidence {proof.evidence} · exit {finished.exit_code} · {finished.duration_s:.1f}s"]
    if finished.timed_out:
        lines.append(f"ended by orch: it ran longer than {limit_s:.0f} s")
    if proof.void:
        lines.append("void as evidence: the command changed the item's own files")
    lines += [f"changed by this command: {e.path}" for e in events if isinstance(e, ev.FileChanged)]
    return "\n".join([*lines, finished.output.rstrip() or "(no output)"])


async def run_background(desk: Desk, command: str, label: str | None, timeout_s: float | None) -> ToolResult:
    """Start a command and return its job id at once."""
    if sum(1 for job in desk.jobs.values() if job.finished is None) >= MAX_JOBS:
        raise ToolError(f"{MAX_JOBS} jobs are running already: kill_background one first")
    job_id = f"{desk.session_id}-job{len(desk.jobs) + 1}"
    before = await desk.place.hashes(desk.item.files)
    job = await desk.place.processes.start(
        command,
        cwd=desk.place.workspace,
        log=desk.place.logs / f"{job_id}.log",
        timeout_s=min(timeout_s or MAX_TIMEOUT_S, MAX_TIMEOUT_S),
    )
    desk.jobs[job_id] = job

    async def watch() -> None:
        finished = await job.wait()
        after = await desk.place.hashes(tree_paths(desk.place.state()))
        if desk.session.outcome is None:
            await desk.record(*evidence(desk, command, finished, before, after))

    desk.place.spawn(watch(), f"job {job_id}")
    return ToolResult(text=f"job {job_id} started{f' ({label})' if label else ''}: {command}")


async def check_background(desk: Desk, job_id: str, tail: int) -> ToolResult:
    """Say how a job is, with the end of its output."""
    job = desk.jobs.get(job_id)
    if job is None:
        raise ToolError(f"no job {job_id} in this session; list_background names them")
    output = await job.tail(tail)
    return ToolResult(text=f"{_job_line(desk, job_id)}\n{output or '(no output yet)'}")


def list_background(desk: Desk) -> ToolResult:
    """Name the session's jobs."""
    return ToolResult(text="\n".join(_job_line(desk, job_id) for job_id in desk.jobs) or "no jobs")


async def kill_background(desk: Desk, job_id: str) -> ToolResult:
    """End a job and all its descendants."""
    job = desk.jobs.get(job_id)
    if job is None:
        raise ToolError(f"no job {job_id} in this session; list_background names them")
    await job.kill()
    return ToolResult(text=_job_line(desk, job_id))


def _job_line(desk: Desk, job_id: str) -> str:
    job = desk.jobs[job_id]
    if job.finished is None:
        return f"{job_id} running: {job.command}"
    proof = next(
        (
            e.evidence
            for e in desk.place.state().evidence.values()
            if e.log == job.finished.log.name and e.session == desk.session_id
        ),
        None,
    )
    head = f"evidence {proof} · " if proof else ""
    return f"{head}exit {job.finished.exit_code} · {job.finished.duration_s:.1f}s · {job_id}: {job.command}"
