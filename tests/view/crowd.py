"""A mission in which fifty sessions work at once, as somebody sees it who looks at it in the middle.

The simulation plays a plan of 98 items until fourteen are done; then each session is given something to do
that takes its time, and its provider's gate is closed for some of them.

python -m tests.view.crowd writes what is then seen to tests/view/screens/, for the tests to compare with.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.decide import work
from orch.mission.evolve import evolve
from orch.mission.review import Finding
from orch.mission.state import ItemStatus, MissionState, Session, Spending, running_sessions
from orch.view.frame import Scene, frame
from orch.view.toasts import Toast, Tone
from tests.mission.casts import cast, honest_reviewer, script, spec
from tests.mission.simulation import Act, Judge, Plan, Simulation

SCREENS: Final = Path(__file__).with_name("screens")
SIZES: Final = ((80, 24), (200, 50))
NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
SESSIONS: Final = 50
_DONE, _MOST_STEPS = 14, 5_000
_ROWS, _FREE_ROWS = 14, 10
"""Items further down than the free rows wait for the parser of their row, and parsers for each other."""
_HINT: Final = "q leaves the watch, s stops the mission"
_MODEL: Final = "acme/large"
_GOAL: Final = "Port the importer to the new parser, keep every format that is read today, and prove it"
_PARTS: Final = ("parse", "read", "write", "check", "index", "report", "cache")
_TITLES: Final = (
    "Keep the header",
    "Read rows lazily",
    "見出しを読む",
    "Name what is unknown",
    "Write it back",
)
_DOING: Final = (
    "read orch/importer/rows.py",
    "",
    "bash python -m pytest -q tests/importer",
    "edit orch/importer/索引.py",
    "",
    "grep 'def parse' in orch",
    "write orch/importer/header.py",
)
"""Where nothing is named, a session asks its model."""
_HOSTILE: Final = "\x1b]0;mine\x07\x1b[31mno test\x1b[0m for \u202eyna\u202c empty file"


def crowd() -> Scene:
    """Return the mission with fifty sessions, and the news of the last seconds."""
    said = (
        Toast("parse-1 completed: every format is read (evidence E12)", Tone.PROVEN, _before(9)),
        Toast(f"read-3 rejected: {_HOSTILE}", Tone.WAITS, _before(6)),
        Toast("acme refused a call for its rate: again in 38 s", Tone.WAITS, _before(4)),
    )
    return Scene(_busy(_played()), NOW, toasts=said, hint=_HINT)


def screen(scene: Scene, columns: int, rows: int) -> str:
    """Return what is seen, as text."""
    return "".join(f"{line.plain.rstrip()}\n" for line in frame(scene, columns, rows))


def screen_file(columns: int, rows: int) -> Path:
    """Return where the screen of a size is kept."""
    return SCREENS / f"{columns}x{rows}.txt"


# ---- the mission


def _plan() -> Plan:
    titles = cycle(_TITLES)
    items = [_item(part, row, next(titles)) for row in range(1, _ROWS + 1) for part in _PARTS]
    return Plan(tuple(items), ("make test", "make lint"))


def _item(part: str, row: int, title: str) -> ev.ItemSpec:
    first, name = _PARTS[0], f"{part}-{row}"
    waits_for = f"{first}-{row}" if part != first else f"{first}-{row - 1}"
    item = spec(name, after=(waits_for,) if row > _FREE_ROWS else ())
    return item.model_copy(update={"title": title})


def _strict(simulation: Simulation, session: Session) -> Act:
    """Reject every fifth item once."""
    item = simulation.item(session)
    if int(session.id[1:]) % 5 == 0 and not item.rejections:
        return Judge(ev.Verdict.REJECT, findings=(Finding(item.files[0], _HOSTILE),))
    return honest_reviewer(simulation, session)


def _played() -> MissionState:
    """Play until enough is done and all slots are taken."""
    rng = Random(3)  # noqa: S311 - a reproducible order, no secret
    players = cast(planner=script(_plan()), reviewer=_strict)
    mission = Simulation(players, pick=rng.choice).start(goal=_GOAL, max_parallel=SESSIONS)
    for _ in range(_MOST_STEPS):
        mission.settle()
        done = sum(item.status is ItemStatus.COMPLETED for item in mission.state.items.values())
        if done >= _DONE and len(running_sessions(mission.state)) == SESSIONS:
            return mission.state
        mission.go_on(rng.choice(work(mission.state)))
    raise AssertionError("the mission never came to its middle")


def _busy(state: MissionState) -> MissionState:
    refusal = ev.Retry(
        ts=_before(4).isoformat(),
        session=ev.SessionId("S9"),
        attempt=1,
        delay_s=38,
        error="RateLimited",
        text="429",
        at_once=12,
    )
    usage = ev.Usage(input_tokens=48_000_000, output_tokens=1_240_000, cost_usd=71.3)
    return evolve(
        state,
        mission=ev.MissionId("m-20300101-port"),
        sessions={session.id: session for session in _sessions(state, refusal)},
        caps=Caps(max_budget_usd=80.0, max_tokens=120_000_000, timeout_s=7_200),
        spending=Spending({(ev.Role.WORKER, _MODEL): usage}),
        refusals={"acme": refusal},
        run_started=_before(2_700).isoformat(),
        ts=_before(2).isoformat(),
    )


def _sessions(state: MissionState, refusal: ev.Retry) -> Iterator[Session]:
    running = {session.id: number for number, session in enumerate(running_sessions(state))}
    for session in state.sessions.values():
        worked = evolve(session, model=_MODEL, worked_s=90.0 + 37 * (int(session.id[1:]) % 9))
        number = running.get(session.id)
        yield worked if number is None else _at_work(worked, number, refusal)


def _at_work(session: Session, number: int, refusal: ev.Retry) -> Session:
    doing = _DOING[number % len(_DOING)]
    waits = not doing and number % 3 == 0
    return evolve(
        session,
        worked_s=session.worked_s / 3,
        doing=doing,
        open_turn=not doing,
        retry=refusal if waits else None,
        turns=3 + number,
        usage=ev.Usage(input_tokens=31_000 + 9_000 * number, output_tokens=900, cost_usd=0.1),
        last_activity=_before(4 if waits else 400 if number == 13 else number * 7 % 95).isoformat(),
    )


def _before(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


if __name__ == "__main__":
    SCREENS.mkdir(exist_ok=True)
    for size in SIZES:
        screen_file(*size).write_text(screen(crowd(), *size), encoding="utf-8")
