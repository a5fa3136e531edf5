"""The bytes of the Messages API: what is sent, however it grows; what is read, whatever comes."""

import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.config import ModelFacts
from orch.errors import BadStream
from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ThinkingBlock, ToolCall, ToolMessage, UserMessage
from orch.models.anthropic_wire import Answer, RequestBody
from orch.models.interface import Ask, ToolSpec
from orch.models.wire import AnyMessage
from tests.anthropic_endpoint import check_request

TOOL = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
GOAL = UserMessage(text="build it")
CALL = AssistantMessage(text=" so ", tool_calls=(ToolCall(id="c1", name="read", arguments='{"path": "a"}'),))
RESULT = ToolMessage(call_id="c1", text="content of a: ü\u2028")
MARK = {"cache_control": {"type": "ephemeral"}}
START = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}


def _ask(*messages: AnyMessage, system: str = "", tools: tuple[ToolSpec, ...] = ()) -> Ask:
    return Ask(system=system, messages=messages, tools=tools)


def _body(thinking: int | Literal["adaptive"] | None = None) -> RequestBody:
    return RequestBody("m", "host/m", thinking)


def _built(body: RequestBody, question: Ask) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(body.build(question, 7000))
    check_request(sent)
    return sent


def _answered(*events: dict[str, Any], body: RequestBody | None = None) -> Answer:
    answer = Answer(body or _body())
    for event in events:
        assert answer.feed(json.dumps(event).encode()) is None
    return answer


def _block(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind} | fields}


def _stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def test_a_body_holds_everything_an_endpoint_wants() -> None:
    """The results of a turn and the word behind them are one message; four marks and no more."""
    history = (GOAL, CALL, RESULT, UserMessage(text="and now?"))
    assert _built(_body(2000), _ask(*history, system="be good", tools=(TOOL,))) == {
        "model": "m",
        "max_tokens": 7000,
        "tools": [
            {"name": "read", "description": "Reads a file.", "input_schema": dict(TOOL.parameters)} | MARK
        ],
        "system": [{"type": "text", "text": "be good"} | MARK],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "build it"} | MARK]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": " so "},
                    {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "content of a: ü\u2028"},
                    {"type": "text", "text": "and now?"} | MARK,
                ],
            },
        ],
        "stream": True,
    }


def test_without_tools_and_system_prompt_neither_is_sent() -> None:
    """Empty texts are refused."""
    assert _built(_body(), _ask(GOAL, system=" \n")).keys() == {"model", "max_tokens", "messages", "stream"}


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 99), max_size=4)), max_size=8))
def test_a_kept_body_equals_a_fresh_one_whatever_became_of_the_history(
    steps: list[tuple[int, list[int]]],
) -> None:
    """Growing, shrinking, compacting and repairing never leave a byte of what was."""
    kept = _body("adaptive")
    history: list[AnyMessage] = [GOAL]
    for keep, numbers in steps:
        more: list[AnyMessage] = [
            UserMessage(text=f"text {number}")
            if number % 3
            else AssistantMessage(text="so", thinking=(ThinkingBlock(json_text="{}", origin="host/m"),))
            for number in numbers
        ]
        history = [*history[:keep], *more] or [GOAL]
        question = _ask(*history, system=f"s{len(numbers) % 2}")

        assert kept.build(question, 9) == _body("adaptive").build(question, 9)


