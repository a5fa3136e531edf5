"""A whole mission without network, clock or process: a driver plays the runtime, agents play the models.

`Simulation` stamps and reduces events as `record()` does, carries out what `decide` asks for, and lets one
piece of `work` go on at a time. Whatever has to hold in every mission is checked after every batch. An agent
is a function from what it sees to an `Act`: one turn with at most one tool call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orch.mission import events as ev
from orch.mission import plan, review, seal, transcript
from orch.mission.decide import Step, Work, WorkKind, decide, start, work
from orch.mission.reduce import reduce, replay
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    open_issues,
    owner_of,
    running_sessions,
    tree_hash,
    tree_paths,
)
from orch.mission.transcript import AssistantMessage, ToolCall

MISSION = ev.MissionId("m1")
MODELS = dict.fromkeys(ev.Role, "fake/model")
MOST_BATCHES = 3_000
"""Far more than any mission here needs; who reaches it runs in circles."""
MOST_STEPS_IN_A_ROW = 100
"""`decide` never goes on for longer without letting anybody work."""


@dataclass(frozen=True)
class Say:
    """A turn without a tool call: the session stops."""

    text: str = "done"


@dataclass(frozen=True)
class Write:
    """Write a file of the session's item."""

    path: str
    content: str


@dataclass(frozen=True)
class Look:
    """A call without effect."""


@dataclass(frozen=True)
class Cut:
    """A turn that its output limit cut: orch says so, and the session goes on."""


@dataclass(frozen=True)
class Break:
    """No turn: the session fails."""

    kind: ev.BlockerKind | None = None


@dataclass(frozen=True)
class RequestChange:
    """Ask the owner of a file for a change."""

    path: str


