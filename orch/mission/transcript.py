"""A conversation, independent of any provider, and the rules of a valid one.

Theory of operation. A history is a tuple of messages. It is valid when an endpoint of any dialect
would accept it as the messages of a request (the system prompt travels apart):

* it is not empty, starts with a user message, and ends with a user or a tool message;
* every tool call of an assistant message is answered by exactly one tool message, and all answers stand
  directly behind that assistant message, before any other role;
* a tool message answers a call of the assistant message before it, never anything else;
* call ids are unique in the whole history, match `[a-zA-Z0-9_-]{1,40}`;
* the arguments of a call are the JSON text of one object (a stored text that is not JSON makes
  llama.cpp answer 500 on every later turn);
* no message is empty: a user or tool message has text that is not blank, an assistant message has text
  or calls.

`check` raises `InvalidHistory` on the first rule broken; nothing here changes a history.
Text is cleaned once, where it enters (`clean`): no lone surrogates, no NUL.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orch.errors import InvalidHistory

EMPTY_REPLY = "(empty reply)"
"""Stands in a history for a turn without text and calls: no endpoint accepts an empty message."""
CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Return `text` as every JSON parser and terminal log can hold it: NUL and lone surrogates replaced."""
    return _UNUSABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class Frozen(BaseModel):
    """Base of every value that reaches the disk: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ToolCall(Frozen):
    """One call a model asks for.

    `arguments` is always the JSON text of an object. Where the model sent something else, `arguments`
    is `{}` and `malformed` says what was wrong, for the model to read.
    """

    id: str
    name: str
    arguments: str
    malformed: str | None = None


class UserMessage(Frozen):
    """What orch or a person says to a session."""

    role: Literal["user"] = "user"
    text: str


class ThinkingBlock(Frozen):
    """What a model thought, as its endpoint wants it back: signed, often encrypted, of use to nobody else.

    The endpoint refuses a block that was altered, moved, or put behind another beginning than the one it was
    thought upon. So the wire that made it keeps here all that it needs to know whether, and where, it fits.
    """

    json_text: str
    """The block as it came: the JSON text of an object."""
    text_chars: int = 0
    """How much of the turn's text stands before it."""
    calls: int = 0
    """How many of the turn's calls stand before it."""
    origin: str = ""
    """Who thought it: an endpoint and a model."""
    prefix: str = ""
    """A digest of what was sent before the turn."""


class AssistantMessage(Frozen):
    """One finished turn of a model. Dialects that know no `thinking` leave it out."""

    role: Literal["assistant"] = "assistant"
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: tuple[ThinkingBlock, ...] = ()


class ToolMessage(Frozen):
    """The result of one call; `failed` if it did not do what it was asked."""

    role: Literal["tool"] = "tool"
    call_id: str
    text: str
    failed: bool = False


Message = Annotated[UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]
History = tuple[UserMessage | AssistantMessage | ToolMessage, ...]


def check(history: Sequence[UserMessage | AssistantMessage | ToolMessage]) -> None:
    """Raise `InvalidHistory` unless `history` can be sent as it is."""
    if not history or not isinstance(history[0], UserMessage):
        raise InvalidHistory("a history starts with a user message")
    if isinstance(history[-1], AssistantMessage):
        raise InvalidHistory("a history that is sent ends with a user or tool message")
    seen: set[str] = set()
    open_calls: set[str] = set()
    for message in history:
        match message:
            case ToolMessage():
                _check_result(message, open_calls)
            case AssistantMessage():
                _check_answered(open_calls)
                open_calls = _check_assistant(message, seen)
            case UserMessage():
                _check_answered(open_calls)
                _check_text(message.text)
    _check_answered(open_calls)


def _check_answered(open_calls: set[str]) -> None:
    if open_calls:
        raise InvalidHistory(f"unanswered tool calls: {', '.join(sorted(open_calls))}")


def _check_text(text: str) -> None:
    if not text.strip():
        raise InvalidHistory("an empty user message or tool result")


def _check_result(message: ToolMessage, open_calls: set[str]) -> None:
    if message.call_id not in open_calls:
        raise InvalidHistory(f"a tool result without its call: {message.call_id}")
    _check_text(message.text)
    open_calls.discard(message.call_id)


def _check_assistant(message: AssistantMessage, seen: set[str]) -> set[str]:
    if not message.text.strip() and not message.tool_calls:
        raise InvalidHistory("an assistant message with neither text nor calls")
    calls: set[str] = set()
    for call in message.tool_calls:
        if not CALL_ID.fullmatch(call.id):
            raise InvalidHistory(f"a call id that endpoints refuse: {call.id[:60]!r}")
        if call.id in seen:
            raise InvalidHistory(f"a call id used twice: {call.id}")
        if not is_json_object(call.arguments):
            raise InvalidHistory(f"arguments of {call.id} are not a JSON object")
        seen.add(call.id)
        calls.add(call.id)
    return calls


def is_json_object(text: str) -> bool:
    """Say whether `text` is the JSON text of one object. Never raises, whatever the text."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
