"""What is known of a mission, and what can be asked of it.

`MissionState` is the sum of its journal: frozen, made by `orch.mission.reduce` alone, the same live, after
a resume and in a reader. The questions here are pure functions of it; the decisions that follow from the
answers are in `orch.mission.decide`.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orch.mission.caps import Caps
from orch.mission.events import (
    Blocker,
    BlockerKind,
    Budget,
    Estimate,
    EvidenceId,
    EvidenceRecorded,
    FileIntended,
    Instructions,
    IssueId,
    IssueSource,
    ItemId,
    ItemOrigin,
    ItemSpec,
    MissionId,
    Outcome,
    PermissionDenied,
    Retry,
    Role,
    SessionId,
    SessionOutcome,
    StopSignal,
    Usage,
    VerificationFinished,
    VerificationPhase,
)
from orch.mission.transcript import History, ToolCall


class MissionStatus(StrEnum):
    """Where a mission is."""

    NEW = "new"  # nothing happened yet
    RUNNING = "running"  # a run is on, or was when it crashed
    ENDED = "ended"  # a run ended without a seal; resumable
    CLOSED = "closed"  # sealed or answered: absorbing


class ItemStatus(StrEnum):
    """Where an item is."""

    PENDING = "pending"  # waits for dependencies, files or a slot
    WORKING = "working"  # a Worker has it
    SUBMITTED = "submitted"  # waits for its setup and a Reviewer
    REVIEWING = "reviewing"  # a Reviewer has it
    REJECTED = "rejected"  # goes back to a Worker
    COMPLETED = "completed"  # approved with fresh evidence: absorbing
    FAILED = "failed"  # given up for this run
    BLOCKED = "blocked"  # something it depends on will not come
    DROPPED = "dropped"  # off the list: absorbing


NO_MISSION = MissionId("")
NOTHING_SPENT = Usage(cost_usd=0.0)
OPEN = frozenset(
    {
        ItemStatus.PENDING,
        ItemStatus.WORKING,
        ItemStatus.SUBMITTED,
        ItemStatus.REVIEWING,
        ItemStatus.REJECTED,
    }
)
LOST = frozenset({ItemStatus.FAILED, ItemStatus.BLOCKED, ItemStatus.DROPPED})


class SessionStatus(StrEnum):
    """Where a session is."""

    RUNNING = "running"  # it owes the next turn
    IDLE = "idle"  # it stopped calling tools and waits for a message
    ENDED = "ended"  # absorbing


@dataclass(frozen=True)
class Item:
    """One item of the list.

    `rejections` counts in the Worker's present conversation, `restarts` the sessions that broke; with
    `last_chance` a fresh Worker has it after too many rejections.
    """

    spec: ItemSpec
    origin: ItemOrigin
    status: ItemStatus = ItemStatus.PENDING
    extra_files: tuple[str, ...] = ()
    worker: SessionId | None = None
    reviewer: SessionId | None = None
    rejections: int = 0
    restarts: int = 0
    last_chance: bool = False
    reviewers: int = 0
    leased: bool = False
    setup_done: bool = False
    evidence: tuple[EvidenceId, ...] = ()
    kind: BlockerKind = BlockerKind.ITEM
    reason: str = ""
    moved_seq: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """The files that belong to the item: the plan's, and those its setup made."""
        return self.spec.files + self.extra_files


@dataclass(frozen=True)
class Session:
    """One conversation. `open_calls` are called and not finished; `seen` is what it knows of files.

    `retry` is what its open turn was refused with last, as far as it was.
    `estimate` is what the open turn costs if nothing more is heard of it. `step_seq` is when its turn, or a
    call of it, was last begun or taken up again; `crashes` are the runs in a row that ended in it. `worked_s`
    is the time of its answers and tools since its brief (the Commander's: since its last wake), `late_at_s`
    how much that was when it was told that its time is over.

    The first `counted_messages` of its history take `counted_tokens` in a request, all that stands before
    them included; 0 where nobody counted. `digest` says what was done in turns that went. Its history was
    summarised, refused as too large and repaired last when it had taken so many turns as the names say.
    """

    id: SessionId
    role: Role
    model: str
    title: str
    started: str
    started_seq: int
    item: ItemId | None = None
    status: SessionStatus = SessionStatus.RUNNING
    brief: str = ""
    messages: History = ()
    counted_messages: int = 0
    counted_tokens: int = 0
    digest: str = ""
    summarised_turn: int | None = None
    overflowed_turn: int | None = None
    repaired_turn: int | None = None
    open_turn: bool = False
    retry: Retry | None = None
    estimate: Usage | None = None
    open_calls: tuple[ToolCall, ...] = ()
    step_seq: int = 0
    crashes: int = 0
    turns: int = 0
    turns_since_wake: int = 0
    worked_s: float = 0.0
    late_at_s: float | None = None
    nudged: bool = False
    wrote: bool = False
    seen: Mapping[str, str | None] = field(default_factory=dict)
    usage: Usage = NOTHING_SPENT
    last_activity: str = ""
    doing: str = ""
    told_seq: int = 0
    outcome: SessionOutcome | None = None
    kind: BlockerKind | None = None
    reason: str = ""
    ended_seq: int = 0


