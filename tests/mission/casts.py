"""Agents for simulated missions: well-behaved ones, and a troupe whose vices hypothesis chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from orch.mission import events as ev
from orch.mission.review import Finding
from orch.mission.state import ItemStatus, Session, listed_items
from orch.mission.transcript import AssistantMessage
from tests.mission.simulation import (
    Act,
    Agent,
    Answer,
    Bash,
    Block,
    Break,
    Cancel,
    Cut,
    Delegate,
    DelegatePlan,
    Judge,
    Look,
    Plan,
    RequestChange,
    Say,
    Seal,
    Simulation,
    Write,
)


def spec(
    item: str, *files: str, after: Sequence[str] = (), check: str | None = "check", setup: str | None = None
) -> ev.ItemSpec:
    """Return an item of a plan."""
    return ev.ItemSpec(
        id=ev.ItemId(item),
        title=f"title of {item}",
        files=files or (f"{item}.py",),
        instructions=f"make {item}",
        depends_on=tuple(ev.ItemId(d) for d in after),
        check=check,
        setup=setup,
    )


PLAN = Plan((spec("a"), spec("b", after=["a"]), spec("c")), ("verify",))


def script(*acts: Act) -> Agent:
    """Return an agent whose every session does `acts` in turn, then says that it is done."""

    def act(_simulation: Simulation, session: Session) -> Act:
        return acts[session.turns] if session.turns < len(acts) else Say()

    return act


def mute(_simulation: Simulation, _session: Session) -> Act:
    """Never call a tool."""
    return Say("hm")


def diligent_worker(simulation: Simulation, session: Session) -> Act:
    """Write every file once after each brief or rejection, then stop."""
    if session.wrote:
        return Say()
    return Write(simulation.item(session).files[0], f"by {session.id} at {simulation.state.seq}")


def honest_reviewer(simulation: Simulation, session: Session) -> Act:
    """Run the check, then approve with it."""
    item = simulation.item(session)
    files = simulation.hashes(item.files)
    fresh = [
        e.evidence
        for e in simulation.state.evidence.values()
        if e.session == session.id and e.exit_code == 0 and not e.void and e.files == files
    ]
    if fresh:
        return Judge(ev.Verdict.APPROVE, (fresh[-1],))
    return Bash(item.spec.check or "look")


def rejecting_reviewer(times: int) -> Agent:
    """Return a Reviewer that rejects an item so many times before it approves."""

    def act(simulation: Simulation, session: Session) -> Act:
        item = simulation.item(session)
        reviews = sum(
            1
            for s in simulation.state.sessions.values()
            if s.item == item.spec.id and s.role is ev.Role.REVIEWER
        )
        if reviews <= times:
            return Judge(ev.Verdict.REJECT, findings=(Finding(None, f"wrong, {reviews}"),))
        return honest_reviewer(simulation, session)

    return act


def sealing_commander(simulation: Simulation, session: Session) -> Act:
    """Delegate to the Planner, then ask for the seal whenever it is woken."""
    if session.turns == 0:
        return DelegatePlan(simulation.state.goal)
    if isinstance(session.messages[-1], AssistantMessage) or session.turns_since_wake or session.turns == 1:
        return Say()
    return Seal()


def cast(**others: Agent) -> dict[ev.Role, Agent]:
    """Return agents that bring PLAN to its seal, but for those named otherwise."""
    agents: dict[ev.Role, Agent] = {
        ev.Role.COMMANDER: sealing_commander,
        ev.Role.PLANNER: script(PLAN),
        ev.Role.WORKER: diligent_worker,
        ev.Role.REVIEWER: honest_reviewer,
    }
    return agents | {ev.Role(role): agent for role, agent in others.items()}


# ---- agents with vices


@dataclass(frozen=True)
class Troupe:
    """What may go wrong in a mission. A mood is chosen anew for each turn, from those its role may be in."""

    seed: int
    plan: Plan
    commander: tuple[str, ...]
    planner: tuple[str, ...]
    worker: tuple[str, ...]
    reviewer: tuple[str, ...]
    reds: int
    edits: int
    max_parallel: int
    answer_only: bool

    def simulation(self) -> Simulation:
        """Return the mission, not started."""
        rng = Random(self.seed)  # noqa: S311 - a reproducible choice, no secret
        players = _Players(self, rng)
        return Simulation(
            agents={
                ev.Role.COMMANDER: players.commander,
                ev.Role.PLANNER: players.planner,
                ev.Role.WORKER: players.worker,
                ev.Role.REVIEWER: players.reviewer,
            },
            outcomes=players.outcome,
            pick=rng.choice,
            before_work=players.edit,
        )


class _Players:
    def __init__(self, troupe: Troupe, rng: Random) -> None:
        self.troupe = troupe
        self.rng = rng
        self.reds = troupe.reds
        self.edits = troupe.edits
        self.orders = (
            4  # a Commander that never tires of delegating is stopped by its budget, not by the loop
        )

    def commander(self, simulation: Simulation, session: Session) -> Act:
        if session.turns_since_wake > 2:
            return Say()
        return _COMMANDERS[self.rng.choice(self.troupe.commander)](self, simulation)

    def planner(self, _simulation: Simulation, _session: Session) -> Act:
        moods: Mapping[str, Act] = {
            "plan": self.troupe.plan,
            "bad": Plan((), ()),
            "mute": Say(),
            "look": Look(),
            "cut": Cut(),
            "break": Break(),
            "limit": Break(ev.BlockerKind.LIMIT),
        }
        return moods[self.rng.choice(self.troupe.planner)]

    def worker(self, simulation: Simulation, session: Session) -> Act:
        files = simulation.item(session).files
        path = self.rng.choice(files)
        others = sorted({f for i in simulation.state.items.values() for f in i.files} - set(files))
        moods: Mapping[str, Act] = {
            "write": Say() if session.wrote else Write(path, f"{session.id} {simulation.state.seq}"),
            "same": Write(path, simulation.disk.get(path) or "same"),
            "mute": Say(),
            "look": Look(),
            "cut": Cut(),
            "break": Break(),
            "limit": Break(ev.BlockerKind.LIMIT),
            "request": RequestChange(self.rng.choice([*others, "nobody.py"])),
        }
        return moods[self.rng.choice(self.troupe.worker)]

    def reviewer(self, simulation: Simulation, session: Session) -> Act:
        mood = self.rng.choice(self.troupe.reviewer)
        paths = sorted({f for i in simulation.state.items.values() for f in i.files})
        finding = Finding(self.rng.choice([None, *paths]), "wrong")
        if mood == "foreign":
            act = honest_reviewer(simulation, session)
            return Judge(ev.Verdict.APPROVE, act.cited, (finding,)) if isinstance(act, Judge) else act
        if mood == "approve":
            return honest_reviewer(simulation, session)
        moods: Mapping[str, Act] = {
            "reject": Judge(ev.Verdict.REJECT, findings=(finding,)),
            "blind": Judge(ev.Verdict.APPROVE, (ev.EvidenceId("E1"),)),
            "red": Bash("check", 1),
            "format": Bash("format", 0, {self.rng.choice(paths): "formatted"}),
            "mute": Say(),
            "cut": Cut(),
            "break": Break(),
            "limit": Break(ev.BlockerKind.LIMIT),
        }
        return moods[mood]

    def outcome(self, simulation: Simulation, _command: str) -> tuple[int, str]:
        if not self.reds:
            return 0, ""
        self.reds -= 1
        paths = sorted({f for i in simulation.state.items.values() for f in i.files})
        named = self.rng.sample(paths, k=min(len(paths), self.rng.randint(0, 2)))
        return 1, f"failed in {' and '.join(named)}"

    def edit(self, simulation: Simulation) -> None:
        paths = sorted({f for i in simulation.state.items.values() for f in i.files})
        if self.edits and paths and self.rng.random() < 0.1:
            self.edits -= 1
            simulation.edit(self.rng.choice(paths), f"by hand {self.edits}")

    def order(self, act: Act) -> Act:
        self.orders -= 1
        return act if self.orders >= 0 else Say()


def _delegate(players: _Players, simulation: Simulation) -> Act:
    paths = sorted({f for i in simulation.state.items.values() for f in i.files} | {"t.py"})
    return players.order(Delegate(spec("T", players.rng.choice(paths))))


def _cancel(players: _Players, simulation: Simulation) -> Act:
    items = [i.spec.id for i in listed_items(simulation.state) if i.status is not ItemStatus.COMPLETED]
    return Cancel(players.rng.choice(items)) if items else Say()


def _answer(_players: _Players, simulation: Simulation) -> Act:
    return Say() if listed_items(simulation.state) else Answer("forty-two")


_COMMANDERS: Mapping[str, Callable[[_Players, Simulation], Act]] = {
    "mute": lambda _p, _s: Say(),
    "silent": lambda _p, _s: Say("(empty reply)"),
    "look": lambda _p, _s: Look(),
    "cut": lambda _p, _s: Cut(),
    "seal": lambda _p, _s: Seal(),
    "plan": lambda p, s: p.order(DelegatePlan(s.state.goal)),
    "delegate": _delegate,
    "cancel": _cancel,
    "answer": _answer,
    "block": lambda _p, _s: Block("may I?"),
    "break": lambda _p, _s: Break(),
    "limit": lambda _p, _s: Break(ev.BlockerKind.LIMIT),
}


def _moods(good: str, *all_moods: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Mostly the good mood, sometimes only vices."""
    some = st.lists(st.sampled_from((good, *all_moods)), max_size=4).map(tuple)
    return st.one_of(st.just((good,)), some.map(lambda m: (good, good, *m)), some.filter(bool))


PLANS = st.sampled_from(
    (
        PLAN,
        Plan((spec("a"),), ()),
        Plan(
            (spec("a", check=None), spec("b", "a.py", "b.py", after=["a"], check=None)),
            ("verify", "verify", "lint"),
        ),
        Plan(
            (spec("a", "a.py", "x/a.py"), spec("b", setup="set up"), spec("c"), spec("d", after=["b", "c"])),
            ("verify",),
        ),
    )
)

TROUPES = st.builds(
    Troupe,
    seed=st.integers(0, 10_000),
    plan=PLANS,
    commander=_moods("seal", *_COMMANDERS),
    planner=_moods("plan", "bad", "mute", "look", "cut", "break", "limit"),
    worker=_moods("write", "same", "mute", "look", "cut", "break", "limit", "request"),
    reviewer=_moods(
        "approve", "reject", "foreign", "blind", "red", "format", "mute", "cut", "break", "limit"
    ),
    reds=st.integers(0, 6),
    edits=st.integers(0, 3),
    max_parallel=st.integers(1, 4),
    answer_only=st.sampled_from((False, False, False, True)),
)
