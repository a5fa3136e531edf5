"""Both clients against strict endpoints that fail in every way: one behaviour, two wires."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orch.config import ModelFacts
from orch.errors import (
    BadStream,
    ConnectionLost,
    ModelError,
    RateLimited,
    RequestRefused,
    ServerFailed,
    UnknownModel,
)
from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ToolCall, ToolMessage, UserMessage, check
from orch.models.client import shared_tls
from orch.models.connect import known_models
from orch.models.interface import Model
from orch.models.patience import Limits
from tests.endpoint import MODELS, UNKNOWN_MODEL, Fault, Step, Turn
from tests.models.asking import (
    FAILURE,
    GOOD,
    HASTY,
    WIRES,
    AnyMessage,
    Wire,
    always,
    ask,
    asking,
    error_of,
    first,
    reply_of,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=WIRES, ids=lambda wire: wire.kind)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each wire in turn."""
    chosen: Wire = request.param
    return chosen


# -- what goes well ----------------------------------------------------------------------------------


async def test_the_client_is_a_model(wire: Wire) -> None:
    """It satisfies the port."""
    async with asking(wire, always(GOOD)) as (client, _):
        model: Model = client

        assert (await model.ask(ask())).message.text


async def test_an_answer_is_text_calls_finish_and_usage(wire: Wire) -> None:
    """All of it as it was sent."""
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}
    reply = await reply_of(wire, replace(GOOD, usage=usage, reasoning="hm " * 50))

    assert reply.message.text == "Héllo \N{SNOWMAN} world"
    assert [(call.name, json.loads(call.arguments)) for call in reply.message.tool_calls] == [
        ("read", {"path": "a/ü.py"}),
        ("read", {"path": "b"}),
    ]
    assert reply.finish is FinishReason.TOOL_CALLS
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cached_tokens) == (50, 9, 30)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 1000])
async def test_an_answer_does_not_depend_on_how_the_network_cuts_it(wire: Wire, chunk_bytes: int) -> None:
    """Not in a character, not in an event."""
    assert await reply_of(wire, replace(GOOD, chunk_bytes=chunk_bytes)) == await reply_of(wire, GOOD)


@pytest.mark.parametrize("fault", [Fault.JSON, Fault.NO_MARK, Fault.CLOSES])
async def test_harmless_oddities_change_nothing(wire: Wire, fault: Fault) -> None:
    """JSON instead of a stream, no end mark, a connection that is closed afterwards."""
    assert await reply_of(wire, replace(GOOD, fault=fault)) == await reply_of(wire, GOOD)


async def test_a_usage_that_is_missing_is_estimated(wire: Wire) -> None:
    """A cap on tokens must count something."""
    usage = (await reply_of(wire, replace(GOOD, fault=Fault.NO_USAGE))).usage

    assert usage.input_tokens > 50
    assert usage.output_tokens > 5


async def test_a_cost_is_known_where_the_prices_are(wire: Wire) -> None:
    """In dollars per million tokens."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    facts = ModelFacts(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0)

    assert (await reply_of(wire, replace(GOOD, usage=usage), facts=facts)).usage.cost_usd == pytest.approx(
        0.0011
    )


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
async def test_a_finish_reason_says_what_to_do_next(wire: Wire, step: Step, finish: FinishReason) -> None:
    """Whatever the endpoint called it; a text that looks like a call is a text."""
    assert (await reply_of(wire, step)).finish is finish


@pytest.mark.fault(27, 28)
async def test_a_conversation_of_hostile_calls_is_never_refused(wire: Wire) -> None:
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

    async with asking(wire, script) as (client, endpoint):
        history: list[UserMessage | AssistantMessage | ToolMessage] = [UserMessage(text="go")]
        while (reply := await client.ask(ask(*history))).message.tool_calls:
            results = [ToolMessage(call_id=call.id, text="ok") for call in reply.message.tool_calls]
            history += [reply.message, *results]
            check(history)

        assert [(entry.turn, entry.status) for entry in endpoint.ledger] == [(0, 200), (1, 200), (2, 200)]
        assert endpoint.refusals == []


async def test_an_empty_answer_is_an_empty_answer(wire: Wire) -> None:
    """What stands for it in the history is the session's business."""
    reply = await reply_of(wire, Step())

    assert (reply.message.text, reply.message.tool_calls) == ("", ())
    assert reply.finish is FinishReason.STOP


