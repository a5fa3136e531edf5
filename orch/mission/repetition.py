"""Does a session go round in circles? Pure: judged by the calls it made since orch spoke to it last.

Theory of operation. A turn is known by what it did: its calls, their arguments, and what came of them. A
session goes round in circles when its last `SAME` turns did the same, or when a cycle of up to `LONGEST`
turns was gone through `CYCLES` times. Results count: who looks at something that changes, or runs a command
again after something changed, gets another result. Only what differs in every run of a command (the number
of its evidence, durations) is read over, and of arguments that could not be read only that they could not.
Looking after a background job is waiting; it may take `WAITS` times.

A session is told so once, in the text of the last result; who is told and goes on is over.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orch.mission import stumbles
from orch.mission.transcript import AssistantMessage, History, ToolCall, ToolMessage, UserMessage

SAME = 3
"""Turns in a row that did the same."""
CYCLES = 5
"""How often a cycle of two and more turns is gone through."""
LONGEST = 4
"""Turns of the longest cycle that is noticed."""
WAITS = 10
"""In place of `SAME` and `CYCLES` where a turn looks after a background job."""
WAITING = frozenset({"check_background", "list_background"})
NOTICE = (
    "[orch] You are going round in circles: the same calls with the same results, again and again. Repeating "
    "them changes nothing. Do something else, or finish with what you know. If you wait for something, wait "
    "longer at a time. If you go on like this, your session ends."
)
REASON = "it went round in circles: the same calls with the same results, also after it was told so"
_EVIDENCE = re.compile(r"\Aevidence E\d+ ")
_DURATION = re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s|secs?|seconds?)\b")


class Verdict(StrEnum):
    """What is to be done about a session."""

    GO_ON = "go on"  # it does something
    TELL = "tell"  # it goes round in circles and was not told so yet
    END = "end"  # it was told, and goes on


@dataclass(frozen=True, slots=True)
class _Turn:
    """The calls of one turn, each with its result."""

    done: tuple[tuple[ToolCall, str], ...]

    @property
    def is_waiting(self) -> bool:
        return all(call.name in WAITING for call, _ in self.done)

    def asked(self) -> frozenset[object]:
        """Return what the turn called."""
        return frozenset((call.name, call.arguments, call.malformed is None) for call, _ in self.done)

    def did(self) -> frozenset[object]:
        """Return what the turn called, and what came of it."""
        return frozenset((call.name, call.arguments, _outcome(call, text)) for call, text in self.done)


def _outcome(call: ToolCall, text: str) -> str | None:
    if call.malformed is not None:
        return None
    text = stumbles.plain(text.removesuffix(f"\n{NOTICE}"))
    return _DURATION.sub("", _EVIDENCE.sub("", text)) if _EVIDENCE.match(text) else text


def judge(history: History) -> Verdict:
    """Say what is to be done about the session whose history this is, at the end of one of its turns."""
    turns, is_told = _since_told(history)
    for period in range(1, LONGEST + 1):
        waits = any(turn.is_waiting for turn in turns[:period])
        times = WAITS if waits else SAME if period == 1 else CYCLES
        if _repeats(turns, period, times):
            return Verdict.END if is_told else Verdict.TELL
    return Verdict.GO_ON


def _repeats(turns: Sequence[_Turn], period: int, times: int) -> bool:
    """Whether the last `period` turns are also those before them, `times` in all."""
    if len(turns) < period * times:
        return False
    pairs = [(turns[n], turns[n + period]) for n in range(period * (times - 1))]
    return all(one.asked() == other.asked() for one, other in pairs) and all(
        one.did() == other.did() for one, other in pairs
    )


def _since_told(history: History) -> tuple[list[_Turn], bool]:
    """Return the turns since orch spoke to the session, latest first, and whether one carries the notice."""
    turns: list[_Turn] = []
    results: dict[str, str] = {}
    is_told = False
    for message in reversed(history):
        match message:
            case UserMessage():
                break
            case ToolMessage():
                results[message.call_id] = message.text
                is_told = is_told or message.text.endswith(NOTICE)
            case AssistantMessage():
                calls = message.tool_calls
                turns.append(_Turn(tuple((call, results.get(call.id, "")) for call in calls)))
    return turns[: LONGEST * WAITS], is_told


def told(result: str) -> str:
    """Return a tool's result with the notice behind it."""
    return f"{result}\n{NOTICE}"
