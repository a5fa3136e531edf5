"""The gate in front of one endpoint and key: who may ask it now, shared by all sessions.

Theory of operation. The gate starts as wide as there are sessions. A refusal (429, 529) closes it for all of
them until the endpoint's own time, or, where it names none, for a wait that doubles; jitter only ever adds to
it. It opens again for one probe alone. An answer to that lets the others pass, half as many as before, and
each further answer widens the gate by one, so that it settles where the endpoint bears it. A call that left
before the last refusal tells nothing new, and narrows or widens nothing. An answer that says that nothing is
left of a rate closes the gate until that rate is reset, before a refusal has to.

A refusal is no failure of the provider: it is waited out. Only an endpoint that asks for more than
`PATIENCE_S`, or has refused everything for that long, is called unavailable. A key that is refused is refused
for all: nobody passes any more, so that an endpoint is not asked by fifty what it has told one. What other
processes of the user have learnt is `Memory`'s business (`orch.models.gate_memory`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from orch.config import Provider
from orch.errors import AuthRefused, ProviderUnavailable, RateLimited
from orch.models.interface import Reply

FIRST_WAIT_S = 1.0
"""How long a refusal that names no time closes the gate; doubled with each one in a row."""
LONGEST_WAIT_S = 60.0
JITTER = 0.25
"""The most that is added to a wait, as a part of it."""
PACE_S = 0.05
"""Between two calls through a gate that was narrowed: a crowd that waited must not arrive as one."""
PATIENCE_S = 900.0
"""Being refused for longer than this is being unavailable."""
NOTED_S = 5.0
"""A wait that no refusal tells of is worth a line from here on."""
RECALL_S = 1.0
"""How often it is looked what other processes have learnt."""


@dataclass(frozen=True, slots=True)
class Known:
    """What processes know of an endpoint: how long to wait from now, and how many calls it bore."""

    wait_s: float = 0.0
    limit: int | None = None


class Memory(Protocol):
    """What is known beyond this process. Neither call may fail: a lost note costs one more refusal."""

    async def recall(self) -> Known:
        """Return what is known now."""
        ...

    async def note(self, known: Known) -> None:
        """Tell the others."""
        ...


class Alone:
    """The memory of a process that shares with nobody."""

    async def recall(self) -> Known:
        """Return nothing."""
        return Known()

    async def note(self, known: Known) -> None:
        """Forget it."""


def _unheard(_wait_s: float, _why: str) -> None:
    """Tell nobody."""


@dataclass(slots=True, eq=False)
class Gate:
    """One gate; `widest` calls at once at most. Belongs to one event loop.

    `notice` hears of long waits that no refusal tells of.
    """

    widest: int
    memory: Memory = field(default_factory=Alone)
    first_wait_s: float = FIRST_WAIT_S
    notice: Callable[[float, str], None] = _unheard
    limit: int = field(init=False)
    _in_flight: int = 0
    _probes: int = 0
    _epoch: int = 0
    _refusals: int = 0
    _refused_since: float | None = None
    _opens_at: float = 0.0
    _paced_to: float = 0.0
    _recall_at: float = 0.0
    _locked: str = ""
    _head: asyncio.Lock = field(default_factory=asyncio.Lock)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.limit = self.widest

    async def ask(
        self,
        ask: Callable[[], Awaitable[Reply]],
        refused: Callable[[RateLimited, float], Awaitable[None]],
    ) -> Reply:
        """Return the answer of `ask`, asked as often as it is refused; `refused` hears of each wait.

        Raises:
            ProviderUnavailable: The endpoint refuses for longer than can be waited for.
            AuthRefused: It has refused the key, here or before.
            ModelError: Whatever else `ask` raises; that is not this gate's business.
        """
        while True:
            epoch = await self._enter()
            try:
                reply = await ask()
            except RateLimited as refusal:
                wait_s = self._refused(epoch, refusal)
                await self.memory.note(Known(wait_s, self.limit))
                await refused(refusal, wait_s)
            except AuthRefused as refusal:
                self._locked = str(refusal)
                raise
            else:
                self._answered(epoch, reply)
                return reply
            finally:
                self._leave(epoch)

    # ---- one call

    async def _enter(self) -> int:
        """Wait for a place; callers pass in the order in which they came."""
        async with self._head:
            while (wait_s := await self._wait_s()) is not None:
                self._moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._moved.wait()
            if self._locked:
                raise AuthRefused(self._locked)
            self._in_flight += 1
            self._probes += self._is_probing
            if self.limit < self.widest:
                self._paced_to = _now() + PACE_S * (1 + random.random())  # noqa: S311 - no secret
            return self._epoch

    async def _wait_s(self) -> float | None:
        """Return how long the next caller has to wait before it looks again; `None` if it need not."""
        if self._locked:
            return None
        if _now() >= self._recall_at:
            self._recall_at = _now() + RECALL_S
            self._learn(await self.memory.recall())
        wait_s = max(self._opens_at, self._paced_to) - _now()
        if wait_s > 0:
            return wait_s
        full = self._in_flight >= self.limit or (self._is_probing and self._probes > 0)
        return RECALL_S if full else None

    @property
    def _is_probing(self) -> bool:
        """Whether nothing was answered since the last refusal."""
        return self._refusals > 0

    def _leave(self, epoch: int) -> None:
        self._in_flight -= 1
        if epoch == self._epoch:
            self._probes = max(0, self._probes - 1)
        self._moved.set()

    # ---- what is learnt

    def _learn(self, known: Known) -> None:
        if known.wait_s > 0:
            self._say(known.wait_s, "another orch was asked to wait")
            self._opens_at = max(self._opens_at, _now() + known.wait_s)
        if known.limit is not None and self._epoch == 0 and self._in_flight == 0:
            self.limit = max(1, min(self.widest, known.limit))

    def _answered(self, epoch: int, reply: Reply) -> None:
        if epoch == self._epoch:
            self._refusals = self._probes = 0
            self._refused_since = None
            self.limit = min(self.widest, self.limit + 1)
        if reply.pause_s > 0:
            self._say(reply.pause_s, "nothing is left of a rate")
            self._close(reply.pause_s)

    def _say(self, wait_s: float, why: str) -> None:
        """Say that the gate closes, unless it is closed or that is soon over."""
        if wait_s >= NOTED_S and _now() >= self._opens_at:
            self.notice(wait_s, why)

    def _refused(self, epoch: int, refusal: RateLimited) -> float:
        """Close and narrow the gate; return for how long."""
        if self._refused_since is None:
            self._refused_since = _now()
        asked_s = refusal.retry_after_s or 0.0
        if max(asked_s, _now() - self._refused_since) > PATIENCE_S:
            raise ProviderUnavailable(f"{refusal} (refused for longer than orch waits)") from refusal
        if epoch == self._epoch:
            self._epoch += 1
            self._refusals += 1
            self._probes = 0
            self.limit = max(1, self.limit // 2)
            asked_s = asked_s or min(LONGEST_WAIT_S, self.first_wait_s * 2 ** (self._refusals - 1))
        return self._close(asked_s)

    def _close(self, wait_s: float) -> float:
        """Close the gate for at least so long; return how long it stays closed."""
        jittered_s = wait_s * (1 + JITTER * random.random())  # noqa: S311 - no secret
        self._opens_at = max(self._opens_at, _now() + jittered_s)
        return max(0.0, self._opens_at - _now())


class Gates:
    """The gates of one run: one for each address and key, however many names a provider has."""

    def __init__(
        self,
        widest: int,
        first_wait_s: float,
        memory: Callable[[Provider], Memory],
        notice: Callable[[str], None],
    ) -> None:
        self._widest = widest
        self._notice = notice
        self._first_wait_s = first_wait_s
        self._memory = memory
        self._gates: dict[tuple[str, str], Gate] = {}

    def of(self, provider: Provider) -> Gate:
        """Return the gate before `provider`."""
        place = (provider.base_url, provider.api_key.reveal() if provider.api_key else "")
        if place not in self._gates:
            notice = partial(self._say, provider.name)
            self._gates[place] = Gate(self._widest, self._memory(provider), self._first_wait_s, notice)
        return self._gates[place]

    def _say(self, provider: str, wait_s: float, why: str) -> None:
        self._notice(f"{provider} is not asked for {wait_s:.0f}s: {why}")


def _now() -> float:
    return asyncio.get_running_loop().time()
