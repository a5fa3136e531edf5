"""Every fact that can happen in a mission.

Events are frozen pydantic models in one discriminated union (`Event`, by `type`). One event is one line of
the journal and one line of `stream-json`. Events carry their own time and ids; `seq`, `ts` and `mission`
are stamped by `record()` and are empty only before that. Hashes are sha256 in hex; times RFC 3339 UTC;
a path is relative to the workspace, with `/`.
"""

from enum import StrEnum
from typing import Annotated, Literal, NewType

from pydantic import Field, TypeAdapter, WithJsonSchema

from orch.mission.caps import Amount, Cap, Caps
from orch.mission.transcript import AssistantMessage, Frozen

SCHEMA_VERSION: Literal[1] = 1

MissionId = NewType("MissionId", str)
SessionId = NewType("SessionId", str)
ItemId = NewType("ItemId", str)
IssueId = NewType("IssueId", str)
EvidenceId = NewType("EvidenceId", str)
Time = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT[\d:.]+Z$"})
]
"""RFC 3339, in UTC."""
Sha256 = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"})]
"""In hex: of a file's bytes, or of the tree (`orch.mission.state.tree_hash`)."""


class Role(StrEnum):
    """Who a session is."""

    COMMANDER = "commander"  # explores, delegates, decides; never implements
    PLANNER = "planner"  # researches, plans file by file
    WORKER = "worker"  # implements one item
    REVIEWER = "reviewer"  # verifies one item with real commands


class Outcome(StrEnum):
    """How a run ended; `subtype` of the result. `EXIT_CODES` in `orch.mission.result` gives each its code."""

    SEALED = "sealed"  # every item done with evidence, verified on the final tree
    ANSWERED = "answered"  # the goal asked for no change
    PLANNED = "planned"  # a dry run has its plan; the next run carries it out
    UNSEALED = "unsealed"  # nothing is left to run and something is not done
    BLOCKED = "blocked"  # needs a person's decision or permission
    LIMIT = "limit"  # a turn, token or dollar limit was reached
    STAGNATED = "stagnated"  # nothing moved after the interventions
    STOPPED = "stopped"  # a signal or `orch stop`
    TIMEOUT = "timeout"  # the run's time was over
    PROVIDER = "provider"  # the provider is unavailable
    AUTH = "auth"  # the provider refused the key
    DISK = "disk"  # the disk refused
    ERROR = "error"  # a bug in orch, or a configuration no turn could be paid with


class StopSignal(StrEnum):
    """What stopped a run."""

    INTERRUPT = "SIGINT"  # Ctrl-C
    TERMINATE = "SIGTERM"  # a supervisor, or `orch stop`


class FinishReason(StrEnum):
    """Why a model ended its turn."""

    STOP = "stop"  # it had said what it had to say
    TOOL_CALLS = "tool_calls"  # it waits for results
    LENGTH = "length"  # it ran into its output limit
    REFUSED = "refused"  # the endpoint's filter or the model refused
    DEGENERATE = "degenerate"  # it came apart, and orch stopped reading


class MessageReason(StrEnum):
    """Why orch speaks to a session."""

    BRIEF = "brief"  # the first message
    WAKE = "wake"  # there is something to decide
    REJECTION = "rejection"  # the review's issues
    ISSUES = "issues"  # issues others raised on the session's files
    NUDGE = "nudge"  # it ended without what it owes
    REPLY = "reply"  # a person's answer
    RECOVERY = "recovery"  # orch heals the session: says what went wrong and what to do


class SessionOutcome(StrEnum):
    """How a session ended."""

    DONE = "done"  # it did what it was for
    CANCELLED = "cancelled"  # its item went away, or the mission ended
    FAILED = "failed"  # an error, or it never delivered


class BlockerKind(StrEnum):
    """What keeps a mission from its seal."""

    ITEM = "item"
    ISSUE = "issue"
    VERIFICATION = "verification"
    DECISION = "decision"
    PERMISSION = "permission"
    LIMIT = "limit"
    PLAN = "plan"


