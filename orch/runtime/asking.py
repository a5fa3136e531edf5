"""How a session gets one answer: within the budget, through the gate, again after what is worth it.

A try that was refused for its rate is the gate's business: it is waited out, and made again as often as it
takes. Another failure that may pass is tried again a few times (`orch.runtime.recovery` says which). Every
refusal, retry and failure becomes an event of the session, with what it may have cost. What is given up is
raised; what that means for the session and the run is their business.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from orch.config import ModelFacts
from orch.errors import ModelError, ProviderUnavailable, RateLimited
from orch.mission import events as ev
from orch.mission.state import NOTHING_SPENT
from orch.models.gate import Gate
from orch.models.interface import Ask, Model, Reply, ToolSpec
from orch.runtime import recovery
from orch.runtime.budget import Budget, Call
from orch.tools import toolbox
from orch.tools.desk import Desk, SessionOver


@dataclass(frozen=True, slots=True)
class Voice:
    """What a session asks with: its model, its system prompt (context included), its tools and limits.

    `budget` is the run's, shared by all its sessions, `gate` that of its provider and key.
    """

    model: Model
    system: Callable[[], str]
    grants: frozenset[str]
    max_turns: int
    retry_base_s: float
    is_stopping: Callable[[], bool]
    gate: Gate
    facts: ModelFacts = field(default_factory=ModelFacts)
    budget: Budget = field(default_factory=Budget)
    session_timeout_s: float = math.inf

    def tools(self) -> tuple[ToolSpec, ...]:
        """Return the granted tools, always in the same order: the prefix stays the same bytes."""
        return _specs(self.grants)


_SPECS: dict[frozenset[str], tuple[ToolSpec, ...]] = {}


def _specs(grants: frozenset[str]) -> tuple[ToolSpec, ...]:
    if grants not in _SPECS:
        _SPECS[grants] = tuple(
            ToolSpec(name, tool.description, tool.parameters())
            for name, tool in toolbox.TOOLS.items()
            if name in grants
        )
    return _SPECS[grants]


@dataclass(slots=True)
class Asking:
    """The tries of one session. `answered_in_s` is how long the last answer took, without any waiting."""

    desk: Desk
    voice: Voice
    is_under_way: bool = False
    answered_in_s: float = 0.0
    _attempts: int = 0

    async def answer(self, ask: Ask, call: Call) -> Reply:
        """Return the model's answer to `ask`.

        Raises:
            ModelError: None could be had; `recovery` says what it means.
            SessionOver: The run is stopping, and nothing was paid for.
        """
        self._attempts = 0
        tries = AsyncRetrying(
            stop=stop_after_attempt(recovery.TRIES),
            wait=recovery.backoff(self.voice.retry_base_s),
            retry=retry_if_exception(recovery.is_retried),
            before_sleep=partial(self._note_retry, call),
            reraise=True,
        )
        try:
            return await tries(self._through_the_gate, ask, call)
        except ModelError as error:
            await self._note_failure(error, call)
            row = recovery.action_for(error)
            if row is not None and row.action is recovery.Action.RETRY:
                raise ProviderUnavailable(
                    f"{error} (given up after {tries.statistics['attempt_number']} tries)"
                ) from error
            raise

    async def _through_the_gate(self, ask: Ask, call: Call) -> Reply:
        return await self.voice.gate.ask(partial(self._try, ask, call), partial(self._note_refusal, call))

    async def _try(self, ask: Ask, call: Call) -> Reply:
        await call.hold()
        began = asyncio.get_running_loop().time()
        self.is_under_way = True
        try:
            reply = await self.voice.model.ask(ask)
        except ModelError as error:
            call.pay(call.estimate if error.may_be_paid else NOTHING_SPENT)
            raise
        finally:
            self.is_under_way = False
        self.answered_in_s = asyncio.get_running_loop().time() - began
        call.pay(reply.usage)
        return reply

    async def _note_refusal(self, call: Call, refusal: RateLimited, wait_s: float) -> None:
        await self._note(refusal, wait_s, call, at_once=self.voice.gate.limit)

    async def _note_retry(self, call: Call, retry: RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        if isinstance(error, ModelError):
            await self._note(error, retry.next_action.sleep if retry.next_action else 0.0, call)

    async def _note(self, error: ModelError, wait_s: float, call: Call, at_once: int | None = None) -> None:
        if self.voice.is_stopping():
            raise SessionOver  # nothing is paid for while it waits: the next run asks again
        self._attempts += 1
        await self.desk.record(
            ev.Retry(
                session=self.desk.session_id,
                item=self.desk.session.item,
                attempt=self._attempts,
                delay_s=round(wait_s, 3),
                error=type(error).__name__,
                text=str(error),
                usage=call.estimate if error.may_be_paid else None,
                at_once=at_once,
            ),
            *self.voice.budget.news(),
        )

    async def _note_failure(self, error: ModelError, call: Call) -> None:
        session = self.desk.session
        await self.desk.record(
            ev.TurnFailed(
                session=session.id,
                item=session.item,
                turn=session.turns + 1,
                model=session.model,
                error=type(error).__name__,
                text=str(error),
                usage=call.estimate if error.may_be_paid else None,
            ),
            *self.voice.budget.news(),
        )
