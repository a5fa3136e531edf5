"""The client for streaming chat completions, as OpenAI, OpenRouter, Ollama, vLLM and llama.cpp serve them.

Theory of operation. One client belongs to one session and holds one connection, which is
`orch.models.transport`'s business: a pool that all sessions share is walked at every request, so its cost
grows with the square of the sessions. What is shared is the `SSLContext`, the dear part. A turn is one POST;
bodies and streams are `orch.models.wire`'s business. Limits count data events, not bytes: a stream of
comments is as silent as no stream. Once the model has ended its turn, the rest (usage, end mark, end of
stream) gets a few seconds, and whatever happens then, the answer stands.

An `ask` is asked again here in two cases alone, both free: a kept connection turned out to be closed before
a byte came back (llama.cpp closes after every stream although it announces keep-alive), and an endpoint that
knows the output limit by its newer name only. Everything else is one `ModelError`.
"""

import asyncio
import base64
import contextlib
import difflib
import json
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import httpx

from orch.config import ModelFacts, Provider
from orch.errors import BadStream, ConnectionLost, ModelError, ServerFailed, UnknownModel
from orch.models.interface import Ask, Reply
from orch.models.refusals import Endpoint, ErrorBody, classify, unknown_model
from orch.models.transport import StaleConnection, transport_for
from orch.models.wire import Answer, EventReader, RequestBody

TAIL_LIMIT_S = 5.0  # from the turn's end to the stream's end
MAX_ERROR_BYTES = 64 * 1024  # of the body of a refusal
MAX_BODY_BYTES = 10 * 1024 * 1024  # of an answer that is no stream, and of a list of models
LIST_LIMIT_S = 5.0  # for the names of an endpoint's models, a courtesy
MAX_OUTPUT_TOKENS = 32_768  # asked for at most: endpoints count it against the rate limit before it is used

