"""What the client for chat completions does beyond `test_conformance.py`."""

import json

import httpx
import pytest

from orch.config import ModelFacts, Provider, ProviderKind
from orch.errors import (
    AuthRefused,
    ContextOverflow,
    ModelError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
    ServerFailed,
)
from orch.models.client import shared_tls
from orch.models.openai import OpenAIModel
from tests.endpoint import NEWER_MODEL, Fault, Step
from tests.models.asking import GOOD, KEY, OPENAI, always, ask, asking, error_of, reply_of

pytestmark = pytest.mark.anyio


@pytest.mark.fault(28)
async def test_ids_that_a_server_uses_twice_are_replaced() -> None:
    """Two calls of one id cannot be answered apart."""
    call = {"id": "same", "function": {"name": "read", "arguments": "{}"}}
    chunk = {"choices": [{"delta": {"tool_calls": [call | {"index": 0}, call | {"index": 1}]}}]}
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in (chunk, end)).encode()
    reply = await reply_of(OPENAI, Step(fault=Fault.RAW, body=stream))

    first, second = (call.id for call in reply.message.tool_calls)
    assert first == "same"
    assert len(second) == 9


async def test_an_output_limit_is_sent_under_the_name_that_the_endpoint_takes() -> None:
    """The older name first; the newer one from its refusal on."""
    async with asking(OPENAI, always(GOOD), model=NEWER_MODEL, facts=ModelFacts(output_tokens=900)) as (
        client,
        endpoint,
    ):
        await client.ask(ask())
        await client.ask(ask())

        asked = [entry.request or {} for entry in endpoint.ledger]
        assert [each.get("max_tokens") for each in asked] == [900, None, None]
        assert [each.get("max_completion_tokens") for each in asked] == [None, 900, 900]


async def test_the_key_travels_in_its_header_alone() -> None:
    """Not in the body."""
    async with asking(OPENAI, always(GOOD)) as (client, endpoint):
        await client.ask(ask())

        (entry,) = endpoint.ledger
        assert entry.headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in json.dumps(entry.request)


async def test_an_answer_may_come_through_a_transport_without_a_network() -> None:
    """The built-in demo answers so."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://demo.invalid/v1/chat/completions"
        choice = {"message": {"content": "hello"}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})

    provider = Provider("demo", ProviderKind.OPENAI, "http://demo.invalid/v1")
    transport = httpx.MockTransport(answer)
    client = OpenAIModel(provider, "m", ModelFacts(), tls=shared_tls([]), transport=transport)

    assert (await client.ask(ask())).message.text == "hello"
    await client.close()


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource"])
async def test_a_finish_that_is_a_failure_is_a_failure(finish: str) -> None:
    """Some servers say so in the finish reason alone."""
    assert type(await error_of(OPENAI, Step(text="half", finish=finish))) is ServerFailed


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"code": "invalid_api_key", "message": f"Incorrect API key: {KEY}"}}, AuthRefused),
        (403, b"<html>no</html>", AuthRefused),
        (400, {"error": {"code": "context_length_exceeded", "message": f"too long {KEY}"}}, ContextOverflow),
        (400, {"error": {"message": f"no {KEY}", "type": "invalid_request_error"}}, RequestRefused),
        (404, b"404 page not found", RequestRefused),
        (429, {"error": {"code": "insufficient_quota", "message": "x"}}, ProviderUnavailable),
        (429, {"error": {"code": "rate_limit_exceeded", "message": f"slow {KEY}"}}, RateLimited),
        (500, {"error": {"message": f"Failed {KEY}"}}, ServerFailed),
        (502, b"<html>" + b"x" * 500_000, ServerFailed),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, RateLimited),
    ],
)
async def test_a_refusal_is_the_error_it_means(status: int, body: object, kind: type[ModelError]) -> None:
    """Before any stream; HTML and long bodies included."""
    assert type(await error_of(OPENAI, Step(fault=Fault.STATUS, status=status, body=body))) is kind
