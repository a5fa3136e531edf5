"""Missions at an endpoint that asks for fewer requests: it gets what it asks for, and nobody is lost."""

import email.utils
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.state import MissionState
from orch.runtime import orchestrator, recovery
from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Endpoint, Entry, Fault, Script, Step
from tests.play import Player, Scene, always, build, item, mission, plan, refused
from tests.runtime.house import House, Run

OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}
MANY = recovery.TRIES + 2
"""More refusals than a call has tries."""
ON_ITS_WAY_S = 1.0
"""More than a request may be on its way over the loopback on a busy machine."""
MS = 0.002
"""What is lost where times are written in milliseconds."""
FOREVER = refused(429, retry_after="600")


def at_first(times: int, fault: Callable[[], Step], player: Player) -> Player:
    """Return `player`, each of whose turns is answered by `fault` so often at first."""
    return lambda scene: fault() if scene.turn.attempt <= times else player(scene)


def _waits(run: Run) -> list[ev.Retry]:
    return [event for event in run.all(ev.Retry) if event.error == "RateLimited"]


@pytest.mark.parametrize("serve", [Endpoint, anthropic_endpoint])
@pytest.mark.parametrize(
    "fault",
    [
        refused(429),
        Step(fault=Fault.STATUS, status=529, body={"type": "error", "error": OVERLOADED}),
        Step(fault=Fault.ERROR_FIRST, body=OVERLOADED),
        Step(text="x" * 2_000, fault=Fault.ERROR_MIDWAY, body=OVERLOADED),
    ],
    ids=["429", "529", "overloaded first", "overloaded midway"],
)
def test_an_endpoint_that_is_busy_is_waited_for_however_often_it_says_so(
    house: House, serve: Callable[[Script], Endpoint], fault: Step
) -> None:
    """It is no failure: more refusals than a call has tries end in a seal, also inside a stream."""
    house.serve = serve
    house.retry_base_s = 1e-6
    run = house.begin(mission(item("a"), planner=at_first(MANY, lambda: fault, plan(item("a")))))

    assert run.result.exit_code == 0, run.result.result
    assert [event.attempt for event in _waits(run)] == list(range(1, MANY + 1))
    assert len(run.all(ev.Retry)) == MANY


def test_a_busy_endpoint_and_one_that_fails_are_counted_apart(house: House) -> None:
    """Refusals between them give a call no fewer tries, and no more."""
    mixed = [refused(429), refused(503)] * (recovery.TRIES - 1)
    house.retry_base_s = 1e-6

    def worker(scene: Scene) -> Step:
        attempt = scene.turn.attempt
        return mixed[attempt - 1] if attempt <= len(mixed) else build(scene)

    run = house.begin(mission(item("a"), worker=worker))

    assert run.result.exit_code == 0, run.result.result
    turns = sum(1 for event in run.all(ev.TurnFinished) if event.item == "a" and event.session == "S3")
    assert len(_waits(run)) == len(run.all(ev.Retry)) / 2 == turns * (recovery.TRIES - 1)


def test_a_session_has_all_its_tries_again_after_an_answer(house: House) -> None:
    """Each turn of a Worker fails three times; none is given up."""
    run = house.begin(mission(item("a"), worker=at_first(recovery.TRIES - 1, lambda: refused(503), build)))

    assert run.result.exit_code == 0, run.result.result
    assert {event.attempt for event in run.all(ev.Retry)} == {1, 2, 3}
    assert len(run.all(ev.Retry)) >= 2 * (recovery.TRIES - 1)


# ---- what the endpoint says of the time


Headers = dict[str, str]


def _http_date() -> tuple[Headers, datetime]:
    date = (datetime.now(UTC) + timedelta(seconds=1.5)).replace(microsecond=0)
    return {"retry_after": email.utils.format_datetime(date, usegmt=True)}, date


def _anthropic_reset() -> tuple[Headers, datetime]:
    date = datetime.now(UTC) + timedelta(seconds=0.4)
    names = ("anthropic_ratelimit_requests_remaining", "anthropic_ratelimit_requests_reset")
    return dict(zip(names, ("0", date.isoformat()), strict=True)), date