class IssueSource(StrEnum):
    """Where an issue comes from."""

    REVIEW = "review"  # a Reviewer's verdict
    SETUP = "setup"  # an item's setup command failed
    VERIFICATION = "verification"  # a command of the seal failed
    REQUEST = "request"  # a Worker asks a file's owner for a change
    INTRUSION = "intrusion"  # a plan file changed without orch's tools
    STALE = "stale"  # a file changed after its review


class ItemOrigin(StrEnum):
    """Who put an item on the list."""

    PLANNED = "planned"  # the Planner's plan
    DELEGATED = "delegated"  # the Commander's delegate_task
    FIX = "fix"  # orch, for an issue on a completed item


class Verdict(StrEnum):
    """A Reviewer's word."""

    APPROVE = "approve"
    REJECT = "reject"


class VerificationPhase(StrEnum):
    """When orch runs the plan's commands itself."""

    BASELINE = "baseline"  # before the first write: what is red already
    SEAL = "seal"  # on the final tree


class CompactionStage(StrEnum):
    """What made a history fit."""

    DROPPED = "dropped"  # old results of tools made way
    SUMMARISED = "summarised"  # its model summed up the old turns
    DIGESTED = "digested"  # the old turns went, and only what code can say of them is left


class CompactionCause(StrEnum):
    """Why a history had to be made to fit."""

    FULL = "full"  # the next request would have filled the window
    OVERFLOW = "overflow"  # the endpoint refused a request as too large


class StagnationStage(StrEnum):
    """The ladder that a mission without progress climbs."""

    INTERVENE = "intervene"  # the Commander is told that nothing moved
    REPLAN = "replan"  # the Commander is asked for another plan
    STOP = "stop"  # the mission ends


class ItemSpec(Frozen):
    """One item of the plan, as its Worker and Reviewer are told it, verbatim."""

    id: ItemId
    title: str
    files: tuple[str, ...]
    instructions: str
    depends_on: tuple[ItemId, ...] = ()
    check: str | None = None
    setup: str | None = None


