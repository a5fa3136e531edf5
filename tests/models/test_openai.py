"""The client against a strict endpoint that fails in every way that endpoints fail."""

import asyncio
import json
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orch.config import ModelFacts, Provider, ProviderKind, Secret
from orch.errors import (
    AuthRefused,
    BadStream,
    ConnectionLost,
    ContextOverflow,
    ModelError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
    ServerFailed,
    UnknownModel,
)
from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ToolCall, ToolMessage, UserMessage, check
from orch.models.interface import Ask, Model, Reply, ToolSpec
from orch.models.openai import Limits, OpenAIModel, known_models, shared_tls
from tests.endpoint import MODELS, NEWER_MODEL, UNKNOWN_MODEL, Endpoint, Fault, Script, Step, Turn

pytestmark = pytest.mark.anyio

KEY = "sk-live-0123456789abcdef"
READ = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PATIENT = Limits(idle_s=20.0, call_s=20.0)
HASTY = Limits(idle_s=0.15, call_s=20.0)
GOOD = Step(
    text="Héllo \N{SNOWMAN} world", tool_calls=[("read", {"path": "a/ü.py"}), ("read", {"path": "b"})]
)
FAILURE = {"message": "The server had an error", "type": "server_error", "code": None}


@asynccontextmanager
async def _asking(
    script: Script, *, model: str = "scripted", facts: ModelFacts | None = None, limits: Limits = PATIENT
) -> AsyncIterator[tuple[OpenAIModel, Endpoint]]:
    with Endpoint(script) as endpoint:
        provider = Provider("small", ProviderKind.OPENAI, endpoint.base_url, Secret(KEY))
        tls = shared_tls([endpoint.base_url])
        client = OpenAIModel(provider, model, facts or ModelFacts(), tls=tls, limits=limits)
        try:
            yield client, endpoint
        finally:
            await client.close()


def _ask(*messages: UserMessage | AssistantMessage | ToolMessage) -> Ask:
    return Ask(system="be good", messages=messages or (UserMessage(text="build it"),), tools=(READ,))


def _always(step: Step) -> Script:
    return lambda _: step


def _first(bad: Step, good: Step) -> Script:
    return lambda turn: bad if turn.attempt == 1 else good


async def _reply(step: Step, **options: Any) -> Reply:
    async with _asking(_always(step), **options) as (client, _):
        return await client.ask(_ask())


async def _error(step: Step, **options: Any) -> ModelError:
    """Return the one error of one ask, checked for what holds for every error."""
    async with _asking(_always(step), **options) as (client, endpoint):
        with pytest.raises(ModelError) as caught:
            await client.ask(_ask())

        assert len(endpoint.ledger) == 1, "an error is not asked again here"
    text = str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in text
    assert "small (127.0.0.1:" in text
    return caught.value


# -- what goes well ----------------------------------------------------------------------------------


async def test_the_client_is_a_model() -> None:
    """It satisfies the port."""
    async with _asking(_always(GOOD)) as (client, _):
        model: Model = client

        assert (await model.ask(_ask())).message.text


async def test_an_answer_is_text_calls_finish_and_usage() -> None:
    """All of it as it was sent."""
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}
    reply = await _reply(replace(GOOD, usage=usage, reasoning="hm " * 50))

    assert reply.message.text == "Héllo \N{SNOWMAN} world"
    assert [(call.name, json.loads(call.arguments)) for call in reply.message.tool_calls] == [
        ("read", {"path": "a/ü.py"}),
        ("read", {"path": "b"}),
    ]
    assert reply.finish is FinishReason.TOOL_CALLS
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cached_tokens) == (50, 9, 30)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 1000])
async def test_an_answer_does_not_depend_on_how_the_network_cuts_it(chunk_bytes: int) -> None:
    """Not in a character, not in an event."""
    assert await _reply(replace(GOOD, chunk_bytes=chunk_bytes)) == await _reply(GOOD)


@pytest.mark.parametrize("fault", [Fault.JSON, Fault.NO_MARK, Fault.CLOSES])
async def test_harmless_oddities_change_nothing(fault: Fault) -> None:
    """JSON instead of a stream, no end mark, a connection that is closed afterwards."""
    assert await _reply(replace(GOOD, fault=fault)) == await _reply(GOOD)


async def test_a_usage_that_is_missing_is_estimated() -> None:
    """A cap on tokens must count something."""
    usage = (await _reply(replace(GOOD, fault=Fault.NO_USAGE))).usage

    assert usage.input_tokens > 50
    assert usage.output_tokens > 5


