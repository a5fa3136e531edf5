"""Whatever a model sends: a tool error or one more chance, never a crash, and the mission comes to its end.

The endpoint of these missions refuses every invalid request, and the test fails if it ever does.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import pytest

from orch.mission import events as ev
from orch.mission.answers import ASK_AGAIN, REASONS, Flaw
from orch.mission.brief import WORKER_NUDGE
from orch.mission.repetition import NOTICE, REASON, SAME
from orch.models.calls import MAX_CALLS, SURPLUS
from tests.endpoint import Script, Step
from tests.play import (
    Player,
    Scene,
    always,
    approve,
    build,
    call,
    cast,
    first,
    item,
    lead,
    mission,
    plan,
    say,
)
from tests.runtime.hostile import CASES, NOTE, STOPS, Case, calls, drawn, piece
from tests.runtime.house import House, Run

PLAYERS: Mapping[str, Player] = {
    "commander": lead,
    "planner": plan(item("a")),
    "worker": build,
    "reviewer": approve,
}


def sessions(run: Run, role: ev.Role) -> list[ev.SessionId]:
    """Return the sessions of a role, in their order."""
    return [event.session for event in run.all(ev.SessionStarted) if event.role is role]


def told(run: Run, session: ev.SessionId) -> list[list[ev.ToolFinished | ev.MessageSent]]:
    """Return for each turn of a session what it was told because of it."""
    turns: list[list[ev.ToolFinished | ev.MessageSent]] = []
    for event in run.events:
        if event.session == session and isinstance(event, ev.TurnFinished):
            turns.append([])
        elif event.session == session and isinstance(event, ev.ToolFinished | ev.MessageSent) and turns:
            turns[-1].append(event)
    return turns


def reasons(run: Run, role: ev.Role) -> list[str]:
    """Return why the sessions of a role failed."""
    mine = sessions(run, role)
    failed = ev.SessionOutcome.FAILED
    return [e.reason for e in run.all(ev.SessionEnded) if e.session in mine and e.outcome is failed]


def whole(**players: Player) -> Script:
    """Return the script of a mission of one item."""
    playing = {**PLAYERS, **players}
    return cast(*(playing[role] for role in PLAYERS))


# ---- single answers

HALF = (len(CASES) + 1) // 2
PAIRS = [(CASES[n], CASES[n + HALF]) if n + HALF < len(CASES) else (CASES[n],) for n in range(HALF)]
"""Each Worker of one mission begins with two of the cases; the first half holds all those without a call."""


def _worst_worker(scene: Scene) -> Step:
    pair = PAIRS[int(scene.field("id").removeprefix("i"))]
    return first(*(case.step for case in pair), then=build)(scene)


@pytest.fixture(scope="module")
def worst(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a mission in which every case was played, once."""
    workspace = tmp_path_factory.mktemp("worst") / "workspace"
    workspace.mkdir()
    (workspace / NOTE).write_text("so it is\n")
    items = [item(f"i{number}") for number in range(len(PAIRS))]
    return House(workspace).begin(mission(*items, worker=_worst_worker), max_parallel=8)


@pytest.mark.fault(26, 27, 28)
def test_a_mission_of_the_worst_answers_is_sealed(
    worst: Run, record_property: Callable[[str, object], None]
) -> None:
    """Every Worker gets over them, in its one session."""
    record_property("figure", f"{len(CASES)} kinds of answers")

    assert worst.result.exit_code == 0, worst.result.result
    assert len(sessions(worst, ev.Role.WORKER)) == len(PAIRS)
    assert worst.result.num_retries == 0


