"""What is done about each error of a model: the table, the waits, and what a mission makes of them."""

import pytest
from tenacity import RetryCallState, Retrying

from orch.errors import (
    AuthRefused,
    BadStream,
    ConnectionLost,
    ContextOverflow,
    ModelError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
    ServerFailed,
    ToolError,
    UnknownModel,
)
from orch.mission import events as ev
from orch.runtime import recovery
from orch.runtime.recovery import Action
from tests.endpoint import Fault, Step
from tests.play import Player, Scene, always, build, item, mission, refused
from tests.runtime.house import House


@pytest.mark.parametrize(
    ("error", "action", "outcome"),
    [
        (RateLimited(), Action.WAIT, ev.Outcome.PROVIDER),
        (ServerFailed("no", status=500), Action.RETRY, ev.Outcome.PROVIDER),
        (ConnectionLost(), Action.RETRY, ev.Outcome.PROVIDER),
        (BadStream(), Action.RETRY, ev.Outcome.PROVIDER),
        (AuthRefused(), Action.END_RUN, ev.Outcome.AUTH),
        (UnknownModel("no", model="m"), Action.SWITCH, ev.Outcome.ERROR),
        (ProviderUnavailable(), Action.SWITCH, ev.Outcome.PROVIDER),
        (ContextOverflow(), Action.COMPACT, ev.Outcome.PROVIDER),
        (RequestRefused("no", status=400), Action.REPAIR, ev.Outcome.PROVIDER),
    ],
)
def test_every_error_of_a_model_has_its_row(error: ModelError, action: Action, outcome: ev.Outcome) -> None:
    """Chosen by its class alone."""
    row = recovery.action_for(error)

    assert row is not None
    assert (row.action, row.outcome) == (action, outcome)
    assert recovery.is_retried(error) is (action is Action.RETRY)


def test_other_errors_are_none_of_its_business() -> None:
    """A tool's error, a bug, the end of a task."""
    for error in (ToolError(), KeyError(), None):
        assert recovery.action_for(error) is None
    assert not recovery.is_retried(KeyError())


def test_an_endpoint_that_asks_for_too_long_a_wait_is_not_asked_again() -> None:
    """Whoever runs it can resume when it is back."""
    longest_s = recovery.LONGEST_WAIT_S
    assert recovery.is_retried(ServerFailed("no", status=503, retry_after_s=longest_s))
    assert not recovery.is_retried(ServerFailed("no", status=503, retry_after_s=longest_s + 1))


def _waited(error: Exception, attempt: int) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return recovery.backoff(1.0)(state)


def test_waits_grow_with_jitter_that_only_adds() -> None:
    """And are never shorter than what was asked for."""
    for attempt, least in ((1, 1.0), (2, 2.0), (3, 4.0)):
        assert least <= _waited(ConnectionLost(), attempt) <= least + 1.0
    assert _waited(ConnectionLost(), 99) <= recovery.LONGEST_WAIT_S / 2 + 1.0
    assert _waited(ServerFailed("no", status=503, retry_after_s=30.0), 1) == 30.0
    assert _waited(ServerFailed("no", status=503, retry_after_s=0.0), 1) >= 1.0


# ---- in a mission


def flaky(player: Player, *faults: Step) -> Player:
    """Return `player`, each of whose turns fails like this at first."""

    def tried(scene: Scene) -> Step:
        attempt = scene.turn.attempt
        return faults[attempt - 1] if attempt <= len(faults) else player(scene)

    return tried


@pytest.mark.parametrize(
    "fault",
    [
        refused(429, retry_after="0"),
        refused(500),
        Step(fault=Fault.STATUS, status=529, body={"error": {"message": "overloaded"}}),
        Step(text="x" * 2_000, fault=Fault.CUT),
        Step(fault=Fault.REFUSED_SILENTLY),
        Step(fault=Fault.GARBAGE),
    ],
    ids=["429", "500", "529", "cut", "refused", "garbage"],
)
def test_a_passing_failure_is_healed(house: House, fault: Step) -> None:
    """It costs a retry, which is an event, and leaves no trace in the result's code."""
    run = house.begin(mission(item("a"), worker=flaky(build, fault)))

    retries = run.all(ev.Retry)
    assert run.result.exit_code == 0, run.result.result
    assert run.result.num_retries == len(retries) >= 1
    assert {retry.attempt for retry in retries} == {1}
    assert len(run.all(ev.TurnStarted)) == len(run.all(ev.TurnFinished))


def test_a_provider_that_stays_down_parks_the_mission(house: House) -> None:
    """After the tries; resumable, and the resume goes on where it was."""
    run = house.begin(mission(item("a"), worker=always(refused(503))))
    again = house.resume(mission(item("a")))

    assert (run.result.exit_code, run.result.retryable) == (75, True)
    assert len(run.all(ev.Retry)) == recovery.TRIES - 1
    assert f"given up after {recovery.TRIES} tries" in run.state.ending
    assert again.result.exit_code == 0, again.result.result


def test_a_wait_that_is_too_long_parks_the_mission_at_once(house: House) -> None:
    """Nobody waits for an hour in the hope that nothing else goes wrong; the resume need not."""
    run = house.begin(mission(item("a"), worker=always(refused(429, retry_after="3600"))))
    again = house.resume(mission(item("a")))

    assert run.result.exit_code == 75
    assert run.all(ev.Retry) == []
    assert "for longer than orch waits" in run.state.ending
    assert again.result.exit_code == 0, again.result.result


@pytest.mark.parametrize(("status", "code"), [(401, 77), (403, 77)])
def test_a_refused_key_ends_the_run_at_once(house: House, status: int, code: int) -> None:
    """It is never asked again with the same key."""
    run = house.begin(mission(commander=always(refused(status))))

    assert run.result.exit_code == code
    assert run.all(ev.Retry) == []
    assert len(run.all(ev.TurnStarted)) == 1


def test_a_refused_request_fails_the_session_and_a_fresh_one_gets_its_chance(house: House) -> None:
    """What no endpoint takes may be what this conversation has become."""

    def worker(scene: Scene) -> Step:
        """Refuse the first Worker's second turn."""
        is_first = "Another Worker had this item" not in scene.brief
        return refused(400) if is_first and scene.done else build(scene)

    run = house.begin(mission(item("a"), worker=worker))

    (failed,) = [e for e in run.all(ev.SessionEnded) if e.outcome is ev.SessionOutcome.FAILED]
    assert run.result.exit_code == 0, run.result.result
    assert failed.session == "S3"
    assert [s.item for s in run.state.sessions.values() if s.role is ev.Role.WORKER] == ["a", "a"]


def test_an_item_whose_workers_all_fail_is_given_up(house: House) -> None:
    """After the fresh one too; the Commander hears of it."""
    run = house.begin(mission(item("a"), item("b"), worker=_refused_for("a.txt")))

    assert run.result.exit_code == 1
    assert (run.status("a"), run.status("b")) == ("failed", "completed")
    assert "two Workers did not finish it" in run.state.items[ev.ItemId("a")].reason


def _refused_for(path: str) -> Player:
    return lambda scene: refused(400) if scene.files == [path] else build(scene)
