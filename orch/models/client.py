"""What every wire's client does: one request, one answer, within limits, or one `ModelError`.

Theory of operation. One client belongs to one session and holds one connection, which is
`orch.models.transport`'s business: a pool that all sessions share is walked at every request, so its cost
grows with the square of the sessions. What is shared is the `SSLContext`, the dear part. A turn is one POST;
what it says, and how its answer is read, is the business of the wire: `orch.models.openai` and
`orch.models.anthropic`. Limits count data events, not bytes: a stream of comments is as silent as no stream.
Once the model has ended its turn, the rest (usage, end mark, end of stream) gets a few seconds, and whatever
happens then, the answer stands. One that comes apart while it streams is read no further.

An `ask` is asked again here in two cases alone, both free: a kept connection turned out to be closed before
a byte came back (llama.cpp closes after every stream although it announces keep-alive), and a refusal that
the wire knows how to meet. Everything else is one `ModelError`.
"""

import asyncio
import base64
import contextlib
import difflib
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import httpx

from orch.config import ModelFacts, Provider
from orch.errors import (
    BadStream,
    ConnectionLost,
    ModelError,
    RequestRefused,
    ServerFailed,
    UnknownModel,
)
from orch.mission.compaction import Window
from orch.models.interface import Ask, Reply
from orch.models.patience import Limits, Patience
from orch.models.rates import exhausted_s
from orch.models.refusals import Endpoint, ErrorBody, classify, unknown_model
from orch.models.transport import StaleConnection, transport_for
from orch.models.wire import Answer, EventReader, RequestBody

