"""How large a request is, in tokens. Pure, and the one home of that: budget and compaction both ask here.

The endpoint's own count of the last turn is taken where there is one, and what came since is estimated from
its bytes; without one all of it is estimated. Four bytes a token is usual, `BYTES_PER_TOKEN` is fewer, so an
estimate errs towards too many. Of an answer only that counts which is sent back: a model may have thought
much more than it said.
"""

from collections.abc import Iterable

from orch.mission.events import Usage
from orch.mission.state import Session
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage

BYTES_PER_TOKEN = 3

AnyMessage = UserMessage | AssistantMessage | ToolMessage


def tokens_in(texts: Iterable[str]) -> int:
    """Estimate the size of some texts."""
    return bytes_in(texts) // BYTES_PER_TOKEN


def bytes_in(texts: Iterable[str]) -> int:
    """Return how many bytes some texts take."""
    return sum(len(text.encode(errors="replace")) for text in texts)


def tokens_of(messages: Iterable[AnyMessage]) -> int:
    """Estimate the size of some messages."""
    return tokens_in(text for message in messages for text in _texts(message))


def _texts(message: AnyMessage) -> tuple[str, ...]:
    if not isinstance(message, AssistantMessage):
        return (message.text,)
    thoughts = (block.json_text for block in message.thinking)
    return (message.text, *(call.name + call.arguments for call in message.tool_calls), *thoughts)


def counted(answer: AssistantMessage, usage: Usage) -> int:
    """Return the size of a request with its answer behind it; 0 if the endpoint did not count."""
    if not usage.input_tokens:
        return 0
    said = tokens_of((answer,))
    return usage.input_tokens + (min(said, usage.output_tokens) if usage.output_tokens else said)


def request_tokens(session: Session, said: Iterable[str], fixed_tokens: int) -> int:
    """Return the size of the session's next request.

    `said` stands behind its history; `fixed_tokens` are the system prompt's and the tools', which are part of
    what an endpoint counts.
    """
    known = session.counted_messages
    tokens = session.counted_tokens if known else fixed_tokens
    return tokens + tokens_of(session.messages[known:]) + tokens_in(said)
