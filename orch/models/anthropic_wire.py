"""The Messages API as bytes: the body of a request, and the answer that the events of a stream add up to.

The source is the Anthropic API reference, "Messages", "Streaming messages", "Prompt caching", "Thinking" and
"Preserved thinking". What shapes this file:

* Neighbours of one role are one message on this wire, and the results of a turn's calls stand first in the
  message behind it, so each message is written as a piece that goes on in its neighbour's brackets.
* What is cached is what stands before a mark. Four are allowed: behind the tools and behind the system
  prompt, which all sessions of a role share, behind the newest message, and behind the message that was the
  newest in the request before: what is cached there is found however many blocks the last turn had.
* Thinking blocks go back as they came, where they came, and only to the model that made them. Newer models
  refuse a block if anything before it has changed since (the system prompt, an earlier result), so a block
  carries a digest of that and is left out when it no longer fits, which is legal. Models that take a budget
  of tokens check less and want more: a block at the beginning of a loop of calls, or no thinking in it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Literal

from pydantic_core import to_json

from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ThinkingBlock, ToolMessage, UserMessage
from orch.models import wire
from orch.models.calls import RawCall
from orch.models.interface import Ask, ToolSpec
from orch.models.wire import MAX_TEXT_CHARS, AnyMessage, Counts, count_of, parsed, table_of, text_of

_MARK = b',"cache_control":{"type":"ephemeral"}'
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_REASONS = MappingProxyType(
    {
        "max_tokens": FinishReason.LENGTH,
        "model_context_window_exceeded": FinishReason.LENGTH,
        "pause_turn": FinishReason.LENGTH,  # as unfinished as an answer that was cut: it is asked to go on
        "refusal": FinishReason.REFUSED,
    }
)


class RequestBody(wire.RequestBody):
    """The bodies of one session's requests.

    Args:
        model: Its name.
        origin: The endpoint and the model, as thinking blocks remember them.
        thinking: A budget in tokens, `adaptive`, or `None` to say nothing about it.
    """

    def __init__(self, model: str, origin: str, thinking: int | Literal["adaptive"] | None) -> None:
        super().__init__()
        self.origin = origin
        self._model = to_json(model)
        self._thinking = thinking
        self._system = ""
        self._tools: Sequence[ToolSpec] = ()
        self._fixed_json = b""
        self._prefixes = [hashlib.sha256()]  # before each message, and behind the last one

    @property
    def prefix(self) -> str:
        """The digest of all that was written."""
        return self._prefixes[-1].hexdigest()

    def build(self, ask: Ask, max_tokens: int) -> bytes:
        """Return the body for `ask`."""
        self._write_fixed(ask)
        self._write_messages(ask.messages)
        pieces = self._pieces.copy()
        for index in self._points():
            pieces[index] = pieces[index][:-1] + _MARK + b"}"
        return self._joined(
            b'{"model":' + self._model + b',"max_tokens":%d' % max_tokens,
            self._fixed_json,
            b',"messages":[',
            *pieces,
            b"]}]",
            self._thinking_json(),
            b',"stream":true}',
        )

    def _write_fixed(self, ask: Ask) -> None:
        if ask.system == self._system and (ask.tools is self._tools or ask.tools == self._tools):
            return
        self._system, self._tools = ask.system, ask.tools
        tools = [_tool(tool) for tool in ask.tools]
        fixed = b""
        if tools:
            fixed += b',"tools":' + to_json(tools)[:-2] + _MARK + b"}]"
        if ask.system.strip():
            fixed += b',"system":[' + _text_block(ask.system)[:-1] + _MARK + b"}]"
        self._fixed_json = fixed
        self._cut(0)
        self._prefixes = [hashlib.sha256(fixed)]

    def _cut(self, length: int) -> None:
        super()._cut(length)
        del self._prefixes[length + 1 :]

    def _write(self, message: AnyMessage) -> bytes:
        role = _role(message)
        blocks = _blocks(message, ())
        fitting = self._fitting(message, len(self._messages))
        prefix = self._prefixes[-1].copy()
        prefix.update(role + blocks)
        self._prefixes.append(prefix)
        before = self._messages[-1] if self._messages else None
        if before is not None and _role(before) == role:
            opening = b","
        else:
            opening = (b"" if before is None else b"]},") + b'{"role":"' + role + b'","content":['
        return opening + (_blocks(message, fitting) if fitting else blocks)

    def _fitting(self, message: AnyMessage, index: int) -> tuple[ThinkingBlock, ...]:
        """Return the blocks of the message at `index` that its endpoint would take back."""
        blocks = _thinking(message)
        if not blocks:
            return ()
        prefix = self._prefixes[index].hexdigest()
        any_prefix = isinstance(self._thinking, int)
        return tuple(
            block
            for block in blocks
            if block.origin == self.origin and (any_prefix or block.prefix == prefix)
        )

    def _points(self) -> list[int]:
        """Return the newest message, and the one that was the newest in the request before."""
        index = newest = len(self._messages) - 1
        while index >= 0 and _role(self._messages[index]) == b"user":
            index -= 1
        while index >= 0 and _role(self._messages[index]) == b"assistant":
            index -= 1
        return [newest, index] if index >= 0 else [newest]

    def _thinking_json(self) -> bytes:
        if self._thinking == "adaptive":
            return b',"thinking":{"type":"adaptive"}'
        if self._thinking is None or not self._may_think():
            return b""
        return b',"thinking":{"type":"enabled","budget_tokens":%d}' % self._thinking

    def _may_think(self) -> bool:
        """Say whether the loop of calls under way, if any, began with thinking: it goes on as it began."""
        first = None
        for index in range(len(self._messages) - 1, -1, -1):
            message = self._messages[index]
            if isinstance(message, AssistantMessage):
                first = index
            elif isinstance(message, UserMessage) and not self._follows_result(index):
                break
        if first is None:
            return True
        blocks = self._fitting(self._messages[first], first)
        return bool(blocks) and not (blocks[0].text_chars or blocks[0].calls)

    def _follows_result(self, index: int) -> bool:
        return index > 0 and isinstance(self._messages[index - 1], ToolMessage)


def _role(message: AnyMessage) -> bytes:
    return b"assistant" if isinstance(message, AssistantMessage) else b"user"


def _thinking(message: AnyMessage) -> tuple[ThinkingBlock, ...]:
    return message.thinking if isinstance(message, AssistantMessage) else ()


def _tool(tool: ToolSpec) -> dict[str, object]:
    return {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}


def _text_block(text: str) -> bytes:
    return to_json({"type": "text", "text": text})


def _blocks(message: AnyMessage, thinking: Sequence[ThinkingBlock]) -> bytes:
    match message:
        case UserMessage():
            return _text_block(message.text)
        case ToolMessage():
            result = {"type": "tool_result", "tool_use_id": message.call_id, "content": message.text}
            return to_json(result)
        case AssistantMessage():
            return b",".join(_turn(message, thinking))


def _turn(message: AssistantMessage, thinking: Sequence[ThinkingBlock]) -> list[bytes]:
    """Return the blocks of a turn in the order in which they came; text that is blank is refused."""
    blocks: list[bytes] = []
    chars = calls = 0
    end = ThinkingBlock(json_text="", text_chars=len(message.text), calls=len(message.tool_calls))
    for thought in (*thinking, end):
        text = message.text[chars : thought.text_chars]
        if text.strip():
            blocks.append(_text_block(text))
        for call in message.tool_calls[calls : thought.calls]:
            head = to_json({"type": "tool_use", "id": call.id, "name": call.name})
            blocks.append(head[:-1] + b',"input":' + call.arguments.encode() + b"}")
        if thought is not end:
            blocks.append(thought.json_text.encode())
        chars, calls = thought.text_chars, thought.calls
    return blocks


class _Thought:
    """A thinking block that is coming in, and where in its turn it stands.

    One that does not come whole, or is longer than any text that is kept, is none: half a block is refused.
    """

    def __init__(self, block: Mapping[str, Any], text_chars: int, calls: int) -> None:
        self.text_chars = text_chars
        self.calls = calls
        self.ended = False
        self._block = dict(block)
        self._pieces: list[str] = []
        self._size_chars = 0

    @property
    def is_whole(self) -> bool:
        """Whether it can be kept."""
        return self.ended and self._size_chars <= MAX_TEXT_CHARS

    def add(self, delta: Mapping[str, Any]) -> None:
        """Add a piece of the thought, or its signature."""
        if delta.get("type") == "thinking_delta":
            piece = text_of(delta.get("thinking"))
            self._size_chars += len(piece)
            if self._size_chars <= MAX_TEXT_CHARS:
                self._pieces.append(piece)
        elif delta.get("type") == "signature_delta":
            self._block["signature"] = text_of(delta.get("signature"))

    def json_text(self) -> str:
        """Return the block as it goes back."""
        if self._pieces:
            self._block["thinking"] = text_of(self._block.get("thinking")) + "".join(self._pieces)
            self._pieces = []
        return json.dumps(self._block, separators=(",", ":"))


class Answer(wire.Answer):
    """One message, added up from its events; `body` knows what its thinking was thought upon.

    A ping is no sign that an answer comes, but for one: while a model thinks without showing it, nothing else
    is sent.
    """

    def __init__(self, body: RequestBody) -> None:
        super().__init__()
        self._body = body
        self._blocks: dict[object, RawCall | _Thought] = {}  # by index
        self._thoughts: list[_Thought] = []
        self._thinks = False
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes) -> object:
        """Add the data of one event; return the error object if that is what came, else `None`."""
        event = parsed(data)
        kind = text_of(event.get("type"))
        self.events += kind != "ping" or self._thinks
        if kind == "error" or (not kind and event.get("error")):
            return event.get("error") or event
        reader = _READERS.get(kind)
        if reader is not None:
            reader(self, event)
        return None

    def _reason(self) -> FinishReason:
        usual = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        return _REASONS.get(self.finish or "", usual)

    def message(self, taken: AbstractSet[str], history_messages: int) -> AssistantMessage:
        """Return the turn, cleaned, its thinking with it; `taken` are the call ids of the history."""
        message = super().message(taken, history_messages)
        whole = [thought for thought in self._thoughts if thought.is_whole]
        if not whole or self.reason() in (FinishReason.REFUSED, FinishReason.DEGENERATE):
            return message
        return message.model_copy(update={"thinking": tuple(map(self._kept, whole))})

    def _kept(self, thought: _Thought) -> ThinkingBlock:
        return ThinkingBlock(
            json_text=thought.json_text(),
            text_chars=thought.text_chars,
            calls=thought.calls,
            origin=self._body.origin,
            prefix=self._body.prefix,
        )

    def _counts(self) -> Counts | None:
        if not self._usage:
            return None
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
        fresh, cached, written, output = (count_of(self._usage.get(name)) for name in names)
        return Counts(fresh + cached + written, output, cached, written)

    def _count(self, holder: Mapping[str, Any]) -> None:
        """Take over a usage: what stands in a later one is the sum so far."""
        usage = table_of(holder.get("usage"))
        self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _add_start(self, event: Mapping[str, Any]) -> None:
        self._count(table_of(event.get("message")))

    def _add_ending(self, event: Mapping[str, Any]) -> None:
        self._count(event)
        self._finish(table_of(event.get("delta")))

    def _finish(self, delta: Mapping[str, Any]) -> None:
        self.finish = text_of(delta.get("stop_reason")) or self.finish

    def _add_stop(self, event: Mapping[str, Any]) -> None:  # noqa: ARG002 - a reader like the others
        self.done = True

    def _add_message(self, event: Mapping[str, Any]) -> None:
        """Take over a whole message: an answer that is no stream."""
        content = event.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            self._begin(index, table_of(block))
            self._end(index)
        self._count(event)
        self._finish(event)
        self.done = True

    def _add_block(self, event: Mapping[str, Any]) -> None:
        self._begin(event.get("index"), table_of(event.get("content_block")))

    def _add_block_end(self, event: Mapping[str, Any]) -> None:
        self._end(event.get("index"))

    def _begin(self, index: object, block: Mapping[str, Any]) -> None:
        kind = text_of(block.get("type"))
        if kind == "text":
            self._add_text(text_of(block.get("text")))
        elif kind == "tool_use":
            call = RawCall(id=text_of(block.get("id")), name=text_of(block.get("name")))
            if block.get("input"):
                call.add(json.dumps(block["input"]))
            self._add_call(call)
            self._note(index, call)
        elif kind in _THOUGHTS:
            thought = _Thought(block, self._text_chars, len(self._calls))
            self._thoughts.append(thought)
            self._note(index, thought)
            self._thinks = True

    def _note(self, index: object, block: RawCall | _Thought) -> None:
        self._blocks[index if isinstance(index, int) else None] = block

    def _noted(self, index: object) -> RawCall | _Thought | None:
        return self._blocks.get(index if isinstance(index, int) else None)

    def _add_delta(self, event: Mapping[str, Any]) -> None:
        delta = table_of(event.get("delta"))
        if delta.get("type") == "text_delta":
            self._add_text(text_of(delta.get("text")))
            return
        block = self._noted(event.get("index"))
        if isinstance(block, _Thought):
            block.add(delta)
            self._thought.hear(text_of(delta.get("thinking")))
        elif block is not None and delta.get("type") == "input_json_delta":
            self._add_arguments(block, text_of(delta.get("partial_json")))

    def _end(self, index: object) -> None:
        block = self._noted(index)
        if isinstance(block, _Thought):
            block.ended = True
            self._thinks = False


_READERS: Mapping[str, Callable[[Answer, Mapping[str, Any]], None]] = MappingProxyType(
    {
        "content_block_delta": Answer._add_delta,  # noqa: SLF001 - this file's own, as are the others
        "content_block_start": Answer._add_block,  # noqa: SLF001
        "content_block_stop": Answer._add_block_end,  # noqa: SLF001
        "message": Answer._add_message,  # noqa: SLF001
        "message_delta": Answer._add_ending,  # noqa: SLF001
        "message_start": Answer._add_start,  # noqa: SLF001
        "message_stop": Answer._add_stop,  # noqa: SLF001
    }
)
"""What each event adds; other events, of which new ones may come, are read over."""
