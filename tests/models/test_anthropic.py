"""What the client for the Messages API does beyond `test_conformance.py`."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orch.config import ModelFacts
from orch.errors import (
    AuthRefused,
    ConnectionLost,
    ContextOverflow,
    ModelError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
    ServerFailed,
)
from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage
from orch.models.anthropic import AnthropicModel
from orch.models.client import WireModel, shared_tls
from orch.models.interface import Ask
from orch.models.patience import Limits
from tests.anthropic_endpoint import ADAPTIVE_MODEL, BOUND_MODEL, REDACTED
from tests.endpoint import Endpoint, Fault, Step, Turn
from tests.models.asking import (
    ANTHROPIC,
    GOOD,
    KEY,
    READ,
    AnyMessage,
    always,
    ask,
    asking,
    error_of,
    reply_of,
)

pytestmark = pytest.mark.anyio

GOAL = UserMessage(text="build it")
BUDGET = ModelFacts(200_000, thinking=2000, output_tokens=20_000)
ADAPTIVE = ModelFacts(thinking="adaptive")
THOUGHTFUL = replace(GOOD, reasoning="Let me think: \N{SNOWMAN}\x00 " * 20)


async def _turns(
    client: WireModel, number: int, history: list[AnyMessage] | None = None, system: str = "be good"
) -> list[AnyMessage]:
    """Ask `number` times, answer every call, and return the whole conversation."""
    history = history or [GOAL]
    for _ in range(number):
        reply = await client.ask(Ask(system, history, (READ,)))
        results = [ToolMessage(call_id=call.id, text="ok") for call in reply.message.tool_calls]
        history = [*history, reply.message, *results]
    return history


def _client(endpoint: Endpoint, model: str, facts: ModelFacts) -> AnthropicModel:
    tls = shared_tls([endpoint.base_url])
    return AnthropicModel(ANTHROPIC.provider(endpoint.base_url), model, facts, tls=tls)


def _sent(endpoint: Endpoint) -> list[Mapping[str, Any]]:
    return [entry.request or {} for entry in endpoint.ledger]


def _thoughts(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        block
        for message in request["messages"]
        for block in message["content"]
        if block["type"].endswith("thinking")
    ]


# -- request and answer ------------------------------------------------------------------------------


async def test_key_and_version_travel_in_their_headers_alone() -> None:
    """Not in the body."""
    async with asking(ANTHROPIC, always(GOOD)) as (client, endpoint):
        await client.ask(ask())

        (entry,) = endpoint.ledger
        assert (entry.headers["x-api-key"], entry.headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert "authorization" not in entry.headers
        assert KEY not in json.dumps(entry.request)


@pytest.mark.parametrize("end", ["", "/v1"])
async def test_an_address_is_understood_with_and_without_its_version(end: str) -> None:
    """Anthropic's own clients leave it out, those of other wires write it."""
    address = AnthropicModel.address(ANTHROPIC.provider(f"http://models.example{end}"))

    assert str(address.ask) == "http://models.example/v1/messages"
    assert address.models.path == "/v1/models"


@pytest.mark.parametrize(
    ("facts", "limit"),
    [
        (ModelFacts(), 8192),
        (ModelFacts(output_tokens=900), 900),
        (ModelFacts(200_000, output_tokens=64_000), 32_768),
        (ModelFacts(200_000, output_tokens=64_000, thinking=4096), 36_864),
        (ModelFacts(16_000, output_tokens=64_000, thinking=4096), 8096),
        (ModelFacts(16_000), 4000),
        (ModelFacts(thinking=4096), 12_288),
        (BUDGET, 20_000),
    ],
)
async def test_the_output_limit_is_always_named_and_leaves_room_behind_the_thinking(
    facts: ModelFacts, limit: int
) -> None:
    """This wire refuses a request without it."""
    async with asking(ANTHROPIC, always(GOOD), facts=facts) as (client, endpoint):
        await client.ask(ask())

        assert _sent(endpoint)[0]["max_tokens"] == limit


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("pause_turn", FinishReason.LENGTH),
        ("refusal", FinishReason.REFUSED),
        ("compaction", FinishReason.STOP),
    ],
)
async def test_every_reason_to_stop_is_one_that_a_session_knows(
    stop_reason: str, finish: FinishReason
) -> None:
    """A turn that was only paused is asked to go on."""
    assert (await reply_of(ANTHROPIC, Step(text="so", finish=stop_reason))).finish is finish


async def test_a_call_that_the_output_limit_cut_is_told_to_the_model() -> None:
    """Its input is half a JSON text."""
    reply = await reply_of(ANTHROPIC, Step(tool_calls=[("read", '{"path": "a')], finish="length"))

    (call,) = reply.message.tool_calls
    assert call.arguments == "{}"
    assert "output limit" in str(call.malformed)


