"""What `orch status --json` prints: the shapes, for the one who fills them and those who show them."""

from enum import StrEnum

from orch.mission import events as ev
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
    since: str
    last_activity: str


class MissionEntry(Frozen):
    """One mission, as `orch status --json` shows it."""

    mission: ev.MissionId
    goal: str
    status: str
    pid: int | None
    alive: bool
    started: str
    updated: str
    duration_s: float
    todo: Count
    issues: IssueCount
    sessions: tuple[SessionEntry, ...]
    usage: UsageReport
    resume: str | None
    next: str | None


class Missions(Frozen):
    """All that was asked for, newest first."""

    missions: tuple[MissionEntry, ...]
