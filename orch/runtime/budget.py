"""What a run may still spend, shared by all its sessions: a call that may not fit is not made.

Theory of operation. Before each call, a retry included, a session holds the call's estimate, until it has
given back what the call cost. What is spent, held and asked for has to stay within the caps. A call that does
not fit waits until another comes back, and is looked at again. No call is ever cut off by a cap: so spending
exceeds one at most by what the calls in flight, one a session, cost beyond their estimates. What costs
nothing goes on meanwhile; when all that a run does is to wait here, the run is at its limit, and its
orchestrator ends it with `reached`. No wait here has a limit of its own: it ends with a call in flight, which
has one, with the run, or with `close`.

A call of which nothing is known but that it may have been paid (a stream that broke off, a stop) counts with
its estimate.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from orch.config import ModelFacts, ModelRef
from orch.mission import caps, size
from orch.mission import events as ev
from orch.mission.caps import Amount, Cap, Caps
from orch.mission.state import NOTHING_SPENT, Session, Spending, plus
from orch.models.interface import ToolSpec
from orch.models.wire import Counts, cost_usd
from orch.tools.desk import SessionOver

MUCH = 0.8
"""The part of a cap from which on it is said that much of it is used."""
LEAST_OUTPUT_TOKENS = 500
"""What an answer is taken to cost at least, before it is known."""
_SLACK_USD = 1e-9
"""Sums of dollars are not exact."""
_SPENDABLE = (Cap.TOKENS, Cap.USD)


def _nobody() -> None:
    """Tell nobody."""


@dataclass(slots=True, eq=False)
class Budget:
    """What may be spent, what is, and what calls in flight may take; belongs to one event loop.

    `changed` is called when a call begins to wait, for it may have been the last one that did anything.
    """

    caps: Caps = field(default_factory=Caps)
    spent: ev.Usage = NOTHING_SPENT
    changed: Callable[[], None] = _nobody
    _held: dict["Call", ev.Usage] = field(default_factory=dict)
    _waiting: dict["Call", asyncio.Future[bool]] = field(default_factory=dict)
    _said: set[Cap] = field(default_factory=set)
    _closed: bool = False

    def open(self, caps: Caps, spent: ev.Usage) -> None:
        """Begin with what a mission may spend and what it has spent; nothing is held yet."""
        self.caps, self.spent = caps, spent

    def call(self, estimate: ev.Usage) -> "Call":
        """Return the right to a turn's calls, to be entered."""
        return Call(self, estimate)

    def fits(self, estimate: ev.Usage) -> bool:
        """Say whether a call can be made now."""
        return self._exceeded(estimate) is None

    @property
    def waiting(self) -> int:
        """How many calls wait: none of them fits."""
        return sum(1 for future in self._waiting.values() if not future.done())

    def close(self) -> None:
        """Let nobody call any more: whoever waits, or comes, hears `SessionOver`."""
        self._closed = True
        for future in self._waiting.values():
            if not future.done():
                future.set_result(False)

    def reached(self, needed: ev.Usage | None = None) -> ev.Budget | None:
        """Say which cap is reached, if one is: by `needed`, or else by the smallest call that waits."""
        least = needed or min((call.estimate for call in self._waiting), key=_tokens, default=NOTHING_SPENT)
        cap = next((cap for cap in _SPENDABLE if self._is_used_up(cap)), None) or self._exceeded(least)
        if cap is None:
            return None
        return self._fact(cap, needed=_amount(cap, least), reached=True)

    def news(self) -> tuple[ev.Budget, ...]:
        """Say, once for each cap, that much of it is used."""
        much = [
            cap
            for cap in _SPENDABLE
            if cap not in self._said
            and (amount := self.caps.of(cap)) is not None
            and _amount(cap, self.spent) >= MUCH * amount
        ]
        self._said.update(much)
        return tuple(self._fact(cap) for cap in much)

    def _fact(self, cap: Cap, *, needed: Amount = 0, reached: bool = False) -> ev.Budget:
        spent, amount = _amount(cap, self.spent), self.caps.of(cap) or 0
        return ev.Budget(limit=cap, cap=amount, spent=spent, needed=needed, reached=reached)

    def _is_used_up(self, cap: Cap) -> bool:
        amount = self.caps.of(cap)
        return amount is not None and _amount(cap, self.spent) >= amount

    def _exceeded(self, estimate: ev.Usage) -> Cap | None:
        """Return the first cap that a call may exceed."""
        for cap in _SPENDABLE:
            amount = self.caps.of(cap)
            if amount is None:
                continue
            asked = (self.spent, *self._held.values(), estimate)
            if sum(_amount(cap, usage) for usage in asked) > amount + (_SLACK_USD if cap is Cap.USD else 0):
                return cap
        return None

    # ---- what a call does

    async def hold(self, call: "Call") -> None:
        """Wait until the call fits. Raises `SessionOver` if the run is stopping."""
        if not self._closed and self.fits(call.estimate):
            self._held[call] = call.estimate
            return
        if self._closed:
            raise SessionOver
        self._waiting[call] = asyncio.get_running_loop().create_future()
        self.changed()
        try:
            may_go = await self._waiting[call]
        except asyncio.CancelledError:
            self.release(call, NOTHING_SPENT)  # it may have been let go in the same moment
            raise
        finally:
            del self._waiting[call]
        if not may_go:
            raise SessionOver

    def release(self, call: "Call", usage: ev.Usage) -> None:
        """Count what the call cost, and let go those that fit now."""
        if self._held.pop(call, None) is None:
            return
        self.spent = plus(self.spent, usage)
        for waiter, future in self._waiting.items():
            if not future.done() and self.fits(waiter.estimate):
                self._held[waiter] = waiter.estimate
                future.set_result(True)

    def holds(self, call: "Call") -> bool:
        """Say whether the call may be made, or is being made."""
        return call in self._held


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """The calls of one turn: the first try may be made inside, each further one after another `hold`.

    A try that was not paid for by the end counts with the estimate.
    """

    budget: Budget
    estimate: ev.Usage

    async def __aenter__(self) -> Self:
        await self.hold()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pay(self.estimate)

    async def hold(self) -> None:
        """Wait until another try fits, if none may be made. Raises `SessionOver` if the run is stopping."""
        if not self.budget.holds(self):
            await self.budget.hold(self)

    def pay(self, usage: ev.Usage) -> None:
        """Say what the try cost; nothing happens if that was said."""
        self.budget.release(self, usage)