async def test_a_cost_is_known_where_the_prices_are() -> None:
    """In dollars per million tokens."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    facts = ModelFacts(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0)

    assert (await _reply(replace(GOOD, usage=usage), facts=facts)).usage.cost_usd == pytest.approx(0.0011)


@pytest.mark.parametrize(
    ("step", "finish"),
    [
        (Step(text="done"), FinishReason.STOP),
        (Step(text="half", finish="length"), FinishReason.LENGTH),
        (Step(text="", finish="content_filter"), FinishReason.REFUSED),
        (Step(refusal="I won't."), FinishReason.REFUSED),
        (Step(text="", finish="tool_calls"), FinishReason.STOP),
        (Step(tool_calls=[("read", {})], finish="stop"), FinishReason.TOOL_CALLS),
        (Step(text="<tool_call>read()</tool_call>"), FinishReason.STOP),
    ],
)
async def test_a_finish_reason_says_what_to_do_next(step: Step, finish: FinishReason) -> None:
    """Whatever the endpoint called it; a text that looks like a call is a text."""
    assert (await _reply(step)).finish is finish


async def test_a_conversation_of_hostile_calls_is_never_refused() -> None:
    """Whatever the model wrote, the next request is one that strict endpoints take."""
    calls: list[tuple[str, Any]] = [
        ("read", '{"path": "a'),
        ("no such tool!", "null"),
        ("x" * 70, '{"text": "a\nb"}'),
        ("", '{"text": "' + "x" * 1_000_001 + '"}'),
        ("read", '{"n": 1e999}'),
        ("read", {"path": "fine"}),
    ]

    def script(turn: Turn) -> Step:
        return Step(tool_calls=calls, piece_chars=100_000) if turn.number < 2 else Step(text="done")

    async with _asking(script) as (client, endpoint):
        history: list[UserMessage | AssistantMessage | ToolMessage] = [UserMessage(text="go")]
        while (reply := await client.ask(_ask(*history))).message.tool_calls:
            results = [ToolMessage(call_id=call.id, text="ok") for call in reply.message.tool_calls]
            history += [reply.message, *results]
            check(history)

        assert [len(entry.request["messages"]) for entry in endpoint.ledger if entry.request] == [2, 9, 16]
        assert endpoint.refusals == []


async def test_ids_that_a_server_uses_twice_are_replaced() -> None:
    """Two calls of one id cannot be answered apart."""
    call = {"id": "same", "function": {"name": "read", "arguments": "{}"}}
    chunk = {"choices": [{"delta": {"tool_calls": [call | {"index": 0}, call | {"index": 1}]}}]}
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in (chunk, end)).encode()
    reply = await _reply(Step(fault=Fault.RAW, body=stream))

    first, second = (call.id for call in reply.message.tool_calls)
    assert first == "same"
    assert len(second) == 9


async def test_an_output_limit_is_sent_under_the_name_that_the_endpoint_takes() -> None:
    """The older name first; the newer one from its refusal on."""
    async with _asking(_always(GOOD), model=NEWER_MODEL, facts=ModelFacts(output_tokens=900)) as (
        client,
        endpoint,
    ):
        await client.ask(_ask())
        await client.ask(_ask())

        asked = [entry.request or {} for entry in endpoint.ledger]
        assert [each.get("max_tokens") for each in asked] == [900, None, None]
        assert [each.get("max_completion_tokens") for each in asked] == [None, 900, 900]


async def test_the_key_travels_in_its_header_alone() -> None:
    """Not in the body."""
    async with _asking(_always(GOOD)) as (client, endpoint):
        await client.ask(_ask())

        (entry,) = endpoint.ledger
        assert entry.headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in json.dumps(entry.request)


# -- the connection ----------------------------------------------------------------------------------


async def test_one_connection_serves_a_whole_conversation() -> None:
    """Opening one costs a handshake."""
    async with _asking(_always(GOOD)) as (client, endpoint):
        for _ in range(5):
            await client.ask(_ask())

        assert endpoint.connections == 1


async def test_a_connection_that_was_closed_after_an_answer_costs_nothing() -> None:
    """Servers promise keep-alive and close all the same."""
    async with _asking(_always(replace(GOOD, fault=Fault.CLOSES))) as (client, endpoint):
        for _ in range(5):
            await client.ask(_ask())

        assert [entry.status for entry in endpoint.ledger] == [200] * 5


async def test_a_kept_connection_that_hangs_up_is_replaced_once_and_at_once() -> None:
    """Nothing came back, so nothing was answered: it is asked again on a connection of its own."""

    def script(turn: Turn) -> Step:
        hang_up = turn.first_user == "again" and turn.attempt == 1
        return replace(GOOD, fault=Fault.REFUSED_SILENTLY if hang_up else None)

    async with _asking(script) as (client, endpoint):
        await client.ask(_ask())
        reply = await client.ask(_ask(UserMessage(text="again")))

        assert reply.message.tool_calls
        assert [entry.status for entry in endpoint.ledger] == [200, 0, 200]
        assert endpoint.connections == 2


async def test_a_second_hang_up_is_an_error() -> None:
    """Once is a stale connection, twice is a server."""

    def script(turn: Turn) -> Step:
        return replace(GOOD, fault=Fault.REFUSED_SILENTLY if turn.first_user == "again" else None)

    async with _asking(script) as (client, endpoint):
        await client.ask(_ask())
        with pytest.raises(ConnectionLost):
            await client.ask(_ask(UserMessage(text="again")))

        assert len(endpoint.ledger) == 3


async def test_a_client_goes_on_after_every_fault() -> None:
    """What one call broke, the next one does not find broken."""
    for fault in (Fault.CUT, Fault.STALLED, Fault.GARBAGE, Fault.STATUS, Fault.ERROR_MIDWAY, Fault.SILENT):
        bad = replace(GOOD, fault=fault, body=FAILURE)
        async with _asking(_first(bad, GOOD), limits=Limits(idle_s=0.5)) as (client, _):
            with pytest.raises(ModelError):
                await client.ask(_ask())

            assert (await client.ask(_ask())).message.tool_calls


async def test_a_refused_connection_is_lost() -> None:
    """Nobody listens there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        provider = Provider("small", ProviderKind.OPENAI, url, Secret(KEY))
        client = OpenAIModel(provider, "m", ModelFacts(), tls=shared_tls([url]))
        with pytest.raises(ConnectionLost, match="is the endpoint up"):
            await client.ask(_ask())
        await client.close()


