"""Chat completions as bytes: the body of a request, and the answer that the chunks of a stream add up to.

The source is the OpenAI API reference, "Chat"; where a compatible server differs, a comment names it.
"""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic_core import to_json

from orch.mission.events import FinishReason
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage, is_json_object
from orch.models import wire
from orch.models.calls import RawCall
from orch.models.interface import Ask, ToolSpec
from orch.models.wire import AnyMessage, Counts, count_of, parsed, table_of, text_of

DONE = b"[DONE]"


class RequestBody(wire.RequestBody):
    """The bodies of one session's requests; thoughts of another wire's models are left out."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = to_json(model)
        self._system = ""
        self._system_json = b""
        self._tools: Sequence[ToolSpec] = ()
        self._tools_json = b""

    def build(self, ask: Ask, limit: Mapping[str, int]) -> bytes:
        """Return the body for `ask`; `limit` is the output limit under the name the endpoint knows."""
        self._write_messages(ask.messages)
        self._write_fixed(ask)
        first, *others = [self._system_json, *self._pieces] if self._system else self._pieces
        return self._joined(
            b'{"model":' + self._model + b',"messages":[',
            first.removeprefix(b","),
            *others,
            b"]",
            self._tools_json,
            *(b',"%s":%d' % (name.encode(), tokens) for name, tokens in limit.items()),
            b',"stream":true,"stream_options":{"include_usage":true}}',
        )

    def _write(self, message: AnyMessage) -> bytes:
        return b"," + to_json(_message(message))

    def _write_fixed(self, ask: Ask) -> None:
        if ask.system != self._system:
            self._system = ask.system
            self._system_json = to_json({"role": "system", "content": ask.system})
        if ask.tools is not self._tools and ask.tools != self._tools:
            self._tools_json = b',"tools":' + to_json([_tool(tool) for tool in ask.tools])
        if not ask.tools:
            self._tools_json = b""
        self._tools = ask.tools


def _tool(tool: ToolSpec) -> dict[str, object]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _message(message: AnyMessage) -> dict[str, object]:
    match message:
        case UserMessage():
            return {"role": "user", "content": message.text}
        case ToolMessage():
            return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
        case AssistantMessage():
            wire: dict[str, object] = {"role": "assistant", "content": message.text}
            if message.tool_calls:
                wire["tool_calls"] = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    }
                    for call in message.tool_calls
                ]
            return wire


class Answer(wire.Answer):
    """One completion, added up from its chunks; reasoning is no part of the conversation, only judged."""

    def __init__(self) -> None:
        super().__init__()
        self._refusal: list[str] = []
        self._by_key: dict[object, RawCall] = {}
        self._latest: RawCall | None = None
        self._usage: Mapping[str, Any] | None = None

    def feed(self, data: bytes) -> object:
        """Add the data of one event; return the error object if that is what came, else `None`."""
        self.events += 1
        if data.startswith(DONE):
            self.done = True
            return None
        chunk = parsed(data)
        if chunk.get("error") or chunk.get("object") == "error":
            return chunk.get("error") or chunk
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._add_choice(choices[0])
        return None

    def _reason(self) -> FinishReason:
        """Return why the model ended its turn; `stop` next to tool calls means `tool_calls`."""
        if self._refusal or self.finish == "content_filter":
            return FinishReason.REFUSED
        if self.finish == "length":
            return FinishReason.LENGTH
        return FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP

    def message(self, taken: AbstractSet[str], history_messages: int) -> AssistantMessage:
        """Return the turn, cleaned; a refusal's own words stand in for a text that never came."""
        if not any(self._text):
            self._text = self._refusal
        return super().message(taken, history_messages)

    def _counts(self) -> Counts | None:
        if self._usage is None:
            return None
        cached = count_of(table_of(self._usage.get("prompt_tokens_details")).get("cached_tokens"))
        input_tokens = count_of(self._usage.get("prompt_tokens"))
        output_tokens = count_of(self._usage.get("completion_tokens"))
        return Counts(input_tokens, output_tokens, min(cached, input_tokens))

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            content = delta.get("content")
            if content:
                self._add_content(content)
            thought = delta.get("reasoning_content") or delta.get("reasoning")  # DeepSeek, vLLM; OpenRouter
            if isinstance(thought, str):
                self._thought.hear(thought)
            if delta.get("refusal"):
                self._refusal.append(str(delta["refusal"]))
            pieces = delta.get("tool_calls")
            for piece in pieces if isinstance(pieces, list) else ():
                if isinstance(piece, dict):
                    self._add_piece(piece)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self.finish = finish

    def _add_content(self, content: object) -> None:
        if isinstance(content, list):  # parts, as Mistral's endpoints may send
            content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
        self._add_text(str(content))

    def _add_piece(self, piece: Mapping[str, Any]) -> None:
        function = table_of(piece.get("function"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # an object where its text belongs
            arguments = json.dumps(arguments)
        text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        call_id, name = text_of(piece.get("id")), text_of(function.get("name"))
        call = self._call_of(piece.get("index"), call_id, name, text)
        call.id = call.id or call_id
        call.name = call.name or name
        self._add_arguments(call, text)

    def _call_of(self, index: object, call_id: str, name: str, text: str) -> RawCall:
        """Return the call that a piece belongs to; an index may be missing, or be the same for all calls."""
        key = index if isinstance(index, int) else call_id
        known = self._by_key.get(key) if key != "" else None
        if known is None and key == "" and not name and self._latest:
            return self._latest
        if known is not None and not (name and _is_another(known, call_id, text)):
            return known
        call = RawCall()
        self._by_key[key] = self._latest = call
        self._add_call(call)
        return call


def _is_another(call: RawCall, call_id: str, text: str) -> bool:
    """Say whether a piece that names a function starts a call of its own under the index of `call`."""
    if call_id and call.id:
        return call_id != call.id
    return text.lstrip().startswith("{") and is_json_object("".join(call.pieces))