@pytest.mark.parametrize("fault", [None, Fault.JSON])
async def test_a_huge_answer_is_cut_to_what_can_be_kept(wire: Wire, fault: Fault | None) -> None:
    """A megabyte of text, and arguments that no file needs."""
    huge = [("read", {"path": "x" * 1_200_000}), ("read", {"path": "x" * 900_000})]
    text = " ".join(map(str, range(200_000)))
    reply = await reply_of(wire, Step(text=text, tool_calls=huge, piece_chars=90_000, fault=fault))

    assert len(text) > 1_200_000
    assert reply.message.text == text[:1_000_000]
    assert [call.malformed is None for call in reply.message.tool_calls] == [False, True]
    assert len(reply.message.tool_calls[1].arguments) > 900_000


async def test_a_history_that_follows_its_answers_is_taken_whole(wire: Wire) -> None:
    """Texts with blanks around them, several results, a user's word behind a result."""

    def script(turn: Turn) -> Step:
        return replace(GOOD, text="  \n") if turn.number < 2 else Step(text="done  \n")

    async with asking(wire, script) as (client, endpoint):
        history: list[AnyMessage] = [UserMessage(text=" go ")]
        while (reply := await client.ask(ask(*history))).message.tool_calls:
            results = [
                ToolMessage(call_id=call.id, text=f"  {call.arguments}\n")
                for call in reply.message.tool_calls
            ]
            history += [reply.message, *results, UserMessage(text="and now?")]
        history += [reply.message, UserMessage(text="again"), UserMessage(text="and again")]
        await client.ask(ask(*history))

        assert endpoint.refusals == []
        assert len(endpoint.ledger) == 4


# -- answers that come apart -------------------------------------------------------------------------

BEGINNING = "I read the file first. "
LOOP = BEGINNING + "Let me look at the file again. " * 1_000


@pytest.mark.parametrize(
    ("step", "defect"),
    [
        (Step(text=LOOP), "it repeats itself"),
        (Step(text="\n \t" * 4_000), "it is nothing but blanks"),
        (Step(reasoning=LOOP), "it repeats itself"),
        (Step(text=BEGINNING, tool_calls=[("read", " \n" * 10_000)]), "arguments are nothing but blanks"),
    ],
    ids=["a loop", "blanks", "thoughts", "arguments"],
)
async def test_an_answer_that_comes_apart_is_read_no_further(wire: Wire, step: Step, defect: str) -> None:
    """Nobody waits for its end: the connection is closed, the next answer comes over another one."""
    calls = step.tool_calls or GOOD.tool_calls
    loop = replace(step, tool_calls=calls, fault=Fault.STALLED, chunk_bytes=4_000)

    async with asking(wire, first(loop, GOOD)) as (client, endpoint):
        reply = await client.ask(ask())
        again = await client.ask(ask())

        assert endpoint.connections == 2
    assert reply.finish is FinishReason.DEGENERATE
    assert (reply.message.tool_calls, reply.message.thinking) == ((), ())
    assert defect in reply.message.text
    assert len(reply.message.text) < 1_200
    assert reply.usage.input_tokens > 50
    assert 1_000 <= reply.usage.output_tokens < 5_000
    assert again.finish is FinishReason.TOOL_CALLS


async def test_a_table_of_zeros_may_be_written(wire: Wire) -> None:
    """What stands in a file is no answer: arguments that repeat are as good as any."""
    content = ("0, " * 20 + "\n") * 2_000
    reply = await reply_of(wire, Step(text="Here:", tool_calls=[("write", {"content": content})]))

    (call,) = reply.message.tool_calls
    assert reply.finish is FinishReason.TOOL_CALLS
    assert json.loads(call.arguments)["content"] == content


# -- the connection ----------------------------------------------------------------------------------


async def test_one_connection_serves_a_whole_conversation(wire: Wire) -> None:
    """Opening one costs a handshake."""
    async with asking(wire, always(GOOD)) as (client, endpoint):
        for _ in range(5):
            await client.ask(ask())

        assert endpoint.connections == 1


