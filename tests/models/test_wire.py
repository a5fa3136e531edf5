"""The bytes of a conversation: what is sent, however it grows; what is read, however it is cut."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.config import ModelFacts
from orch.errors import BadStream
from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ToolCall, ToolMessage, UserMessage
from orch.models.calls import MAX_CALLS, MAX_KEPT_CALLS, SURPLUS
from orch.models.interface import Ask, ToolSpec
from orch.models.openai_wire import Answer, RequestBody
from orch.models.wire import MAX_LINE_BYTES, MAX_TEXT_CHARS, AnyMessage, EventReader

TOOL = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
GOAL = UserMessage(text="build it")
CALL = AssistantMessage(text="", tool_calls=(ToolCall(id="c1", name="read", arguments='{"path": "a"}'),))
RESULT = ToolMessage(call_id="c1", text="content of a: ü\u2028")


def _ask(*messages: AnyMessage, system: str = "", tools: tuple[ToolSpec, ...] = ()) -> Ask:
    return Ask(system=system, messages=messages, tools=tools)


def _built(body: RequestBody, question: Ask, **limit: int) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(body.build(question, limit))
    return sent


def _read(stream: bytes, cuts: list[int]) -> list[bytes]:
    reader = EventReader()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = [event for start, end in itertools.pairwise(edges) for event in reader.feed(stream[start:end])]
    return events + reader.end()


def _answered(*chunks: object) -> Answer:
    answer = Answer()
    for chunk in chunks:
        assert answer.feed(json.dumps(chunk).encode()) is None
    return answer


def _delta(finish: str | None = None, **content: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}]}


def _calls_of(*pieces: dict[str, Any]) -> list[tuple[str, str, str]]:
    answer = _answered(*(_delta(tool_calls=[piece]) for piece in pieces))
    return [(call.id, call.name, call.arguments) for call in answer.message(set(), 1).tool_calls]


def _piece(arguments: object, **fields: object) -> dict[str, Any]:
    name = fields.pop("name", None)
    return fields | {"function": {"arguments": arguments} | ({"name": name} if name else {})}


def test_a_body_holds_everything_an_endpoint_wants() -> None:
    """System first, calls and results in their places, tools, the limit under its name, usage asked for."""
    body = _built(RequestBody("m"), _ask(GOAL, CALL, RESULT, system="be good", tools=(TOOL,)), max_tokens=7)

    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be good"},
            {"role": "user", "content": "build it"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "read", "arguments": '{"path": "a"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "content of a: ü\u2028"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "read",
                    "description": "Reads a file.",
                    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
                },
            }
        ],
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_tools_and_limit_neither_is_sent() -> None:
    """Endpoints refuse an empty list of tools."""
    assert _built(RequestBody("m"), _ask(GOAL)).keys() == {"model", "messages", "stream", "stream_options"}


def test_a_changed_system_prompt_and_changed_tools_are_sent() -> None:
    """What is kept is what has not changed."""
    body = RequestBody("m")
    _built(body, _ask(GOAL, system="one", tools=(TOOL,)))

    again = _built(body, _ask(GOAL, system="two", tools=()))

    assert again["messages"][0] == {"role": "system", "content": "two"}
    assert "tools" not in again
    assert _built(body, _ask(GOAL, tools=(TOOL,)))["tools"][0]["function"]["name"] == "read"


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 99), max_size=4)), max_size=8))
def test_a_kept_body_equals_a_fresh_one_whatever_became_of_the_history(
    steps: list[tuple[int, list[int]]],
) -> None:
    """Growing, shrinking, compacting and repairing never leave a byte of what was."""
    kept = RequestBody("m")
    history: list[AnyMessage] = [GOAL]
    for keep, texts in steps:
        history = [*history[:keep], *(UserMessage(text=f"text {number}") for number in texts)] or [GOAL]
        question = _ask(*history, system="s")

        assert kept.build(question, {}) == RequestBody("m").build(question, {})


def test_a_replaced_message_is_written_anew_and_its_ids_are_free_again() -> None:
    """A compaction puts another object in the place of an old one."""
    body = RequestBody("m")
    _built(body, _ask(GOAL, CALL, RESULT))
    assert body.call_ids == {"c1"}

    summary = UserMessage(text="we read a")

    assert _built(body, _ask(GOAL, summary))["messages"][1] == {"role": "user", "content": "we read a"}
    assert body.call_ids == set()


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=5),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 300), max_size=12),
)
def test_events_do_not_depend_on_how_the_stream_was_cut(
    texts: list[str], newline: str, cuts: list[int]
) -> None:
    """Not in a character, not in a line end, not in an event."""
    lines = [f"data: {text}{newline}: ping{newline}data: more{newline}{newline}" for text in texts]
    stream = b"\xef\xbb\xbf" + "".join(lines).encode()

    assert _read(stream, cuts) == [f"{text}\nmore".encode() for text in texts]


def test_data_lines_of_one_event_are_joined_and_a_missing_last_newline_is_no_loss() -> None:
    """Both happen; neither changes what was said."""
    assert _read(b"data: a\ndata:b\n\nevent: x\ndata: [DONE]", []) == [b"a\nb", b"[DONE]"]


def test_a_line_without_end_is_given_up() -> None:
    """A stream must not fill the memory."""
    reader = EventReader()
    half = b"x" * (MAX_LINE_BYTES // 2)
    reader.feed(b"data: " + half)

    with pytest.raises(BadStream, match="10 MB"):
        reader.feed(half)


def test_an_event_of_endless_data_lines_is_given_up() -> None:
    """An event is bounded even where its lines are short."""
    reader = EventReader()
    lines = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 100_000
    reader.feed(lines)

    with pytest.raises(BadStream, match="10 MB"):
        reader.feed(lines)


def test_text_is_assembled_and_reasoning_is_read_over() -> None:
    """Reasoning is no part of the conversation."""
    answer = _answered(
        _delta(role="assistant", content=None),
        _delta(reasoning_content="hm"),
        _delta(reasoning="hm"),
        _delta(content="Hel"),
        _delta(content=[{"type": "text", "text": "lo"}]),
        _delta("stop"),
    )

    assert answer.message(set(), 1) == AssistantMessage(text="Hello")
    assert answer.reason() is FinishReason.STOP
    assert answer.complete


def test_text_is_cleaned_and_capped() -> None:
    """What is stored can be stored everywhere."""
    assert _answered(_delta(content="a\x00b\ud800")).message(set(), 1).text == "a\ufffdb\ufffd"
    long = " ".join(map(str, range(60_000)))
    assert len(_answered(*[_delta(content=long)] * 5).message(set(), 1).text) == MAX_TEXT_CHARS


@pytest.mark.parametrize(
    "pieces",
    [
        [_piece("", index=0, id="a", name="f"), _piece('{"x":', index=0), _piece("1}", index=0)],
        [_piece('{"x":', index=0, id="a", name="f"), _piece("1}", index=0, id="a", name="f")],
        [_piece('{"x":', id="a", name="f"), _piece("1}", id="a")],
        [_piece('{"x":', id="a", name="f"), _piece("1}")],
        [_piece('{"x":', index=0, id="a", name="f"), _piece("1}", index=0, id="regenerated")],
        [_piece('{"x":', index=0, id="a"), _piece("1}", index=0, name="f")],
        [_piece(None, index=0, id="a", name="f"), _piece('{"x":1}', index=0)],
    ],
)
def test_a_call_is_assembled_however_its_pieces_are_labelled(pieces: list[dict[str, Any]]) -> None:
    """Index, id and name may be repeated, missing or made up anew."""
    assert _calls_of(*pieces) == [("a", "f", '{"x":1}')]


@pytest.mark.parametrize(
    "pieces",
    [
        [_piece('{"x":1}', index=0, id="a", name="f"), _piece('{"x":2}', index=1, id="b", name="g")],
        [_piece('{"x":1}', index=0, id="a", name="f"), _piece('{"x":2}', index=0, id="b", name="g")],
        [_piece('{"x":1}', id="a", name="f"), _piece('{"x":2}', id="b", name="g")],
        [
            _piece('{"x":', index=0, id="a", name="f"),
            _piece('{"x":', index=1, id="b", name="g"),
            _piece("1}", index=0),
            _piece("2}", index=1),
        ],
    ],
)
def test_two_calls_stay_two_calls(pieces: list[dict[str, Any]]) -> None:
    """Also under one index, also interleaved."""
    assert _calls_of(*pieces) == [("a", "f", '{"x":1}'), ("b", "g", '{"x":2}')]


def test_two_calls_without_ids_under_one_index_stay_two_calls() -> None:
    """A second function begins where complete arguments lie behind."""
    calls = _calls_of(_piece('{"x":1}', index=0, name="f"), _piece('{"x":2}', index=0, name="g"))

    assert [(name, arguments) for _, name, arguments in calls] == [("f", '{"x":1}'), ("g", '{"x":2}')]


def test_arguments_sent_as_an_object_are_taken_as_its_text() -> None:
    """Some servers forget that arguments are a text."""
    assert _calls_of(_piece({"x": 1}, index=0, id="a", name="f")) == [("a", "f", '{"x": 1}')]


@pytest.mark.fault(28)
def test_more_calls_than_a_turn_may_have_are_dropped_and_the_text_says_so() -> None:
    """The model reads its own turn again: it must see what became of it."""
    pieces = (_piece('{"a": 1}', index=n, name="f") for n in range(MAX_KEPT_CALLS + 3))
    message = _answered(*(_delta(tool_calls=[piece]) for piece in pieces)).message(set(), 1)

    assert len(message.tool_calls) == MAX_KEPT_CALLS
    assert message.text == f"[3 more tool calls were dropped: at most {MAX_KEPT_CALLS} in one turn]"
    kept = [(call.arguments, call.malformed) for call in message.tool_calls]
    assert kept[:MAX_CALLS] == [('{"a": 1}', None)] * MAX_CALLS
    assert set(kept[MAX_CALLS:]) == {("{}", SURPLUS)}


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([_delta("stop", content="x")], FinishReason.STOP),
        ([_delta("tool_calls", content="x")], FinishReason.STOP),
        ([_delta(tool_calls=[_piece("{}", name="f")]), _delta("stop")], FinishReason.TOOL_CALLS),
        ([_delta("length", tool_calls=[_piece("{", name="f")])], FinishReason.LENGTH),
        ([_delta("content_filter", content="x")], FinishReason.REFUSED),
        ([_delta("stop", refusal="No.")], FinishReason.REFUSED),
        ([_delta("end_of_turn", content="x")], FinishReason.STOP),
    ],
)
def test_a_finish_reason_agrees_with_what_came(chunks: list[object], reason: FinishReason) -> None:
    """`tool_calls` is said if and only if there are calls."""
    assert _answered(*chunks).reason() is reason


def test_a_refused_turn_has_its_words_and_no_calls() -> None:
    """Calls that a filter interrupted are not run."""
    answer = _answered(
        _delta(tool_calls=[_piece("{}", name="f")]), _delta("content_filter", refusal="I won't.")
    )

    assert answer.message(set(), 1) == AssistantMessage(text="I won't.")


def test_usage_is_what_was_counted_with_the_cost_of_known_prices() -> None:
    """Cached tokens are part of the input and have their own price."""
    counts = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    answer = _answered(_delta("stop", content="x"), {"choices": [], "usage": counts})
    prices = ModelFacts(input_usd_per_mtok=2.0, output_usd_per_mtok=8.0, cached_usd_per_mtok=0.5)
    usage = answer.usage(0, prices)

    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (1000, 100, 400)
    assert usage.cost_usd == pytest.approx((600 * 2 + 400 * 0.5 + 100 * 8) / 1e6)
    assert answer.usage(0, ModelFacts()).cost_usd is None


def test_usage_that_was_not_reported_is_estimated() -> None:
    """Four characters count as a token."""
    usage = _answered(_delta("stop", content="x" * 40)).usage(4000, ModelFacts())

    assert (usage.input_tokens, usage.output_tokens) == (1000, 10)


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": value} for value in (None, -3, "9", 1e300, 10**400, float("nan"))]
)
def test_a_usage_that_makes_no_sense_counts_nothing(usage: dict[str, object]) -> None:
    """Numbers from outside are not trusted to be numbers."""
    answer = _answered(_delta("stop", content="x"), {"usage": usage | {"prompt_tokens_details": 5}})

    assert answer.usage(400, ModelFacts()).input_tokens == 0


@pytest.mark.parametrize("data", [b"{", b"[1]", b"null", b'"x"', b"\xff", b"[" * 100_000, b"<html>"])
def test_what_is_no_chunk_is_a_bad_stream(data: bytes) -> None:
    """Never another exception."""
    with pytest.raises(BadStream):
        Answer().feed(data)


@given(
    st.dictionaries(
        st.sampled_from(["choices", "usage", "id"]),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["delta", "message", "content", "tool_calls", "function", "index", "name"]
                    ),
                    inner,
                )
            ),
            max_leaves=12,
        ),
    )
)
def test_a_chunk_of_any_shape_is_survived(chunk: dict[str, Any]) -> None:
    """A server's oddities must not end a session with a bug."""
    answer = Answer()
    answer.feed(json.dumps(chunk).encode())

    answer.message(set(), 1)
    answer.usage(1, ModelFacts())


@pytest.mark.parametrize(
    "chunk", [{"error": "x"}, {"error": {"code": 1}}, {"object": "error", "message": "x"}]
)
def test_an_error_in_the_stream_is_handed_over(chunk: dict[str, Any]) -> None:
    """In every shape that is about."""
    assert Answer().feed(json.dumps(chunk).encode()) == chunk.get("error", chunk)
