"""Fitting a session's history into its model's window. Pure: says what may go, and what it becomes.

Theory of operation. A request may fill `FULL` of what the window has left beside the answer. Beyond that the
oldest results of tools go first: each becomes one line that says what it was, so that the model can call
again. The results of the last turns stay, and so does the last look at each file that the session owns. If
that is not enough, the old turns become a summary behind the brief, with a digest that code makes, what orch
said last, and what the session works on as it is now. The brief itself, the last turns with all their
results, and whatever was said after them always stay: no call ever loses its result. Both are judged by
their outcome: what did not shrink to `ENOUGH` has failed.

Sizes are tokens (`orch.mission.size`). What a change of the history saves is estimated from its bytes, in
proportion to what the endpoint counted: so its tokenizer counts, which may make more or fewer tokens of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orch.mission import size
from orch.mission.size import BYTES_PER_TOKEN, AnyMessage, tokens_of
from orch.mission.transcript import AssistantMessage, History, ToolCall, ToolMessage, UserMessage

FULL = 0.85
"""Part of the room from which on a history is compacted."""
ENOUGH = 0.7
"""Part of the room that a compacted history may fill."""
HALF = 0.5
"""Part that may stay of a request that was too large for its endpoint, whatever the window is said to be."""
LASTING = 0.75
"""Part of what is enough to which old results are dropped: each time, what the endpoint cached is lost."""
SHARE = 0.125
"""The most that one tool result may take of the room."""
SHARES_PER_TURN = 3
"""The most that all results of one turn may take: they go neither alone nor with the old turns."""
KEPT_TURNS = 2
"""Turns whose results are never dropped."""
LASTING_TURNS = 2
"""A session that is full again so soon after its history was summarised does not get on."""
LEAST_DROPPED_CHARS = 400
"""A result that is hardly longer than the line that would replace it is not worth the loss."""
LEAST_SPARE_TOKENS = 150
"""With less beside the brief and the last turn, nothing could be said of the turns that go."""
LONGEST_ANSWER = 0.25
"""The most of a window that is kept free for the answer, and what is, where no limit is known."""
MAX_DIGEST_LINES = 60
MAX_DIGEST_CHARS = 160

DROPPED = "[orch] dropped to save room"
REMOVED = "[orch] Your earlier turns were removed to save room."
_SUMMARY = "What matters of them, in your own words:"
_DIGEST = "What you called, and what came of it (the calls made last come last):"
_SAID = "What orch said to you last, among them:"
SUMMARISER = (
    "You are the {role}. Your conversation is about to lose its older turns, because it no longer fits into "
    "your context window. Write down for yourself what you need to go on: what is done and proven, what you "
    "found out (names, signatures, line numbers, values, exact error messages), what was decided and why, "
    "what failed and must not be tried again, and what comes next. Be exact and brief: at most {words} "
    "words. No greeting and no tool calls; what you write is all that you will know."
)
"""The system prompt of the call that makes a summary."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a model can hold, in tokens.

    `output_tokens` is its answer's limit, `None` if it is not known; `thinking_tokens` come on top of that.
    """

    context_tokens: int
    output_tokens: int | None = None
    thinking_tokens: int = 0

    @property
    def _longest_tokens(self) -> int:
        return int(self.context_tokens * LONGEST_ANSWER)

    @property
    def answer_tokens(self) -> int:
        """How long an answer may be: endpoints refuse a request that leaves no room for it."""
        return min(self.output_tokens or self._longest_tokens, self._longest_tokens)

    @property
    def room_tokens(self) -> int:
        """What a whole request may hold."""
        return self.context_tokens - self.answer_tokens - min(self.thinking_tokens, self._longest_tokens)

    @property
    def full_tokens(self) -> int:
        """From here on a request is compacted before it leaves."""
        return int(self.room_tokens * FULL)

    @property
    def enough_tokens(self) -> int:
        """What a compacted request may hold."""
        return int(self.room_tokens * ENOUGH)

    @property
    def share_bytes(self) -> int:
        """How long a tool's result may be."""
        return max(LEAST_DROPPED_CHARS, int(self.room_tokens * SHARE) * BYTES_PER_TOKEN)

    def result_bytes(self, calls: int) -> int:
        """How long each result of a turn with so many calls may be."""
        share = self.share_bytes
        return max(LEAST_DROPPED_CHARS, min(share, SHARES_PER_TURN * share // max(1, calls)))


@dataclass(frozen=True, slots=True)
class Fit:
    """A history that has to shrink: its request takes `before_tokens`, and may take `enough_tokens`.

    `fixed_tokens` is an estimate of what stands before the history in each request.
    """

    messages: History
    fixed_tokens: int
    before_tokens: int
    enough_tokens: int

    @property
    def estimate_tokens(self) -> int:
        """How large the request is by its bytes alone."""
        return max(1, self.fixed_tokens + tokens_of(self.messages))

    @property
    def counted_tokens(self) -> int:
        """How large the request is by the best count; no token is shorter than a byte, whoever counts."""
        return min(self.before_tokens, BYTES_PER_TOKEN * self.estimate_tokens)

    def after(self, messages: History) -> int:
        """Return how large the request is with `messages` in place of the history."""
        new = self.fixed_tokens + tokens_of(messages)
        return self.counted_tokens * new // self.estimate_tokens

    def estimated(self, tokens: int) -> int:
        """Return what `tokens` of the endpoint are by the bytes alone."""
        return tokens * self.estimate_tokens // max(1, self.counted_tokens)


def is_young(messages: History) -> bool:
    """Whether there is nothing that could go: what was said at first, and one turn at most."""
    return sum(1 for message in messages if isinstance(message, AssistantMessage)) < 2  # noqa: PLR2004


# ---- first, old results


def dropped(fit: Fit, owned: Iterable[str]) -> tuple[str, ...]:
    """Return the calls whose results go; none if that would not be enough."""
    calls = droppable(fit.messages, owned)
    aim = fit.estimated(int(fit.enough_tokens * LASTING))
    chosen = enough_of(fit.messages, calls, fit.estimate_tokens - aim)
    return chosen if fit.after(without_results(fit.messages, chosen)) <= fit.enough_tokens else ()


def droppable(messages: History, owned: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the calls whose results may go, the oldest first."""
    kept = _pinned(messages, frozenset(owned)) | _newest(messages)
    return tuple(
        message.call_id
        for message in messages
        if isinstance(message, ToolMessage)
        and message.call_id not in kept
        and len(message.text) >= LEAST_DROPPED_CHARS
        and not message.text.startswith(DROPPED)
    )


def enough_of(messages: History, calls: Sequence[str], excess_tokens: int) -> tuple[str, ...]:
    """Return so many of `calls` that dropping their results saves `excess_tokens`, or all of them."""
    texts = {m.call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    chosen: list[str] = []
    saved_bytes = 0
    for call in calls:
        if saved_bytes // BYTES_PER_TOKEN >= excess_tokens:
            break
        chosen.append(call)
        saved_bytes += size.bytes_in((texts[call],)) - LEAST_DROPPED_CHARS // 2
    return tuple(chosen)


def without_results(messages: History, dropped: Sequence[str]) -> History:
    """Return the history with one line in the place of each dropped result."""
    gone = frozenset(dropped)
    names = {call.id: call.name for message in messages for call in _calls(message)}
    return tuple(
        message.model_copy(update={"text": _dropped(message, names)})
        if isinstance(message, ToolMessage) and message.call_id in gone
        else message
        for message in messages
    )


def _dropped(message: ToolMessage, names: Mapping[str, str]) -> str:
    name = names.get(message.call_id, "a tool")
    return f"{DROPPED}: {len(message.text)} characters of {name}. Call it again if you need them."


def _calls(message: AnyMessage) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _newest(messages: History) -> frozenset[str]:
    turns = [message for message in messages if _calls(message)]
    return frozenset(call.id for turn in turns[-KEPT_TURNS:] for call in _calls(turn))


def _pinned(messages: History, owned: frozenset[str]) -> frozenset[str]:
    """Return the last look at each file that the session owns."""
    looks = {
        path: call.id
        for message in messages
        for call in _calls(message)
        if call.name == "read" and (path := _argument(call, "path")) in owned
    }
    return frozenset(looks.values())


def _argument(call: ToolCall, name: str) -> str:
    value = json.loads(call.arguments).get(name)
    return value if isinstance(value, str) else ""


# ---- then, old turns


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a history is cut: what stands before `kept_from` goes.

    Six times `part_bytes` are spare: two for the summary, two for what the session works on, one for the
    digest, and one for what orch said last.
    """

    kept_from: int
    part_bytes: int


def cut(fit: Fit, brief: str, share_bytes: int) -> Cut | None:
    """Return where to cut; `None` if what has to stay is all there is, or leaves no room for more."""
    turns = [n for n, message in enumerate(fit.messages) if isinstance(message, AssistantMessage)]
    if is_young(fit.messages):
        return None
    stays = fit.fixed_tokens + size.tokens_in((brief,)) + tokens_of(fit.messages[turns[-1] :])
    spare = fit.estimated(fit.enough_tokens) - stays - LEAST_SPARE_TOKENS
    if spare < LEAST_SPARE_TOKENS:
        return None
    part_bytes = min(share_bytes // 2, spare * BYTES_PER_TOKEN // 6)
    left = spare - 6 * part_bytes // BYTES_PER_TOKEN
    return Cut(_kept_from(fit.messages, turns, left // 2), part_bytes)


def _kept_from(messages: History, turns: Sequence[int], more_tokens: int) -> int:
    """Return where the last turn begins, or one before it if all from there on takes few tokens more."""
    begin = turns[-1]
    for turn in reversed(turns[1:-1]):
        more_tokens -= tokens_of(messages[turn:begin])
        if more_tokens < 0:
            break
        begin = turn
    return begin


def with_summary(brief: str, text: str, kept: History) -> History:
    """Return the history that begins anew: the brief, what the old turns came to, the newest turns."""
    return (UserMessage(text=f"{brief}\n\n{text}"), *kept)


def remainder(summary: str, digest: str, said: str, present: str) -> str:
    """Return what stands behind the brief in place of the turns that went."""
    parts = [REMOVED]
    if summary:
        parts.append(f"{_SUMMARY}\n{summary}")
    if digest:
        parts.append(f"{_DIGEST}\n{digest}")
    if said:
        parts.append(f"{_SAID}\n{said}")
    return "\n\n".join([*parts, present] if present else parts)


def said_last(gone: Sequence[AnyMessage]) -> str:
    """Return what orch said last in turns that go, beside the brief: a rejection, a person's answer."""
    return next((m.text for m in reversed(gone[1:]) if isinstance(m, UserMessage)), "")


def digest(messages: Sequence[AnyMessage], before: str = "") -> str:
    """Say what was done, a line a call, behind the digest of what went `before`.

    What code can remember no model has to.
    """
    results = {m.call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    lines = before.splitlines()
    lines += [
        _digest_line(call, results.get(call.id, "")) for message in messages for call in _calls(message)
    ]
    return "\n".join(lines[-MAX_DIGEST_LINES:])


def _digest_line(call: ToolCall, result: str) -> str:
    subject = next((s for name in ("path", "command", "pattern", "url") if (s := _argument(call, name))), "")
    came_to = result.strip().splitlines()[0] if result.strip() else "no result"
    line = " ".join(f"- {call.name} {subject}: {came_to}".split())
    return line[:MAX_DIGEST_CHARS]


def as_text(messages: Sequence[AnyMessage], limit_bytes: int) -> str:
    """Write turns down for somebody who is to summarise them; of a long whole the newest part."""
    parts: list[str] = []
    for message in messages:
        match message:
            case UserMessage():
                parts.append(f"USER: {message.text}")
            case ToolMessage():
                parts.append(f"RESULT of {message.call_id}: {message.text}")
            case AssistantMessage():
                calls = [f"CALL {c.id}: {c.name} {c.arguments}" for c in message.tool_calls]
                parts.append("\n".join([f"AGENT: {message.text}", *calls]))
    text = "\n\n".join(parts)
    limit_chars = _chars_within(text, limit_bytes)
    return text if len(text) <= limit_chars else f"(cut)\n{text[-limit_chars:]}"


def clipped(text: str, limit_bytes: int) -> str:
    """Return `text`, or its head and tail around a mark, in `limit_bytes` or little more."""
    limit_chars = _chars_within(text, limit_bytes)
    if len(text) <= limit_chars:
        return text
    half = limit_chars // 2
    gone = len(text) - 2 * half
    return (
        f"{text[:half]}\n[orch] {gone} of {len(text)} characters left out: they do not fit into this model's "
        f"window. Ask for a part (offset, limit, a narrower pattern).\n{text[-half:]}"
    )


def newest_lines(text: str, limit_bytes: int) -> str:
    """Return as many of the last lines as fit."""
    lines: list[str] = []
    for line in reversed(text.splitlines()):
        limit_bytes -= size.bytes_in((line,)) + 1
        if limit_bytes < 0:
            break
        lines.append(line)
    return "\n".join(reversed(lines))


def _chars_within(text: str, limit_bytes: int) -> int:
    """Return how many characters of a text like this take so many bytes."""
    if 4 * len(text) <= limit_bytes:  # no character takes more
        return limit_bytes
    return limit_bytes * len(text) // max(1, size.bytes_in((text,)))