@dataclass(frozen=True)
class Bash:
    """Run a command; `changes` are files that it writes."""

    command: str
    exit_code: int = 0
    changes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """Submit a verdict."""

    verdict: ev.Verdict
    cited: tuple[ev.EvidenceId, ...] = ()
    findings: tuple[review.Finding, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Submit a plan."""

    items: tuple[ev.ItemSpec, ...]
    verify: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delegate:
    """Put an item on the list."""

    spec: ev.ItemSpec


@dataclass(frozen=True)
class DelegatePlan:
    """Give the Planner a goal."""

    text: str


@dataclass(frozen=True)
class Cancel:
    """Take an item off the list."""

    item: ev.ItemId


@dataclass(frozen=True)
class Seal:
    """Ask for the seal."""

    summary: str = "all is well"


@dataclass(frozen=True)
class Answer:
    """Answer the goal."""

    text: str


@dataclass(frozen=True)
class Block:
    """Ask a person."""

    question: str


Act = (
    Say
    | Write
    | Look
    | Cut
    | Break
    | RequestChange
    | Bash
    | Judge
    | Plan
    | Delegate
    | DelegatePlan
    | Cancel
    | Seal
    | Answer
    | Block
)
Agent = Callable[["Simulation", Session], Act]
Outcomes = Callable[["Simulation", str], tuple[int, str]]


def always_green(_simulation: "Simulation", _command: str) -> tuple[int, str]:
    """Every command of orch's own exits 0."""
    return 0, ""


@dataclass
class Simulation:
    """One mission. `disk` maps a path to its content; its content is its hash."""

    agents: Mapping[ev.Role, Agent]
    outcomes: Outcomes = always_green
    pick: Callable[[Sequence[Work]], Work] = lambda needed: needed[0]
    before_work: Callable[["Simulation"], None] = lambda _: None
    events: list[ev.Event] = field(default_factory=list)
    state: MissionState = field(default_factory=MissionState)
    disk: dict[str, str | None] = field(default_factory=dict)
    batches: int = 0
    at_once: int = 0

    # ---- what happens

    def record(self, *events: ev.Event) -> None:
        """Reduce `events` as one batch, and look whether all is as it has to be."""
        state = self.state
        for event in events:
            seq = state.seq + 1
            ts = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seq)).isoformat()
            fact = event.model_copy(update={"seq": seq, "ts": ts, "mission": MISSION})
            state = reduce(state, fact)
            self.events.append(fact)
        self._check(state)
        self.state = state
        self.batches += 1
        assert self.batches < MOST_BATCHES, "the mission does not end"

    def start(self, **settings: object) -> "Simulation":
        """Accept the goal."""
        facts = {
            "goal": "make it so",
            "orch_version": "1",
            "models": MODELS,
            "max_parallel": 4,
            "max_turns": 8,
        }
        self.record(ev.MissionStarted.model_validate(facts | settings))
        return self

    def resume(self, **settings: object) -> "Simulation":
        """Take the mission up again, as the command does."""
        facts = {
            "orch_version": "1",
            "models": MODELS,
            "max_parallel": self.state.max_parallel,
            "max_turns": 8,
        }
        resumed = ev.MissionResumed.model_validate(facts | settings)
        lost = (ItemStatus.FAILED, ItemStatus.BLOCKED)
        again = [ev.ItemReopened(item=i.spec.id) for i in self.state.items.values() if i.status in lost]
        self.record(resumed, *again)
        return self

    def crashed_after(self, length: int) -> "Simulation":
        """Return the mission as a new process finds it when only `length` events reached the disk."""
        kept = self.events[:length]
        state = replay(kept)
        return Simulation(
            agents=self.agents,
            outcomes=self.outcomes,
            pick=self.pick,
            events=list(kept),
            state=state,
            disk=dict(state.files),
        )

    def run(self) -> "Simulation":
        """Run until the run is over."""
        while self.settle():
            needed = work(self.state)
            assert needed, "the mission runs, but nothing is due and nothing works"
            sessions = [w for w in needed if w.kind is WorkKind.SESSION]
            others = [w for w in sessions if self._role(w) is not ev.Role.COMMANDER]
            assert len(others) <= self.state.max_parallel
            self.at_once = max(self.at_once, len(others))
            self._check_workers()
            self.before_work(self)
            self.go_on(self.pick(needed))
        return self

    def _role(self, wanted: Work) -> ev.Role:
        return self.state.sessions[ev.SessionId(wanted.subject)].role

    def settle(self) -> bool:
        """Carry out steps until none is due; every lease is granted. Say whether the run goes on."""
        for _ in range(MOST_STEPS_IN_A_ROW):
            steps: tuple[Step, ...] = decide(self.state)
            if not steps:
                return self.state.status is MissionStatus.RUNNING
            self.record(*(event for step in steps for event in step.events))
        raise AssertionError("decide goes on without end")

    def go_on(self, wanted: Work) -> None:
        """Let one piece of work go on."""
        match wanted.kind:
            case WorkKind.SESSION:
                self._turn(self.state.sessions[ev.SessionId(wanted.subject)])
            case WorkKind.SETUP:
                self._set_up(self.state.items[ev.ItemId(wanted.subject)])
            case WorkKind.VERIFICATION:
                self._verify()
            case WorkKind.ESTIMATE:
                self.record(ev.MissionPlanned(text="the plan"))

    def edit(self, path: str, content: str) -> None:
        """Change a file as a person does, behind orch's back."""
        self.disk[path] = content

    def hashes(self, paths: Sequence[str]) -> dict[str, str | None]:
        """Look at the disk."""
        return {path: self.disk.get(path) for path in paths}

    # ---- orch's own commands

    def _verify(self) -> None:
        run = self.state.verification
        assert run is not None
        if not run.is_complete:
            command = run.commands[len(run.results)]
            code, output = self.outcomes(self, command)
            self.record(
                ev.VerificationFinished(
                    phase=run.phase,
                    command=command,
                    exit_code=code,
                    duration_s=1.0,
                    tree=self.tree(),
                    output=output,
                )
            )
        run = self.state.verification
        if run is not None and run.is_complete and run.phase is ev.VerificationPhase.SEAL:
            self.record(*self._look_again(), *self._verdict())

    def _look_again(self) -> list[ev.Event]:
        files = self.hashes(tree_paths(self.state))
        known = self.state.files
        return [
            ev.FileChanged(path=path, before=known.get(path), after=sha, by_tool=False)
            for path, sha in files.items()
            if sha != known.get(path)
        ]

    def _verdict(self) -> tuple[ev.Event, ...]:
        run = self.state.verification
        assert run is not None
        files = self.hashes(tree_paths(self.state))
        return seal.verdict(self.state, run, files, len(self.state.issues) + 1)

    def tree(self) -> str:
        """The tree as it is on the disk."""
        return tree_hash(self.hashes(tree_paths(self.state)))

    def _set_up(self, item: Item) -> None:
        command = item.spec.setup or ""
        code, output = self.outcomes(self, command)
        made = {f"made-by-{item.spec.id}": "made"} if code == 0 else {}
        self.disk.update(made)
        done = ev.SetupFinished(
            item=item.spec.id, command=command, exit_code=code, duration_s=1.0, output=output, files=made
        )
        back = review.sent_back(self.state, item, ev.IssueSource.SETUP, output) if code else ()
        self.record(done, *back)

    # ---- a session's turn

    def _turn(self, session: Session) -> None:
        spent = session.turns_since_wake if session.role is ev.Role.COMMANDER else session.turns
        act = self.agents[session.role](self, session)
        if session.open_calls or isinstance(session.messages[-1], AssistantMessage):
            self._catch_up(session)
        elif isinstance(act, Break) or spent >= self.state.max_turns:
            self._break(session, act.kind if isinstance(act, Break) else ev.BlockerKind.LIMIT)
        else:
            transcript.check(session.messages)
            self.record(ev.TurnStarted(session=session.id, item=session.item, turn=1, model=session.model))
            self._finish(session, act)

    def _catch_up(self, session: Session) -> None:
        """Do what a crash cut off after a turn was finished."""
        results: list[ev.Event] = [
            _result(session, call.id, "interrupted", ok=False) for call in session.open_calls
        ]
        self.record(*(results or [ev.SessionIdle(session=session.id, item=session.item)]))

    def _break(self, session: Session, kind: ev.BlockerKind | None) -> None:
        failed = ev.SessionOutcome.FAILED
        end = ev.SessionEnded(
            session=session.id, item=session.item, outcome=failed, kind=kind, reason="it broke"
        )
        self.record(end)

    def _finish(self, session: Session, act: Act) -> None:
        call = ToolCall(id=f"c{self.state.seq}", name=type(act).__name__, arguments="{}")
        says = isinstance(act, Say | Cut)
        message = AssistantMessage(
            text=act.text if isinstance(act, Say) else "half a", tool_calls=() if says else (call,)
        )
        finished = ev.TurnFinished(
            session=session.id,
            item=session.item,
            turn=session.turns + 1,
            model=session.model,
            message=message,
            finish=_FINISHES.get(type(act), ev.FinishReason.TOOL_CALLS),
            usage=ev.Usage(input_tokens=10, output_tokens=1, cost_usd=0.5),
            duration_s=1.0,
        )
        if says:
            self.record(finished)
            self.record(_after_words(session, act))
            return
        called = ev.ToolCalled(
            session=session.id, item=session.item, call_id=call.id, tool=call.name, summary=call.name
        )
        self.record(finished, called)
        self._carry_out(session, call.id, act)

    def _carry_out(self, session: Session, call_id: str, act: Act) -> None:
        events = self._effects(session, act)
        result = _result(session, call_id, type(act).__name__, ok=True)
        ends_turn = isinstance(act, Seal | Answer | Block | Plan | Judge) and not any(
            isinstance(e, ev.SealRefused | ev.PlanRejected | ev.ReviewRefused) for e in events
        )
        over = not ends_turn or any(
            isinstance(e, ev.SessionEnded) and e.session == session.id for e in events
        )
        idle = [] if over else [ev.SessionIdle(session=session.id, item=session.item)]
        if ends_turn:
            self.record(result, *idle, *events)
        else:
            self.record(*events, result)

    def _effects(self, session: Session, act: Act) -> Sequence[ev.Event]:  # noqa: PLR0911, PLR0912, C901 - one line per tool
        match act:
            case Write():
                return self._write(session, act)
            case Bash():
                return self._bash(session, act)
            case RequestChange():
                return self._request(session, act)
            case Judge():
                return self._judge(session, act)
            case Plan():
                return self._plan(session, act)
            case Delegate():
                return self._delegate(act)
            case DelegatePlan():
                return start(self.state, ev.Role.PLANNER, "plan", act.text)
            case Cancel():
                return plan.leave(self.state, self.state.items[act.item], "cancelled")
            case Seal():
                if blockers := seal.blockers(self.state):
                    return [ev.SealRefused(session=session.id, blockers=blockers)]
                return [ev.SealRequested(session=session.id, summary=act.summary)]
            case Answer():
                return [ev.MissionAnswered(session=session.id, text=act.text)]
            case Block():
                return [_blocked(session, act.question)]
            case _:
                return ()

    def _write(self, session: Session, act: Write) -> Sequence[ev.Event]:
        item = self.item(session)
        assert item.leased
        assert act.path in item.files
        before, self.disk[act.path] = self.disk.get(act.path), act.content
        changed = ev.FileChanged(
            session=session.id, item=item.spec.id, path=act.path, before=before, after=act.content
        )
        return [changed]

    def item(self, session: Session) -> Item:
        """The session's item as it is now."""
        return self.state.items[review.item_of(session)]

    def _bash(self, session: Session, act: Bash) -> Sequence[ev.Event]:
        item = self.item(session)
        before = self.hashes(item.files)
        self.disk.update(act.changes)
        after = self.hashes(item.files)
        proof = ev.EvidenceRecorded(
            session=session.id,
            item=item.spec.id,
            evidence=ev.EvidenceId(f"E{len(self.state.evidence) + 1}"),
            command=act.command,
            exit_code=act.exit_code,
            duration_s=1.0,
            tree=self.tree(),
            files=after,
            void=before != after,
            log="log",
        )
        return [proof, *self._intrusions(session)]

    def _intrusions(self, session: Session) -> list[ev.Event]:
        events: list[ev.Event] = []
        for number, change in enumerate(self._look_again()):
            assert isinstance(change, ev.FileChanged)
            owner = owner_of(self.state, change.path)
            issue = ev.IssueOpened(
                issue=review.next_issue(self.state, number),
                item=owner.spec.id if owner else None,
                source=ev.IssueSource.INTRUSION,
                path=change.path,
                text="changed by a command",
            )
            events += [change.model_copy(update={"session": session.id}), issue]
        return events

    def _request(self, session: Session, act: RequestChange) -> Sequence[ev.Event]:
        del session
        owner = owner_of(self.state, act.path)
        request = ev.IssueOpened(
            issue=review.next_issue(self.state),
            item=owner.spec.id if owner else None,
            source=ev.IssueSource.REQUEST,
            path=act.path,
            text="please",
        )
        return [request]

    def _judge(self, session: Session, act: Judge) -> Sequence[ev.Event]:
        files = self.hashes(self.item(session).files)
        reasons = review.refusals(self.state, session, act.verdict, act.cited, act.findings, files)
        if reasons:
            return [ev.ReviewRefused(session=session.id, reasons=reasons)]
        return review.accepted(self.state, session, act.verdict, act.cited, act.findings)

    def _plan(self, session: Session, act: Plan) -> Sequence[ev.Event]:
        if reasons := plan.refusals(self.state, act.items, act.verify):
            return [ev.PlanRejected(session=session.id, reasons=reasons)]
        files = self.hashes([path for item in act.items for path in item.files])
        accepted = ev.PlanAccepted(session=session.id, items=act.items, verify=act.verify, files=files)
        end = ev.SessionEnded(session=session.id, outcome=ev.SessionOutcome.DONE)
        return [*plan.replaced(self.state, act.items), accepted, end]

    def _delegate(self, act: Delegate) -> Sequence[ev.Event]:
        number = 1 + sum(1 for key in self.state.items if key.startswith("T"))
        spec = act.spec.model_copy(update={"id": ev.ItemId(f"T{number}")})
        added = ev.ItemAdded(
            item=spec.id, spec=spec, origin=ev.ItemOrigin.DELEGATED, files=self.hashes(spec.files)
        )
        return [added]

    # ---- what has to hold in every mission

    def _check(self, after: MissionState) -> None:
        held: set[str] = set()
        for item in after.items.values():
            if item.leased:
                assert not held & set(item.files), "two items hold one file"
                held |= set(item.files)
        for key, item in self.state.items.items():
            if item.status is ItemStatus.COMPLETED:
                assert after.items[key].status is ItemStatus.COMPLETED, "completed is absorbing"
        if after.outcome is ev.Outcome.SEALED:
            self._check_seal(after)

    def _check_workers(self) -> None:
        workers = [s for s in running_sessions(self.state) if s.role is ev.Role.WORKER]
        assert len({s.item for s in workers}) == len(workers), "two Workers run for one item"
        assert all(self.item(s).leased for s in workers), "a Worker runs without its lease"

    def _check_seal(self, after: MissionState) -> None:
        listed = [i for i in after.items.values() if i.status is not ItemStatus.DROPPED]
        assert listed
        assert all(i.status is ItemStatus.COMPLETED for i in listed)
        assert not open_issues(after)
        assert after.verified
        assert all(v.exit_code == 0 and v.tree == self.tree() for v in after.verified)
        for path in {path for item in listed for path in item.files}:
            owner = owner_of(after, path)
            assert owner is not None
            proofs = [after.evidence[e] for e in owner.evidence]
            assert all(p.exit_code == 0 and not p.void for p in proofs)
            assert any(p.files.get(path) == self.disk.get(path) for p in proofs), "the evidence is stale"


_FINISHES: Mapping[type[Act], ev.FinishReason] = {
    Say: ev.FinishReason.STOP,
    Cut: ev.FinishReason.LENGTH,
}


def _after_words(session: Session, act: Act) -> ev.Event:
    """Return what follows a turn without a call: it stopped, or it was cut."""
    if isinstance(act, Cut):
        recovery = ev.MessageReason.RECOVERY
        return ev.MessageSent(session=session.id, item=session.item, reason=recovery, text="cut: go on")
    return ev.SessionIdle(session=session.id, item=session.item)


def _result(session: Session, call_id: str, tool: str, *, ok: bool) -> ev.ToolFinished:
    return ev.ToolFinished(
        session=session.id, item=session.item, call_id=call_id, tool=tool, ok=ok, text="ok", duration_s=1.0
    )


def _blocked(session: Session, question: str) -> ev.MissionFailed:
    blocker = ev.Blocker(kind=ev.BlockerKind.DECISION, text=question)
    return ev.MissionFailed(
        session=session.id, outcome=ev.Outcome.BLOCKED, text=question, blockers=(blocker,)
    )
