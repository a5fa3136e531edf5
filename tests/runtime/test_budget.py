"""The budget of a run: no call that may not fit, none cut off, nobody who waits for ever."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.config import ModelFacts, ModelRef
from orch.mission import events as ev
from orch.mission.caps import Cap, Caps
from orch.mission.size import BYTES_PER_TOKEN
from orch.mission.state import NOTHING_SPENT, SessionStatus, Spending
from orch.mission.transcript import AssistantMessage, History, ToolMessage, UserMessage
from orch.runtime import budget
from orch.runtime.budget import LEAST_OUTPUT_TOKENS, Budget, Forecast
from orch.tools.desk import SessionOver
from tests.mission.samples import S2, session

LIMIT_S = 20.0
SESSIONS = 50
CHANCE = st.randoms(use_true_random=True)
PRICES = ModelFacts(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0)


def tokens(count: int) -> ev.Usage:
    """Return a usage of so many tokens, a dollar for each million."""
    return ev.Usage(input_tokens=count, cost_usd=count / 1e6)


def capped(count: int) -> Budget:
    """Return a budget of so many tokens."""
    return Budget(Caps(max_tokens=count))


def run(job: Coroutine[Any, Any, None]) -> None:
    """Run `job` to its end, which has to come."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await job

    asyncio.run(limited())


# ---- any number of sessions, whatever their calls cost


@dataclass
class Army:
    """Sessions that call until they have what they want, or all of them wait; some are cancelled meanwhile.

    A call costs what `cost` makes of its estimate.
    """

    budget: Budget
    chance: random.Random
    cost: Callable[[int], int]
    excess: dict[int, int] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    paid: int = 0
    ended_at: ev.Budget | None = None

    async def session(self, number: int) -> None:
        """Make a few calls, each after some work that costs nothing."""
        for _ in range(self.chance.randint(1, 6)):
            await self._work()
            estimate = self.chance.randint(1, 400)
            async with self.budget.call(tokens(estimate)) as call:
                await self._work()
                cost = self.cost(estimate)
                self.excess[number] = max(self.excess.get(number, 0), cost - estimate)
                self.paid += cost
                call.pay(tokens(cost))

    async def _work(self) -> None:
        for _ in range(self.chance.randint(0, 3)):
            await asyncio.sleep(0)

    async def march(self, *, cancelled: int) -> None:
        """Run all sessions until nothing is left to do."""
        done = asyncio.Event()
        self.budget.changed = done.set
        async with asyncio.TaskGroup() as group:
            for number in range(SESSIONS):
                task = group.create_task(self.session(number))
                task.add_done_callback(lambda _task: done.set())
                self.tasks.append(task)
            for task in self.chance.sample(self.tasks, cancelled):
                await asyncio.sleep(0)
                task.cancel()
            while busy := sum(not task.done() for task in self.tasks):
                if self.budget.waiting == busy:
                    self.ended_at = self.budget.reached()
                    for task in self.tasks:
                        task.cancel()
                done.clear()
                await done.wait()


@pytest.mark.fault(30)
@settings(max_examples=40, deadline=None)
@given(chance=CHANCE, cap=st.integers(1, 40_000), cancelled=st.integers(0, 20))
def test_a_cap_is_exceeded_by_the_error_of_one_call_a_session_at_most(
    chance: random.Random, cap: int, cancelled: int
) -> None:
    """Fifty sessions, wrong estimates, sessions cancelled at any moment: and everybody comes to an end."""
    army = Army(capped(cap), chance, cost=lambda estimate: chance.randint(0, 3 * estimate))

    run(army.march(cancelled=cancelled))

    spent = army.budget.spent.input_tokens
    assert spent >= army.paid, "a call that was cancelled may have been paid"
    assert spent <= cap + sum(excess for excess in army.excess.values() if excess > 0)
    assert not army.budget.waiting
    assert not army.budget._held
    if army.ended_at is not None:
        assert army.ended_at.reached
        assert army.ended_at.spent >= cap or army.ended_at.spent + army.ended_at.needed > cap


@pytest.mark.fault(30)
@settings(max_examples=40, deadline=None)
@given(chance=CHANCE, cap=st.integers(1, 40_000), cancelled=st.integers(0, 20))
def test_with_right_estimates_no_cap_is_exceeded(chance: random.Random, cap: int, cancelled: int) -> None:
    """Tokens and dollars both, and whatever is cancelled counts as paid."""
    both = Budget(Caps(max_tokens=cap, max_budget_usd=cap / 1e6))
    army = Army(both, chance, cost=lambda estimate: estimate)

    run(army.march(cancelled=cancelled))

    assert both.spent.input_tokens <= cap
    assert (both.spent.cost_usd or 0.0) <= cap / 1e6 + 1e-9


@settings(max_examples=20, deadline=None)
@given(chance=CHANCE)
def test_without_caps_nobody_waits(chance: random.Random) -> None:
    """And all that was wanted is called."""
    army = Army(Budget(), chance, cost=lambda estimate: 2 * estimate)

    run(army.march(cancelled=0))

    assert army.ended_at is None
    assert army.budget.spent.input_tokens == army.paid


# ---- one call beside another


async def entered(budget: Budget, count: int, came: list[int]) -> None:
    """Make a call that costs its estimate, and note it."""
    async with budget.call(tokens(count)) as call:
        came.append(count)
        call.pay(tokens(count))


@pytest.mark.anyio
async def test_a_call_waits_for_those_in_flight_and_is_looked_at_again() -> None:
    """One that came back cheaper than thought leaves room; the first that fits takes it."""
    budget, came = capped(100), list[int]()
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        async with budget.call(tokens(60)) as call:
            large = group.create_task(entered(budget, 90, came))
            group.create_task(entered(budget, 50, came))
            await asyncio.sleep(0)
            assert (budget.waiting, came) == (2, [])
            call.pay(tokens(20))
        await asyncio.sleep(0)
        assert came == [50]
        last = ev.Budget(limit=Cap.TOKENS, cap=100, spent=70, needed=90, reached=True)
        assert budget.reached() == last
        large.cancel()
    assert budget.waiting == 0


