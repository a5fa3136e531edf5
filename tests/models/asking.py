"""One client of either wire against its strict endpoint, for the tests of clients."""

import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from orch.config import ModelFacts, Provider, ProviderKind, Secret
from orch.errors import ModelError
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage
from orch.models.client import WireModel, shared_tls
from orch.models.connect import CLIENTS
from orch.models.interface import Ask, Reply, ToolSpec
from orch.models.patience import Limits
from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Endpoint, Script, Step

KEY = "sk-live-0123456789abcdef"
READ = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PATIENT = Limits(idle_s=20.0, call_s=20.0)
HASTY = Limits(idle_s=0.15, call_s=20.0)
GOOD = Step(
    text="Héllo \N{SNOWMAN} world", tool_calls=[("read", {"path": "a/ü.py"}), ("read", {"path": "b"})]
)
FAILURE = {"message": "The server had an error", "type": "server_error"}

AnyMessage = UserMessage | AssistantMessage | ToolMessage


@dataclass(frozen=True)
class Wire:
    """A wire, and an endpoint that speaks it."""

    kind: ProviderKind
    endpoint: Callable[[Script], Endpoint]

    @property
    def client(self) -> type[WireModel]:
        """The client of this wire."""
        return CLIENTS[self.kind]

    def provider(self, base_url: str) -> Provider:
        """Return a provider that speaks it."""
        return Provider("small", self.kind, base_url, Secret(KEY))


OPENAI = Wire(ProviderKind.OPENAI, Endpoint)
ANTHROPIC = Wire(ProviderKind.ANTHROPIC, anthropic_endpoint)
WIRES = (OPENAI, ANTHROPIC)


@asynccontextmanager
async def asking(
    wire: Wire,
    script: Script,
    *,
    model: str = "scripted",
    facts: ModelFacts | None = None,
    limits: Limits = PATIENT,
) -> AsyncIterator[tuple[WireModel, Endpoint]]:
    """Serve `script`, and give a client that asks it."""
    with wire.endpoint(script) as endpoint:
        tls = shared_tls([endpoint.base_url])
        provider = wire.provider(endpoint.base_url)
        client = wire.client(provider, model, facts or ModelFacts(), tls=tls, limits=limits)
        try:
            yield client, endpoint
        finally:
            await client.close()


def ask(*messages: AnyMessage) -> Ask:
    """Return a question with one tool."""
    return Ask(system="be good", messages=messages or (UserMessage(text="build it"),), tools=(READ,))


def always(step: Step) -> Script:
    """Answer everything alike."""
    return lambda _: step


def first(bad: Step, good: Step) -> Script:
    """Answer badly once."""
    return lambda turn: bad if turn.attempt == 1 else good


async def reply_of(wire: Wire, step: Step, **options: Any) -> Reply:
    """Return the answer to one ask."""
    async with asking(wire, always(step), **options) as (client, _):
        return await client.ask(ask())


async def error_of(wire: Wire, step: Step, **options: Any) -> ModelError:
    """Return the one error of one ask, checked for what holds for every error."""
    async with asking(wire, always(step), **options) as (client, endpoint):
        with pytest.raises(ModelError) as caught:
            await client.ask(ask())

        assert len(endpoint.ledger) == 1, "an error is not asked again here"
    text = str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in text
    assert "small (127.0.0.1:" in text
    return caught.value
