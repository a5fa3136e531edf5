"""Tests of the rules of a history, held against a checker written from the endpoint's own rules."""

import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import InvalidHistory
from orch.mission.state import MissionState
from orch.mission.transcript import (
    AssistantMessage,
    History,
    ToolCall,
    ToolMessage,
    UserMessage,
    check,
    clean,
    is_json_object,
)
from tests.mission.casts import TROUPES, Troupe

Message = UserMessage | AssistantMessage | ToolMessage
USER = UserMessage(text="go")
SAID = AssistantMessage(text="done")


def call(call_id: str, arguments: str = "{}") -> ToolCall:
    """Return a call of a tool."""
    return ToolCall(id=call_id, name="read", arguments=arguments)


def calls(*ids: str, text: str = "") -> AssistantMessage:
    """Return a turn that calls tools."""
    return AssistantMessage(text=text, tool_calls=tuple(call(i) for i in ids))


def answer(call_id: str, text: str = "ok") -> ToolMessage:
    """Return a call's result."""
    return ToolMessage(call_id=call_id, text=text)


VALID: tuple[History, ...] = (
    (USER,),
    (USER, USER),
    (USER, SAID, USER),
    (USER, calls("c1"), answer("c1")),
    (USER, calls("c1", "c2"), answer("c2"), answer("c1"), SAID, USER),
    (USER, calls("c1", text="let me see"), answer("c1"), USER),
    (USER, calls("c1"), answer("c1"), calls("c2"), answer("c2")),
    (USER, AssistantMessage(text="", tool_calls=(call("x" * 40, '{"a": [1, null]}'),)), answer("x" * 40)),
)
INVALID: tuple[tuple[str, History, str], ...] = (
    ("nothing", (), "starts with a user message"),
    ("an assistant first", (SAID, USER), "starts with a user message"),
    ("a result first", (answer("c1"),), "starts with a user message"),
    ("an assistant last", (USER, SAID), "ends with a user or tool message"),
    ("a call without result", (USER, calls("c1"), USER), "unanswered tool calls: c1"),
    ("one of two without result", (USER, calls("c1", "c2"), answer("c1")), "unanswered tool calls: c2"),
    ("a turn before the result", (USER, calls("c1"), SAID, answer("c1")), "unanswered tool calls: c1"),
    ("a result without a call", (USER, answer("c1")), "without its call: c1"),
    ("a result twice", (USER, calls("c1"), answer("c1"), answer("c1")), "without its call: c1"),
    ("a late result", (USER, calls("c1"), answer("c1"), USER, answer("c1")), "without its call: c1"),
    ("an id twice in a turn", (USER, calls("c1", "c1"), answer("c1")), "used twice: c1"),
    (
        "an id twice in a history",
        (USER, calls("c1"), answer("c1"), calls("c1"), answer("c1")),
        "used twice: c1",
    ),
    ("a long id", (USER, calls("x" * 41), answer("x" * 41)), "a call id that endpoints refuse"),
    ("an empty id", (USER, calls(""), answer("")), "a call id that endpoints refuse"),
    ("an id with a dot", (USER, calls("c.1"), answer("c.1")), "a call id that endpoints refuse"),
    (
        "arguments that are no JSON",
        (USER, AssistantMessage(text="", tool_calls=(call("c1", "{"),)), answer("c1")),
        "not a JSON object",
    ),
    (
        "arguments that are a list",
        (USER, AssistantMessage(text="", tool_calls=(call("c1", "[]"),)), answer("c1")),
        "not a JSON object",
    ),
    ("an empty user", (UserMessage(text=" \n"),), "an empty user message"),
    ("an empty result", (USER, calls("c1"), answer("c1", "")), "an empty user message or tool result"),
    ("an empty turn", (USER, AssistantMessage(text=" "), USER), "neither text nor calls"),
)


@pytest.mark.parametrize("history", VALID)
def test_a_valid_history_passes(history: History) -> None:
    """Each of these an endpoint takes."""
    check(history)

    assert not refusal(history)


@pytest.mark.parametrize(("history", "why"), [c[1:] for c in INVALID], ids=[c[0] for c in INVALID])
def test_a_broken_history_is_refused_with_the_rule_it_breaks(history: History, why: str) -> None:
    """Before it is sent: the endpoint would answer 400, and asking again would not help."""
    with pytest.raises(InvalidHistory, match=re.escape(why)):
        check(history)


# ---- the endpoint's side, written from its API reference and error texts


