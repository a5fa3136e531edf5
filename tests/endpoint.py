"""A scripted model endpoint on loopback: strict like the real ones, cheap, and able to fail in every way.

It refuses what OpenAI's `/v1/chat/completions` refuses, with the messages seen there, and counts refusals;
`tests/anthropic_endpoint.py` plays the same scripts on another wire. A script is a stateless function of the
turn, so resumes, retries and fifty sessions at once need nothing more.
Inside a test: `with Endpoint(script) as endpoint`, which serves from a thread of its own. As a process:
`python tests/endpoint.py --script module:function --port-file F --ledger F`, until SIGTERM.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, Self

START_LIMIT_S = 30.0
PING_EVERY_S = 0.02
MODELS = ("scripted", "scripted-mini", "reasoner")
NEWER_MODEL = "reasoner"  # refuses max_tokens, as the o-series does
UNKNOWN_MODEL = "missing"
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


class Fault(StrEnum):
    """What goes wrong with an answer."""

    STATUS = "status"  # `status`, `headers` and `body` instead of an answer
    REFUSED_SILENTLY = "refused-silently"  # the connection is closed before any header
    HEADERS_ONLY = "headers-only"  # closed after the headers of the stream
    CUT = "cut"  # closed in the middle of an event, and of a character
    SILENT = "silent"  # accepted, then nothing
    STALLED_HEADERS = "stalled-headers"  # headers, then nothing
    STALLED = "stalled"  # half the events, then nothing
    PINGS = "pings"  # comments for ever
    THINKS = "thinks"  # reasoning for ever
    GARBAGE = "garbage"  # 200 with a body that is no stream
    BROKEN_EVENT = "broken-event"  # an event that is no JSON
    EMPTY = "empty"  # 200 with an empty body
    JSON = "json"  # a complete completion instead of a stream
    NO_FINISH = "no-finish"  # ends cleanly without finish reason and end mark
    NO_MARK = "no-mark"  # ends without the end mark
    ERROR_FIRST = "error-first"  # `body` as an error event in place of the answer
    ERROR_MIDWAY = "error-midway"  # `body` as an error event after half the answer
    NO_USAGE = "no-usage"  # a good answer that does not count its tokens
    CLOSES = "closes"  # a good answer; then the connection is closed although keep-alive was promised
    LINGERS = "lingers"  # a good answer with its end mark, but the stream never ends
    RAW = "raw"  # `body`, bytes of a stream, as they are


@dataclass(frozen=True)
class Turn:
    """What was asked: `number` counts the assistant messages so far, `attempt` the requests for this turn."""

    model: str
    system: str
    messages: Sequence[Mapping[str, Any]]
    number: int
    attempt: int
    tool_names: list[str]
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)  # as it came

    @property
    def first_user(self) -> str:
        """The text that opened the conversation."""
        return next((str(each["content"]) for each in self.messages if each["role"] == "user"), "")

    @property
    def last(self) -> str:
        """The text of the last message."""
        return str(self.messages[-1]["content"])


@dataclass(frozen=True)
class Step:
    """What is answered."""

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    finish: str | None = None
    usage: Mapping[str, Any] | None = None
    delay_s: float = 0.0
    chunk_bytes: int | None = None
    piece_chars: int = 200
    fault: Fault | None = None
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    reasoning: str = ""
    refusal: str = ""


Script = Callable[[Turn], Step]


@dataclass
class Entry:
    """One request in the ledger; times are seconds since the epoch, `status` 0 where none was sent."""

    arrival: float
    session: str = ""
    turn: int = -1
    attempt: int = 1
    status: int = 0
    first_byte: float | None = None
    end: float | None = None
    request_bytes: int = 0
    refusal: str | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    request: dict[str, Any] | None = field(default=None, repr=False)


class Refused(Exception):
    """What the real endpoint would refuse."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


