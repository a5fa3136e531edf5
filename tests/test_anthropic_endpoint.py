"""The scripted endpoint of the Messages API is as strict as the real one: what it refuses is refused here."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.anthropic_endpoint import ADAPTIVE_MODEL, BOUND_MODEL, anthropic_endpoint
from tests.endpoint import MODELS, UNKNOWN_MODEL, Endpoint, Step, Turn

USER = {"role": "user", "content": "go"}
TOOL = {"name": "read", "description": "Reads.", "input_schema": {"type": "object"}}
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
MARK = {"cache_control": {"type": "ephemeral"}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}


def _assistant(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def _user(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def _call(call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "read", "input": {}} | fields


def _result(call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "ok"} | fields


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _post(
    endpoint: Endpoint, *messages: Mapping[str, Any], headers: Mapping[str, str] = HEADERS, **fields: Any
) -> httpx.Response:
    request = {"model": "scripted", "max_tokens": 100, "messages": list(messages), "stream": True} | fields
    kept = {name: value for name, value in request.items() if value is not None}
    url = f"{endpoint.base_url}/v1/messages"
    return httpx.post(url, json=kept, headers=dict(headers), trust_env=False)


def _events(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.split("\n") for line in response.text.split("\n\n") if line]
    events = [json.loads(data.removeprefix("data: ")) for _, data in lines]
    assert [name.removeprefix("event: ") for name, _ in lines] == [event["type"] for event in events]
    return events


def _echo(turn: Turn) -> Step:
    return Step(
        text=f"{turn.number}/{turn.attempt}: {turn.first_user} {turn.last} {turn.system} {turn.tool_names}"
    )


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "forged"}


@pytest.mark.parametrize(
    ("messages", "fields", "words"),
    [
        ([], {}, "messages: at least one message is required"),
        ([_assistant(_text("hi")), USER], {}, 'first message must use the "user" role'),
        ([USER, USER], {}, "roles must alternate"),
        ([USER, _assistant(_text("hi "))], {}, "does not support assistant message prefill"),
        ([USER], {"max_tokens": None}, "max_tokens: Field required"),
        ([USER], {"max_tokens": 0}, "max_tokens: Input should be greater"),
        ([USER], {"max_tokens": 99_000}, "max_tokens: 99000 > 64000, which is the maximum allowed number"),
        ([USER], {"max_completion_tokens": 5}, "max_completion_tokens: Extra inputs are not permitted"),
        ([USER], {"tools": [TOOL, TOOL]}, "Tool names must be unique"),
        ([USER], {"tools": [TOOL | {"name": "a.b"}]}, "tools.0.custom.name: String should match pattern"),
        ([USER], {"tools": [TOOL | {"parameters": {}}]}, "tools.0.custom.parameters: Extra inputs"),
        ([USER], {"tools": [TOOL | {"input_schema": {}}]}, "input_schema.type: Field required"),
        ([USER], {"system": [_text(" ")]}, "system.0: text content blocks must contain non-whitespace text"),
        ([_user(_text(""))], {}, "messages.0.content.0: text content blocks must be non-empty"),
        ([_user()], {}, "messages.0: all messages must have non-empty content"),
        ([_user({"type": "input_text"})], {}, "does not match any of the expected tags"),
        ([_user(_text("x") | {"index": 1})], {}, "text.index: Extra inputs are not permitted"),
        (
            [USER, _assistant(_call()), USER],
            {},
            "were found without `tool_result` blocks immediately after: c1",
        ),
        ([USER, _assistant(_call()), _user(_text("x"), _result())], {}, "immediately after: c1"),
        ([USER, _assistant(_call(), _call("c2")), _user(_result())], {}, "immediately after: c2"),
        ([_user(_result())], {}, "unexpected `tool_use_id` found in `tool_result` blocks: c1"),
        ([USER, _assistant(_call()), _user(_result("c9"))], {}, "unexpected `tool_use_id`"),
        ([USER, _assistant(_call(), _call()), _user(_result())], {}, "`tool_use` ids must be unique"),
        (
            [USER, _assistant(_call("a.b")), _user(_result("a.b"))],
            {},
            "tool_use.id: String should match pattern",
        ),
        ([USER, _assistant(_call(input="{}")), _user(_result())], {}, "input: Input should be a valid dict"),
        (
            [USER, _assistant(_call(), THOUGHT), _user(_result())],
            {},
            "Invalid `signature` in `thinking` block",
        ),
        ([USER, _assistant(_call()), _user(_result())], BUDGET, "Expected `thinking` or `redacted_thinking`"),
        ([USER], BUDGET | {"max_tokens": 1024}, "`max_tokens` must be greater than `thinking.budget_tokens`"),
        ([USER], BUDGET | {"thinking": {"type": "enabled", "budget_tokens": 9}}, "than or equal to 1024"),
        ([USER], BUDGET | {"model": ADAPTIVE_MODEL}, "is not supported for this model"),
        ([_user(*[_text("x") | MARK] * 5)], {}, "A maximum of 4 blocks with cache_control may be provided."),
    ],
)
def test_what_anthropic_refuses_is_refused(
    messages: list[dict[str, Any]], fields: dict[str, Any], words: str
) -> None:
    """With its message and its type; and it is counted."""
    with anthropic_endpoint(_echo) as endpoint:
        response = _post(endpoint, *messages, **fields)
        body = response.json()

        assert response.status_code == 400
        assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
        assert words in body["error"]["message"]
        assert endpoint.refusals == [body["error"]["message"]]


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({"x-api-key": "k"}, 400, "invalid_request_error"),
        (HEADERS | {"content-type": "text/plain"}, 400, "invalid_request_error"),
    ],
)
def test_headers_that_are_missing_are_missed(headers: dict[str, str], status: int, kind: str) -> None:
    """The key has one of its own on this wire."""
    with anthropic_endpoint(_echo) as endpoint:
        response = _post(endpoint, USER, headers=headers)

        assert (response.status_code, response.json()["error"]["type"]) == (status, kind)


def test_an_unknown_model_is_a_404_and_the_known_ones_are_listed() -> None:
    """As Anthropic has it."""
    with anthropic_endpoint(_echo) as endpoint:
        missing = _post(endpoint, USER, model=UNKNOWN_MODEL)
        listed = httpx.get(f"{endpoint.base_url}/v1/models?limit=9", trust_env=False).json()

        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
        assert [model["id"] for model in listed["data"]] == list(MODELS)


def test_a_valid_conversation_is_answered_from_its_turn_alone() -> None:
    """The script sees what it sees on the other wire; the stream has this wire's shape."""
    with anthropic_endpoint(_echo) as endpoint:
        history = (USER, _assistant(_call()), _user(_result(), _text("more")))
        events = _events(_post(endpoint, *history, tools=[TOOL], system="be good"))

        kinds = [event["type"] for event in events if event["type"] != "ping"]
        text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
        assert text == "1/1: go more be good ['read']"
        assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
        assert events[0]["message"]["usage"]["input_tokens"] > 0