class Usage(Frozen):
    """Tokens of one or many turns. `cached_tokens` are part of `input_tokens`; unknown cost is `None`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None


class Estimate(Frozen):
    """What a plan may cost, from the least to the most; unknown dollars are `None`. `text` says the basis."""

    tokens_least: int
    tokens_most: int
    usd_least: float | None = None
    usd_most: float | None = None
    text: str = ""


class Blocker(Frozen):
    """One thing that keeps the mission from its seal."""

    kind: BlockerKind
    item: ItemId | None = None
    text: str


class Fact(Frozen):
    """The envelope of every event."""

    v: Literal[1] = SCHEMA_VERSION
    seq: int = 0
    ts: Time = ""
    mission: MissionId = MissionId("")
    session: SessionId | None = None
    item: ItemId | None = None


class Instructions(Frozen):
    """What a settings file tells the agents, those of one role or all; `source` is its name."""

    role: Role | None = None
    source: str
    text: str


class MissionStarted(Fact):
    """A goal was accepted."""

    type: Literal["mission.started"] = "mission.started"
    goal: str
    orch_version: str
    models: dict[Role, str]
    max_parallel: int
    max_turns: int
    role_turns: dict[Role, int] = Field(default_factory=dict)
    instructions: tuple[Instructions, ...] = ()
    answer_only: bool = False
    dry_run: bool = False
    demo: bool = False
    verify: tuple[str, ...] = ()
    baseline: bool = True
    caps: Caps = Caps()
    fallback: tuple[str, ...] = ()
    sandbox: Literal["none"] = "none"


class MissionResumed(Fact):
    """Another run takes the mission up; settings may have changed, `reply` answers what it asked."""

    type: Literal["mission.resumed"] = "mission.resumed"
    orch_version: str
    models: dict[Role, str]
    max_parallel: int
    max_turns: int
    role_turns: dict[Role, int] = Field(default_factory=dict)
    instructions: tuple[Instructions, ...] = ()
    caps: Caps = Caps()
    fallback: tuple[str, ...] = ()
    reply: str | None = None


class MissionStopped(Fact):
    """A person or supervisor stopped the run."""

    type: Literal["mission.stopped"] = "mission.stopped"
    signal: StopSignal


class MissionSealed(Fact):
    """All is done and proven on `tree`."""

    type: Literal["mission.sealed"] = "mission.sealed"
    tree: Sha256
    summary: str


class MissionAnswered(Fact):
    """The goal asked for no change; here is the answer."""

    type: Literal["mission.answered"] = "mission.answered"
    text: str


class MissionPlanned(Fact):
    """A dry run ended with its plan: `text` is the plan for people, `estimate` what it may cost."""

    type: Literal["mission.planned"] = "mission.planned"
    text: str
    estimate: Estimate | None = None


class MissionFailed(Fact):
    """The run ended without a seal. `is_usage`: its settings are wrong, and no turn could be paid."""

    type: Literal["mission.failed"] = "mission.failed"
    outcome: Outcome
    text: str
    is_usage: bool = False
    blockers: tuple[Blocker, ...] = ()


class ContextUpdated(Fact):
    """`context.md` has new content."""

    type: Literal["context.updated"] = "context.updated"
    sha256: Sha256
    size_bytes: int


class PlanAccepted(Fact):
    """The plan from now on. `files` is what each of its files was then (`None`: absent)."""

    type: Literal["plan.accepted"] = "plan.accepted"
    items: tuple[ItemSpec, ...]
    verify: tuple[str, ...]
    files: dict[str, Sha256 | None]


class PlanRejected(Fact):
    """A plan was refused, with every reason."""

    type: Literal["plan.rejected"] = "plan.rejected"
    reasons: tuple[str, ...]


class ItemAdded(Fact):
    """One more item on the list; `issues` move to it."""

    type: Literal["item.added"] = "item.added"
    item: ItemId
    spec: ItemSpec
    origin: ItemOrigin
    issues: tuple[IssueId, ...] = ()
    files: dict[str, Sha256 | None]


class ItemDropped(Fact):
    """The item is off the list."""

    type: Literal["item.dropped"] = "item.dropped"
    item: ItemId
    reason: str


class ItemStarted(Fact):
    """A Worker (`session`) has the item from now on."""

    type: Literal["item.started"] = "item.started"
    item: ItemId
    session: SessionId


class ItemSubmitted(Fact):
    """The Worker says that it is done."""

    type: Literal["item.submitted"] = "item.submitted"
    item: ItemId
    session: SessionId


class SetupFinished(Fact):
    """The item's setup command ran; `files` are new files that became the item's."""

    type: Literal["setup.finished"] = "setup.finished"
    item: ItemId
    command: str
    exit_code: int
    duration_s: float
    output: str
    files: dict[str, Sha256]


class ItemCompleted(Fact):
    """A review with fresh evidence approved the item. Absorbing."""

    type: Literal["item.completed"] = "item.completed"
    item: ItemId
    evidence: tuple[EvidenceId, ...]


class ItemRejected(Fact):
    """The item goes back to work with its open issues; `round` counts from 1."""

    type: Literal["item.rejected"] = "item.rejected"
    item: ItemId
    round: int
    reason: str


class ItemFailed(Fact):
    """The item is given up for this run."""

    type: Literal["item.failed"] = "item.failed"
    item: ItemId
    kind: BlockerKind
    reason: str


class ItemBlocked(Fact):
    """The item cannot start: something it depends on will not come."""

    type: Literal["item.blocked"] = "item.blocked"
    item: ItemId
    kind: BlockerKind
    reason: str


class ItemReopened(Fact):
    """A failed or blocked item gets another try."""

    type: Literal["item.reopened"] = "item.reopened"
    item: ItemId


class SessionStarted(Fact):
    """A new isolated conversation."""

    type: Literal["session.started"] = "session.started"
    session: SessionId
    role: Role
    model: str
    title: str


class MessageSent(Fact):
    """orch says something to a session, which runs from now on."""

    type: Literal["message.sent"] = "message.sent"
    session: SessionId
    reason: MessageReason
    text: str


class SessionIdle(Fact):
    """The session stopped calling tools."""

    type: Literal["session.idle"] = "session.idle"
    session: SessionId


class SessionEnded(Fact):
    """The conversation is over."""

    type: Literal["session.ended"] = "session.ended"
    session: SessionId
    outcome: SessionOutcome
    reason: str = ""
    kind: BlockerKind | None = None


class TurnStarted(Fact):
    """A request is about to leave, and may be paid for; `estimate` counts if nothing more is heard of it."""

    type: Literal["turn.started"] = "turn.started"
    session: SessionId
    turn: int
    model: str
    estimate: Usage | None = None


class TurnFinished(Fact):
    """The model's answer, durable before anything acts on it."""

    type: Literal["turn.finished"] = "turn.finished"
    session: SessionId
    turn: int
    model: str
    message: AssistantMessage
    finish: FinishReason
    usage: Usage
    duration_s: float


