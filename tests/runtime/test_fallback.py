"""A model that gives no answer: the session goes on with the next one, with all that was said so far."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.reduce import replay
from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Endpoint, Fault, Script, Step
from tests.play import Player, Scene, always, approve, build, item, lead, mission, refused
from tests.runtime.house import House, Run

OWN, SPARE, LAST = "test/scripted", "spare/scripted", "last/scripted"
NO_CREDIT = Step(
    fault=Fault.STATUS, status=429, body={"error": {"message": "no credit", "code": "insufficient_quota"}}
)
GONE = Step(
    fault=Fault.STATUS, status=404, body={"error": {"message": "no such model", "code": "model_not_found"}}
)
SCRIPT = mission(item("a"), item("b"))
DOWN = refused(503)


def after_writing(step: Step) -> Player:
    """Return a Worker that writes its file, and is then answered by `step` for ever."""
    return lambda scene: step if scene.done else build(scene)


@contextmanager
def spare(house: House, script: Script = SCRIPT, serve: type[Endpoint] = Endpoint) -> Iterator[Endpoint]:
    """Serve the provider `spare` beside the house's own one."""
    with serve(script) as endpoint:
        house.others = {**house.others, "spare": endpoint}
        yield endpoint


def begin(house: House, script: Script, *fallback: str, max_parallel: int = 1) -> Run:
    """Run a mission with fallback models, and assert that a replay of it comes to the same."""
    run = house.begin(script, max_parallel=max_parallel, fallback=fallback)
    assert replay(run.events) == run.state
    return run


def switches(run: Run) -> list[tuple[str, str, str]]:
    """Return who went on with what, in order."""
    return [(event.role, event.before, event.model) for event in run.all(ev.ModelSwitched)]


def models_of(run: Run, role: ev.Role) -> list[str]:
    """Return the models with which the sessions of a role began."""
    return [event.model for event in run.all(ev.SessionStarted) if event.role is role]


@pytest.mark.parametrize("fault", [DOWN, NO_CREDIT, GONE], ids=["down", "no credit", "vanished"])
def test_a_session_whose_model_fails_goes_on_with_the_fallback(house: House, fault: Step) -> None:
    """In the middle of its work: the other one is told all that was said, and new Workers begin there."""
    with spare(house) as other:
        run = begin(house, mission(item("a"), item("b"), worker=after_writing(fault)), SPARE)

    assert run.result.exit_code == 0, run.result.result
    assert switches(run) == [(ev.Role.WORKER, OWN, SPARE)]
    assert models_of(run, ev.Role.WORKER) == [OWN, SPARE]
    assert set(models_of(run, ev.Role.REVIEWER)) == {OWN}
    assert other.ledger[0].turn == 1, "its first turn was played again"
    assert len(run.all(ev.Retry)) == (3 if fault is DOWN else 0)
    assert set(run.result.usage.by_model) == {OWN, SPARE}


def test_the_models_are_tried_in_their_order(house: House) -> None:
    """The second one only when the first is down too."""
    with Endpoint(SCRIPT) as last, spare(house, lambda _turn: DOWN):
        house.others = {**house.others, "last": last}
        run = begin(house, mission(item("a"), worker=always(DOWN)), SPARE, LAST)

    assert run.result.exit_code == 0, run.result.result
    assert switches(run) == [(ev.Role.WORKER, OWN, SPARE), (ev.Role.WORKER, SPARE, LAST)]
    assert {model for _, _, model in switches(run)} >= set(run.result.usage.by_model) - {OWN}


def test_when_all_are_used_up_the_mission_parks(house: House) -> None:
    """Exit 75; the resume keeps the fallback models, and begins with the role's own one."""
    with spare(house, lambda _turn: DOWN):
        run = begin(house, mission(item("a"), worker=always(DOWN)), SPARE)
        again = house.resume(mission(item("a")), fallback=run.state.fallback)

    assert (run.result.exit_code, run.result.retryable) == (75, True)
    assert f"the fallback models ({SPARE}) are used up" in run.state.ending
    assert again.result.exit_code == 0, again.result.result
    assert {e.model for e in again.events[run.state.seq :] if isinstance(e, ev.TurnStarted)} == {OWN}


