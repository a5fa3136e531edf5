"""What is going on in a workspace, for `orch status`: a reader of journals and locks that writes nothing.

A mission runs if the workspace's lock is held for it; a journal without an end and without a holder is
`interrupted`. A journal that cannot be read is an error, never a default.
"""

import shlex
from pathlib import Path

from orch.errors import JournalDamaged, JournalNewer, UsageError
from orch.mission import events as ev
from orch.mission.reduce import replay, run_duration_s
from orch.mission.result import Count, IssueCount, next_line, usage_report
from orch.mission.state import (
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    SessionStatus,
    listed_items,
    open_issues,
)
from orch.mission.status import Liveness, MissionEntry, Missions, SessionEntry
from orch.store import journal, locks
from orch.store.folder import Folder


def mission_ids(folder: Folder) -> tuple[ev.MissionId, ...]:
    """Return every mission of the workspace, newest first: ids begin with their time.

    A run that was killed before its first event was whole never was a mission.
    """
    try:
        names = sorted((path.name for path in folder.missions.iterdir()), reverse=True)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(
            f"{folder.missions} cannot be read: {error.strerror}; move away what is there"
        ) from error
    return tuple(ev.MissionId(name) for name in names if _began(folder, name))


def _began(folder: Folder, name: str) -> bool:
    try:
        return next(iter(journal.read(folder.mission(name))), None) is not None
    except (JournalDamaged, JournalNewer):
        return True
    except UsageError:  # no journal, or no mission's name
        return False


def known(folder: Folder, mission: str) -> ev.MissionId:
    """Return the id of the mission that `mission` names. Raises `UsageError` for an unknown one."""
    ids = mission_ids(folder)
    if mission not in ids:
        newest = f"the latest here is {ids[0]}" if ids else "there is none here"
        raise UsageError(f"no mission {mission} in {folder.workspace}; {newest} (orch status --all)")
    return ev.MissionId(mission)


def resume_line(workspace: Path, mission: ev.MissionId) -> str:
    """Return a line that goes on with the mission when pasted, wherever the shell is."""
    return f"orch resume {mission} -C {shlex.quote(str(workspace))}"


def missions(folder: Folder, mission: str | None, *, every: bool) -> Missions:
    """Return the named mission, or every one, or the running one, else the latest.

    Raises:
        UsageError: No such mission, or a journal that cannot be read.
    """
    holder = locks.probe(folder.workspace)
    running = holder.mission if holder else None
    ids = mission_ids(folder)
    if mission is not None:
        ids = (known(folder, mission),)
    elif not every:
        ids = tuple(i for i in ids if i == running) or ids[:1]
    return Missions(missions=tuple(_entry(folder, i, holder if i == running else None) for i in ids))


def _entry(folder: Folder, mission: ev.MissionId, holder: locks.Holder | None) -> MissionEntry:
    state = replay(journal.read(folder.mission(mission)))
    items = listed_items(state)
    issues = open_issues(state)
    goes_on = state.status is not MissionStatus.CLOSED and holder is None
    resume = resume_line(folder.workspace, mission) if goes_on else None
    return MissionEntry(
        mission=mission,
        goal=state.goal,
        status=_status(state, holder),
        pid=holder.pid if holder else None,
        alive=holder is not None,
        started=state.started,
        updated=state.ts,
        duration_s=round(run_duration_s(state), 3),
        todo=Count(done=sum(1 for i in items if i.status is ItemStatus.COMPLETED), total=len(items)),
        issues=IssueCount(open=len(issues), closed=len(state.issues) - len(issues)),
        sessions=tuple(_session(s, alive=holder is not None) for s in state.sessions.values()),
        usage=usage_report(state.spending),
        resume=resume,
        next=next_line(state, resume),
    )


def _status(state: MissionState, holder: locks.Holder | None) -> str:
    if holder is not None:
        return Liveness.RUNNING
    if state.outcome is None:
        return Liveness.INTERRUPTED
    return state.outcome


def _session(session: Session, *, alive: bool) -> SessionEntry:
    """A session that owed a turn when its run ended is interrupted: nothing of it runs."""
    cut = not alive and session.status is SessionStatus.RUNNING
    return SessionEntry(
        session=session.id,
        role=session.role,
        item=session.item,
        state=Liveness.INTERRUPTED if cut else session.status,
        turns=session.turns,
        tokens=session.usage.input_tokens + session.usage.output_tokens,
        doing="" if cut else session.doing,
        since=session.started,
        last_activity=session.last_activity,
    )