TAIL_LIMIT_S = 5.0  # from the turn's end to the stream's end
MAX_ERROR_BYTES = 64 * 1024  # of the body of a refusal
MAX_BODY_BYTES = 10 * 1024 * 1024  # of an answer that is no stream, and of a list of models
LIST_LIMIT_S = 5.0  # for the names of an endpoint's models, a courtesy
MAX_OUTPUT_TOKENS = 32_768  # asked for at most: endpoints count it against the rate limit before it is used


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider is asked, where it lists its models, and the headers of both."""

    ask: httpx.URL
    models: httpx.URL
    headers: httpx.Headers


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


def headers(provider: Provider, own: Mapping[str, str]) -> httpx.Headers:
    """Return the headers of every request to `provider`; `own` are those of its wire, the key among them."""
    fields = {"accept": "text/event-stream, application/json", "accept-encoding": "identity"}
    fields |= {"content-type": "application/json", "user-agent": "orch"} | dict(own)
    url = httpx.URL(provider.base_url)
    if url.userinfo:  # a gate of its own before the endpoint
        credentials = f"{url.username}:{url.password}".encode()
        fields["authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    return httpx.Headers(fields)


class WireModel(ABC):
    """One model of one provider for one session; see `orch.models.interface.Model`."""

    failed_finishes: frozenset[str] = frozenset()
    """Reasons to end a turn by which an endpoint says that it failed."""

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
        host = httpx.URL(provider.base_url).netloc.decode()
        self._endpoint = Endpoint(provider.name, host, name, provider.api_key)
        self._facts = facts
        self._limits = limits or Limits()
        self._address = self.address(provider)
        self._transport = transport or transport_for(provider.base_url, tls)
        self._body = self._new_body()
        self._pause_s = 0.0

    @staticmethod
    @abstractmethod
    def address(provider: Provider) -> Address:
        """Return where `provider` is asked on this wire."""

    @abstractmethod
    def _new_body(self) -> RequestBody:
        """Return the writer of this session's requests."""

    @abstractmethod
    def _new_answer(self) -> Answer:
        """Return the reader of one answer."""

    @abstractmethod
    def _written(self, ask: Ask) -> bytes:
        """Return the body of the request."""

    def _answer_tokens(self, limit_tokens: int) -> int:
        """Return how long an answer is asked for, which the window has to hold too."""
        window = Window(self._facts.context_tokens, limit_tokens)
        return min(window.answer_tokens, MAX_OUTPUT_TOKENS)

    def _meets(self, error: ErrorBody) -> bool:  # noqa: ARG002 - for those that know a way
        """Say whether the next body will be another one because of `error`; at most once for each cause."""
        return False

    async def ask(self, ask: Ask) -> Reply:
        """Return the model's answer; see `orch.models.interface.Model.ask`."""
        answer = self._new_answer()
        patience = Patience(self._limits)
        try:
            async with patience:
                await self._converse(ask, answer, patience)
        except (TimeoutError, httpx.HTTPError, BadStream) as error:
            if not answer.complete:
                raise self._lost(error, patience.deadline) from None
        if answer.finish in self.failed_finishes:
            raise ServerFailed(
                self._endpoint.says("failed in mid-answer; it is worth asking again"), status=200
            )
        return Reply(
            message=answer.message(self._body.call_ids, len(ask.messages)),
            finish=answer.reason(),
            usage=answer.usage(self._body.size_bytes, self._facts),
            pause_s=self._pause_s,
        )

    async def close(self) -> None:
        """Give up the connection. May be called more than once."""
        await self._transport.aclose()

    async def _converse(self, ask: Ask, answer: Answer, patience: Patience) -> None:
        response = await self._open(ask)
        self._pause_s = exhausted_s(response.headers)
        try:
            if response.headers.get("content-type", "").startswith("application/json"):
                self._take(answer, [await _read(response, MAX_BODY_BYTES)])
                if not answer.complete:
                    raise BadStream("JSON that is no completion")
            else:
                await self._follow(response, answer, patience)
        finally:
            await response.aclose()

    async def _follow(self, response: httpx.Response, answer: Answer, patience: Patience) -> None:
        reader = EventReader()
        encoded = "content-encoding" in response.headers
        raw = cast("httpx.AsyncByteStream", response.stream)  # `aiter_raw` costs more for each chunk
        async for chunk in response.aiter_bytes() if encoded else raw:
            events = reader.feed(chunk)
            if events and self._take(answer, events):
                patience.wait_for(TAIL_LIMIT_S if answer.complete else self._limits.idle_s)
            if answer.defect is not None:
                return  # the connection is closed in the middle of it: no more of it is paid
        self._take(answer, reader.end())
        if not answer.complete:
            if reader.strayed:
                raise BadStream("a body that is no event stream")
            raise httpx.RemoteProtocolError("the stream ended in the middle of the answer")

    def _take(self, answer: Answer, events: Iterable[bytes]) -> bool:
        """Add the events to the answer; say whether any of them was more than a sign of life."""
        before = answer.events
        for data in events:
            error = answer.feed(data) if data and not answer.done else None
            if error is not None and not answer.complete:
                raise classify(self._endpoint, 200, {}, ErrorBody.of(error))
        return answer.events > before

    async def _open(self, ask: Ask) -> httpx.Response:
        """Return a response that is no refusal; its body is still to come."""
        response = await self._post(self._written(ask))
        if response.is_success:
            return response
        error = ErrorBody.read(await _read(response, MAX_ERROR_BYTES))
        refusal = classify(self._endpoint, response.status_code, response.headers, error)
        if isinstance(refusal, RequestRefused) and self._meets(error):
            return await self._open(ask)
        raise await self._named(refusal, response.status_code)

    async def _post(self, body: bytes) -> httpx.Response:
        request = httpx.Request("POST", self._address.ask, headers=self._address.headers, content=body)
        try:
            return await self._transport.handle_async_request(request)
        except StaleConnection:
            return await self._transport.handle_async_request(request)

    async def _named(self, refusal: ModelError, status: int) -> ModelError:
        """Return `refusal`, with the names that the endpoint knows where it may be about the model's name."""
        unknown = isinstance(refusal, UnknownModel)
        if not unknown and status != httpx.codes.NOT_FOUND:
            return refusal
        name = self._endpoint.model
        known = await model_names(self._transport, self._address)
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
        text = self._endpoint.says(f"{what}; is the endpoint up? It is worth asking again")
        never_left = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        return ConnectionLost(text, may_be_paid=not never_left)


async def model_names(transport: httpx.AsyncBaseTransport, address: Address) -> tuple[str, ...]:
    """Return the names of the models at `address`; none where it does not say within a few seconds."""
    request = httpx.Request("GET", address.models, headers=address.headers)
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
