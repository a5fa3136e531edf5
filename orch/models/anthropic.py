"""The client for the Messages API, as Anthropic and compatible servers serve it.

The wire (`orch.models.anthropic_wire`) is that of the Anthropic API reference, "Messages"; the headers are
those of "API overview" there. The address is written as for Anthropic's own clients, without `/v1`; one that
ends in it is understood too.
"""

import httpx

from orch.config import Provider
from orch.models import client
from orch.models.anthropic_wire import Answer, RequestBody
from orch.models.client import Address, WireModel
from orch.models.interface import Ask

VERSION = "2023-06-01"  # compatible servers know it; nothing of what 2026-10-21 changes is sent or read here
DEFAULT_OUTPUT_TOKENS = 8_192  # the limit must be named; every model since 2024 can write as much
MODELS_AT_ONCE = 1000  # the longest page of the list of models


class AnthropicModel(WireModel):
    """One model of one provider for one session; see `orch.models.interface.Model`."""

    _body: RequestBody

    @staticmethod
    def address(provider: Provider) -> Address:
        """Return where `provider` is asked on this wire."""
        base = f"{provider.base_url.removesuffix('/v1')}/v1"
        own = {"anthropic-version": VERSION}
        if provider.api_key is not None:
            own["x-api-key"] = provider.api_key.reveal()
        return Address(
            ask=httpx.URL(f"{base}/messages"),
            models=httpx.URL(f"{base}/models?limit={MODELS_AT_ONCE}"),
            headers=client.headers(provider, own),
        )

    def _new_body(self) -> RequestBody:
        origin = f"{self._endpoint.host}/{self._endpoint.model}"
        return RequestBody(self._endpoint.model, origin, self._facts.thinking)

    def _new_answer(self) -> Answer:
        return Answer(self._body)

    def _written(self, ask: Ask) -> bytes:
        return self._body.build(ask, self._max_tokens())

    def _max_tokens(self) -> int:
        """Return the most that the answer may have, thinking included: the budget comes on top."""
        budget = self._facts.thinking if isinstance(self._facts.thinking, int) else 0
        known = self._facts.output_tokens
        if known is None:
            return self._answer_tokens(DEFAULT_OUTPUT_TOKENS) + budget
        return min(known, self._answer_tokens(known) + budget)