def _tokens(usage: ev.Usage) -> int:
    return usage.input_tokens + usage.output_tokens


def _amount(cap: Cap, usage: ev.Usage) -> Amount:
    return _tokens(usage) if cap is Cap.TOKENS else usage.cost_usd or 0.0


def failure(fact: ev.Budget) -> ev.MissionFailed:
    """Return the end of a run that reached a cap, as people are told it."""
    if fact.limit is Cap.TIMEOUT:
        return ev.MissionFailed(outcome=ev.Outcome.TIMEOUT, text=caps.timed_out(fact.cap))
    text = caps.reached(fact.limit, fact.cap, fact.spent, fact.needed)
    blocker = ev.Blocker(kind=ev.BlockerKind.LIMIT, text=text)
    return ev.MissionFailed(outcome=ev.Outcome.LIMIT, text=text, blockers=(blocker,))


def spent(spending: Spending, facts_of: Callable[[ModelRef], ModelFacts]) -> ev.Usage:
    """Return what a mission has spent; what had no price when it was spent has its model's present one."""
    total = NOTHING_SPENT
    for model, usage in spending.by_model.items():
        if usage.cost_usd is None:
            counts = Counts(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
            total = plus(total, priced(counts, facts_of(ModelRef.parse(model))))
        else:
            total = plus(total, usage)
    return total


def used_up(budget: Budget, exhausted: ev.Budget | None) -> ev.Budget | None:
    """Say which cap keeps a mission from any call at all, if one does.

    `exhausted` is what ended its last run: the call that did not fit then does not fit under the same cap.
    """
    needed = NOTHING_SPENT
    if exhausted is not None and exhausted.limit is Cap.TOKENS:
        needed = ev.Usage(input_tokens=int(exhausted.needed), cost_usd=0.0)
    elif exhausted is not None and exhausted.limit is Cap.USD:
        needed = ev.Usage(cost_usd=exhausted.needed)
    return budget.reached(needed)


# ---- what a call will cost


class Forecast:
    """What the next call of one session will cost: the size of its request, and the longest answer so far."""

    def __init__(self, facts: ModelFacts) -> None:
        self._facts = facts
        self._fixed_tokens: int | None = None
        self._largest_tokens = LEAST_OUTPUT_TOKENS

    @property
    def is_open(self) -> bool:
        """Whether it is known what each call begins with."""
        return self._fixed_tokens is not None

    @property
    def fixed_tokens(self) -> int:
        """What each call begins with, estimated."""
        return self._fixed_tokens or 0

    def open(self, system: str, tools: Iterable[ToolSpec]) -> None:
        """Note what each call begins with."""
        texts = (
            part for tool in tools for part in (tool.name, tool.description, json.dumps(tool.parameters))
        )
        self._fixed_tokens = size.tokens_in((system, *texts))

    def tokens(self, session: Session, said: Iterable[str]) -> int:
        """Return the size of the next request, if it tells the model what was `said` besides."""
        return size.request_tokens(session, said, self.fixed_tokens)

    def next(self, session: Session, said: Iterable[str]) -> ev.Usage:
        """Return what the next call may cost."""
        return priced(Counts(self.tokens(session, said), self._largest_tokens), self._facts)

    def learn(self, usage: ev.Usage) -> None:
        """Note what a call cost."""
        self._largest_tokens = max(self._largest_tokens, usage.output_tokens)


def priced(counts: Counts, facts: ModelFacts) -> ev.Usage:
    """Return the counts as a usage, with its cost where the prices are known."""
    return ev.Usage(
        input_tokens=counts.input,
        output_tokens=counts.output,
        cached_tokens=counts.cached,
        cost_usd=cost_usd(counts, facts),
    )