_FAILED_FINISH = frozenset({"error", "insufficient_system_resource"})  # OpenRouter; DeepSeek


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one call may be silent, before the first event and between two, and how long it may last."""

    idle_s: float = 120.0
    call_s: float = 600.0


def shared_tls(base_urls: Iterable[str]) -> ssl.SSLContext:
    """Return the context that all clients share; call it once, before the event loop starts.

    It loads the machine's certificates only if one of the addresses needs them; without, it trusts nobody.
    """
    if any(url.startswith("https:") for url in base_urls):
        tls = httpx.create_ssl_context()
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


class OpenAIModel:
    """One model of one provider for one session; see `orch.models.interface.Model`."""

    def __init__(
        self,
        provider: Provider,
        name: str,
        facts: ModelFacts,
        *,
        tls: ssl.SSLContext,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = httpx.URL(provider.base_url)
        self._endpoint = Endpoint(provider.name, url.netloc.decode(), name, provider.api_key)
        self._facts = facts
        self._limits = limits or Limits()
        self._body = RequestBody(name)
        self._limit_name = "max_tokens"
        self._url = httpx.URL(f"{provider.base_url}/chat/completions")
        self._headers = _headers(provider)
        self._transport = transport or transport_for(provider.base_url, tls)
        self._provider = provider

    async def ask(self, ask: Ask) -> Reply:
        """Return the model's answer; see `orch.models.interface.Model.ask`."""
        answer = Answer()
        now = asyncio.get_running_loop().time()
        deadline = now + self._limits.call_s
        try:
            async with asyncio.timeout_at(min(deadline, now + self._limits.idle_s)) as limit:
                await self._converse(ask, answer, limit, deadline)
        except (TimeoutError, httpx.HTTPError, BadStream) as error:
            if not answer.complete:
                raise self._lost(error, deadline) from None
        if answer.finish in _FAILED_FINISH:
            raise ServerFailed(
                self._endpoint.says("failed in mid-answer; it is worth asking again"), status=200
            )
        return Reply(
            message=answer.message(self._body.call_ids, len(ask.messages)),
            finish=answer.reason(),
            usage=answer.usage(self._body.size_bytes, self._facts),
        )

    async def close(self) -> None:
        """Give up the connection. May be called more than once."""
        await self._transport.aclose()

    async def _converse(self, ask: Ask, answer: Answer, limit: asyncio.Timeout, deadline: float) -> None:
        response = await self._open(ask)
        try:
            if response.headers.get("content-type", "").startswith("application/json"):
                self._take(answer, [await _read(response, MAX_BODY_BYTES)])
                if not answer.complete:
                    raise BadStream("JSON that is no completion")
            else:
                await self._follow(response, answer, limit, deadline)
        finally:
            await response.aclose()

    async def _follow(
        self, response: httpx.Response, answer: Answer, limit: asyncio.Timeout, deadline: float
    ) -> None:
        reader = EventReader()
        clock = asyncio.get_running_loop().time
        encoded = "content-encoding" in response.headers
        raw = cast("httpx.AsyncByteStream", response.stream)  # `aiter_raw` costs more for each chunk
        async for chunk in response.aiter_bytes() if encoded else raw:
            events = reader.feed(chunk)
            if events:
                self._take(answer, events)
                patience_s = TAIL_LIMIT_S if answer.complete else self._limits.idle_s
                limit.reschedule(min(deadline, clock() + patience_s))
        self._take(answer, reader.end())
        if not answer.complete:
            if reader.strayed:
                raise BadStream("a body that is no event stream")
            raise httpx.RemoteProtocolError("the stream ended in the middle of the answer")

    def _take(self, answer: Answer, events: Iterable[bytes]) -> None:
        for data in events:
            error = answer.feed(data) if data and not answer.done else None
            if error is not None and not answer.complete:
                raise classify(self._endpoint, 200, {}, ErrorBody.of(error))

    async def _open(self, ask: Ask) -> httpx.Response:
        """Return a response that is no refusal; its body is still to come."""
        tokens = self._facts.output_tokens
        cap = {} if tokens is None else {self._limit_name: min(tokens, MAX_OUTPUT_TOKENS)}
        response = await self._post(self._body.build(ask, cap))
        if response.is_success:
            return response
        error = ErrorBody.read(await _read(response, MAX_ERROR_BYTES))
        if cap and self._is_other_name(error):
            self._limit_name = "max_completion_tokens"
            return await self._open(ask)
        raise await self._refusal(response, error)

    def _is_other_name(self, error: ErrorBody) -> bool:
        refused = error.code == "unsupported_parameter" and error.param in ("", "max_tokens")
        return refused and self._limit_name == "max_tokens"

    async def _post(self, body: bytes) -> httpx.Response:
        request = httpx.Request("POST", self._url, headers=self._headers, content=body)
        try:
            return await self._transport.handle_async_request(request)
        except StaleConnection:
            return await self._transport.handle_async_request(request)

    async def _refusal(self, response: httpx.Response, error: ErrorBody) -> ModelError:
        refusal = classify(self._endpoint, response.status_code, response.headers, error)
        unknown = isinstance(refusal, UnknownModel)
        if not unknown and response.status_code != httpx.codes.NOT_FOUND:
            return refusal
        name = self._endpoint.model
        known = await _model_names(self._transport, self._provider)
        if not unknown and (not known or name in known):
            return refusal
        return unknown_model(self._endpoint, _nearest(name, known))

    def _lost(self, error: Exception, deadline: float) -> ModelError:
        if isinstance(error, BadStream):
            return BadStream(self._endpoint.says(f"sent no completion ({error}); it is worth asking again"))
        if not isinstance(error, TimeoutError):
            what = f"the connection failed ({type(error).__name__}: {error})"
        elif asyncio.get_running_loop().time() >= deadline:
            what = f"the answer took longer than {self._limits.call_s:g} s"
        else:
            what = f"no data came for {self._limits.idle_s:g} s"
        return ConnectionLost(self._endpoint.says(f"{what}; is the endpoint up? It is worth asking again"))


async def known_models(
    provider: Provider, tls: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
) -> tuple[str, ...]:
    """Return the names of the provider's models; none where it does not say within a few seconds."""
    way = transport or transport_for(provider.base_url, tls)
    try:
        return await _model_names(way, provider)
    finally:
        await way.aclose()


async def _model_names(transport: httpx.AsyncBaseTransport, provider: Provider) -> tuple[str, ...]:
    request = httpx.Request("GET", f"{provider.base_url}/models", headers=_headers(provider))
    body = b""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(LIST_LIMIT_S):
            body = await _read(await transport.handle_async_request(request), MAX_BODY_BYTES)
    try:
        listed = json.loads(body)
        return tuple(entry["id"] for entry in listed["data"] if isinstance(entry["id"], str))
    except (ValueError, RecursionError, TypeError, KeyError):
        return ()


def _nearest(name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        sorted(known, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio(), reverse=True)
    )


async def _read(response: httpx.Response, limit_bytes: int) -> bytes:
    """Return the body as far as it comes, and close the response."""
    body = bytearray()
    try:
        with contextlib.suppress(httpx.HTTPError):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit_bytes:
                    break
    finally:
        await response.aclose()
    return bytes(body)


def _headers(provider: Provider) -> httpx.Headers:
    headers = {"accept": "text/event-stream, application/json", "accept-encoding": "identity"}
    headers |= {"content-type": "application/json", "user-agent": "orch"}
    if provider.api_key is not None:
        headers["authorization"] = f"Bearer {provider.api_key.reveal()}"
    url = httpx.URL(provider.base_url)
    if url.userinfo:  # a gate of its own before the endpoint
        credentials = f"{url.username}:{url.password}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    return httpx.Headers(headers)
