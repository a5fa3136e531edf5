"""The built-in model of `--demo`: a transport that answers as an OpenAI-compatible endpoint would.

`ScriptedTransport` stands where the network would be, so that the client, its parser and everything
above it are the real ones; what is said comes from `orch.models.demo_script`. It keeps no state, so
resumes, retries and fifty sessions at once need nothing from it. Other paths than `/chat/completions`
and `/models` are answered with 404, a body that is no streamed chat request with 400.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import httpx

from orch.models.demo_script import DEMO_FILES, DEMO_GOAL, Conversation, Step, Turn, demo, play

__all__ = ["DEMO_FILES", "DEMO_GOAL", "DEMO_MODEL", "LATENCY_S", "ScriptedTransport"]

DEMO_MODEL = "scripted"
LATENCY_S = 0.15  # long enough for a watcher to see the team work

_ROLE = re.compile(r"You are the (\w+)\.")
_PIECE_CHARS = 400
_CHARS_PER_TOKEN = 4


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Answers `POST …/chat/completions` with a stream of events and `GET …/models` with one model."""

    def __init__(self, *, latency_s: float = LATENCY_S) -> None:
        self._latency_s = latency_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request after the latency."""
        if request.method == "GET" and request.url.path.endswith("/models"):
            return _json(200, {"object": "list", "data": [{"id": DEMO_MODEL, "object": "model"}]})
        if request.method == "POST" and request.url.path.endswith("/chat/completions"):
            return await self._complete(await request.aread())
        return _refused(404, f"the demo model has no {request.method} {request.url.path}")

    async def _complete(self, body: bytes) -> httpx.Response:
        try:
            conversation = read(json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return _refused(400, f"the demo model cannot read this request: {error!r}")
        material = await asyncio.to_thread(demo)
        await asyncio.sleep(self._latency_s)
        answer = play(conversation, material)
        return httpx.Response(
            200,
            headers={"content-type": "text/event-stream; charset=utf-8"},
            stream=_Events(tuple(_chunks(answer, conversation.turn, prompt_chars=len(body)))),
        )


def read(request: Mapping[str, Any]) -> Conversation:
    """Read a chat request. Raises a `LookupError`, `TypeError` or `ValueError` for anything else."""
    if not request["stream"]:
        raise ValueError("only streamed answers are played")
    messages: Sequence[Mapping[str, Any]] = request["messages"]
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    role = _ROLE.match(messages[0]["content"])
    return Conversation(
        role=role[1] if role and messages[0]["role"] == "system" else "",
        brief=messages[users[0]]["content"],
        turn=sum(message["role"] == "assistant" for message in messages),
        woken=len(users) > 1,
        steps=tuple(_steps(messages[users[-1] + 1 :])),
        tools=frozenset(tool["function"]["name"] for tool in request.get("tools", ())),
    )


def _steps(messages: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    results = {each["tool_call_id"]: each["content"] for each in messages if each["role"] == "tool"}
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call["function"]
            yield Step(function["name"], json.loads(function["arguments"]), results[call["id"]])


def _chunks(turn: Turn, number: int, *, prompt_chars: int) -> Iterator[Mapping[str, object]]:
    """Cut a turn into the chunks of a stream, as the OpenAI API reference describes them."""
    yield _chunk({"role": "assistant", "content": None if turn.calls else ""})
    if turn.text:
        yield _chunk({"content": turn.text})
    chars = len(turn.text)
    for index, call in enumerate(turn.calls):
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        chars += len(arguments)
        head = {"name": call.name, "arguments": ""}
        call_id = f"call_{number}_{index}"
        yield _chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": head}]})
        for start in range(0, len(arguments), _PIECE_CHARS):
            piece = {"arguments": arguments[start : start + _PIECE_CHARS]}
            yield _chunk({"tool_calls": [{"index": index, "function": piece}]})
    yield _chunk({}, finish="tool_calls" if turn.calls else "stop")
    tokens = {
        "prompt_tokens": prompt_chars // _CHARS_PER_TOKEN,
        "completion_tokens": chars // _CHARS_PER_TOKEN,
        "total_tokens": prompt_chars // _CHARS_PER_TOKEN + chars // _CHARS_PER_TOKEN,
    }
    yield {**_chunk({}), "choices": [], "usage": tokens}


def _chunk(delta: Mapping[str, object], *, finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-demo",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": DEMO_MODEL,
        "choices": [choice],
        "usage": None,
    }


class _Events(httpx.AsyncByteStream):
    """A body of server-sent events, ended by `[DONE]`."""

    def __init__(self, chunks: Sequence[Mapping[str, object]]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
        yield b"data: [DONE]\n\n"


def _json(status: int, document: object) -> httpx.Response:
    return httpx.Response(status, json=document)


def _refused(status: int, message: str) -> httpx.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return _json(status, {"error": error})
