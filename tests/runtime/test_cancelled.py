"""Cancelled wherever it waits, a session is gone at once: no task, no command, no complaint is left."""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from orch.errors import BadStream, ConnectionLost, ModelError, RateLimited, ServerFailed
from orch.mission import events as ev
from orch.mission.state import MissionState
from orch.mission.transcript import AssistantMessage
from orch.models.interface import Ask, Reply
from orch.runtime import launch, recovery
from orch.runtime.orchestrator import Orchestrator
from orch.runtime.recovery import TRIES
from orch.store.journal import Journal
from tests.play import approve, call, first, item, mission
from tests.runtime.house import House
from tests.runtime.test_session import Mouth, conversing
from tests.tools.office import A, Office, opened

SESSIONS = 50
STOPS = 4

# ---- all sessions at once


@dataclass
class Stopper:
    """A view that stops its run at an event, or some turns of the loop later."""

    at_seq: int
    ticks: int
    run: Orchestrator | None = None
    left: list[str] = field(default_factory=list)

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Begin to count."""
        del state
        if event.seq == self.at_seq:
            self._tick(self.ticks)

    def _tick(self, left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(self._tick, left - 1)
        elif self.run is not None:
            self.run.ending.stop(ev.StopSignal.INTERRUPT, now=True)


def watched(stopper: Stopper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next run stopped, and what it leaves behind in the loop noted.

    A job that takes longer to die than its session may wait is ended with the house, not with the run.
    """
    run, live = Orchestrator.run, launch._live

    async def noted(self: Orchestrator) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: stopper.left.append(str(context)))
        before = asyncio.all_tasks()
        stopper.run = self
        await run(self)
        names = [task.get_name() for task in asyncio.all_tasks() - before]
        stopper.left += [name for name in names if not name.startswith("job ")]
        gc.collect()

    async def ended(
        told: launch.Launch, journal: Journal, state: MissionState, first: tuple[ev.Event, ...]
    ) -> MissionState:
        state = await live(told, journal, state, first)
        stopper.left += [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]
        return state

    monkeypatch.setattr(Orchestrator, "run", noted)
    monkeypatch.setattr(launch, "_live", ended)


@pytest.mark.fault(52)
def test_all_sessions_cancelled_anywhere_leave_nothing_behind(
    house: House, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Fifty sessions, with jobs in the background, stopped at drawn moments, and resumed from there."""
    reviewer = first(call("run_background", command="sleep 600"), then=approve)
    script = mission(*(item(f"i{n}") for n in range(SESSIONS)), reviewer=reviewer)
    dice = Random(SESSIONS)  # noqa: S311 - replayable
    at_work = []
    for number in range(STOPS):
        begun = house.events()[-1].seq if number else 0
        stopper = Stopper(begun + dice.randrange(150, 300), dice.randrange(100))
        house.views = (stopper,)
        with monkeypatch.context() as patched:
            watched(stopper, patched)
            run = (
                house.resume(script, max_parallel=SESSIONS)
                if number
                else house.begin(script, max_parallel=SESSIONS)
            )
        assert run.result.exit_code == 130, run.result.result
        assert stopper.left == []
        at_work.append(sum(session.status == "running" for session in run.state.sessions.values()))

    record_property("figure", f"{STOPS} stops with up to {max(at_work)} sessions at work")
    assert max(at_work) >= SESSIONS - 10


# ---- one session, wherever a retry waits


class Failing(Mouth):
    """A model that fails so many times, then answers."""

    def __init__(self, error: ModelError, times: int) -> None:
        super().__init__(AssistantMessage(text="done"))
        self.errors = [error] * times

    async def ask(self, ask: Ask) -> Reply:
        """Fail, or answer."""
        if self.errors:
            self.asked.append(ask)
            self.was_asked.set()
            await asyncio.sleep(0)
            raise self.errors.pop()
        return await super().ask(ask)


async def asked_until(office: Office, mouth: Mouth, ticks: int) -> tuple[bool, int, int]:
    """Cancel a session so many turns of the loop after it asked first.

    Returns:
        Whether it was over before, and how often it had asked when it was cancelled, and in the end.
    """
    conversation = conversing(office, "S2", mouth, ["read"])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(conversation.run())
        await mouth.was_asked.wait()
        for _ in range(ticks):
            await asyncio.sleep(0)
        over, asked = task.done(), len(mouth.asked)
        task.cancel()
        await asyncio.wait([task])
    assert over or task.cancelled(), "the cancellation was swallowed"
    return over, asked, len(mouth.asked)


@pytest.mark.fault(53)
@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [ServerFailed("no", status=500), ConnectionLost("gone"), BadStream("what?")],
    ids=lambda error: type(error).__name__,
)
async def test_a_retry_that_is_cancelled_at_any_wait_is_over(tmp_path: Path, error: ModelError) -> None:
    """While it asks, while it says so, while it waits: the model is not asked again."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        before, ticks, over = office.state, 0, False
        attempts = set()
        while not over:
            office.state = before
            over, asked, in_the_end = await asked_until(office, Failing(error, TRIES - 1), ticks)
            assert asked == in_the_end
            attempts.add(asked)
            ticks += 1

        assert attempts == set(range(1, TRIES + 1)), "a wait was not met"


@pytest.mark.fault(53)
@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [RateLimited("slow down", retry_after_s=60.0), ServerFailed("no", status=503, retry_after_s=60.0)],
    ids=lambda error: type(error).__name__,
)
async def test_a_long_wait_that_is_cancelled_is_one_attempt(tmp_path: Path, error: ModelError) -> None:
    """An endpoint asked for a minute, at the gate or for this call alone; nobody waits for it."""
    async with opened(tmp_path) as office:
        await office.worker(A)

        assert await asked_until(office, Failing(error, 1), 200) == (False, 1, 1)
        assert [event.delay_s >= 60.0 for event in office.all(ev.Retry)] == [True]


@pytest.mark.fault(53)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()])
def test_what_ends_a_task_is_never_retried(error: BaseException) -> None:
    """It is no model's error."""
    assert not recovery.is_retried(error)
    assert recovery.action_for(error) is None
