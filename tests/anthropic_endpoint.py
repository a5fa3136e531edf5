"""The scripted endpoint on Anthropic's wire, for the scripts of `tests/endpoint.py`.

It refuses what `/v1/messages` refuses (Anthropic API reference, "Messages", "Errors", "Thinking"), with the
messages seen there. A step's `reasoning` is a thinking block: its signature proves its text and model, and
for `BOUND_MODEL` also what stood before it, as newer models have it. A reasoning that is `REDACTED` comes
without its text. Marked prefixes are remembered, and the usage says what was read from that cache.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.endpoint import MODELS, UNKNOWN_MODEL, Endpoint, Refused, Script, Step, Turn

VERSIONS = ("2023-06-01", "2026-10-21")
BOUND_MODEL = "bound"  # its thinking blocks are refused behind another beginning
ADAPTIVE_MODEL = "adaptive"  # refuses a budget for thinking
MAX_OUTPUT_TOKENS = 64_000
MAX_MARKS = 4
LEAST_BUDGET = 1024
REDACTED = "[redacted]"
WHY = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FIELDS = frozenset(
    {"model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream", "thinking", "metadata"}
    | {"stop_sequences", "temperature", "top_k", "top_p", "service_tier", "output_config", "cache_control"}
)
_TOOL_FIELDS = frozenset({"name", "description", "input_schema", "cache_control", "type", "strict"})
_BLOCKS = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}

Block = Mapping[str, Any]


def anthropic_endpoint(script: Script) -> Endpoint:
    """Return an endpoint that plays `script` on Anthropic's wire."""
    return AnthropicEndpoint(script, Messages())


class AnthropicEndpoint(Endpoint):
    """A server in a thread, for the length of a `with`."""

    variables = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")
    provider = "anthropic"

    @property
    def base_url(self) -> str:
        """What a provider is configured with: without the version."""
        return f"http://127.0.0.1:{self.port}"