async def test_the_tokens_of_all_three_counts_are_the_input() -> None:
    """What was read from the cache has its price, what was written to it costs a quarter more."""
    usage = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 2000,
        "cache_read_input_tokens": 30_000,
        "output_tokens": 50,
    }
    facts = ModelFacts(input_usd_per_mtok=4.0, output_usd_per_mtok=20.0, cached_usd_per_mtok=0.2)
    told = (await reply_of(ANTHROPIC, Step(text="hi", usage=usage), facts=facts)).usage

    assert (told.input_tokens, told.cached_tokens, told.output_tokens) == (32_100, 30_000, 50)
    assert told.cost_usd == pytest.approx((100 * 4 + 2000 * 5 + 30_000 * 0.2 + 50 * 20) / 1e6)


# -- caching -----------------------------------------------------------------------------------------


async def test_each_turn_reads_from_the_cache_all_that_the_turn_before_has_sent() -> None:
    """However many calls a turn has: the newest point of the last request is marked once more."""
    many = [("read", {"path": f"{number}" * 40}) for number in range(30)]
    async with asking(ANTHROPIC, always(Step(tool_calls=many))) as (client, endpoint):
        history: list[AnyMessage] = [GOAL]
        read: list[int] = []
        sent: list[int] = []
        for _ in range(4):
            reply = await client.ask(ask(*history))
            results = [ToolMessage(call_id=call.id, text="ok") for call in reply.message.tool_calls]
            history += [reply.message, *results]
            read.append(reply.usage.cached_tokens)
            sent.append(reply.usage.input_tokens)

        assert read[0] == 0
        assert sent[3] > 5000
        assert all(before - cached < 100 for cached, before in zip(read[1:], sent, strict=False))
        assert endpoint.refusals == []


async def test_sessions_of_one_role_share_tools_and_system_prompt() -> None:
    """The second session finds what the first one has left in the cache."""
    system = "You are the Worker. " * 200
    async with asking(ANTHROPIC, always(GOOD)) as (client, endpoint):
        other = _client(endpoint, "scripted", ModelFacts())
        await client.ask(Ask(system, [GOAL], (READ,)))
        usage = (await other.ask(Ask(system, [UserMessage(text="another goal")], (READ,)))).usage
        await other.close()

        assert usage.cached_tokens > len(system) // 5


async def test_what_was_sent_is_sent_again_byte_for_byte() -> None:
    """But for the marks, which are no part of the prefix."""
    async with asking(ANTHROPIC, always(THOUGHTFUL), facts=ADAPTIVE) as (client, endpoint):
        await _turns(client, 4)

        requests = [json.dumps(_unmarked(each)) for each in _sent(endpoint)]
        for before, after in itertools.pairwise(requests):
            assert after.startswith(before.removesuffix("]"))


def _unmarked(request: Mapping[str, Any]) -> list[Any]:
    bare = json.loads(json.dumps(request).replace(', "cache_control": {"type": "ephemeral"}', ""))
    return [bare["tools"], bare["system"], *bare["messages"]]


# -- thinking ----------------------------------------------------------------------------------------


async def test_thinking_is_not_asked_for_unless_the_user_does() -> None:
    """Nor forbidden: some models always think."""
    async with asking(ANTHROPIC, always(GOOD)) as (client, endpoint):
        await client.ask(ask())

        assert "thinking" not in _sent(endpoint)[0]


@pytest.mark.parametrize("facts", [BUDGET, ADAPTIVE, ModelFacts()])
@pytest.mark.parametrize("reasoning", [THOUGHTFUL.reasoning, REDACTED])
async def test_thoughts_go_back_as_they_came_through_a_whole_loop_of_calls(
    facts: ModelFacts, reasoning: str
) -> None:
    """Also after the journal, which is what a resume reads; the endpoint proves every signature."""
    step = replace(GOOD, reasoning=reasoning)
    async with asking(ANTHROPIC, always(step), facts=facts) as (client, endpoint):
        history = await _turns(client, 2)
        stored = [type(message).model_validate_json(message.model_dump_json()) for message in history]
        await _turns(client, 2, stored)

        assert [len(_thoughts(request)) for request in _sent(endpoint)] == [0, 1, 2, 3]
        assert endpoint.refusals == []
        text = _thoughts(_sent(endpoint)[-1])[0].get("thinking", REDACTED)
        assert text == reasoning


async def test_a_budget_is_named_and_a_model_that_refuses_it_says_so() -> None:
    """What to write instead stands in the endpoint's own words."""
    async with asking(ANTHROPIC, always(GOOD), facts=BUDGET) as (client, endpoint):
        await client.ask(ask())
        assert _sent(endpoint)[0]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    async with asking(ANTHROPIC, always(GOOD), facts=BUDGET, model=ADAPTIVE_MODEL) as (client, _):
        with pytest.raises(RequestRefused, match="is not supported for this model"):
            await client.ask(ask())


async def test_thoughts_upon_a_prompt_that_has_changed_are_left_out() -> None:
    """Newer models refuse them; those of the new prompt are sent back again."""
    async with asking(ANTHROPIC, always(THOUGHTFUL), model=BOUND_MODEL) as (client, endpoint):
        history = await _turns(client, 2)
        history = await _turns(client, 2, history, system="be better")
        dropped = ToolMessage(call_id=history[2].call_id, text="dropped")  # type: ignore[union-attr]
        await _turns(client, 1, [*history[:2], dropped, *history[3:]], system="be better")

        assert [len(_thoughts(request)) for request in _sent(endpoint)] == [0, 1, 0, 1, 0]
        assert endpoint.refusals == []


