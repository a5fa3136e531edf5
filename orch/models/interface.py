"""The port through which a session asks a model.

A `Model` promises: one `ask` is one paid completion at most; the answer is complete and cleaned (ids
unique and within every dialect's rules, arguments always the JSON text of an object, text without lone
surrogates and NUL) or one `ModelError` is raised. It never retries an error that the provider could have
been paid for; retrying is the session's decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orch.mission.events import FinishReason, Usage
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `messages` satisfy `orch.mission.transcript.check`."""

    system: str
    messages: Sequence[UserMessage | AssistantMessage | ToolMessage]
    tools: Sequence[ToolSpec]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `usage.cost_usd` is `None` unless the price is known; an empty `message` is possible.

    `pause_s` is how long nothing is left of one of the endpoint's rates, as its headers say.
    """

    message: AssistantMessage
    finish: FinishReason
    usage: Usage
    pause_s: float = 0.0


class Model(Protocol):
    """One model for one session; not shared between sessions."""

    async def ask(self, ask: Ask) -> Reply:
        """Return the model's answer.

        Raises:
            ModelError: One of its subclasses; see `orch.errors`.
        """
        ...

    async def close(self) -> None:
        """Give up the connection. May be called more than once."""
        ...