class TurnFailed(Fact):
    """No answer could be had. `usage` is an estimate of what was paid for nothing, where something may be."""

    type: Literal["turn.failed"] = "turn.failed"
    session: SessionId
    turn: int
    model: str
    error: str
    text: str
    usage: Usage | None = None


class ToolCalled(Fact):
    """A tool is about to run. Its arguments stand in the turn; `summary` is one line for people."""

    type: Literal["tool.called"] = "tool.called"
    session: SessionId
    call_id: str
    tool: str
    summary: str


class ToolFinished(Fact):
    """What the tool told the model. `seen` are files whose content the session knows from now on.

    `late`: the text also says that the session's time is over.
    """

    type: Literal["tool.finished"] = "tool.finished"
    session: SessionId
    call_id: str
    tool: str
    ok: bool
    text: str
    duration_s: float
    seen: dict[str, Sha256 | None] = Field(default_factory=dict)
    late: bool = False


class PermissionDenied(Fact):
    """A session called what its role may not."""

    type: Literal["permission.denied"] = "permission.denied"
    session: SessionId
    tool: str
    reason: str


class LeaseAcquired(Fact):
    """The item holds all its files."""

    type: Literal["lease.acquired"] = "lease.acquired"
    item: ItemId
    files: tuple[str, ...]


class LeaseDenied(Fact):
    """Another process holds one of the files."""

    type: Literal["lease.denied"] = "lease.denied"
    item: ItemId
    files: tuple[str, ...]
    reason: str


class LeaseReleased(Fact):
    """The item's files are free."""

    type: Literal["lease.released"] = "lease.released"
    item: ItemId
    files: tuple[str, ...]


class FileIntended(Fact):
    """A write is about to happen: the hash before, the hash after (`None`: absent)."""

    type: Literal["file.intended"] = "file.intended"
    session: SessionId
    path: str
    before: Sha256 | None
    after: Sha256 | None


class FileChanged(Fact):
    """A file changed; `by_tool` is false where orch found a change that none of its tools made."""

    type: Literal["file.changed"] = "file.changed"
    path: str
    before: Sha256 | None
    after: Sha256 | None
    by_tool: bool = True


class EvidenceRecorded(Fact):
    """A Reviewer's command ran to its end; `void` if the item's `files` changed meanwhile."""

    type: Literal["evidence.recorded"] = "evidence.recorded"
    session: SessionId
    evidence: EvidenceId
    command: str
    exit_code: int
    duration_s: float
    tree: Sha256
    files: dict[str, Sha256 | None]
    void: bool = False
    log: str


class ReviewSubmitted(Fact):
    """A verdict that orch accepted."""

    type: Literal["review.submitted"] = "review.submitted"
    session: SessionId
    item: ItemId
    verdict: Verdict
    evidence: tuple[EvidenceId, ...] = ()


class ReviewRefused(Fact):
    """A verdict that orch did not accept, with every reason."""

    type: Literal["review.refused"] = "review.refused"
    session: SessionId
    reasons: tuple[str, ...]


class IssueOpened(Fact):
    """Something is wrong. `item` owns it (`None`: nobody yet); `command` is the red command, if it is one."""

    type: Literal["issue.opened"] = "issue.opened"
    issue: IssueId
    source: IssueSource
    text: str
    path: str | None = None
    command: str | None = None


class IssueClosed(Fact):
    """No longer wrong."""

    type: Literal["issue.closed"] = "issue.closed"
    issue: IssueId
    reason: str


class VerificationStarted(Fact):
    """orch runs the plan's commands itself."""

    type: Literal["verification.started"] = "verification.started"
    phase: VerificationPhase
    commands: tuple[str, ...]