@dataclass(frozen=True)
class Issue:
    """Something that is wrong; `told` once its Worker has been told."""

    id: IssueId
    source: IssueSource
    text: str
    path: str | None
    item: ItemId | None
    command: str | None
    opened_seq: int
    is_open: bool = True
    told: bool = False


@dataclass(frozen=True)
class Verification:
    """orch's own run of commands; complete when every command has a result."""

    phase: VerificationPhase
    commands: tuple[str, ...]
    results: tuple[VerificationFinished, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every command has run to its end."""
        return len(self.results) == len(self.commands)


def plus(one: Usage, other: Usage) -> Usage:
    """Add usage; a cost that is unknown anywhere is unknown in the sum."""
    known = one.cost_usd is not None and other.cost_usd is not None
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cost_usd=(one.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
    )


@dataclass(frozen=True)
class Spending:
    """Usage by who spent it on which model; sums are made when they are asked for, not at every turn."""

    ledger: Mapping[tuple[Role, str], Usage] = field(default_factory=dict)

    def with_turn(self, role: Role, model: str, usage: Usage) -> "Spending":
        """Return the spending with one more turn."""
        spent = self.ledger.get((role, model), NOTHING_SPENT)
        return Spending({**self.ledger, (role, model): plus(spent, usage)})

    @property
    def total(self) -> Usage:
        """What the mission has spent."""
        return functools.reduce(plus, self.ledger.values(), NOTHING_SPENT)

    @property
    def by_model(self) -> Mapping[str, Usage]:
        """Usage by the name of the model."""
        return _sums((model, usage) for (_, model), usage in self.ledger.items())

    @property
    def by_role(self) -> Mapping[str, Usage]:
        """Usage by the name of the role."""
        return _sums((role.value, usage) for (role, _), usage in self.ledger.items())


def _sums(entries: Iterable[tuple[str, Usage]]) -> Mapping[str, Usage]:
    sums: dict[str, Usage] = {}
    for key, usage in entries:
        sums[key] = plus(sums.get(key, NOTHING_SPENT), usage)
    return sums


@dataclass(frozen=True)
class MissionState:
    """Everything the journal says. `files` are the hashes orch knows, `intents` the writes under way.

    `reply` is a person's answer that the Commander was not told yet, `run_seq` the event that began this run.
    `exhausted` is the cap that ended a run, until another turn was paid; `culprit` the session in which a bug
    of orch came up that ended the run. `fallback` are the models to go on with when one is down, in order;
    `substitutes` are those that roles use now in place of their own. `refusals` are the last of each provider
    for its rate, in this run. `role_turns` are the limits of roles that have one of their own; `instructions`
    are the settings' words to the agents, as this run began with them.
    """

    mission: MissionId = NO_MISSION
    goal: str = ""
    models: Mapping[Role, str] = field(default_factory=dict)
    max_parallel: int = 1
    max_turns: int = 1
    role_turns: Mapping[Role, int] = field(default_factory=dict)
    instructions: tuple[Instructions, ...] = ()
    caps: Caps = field(default_factory=Caps)
    fallback: tuple[str, ...] = ()
    substitutes: Mapping[Role, str] = field(default_factory=dict)
    refusals: Mapping[str, Retry] = field(default_factory=dict)
    exhausted: Budget | None = None
    answer_only: bool = False
    dry_run: bool = False
    demo: bool = False
    status: MissionStatus = MissionStatus.NEW
    outcome: Outcome | None = None
    ending: str = ""
    estimate: Estimate | None = None
    stopped_by: StopSignal | None = None
    end_blockers: tuple[Blocker, ...] = ()
    is_usage: bool = False
    culprit: SessionId | None = None
    items: Mapping[ItemId, Item] = field(default_factory=dict)
    sessions: Mapping[SessionId, Session] = field(default_factory=dict)
    issues: Mapping[IssueId, Issue] = field(default_factory=dict)
    evidence: Mapping[EvidenceId, EvidenceRecorded] = field(default_factory=dict)
    commander: SessionId | None = None
    verify: tuple[str, ...] = ()
    settings_verify: tuple[str, ...] = ()
    baseline_due: bool = False
    red_before: tuple[str, ...] = ()
    verification: Verification | None = None
    verified: tuple[VerificationFinished, ...] = ()
    seal_summary: str = ""
    seal_asked: bool = False
    files: Mapping[str, str | None] = field(default_factory=dict)
    first_seen: Mapping[str, str | None] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    intents: Mapping[str, FileIntended] = field(default_factory=dict)
    denials: tuple[PermissionDenied, ...] = ()
    stagnations: int = 0
    moved: str = ""
    reply: str = ""
    spending: Spending = field(default_factory=Spending)
    num_turns: int = 0
    num_retries: int = 0
    duration_s: float = 0.0
    run_started: str = ""
    run_seq: int = 0
    started: str = ""
    seq: int = 0
    ts: str = ""


def turns_of(state: MissionState, role: Role) -> int:
    """How many turns one session of a role may take."""
    return state.role_turns.get(role, state.max_turns)


def open_items(state: MissionState) -> tuple[Item, ...]:
    """Items that are neither done nor lost."""
    return tuple(item for item in state.items.values() if item.status in OPEN)


def listed_items(state: MissionState) -> tuple[Item, ...]:
    """Items that count as TODO: all but the dropped."""
    return tuple(item for item in state.items.values() if item.status is not ItemStatus.DROPPED)


def open_issues(state: MissionState) -> tuple[Issue, ...]:
    """Issues that are not closed, in the order they were opened."""
    return tuple(issue for issue in state.issues.values() if issue.is_open)


def issues_of(state: MissionState, item: ItemId) -> tuple[Issue, ...]:
    """The open issues of one item."""
    return tuple(issue for issue in open_issues(state) if issue.item == item)


def live_sessions(state: MissionState) -> tuple[Session, ...]:
    """Sessions that are not over."""
    return tuple(s for s in state.sessions.values() if s.status is not SessionStatus.ENDED)


def running_sessions(state: MissionState) -> tuple[Session, ...]:
    """Sessions that owe a turn."""
    return tuple(s for s in state.sessions.values() if s.status is SessionStatus.RUNNING)


def free_slots(state: MissionState) -> int:
    """How many more sessions may work now. The Commander needs no slot."""
    taken = sum(1 for s in running_sessions(state) if s.role is not Role.COMMANDER)
    return max(0, state.max_parallel - taken)


def held_files(state: MissionState) -> Mapping[str, ItemId]:
    """Which item holds which file."""
    return {path: item.spec.id for item in state.items.values() if item.leased for path in item.files}


def owner_of(state: MissionState, path: str) -> Item | None:
    """The item that a file belongs to: the last on the list that names it and was not dropped."""
    owner = None
    for item in listed_items(state):
        if path in item.files:
            owner = item
    return owner


def plan_files(state: MissionState) -> tuple[str, ...]:
    """Every file of the plan, sorted."""
    return tuple(sorted({path for item in listed_items(state) for path in item.files}))


def tree_paths(state: MissionState) -> tuple[str, ...]:
    """The files that `tree` speaks of: the plan's and all that were changed, sorted."""
    return tuple(sorted({*plan_files(state), *state.changed}))


def tree_hash(files: Mapping[str, str | None]) -> str:
    """sha256 over the sorted (path, sha256) of `files`; an absent file counts as absent."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{files[path] or 'absent'}\n".encode())
    return digest.hexdigest()


def known_tree(state: MissionState) -> str:
    """The tree as orch knows it, without looking at the disk."""
    return tree_hash({path: state.files.get(path) for path in tree_paths(state)})


def seal_commands(state: MissionState) -> tuple[str, ...]:
    """What must exit 0 on the final tree: the plan's commands, or each distinct check in their place.

    A command that was red stays among them until it exits 0, also where a later plan names others.
    """
    checks = (i.spec.check for i in listed_items(state) if i.spec.check)
    red = (issue.command for issue in open_issues(state) if issue.command)
    return distinct([*(state.verify or checks), *red])


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """`texts` without repetitions, in their order."""
    return tuple(dict.fromkeys(texts))


def fingerprint(state: MissionState) -> str:
    """What moves when a mission makes progress: open items, open issues, the tree.

    Settled items do not count: what is only asked for and approved again and again has not moved.
    """
    items = "\n".join(f"{i.spec.id} {i.status}" for i in open_items(state))
    issues = "\n".join(f"{i.item} {i.path} {i.command} {i.text}" for i in open_issues(state))
    return hashlib.sha256(f"{items}\0{issues}\0{known_tree(state)}".encode()).hexdigest()[:16]