async def test_a_cancelled_ask_ends_and_the_client_can_be_closed_twice() -> None:
    """A stop must not wait for a model."""
    async with _asking(_always(Step(fault=Fault.STALLED_HEADERS))) as (client, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.ask(_ask())
        await client.close()


async def test_an_answer_may_come_through_a_transport_without_a_network() -> None:
    """The built-in demo answers so."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://demo.invalid/v1/chat/completions"
        choice = {"message": {"content": "hello"}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})

    provider = Provider("demo", ProviderKind.OPENAI, "http://demo.invalid/v1")
    transport = httpx.MockTransport(answer)
    client = OpenAIModel(provider, "m", ModelFacts(), tls=shared_tls([]), transport=transport)

    assert (await client.ask(_ask())).message.text == "hello"
    await client.close()


# -- what goes wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.REFUSED_SILENTLY, ConnectionLost),
        (Fault.HEADERS_ONLY, ConnectionLost),
        (Fault.CUT, ConnectionLost),
        (Fault.NO_FINISH, ConnectionLost),
        (Fault.EMPTY, ConnectionLost),
        (Fault.GARBAGE, BadStream),
        (Fault.BROKEN_EVENT, BadStream),
        (Fault.ERROR_FIRST, ServerFailed),
        (Fault.ERROR_MIDWAY, ServerFailed),
    ],
)
async def test_a_broken_stream_is_worth_asking_again(fault: Fault, kind: type[ModelError]) -> None:
    """Half an answer is none."""
    assert type(await _error(replace(GOOD, fault=fault, body=FAILURE))) is kind


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.STALLED_HEADERS, Fault.STALLED, Fault.PINGS])
async def test_silence_is_a_lost_connection_and_comments_are_silence(fault: Fault) -> None:
    """The limit counts data, not bytes."""
    error = await _error(replace(GOOD, fault=fault), limits=HASTY)

    assert type(error) is ConnectionLost
    assert "no data came for 0.15 s" in str(error)


async def test_reasoning_is_no_silence_but_must_end() -> None:
    """A model may think longer than the idle limit as long as thoughts come; the call has its own limit."""
    error = await _error(Step(fault=Fault.THINKS), limits=Limits(idle_s=0.4, call_s=0.8))

    assert type(error) is ConnectionLost
    assert "longer than 0.8 s" in str(error)


async def test_a_call_that_never_ends_is_ended() -> None:
    """Data that keeps coming keeps nobody waiting for ever."""
    step = replace(GOOD, fault=Fault.PINGS)
    error = await _error(step, limits=Limits(idle_s=20.0, call_s=0.15))

    assert "longer than 0.15 s" in str(error)


async def test_an_answer_that_is_complete_stands_whatever_its_stream_does_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was paid for."""
    monkeypatch.setattr("orch.models.openai.TAIL_LIMIT_S", 0.05)

    assert await _reply(replace(GOOD, fault=Fault.LINGERS)) == await _reply(GOOD)


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource"])
async def test_a_finish_that_is_a_failure_is_a_failure(finish: str) -> None:
    """Some servers say so in the finish reason alone."""
    assert type(await _error(Step(text="half", finish=finish))) is ServerFailed


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
    assert type(await _error(Step(fault=Fault.STATUS, status=status, body=body))) is kind


async def test_a_wait_that_the_endpoint_asks_for_is_handed_on() -> None:
    """As a number, for the gate."""
    headers = {"retry-after-ms": "1500", "retry-after": "2"}
    error = await _error(Step(fault=Fault.STATUS, status=429, headers=headers, body={}))

    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 1.5


async def test_an_unknown_model_is_told_with_the_names_that_are_known_nearest_first() -> None:
    """Exit 2 with the fix."""
    async with _asking(_always(GOOD), model=UNKNOWN_MODEL) as (client, _):
        with pytest.raises(UnknownModel, match=", model missing: no such model there") as caught:
            await client.ask(_ask())

    assert caught.value.model == UNKNOWN_MODEL
    assert set(caught.value.known) == set(MODELS)


async def test_a_404_without_a_code_is_an_unknown_model_if_the_endpoint_lists_others() -> None:
    """Ollama's and vLLM's errors have no code of their own for it."""
    step = Step(fault=Fault.STATUS, status=404, body={"error": {"message": "nope", "type": "NotFoundError"}})
    async with _asking(_always(step), model="scripted-min") as (client, _):
        with pytest.raises(UnknownModel) as caught:
            await client.ask(_ask())

    assert caught.value.known[0] == "scripted-mini"


async def test_the_endpoint_refuses_a_broken_history_and_it_is_not_asked_again() -> None:
    """The refusals of the strict endpoint are real: an unanswered call must stop, not loop."""
    call = AssistantMessage(text="", tool_calls=(ToolCall(id="c1", name="read", arguments="{}"),))
    async with _asking(_always(GOOD)) as (client, endpoint):
        with pytest.raises(RequestRefused) as caught:
            await client.ask(_ask(UserMessage(text="go"), call, UserMessage(text="and?")))

        assert caught.value.status == 400
        assert len(endpoint.ledger) == len(endpoint.refusals) == 1


# -- around it ---------------------------------------------------------------------------------------


async def test_the_models_of_an_endpoint_are_known_by_asking() -> None:
    """For the message that a model is missing."""
    with Endpoint(_always(GOOD)) as endpoint:
        provider = Provider("small", ProviderKind.OPENAI, endpoint.base_url)

        assert await known_models(provider, shared_tls([endpoint.base_url])) == MODELS


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(500),
        lambda _: httpx.Response(200, content=b"<html>"),
        lambda _: httpx.Response(200, json={"data": [{"name": "x"}]}),
        lambda _: httpx.Response(200, json=[1]),
    ],
)
async def test_an_endpoint_that_does_not_list_its_models_lists_none(
    answer: Callable[[httpx.Request], httpx.Response],
) -> None:
    """A courtesy must not become an error."""
    provider = Provider("small", ProviderKind.OPENAI, "http://demo.invalid/v1")

    assert await known_models(provider, shared_tls([]), httpx.MockTransport(answer)) == ()


async def test_certificates_are_loaded_only_where_an_address_needs_them() -> None:
    """They are the dear part of a start; a context without them trusts nobody."""
    assert shared_tls(["http://127.0.0.1:11434/v1"]).cert_store_stats()["x509_ca"] == 0
    assert shared_tls(["http://127.0.0.1:1/v1"]).verify_mode is ssl.CERT_REQUIRED
    assert shared_tls(["http://x/v1", "https://y/v1"]).cert_store_stats()["x509_ca"] > 0


async def test_fifty_sessions_ask_at_once() -> None:
    """Each on its own connection, none waiting for another."""
    with Endpoint(_always(replace(GOOD, delay_s=0.4))) as endpoint:
        provider = Provider("small", ProviderKind.OPENAI, endpoint.base_url)
        tls = shared_tls([endpoint.base_url])
        clients = [OpenAIModel(provider, "scripted", ModelFacts(), tls=tls) for _ in range(50)]
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(client.ask(_ask(UserMessage(text=f"goal {number}"))))
        for client in clients:
            await client.close()

        assert endpoint.connections == 50
        assert endpoint.max_concurrent > 10
        assert len({entry.session for entry in endpoint.ledger}) == 50
