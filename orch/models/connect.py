"""From a provider to a client that speaks its wire."""

import ssl
from collections.abc import Mapping
from types import MappingProxyType

import httpx

from orch.config import Provider, ProviderKind
from orch.models.anthropic import AnthropicModel
from orch.models.client import WireModel, model_names
from orch.models.openai import OpenAIModel
from orch.models.transport import transport_for

CLIENTS: Mapping[ProviderKind, type[WireModel]] = MappingProxyType(
    {ProviderKind.OPENAI: OpenAIModel, ProviderKind.ANTHROPIC: AnthropicModel}
)
"""The client of each wire."""


async def known_models(
    provider: Provider, tls: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
) -> tuple[str, ...]:
    """Return the names of the provider's models; none where it does not say within a few seconds."""
    way = transport or transport_for(provider.base_url, tls)
    try:
        return await model_names(way, CLIENTS[provider.kind].address(provider))
    finally:
        await way.aclose()