@pytest.mark.fault(26, 27, 28)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_model_is_told_what_is_wrong_with_its_answer(worst: Run, case: Case) -> None:
    """And what is right in it is done."""
    number = CASES.index(case)
    (session,) = [event.session for event in worst.all(ev.ItemStarted) if event.item == f"i{number % HALF}"]
    answer = told(worst, session)[number // HALF]

    results = [event for event in answer if isinstance(event, ev.ToolFinished)]
    words = [WORKER_NUDGE] if case.name in STOPS else [case.words]
    assert all(any(each in event.text for event in answer) for each in words if each)
    assert sum(event.ok and "so it is" in event.text for event in results) == case.ran
    assert len({event.call_id for event in results}) == len(results)


@pytest.mark.fault(28)
def test_the_calls_of_a_turn_that_are_too_many_are_answered_and_not_run(worst: Run) -> None:
    """Each of them hears so; none of them is announced as running."""
    number = next(n for n, case in enumerate(CASES) if case.name == "200 calls")
    (session,) = [e.session for e in worst.all(ev.ItemStarted) if e.item == f"i{number % HALF}"]
    results = [e for e in told(worst, session)[number // HALF] if isinstance(e, ev.ToolFinished)]
    announced = {e.call_id for e in worst.all(ev.ToolCalled) if e.session == session}

    assert len(results) == 200
    assert [e.text for e in results[MAX_CALLS:]] == [SURPLUS] * (200 - MAX_CALLS)
    assert {e.call_id for e in results if e.call_id in announced} == {e.call_id for e in results[:MAX_CALLS]}


ROLES_WORST = (
    calls(piece("{", name="submit_plan"), piece('{"items": "[[[["}', name="submit_plan", index=1)),
    Step(),
    calls(
        *(piece(index=n, name=name) for n, name in enumerate(("nonsense", "write", "delegate_task", "bash")))
    ),
    Step(text="half a", finish="length"),
    calls(
        piece('{"verdict": NaN}', name="submit_review"),
        piece("[]", name="seal_mission", index=1),
        finish="length",
    ),
)


@pytest.mark.fault(26, 27, 28)
@pytest.mark.parametrize("role", PLAYERS)
def test_every_role_gets_over_a_bad_beginning(house: House, role: str) -> None:
    """Empty, cut, malformed, unknown, not granted: then it does its part."""
    run = house.begin(whole(**{role: first(*ROLES_WORST, then=PLAYERS[role])}))

    assert run.result.exit_code == 0, run.result.result
    assert not reasons(run, ev.Role(role))


@pytest.mark.fault(26, 27, 28)
@pytest.mark.parametrize("seed", range(3))
def test_answers_that_are_drawn_end_the_mission_all_the_same(house: House, seed: int) -> None:
    """Twenty Workers, whose first answers are made of anything; the rest is done as it should be."""

    def worker(scene: Scene) -> Step:
        """Answer with whatever comes, three times; then work."""
        dice = Random(f"{seed} {scene.field('id')} {scene.turn.number}")  # noqa: S311 - replayable
        own = tuple(done for done in scene.done if done.arguments.get("path") == scene.files[0])
        return drawn(dice) if scene.turn.number < 3 else build(replace(scene, done=own))

    run = house.begin(mission(*(item(f"i{n}") for n in range(20)), worker=worker), max_parallel=8)

    assert run.state.outcome in (ev.Outcome.SEALED, ev.Outcome.UNSEALED), run.result.result
    assert run.result.num_retries == 0


# ---- answers that nothing can be done with

MUTE: Mapping[Flaw, Step] = {
    Flaw.EMPTY: Step(reasoning="hm"),
    Flaw.CUT: Step(text="and so on and", finish="length"),
    Flaw.REFUSED: Step(refusal="I won't."),
    Flaw.DEGENERATE: Step(text="I will fix it now. " * 1_000, tool_calls=[("glob", {"pattern": "*"})]),
}


@pytest.mark.fault(26)
@pytest.mark.parametrize("found", Flaw)
def test_a_worker_without_an_answer_is_asked_again_then_replaced_then_given_up(
    house: House, found: Flaw
) -> None:
    """Two sessions of two turns each; the item says why it failed."""
    run = house.begin(whole(worker=always(MUTE[found])))

    assert run.result.exit_code == 1
    assert reasons(run, ev.Role.WORKER) == [REASONS[found]] * 2
    assert [run.state.sessions[s].turns for s in sessions(run, ev.Role.WORKER)] == [2, 2]
    asked = [e.text for e in run.all(ev.MessageSent) if e.reason is ev.MessageReason.RECOVERY]
    assert asked == [ASK_AGAIN[found]] * 2
    assert run.result.blockers[0].text == (
        f"item a is failed: two Workers did not finish it; the last: {REASONS[found]}"
    )


@pytest.mark.fault(26)
@pytest.mark.parametrize("found", Flaw)
@pytest.mark.parametrize("role", ["commander", "planner", "reviewer"])
def test_a_mission_ends_whoever_has_no_answer(house: House, role: str, found: Flaw) -> None:
    """Without a Planner or a Reviewer nothing is done; a mute Commander stops nothing."""
    run = house.begin(whole(**{role: always(MUTE[found])}))

    mute = role == "commander" and found is Flaw.EMPTY
    assert run.result.exit_code == (0 if mute else 1), run.result.result
    assert set(reasons(run, ev.Role(role))) == (set() if mute else {REASONS[found]})
    assert run.result.num_turns <= 60
    if role == "commander" and not mute:
        assert f"the Commander did not finish: {REASONS[found]}" in run.result.result


@pytest.mark.fault(26)
def test_a_worker_that_wrote_may_stop_without_a_word(house: House) -> None:
    """Asked once more, it is still silent: what it wrote goes to its review."""

    def worker(scene: Scene) -> Step:
        """Write, then say nothing, ever."""
        return Step() if scene.turn.number else build(scene)

    run = house.begin(whole(worker=worker))

    assert run.result.exit_code == 0, run.result.result
    assert [run.state.sessions[s].turns for s in sessions(run, ev.Role.WORKER)] == [3]


@pytest.mark.fault(26)
def test_a_refusal_is_no_answer_to_a_question(house: House) -> None:
    """Nor are half a sentence or silence: the run says that there is none."""
    for found in Flaw:
        asked = House(house.workspace.parent / found)
        asked.workspace.mkdir()
        run = asked.begin(whole(commander=always(MUTE[found])), answer_only=True)

        assert run.state.outcome is ev.Outcome.UNSEALED, run.result.result


# ---- round in circles


def turns_of(run: Run, role: ev.Role) -> list[int]:
    """Return how many turns the sessions of a role took."""
    return [run.state.sessions[session].turns for session in sessions(run, role)]


@pytest.mark.fault(29)
def test_a_worker_that_goes_round_in_circles_is_told_then_replaced_then_given_up(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    """With the third result it is told; the fourth call is the last, and the item says why it failed."""
    run = house.begin(whole(worker=always(call("glob", pattern="*"))))

    record_property("figure", f"{SAME + 1} turns a session")
    assert run.result.exit_code == 1
    assert turns_of(run, ev.Role.WORKER) == [SAME + 1] * 2
    assert reasons(run, ev.Role.WORKER) == [REASON] * 2
    for session in sessions(run, ev.Role.WORKER):
        results = [e.text for e in run.all(ev.ToolFinished) if e.session == session]
        assert [text.endswith(NOTICE) for text in results] == [False, False, True, False]
    assert REASON in run.result.blockers[0].text


@pytest.mark.fault(29)
def test_who_heeds_the_notice_goes_on(house: House) -> None:
    """Told so, it does its work, in the same session."""
    run = house.begin(whole(worker=first(*[call("glob", pattern="*")] * SAME, then=build)))

    assert run.result.exit_code == 0, run.result.result
    assert not reasons(run, ev.Role.WORKER)


@pytest.mark.fault(29)
def test_arguments_that_are_broken_again_and_again_are_a_circle(house: House) -> None:
    """Wherever they break."""

    def worker(scene: Scene) -> Step:
        """Never get it right."""
        return Step(tool_calls=[("write", '{"path": "a.txt", "content": "' + "x" * scene.turn.number)])

    run = house.begin(whole(worker=worker))

    assert reasons(run, ev.Role.WORKER) == [REASON] * 2


def _walk(*steps: Step) -> Player:
    return lambda scene: steps[scene.turn.number % len(steps)]


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("role", "player", "turns"),
    [
        ("reviewer", always(call("bash", command="grep made a.txt")), 4),
        ("planner", always(call("submit_plan", items=[], verify=[])), 4),
        ("planner", _walk(call("glob", pattern="*"), call("glob", pattern="*.txt")), 11),
    ],
)
def test_a_mission_ends_whoever_goes_round_in_circles(
    house: House, role: str, player: Player, turns: int
) -> None:
    """Every session of the role is ended; a fresh one gets its chance, as often as it would otherwise."""
    run = house.begin(whole(**{role: player}))

    assert run.result.exit_code == 1
    assert set(turns_of(run, ev.Role(role))) == {turns}
    assert set(reasons(run, ev.Role(role))) == {REASON}


@pytest.mark.fault(29)
def test_a_commander_that_polls_is_put_to_rest_and_woken_when_there_is_news(house: House) -> None:
    """It asks how things stand until it is stopped, and is still the one who seals."""

    def commander(scene: Scene) -> Step:
        """Delegate, then ask for ever; woken, lead."""
        if scene.woken or not scene.done:
            return lead(scene)
        return call("get_task_result", task_id="S2")

    def planner(scene: Scene) -> Step:
        """Take some time."""
        return Step(delay_s=0.2, tool_calls=PLAYERS["planner"](scene).tool_calls)

    run = house.begin(whole(commander=commander, planner=planner))

    asked = [e for e in run.all(ev.ToolFinished) if e.tool == "get_task_result"]
    assert run.result.exit_code == 0, run.result.result
    assert sessions(run, ev.Role.COMMANDER) == ["S1"]
    assert SAME <= len(asked) <= 3 * SAME


@pytest.mark.fault(29)
@pytest.mark.parametrize("role", PLAYERS)
def test_the_same_text_again_and_again_ends_the_mission(house: House, role: str) -> None:
    """Whoever says it: nobody is asked for ever."""
    run = house.begin(whole(**{role: always(say("I will do it now."))}))

    assert run.state.outcome in (ev.Outcome.SEALED, ev.Outcome.UNSEALED, ev.Outcome.STAGNATED)
    assert run.result.num_turns <= 60


@pytest.mark.fault(29)
def test_running_the_check_again_after_a_change_is_no_circle(house: House) -> None:
    """A Reviewer that looks at the same thing while it changes is not disturbed."""

    def reviewer(scene: Scene) -> Step:
        """Poll a job until it is done; then review."""
        runs = len(scene.results("bash"))
        if runs < 8:
            return call("bash", command="echo x >> count.log; wc -l < count.log")
        checks = [done for done in scene.results("bash") if "grep" in str(done.arguments["command"])]
        if not checks:
            return call("bash", command=scene.field("check"))
        if scene.results("submit_review"):
            return say()
        evidence = checks[0].result.split()[1]
        return call("submit_review", verdict="approve", evidence=[evidence], issues=[])

    run = house.begin(whole(reviewer=reviewer))

    assert run.result.exit_code == 0, run.result.result
    assert not [text for text in run.said("bash") if NOTICE in text]
