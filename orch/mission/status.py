"""What `orch status --json` prints: the shapes, for the one who fills them and those who show them."""

from enum import StrEnum

from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.result import Count, IssueCount, UsageReport
from orch.mission.state import SessionStatus
from orch.mission.transcript import Frozen


class Liveness(StrEnum):
    """What a mission without an outcome is."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"


class SessionEntry(Frozen):
    """One session, as `orch status --json` shows it."""

    session: ev.SessionId
    role: ev.Role
    item: ev.ItemId | None
    state: SessionStatus | Liveness
    turns: int
    tokens: int
    doing: str
    since: ev.Time
    last_activity: ev.Time


class MissionEntry(Frozen):
    """One mission, as `orch status --json` shows it.

    `duration_s` is that of all runs, `run_s` of the one that is on; `blockers` are why a run that ended did.
    """

    mission: ev.MissionId
    goal: str
    status: ev.Outcome | Liveness
    pid: int | None
    alive: bool
    started: ev.Time
    updated: ev.Time
    duration_s: float
    run_s: float | None = None
    todo: Count
    issues: IssueCount
    blockers: tuple[ev.Blocker, ...] = ()
    sessions: tuple[SessionEntry, ...]
    usage: UsageReport
    caps: Caps = Caps()
    resume: str | None
    next: str | None


class SessionStory(Frozen):
    """One session with all its events, as `orch status --session` shows it; they stand in `journal`."""

    mission: ev.MissionId
    session: SessionEntry
    title: str
    model: str
    usage: ev.Usage
    journal: str
    events: tuple[ev.Event, ...]


class Missions(Frozen):
    """All that was asked for, newest first."""

    missions: tuple[MissionEntry, ...]