async def test_a_connection_that_was_closed_after_an_answer_costs_nothing(wire: Wire) -> None:
    """Servers promise keep-alive and close all the same."""
    async with asking(wire, always(replace(GOOD, fault=Fault.CLOSES))) as (client, endpoint):
        for _ in range(5):
            await client.ask(ask())

        assert [entry.status for entry in endpoint.ledger] == [200] * 5


async def test_a_kept_connection_that_hangs_up_is_replaced_once_and_at_once(wire: Wire) -> None:
    """Nothing came back, so nothing was answered: it is asked again on a connection of its own."""

    def script(turn: Turn) -> Step:
        hang_up = turn.first_user == "again" and turn.attempt == 1
        return replace(GOOD, fault=Fault.REFUSED_SILENTLY if hang_up else None)

    async with asking(wire, script) as (client, endpoint):
        await client.ask(ask())
        reply = await client.ask(ask(UserMessage(text="again")))

        assert reply.message.tool_calls
        assert [entry.status for entry in endpoint.ledger] == [200, 0, 200]
        assert endpoint.connections == 2


async def test_a_second_hang_up_is_an_error(wire: Wire) -> None:
    """Once is a stale connection, twice is a server."""

    def script(turn: Turn) -> Step:
        return replace(GOOD, fault=Fault.REFUSED_SILENTLY if turn.first_user == "again" else None)

    async with asking(wire, script) as (client, endpoint):
        await client.ask(ask())
        with pytest.raises(ConnectionLost):
            await client.ask(ask(UserMessage(text="again")))

        assert len(endpoint.ledger) == 3


async def test_a_client_goes_on_after_every_fault(wire: Wire) -> None:
    """What one call broke, the next one does not find broken."""
    for fault in (Fault.CUT, Fault.STALLED, Fault.GARBAGE, Fault.STATUS, Fault.ERROR_MIDWAY, Fault.SILENT):
        bad = replace(GOOD, fault=fault, body=FAILURE)
        async with asking(wire, first(bad, GOOD), limits=Limits(idle_s=1.0)) as (client, _):
            with pytest.raises(ModelError):
                await client.ask(ask())

            assert (await client.ask(ask())).message.tool_calls


async def test_a_refused_connection_is_lost(wire: Wire) -> None:
    """Nobody listens there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        provider = wire.provider(url)
        client = wire.client(provider, "m", ModelFacts(), tls=shared_tls([url]))
        with pytest.raises(ConnectionLost, match="is the endpoint up"):
            await client.ask(ask())
        await client.close()


async def test_a_cancelled_ask_ends_and_the_client_can_be_closed_twice(wire: Wire) -> None:
    """A stop must not wait for a model."""
    async with asking(wire, always(Step(fault=Fault.STALLED_HEADERS))) as (client, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.ask(ask())
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
async def test_a_broken_stream_is_worth_asking_again(
    wire: Wire, fault: Fault, kind: type[ModelError]
) -> None:
    """Half an answer is none."""
    assert type(await error_of(wire, replace(GOOD, fault=fault, body=FAILURE))) is kind


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.STALLED_HEADERS, Fault.STALLED, Fault.PINGS])
async def test_silence_is_a_lost_connection_and_comments_are_silence(wire: Wire, fault: Fault) -> None:
    """The limit counts data, not bytes."""
    error = await error_of(wire, replace(GOOD, fault=fault), limits=HASTY)

    assert type(error) is ConnectionLost
    assert "no data came for 0.15 s" in str(error)


async def test_reasoning_is_no_silence_but_must_end(wire: Wire) -> None:
    """A model may think longer than the idle limit as long as thoughts come; the call has its own limit."""
    error = await error_of(wire, Step(fault=Fault.THINKS), limits=Limits(idle_s=1.0, call_s=2.0))

    assert type(error) is ConnectionLost
    assert "longer than 2 s" in str(error)


async def test_a_call_that_never_ends_is_ended(wire: Wire) -> None:
    """Data that keeps coming keeps nobody waiting for ever."""
    step = replace(GOOD, fault=Fault.PINGS)
    error = await error_of(wire, step, limits=Limits(idle_s=20.0, call_s=0.15))

    assert "longer than 0.15 s" in str(error)


async def test_an_answer_that_is_complete_stands_whatever_its_stream_does_then(
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was paid for."""
    monkeypatch.setattr("orch.models.client.TAIL_LIMIT_S", 0.05)

    assert await reply_of(wire, replace(GOOD, fault=Fault.LINGERS)) == await reply_of(wire, GOOD)


