"""Putting a broken history right, so that every endpoint takes it. Pure; what can stay stays.

`repair` returns a history that `transcript.check` accepts. A valid one comes back as it is, the same object.
In a broken one each result is put directly behind its call; a call without a result gets one that says so; a
result without a call, a second result, and a message that says nothing go. Ids that endpoints refuse, or that
come twice, are replaced, in the call and in its result. A beginning or an end that cannot be sent gets a word
of orch's own. Thinking stays where it is a block at all; `without_thinking` takes it out, for an endpoint
that does not want it back.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from orch.errors import InvalidHistory
from orch.mission.transcript import (
    CALL_ID,
    AssistantMessage,
    History,
    ToolCall,
    ToolMessage,
    UserMessage,
    check,
    is_json_object,
)

LOST_RESULT = "[orch] The result of this call was lost. Call it again if you need it."
LOST_BEGINNING = "[orch] The beginning of this conversation was lost. Go on from here."
GO_ON = "[orch] Go on."

AnyMessage = UserMessage | AssistantMessage | ToolMessage


def repair(history: Sequence[AnyMessage]) -> History:
    """Return `history` as every endpoint takes it; a valid one unchanged."""
    try:
        check(history)
    except InvalidHistory:
        return tuple(_with_ends(list(_paired(history))))
    return tuple(history)


def without_thinking(history: Sequence[AnyMessage]) -> History:
    """Return `history` without any thinking."""
    return tuple(
        message.model_copy(update={"thinking": ()})
        if isinstance(message, AssistantMessage) and message.thinking
        else message
        for message in history
    )


def _with_ends(messages: list[AnyMessage]) -> Iterator[AnyMessage]:
    if not messages or not isinstance(messages[0], UserMessage):
        yield UserMessage(text=LOST_BEGINNING)
    yield from messages
    if messages and isinstance(messages[-1], AssistantMessage):
        yield UserMessage(text=GO_ON)


def _paired(history: Sequence[AnyMessage]) -> Iterator[AnyMessage]:
    """Yield what says something, each turn with the results of its calls directly behind it."""
    results = _Results(history)
    ids = _Ids(history)
    for place, message in enumerate(history):
        if isinstance(message, AssistantMessage):
            yield from _turn(message, place, results, ids)
        elif isinstance(message, UserMessage) and message.text.strip():
            yield message


def _turn(message: AssistantMessage, place: int, results: "_Results", ids: "_Ids") -> Iterator[AnyMessage]:
    calls = []
    answers = []
    for call in message.tool_calls:
        name = ids.take(call.id)
        arguments = call.arguments if is_json_object(call.arguments) else "{}"
        calls.append(call.model_copy(update={"id": name, "arguments": arguments}))
        answers.append(ToolMessage(call_id=name, text=results.take(call.id, place)))
    thinking = tuple(block for block in message.thinking if is_json_object(block.json_text))
    if calls or message.text.strip():
        yield message.model_copy(update={"tool_calls": tuple(calls), "thinking": thinking})
        yield from answers


class _Results:
    """The results of a history by the id of their call; of several for one id, each call takes one."""

    def __init__(self, history: Sequence[AnyMessage]) -> None:
        self._left: dict[str, list[tuple[int, str]]] = {}
        for place, message in enumerate(history):
            if isinstance(message, ToolMessage) and message.text.strip():
                self._left.setdefault(message.call_id, []).append((place, message.text))

    def take(self, call: str, place: int) -> str:
        """Return the first result behind `place`, else any, else the words that it was lost."""
        left = self._left.get(call, [])
        found = next((n for n, (at, _) in enumerate(left) if at > place), 0)
        return left.pop(found)[1] if left else LOST_RESULT


class _Ids:
    """Ids that are valid and come once."""

    def __init__(self, history: Sequence[AnyMessage]) -> None:
        self._taken: set[str] = set()
        known = {call.id for message in history for call in _calls(message)}
        self._fresh = (name for number in count(1) if (name := f"repaired-{number}") not in known)

    def take(self, call: str) -> str:
        """Return the id under which a call goes on."""
        name = call if CALL_ID.fullmatch(call) and call not in self._taken else next(self._fresh)
        self._taken.add(name)
        return name


def _calls(message: AnyMessage) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()
