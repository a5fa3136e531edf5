"""The gate: what it lets through when, in virtual time against an endpoint of a few lines."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import AuthRefused, ProviderUnavailable, RateLimited, ServerFailed
from orch.mission.events import FinishReason, Usage
from orch.mission.transcript import AssistantMessage
from orch.models import gate
from orch.models.gate import Gate, Known
from orch.models.interface import Reply
from tests.models import virtual_time
from tests.models.virtual_time import elapse

LATENCY_S = 0.2
REFUSAL_S = 0.05


@dataclass
class Provider:
    """An endpoint that answers after a while, or refuses sooner, as `refuse` says at that time."""

    refuse: Callable[[float], float | None] = lambda _now: None
    pause_s: float = 0.0
    asked: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    early: int = 0
    at_once: int = 0
    most_at_once: int = 0
    _not_before: float = 0.0

    async def ask(self) -> Reply:
        """Answer one request."""
        now = asyncio.get_running_loop().time()
        self.early += now < self._not_before
        self.asked.append(now)
        wait_s = self.refuse(now)
        if wait_s is not None:
            self.refused.append(now)
            await elapse(REFUSAL_S)
            self._not_before = max(self._not_before, now + REFUSAL_S + wait_s)
            raise RateLimited("fewer, please", retry_after_s=wait_s or None)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await elapse(LATENCY_S)
        self.at_once -= 1
        return Reply(AssistantMessage(text="yes"), FinishReason.STOP, Usage(), pause_s=self.pause_s)


async def _unheard(_refusal: RateLimited, _wait_s: float) -> None:
    """Hear of a refusal."""


async def _crowd(gate_: Gate, provider: Provider, sessions: int, turns: int) -> None:
    async def call() -> None:
        refusals = 0

        async def ask() -> Reply:
            if refusals:
                provider.again.append(asyncio.get_running_loop().time())
            return await provider.ask()

        async def refused(_refusal: RateLimited, _wait_s: float) -> None:
            nonlocal refusals
            refusals += 1

        await gate_.ask(ask, refused)

    async def session() -> None:
        for _ in range(turns):
            await call()

    async with asyncio.TaskGroup() as group:
        for number in range(sessions):
            group.create_task(session(), name=f"session {number}")


def test_an_open_gate_holds_nobody_up() -> None:
    """Fifty sessions ask at the same instant, and again as soon as they are answered."""
    provider = Provider()

    async def run() -> float:
        await _crowd(Gate(50), provider, 50, 4)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(run()) == pytest.approx(4 * LATENCY_S)
    assert provider.most_at_once == 50


def test_a_refusal_closes_the_gate_for_all_until_the_time_that_was_told() -> None:
    """One of fifty is told to wait for 20 s: nobody asks before that."""
    provider = Provider(refuse=lambda now: 20.0 if now == LATENCY_S else None)
    virtual_time.run(_crowd(Gate(50), provider, 50, 2))
    assert provider.early == 0
    later = [at for at in provider.asked if at > LATENCY_S]
    assert min(later) >= 20.0 + LATENCY_S


def test_after_a_refusal_one_probe_goes_before_the_others() -> None:
    """The first wave is refused; until the probe is answered, nobody else asks."""
    provider = Provider(refuse=lambda now: 5.0 if now < 1 else None)
    virtual_time.run(_crowd(Gate(50), provider, 50, 1))
    later = sorted(at for at in provider.asked if at > 1)
    assert later[1] >= later[0] + LATENCY_S


def test_calls_of_the_same_wave_narrow_the_gate_once() -> None:
    """Fifty refusals of calls that left together halve it, not fifty times."""
    provider = Provider(refuse=lambda now: 5.0 if now < 1 else None)
    gate_ = Gate(50)

    async def run() -> int:
        async with asyncio.TaskGroup() as group:
            crowd = group.create_task(_crowd(gate_, provider, 50, 1), name="crowd")
            await elapse(1)
            narrowed = gate_.limit
            await crowd
        return narrowed

    assert virtual_time.run(run()) == 25
    assert gate_.limit > 25


def test_waits_double_where_the_endpoint_names_no_time() -> None:
    """An endpoint that just refuses is asked ever more rarely, up to the longest wait."""
    provider = Provider(refuse=lambda now: 0.0 if now < 600 else None)
    virtual_time.run(_crowd(Gate(1), provider, 1, 1))
    gaps = [after - before for before, after in zip(provider.asked, provider.asked[1:], strict=False)]
    for number, gap in enumerate(gaps):
        least = min(gate.LONGEST_WAIT_S, gate.FIRST_WAIT_S * 2**number)
        assert least <= gap <= least * (1 + gate.JITTER) + REFUSAL_S + 0.01


def test_a_rate_that_is_used_up_closes_the_gate_before_a_refusal_has_to() -> None:
    """An answer says that nothing is left for 30 s."""
    provider = Provider(pause_s=30.0)
    virtual_time.run(_crowd(Gate(1), provider, 1, 3))
    assert provider.asked[1] >= provider.asked[0] + 30
    assert provider.asked[2] >= provider.asked[1] + 30


def test_an_endpoint_that_refuses_for_longer_than_that_is_unavailable() -> None:
    """The wait is not endless, whether it is told or not."""
    told = Provider(refuse=lambda _now: gate.PATIENCE_S + 1)
    silent = Provider(refuse=lambda _now: 0.0)
    for provider in (told, silent):
        with pytest.raises(ExceptionGroup) as caught:
            virtual_time.run(_crowd(Gate(2), provider, 2, 1))
        assert all(isinstance(error, ProviderUnavailable) for error in caught.value.exceptions)
    assert len(told.asked) <= 2
    assert silent.asked[-1] > gate.PATIENCE_S


def test_other_errors_pass_through_and_free_their_place() -> None:
    """A gate of one place is not lost to a call that failed."""

    async def run() -> None:
        gate_ = Gate(1)

        async def fail() -> Reply:
            raise ServerFailed("no", status=500)

        for _ in range(3):
            with pytest.raises(ServerFailed):
                await gate_.ask(fail, _unheard)
        await gate_.ask(Provider().ask, _unheard)

    virtual_time.run(run())


def test_cancelled_callers_leave_their_place_to_others() -> None:
    """Whether they wait or are under way."""

    async def run() -> None:
        gate_, provider = Gate(2), Provider()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_crowd(gate_, provider, 1, 1), name=str(n)) for n in range(6)]
            await elapse(LATENCY_S / 2)
            for task in tasks[:4]:
                task.cancel()
        await gate_.ask(provider.ask, _unheard)

    virtual_time.run(run())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("told_s", [0.0, 2.0])
def test_in_a_storm_every_session_finishes_on_few_requests(
    seed: int, told_s: float, record_property: Callable[[str, object], None]
) -> None:
    """An endpoint that refuses 95 of 100 for a minute: no request is early, at most three for each answer."""
    dice = Random(seed)  # noqa: S311 - replayable
    provider = Provider(refuse=lambda now: told_s if now < 60 and dice.random() < 0.95 else None)
    virtual_time.run(_crowd(Gate(50), provider, 50, 6))
    useful = len(provider.asked) - len(provider.refused)
    assert useful == 300
    assert provider.early == 0
    assert len(provider.asked) <= 3 * useful
    busiest = Counter(int(at * 10) for at in provider.again).most_common(1)[0][1]
    assert busiest <= 0.1 * len(provider.again)
    record_property(
        "figure", f"{len(provider.asked)} requests for {useful} answers, {len(provider.refused)} refused"
    )


@given(st.integers(1, 8), st.lists(st.sampled_from([None, 0.0, 1.0, 7.0]), max_size=60), st.integers(1, 12))
def test_no_call_is_lost_or_early_whatever_is_refused(
    widest: int, fates: list[float | None], sessions: int
) -> None:
    """Each session gets all its answers, never more at once than the gate is wide."""
    left = iter(fates)
    provider = Provider(refuse=lambda _now: next(left, None))
    gate_ = Gate(widest)
    virtual_time.run(_crowd(gate_, provider, sessions, 3))
    assert len(provider.asked) - len(provider.refused) == sessions * 3
    assert provider.early == 0
    assert provider.most_at_once <= widest
    assert 1 <= gate_.limit <= widest


def test_what_others_were_told_holds_here_too() -> None:
    """A gate asks what other processes have learnt, and tells them what it learns."""

    @dataclass
    class Shared:
        known: Known
        noted: list[Known] = field(default_factory=list)

        async def recall(self) -> Known:
            return self.known

        async def note(self, known: Known) -> None:
            self.noted.append(known)

    said: list[tuple[float, str]] = []
    shared = Shared(Known(wait_s=12.0, limit=3))
    provider = Provider(refuse=lambda now: 4.0 if now < 13 else None)

    async def run() -> None:
        gate_ = Gate(50, shared, notice=lambda wait_s, why: said.append((wait_s, why)))
        async with asyncio.TaskGroup() as group:
            crowd = group.create_task(_crowd(gate_, provider, 5, 1), name="crowd")
            await elapse(1)
            shared.known = Known()
            await crowd

    virtual_time.run(run())
    assert provider.asked[0] >= 12
    assert provider.most_at_once <= 3
    assert shared.noted[0].wait_s >= 4
    assert said == [(12.0, "another orch was asked to wait")]


def test_a_rate_that_is_used_up_for_long_is_said_once() -> None:
    """Short pauses, and others while the gate is closed already, are no news."""
    said: list[float] = []
    for pause_s in (2.0, 30.0):
        provider = Provider(pause_s=pause_s)
        gate_ = Gate(2, notice=lambda wait_s, _why: said.append(wait_s))
        virtual_time.run(_crowd(gate_, provider, 2, 1))
    assert said == [30.0]


def test_a_narrow_gate_serves_all_sessions_alike() -> None:
    """Nobody has more answers than another, but by one round for each time that the other was refused."""
    answers: Counter[int] = Counter()
    refusals: Counter[int] = Counter()
    unfair: list[tuple[int, int]] = []
    dice = Random(1)  # noqa: S311 - replayable
    provider = Provider(refuse=lambda _now: 0.5 if dice.random() < 0.1 else None)

    async def session(gate_: Gate, number: int) -> None:
        async def refused(_refusal: RateLimited, _wait_s: float) -> None:
            refusals[number] += 1

        for _ in range(8):
            await gate_.ask(provider.ask, refused)
            answers[number] += 1
            unfair.extend(
                (number, other)
                for other in range(20)
                if answers[other] + refusals[other] < answers[number] - 2
            )

    async def run() -> None:
        gate_ = Gate(4)
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(session(gate_, number), name=f"session {number}")

    virtual_time.run(run())
    assert provider.refused
    assert unfair == []


def test_a_key_that_is_refused_is_refused_for_all_that_wait() -> None:
    """One of two places was asked with it: whoever comes after the refusal is not let through."""
    asked = 0

    async def refuse() -> Reply:
        nonlocal asked
        asked += 1
        await asyncio.sleep(LATENCY_S)
        raise AuthRefused("no such key")

    async def caller(gate_: Gate) -> None:
        with pytest.raises(AuthRefused, match="no such key"):
            await gate_.ask(refuse, _unheard)

    async def run() -> None:
        gate_ = Gate(2)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(caller(gate_), name=f"session {number}")
        await caller(gate_)

    virtual_time.run(run())
    assert asked == 2