class VerificationFinished(Fact):
    """One command of a verification ran to its end on `tree`."""

    type: Literal["verification.finished"] = "verification.finished"
    phase: VerificationPhase
    command: str
    exit_code: int
    duration_s: float
    tree: Sha256
    output: str


class SealRequested(Fact):
    """Somebody asks for the seal: the Commander (`session`), or orch itself."""

    type: Literal["seal.requested"] = "seal.requested"
    summary: str


class SealRefused(Fact):
    """The seal is not possible yet."""

    type: Literal["seal.refused"] = "seal.refused"
    blockers: tuple[Blocker, ...]


class Retry(Fact):
    """A call to a model failed and is made again after `delay_s`; `usage` as in `TurnFailed`.

    Where the provider refused it for its rate, `at_once` is how many calls it is asked at once from then on.
    """

    type: Literal["retry"] = "retry"
    session: SessionId
    attempt: int
    delay_s: float
    error: str
    text: str
    usage: Usage | None = None
    at_once: int | None = None


class ModelSwitched(Fact):
    """The session goes on with `model`, and new ones of its role begin with it: `before` gave no answer."""

    type: Literal["model.switched"] = "model.switched"
    session: SessionId
    role: Role
    model: str
    before: str
    reason: str


class ModelRestored(Fact):
    """New sessions of the role begin with its own `model` again: it has had time to come back."""

    type: Literal["model.restored"] = "model.restored"
    role: Role
    model: str


class Budget(Fact):
    """Much of a cap is used (once a run, for each cap), or it is `reached`: the next call takes `needed`."""

    type: Literal["budget"] = "budget"
    limit: Cap
    cap: Amount = Field(gt=0)
    spent: Amount
    needed: Amount = 0
    reached: bool = False


class Heal(Fact):
    """Something broken was put right; with `history` it is the session's: calls, results, ids, thoughts."""

    type: Literal["heal"] = "heal"
    text: str
    history: bool = False


class Compaction(Fact):
    """The session's history was made to fit: its requests took `before_tokens`, and take `after_tokens`.

    `dropped` are the calls whose results went. Or else all before the message `kept_from` went; behind the
    brief stands `text` for it, of which `digest` is the part that code made. `seen` are files that it shows.
    `usage` is what the summary cost, which closes the turn that was started for it.
    """

    type: Literal["compaction"] = "compaction"
    session: SessionId
    stage: CompactionStage
    cause: CompactionCause
    before_tokens: int
    after_tokens: int
    dropped: tuple[str, ...] = ()
    kept_from: int = 0
    text: str = ""
    digest: str = ""
    seen: dict[str, Sha256 | None] = Field(default_factory=dict)
    usage: Usage | None = None


class Stagnation(Fact):
    """Nothing moved since the Commander last decided."""

    type: Literal["stagnation"] = "stagnation"
    stage: StagnationStage
    fingerprint: str


Event = Annotated[
    MissionStarted
    | MissionResumed
    | MissionStopped
    | MissionSealed
    | MissionAnswered
    | MissionPlanned
    | MissionFailed
    | ContextUpdated
    | PlanAccepted
    | PlanRejected
    | ItemAdded
    | ItemDropped
    | ItemStarted
    | ItemSubmitted
    | SetupFinished
    | ItemCompleted
    | ItemRejected
    | ItemFailed
    | ItemBlocked
    | ItemReopened
    | SessionStarted
    | MessageSent
    | SessionIdle
    | SessionEnded
    | TurnStarted
    | TurnFinished
    | TurnFailed
    | ToolCalled
    | ToolFinished
    | PermissionDenied
    | LeaseAcquired
    | LeaseDenied
    | LeaseReleased
    | FileIntended
    | FileChanged
    | EvidenceRecorded
    | ReviewSubmitted
    | ReviewRefused
    | IssueOpened
    | IssueClosed
    | VerificationStarted
    | VerificationFinished
    | SealRequested
    | SealRefused
    | Retry
    | ModelSwitched
    | ModelRestored
    | Budget
    | Heal
    | Compaction
    | Stagnation,
    Field(discriminator="type"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