async def test_a_wait_that_the_endpoint_asks_for_is_handed_on(wire: Wire) -> None:
    """As a number, for the gate."""
    headers = {"retry-after-ms": "1500", "retry-after": "2"}
    error = await error_of(wire, Step(fault=Fault.STATUS, status=429, headers=headers, body={}))

    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 1.5


async def test_an_unknown_model_is_told_with_the_names_that_are_known_nearestfirst(wire: Wire) -> None:
    """Exit 2 with the fix."""
    async with asking(wire, always(GOOD), model=UNKNOWN_MODEL) as (client, _):
        with pytest.raises(UnknownModel, match=", model missing: no such model there") as caught:
            await client.ask(ask())

    assert caught.value.model == UNKNOWN_MODEL
    assert set(caught.value.known) == set(MODELS)


async def test_a_404_without_a_code_is_an_unknown_model_if_the_endpoint_lists_others(wire: Wire) -> None:
    """Ollama's and vLLM's errors have no code of their own for it."""
    step = Step(fault=Fault.STATUS, status=404, body={"error": {"message": "nope", "type": "NotFoundError"}})
    async with asking(wire, always(step), model="scripted-min") as (client, _):
        with pytest.raises(UnknownModel) as caught:
            await client.ask(ask())

    assert caught.value.known[0] == "scripted-mini"


async def test_the_endpoint_refuses_a_broken_history_and_it_is_not_asked_again(wire: Wire) -> None:
    """The refusals of the strict endpoint are real: an unanswered call must stop, not loop."""
    call = AssistantMessage(text="", tool_calls=(ToolCall(id="c1", name="read", arguments="{}"),))
    async with asking(wire, always(GOOD)) as (client, endpoint):
        with pytest.raises(RequestRefused) as caught:
            await client.ask(ask(UserMessage(text="go"), call, UserMessage(text="and?")))

        assert caught.value.status == 400
        assert len(endpoint.ledger) == len(endpoint.refusals) == 1


# -- around it ---------------------------------------------------------------------------------------


async def test_the_models_of_an_endpoint_are_known_by_asking(wire: Wire) -> None:
    """For the message that a model is missing."""
    with wire.endpoint(always(GOOD)) as endpoint:
        provider = wire.provider(endpoint.base_url)

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
    wire: Wire,
    answer: Callable[[httpx.Request], httpx.Response],
) -> None:
    """A courtesy must not become an error."""
    provider = wire.provider("http://demo.invalid/v1")

    assert await known_models(provider, shared_tls([]), httpx.MockTransport(answer)) == ()


async def test_certificates_are_loaded_only_where_an_address_needs_them() -> None:
    """They are the dear part of a start; a context without them trusts nobody."""
    assert shared_tls(["http://127.0.0.1:11434/v1"]).cert_store_stats()["x509_ca"] == 0
    assert shared_tls(["http://127.0.0.1:1/v1"]).verify_mode is ssl.CERT_REQUIRED
    assert shared_tls(["http://x/v1", "https://y/v1"]).cert_store_stats()["x509_ca"] > 0


async def test_fifty_sessions_ask_at_once(wire: Wire) -> None:
    """Each on its own connection, none waiting for another."""
    with wire.endpoint(always(replace(GOOD, delay_s=0.4))) as endpoint:
        provider = wire.provider(endpoint.base_url)
        tls = shared_tls([endpoint.base_url])
        clients = [wire.client(provider, "scripted", ModelFacts(), tls=tls) for _ in range(50)]
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(client.ask(ask(UserMessage(text=f"goal {number}"))))
        for client in clients:
            await client.close()

        assert endpoint.connections == 50
        assert endpoint.max_concurrent > 10
        assert len({entry.session for entry in endpoint.ledger}) == 50
