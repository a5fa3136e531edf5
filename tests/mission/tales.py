"""Journals by hand: `Teller` stamps events as `record()` would, at the times that a test says."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from orch.mission import events as ev
from orch.mission.transcript import AssistantMessage, ToolCall
from tests.mission.casts import spec
from tests.mission.simulation import MODELS

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEAD, WORKER, REVIEWER = ev.SessionId("S1"), ev.SessionId("S2"), ev.SessionId("S3")
A = ev.ItemId("a")
TREE = "t" * 64
USAGE = ev.Usage(input_tokens=100, output_tokens=10, cached_tokens=40, cost_usd=0.5)


class Teller:
    """Tells a mission: each fact `after_s` the one before."""

    def __init__(self, goal: str = "build it", title: str = "title of a") -> None:
        self.events: list[ev.Event] = []
        self.now_s = 0.0
        self._calls = 0
        self._goal = goal
        self._title = title

    def tell(self, *facts: ev.Event, after_s: float = 0.0) -> "Teller":
        """Stamp and keep facts; the first comes `after_s` the last, the others with it."""
        self.now_s += after_s
        ts = (BEGAN + timedelta(seconds=self.now_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for fact in facts:
            stamp = {"seq": len(self.events) + 1, "ts": ts, "mission": ev.MissionId("m1")}
            self.events.append(fact.model_copy(update=stamp))
        return self

    def begin(self, *, dry_run: bool = False) -> "Teller":
        """Begin a mission with its Commander."""
        started = ev.MissionStarted(
            goal=self._goal,
            orch_version="1.0",
            models=MODELS,
            max_parallel=2,
            max_turns=9,
            dry_run=dry_run,
        )
        return self.tell(started).session(LEAD, ev.Role.COMMANDER)

    def session(self, session: ev.SessionId, role: ev.Role, item: ev.ItemId | None = None) -> "Teller":
        """Begin a session."""
        brief = ev.MessageSent(session=session, item=item, reason=ev.MessageReason.BRIEF, text="brief")
        started = ev.SessionStarted(
            session=session, item=item, role=role, model="fake/model", title=self._title
        )
        return self.tell(started, brief)

    def plan(self, items: Sequence[ev.ItemSpec] | None = None) -> "Teller":
        """Accept a plan: the one item `a`, if no other is given."""
        one = spec("a").model_copy(update={"title": self._title})
        listed = tuple(items or (one,))
        files: dict[str, str | None] = {path: None for item in listed for path in item.files}
        return self.tell(ev.PlanAccepted(items=listed, verify=("make test",), files=files))

    def turn(self, session: ev.SessionId, took_s: float = 1.0, tool: str | None = None) -> "Teller":
        """Have a session answer, with one call if `tool` is named."""
        item = A if session != LEAD else None
        self._calls += 1
        calls = (ToolCall(id=f"c{self._calls}", name=tool, arguments="{}"),) if tool else ()
        self.tell(ev.TurnStarted(session=session, item=item, turn=1, model="fake/model"))
        finished = ev.TurnFinished(
            session=session,
            item=item,
            turn=1,
            model="fake/model",
            message=AssistantMessage(text="" if tool else "done", tool_calls=calls),
            finish=ev.FinishReason.TOOL_CALLS if tool else ev.FinishReason.STOP,
            usage=USAGE,
            duration_s=took_s,
        )
        self.tell(finished, after_s=took_s)
        if tool:
            self.tell(
                ev.ToolCalled(session=session, item=item, call_id=f"c{self._calls}", tool=tool, summary=tool)
            )
        return self

    def result(
        self, session: ev.SessionId, *facts: ev.Event, text: str = "done", tool: str = "x"
    ) -> "Teller":
        """End the call that was made last, two seconds later, with what it did."""
        done = ev.ToolFinished(
            session=session,
            item=A,
            call_id=f"c{self._calls}",
            tool=tool,
            ok=True,
            text=text,
            duration_s=2.0,
        )
        return self.tell(*facts, done, after_s=2.0)

    def work(self) -> "Teller":
        """Have the Worker take the item and write its file."""
        self.session(WORKER, ev.Role.WORKER, A).tell(ev.ItemStarted(item=A, session=WORKER))
        return self.write(None, "1" * 64).submit()

    def write(self, before: str | None, after: str) -> "Teller":
        """Have the Worker write the file in a turn."""
        changed = ev.FileChanged(session=WORKER, item=A, path="a.py", before=before, after=after)
        return self.turn(WORKER, tool="write").result(WORKER, changed)

    def submit(self) -> "Teller":
        """Have the Worker say that it is done."""
        idle = ev.SessionIdle(session=WORKER, item=A)
        return self.turn(WORKER).tell(idle, ev.ItemSubmitted(item=A, session=WORKER))

    def review(self, session: ev.SessionId, verdict: ev.Verdict, exit_code: int = 0) -> "Teller":
        """Have a Reviewer run the check and judge; a rejection opens an issue, an approval closes all."""
        number = sum(isinstance(event, ev.EvidenceRecorded) for event in self.events) + 1
        proof = ev.EvidenceRecorded(
            session=session,
            item=A,
            evidence=ev.EvidenceId(f"E{number}"),
            command="check",
            exit_code=exit_code,
            duration_s=2.0,
            tree=TREE,
            files={"a.py": "1" * 64},
            log=f"{session}.log",
        )
        self.session(session, ev.Role.REVIEWER, A).turn(session, tool="bash")
        self.result(session, proof, text=f"evidence E{number} · exit {exit_code} · 2.0s\nwhat it printed")
        judged = ev.ReviewSubmitted(session=session, item=A, verdict=verdict, evidence=(proof.evidence,))
        ended = ev.SessionEnded(session=session, item=A, outcome=ev.SessionOutcome.DONE)
        if verdict is ev.Verdict.REJECT:
            issue = ev.IssueOpened(
                issue=ev.IssueId("I1"), item=A, source=ev.IssueSource.REVIEW, text="it is wrong", path="a.py"
            )
            rejected = ev.ItemRejected(item=A, round=1, reason="it is wrong")
            return self.tell(judged, issue, rejected, ended)
        known = any(isinstance(event, ev.IssueOpened) for event in self.events)
        closed = [ev.IssueClosed(issue=ev.IssueId("I1"), item=A, reason=f"approved by {session}")]
        completed = ev.ItemCompleted(item=A, evidence=(proof.evidence,))
        return self.tell(judged, *(closed if known else []), completed, ended)

    def correct(self) -> "Teller":
        """Have the Worker hear of the rejection, write again, and submit."""
        told = ev.MessageSent(session=WORKER, item=A, reason=ev.MessageReason.REJECTION, text="it is wrong")
        self.tell(ev.ItemStarted(item=A, session=WORKER), told)
        return self.write("1" * 64, "2" * 64).submit()

    def seal(self) -> "Teller":
        """Verify and seal."""
        commands = ("make test",)
        self.tell(ev.VerificationStarted(phase=ev.VerificationPhase.SEAL, commands=commands))
        passed = ev.VerificationFinished(
            phase=ev.VerificationPhase.SEAL,
            command="make test",
            exit_code=0,
            duration_s=3.0,
            tree=TREE,
            output="5 passed",
        )
        return self.tell(passed, after_s=3.0).tell(ev.MissionSealed(tree=TREE, summary="All is built."))


def resumed(reply: str | None = None) -> ev.MissionResumed:
    """Return the beginning of another run."""
    return ev.MissionResumed(orch_version="1.1", models=MODELS, max_parallel=2, max_turns=9, reply=reply)


def sealed(goal: str = "build it", title: str = "title of a") -> list[ev.Event]:
    """Return a mission with one rejection, sealed."""
    teller = Teller(goal, title).begin().plan().work().review(REVIEWER, ev.Verdict.REJECT, 1)
    return teller.correct().review(ev.SessionId("S4"), ev.Verdict.APPROVE).seal().events