class Dialect(Protocol):
    """What one wire says differently from another."""

    path: str  # where it is asked, as the end of the URL's path
    ending: int  # events of a good answer from its finish reason on
    snowman: bytes  # an event that holds a character of three bytes
    ping: bytes
    thinking: tuple[bytes, bytes]  # how a stream of thoughts begins, and a further thought

    def check(self, request: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Raise `Refused` for what the real endpoint refuses."""
        ...

    def neutral(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request as chat completions would have it; scripts read that."""
        ...

    def models(self) -> object:
        """Return the list of models."""
        ...

    def refusal(self, refused: Refused) -> object:
        """Return the body of a refusal."""
        ...

    def usage(self, request: Mapping[str, Any], request_bytes: int, step: "Step") -> dict[str, Any]:
        """Return what a request and its answer cost."""
        ...

    def events(self, step: "Step", turn: "Turn", usage: Mapping[str, Any] | None) -> list[bytes]:
        """Return the events of a good answer, its end mark last."""
        ...

    def error(self, body: object) -> bytes:
        """Return an error as an event."""
        ...

    def completion(self, step: "Step", turn: "Turn", usage: Mapping[str, Any]) -> bytes:
        """Return the answer as one JSON object."""
        ...


# -- strictness --------------------------------------------------------------------------------------


def check_request(request: Mapping[str, Any]) -> None:
    """Raise `Refused` for what OpenAI refuses."""
    model = request.get("model")
    if model == UNKNOWN_MODEL:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refused(message, code="model_not_found", status=404)
    if model == NEWER_MODEL and "max_tokens" in request:
        raise Refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if not request.get("messages"):
        raise Refused("Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages")
    _check_tools(request)
    _check_messages(request["messages"])


def _check_tools(request: Mapping[str, Any]) -> None:
    if "tools" in request and not request["tools"]:
        raise Refused("Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools")
    if "tool_choice" in request and "tools" not in request:
        raise Refused(
            "Invalid value for 'tool_choice': only allowed when 'tools' are specified.", "tool_choice"
        )
    for index, tool in enumerate(request.get("tools", ())):
        _check_name(tool["function"]["name"], f"tools[{index}].function.name")


def _check_name(name: str, param: str) -> None:
    _check_length(name, 64, param)
    if not _NAME.fullmatch(name):
        raise Refused(
            f"Invalid '{param}': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            param,
            "invalid_value",
        )


def _check_length(text: str, limit: int, param: str) -> None:
    if len(text) > limit:
        raise Refused(
            f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
            f"but got a string with length {len(text)} instead.",
            param,
            "string_above_max_length",
        )


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    unanswered: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in unanswered:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
                    "with 'tool_calls'.",
                    f"messages.[{index}].role",
                )
            unanswered.remove(message["tool_call_id"])
        else:
            _check_answered(unanswered, index)
        _check_content(message, index)
        calls = message.get("tool_calls", ())
        for number, call in enumerate(calls):
            _check_call(call, f"messages[{index}].tool_calls[{number}]")
        unanswered += [call["id"] for call in calls]
    _check_answered(unanswered, len(messages))


def _check_answered(unanswered: list[str], index: int) -> None:
    if unanswered:
        ids = ", ".join(unanswered)
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {ids}",
            f"messages.[{index}].role",
        )


def _check_content(message: Mapping[str, Any], index: int) -> None:
    if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
        raise Refused(
            "Invalid value for 'content': expected a string, got null.", f"messages.[{index}].content"
        )


def _check_call(call: Mapping[str, Any], where: str) -> None:
    _check_length(call["id"], 40, f"{where}.id")
    _check_name(call["function"]["name"], f"{where}.function.name")
    arguments = call["function"]["arguments"]
    try:
        valid = isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
    except ValueError:
        valid = False
    if not valid:  # llama.cpp's answer; OpenAI itself takes any string
        raise Refused(
            "Failed to parse tool call arguments as JSON", f"{where}.function.arguments", status=500
        )


# -- the answer on the wire --------------------------------------------------------------------------