def test_a_thought_is_taken_back_unaltered_and_behind_the_same_beginning_alone() -> None:
    """The beginning matters to newer models only."""
    step = Step(reasoning="hm", tool_calls=[("read", {})])
    for model, elsewhere in ((BOUND_MODEL, 400), ("scripted", 200)):
        with anthropic_endpoint(lambda _: step) as endpoint:
            answer = json.loads(endpoint_completion(endpoint, model))
            calls = [block["id"] for block in answer["content"] if block["type"] == "tool_use"]
            after = (_assistant(*answer["content"]), _user(*map(_result, calls)))

            assert _post(endpoint, USER, *after, model=model).status_code == 200
            assert _post(endpoint, _user(_text("other")), *after, model=model).status_code == elsewhere


def endpoint_completion(endpoint: Endpoint, model: str) -> str:
    """Return the content of one streamed answer, put together."""
    blocks: list[dict[str, Any]] = []
    for event in _events(_post(endpoint, USER, model=model)):
        match event["type"]:
            case "content_block_start":
                blocks.append(event["content_block"])
            case "content_block_delta" if "thinking" in event["delta"]:
                blocks[-1]["thinking"] += event["delta"]["thinking"]
            case "content_block_delta" if "signature" in event["delta"]:
                blocks[-1]["signature"] = event["delta"]["signature"]
    return json.dumps({"content": blocks})