# -- strictness --------------------------------------------------------------------------------------


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `Refused` for missing ones."""
    if not headers.get("x-api-key"):
        raise Refused("x-api-key header is required", status=401)
    if headers.get("anthropic-version") not in VERSIONS:
        raise Refused("anthropic-version: header is required")
    if not headers.get("content-type", "").startswith("application/json"):
        raise Refused("Unsupported content-type")


def check_request(request: Mapping[str, Any]) -> None:
    """Raise `Refused` for a body that is refused."""
    for name in ("model", "max_tokens", "messages"):
        if name not in request:
            raise Refused(f"{name}: Field required")
    _check_fields(request, _FIELDS, "")
    if request["model"] == UNKNOWN_MODEL:
        raise Refused(f"model: {UNKNOWN_MODEL}", status=404)
    _check_limits(request)
    _check_marks(request)
    _check_tools(request)
    blocks = _text_blocks(request.get("system", ""))
    for index, block in enumerate(blocks):
        _check_text(block, f"system.{index}")
    _check_messages(request["messages"])
    _check_thinking(request)


def _check_fields(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in table:
        if name not in known:
            raise Refused(f"{where}{name}: Extra inputs are not permitted")


def _check_limits(request: Mapping[str, Any]) -> None:
    limit, thinking = request["max_tokens"], request.get("thinking") or {}
    if not isinstance(limit, int) or limit < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1")
    if limit > MAX_OUTPUT_TOKENS:
        model = request["model"]
        raise Refused(
            f"max_tokens: {limit} > {MAX_OUTPUT_TOKENS}, which is the maximum allowed number of output "
            f"tokens for {model}"
        )
    if thinking.get("type") != "enabled":
        return
    if request["model"] in (BOUND_MODEL, ADAPTIVE_MODEL):
        raise Refused('"thinking.type.enabled" is not supported for this model.')
    if thinking["budget_tokens"] < LEAST_BUDGET:
        raise Refused("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if thinking["budget_tokens"] >= limit:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_marks(request: Mapping[str, Any]) -> None:
    found = json.dumps(request).count('"cache_control":')
    if found > MAX_MARKS:
        raise Refused(f"A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {found}.")


def _check_tools(request: Mapping[str, Any]) -> None:
    names = [tool["name"] for tool in request.get("tools", ())]
    if len(names) != len(set(names)):
        raise Refused("tools: Tool names must be unique.")
    for index, tool in enumerate(request.get("tools", ())):
        _check_fields(tool, _TOOL_FIELDS, f"tools.{index}.custom.")
        if not _NAME.fullmatch(tool["name"]):
            raise Refused(
                f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        if tool["input_schema"].get("type") != "object":
            raise Refused(f"tools.{index}.custom.input_schema.type: Field required")


def _text_blocks(content: object) -> Sequence[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []  # type: ignore[return-value]


def _check_text(block: Block, where: str) -> None:
    if not block["text"]:
        raise Refused(f"{where}: text content blocks must be non-empty")
    if not block["text"].strip():
        raise Refused(f"{where}: text content blocks must contain non-whitespace text")


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise Refused("messages: at least one message is required")
    if messages[0]["role"] != "user":
        raise Refused('messages: first message must use the "user" role')
    if messages[-1]["role"] != "user":
        raise Refused(
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )
    ids: set[str] = set()
    for index, message in enumerate(messages):
        _check_fields(message, frozenset({"role", "content"}), f"messages.{index}.")
        if index and message["role"] == messages[index - 1]["role"]:
            raise Refused('messages: roles must alternate between "user" and "assistant"')
        blocks = _text_blocks(message["content"])
        if not blocks:
            raise Refused(f"messages.{index}: all messages must have non-empty content")
        for number, block in enumerate(blocks):
            _check_block(block, f"messages.{index}.content.{number}", ids)
        _check_pairs(messages, index)


def _check_block(block: Block, where: str, ids: set[str]) -> None:
    kind = block.get("type")
    if kind not in _BLOCKS:
        raise Refused(
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        )
    _check_fields(block, _BLOCKS[kind], f"{where}.{kind}.")
    if kind == "text":
        _check_text(block, where)
    elif kind == "tool_use":
        _check_call(block, where, ids)
    elif kind == "tool_result" and not isinstance(block.get("content", ""), str | list):
        raise Refused(f"{where}.tool_result.content: Input should be a valid string")


def _check_call(block: Block, where: str, ids: set[str]) -> None:
    if not _ID.fullmatch(block["id"]):
        raise Refused(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not _NAME.fullmatch(block["name"]):
        raise Refused(f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if block["id"] in ids:
        raise Refused(f"{where}: `tool_use` ids must be unique")
    if not isinstance(block["input"], dict):
        raise Refused(f"{where}.tool_use.input: Input should be a valid dictionary")
    ids.add(block["id"])


def _check_pairs(messages: Sequence[Mapping[str, Any]], index: int) -> None:
    """The results of a turn's calls, and nothing before them, open the message behind it."""
    blocks = _text_blocks(messages[index]["content"])
    asked = _ids(messages[index - 1], "tool_use", "id") if index else []
    answers = _ids(messages[index], "tool_result", "tool_use_id")
    for number, block in enumerate(blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in asked:
            raise Refused(
                f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
    missing = [call_id for call_id in asked if call_id not in answers]
    opening = [block["type"] for block in blocks[: len(answers)]]
    if missing or len(answers) != len(set(answers)) or set(opening) - {"tool_result"}:
        raise Refused(
            f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
            f"after: {', '.join(missing or answers)}. Each `tool_use` block must have a "
            "corresponding `tool_result` block in the next message."
        )


def _ids(message: Mapping[str, Any], kind: str, name: str) -> list[str]:
    return [block[name] for block in _text_blocks(message["content"]) if block["type"] == kind]


# -- thinking ----------------------------------------------------------------------------------------


def _signed(text: str, model: str, before: str) -> str:
    seed = f"secret.{model}.{before if model == BOUND_MODEL else ''}.{text}"
    return base64.b64encode(hashlib.sha256(seed.encode()).digest() * 3).decode()


def _before(request: Mapping[str, Any], length: int) -> str:
    """Return a digest of what stands before the message of index `length`, thoughts and marks aside."""
    messages = [
        {"role": each["role"], "content": [b for b in _bare(each["content"]) if b["type"] not in _THOUGHTS]}
        for each in request["messages"][:length]
    ]
    seen = [_bare(request.get("tools", [])), _bare(request.get("system", "")), messages]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _bare(content: object) -> list[dict[str, Any]]:
    return [{k: v for k, v in block.items() if k != "cache_control"} for block in _text_blocks(content)]


def _check_thinking(request: Mapping[str, Any]) -> None:
    messages = request["messages"]
    for index, message in enumerate(messages):
        for number, block in enumerate(_text_blocks(message["content"])):
            if block["type"] in _THOUGHTS:
                _check_thought(request, block, index, number)
    begin = max(
        (
            i
            for i, each in enumerate(messages)
            if each["role"] == "user" and not _ids(each, "tool_result", "type")
        ),
        default=0,
    )
    is_budgeted = (request.get("thinking") or {}).get("type") == "enabled"
    if is_budgeted and begin + 1 < len(messages):
        first = _text_blocks(messages[begin + 1]["content"])[0]["type"]
        if first not in _THOUGHTS:
            raise Refused(
                f"messages.{begin + 1}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                f"`{first}`. When `thinking` is enabled, a final `assistant` message must start with a "
                "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
            )


def _check_thought(request: Mapping[str, Any], block: Block, index: int, number: int) -> None:
    where = f"messages.{index}.content.{number}"
    before = _before(request, index)
    if block["type"] == "redacted_thinking":
        if block["data"] != _signed(REDACTED, request["model"], before):
            raise Refused(f"{where}: Invalid `data` in `redacted_thinking` block")
    elif block["signature"] != _signed(block["thinking"], request["model"], before):
        raise Refused(f"{where}: Invalid `signature` in `thinking` block")


# -- the answer on the wire --------------------------------------------------------------------------


def _event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind} | fields, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def _delta(index: int, kind: str, **fields: Any) -> bytes:
    return _event("content_block_delta", index=index, delta={"type": kind} | fields)


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


class Messages:
    """Anthropic's wire; it remembers the prefixes that were marked."""

    path = "/v1/messages"
    ending = 2
    snowman = _delta(0, "text_delta", text="\N{SNOWMAN}")
    ping = _event("ping")
    thinking = (
        _event("message_start", message={"usage": {"input_tokens": 1, "output_tokens": 1}})
        + _event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        _delta(0, "thinking_delta", thinking="hm"),
    )

    def __init__(self) -> None:
        self._cache: dict[str, int] = {}

    def check(self, request: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Raise `Refused` for what Anthropic refuses."""
        check_headers(headers)
        check_request(request)

    def models(self) -> object:
        """Return the list of models."""
        listed = [{"type": "model", "id": model, "display_name": model} for model in MODELS]
        return {"data": listed, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}

    def refusal(self, refused: Refused) -> object:
        """Return the body of a refusal."""
        kind = _KINDS.get(refused.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": str(refused)}, "request_id": "req_1"}

    def neutral(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request as chat completions would have it."""
        messages: list[dict[str, Any]] = []
        if system := "".join(block["text"] for block in _text_blocks(request.get("system", ""))):
            messages.append({"role": "system", "content": system})
        for message in request["messages"]:
            messages += _neutral(message)
        tools = [{"function": {"name": tool["name"]}} for tool in request.get("tools", ())]
        return {"model": request["model"], "messages": messages, "tools": tools}

    def usage(self, request: Mapping[str, Any], request_bytes: int, step: Step) -> dict[str, Any]:
        """Return a usage computed from sizes, and from what was marked before."""
        sent = len(step.text) + sum(len(str(arguments)) for _, arguments in step.tool_calls)
        marks = list(_marked(request))
        read = max((size for key, size in marks if key in self._cache), default=0)
        marked = max((size for _, size in marks), default=0)
        self._cache |= dict(marks)
        return {
            "input_tokens": max(1, (request_bytes - marked) // 4),
            "cache_read_input_tokens": read // 4,
            "cache_creation_input_tokens": (marked - read) // 4,
            "output_tokens": max(1, sent // 4),
        }

    def events(self, step: Step, turn: Turn, usage: Mapping[str, Any] | None) -> list[bytes]:
        """Return the events of a good answer."""
        counted = _native(usage)
        start: dict[str, Any] = {"type": "message", "role": "assistant", "content": [], "model": turn.model}
        start |= {"id": "msg_1", "stop_reason": None, "stop_sequence": None}
        start |= {"usage": counted | {"output_tokens": 1}} if counted else {}
        events = [_event("message_start", message=start)]
        for index, block in enumerate(_content(step, turn)):
            events += [*_streamed(index, block, step.piece_chars), _event("ping")]
        ending: dict[str, Any] = {"delta": {"stop_reason": _why(step), "stop_sequence": None}}
        ending |= {"usage": {"output_tokens": counted["output_tokens"]}} if counted else {}
        return [*events, _event("message_delta", **ending), _event("message_stop")]

    def error(self, body: object) -> bytes:
        """Return an error as an event."""
        return _event("error", error=body)

    def completion(self, step: Step, turn: Turn, usage: Mapping[str, Any]) -> bytes:
        """Return the answer as one JSON object."""
        content = [
            block | ({"input": json.loads(block["input"])} if "input" in block else {})
            for block in _content(step, turn)
        ]
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "content": content}
        message |= {"model": turn.model, "stop_reason": _why(step), "usage": _native(usage)}
        return json.dumps(message).encode()


def _content(step: Step, turn: Turn) -> list[dict[str, Any]]:
    """Return the blocks of an answer; the input of a call is a text yet."""
    blocks: list[dict[str, Any]] = []
    if step.reasoning:
        before = _before(turn.request, len(turn.request["messages"]))
        signature = _signed(step.reasoning, turn.model, before)
        thought = {"type": "thinking", "thinking": step.reasoning, "signature": signature}
        hidden = {"type": "redacted_thinking", "data": signature}
        blocks.append(hidden if step.reasoning == REDACTED else thought)
    if step.text or step.refusal:
        blocks.append({"type": "text", "text": step.text or step.refusal})
    seed = hashlib.sha256(f"{turn.first_user}.{turn.number}".encode()).hexdigest()[:16]
    for index, (name, arguments) in enumerate(step.tool_calls):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        blocks.append({"type": "tool_use", "id": f"toolu_{seed}_{index}", "name": name, "input": text})
    return blocks


def _why(step: Step) -> str:
    if step.refusal:
        return "refusal"
    finish = step.finish or ("tool_calls" if step.tool_calls else "stop")
    return WHY.get(finish, finish)


def _native(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a usage in this wire's words, also one that a step gave in those of chat completions."""
    if usage is None or "prompt_tokens" not in usage:
        return dict(usage or {})
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    fresh = usage["prompt_tokens"] - cached
    return {
        "input_tokens": fresh,
        "cache_read_input_tokens": cached,
        "output_tokens": usage["completion_tokens"],
    }


def _streamed(index: int, block: Mapping[str, Any], size: int) -> Iterator[bytes]:
    match block["type"]:
        case "text":
            yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in _pieces(block["text"], size):
                yield _delta(index, "text_delta", text=piece)
        case "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            yield _event("content_block_start", index=index, content_block=empty)
            for piece in _pieces(block["thinking"], size):
                yield _delta(index, "thinking_delta", thinking=piece)
            yield _delta(index, "signature_delta", signature=block["signature"])
        case "tool_use":
            yield _event("content_block_start", index=index, content_block={**block, "input": {}})
            yield _delta(index, "input_json_delta", partial_json="")
            for piece in _pieces(block["input"], size):
                yield _delta(index, "input_json_delta", partial_json=piece)
        case _:
            yield _event("content_block_start", index=index, content_block=block)
    yield _event("content_block_stop", index=index)


def _neutral(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = _text_blocks(message["content"])
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    if message["role"] == "user":
        results = [
            {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}
            for block in blocks
            if block["type"] == "tool_result"
        ]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        return results + [{"role": "user", "content": each} for each in texts]
    calls = [
        {"id": block["id"], "function": {"name": block["name"], "arguments": json.dumps(block["input"])}}
        for block in blocks
        if block["type"] == "tool_use"
    ]
    return [{"role": "assistant", "content": text, "tool_calls": calls}]


def _marked(request: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield a digest and the size of every prefix that is marked, in the order tools, system, messages."""
    seen = [request["model"]]
    parts = [("tool", request.get("tools", [])), ("system", _text_blocks(request.get("system", "")))]
    parts += [(each["role"], _text_blocks(each["content"])) for each in request["messages"]]
    for role, blocks in parts:
        for block in blocks:
            seen.append(role + json.dumps({k: v for k, v in block.items() if k != "cache_control"}))
            if "cache_control" in block:
                text = "\n".join(seen)
                yield hashlib.sha256(text.encode()).hexdigest(), len(text)
