"""Which model a session asks, and which comes next."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission import substitutes
from orch.mission.decide import decide
from orch.mission.reduce import reduce
from orch.mission.state import MissionState, SessionStatus
from tests.mission import samples
from tests.mission.samples import S2, stamped, with_worker
from tests.mission.simulation import MODELS

OWN, A, B = MODELS[ev.Role.WORKER], "p/a", "p/b"
WORKER, REVIEWER = ev.Role.WORKER, ev.Role.REVIEWER


def _mission(asks: str = OWN, now: str | None = None, **changes: object) -> MissionState:
    """Return a mission whose Worker asks a model, while new ones begin with another."""
    state = replace(with_worker(model=asks, **changes), fallback=(A, B))
    return state if now is None else replace(state, substitutes={WORKER: now})


def _switched(before: str, model: str) -> ev.ModelSwitched:
    return ev.ModelSwitched(session=S2, role=WORKER, model=model, before=before, reason="r")


@pytest.mark.parametrize(
    ("asks", "now", "following"),
    [
        (OWN, None, A),
        (A, A, B),
        (B, B, None),
        (OWN, B, B),
        (A, B, B),
        (A, None, B),
        ("gone/model", None, OWN),
    ],
)
def test_the_next_model_is_the_one_behind_or_what_others_have_come_to(
    asks: str, now: str | None, following: str | None
) -> None:
    """What another session of the role has found to be down is not tried again."""
    state = _mission(asks, now)
    assert substitutes.following(state, state.sessions[S2]) == following


def test_a_fallback_model_that_is_the_roles_own_counts_once() -> None:
    """There is nothing to go on with."""
    state = replace(_mission(), fallback=(OWN,))
    assert substitutes.following(state, state.sessions[S2]) is None


def test_a_switch_holds_for_the_session_and_for_new_ones_of_its_role() -> None:
    """Other roles have not found out."""
    before = _mission()
    state = reduce(before, stamped(_switched(OWN, A), before.seq + 1))

    assert state.sessions[S2].model == A
    assert substitutes.present(state, WORKER) == A
    assert substitutes.present(state, REVIEWER) == MODELS[REVIEWER]
    assert state.sessions[S2].messages == before.sessions[S2].messages


def test_what_starts_next_begins_with_the_substitute() -> None:
    """The Worker of the other item, say."""
    steps = decide(_mission(A, A), ())
    started = [e for step in steps for e in step.events if isinstance(e, ev.SessionStarted)]
    assert [(e.role, e.model) for e in started] == [(WORKER, A)]


def test_a_restored_model_is_for_new_sessions() -> None:
    """Who went on with another one stays there."""
    state = _mission(A, A)
    after = reduce(state, stamped(ev.ModelRestored(role=WORKER, model=OWN), state.seq + 1))
    assert (substitutes.present(after, WORKER), after.sessions[S2].model) == (OWN, A)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (_mission(A), _switched(OWN, B)),
        (_mission(open_turn=True), _switched(OWN, A)),
        (_mission(status=SessionStatus.IDLE), _switched(OWN, A)),
        (_mission(status=SessionStatus.ENDED), _switched(OWN, A)),
        (_mission(), _switched(OWN, A).model_copy(update={"role": REVIEWER})),
    ],
    ids=["asks another", "in a turn", "idle", "ended", "another role"],
)
def test_a_switch_that_does_not_fit_the_session_is_refused(state: MissionState, event: ev.Event) -> None:
    """Only a session that owes a turn, and has none open, can go on elsewhere."""
    samples.refused(state, event)


def test_a_resume_begins_with_each_roles_own_model() -> None:
    """For sessions that go on too; one that is over says what it asked."""
    models = dict.fromkeys(ev.Role, "q/new")
    state = _mission(A, A)
    event = ev.MissionResumed(orch_version="1", models=models, max_parallel=2, max_turns=9, fallback=(B,))
    resumed = reduce(state, stamped(event, state.seq + 1))
    ended = reduce(_mission(A, A, status=SessionStatus.ENDED), stamped(event, state.seq + 1))

    assert resumed.sessions[S2].model == "q/new"
    assert (resumed.fallback, dict(resumed.substitutes)) == ((B,), {})
    assert ended.sessions[S2].model == A