def refusal(history: Sequence[Message]) -> str:
    """Return why `/v1/chat/completions` would refuse the messages; empty if it would not."""
    wire = [_on_the_wire(message) for message in history]
    reasons = [reason for at in range(len(wire)) if (reason := _refusal_at(wire, at))]
    return reasons[0] if reasons else "" if wire else "messages: []"


def _on_the_wire(message: Message) -> dict[str, object]:
    match message:
        case UserMessage():
            return {"role": "user", "content": message.text}
        case ToolMessage():
            return {"role": "tool", "content": message.text, "tool_call_id": message.call_id}
        case AssistantMessage():
            return {
                "role": "assistant",
                "content": message.text or None,
                "ids": [c.id for c in message.tool_calls],
                "arguments": [c.arguments for c in message.tool_calls],
            }


def _refusal_at(wire: list[dict[str, object]], at: int) -> str:
    message = wire[at]
    if message["role"] == "tool":
        before = at
        while before >= 0 and wire[before]["role"] == "tool":
            before -= 1
        ids = wire[before].get("ids") if before >= 0 else None
        if not isinstance(ids, list) or message["tool_call_id"] not in ids:
            return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"
        return "" if message["content"] else "tool content"
    if message["role"] == "user":
        return "" if message["content"] else "user content"
    return _assistant_refusal(wire, at)


def _assistant_refusal(wire: list[dict[str, object]], at: int) -> str:
    ids, arguments = wire[at]["ids"], wire[at]["arguments"]
    assert isinstance(ids, list)
    assert isinstance(arguments, list)
    if wire[at]["content"] is None and not ids:
        return "Invalid value for 'content': expected a string, got null."
    behind = []
    for message in wire[at + 1 :]:
        if message["role"] != "tool":
            break
        behind.append(message["tool_call_id"])
    if set(ids) - set(behind):
        return "An assistant message with 'tool_calls' must be followed by tool messages"
    if any(len(i) > 40 or not re.fullmatch("[a-zA-Z0-9_-]+", i) for i in ids):
        return "string too long"
    return "" if all(isinstance(json.loads(a), dict) for a in arguments) else "arguments"


IDS = st.sampled_from(["c1", "c2", "c3", "x" * 41, "no!"])
MESSAGES = st.one_of(
    st.builds(UserMessage, text=st.sampled_from(["go", "", "more"])),
    st.builds(
        AssistantMessage,
        text=st.sampled_from(["", "hm"]),
        tool_calls=st.lists(st.builds(call, IDS), max_size=2).map(tuple),
    ),
    st.builds(ToolMessage, call_id=IDS, text=st.sampled_from(["ok", ""])),
)


@settings(max_examples=300)
@given(st.lists(MESSAGES, max_size=6))
def test_what_the_endpoint_refuses_is_never_let_through(history: list[Message]) -> None:
    """`check` may be stricter than one dialect, never laxer."""
    if refusal(history):
        with pytest.raises(InvalidHistory):
            check(history)


def histories(state: MissionState) -> list[History]:
    """Return each history as it was at the session's last request."""
    found = []
    for session in state.sessions.values():
        sent = list(session.messages)
        while sent and isinstance(sent[-1], AssistantMessage):
            sent.pop()
        if sent and not session.open_calls:
            found.append(tuple(sent))
    return found


@settings(max_examples=25, deadline=None)
@given(TROUPES)
def test_every_history_that_a_mission_makes_could_be_sent(troupe: Troupe) -> None:
    """The reducer refuses messages at the wrong time, so that no repair is ever needed."""
    state = troupe.simulation().start(max_parallel=troupe.max_parallel).run().state

    for history in histories(state):
        check(history)
        assert not refusal(history)


# ---- texts


@given(st.text(st.characters()))
def test_a_clean_text_can_be_written_and_read_by_everyone(text: str) -> None:
    """No NUL, no lone surrogate; what was clean stays as it is."""
    cleaned = clean(text)

    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned
    assert len(cleaned) == len(text)


def test_a_lone_surrogate_is_replaced() -> None:
    """As a decoder would do."""
    assert clean("a\ud800b\x00c") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", True),
        ('{"a": 1}', True),
        ("[]", False),
        ("null", False),
        ('"{}"', False),
        ("{", False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_only_the_text_of_one_object_is_one(text: str, expected: bool) -> None:
    """And a text that is nested without end is none, without an error."""
    assert is_json_object(text) is expected