@pytest.mark.parametrize(("fault", "code"), [(refused(401), 77), (GONE, 2)], ids=["key", "unknown"])
def test_what_is_wrong_with_the_settings_is_not_covered_up(house: House, fault: Step, code: int) -> None:
    """A key that is refused, a model that never was there: one request, and the person hears of it."""
    with spare(house) as other:
        run = begin(house, mission(item("a"), commander=always(fault)), SPARE)

    assert run.result.exit_code == code
    assert len(run.all(ev.TurnStarted)) == 1
    assert other.ledger == []


def test_after_a_while_new_sessions_begin_with_the_roles_own_model(house: House) -> None:
    """Those that went on with another one stay there."""

    def worker(scene: Scene) -> Step:
        return DOWN if scene.files == ["a.txt"] else build(scene)

    house.cool_down_s = 0.0
    with spare(house):
        run = begin(house, mission(item("a"), item("b"), worker=worker), SPARE)

    assert run.result.exit_code == 0, run.result.result
    assert models_of(run, ev.Role.WORKER) == [OWN, OWN]
    assert [(e.role, e.model) for e in run.all(ev.ModelRestored)] == [(ev.Role.WORKER, OWN)]
    assert {e.model for e in run.all(ev.TurnFinished) if e.item == "a" and e.session == "S3"} == {SPARE}


def _thoughtful(player: Player) -> Player:
    return lambda scene: replace(player(scene), reasoning=f"What is due in turn {scene.turn.number}?")


THINKERS: Mapping[str, Player] = {
    "commander": _thoughtful(lead),
    "worker": _thoughtful(build),
    "reviewer": _thoughtful(approve),
}


@pytest.mark.parametrize(
    ("own", "other"), [(Endpoint, anthropic_endpoint), (anthropic_endpoint, Endpoint)], ids=["to", "from"]
)
def test_a_session_goes_on_over_another_wire(
    house: House, own: type[Endpoint], other: type[Endpoint]
) -> None:
    """Thoughts of another model are left out, ids are taken: the strict endpoint refuses nothing."""
    down_later = {role: _fails_from(player, 1) for role, player in THINKERS.items()}
    house.serve = own
    with spare(house, _played(THINKERS), other) as there:
        run = begin(house, _played(down_later), SPARE)

    assert run.result.exit_code == 0, run.result.result
    assert {role for role, _, _ in switches(run)} == {"commander", "worker", "reviewer"}
    assert there.refusals == []


def _played(players: Mapping[str, Player]) -> Script:
    return mission(
        item("a"),
        commander=players["commander"],
        worker=players["worker"],
        reviewer=players["reviewer"],
    )


def _fails_from(player: Player, number: int) -> Player:
    return lambda scene: DOWN if scene.turn.number >= number else player(scene)


def test_a_resume_with_another_model_takes_it_for_running_sessions_too(house: House) -> None:
    """Also where the provider of the old one is gone."""
    stopped = house.begin(mission(item("a"), worker=after_writing(DOWN)))
    with Endpoint(SCRIPT) as other:
        house.serve = lambda _script: nullcontext(other)
        again = house.resume(SCRIPT, models=dict.fromkeys(ev.Role, "test/scripted-mini"))

    assert stopped.result.exit_code == 75
    assert again.result.exit_code == 0, again.result.result
    later = [e.model for e in again.events[stopped.state.seq :] if isinstance(e, ev.TurnStarted)]
    assert set(later) == {"test/scripted-mini"}
    assert models_of(again, ev.Role.WORKER) == [OWN]


def test_fifty_sessions_whose_model_goes_down_all_go_on(house: House) -> None:
    """Each for itself; none is lost, and no turn is paid twice."""
    items = [item(f"i{n}") for n in range(50)]
    house.settings = {"max_parallel": 50}
    with spare(house, mission(*items)):
        run = begin(house, mission(*items, worker=after_writing(DOWN)), SPARE, max_parallel=50)

    assert run.result.exit_code == 0, run.result.result
    assert {model for _, _, model in switches(run)} == {SPARE}
    assert len({event.session for event in run.all(ev.ModelSwitched)}) == len(switches(run)) <= 50
