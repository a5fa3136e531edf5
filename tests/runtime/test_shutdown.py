"""Signals: heard at any moment of a mission, they stop it with everything on record, and nothing lives on.

A `Signaller` looks at a run and signals this very process once a certain event is durable, so that the
moments of a mission can be gone through one by one.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from orch.errors import Terminated
from orch.mission import events as ev
from orch.mission.events import StopSignal
from orch.mission.state import MissionState
from orch.runtime import orchestrator, shutdown
from orch.tools import processes
from tests import program
from tests.endpoint import Script, Step
from tests.play import Player, Scene, approve, build, call, item, mission, refused
from tests.runtime.house import House, Run

ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGQUIT: 143}
MOMENTS = 16
"""Of a mission of about a hundred events."""
STUBBORN = "trap '' TERM INT HUP; touch {name}; while :; do sleep 0.05; done"


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    """Whatever a test does, put the handlers back."""
    before = {number: signal.getsignal(number) for number in ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# ---- what a signal means


@dataclass
class Heard:
    """Who is asked to stop."""

    calls: list[tuple[StopSignal, bool]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def stop(self, by: StopSignal, /, *, now: bool) -> None:
        """Note it."""
        self.calls.append((by, now))


async def _arrives(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
@pytest.mark.fault(16)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_first_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    """Whichever the second one is; a person is told what each did."""
    heard = Heard()
    with shutdown.settled(), shutdown.heeded(heard.stop, heard.notices.append):
        await _arrives(number)
        await _arrives(signal.SIGTERM)
    kind = StopSignal.INTERRUPT if number is signal.SIGINT else StopSignal.TERMINATE
    assert heard.calls == [(kind, False), (StopSignal.TERMINATE, True)]
    assert [notice.partition(":")[0] for notice in heard.notices] == ["stopping", "stopping at once"]


@pytest.mark.anyio
@pytest.mark.fault(16)
async def test_sigquit_stops_at_once() -> None:
    """The first time already; it is a stop like others, not the end of the process with a core."""
    heard = Heard()
    with shutdown.settled(), shutdown.heeded(heard.stop, heard.notices.append):
        await _arrives(signal.SIGQUIT)
    assert heard.calls == [(StopSignal.TERMINATE, True)]


@pytest.mark.anyio
async def test_a_signal_between_the_run_and_its_release_comes_too_late() -> None:
    """It neither stops nor kills; behind that, what was installed before is there again."""
    came: list[int] = []
    for number in ALL:
        signal.signal(number, lambda found, _frame: came.append(found))
    heard = Heard()
    with shutdown.settled():
        with shutdown.heeded(heard.stop, heard.notices.append):
            pass
        for number in ALL:
            os.kill(os.getpid(), number)
    assert (came, heard.calls) == ([], [])
    for number in ALL:
        os.kill(os.getpid(), number)
    assert sorted(came) == sorted(ALL)


@pytest.mark.anyio
async def test_a_hangup_that_the_caller_ignores_stays_ignored() -> None:
    """So that `nohup orch task` outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heard = Heard()
    with shutdown.raised(), shutdown.settled(), shutdown.heeded(heard.stop, heard.notices.append):
        await _arrives(signal.SIGHUP)
    assert heard.calls == []
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_before_a_mission_runs_a_signal_ends_the_command(number: signal.Signals) -> None:
    """By an exception that leads through every clean-up."""
    before = signal.getsignal(number)
    with pytest.raises(Terminated), shutdown.raised():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


# ---- at any moment of a mission


@dataclass
class Signaller:
    """A view that signals this process when an event is durable: the one of number `at`, or of a type."""

    number: signal.Signals
    at: int | str
    times: int = 1

    def show(self, event: ev.Event, _state: MissionState, /) -> None:
        """Signal, once."""
        if self.times and self.at in (event.seq, event.type):
            for _ in range(self.times):
                signal.raise_signal(self.number)
            self.times = 0


def _moments() -> Script:
    """Return a mission with everything in it: dependencies, a setup, reviews, verification twice."""
    items = (item("a", setup="echo made > extra.txt"), item("b", after=["a"]), item("c"))
    return mission(*items, verify=["test -f a.txt"])


def _check_stopped(run: Run, number: signal.Signals) -> None:
    """Assert that exit code, result and the last record agree, whichever end came first."""
    last = run.events[-1]
    if isinstance(last, ev.MissionSealed):
        assert run.result.exit_code == 0
        return
    assert isinstance(last, ev.MissionStopped)
    assert (run.result.exit_code, run.result.subtype) == (CODES[number], ev.Outcome.STOPPED)
    assert run.result.retryable
    assert run.result.resume


