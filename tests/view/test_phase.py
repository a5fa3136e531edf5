"""A mission is where its sessions are; one that is over says how it ended."""

from datetime import timedelta

import pytest

from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.reduce import replay
from orch.mission.state import MissionState
from orch.view.phase import phase
from tests.mission.casts import cast
from tests.mission.simulation import Simulation
from tests.view.crowd import NOW, crowd

SEALED = Simulation(cast()).start().run()


def test_a_mission_goes_through_its_phases() -> None:
    """From the goal to the seal."""
    states = [replay(SEALED.events[:length]) for length in range(len(SEALED.events) + 1)]
    words = dict.fromkeys(phase(state, NOW, is_alive=True).word for state in states)
    assert next(iter(words)) == "starting"
    assert list(words)[-1] == "sealed"
    assert {"exploring", "planning", "verifying", "building", "reviewing"} <= words.keys()


@pytest.mark.parametrize("outcome", ev.Outcome)
def test_every_outcome_has_a_word_and_a_mark(outcome: ev.Outcome) -> None:
    """What went well is marked so, and nothing else."""
    shown = phase(MissionState(outcome=outcome), NOW, is_alive=False)
    went_well = {ev.Outcome.SEALED, ev.Outcome.ANSWERED, ev.Outcome.PLANNED}
    assert (shown.mark == "✓") == (outcome in went_well)
    assert shown.word


def test_a_mission_that_nobody_runs_and_that_has_no_end_is_interrupted() -> None:
    """Whatever its sessions did."""
    assert phase(crowd().state, NOW, is_alive=False).word == "interrupted"


def test_where_all_wait_the_mission_waits() -> None:
    """One session that works makes it go on."""
    state = crowd().state
    refusal = state.refusals["acme"]
    waiting = {
        key: evolve(session, open_turn=True, doing="", retry=refusal)
        for key, session in state.sessions.items()
    }
    everybody = evolve(state, sessions=waiting)

    assert phase(everybody, NOW, is_alive=True).word == "waiting for the provider"
    assert phase(state, NOW, is_alive=True).word == "building"
    assert phase(everybody, NOW + timedelta(seconds=60), is_alive=True).word == "building"
    failing = refusal.model_copy(update={"error": "Unavailable"})
    healing = {key: evolve(session, retry=failing) for key, session in waiting.items()}
    assert phase(evolve(state, sessions=healing, refusals={}), NOW, is_alive=True).word == "healing"
