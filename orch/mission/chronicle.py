"""What happened in a mission, in the order in which a reader wants it told. Pure, from the events alone.

Theory of operation. The state (`orch.mission.state`) says how things are; the chronicle keeps how they came
to be: when each session worked, waited and was set right, who changed a file and for what reason, how issues
came and went, what orch ran itself and when. `chronicle` reads the events once, in order, and carries the
state along, since only it knows what an event meant at that moment. Times are seconds since the mission
began, by the wall clock of the events; a run that was killed ends with its last event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.events import VerificationFinished, VerificationPhase
from orch.mission.state import MissionState

LIVING = ""
"""How a run ended that has not ended, as far as its events know."""
KILLED = "killed"
"""How a run ended that never said so, and was followed by another."""


class Doing(StrEnum):
    """What a session does for a stretch of time."""

    TURN = "turn"  # its model answers
    TOOL = "tool"  # one or more of its tools run
    IDLE = "idle"  # it waits for word from orch: a review, a result, a decision
    GATE = "gate"  # the provider asked everybody to wait
    BACKOFF = "backoff"  # a call failed and is made again later


class Kind(StrEnum):
    """What went wrong, was put right, or stood in the way."""

    RETRY = "retry"  # a call to a model failed and was made again
    GATE = "rate limit"  # the provider asked to wait
    FAILED_TURN = "failed turn"  # no answer could be had
    HEAL = "heal"  # something broken was put right
    RECOVERY = "recovery"  # a session was told what went wrong and what to do
    NUDGE = "nudge"  # a session was reminded of what it owes
    COMPACTION = "compaction"  # a history was made to fit its window
    SWITCH = "model switch"  # another model went on
    REJECTION = "rejection"  # a review sent an item back
    FAILED_ITEM = "failed item"  # an item was given up, or cannot start
    FAILED_SESSION = "failed session"  # a session ended without what it owed
    REFUSAL = "refusal"  # a plan, a verdict or a seal that orch did not accept
    DENIAL = "denial"  # a call that the role is not granted
    LEASE = "lease"  # another process held a file
    BUDGET = "budget"  # much of a cap was used, or all of it
    STAGNATION = "stagnation"  # nothing moved


@dataclass(frozen=True, slots=True)
class Stretch:
    """Time that a session spent in one way."""

    doing: Doing
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that went wrong, was put right, or stood in the way."""

    kind: Kind
    at_s: float
    text: str
    session: ev.SessionId | None = None
    item: ev.ItemId | None = None


@dataclass(frozen=True, slots=True)
class SessionTale:
    """One session's time. `models` are those that it asked, in order."""

    id: ev.SessionId
    role: ev.Role
    began_s: float
    ended_s: float
    is_over: bool
    stretches: tuple[Stretch, ...]
    models: tuple[str, ...]
    tools: int
    failed_tools: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of orch: a mission that was resumed twice had three. `ending` is an outcome's name."""

    began_s: float
    ended_s: float
    ending: str
    text: str
    orch_version: str
    models: Mapping[ev.Role, str]
    caps: Caps
    max_parallel: int
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes that one hand made to a file in a row. `reason` is why; `hand` how.

    `session` is `None` where nobody's tool made it: a person did, or a command of orch's own.
    """

    path: str
    before: str | None
    after: str | None
    at_s: float
    session: ev.SessionId | None
    item: ev.ItemId | None
    by_tool: bool
    reason: str
    issues: tuple[ev.IssueId, ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True)
class IssueTale:
    """How an issue came and went; `closed_s` is `None` while it is open.

    `session` is who opened it, `evidence` what the approval rested on that closed it.
    """

    opened: ev.IssueOpened
    opened_s: float
    closed_s: float | None = None
    reason: str = ""
    session: ev.SessionId | None = None
    evidence: tuple[ev.EvidenceId, ...] = ()


@dataclass(frozen=True, slots=True)
class Review:
    """A verdict that orch accepted."""

    session: ev.SessionId
    item: ev.ItemId
    verdict: ev.Verdict
    evidence: tuple[ev.EvidenceId, ...]
    at_s: float
    issues: tuple[ev.IssueId, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """One time that orch ran the plan's commands itself."""

    phase: VerificationPhase
    commands: tuple[str, ...]
    began_s: float
    ended_s: float
    results: tuple[VerificationFinished, ...] = ()


@dataclass(frozen=True, slots=True)
class SetUp:
    """One run of an item's setup command."""

    done: ev.SetupFinished
    at_s: float


@dataclass(frozen=True)
class Chronicle:
    """A mission, told. `outputs` is what a Reviewer's command printed, as its model saw it, cut."""

    state: MissionState
    began: str = ""
    runs: Sequence[Run] = ()
    sessions: Mapping[ev.SessionId, SessionTale] = field(default_factory=dict)
    edits: Sequence[Edit] = ()
    issues: Mapping[ev.IssueId, IssueTale] = field(default_factory=dict)
    reviews: Sequence[Review] = ()
    rounds: Sequence[Round] = ()
    setups: Sequence[SetUp] = ()
    incidents: Sequence[Incident] = ()
    outputs: Mapping[ev.EvidenceId, str] = field(default_factory=dict)
    plans: int = 0
    ended_s: float = 0.0

    @property
    def orch_versions(self) -> tuple[str, ...]:
        """The versions of orch that ran it, in order."""
        return tuple(dict.fromkeys(run.orch_version for run in self.runs))

    @property
    def is_over(self) -> bool:
        """Whether its last run said how it ended."""
        return bool(self.runs) and self.runs[-1].ending != LIVING


def seconds_between(began: str, ts: str) -> float:
    """Return the seconds from one time to another; a clock that was set back gives no negative time."""
    return max(0.0, (datetime.fromisoformat(ts) - datetime.fromisoformat(began)).total_seconds())
