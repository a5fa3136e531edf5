"""Chat completions as bytes: the body of a request, the events of a stream, the answer they add up to.

Theory of operation. Nothing here does I/O. `RequestBody` keeps the bytes of every message it has sent, so
that a turn costs what is new. `EventReader` turns chunks of bytes into the data of server-sent events,
wherever the network cut them. `Answer` adds up the chunks of one completion and says nothing until asked.
What is no event stream or no chunk raises `BadStream`; everything a model can get wrong inside a well-formed
stream is put right here or in `orch.models.calls`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic_core import from_json, to_json

from orch.config import ModelFacts
from orch.errors import BadStream
from orch.mission.events import FinishReason, Usage
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage, clean, is_json_object
from orch.models.calls import MAX_CALLS, RawCall, tidy
from orch.models.interface import Ask, ToolSpec

MAX_LINE_BYTES = 10 * 1024 * 1024  # no chunk of any server comes near; more is no stream
MAX_TEXT_CHARS = 1_000_000  # of an answer; what comes after is dropped
CHARS_PER_TOKEN = 4  # the rule of thumb for a usage that the endpoint did not report
DONE = b"[DONE]"
_OTHER_FIELDS = (b":", b"event", b"id", b"retry")

AnyMessage = UserMessage | AssistantMessage | ToolMessage


class RequestBody:
    """The JSON of one session's requests, of which only what is new is written at each turn.

    A message is known by its identity: a history that was compacted or repaired holds other objects from
    the first change on, and from there on is written anew.
    """

    def __init__(self, model: str) -> None:
        self._model = to_json(model)
        self._messages: list[AnyMessage] = []
        self._written: list[bytes] = []  # each behind its comma, so that one join makes the body
        self._system = ""
        self._system_json = b""
        self._tools: Sequence[ToolSpec] = ()
        self._tools_json = b""
        self.call_ids: set[str] = set()  # of every message written
        self.size_bytes = 0  # of the body built last

    def build(self, ask: Ask, limit: Mapping[str, int]) -> bytes:
        """Return the body for `ask`; `limit` is the output limit under the name the endpoint knows."""
        self._write_messages(ask.messages)
        self._write_fixed(ask)
        first, *others = [self._system_json, *self._written] if self._system else self._written
        body = b"".join(
            (
                b'{"model":' + self._model + b',"messages":[',
                first.removeprefix(b","),
                *others,
                b"]",
                self._tools_json,
                *(b',"%s":%d' % (name.encode(), tokens) for name, tokens in limit.items()),
                b',"stream":true,"stream_options":{"include_usage":true}}',
            )
        )
        self.size_bytes = len(body)
        return body

    def _write_messages(self, messages: Sequence[AnyMessage]) -> None:
        same = 0
        for known, message in zip(self._messages, messages, strict=False):
            if known is not message:
                break
            same += 1
        if same < len(self._messages):
            del self._messages[same:], self._written[same:]
            self.call_ids = {call_id for message in self._messages for call_id in _ids(message)}
        for message in messages[same:]:
            self._messages.append(message)
            self._written.append(b"," + to_json(_message(message)))
            self.call_ids.update(_ids(message))

    def _write_fixed(self, ask: Ask) -> None:
        if ask.system != self._system:
            self._system = ask.system
            self._system_json = to_json({"role": "system", "content": ask.system})
        if ask.tools is not self._tools and ask.tools != self._tools:
            self._tools_json = b',"tools":' + to_json([_tool(tool) for tool in ask.tools])
        if not ask.tools:
            self._tools_json = b""
        self._tools = ask.tools


def _ids(message: AnyMessage) -> Sequence[str]:
    return [call.id for call in message.tool_calls] if isinstance(message, AssistantMessage) else ()


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


class EventReader:
    """The data of server-sent events, from chunks cut anywhere (WHATWG HTML, section 9.2.6).

    Lines may end in LF, CR or CRLF; comments and other fields are read over; several data lines make one
    event. Unlike a browser it also takes an event that the end of the stream cut off from its empty line.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of a line that has not ended yet
        self._data: list[bytes] = []  # data lines of an event that has not ended yet
        self._size_bytes = 0
        self._started = False
        self._after_cr = False
        self.strayed = False  # lines came that no event stream has

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that `chunk` completes.

        Raises:
            BadStream: An event grows beyond every measure.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_plain_newlines(chunk)
        self._size_bytes += len(chunk)
        self._line.append(chunk)
        events: list[bytes] = []
        if b"\n" in chunk:
            *lines, rest = b"".join(self._line).split(b"\n")
            self._line = [rest]
            events = self._take(lines)
            self._size_bytes = len(rest) + sum(map(len, self._data))
        if self._size_bytes > MAX_LINE_BYTES:
            raise BadStream(f"an event of more than {MAX_LINE_BYTES // 1024**2} MB")
        return events

    def end(self) -> list[bytes]:
        """Return the event that the end of the stream completes, if any."""
        return self._take([b"".join(self._line), b""])

    def _with_plain_newlines(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        elif not chunk:
            return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events = []
        if not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
            elif line and not line.startswith(_OTHER_FIELDS):
                self.strayed = True
        return events


class Answer:
    """One completion, added up from its chunks; a complete completion is one chunk.

    Reasoning is read over: it is not part of the conversation. Of more than `MAX_CALLS` tool calls the first
    are kept and the text says how many were dropped. An answer that was refused has no calls.
    """

    def __init__(self) -> None:
        self.done = False  # the end mark was seen
        self.finish: str | None = None
        self._text: list[str] = []
        self._text_chars = 0
        self._refusal: list[str] = []
        self._calls: list[RawCall] = []
        self._by_key: dict[object, RawCall] = {}
        self._latest: RawCall | None = None
        self._dropped = 0
        self._usage: Mapping[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether the model has ended its turn; usage may still come."""
        return self.done or self.finish is not None

    def feed(self, data: bytes) -> object:
        """Add the data of one event; return the error object if that is what came, else `None`.

        Raises:
            BadStream: The data is no chunk of a completion.
        """
        if data.startswith(DONE):
            self.done = True
            return None
        chunk = _parsed(data)
        if chunk.get("error") or chunk.get("object") == "error":
            return chunk.get("error") or chunk
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._add_choice(choices[0])
        return None

    def reason(self) -> FinishReason:
        """Return why the turn ended; servers that say `stop` next to tool calls mean `tool_calls`."""
        if self._refusal or self.finish == "content_filter":
            return FinishReason.REFUSED
        if self.finish == "length":
            return FinishReason.LENGTH
        return FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP

    def message(self, taken: AbstractSet[str], history_messages: int) -> AssistantMessage:
        """Return the turn, cleaned; `taken` are the call ids of the history."""
        reason = self.reason()
        text = clean("".join(self._text) or "".join(self._refusal))[:MAX_TEXT_CHARS]
        if reason is FinishReason.REFUSED:
            return AssistantMessage(text=text)
        calls = tidy(self._calls, taken, history_messages, cut=reason is FinishReason.LENGTH)
        if self._dropped:
            note = f"[{self._dropped} more tool calls were dropped: at most {MAX_CALLS} in one turn]"
            text = f"{text}\n{note}".lstrip()
        return AssistantMessage(text=text, tool_calls=calls)

    def usage(self, request_bytes: int, facts: ModelFacts) -> Usage:
        """Return what the endpoint counted, else an estimate from the sizes of request and answer."""
        if self._usage is None:
            sent = self._text_chars + sum(call.size_chars for call in self._calls)
            counted = (request_bytes // CHARS_PER_TOKEN, sent // CHARS_PER_TOKEN, 0)
        else:
            details = self._usage.get("prompt_tokens_details")
            cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
            input_tokens = _count(self._usage.get("prompt_tokens"))
            output_tokens = _count(self._usage.get("completion_tokens"))
            counted = (input_tokens, output_tokens, min(cached, input_tokens))
        return Usage(
            input_tokens=counted[0],
            output_tokens=counted[1],
            cached_tokens=counted[2],
            cost_usd=_cost(*counted, facts),
        )

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            content = delta.get("content")
            if content:
                self._add_text(content)
            if delta.get("refusal"):
                self._refusal.append(str(delta["refusal"]))
            pieces = delta.get("tool_calls")
            for piece in pieces if isinstance(pieces, list) else ():
                if isinstance(piece, dict):
                    self._add_call(piece)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self.finish = finish

    def _add_text(self, content: object) -> None:
        if isinstance(content, list):  # parts, as Mistral's endpoints may send
            content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
        text = str(content)
        if self._text_chars < MAX_TEXT_CHARS:
            self._text.append(text)
        self._text_chars += len(text)

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # an object where its text belongs
            arguments = json.dumps(arguments)
        text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        call_id, name = _text(piece.get("id")), _text(function.get("name"))
        call = self._call_of(piece.get("index"), call_id, name, text)
        call.id = call.id or call_id
        call.name = call.name or name
        call.add(text)

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
        if len(self._calls) < MAX_CALLS:
            self._calls.append(call)
        else:
            self._dropped += 1
        return call


def _is_another(call: RawCall, call_id: str, text: str) -> bool:
    """Say whether a piece that names a function starts a call of its own under the index of `call`."""
    if call_id and call.id:
        return call_id != call.id
    return text.lstrip().startswith("{") and is_json_object("".join(call.pieces))


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        try:
            chunk = from_json(data)
        except ValueError:  # lone surrogates are JSON to the standard library alone
            chunk = json.loads(data)
    except (ValueError, RecursionError):
        raise BadStream("an event that is no JSON") from None
    if not isinstance(chunk, dict):
        raise BadStream("an event that is no JSON object")
    return chunk


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return max(0, int(value)) if isinstance(value, int | float) and math.isfinite(value) else 0


def _cost(input_tokens: int, output_tokens: int, cached_tokens: int, facts: ModelFacts) -> float | None:
    if facts.input_usd_per_mtok is None or facts.output_usd_per_mtok is None:
        return None
    cached_price = facts.cached_usd_per_mtok
    cached_price = facts.input_usd_per_mtok if cached_price is None else cached_price
    fresh_usd = (input_tokens - cached_tokens) * facts.input_usd_per_mtok
    return (fresh_usd + cached_tokens * cached_price + output_tokens * facts.output_usd_per_mtok) / 1e6