@pytest.mark.anyio
async def test_a_call_that_fits_begins_without_a_pause() -> None:
    """Nothing else happens between the decision to ask and the asking."""
    began = capped(100).call(tokens(100)).__aenter__()
    with pytest.raises(StopIteration):
        began.send(None)


@pytest.mark.anyio
async def test_a_call_cancelled_as_it_was_let_go_leaves_its_room_to_the_next() -> None:
    """It was granted and cancelled in the same round of the loop."""
    budget, came = capped(100), list[int]()
    call = budget.call(tokens(100))
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group, call:
        unlucky = group.create_task(entered(budget, 80, came))
        group.create_task(entered(budget, 70, came))
        await asyncio.sleep(0)
        call.pay(NOTHING_SPENT)
        unlucky.cancel()
    assert came == [70]


@pytest.mark.anyio
async def test_a_run_that_stops_lets_nobody_wait() -> None:
    """Neither who waits, nor who comes later."""
    budget = capped(10)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        waiter = group.create_task(_refused(budget))
        await asyncio.sleep(0)
        assert budget.waiting == 1
        budget.close()
        await waiter
        await _refused(budget)


async def _refused(budget: Budget) -> None:
    with pytest.raises(SessionOver):
        await budget.call(tokens(11)).hold()


@pytest.mark.anyio
async def test_each_try_of_a_call_is_held_and_counted() -> None:
    """A try that was paid counts once; one of which nothing was heard counts with its estimate."""
    budget = capped(100)
    async with budget.call(tokens(40)) as call:
        call.pay(tokens(10))
        call.pay(tokens(10))
        assert budget.spent.input_tokens == 10
        await call.hold()
        call.pay(NOTHING_SPENT)
        await call.hold()
        await call.hold()
        assert not budget.fits(tokens(51))
    assert budget.spent.input_tokens == 50


def test_much_of_a_cap_is_said_once() -> None:
    """For each cap, whatever is spent afterwards."""
    much = Budget(Caps(max_tokens=100, max_budget_usd=1.0))
    much.spent = ev.Usage(input_tokens=60, output_tokens=19, cost_usd=0.8)
    assert [fact.limit for fact in much.news()] == [Cap.USD]
    much.spent = ev.Usage(input_tokens=60, output_tokens=20, cost_usd=0.9)
    assert much.news() == (ev.Budget(limit=Cap.TOKENS, cap=100, spent=80),)
    assert much.news() == ()


# ---- what a mission has spent before


def test_a_cap_that_is_used_up_lets_no_run_begin() -> None:
    """Nor one under which the call that did not fit last time does not fit now. A timeout counts per run."""
    last = ev.Budget(limit=Cap.TOKENS, cap=100, spent=95, needed=20, reached=True)
    used = ev.Budget(limit=Cap.TOKENS, cap=100, spent=100, reached=True)
    assert budget.used_up(Budget(Caps(max_tokens=100), tokens(100)), None) == used
    assert budget.used_up(Budget(Caps(max_tokens=100), tokens(95)), None) is None
    found = budget.used_up(Budget(Caps(max_tokens=110), tokens(95)), last)
    assert found == last.model_copy(update={"cap": 110})
    assert budget.used_up(Budget(Caps(max_tokens=115), tokens(95)), last) is None
    assert budget.used_up(Budget(Caps(max_budget_usd=1.0), tokens(95)), last) is None
    timeout = last.model_copy(update={"limit": Cap.TIMEOUT, "cap": 2.0})
    assert budget.used_up(Budget(Caps(max_tokens=100), tokens(95)), timeout) is None


def test_what_had_no_price_when_it_was_spent_has_todays() -> None:
    """What was charged then stays as it is."""
    old = ev.Usage(input_tokens=1_000_000, output_tokens=100_000)
    paid = ev.Usage(input_tokens=5, cost_usd=0.25)
    spending = Spending().with_turn(ev.Role.WORKER, "p/old", old).with_turn(ev.Role.WORKER, "p/new", paid)

    total = budget.spent(spending, lambda ref: PRICES if ref == ModelRef("p", "old") else ModelFacts())

    assert total.cost_usd == pytest.approx(2.25)
    assert (total.input_tokens, total.output_tokens) == (1_000_005, 100_000)


# ---- what a call will cost


def test_a_call_is_estimated_from_its_size_until_an_endpoint_has_counted() -> None:
    """Then from that count, and from what was said since; an answer counts as the largest so far."""
    forecast = Forecast(PRICES)
    forecast.open("s" * 300, ())
    history: History = (UserMessage(text="u" * 600),)
    told = session(S2, ev.Role.WORKER, SessionStatus.RUNNING)
    first = forecast.next(replace(told, messages=history), ())
    assert first.input_tokens == 900 // BYTES_PER_TOKEN
    assert first.output_tokens == LEAST_OUTPUT_TOKENS
    assert first.cost_usd == pytest.approx((300 + 10 * LEAST_OUTPUT_TOKENS) / 1e6)

    forecast.learn(ev.Usage(input_tokens=1000, output_tokens=2000))
    history += (AssistantMessage(text="a" * 9000), ToolMessage(call_id="c", text="t" * 30))
    counted = replace(told, messages=history, counted_messages=2, counted_tokens=3000)
    second = forecast.next(counted, ["p" * 60])
    assert second.input_tokens == 3000 + 90 // BYTES_PER_TOKEN
    assert second.output_tokens == 2000
