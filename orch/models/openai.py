"""The client for streaming chat completions, as OpenAI, OpenRouter, Ollama, vLLM and llama.cpp serve them.

The wire (`orch.models.openai_wire`) is the OpenAI API reference's, "Chat". An endpoint that knows the output
limit by its newer name only is asked again with that name, and from then on by it alone.
"""

import httpx

from orch.config import Provider
from orch.models import client
from orch.models.client import Address, WireModel
from orch.models.interface import Ask
from orch.models.openai_wire import Answer, RequestBody
from orch.models.refusals import ErrorBody


class OpenAIModel(WireModel):
    """One model of one provider for one session; see `orch.models.interface.Model`."""

    failed_finishes = frozenset({"error", "insufficient_system_resource"})  # OpenRouter; DeepSeek

    _body: RequestBody
    _limit_name = "max_tokens"

    @staticmethod
    def address(provider: Provider) -> Address:
        """Return where `provider` is asked on this wire."""
        key = provider.api_key
        own = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        return Address(
            ask=httpx.URL(f"{provider.base_url}/chat/completions"),
            models=httpx.URL(f"{provider.base_url}/models"),
            headers=client.headers(provider, own),
        )

    def _new_body(self) -> RequestBody:
        return RequestBody(self._endpoint.model)

    def _new_answer(self) -> Answer:
        return Answer()

    def _written(self, ask: Ask) -> bytes:
        tokens = self._facts.output_tokens
        cap = {} if tokens is None else {self._limit_name: self._answer_tokens(tokens)}
        return self._body.build(ask, cap)

    def _meets(self, error: ErrorBody) -> bool:
        refused = error.code == "unsupported_parameter" and error.param in ("", "max_tokens")
        if not refused or self._limit_name != "max_tokens" or self._facts.output_tokens is None:
            return False
        self._limit_name = "max_completion_tokens"
        return True
