"""What a session does is told in a few words: its tool, its model, or what it waits for."""

from datetime import timedelta

import pytest

from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.state import MissionState, Session
from orch.mission.transcript import ToolCall
from orch.view.activity import Closed, activity, closed, moment
from tests.view.crowd import NOW

AT = NOW.isoformat()
ASKING = Session(
    id=ev.SessionId("S1"),
    role=ev.Role.WORKER,
    model="acme/large",
    title="",
    started=AT,
    started_seq=1,
    open_turn=True,
    last_activity=AT,
)
REFUSAL = ev.Retry(
    ts=AT, session=ASKING.id, attempt=1, delay_s=30, error="RateLimited", text="429", at_once=3
)
FAILURE = REFUSAL.model_copy(update={"error": "Unavailable", "text": "503", "at_once": None})
GATES = {"acme": Closed(NOW, NOW + timedelta(seconds=30), 3)}
CALL = ToolCall(id="c1", name="x", arguments="{}")


@pytest.mark.parametrize(
    ("session", "words", "is_waiting"),
    [
        (ASKING, "thinking", False),
        (evolve(ASKING, retry=REFUSAL), "waiting 21s for acme", True),
        (evolve(ASKING, retry=FAILURE), "retrying in 21s: 503", True),
        (evolve(ASKING, open_turn=False), "starting", False),
        (evolve(ASKING, open_turn=False, turns=2), "starting its next turn", False),
        (evolve(ASKING, open_turn=False, doing="bash make test"), "running make test", False),
        (evolve(ASKING, open_turn=False, doing="tool of mine", open_calls=(CALL,)), "tool of mine", False),
    ],
)
def test_a_session_says_what_it_does(session: Session, words: str, is_waiting: bool) -> None:
    """Ten seconds after its last event."""
    doing = activity(session, {}, NOW + timedelta(seconds=10))
    assert (doing.words, doing.is_waiting) == (words, is_waiting)
    assert doing.word in words or doing.word == "working"


def test_who_asks_while_the_gate_is_closed_waits_for_it() -> None:
    """Who asked before is on its way; another provider's gate is no obstacle."""
    now = NOW + timedelta(seconds=10)
    before = evolve(ASKING, last_activity=(NOW - timedelta(seconds=1)).isoformat())

    assert activity(ASKING, GATES, now).words == "waiting 21s for acme"
    assert activity(before, GATES, now).words == "thinking"
    assert activity(evolve(ASKING, model="other/small"), GATES, now).words == "thinking"


def test_when_the_wait_is_over_it_asks_again() -> None:
    """The next try has a number."""
    late = NOW + timedelta(seconds=31)
    assert activity(evolve(ASKING, retry=REFUSAL), {}, late).words == "thinking, try 2"


def test_a_gate_is_closed_until_its_time() -> None:
    """And says how many calls it then lets through at once."""
    state = MissionState(refusals={"acme": REFUSAL})
    assert closed(state, NOW + timedelta(seconds=29)) == GATES
    assert closed(state, NOW + timedelta(seconds=30)) == {}


@pytest.mark.parametrize("delay_s", [-1.0, float("inf"), float("nan"), 1e300])
def test_a_delay_that_makes_no_sense_closes_no_gate(delay_s: float) -> None:
    """It comes from a provider."""
    refusal = REFUSAL.model_copy(update={"delay_s": delay_s})
    assert closed(MissionState(refusals={"acme": refusal}), NOW) == {}


@pytest.mark.parametrize("stamp", ["", "yesterday", "2030-13-01T00:00:00"])
def test_a_time_that_nobody_stamped_is_unknown(stamp: str) -> None:
    """It is no error."""
    assert moment(stamp) is None
    assert moment("2030-01-01T12:00:00") == NOW
