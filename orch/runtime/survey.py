"""What is going on in a workspace, for `orch status`: a reader of journals and locks that writes nothing.

A mission runs if the workspace's lock is held for it; a journal without an end and without a holder is
`interrupted`. A journal that cannot be read is an error, never a default. Read is what stands behind the last
checkpoint alone, so what lies before it is not looked at again: that is for who goes on with the mission.
"""

import difflib
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from orch.errors import JournalDamaged, UsageError
from orch.mission import events as ev
from orch.mission.gist import follow
from orch.mission.reduce import run_duration_s
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
from orch.mission.status import Liveness, MissionEntry, Missions, SessionEntry, SessionStory
from orch.store import checkpoint, locks, records
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
        return records.began(folder.mission(name))
    except JournalDamaged:
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


class Follower:
    """Follows one mission's journal while it grows: what it has come to, and what is new. Writes nothing.

    `state` is what the mission has come to as far as it was read. It is a gist: conversations, texts of
    plans and outputs of commands are left out (`orch.mission.gist`). Everything here but `state` looks at
    the disk, so in an event loop it belongs in a thread; one caller at a time.

    Start with `catch_up` where only the state matters; then `advance` tells what has happened since.
    """

    def __init__(self, folder: Folder, mission: ev.MissionId) -> None:
        self.state = MissionState()
        self._folder = folder
        self._mission = mission
        self._files = folder.mission(mission)
        self._place = records.START
        self._seen: tuple[int, int, int] | None = None
        self._begin()

    def advance(self) -> tuple[ev.Event, ...]:
        """Return what has become durable since the last call, reduced into `state`; costs what is new.

        The first call tells what stands behind the last checkpoint, so hardly ever the whole story.

        Raises:
            JournalDamaged, JournalNewer: something that is new cannot be trusted or read.
            DiskRefused: it cannot be read.
            UsageError: there is no such journal (any more).
        """
        return tuple(self._new())

    def catch_up(self) -> MissionState:
        """Read all that there is, and return the state: `advance` without the events, which may be many."""
        for _ in self._new():
            pass
        return self.state

    @property
    def holder(self) -> locks.Holder | None:
        """Who runs the mission now, as the lock says; `None` if nobody does."""
        holder = locks.probe(self._folder.workspace)
        return holder if holder is not None and holder.mission == self._mission else None

    def entry(self) -> MissionEntry:
        """Return what `orch status --json` would say now; as of the last `advance`."""
        return entry(self._folder, self.state, self.holder)

    def _begin(self) -> None:
        found = checkpoint.load(self._files)
        if found is not None:
            self.state, self._place = found.state, found.place
        else:
            self.state, self._place = MissionState(), records.START

    def _new(self) -> Iterator[ev.Event]:
        seen = self._look()
        if seen is not None and seen == self._seen:
            return
        told = self.state.seq
        if not records.stands(self._files, self._place):
            self._begin()  # a disk that failed took back what was never acknowledged
        for events, place in records.patiently(self._files, self._place):
            for event in events:
                self.state = follow(self.state, event)
            self._place = place
            yield from (event for event in events if event.seq > told)
        self._seen = seen

    def _look(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the journal does."""
        try:
            found = self._files.journal.stat()
        except OSError:
            return None  # whoever reads it says why
        return found.st_ino, found.st_size, found.st_mtime_ns


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
    ids = mission_ids(folder) if every and mission is None else _chosen(folder, mission, running)
    return Missions(
        missions=tuple(
            entry(folder, Follower(folder, i).catch_up(), holder if i == running else None) for i in ids
        )
    )


def story(folder: Folder, mission: str | None, session: str) -> tuple[SessionStory, MissionState]:
    """Return what a session of the named, running or latest mission did, and what the mission came to.

    Raises:
        UsageError: No such mission or session, or a journal that cannot be read.
    """
    holder = locks.probe(folder.workspace)
    running = holder.mission if holder else None
    chosen = _chosen(folder, mission, running)
    if not chosen:
        raise UsageError(f"there is no mission in {folder.workspace}, so no session {session} either")
    state = Follower(folder, chosen[0]).catch_up()
    found = state.sessions.get(ev.SessionId(session))
    if found is None:
        raise UsageError(f"no session {session} in {chosen[0]}; {_others(state, session)}")
    files = folder.mission(chosen[0])
    told = SessionStory(
        mission=chosen[0],
        session=_session(found, alive=chosen[0] == running),
        title=found.title,
        model=found.model,
        usage=found.usage,
        journal=str(files.journal),
        events=tuple(records.of_session(files, session)),
    )
    return told, state


def _chosen(folder: Folder, mission: str | None, running: str | None) -> tuple[ev.MissionId, ...]:
    """Return the mission that is named, else the running one, else the latest, if there is any."""
    if mission is not None:
        return (known(folder, mission),)
    ids = mission_ids(folder)
    return tuple(i for i in ids if i == running) or ids[:1]


def _others(state: MissionState, session: str) -> str:
    """Say which session may have been meant, or which there are."""
    ids = list(state.sessions)
    if not ids:
        return "it has none yet"
    near = difflib.get_close_matches(session.upper(), ids, n=1)
    return f"the nearest is {near[0]}, of {ids[0]} to {ids[-1]}" if near else f"it has {ids[0]} to {ids[-1]}"


def entry(folder: Folder, state: MissionState, holder: locks.Holder | None) -> MissionEntry:
    """Return what `orch status --json` says of a mission; `holder` is who runs it now."""
    mission = state.mission
    items = listed_items(state)
    issues = open_issues(state)
    now = datetime.now(UTC).isoformat() if holder is not None and state.run_started else ""
    duration_s = run_duration_s(state, now)
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
        duration_s=round(duration_s, 3),
        run_s=round(duration_s - state.duration_s, 3) if now else None,
        todo=Count(done=sum(1 for i in items if i.status is ItemStatus.COMPLETED), total=len(items)),
        issues=IssueCount(open=len(issues), closed=len(state.issues) - len(issues)),
        blockers=state.end_blockers,
        sessions=tuple(_session(s, alive=holder is not None) for s in state.sessions.values()),
        usage=usage_report(state.spending),
        caps=state.caps,
        resume=resume,
        next=next_line(state, resume),
    )


def _status(state: MissionState, holder: locks.Holder | None) -> ev.Outcome | Liveness:
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