async def test_thoughts_of_another_model_are_left_out_and_a_loop_without_any_goes_on_without() -> None:
    """A fallback in the middle of a turn must not end in a refusal."""
    async with asking(ANTHROPIC, always(THOUGHTFUL), facts=BUDGET, model="first") as (client, endpoint):
        history = await _turns(client, 2)
        other = _client(endpoint, "second", BUDGET)
        history = await _turns(other, 2, history)
        await _turns(other, 1, [*history, AssistantMessage(text="done"), UserMessage(text="again")])
        await other.close()

        asked = _sent(endpoint)[2:]
        assert ["thinking" in request for request in asked] == [False, False, True]
        assert endpoint.refusals == []


async def test_a_model_that_thinks_in_silence_is_waited_for_and_one_that_does_nothing_is_not() -> None:
    """While thoughts are not shown, pings are all that comes."""
    pings = b'event: ping\ndata: {"type": "ping"}\n\n' * 3
    silent = Step(fault=Fault.PINGS)
    assert type(await error_of(ANTHROPIC, silent, limits=Limits(idle_s=0.15, call_s=20.0))) is ConnectionLost
    begun = b'data: {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}}\n\n'
    rest = b'data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}\n\n'
    reply = await reply_of(ANTHROPIC, Step(fault=Fault.RAW, body=begun + pings + rest, chunk_bytes=20))
    assert reply.message.thinking == ()


# -- errors ------------------------------------------------------------------------------------------


def _body(kind: str, message: str = "no", **details: str) -> dict[str, Any]:
    error = {"type": kind, "message": f"{message} {KEY}"} | ({"details": details} if details else {})
    return {"type": "error", "error": error, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, _body("invalid_request_error"), RequestRefused),
        (
            400,
            _body("invalid_request_error", "prompt is too long: 207791 tokens > 200000 maximum"),
            ContextOverflow,
        ),
        (
            400,
            _body(
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease",
            ),
            ContextOverflow,
        ),
        (401, _body("authentication_error"), AuthRefused),
        (402, _body("billing_error"), ProviderUnavailable),
        (403, _body("permission_error"), AuthRefused),
        (409, _body("conflict_error"), ServerFailed),
        (413, b"<html>413</html>", ContextOverflow),
        (413, _body("request_too_large"), ContextOverflow),
        (429, _body("rate_limit_error"), RateLimited),
        (429, _body("rate_limit_error", error_code="enforced_spend_limit_reached"), ProviderUnavailable),
        (429, _body("rate_limit_error", error_code="ramp_limit_exceeded"), RateLimited),
        (500, _body("api_error"), ServerFailed),
        (504, _body("timeout_error"), ServerFailed),
        (529, _body("overloaded_error", "Overloaded"), RateLimited),
    ],
)
async def test_a_refusal_is_the_error_it_means(status: int, body: object, kind: type[ModelError]) -> None:
    """By status, type and the code of its details."""
    assert type(await error_of(ANTHROPIC, Step(fault=Fault.STATUS, status=status, body=body))) is kind


async def test_a_rate_limit_says_how_long_to_wait() -> None:
    """Beside what is left of each rate."""
    headers = {
        "retry-after": "7",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:07Z",
    }
    step = Step(fault=Fault.STATUS, status=429, headers=headers, body=_body("rate_limit_error"))
    error = await error_of(ANTHROPIC, step)

    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7.0


@pytest.mark.parametrize("fault", [Fault.ERROR_FIRST, Fault.ERROR_MIDWAY])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded", "details": None}, RateLimited),
        ({"type": "rate_limit_error", "message": "slow"}, RateLimited),
        ({"type": "api_error", "message": "Internal server error"}, ServerFailed),
        ({"type": "timeout_error", "message": "slow"}, ServerFailed),
        ({"type": "authentication_error", "message": "no"}, AuthRefused),
        ({"type": "invalid_request_error", "message": "no"}, RequestRefused),
        ({"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}, ContextOverflow),
        ({"type": "billing_error", "message": "no"}, ProviderUnavailable),
    ],
)
async def test_an_error_inside_the_stream_is_told_by_its_type(
    fault: Fault, error: object, kind: type[ModelError]
) -> None:
    """The status was 200."""
    assert type(await error_of(ANTHROPIC, replace(GOOD, fault=fault, body=error))) is kind


async def test_a_turn_is_told_from_the_next_by_the_endpoint() -> None:
    """The script sees the same turn as on the other wire."""

    def script(turn: Turn) -> Step:
        return Step(text=f"{turn.number} {turn.first_user} {turn.last} {turn.system} {turn.tool_names}")

    async with asking(ANTHROPIC, script) as (client, _):
        reply = await client.ask(ask())

        assert reply.message.text == "0 build it build it be good ['read']"