def test_thoughts_between_texts_and_calls_go_back_to_their_places() -> None:
    """The order of the blocks is part of what is signed."""
    body = _body("adaptive")
    _built(body, _ask(GOAL))
    content = [
        {"type": "thinking", "thinking": "one", "signature": "s1"},
        {"type": "text", "text": "first "},
        {"type": "redacted_thinking", "data": "s2"},
        {"type": "text", "text": "second"},
        {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a"}},
        {"type": "thinking", "thinking": "", "signature": "s3", "new_field": [1]},
        {"type": "tool_use", "id": "c2", "name": "read", "input": {}},
    ]
    whole = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": {"output_tokens": 3}}
    message = _answered(whole, body=body).message(set(), 1)
    assert (message.text, len(message.tool_calls), len(message.thinking)) == ("first second", 2, 3)

    results = [ToolMessage(call_id=call.id, text="ok") for call in message.tool_calls]
    sent = json.loads(body.build(_ask(GOAL, message, *results), 9))

    assert sent["messages"][1]["content"] == content


def test_a_thought_that_did_not_come_whole_is_no_thought() -> None:
    """The output limit may cut in the middle of one, before its signature; no endless one is kept."""
    endless = _answered(
        _block(0, type="thinking"),
        *[_delta(0, "thinking_delta", thinking="x" * 300_000)] * 4,
        _stop(0),
    )
    assert endless.message(set(), 1).thinking == ()
    answer = _answered(
        _block(0, type="thinking", thinking="", signature=""),
        _delta(0, "thinking_delta", thinking="hm"),
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
    )

    assert answer.message(set(), 1).thinking == ()
    assert answer.reason() is FinishReason.LENGTH


def test_a_refused_turn_has_its_words_and_neither_calls_nor_thoughts() -> None:
    """Calls that a filter interrupted are not run."""
    answer = _answered(
        _block(0, type="thinking", thinking="hm", signature="s"),
        _stop(0),
        _block(1, type="text", text="I won't."),
        _block(2, type="tool_use", id="c1", name="read", input={}),
        {"type": "message_delta", "delta": {"stop_reason": "refusal"}},
    )

    assert answer.message(set(), 1) == AssistantMessage(text="I won't.")


def test_calls_are_assembled_from_their_pieces_by_index() -> None:
    """Pieces may be empty, and a call without any has no arguments; ids that repeat are replaced."""
    answer = _answered(
        _block(0, type="tool_use", id="c1", name="read", input={}),
        _block(1, type="tool_use", id="c1", name="list", input={}),
        _delta(0, "input_json_delta", partial_json=""),
        _delta(0, "input_json_delta", partial_json='{"path": "\\u00'),
        _delta(1, "new_kind_of_delta", text="x"),
        _delta(0, "input_json_delta", partial_json='fc"}'),
        _delta(7, "input_json_delta", partial_json="lost"),
        {"type": "message_stop"},
    )
    first, second = answer.message(set(), 1).tool_calls

    assert (first.id, first.name, json.loads(first.arguments)) == ("c1", "read", {"path": "ü"})
    assert (second.name, second.arguments) == ("list", "{}")
    assert second.id != "c1"
    assert answer.reason() is FinishReason.TOOL_CALLS


def test_a_block_whose_type_is_no_text_is_read_over() -> None:
    """As is one of a type that is new."""
    answer = _answered(_block(0, type=[]), _block(1, type="server_tool_use"), _block(2, type=None), _stop(2))

    assert answer.message(set(), 1) == AssistantMessage(text="")


def test_pings_and_events_that_are_new_are_read_over() -> None:
    """A ping is a sign of life only while a thought comes that is not shown."""
    answer = _answered({"type": "ping"}, {"type": "new_event", "index": 4})
    assert answer.events == 1

    for event in (_block(0, type="thinking"), {"type": "ping"}, _stop(0), {"type": "ping"}):
        answer.feed(json.dumps(event).encode())
    assert answer.events == 4


def test_a_later_usage_is_the_sum_so_far() -> None:
    """The one at the start counts the input, the one at the end the output, or all anew."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9, "input_tokens": None}}
    usage = _answered(start, end).usage(0, ModelFacts())

    assert (usage.input_tokens, usage.output_tokens) == (10, 9)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": {"type": "overloaded_error"}},
        {"type": "error", "message": "x"},
        {"error": {"message": "x"}},
    ],
)
def test_an_error_in_the_stream_is_handed_over(event: dict[str, Any]) -> None:
    """In every shape that is about."""
    assert Answer(_body()).feed(json.dumps(event).encode()) == event.get("error", event)


@pytest.mark.parametrize("data", [b"{", b"[1]", b"null", b"\xff", b"<html>"])
def test_what_is_no_event_is_a_bad_stream(data: bytes) -> None:
    """Never another exception."""
    with pytest.raises(BadStream):
        Answer(_body()).feed(data)


_KINDS = [
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_start",
    "message_delta",
]
_BLOCKS = ["text", "tool_use", "thinking", "text_delta", "input_json_delta", "thinking_delta", "message"]
_KEYS = ["index", "content_block", "delta", "message", "usage", "content", "text", "thinking", "signature"]
_ANY = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.sampled_from(_BLOCKS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_KEYS, "type", "id", "name", "input", "partial_json"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*_KEYS, "stop_reason"]), _ANY), max_size=4), st.data())
def test_events_of_any_shape_are_survived(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """A server's oddities must not end a session with a bug."""
    answer = Answer(_body())
    for event in events:
        event["type"] = data.draw(st.sampled_from([*_KINDS, *_BLOCKS, None, 3]))
        answer.feed(json.dumps(event).encode())

    message = answer.message(set(), 1)
    answer.usage(1, ModelFacts())
    AssistantMessage.model_validate_json(message.model_dump_json())