@pytest.mark.fault(15, 16)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_stopped_at_any_moment_it_is_checkpointed_and_goes_on(
    house: House, record_property: Callable[[str, object], None], moment: int
) -> None:
    """Every kind of stop; nothing lives on, nothing is done twice, and the resume seals."""
    number = ALL[moment % len(ALL)]
    # The first events one by one, then in wider steps: the start has most states.
    at = 1 + moment if moment < 4 else 1 + moment * 6
    stopped = replace(house, views=(Signaller(number, at),)).begin(_moments())
    _check_stopped(stopped, number)
    again = house.resume(_moments())
    assert (again.result.exit_code, again.result.subtype) == (0, ev.Outcome.SEALED)
    record_property("figure", f"{number.name} after event {at} of {again.events[-1].seq}")


@pytest.mark.fault(16)
@pytest.mark.parametrize("number", ALL)
def test_stopped_twice_it_is_checkpointed_all_the_same(house: House, number: signal.Signals) -> None:
    """At once: the turn under way is lost, and asked again by the next run."""
    script = mission(item("a"), worker=_held_up(build))
    stopped = replace(house, views=(Signaller(number, "item.started", times=3),)).begin(script)
    _check_stopped(stopped, number)
    assert house.resume(mission(item("a"))).result.exit_code == 0


def _held_up(player: Player) -> Player:
    return lambda scene: replace(player(scene), delay_s=60.0)


@pytest.mark.fault(16)
def test_a_second_stop_while_the_first_comes_to_its_end_changes_nothing(house: House) -> None:
    """Its last record is there, and so are the result and the views."""
    twice = (Signaller(signal.SIGTERM, "item.started"), Signaller(signal.SIGINT, "mission.stopped", times=2))
    stopped = replace(house, views=twice).begin(mission(item("a")))
    _check_stopped(stopped, signal.SIGTERM)
    assert house.folder.mission(house.mission).result.exists()
    assert house.folder.todo.exists()


# ---- who is given time to finish


@pytest.mark.fault(16, 42)
@pytest.mark.parametrize("where", ["review", "setup", "verify"])
def test_a_command_that_ignores_signals_is_given_no_time_to_finish(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Only a turn is paid for: a Reviewer's command, a setup, a verification are ended at once."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 600.0)
    deaf = f"{STUBBORN.format(name='started')} & until test -e started; do sleep 0.01; done; "
    command = f"test -e over || {{ {deaf} kill -TERM {os.getpid()}; wait; }}"
    scripts: dict[str, Script] = {
        "review": mission(item("a"), reviewer=_first_runs(command)),
        "setup": mission(item("a", setup=command)),
        "verify": mission(item("a"), verify=[command]),
    }
    stopped = house.begin(scripts[where])
    _check_stopped(stopped, signal.SIGTERM)
    (house.workspace / "over").touch()
    again = house.resume(scripts[where])
    assert again.result.exit_code == 0, again.result.result
    cut = [text for text in again.said("bash") if text.startswith("interrupted")]
    assert len(cut) == (where == "review")


def _first_runs(command: str) -> Player:
    """Reviewer: run `command` first, whatever comes of it, then review."""

    def player(scene: Scene) -> Step:
        if not scene.done:
            return call("bash", command=command)
        return approve(replace(scene, done=scene.done[1:]))

    return player


@pytest.mark.fault(16, 42)
def test_a_second_signal_gives_a_command_no_time_at_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed, not asked: what it would do about SIGTERM takes longer than this test may."""
    for limit in ("GRACE_S", "ENDING_LIMIT_S"):
        monkeypatch.setattr(processes, limit, 600.0)
    me = os.getpid()
    command = f"trap '' TERM; while :; do kill -INT {me}; sleep 0.1; done"  # two at once may arrive as one
    stopped = house.begin(mission(item("a"), reviewer=_first_runs(command)))
    _check_stopped(stopped, signal.SIGINT)


@pytest.mark.fault(16)
def test_a_wait_between_two_tries_is_cut_short(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is on its way that was paid for; the next run asks again."""
    monkeypatch.setattr(orchestrator, "GRACE_S", 600.0)
    busy = mission(item("a"), worker=lambda _scene: refused(503))
    stopped = replace(house, retry_base_s=600.0, views=(Signaller(signal.SIGTERM, "retry"),)).begin(busy)
    _check_stopped(stopped, signal.SIGTERM)
    assert house.resume(mission(item("a"))).result.exit_code == 0


@pytest.mark.fault(16)
def test_a_call_that_fails_during_the_grace_is_not_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would start a turn that has to end at once."""
    house.retry_base_s = 600.0
    monkeypatch.setattr(orchestrator, "GRACE_S", 600.0)

    def worker(_scene: Scene) -> Step:
        os.kill(os.getpid(), signal.SIGTERM)
        program.until(lambda: "stopping" in " ".join(house.notices))
        return refused(503)

    stopped = house.begin(mission(item("a"), worker=worker))
    _check_stopped(stopped, signal.SIGTERM)
    assert stopped.all(ev.Retry) == []