SAID: dict[str, tuple[Callable[[], Headers], float, float]] = {
    "seconds": (lambda: {"retry_after": "0.3"}, 0.3, 0.4),
    "milliseconds": (lambda: {"retry_after_ms": "300", "retry_after": "9"}, 0.3, 0.4),
    "nothing": (dict, 0.001, 0.1),
    "zero": (lambda: {"retry_after": "0"}, 0.001, 0.1),
    "the past": (lambda: {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.001, 0.1),
    "negative": (lambda: {"retry_after": "-7"}, 0.001, 0.1),
    "garbage": (lambda: {"retry_after": "soon", "retry_after_ms": "nan"}, 0.001, 0.1),
    "OpenAI's rates": (
        lambda: {"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "300ms"},
        0.3,
        0.4,
    ),
    "rates with something left": (
        lambda: {"x_ratelimit_remaining_requests": "3", "x_ratelimit_reset_requests": "9m"},
        0.001,
        0.1,
    ),
}


@pytest.mark.parametrize("said", SAID)
def test_what_the_endpoint_says_of_the_time_is_kept(house: House, said: str) -> None:
    """In each of the forms that are about; what makes no sense is a refusal that names no time."""
    headers, least_s, most_s = SAID[said]
    fault = at_first(1, lambda: refused(429, **headers()), build)
    script = mission(item("a"), worker=lambda scene: fault(scene) if scene.turn.number == 0 else build(scene))
    with Endpoint(script) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(script)

    (wait,) = _waits(run)
    assert run.result.exit_code == 0, run.result.result
    assert wait.delay_s <= most_s
    (refusal,) = [entry for entry in endpoint.ledger if entry.status == 429]
    assert _next(endpoint.ledger, refusal).arrival >= _said_at(refusal) + least_s


@pytest.mark.parametrize("said", [_http_date, _anthropic_reset])
def test_before_the_date_that_the_endpoint_names_it_is_not_asked_again(
    house: House, said: Callable[[], tuple[Headers, datetime]]
) -> None:
    """However late the refusal is read."""
    due: list[datetime] = []

    def worker(scene: Scene) -> Step:
        if due:
            return build(scene)
        headers, date = said()
        due.append(date)
        return refused(429, **headers)

    script = mission(item("a"), worker=worker)
    with Endpoint(script) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(script)

    assert run.result.exit_code == 0, run.result.result
    assert len(_waits(run)) == 1
    (refusal,) = [entry for entry in endpoint.ledger if entry.status == 429]
    assert _next(endpoint.ledger, refusal).arrival >= due[0].timestamp()


def _next(ledger: list[Entry], entry: Entry) -> Entry:
    return ledger[ledger.index(entry) + 1]


def _said_at(entry: Entry) -> float:
    assert entry.first_byte is not None
    return entry.first_byte


@pytest.mark.parametrize("said", ["3600", "1e9", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_an_endpoint_that_asks_for_more_than_a_run_waits_is_unavailable(house: House, said: str) -> None:
    """One request, exit 75, and nobody sleeps for thirty years."""
    with Endpoint(mission(item("a"), commander=always(refused(429, retry_after=said)))) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(mission())

    assert run.result.exit_code == 75
    assert len(endpoint.ledger) == 1


def test_a_good_answer_that_says_that_nothing_is_left_closes_the_gate(house: House) -> None:
    """The next request comes when the rate is reset, and is not refused."""

    def worker(scene: Scene) -> Step:
        step = build(scene)
        spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
        return step if scene.turn.number else Step(tool_calls=step.tool_calls, headers=spent)

    script = mission(item("a"), worker=worker)
    with Endpoint(script) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(script)

    assert run.result.exit_code == 0, run.result.result
    said = next(entry for entry in endpoint.ledger if entry.session and _is_worker(entry))
    assert _next(endpoint.ledger, said).arrival >= _said_at(said) + 0.3
    assert run.all(ev.Retry) == []


def _is_worker(entry: Entry) -> bool:
    assert entry.request is not None
    return "You are the Worker" in str(entry.request["messages"][0]["content"])


# ---- waiting is waiting


def test_waiting_is_no_part_of_what_a_turn_took(house: House) -> None:
    """Nor is what came before the answer: the time of the try that succeeded counts."""
    told_s = 0.5
    script = mission(item("a"), worker=at_first(1, lambda: refused(429, retry_after=str(told_s)), build))
    with Endpoint(script) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(script)

    waited = [event for event in run.events if isinstance(event, ev.TurnFinished | ev.Retry)]
    after = [turn for wait, turn in pairwise(waited) if isinstance(wait, ev.Retry)]
    refusals = [entry for entry in endpoint.ledger if entry.status == 429]
    assert len(after) == len(refusals) >= 2
    for turn, refusal in zip(after, refusals, strict=True):
        assert isinstance(turn, ev.TurnFinished)
        begun = datetime.fromisoformat(turn.ts).timestamp() - turn.duration_s
        assert begun >= _said_at(refusal) + told_s - MS


class _Signals:
    """A view that signals this process once: so many Workers have begun, and one was refused.

    Who was not asked before the refusal waits at the gate that it closed, and is not refused itself.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._refused = 0
        self._is_due = True

    def show(self, event: ev.Event, state: MissionState, /) -> None:
        """Count those that are there."""
        self._refused += isinstance(event, ev.Retry)
        begun = sum(session.role is ev.Role.WORKER for session in state.sessions.values())
        if self._is_due and self._refused and begun == self._workers:
            self._is_due = False
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def _handlers() -> Iterator[None]:
    """Put the handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handlers")
def test_sessions_at_the_gate_hold_up_no_stop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four wait for ten minutes, and nothing is on its way that was paid for; the resume asks again."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 600.0)
    house.views = (_Signals(4),)
    items = [item(name) for name in "abcd"]
    stopped = house.begin(mission(*items, worker=always(FOREVER)))
    house.views = ()

    assert stopped.result.exit_code == 143
    assert house.resume(mission(*items)).result.exit_code == 0


def test_the_time_of_the_run_goes_on_at_the_gate(house: House) -> None:
    """--timeout counts while all sessions wait."""
    run = house.begin(mission(item("a"), worker=always(FOREVER)), caps=Caps(timeout_s=0.7))

    assert run.result.exit_code == 124


def test_a_key_that_is_refused_to_one_of_fifty_is_asked_by_nobody_else(house: House) -> None:
    """Exit 77: what was on its way comes back refused, none of it is asked again, nobody else asks."""
    items = [item(f"i{n}") for n in range(50)]
    house.settings = {"max_parallel": 50}
    script = mission(*items, worker=lambda scene: refused(401) if scene.done else build(scene))
    with Endpoint(script) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(script, max_parallel=50)

    refusals = [entry for entry in endpoint.ledger if entry.status == 401]
    assert run.result.exit_code == 77
    assert run.all(ev.Retry) == []
    assert len({entry.session for entry in refusals}) == len(refusals)
    first = min(_said_at(entry) for entry in refusals)
    assert all(entry.arrival < first + ON_ITS_WAY_S for entry in endpoint.ledger)