def default_usage(request_bytes: int, step: Step) -> dict[str, Any]:
    """Return a usage computed from sizes."""
    sent = len(step.text) + sum(len(str(arguments)) for _, arguments in step.tool_calls)
    counts = {"prompt_tokens": request_bytes // 4, "completion_tokens": max(1, sent // 4)}
    return counts | {"total_tokens": sum(counts.values()), "prompt_tokens_details": {"cached_tokens": 0}}


def _calls(step: Step, turn: Turn) -> list[dict[str, Any]]:
    seed = hashlib.sha256(f"{turn.first_user}.{turn.number}".encode()).hexdigest()[:16]
    return [
        {
            "index": index,
            "id": f"call_{seed}_{index}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
            },
        }
        for index, (name, arguments) in enumerate(step.tool_calls)
    ]


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def _deltas(step: Step, turn: Turn) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for piece in _pieces(step.reasoning, step.piece_chars):
        yield {"reasoning_content": piece}
    for piece in _pieces(step.text, step.piece_chars):
        yield {"content": piece}
    if step.refusal:
        yield {"refusal": step.refusal}
    for call in _calls(step, turn):
        function = call["function"]
        yield {"tool_calls": [call | {"function": {"name": function["name"], "arguments": ""}}]}
        for piece in _pieces(function["arguments"], step.piece_chars):
            yield {"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]}


def _finish(step: Step) -> str:
    return step.finish or ("tool_calls" if step.tool_calls else "stop")


def events(step: Step, turn: Turn, usage: Mapping[str, Any] | None) -> list[bytes]:
    """Return the events of a good answer, the end mark last, usage before it, finish reason before that."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": turn.model}
    chunks: list[dict[str, Any]] = [
        base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}
        for delta in _deltas(step, turn)
    ]
    chunks.append(
        base | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(step)}], "usage": None}
    )
    if usage is not None:
        chunks.append(base | {"choices": [], "usage": usage})
    return [_event(chunk) for chunk in chunks] + [b"data: [DONE]\n\n"]


def _event(content: object) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


def completion(step: Step, turn: Turn, usage: Mapping[str, Any]) -> bytes:
    """Return the answer as one JSON object."""
    message: dict[str, Any] = {"role": "assistant", "content": step.text}
    if step.tool_calls:
        message["tool_calls"] = [
            {k: v for k, v in call.items() if k != "index"} for call in _calls(step, turn)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish(step)}
    content = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage}
    return json.dumps(content).encode()


class ChatCompletions:
    """OpenAI's wire."""

    path = "/chat/completions"
    ending = 3
    snowman = _event({"choices": [{"index": 0, "delta": {"content": "\N{SNOWMAN}"}}]})
    ping = b": still here\n\n"
    thinking = (b"", _event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}))

    def check(self, request: Mapping[str, Any], headers: Mapping[str, str]) -> None:  # noqa: ARG002
        """Raise `Refused` for what OpenAI refuses."""
        check_request(request)

    def neutral(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request as it is."""
        return request

    def models(self) -> object:
        """Return the list of models."""
        return {"data": [{"id": model} for model in MODELS]}

    def refusal(self, refused: Refused) -> object:
        """Return the body of a refusal."""
        kind = "invalid_request_error"
        error = {"message": str(refused), "type": kind, "param": refused.param, "code": refused.code}
        return {"error": error}

    def usage(self, request: Mapping[str, Any], request_bytes: int, step: Step) -> dict[str, Any]:  # noqa: ARG002
        """Return a usage computed from sizes."""
        return default_usage(request_bytes, step)

    def events(self, step: Step, turn: Turn, usage: Mapping[str, Any] | None) -> list[bytes]:
        """Return the events of a good answer."""
        return events(step, turn, usage)

    def error(self, body: object) -> bytes:
        """Return an error as an event, as OpenRouter sends it."""
        return _event({"choices": [], "error": body})

    def completion(self, step: Step, turn: Turn, usage: Mapping[str, Any]) -> bytes:
        """Return the answer as one JSON object."""
        return completion(step, turn, usage)


def _stream_of(step: Step, turn: Turn, usage: Mapping[str, Any], dialect: Dialect) -> bytes:
    """Return the bytes of the stream that `step` sends, its fault played."""
    if step.fault is Fault.RAW:
        return bytes(step.body)
    good = dialect.events(step, turn, usage)
    half = good[: len(good) // 2]
    cut = dialect.snowman
    played: dict[Fault | None, list[bytes]] = {
        Fault.GARBAGE: [b"<html><body>It works!</body></html>\n"],
        Fault.BROKEN_EVENT: [*half, b'data: {"choices": [{"del\n\n'],
        Fault.HEADERS_ONLY: [],
        Fault.EMPTY: [],
        Fault.STALLED_HEADERS: [],
        Fault.PINGS: [],
        Fault.THINKS: [dialect.thinking[0]],
        Fault.CUT: [*half, cut[: cut.index(b"\xe2") + 1]],
        Fault.STALLED: half,
        Fault.NO_FINISH: good[: -dialect.ending],
        Fault.NO_MARK: good[:-1],
        Fault.NO_USAGE: dialect.events(step, turn, None),
        Fault.ERROR_FIRST: [dialect.error(step.body)],
        Fault.ERROR_MIDWAY: [*half, dialect.error(step.body)],
    }
    return b"".join(played.get(step.fault, good))


_ENDLESS = frozenset({Fault.PINGS, Fault.THINKS})
_NEVER_ENDS = frozenset({Fault.STALLED_HEADERS, Fault.STALLED, Fault.LINGERS, *_ENDLESS})
_HANGS_UP = frozenset({Fault.HEADERS_ONLY, Fault.CUT})


# -- the server --------------------------------------------------------------------------------------


class Server:
    """What all connections share: the script, the ledger, the counts."""

    def __init__(self, script: Script, ledger: Path | None = None, dialect: Dialect | None = None) -> None:
        self.script = script
        self.dialect = dialect or ChatCompletions()
        self.ledger: list[Entry] = []
        self.refusals: list[str] = []
        self.in_flight = 0
        self.max_concurrent = 0
        self.connections = 0
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._file = ledger.open("w", buffering=1) if ledger else None

    def turn(self, request: Mapping[str, Any], entry: Entry) -> Turn:
        """Return the turn that `request` asks for, and note it in `entry`."""
        asked, request = request, self.dialect.neutral(request)
        messages = request["messages"]
        system = next((m["content"] for m in messages if m["role"] == "system"), "")
        number = sum(m["role"] == "assistant" for m in messages)
        first = next((m["content"] for m in messages if m["role"] == "user"), "")
        seed = f"{request['model']}\n{system}\n{first}"
        entry.session, entry.turn = hashlib.sha256(seed.encode()).hexdigest()[:12], number
        self._attempts[entry.session, number] += 1
        entry.attempt = self._attempts[entry.session, number]
        names = [tool["function"]["name"] for tool in request.get("tools", ())]
        return Turn(request["model"], system, messages, number, entry.attempt, names, asked)

    def began(self, entry: Entry) -> None:
        """Note a request."""
        if self._file is None:
            self.ledger.append(entry)
        self.in_flight += 1
        self.max_concurrent = max(self.max_concurrent, self.in_flight)

    def ended(self, entry: Entry) -> None:
        """Note the end of an answer."""
        entry.end = time.time()
        self.in_flight -= 1
        if self._file is not None:
            facts = asdict(entry)
            del facts["request"], facts["headers"]
            self._file.write(json.dumps(facts | {"max_concurrent": self.max_concurrent}) + "\n")


class Connection(asyncio.Protocol):
    """One client's connection; one request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._entry: Entry | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget what was about to be sent."""
        if self._timer is not None:
            self._timer.cancel()
        self._finished()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is complete."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._entry is not None:
            return
        method_line, *lines = self._received[:end].decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        size = int(headers.get("content-length", "0"))
        if len(self._received) < end + 4 + size:
            return
        body = bytes(self._received[end + 4 : end + 4 + size])
        del self._received[: end + 4 + size]
        self._serve(method_line, headers, body)

    def _serve(self, method_line: str, headers: dict[str, str], body: bytes) -> None:
        method, target, _ = method_line.split(" ")
        path = target.partition("?")[0]
        dialect = self._server.dialect
        if method == "GET" and path.endswith("/models"):
            self._respond(200, json.dumps(dialect.models()).encode())
            return
        entry = Entry(arrival=time.time(), request_bytes=len(body), headers=headers)
        self._entry = entry
        self._server.began(entry)
        if method != "POST" or not path.endswith(dialect.path):
            self._respond(404, b"404 page not found", {"content-type": "text/plain"})
            return
        try:
            request = json.loads(body)
            entry.request = request if self._server.ledger else None
            dialect.check(request, headers)
            turn = self._server.turn(request, entry)
            step = self._server.script(turn)
        except Refused as refused:
            entry.refusal = str(refused)
            self._server.refusals.append(str(refused))
            self._respond(refused.status, json.dumps(dialect.refusal(refused)).encode())
            return
        usage = dict(step.usage) if step.usage else dialect.usage(request, len(body), step)
        self._timer = self._loop.call_later(step.delay_s, self._answer, step, turn, usage)

    def _answer(self, step: Step, turn: Turn, usage: Mapping[str, Any]) -> None:
        assert self._transport is not None
        assert self._entry is not None
        dialect = self._server.dialect
        match step.fault:
            case Fault.STATUS:
                raw = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
                self._respond(step.status, raw, step.headers)
            case Fault.SILENT:
                return
            case Fault.REFUSED_SILENTLY:
                self._transport.close()
            case Fault.JSON:
                self._respond(200, dialect.completion(step, turn, usage))
            case _:
                self._stream(step, _stream_of(step, turn, usage, dialect))

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        fields = {"content-type": "application/json", "content-length": str(len(body))} | dict(headers or {})
        self._head(status, fields, body)
        self._finished()

    def _head(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self._transport is None:
            return
        if self._entry is not None:
            self._entry.status = status
            self._entry.first_byte = time.time()
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Overloaded"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _stream(self, step: Step, stream: bytes) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
        headers |= {"keep-alive": "timeout=5, max=100"} | dict(step.headers)
        size = step.chunk_bytes or max(1, len(stream))
        parts = [stream[start : start + size] for start in range(0, len(stream), size)]
        chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        if step.fault not in _NEVER_ENDS | _HANGS_UP:
            chunks.append(b"0\r\n\r\n")
        if step.chunk_bytes is None:
            chunks = [b"".join(chunks)]
        self._head(200, headers, chunks[0] if chunks else b"")
        self._write(chunks[1:], step)

    def _write(self, chunks: list[bytes], step: Step) -> None:
        """Write the chunks, each in its own iteration of the loop, so that each is a segment of its own."""
        if self._transport is None:
            return
        if chunks:
            self._transport.write(chunks[0])
            self._timer = self._loop.call_later(0, self._write, chunks[1:], step)
        elif step.fault in _ENDLESS:
            dialect = self._server.dialect
            part = dialect.ping if step.fault is Fault.PINGS else dialect.thinking[1]
            self._transport.write(b"%x\r\n%b\r\n" % (len(part), part))
            self._timer = self._loop.call_later(PING_EVERY_S, self._write, [], step)
        elif step.fault not in _NEVER_ENDS:
            self._finished()
            if step.fault in _HANGS_UP | {Fault.CLOSES}:
                self._transport.close()

    def _finished(self) -> None:
        if self._entry is not None:
            self._server.ended(self._entry)
            self._entry = None
        if self._received and self._transport is not None:  # the next request came before this was over
            self._loop.call_soon(self.data_received, b"")


class Endpoint:
    """A server in a thread, for the length of a `with`."""

    variables = ("OPENAI_BASE_URL", "OPENAI_API_KEY")  # what names it to orch
    provider = "openai"

    def __init__(self, script: Script, dialect: Dialect | None = None) -> None:
        self._server = Server(script, dialect=dialect)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        self.port = started.result(START_LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(START_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT_S)
        self._loop.close()

    async def _listen(self) -> int:
        self._transports: list[Connection] = []
        self._listener = await self._loop.create_server(self._connection, "127.0.0.1", 0)
        return int(self._listener.sockets[0].getsockname()[1])

    def _connection(self) -> Connection:
        connection = Connection(self._server)
        self._transports.append(connection)
        return connection

    async def _shut(self) -> None:
        self._listener.close()
        for connection in self._transports:
            if connection._transport is not None:
                connection._transport.abort()
        await asyncio.sleep(0)

    @property
    def base_url(self) -> str:
        """What a provider is configured with."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ledger(self) -> list[Entry]:
        """Every request so far, in the order of arrival."""
        return self._server.ledger

    @property
    def refusals(self) -> list[str]:
        """What was refused, in the endpoint's words."""
        return self._server.refusals

    @property
    def max_concurrent(self) -> int:
        """The most requests that were in flight at once."""
        return self._server.max_concurrent

    @property
    def connections(self) -> int:
        """How many connections were opened."""
        return self._server.connections


# -- a process of its own ----------------------------------------------------------------------------


async def _serve(script: Script, port_file: Path, ledger: Path | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(script, ledger)
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(listener.sockets[0].getsockname()[1]))
    partial.replace(port_file)
    await stop.wait()
    listener.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a script until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", required=True, help="module:function")
    parser.add_argument("--port-file", required=True, type=Path)
    parser.add_argument("--ledger", type=Path)
    options = parser.parse_args(arguments)
    module, _, name = options.script.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    script: Script = getattr(importlib.import_module(module), name)
    asyncio.run(_serve(script, options.port_file, options.ledger))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    importlib.import_module("tests.endpoint").main()  # the module that scripts import, not a second one
