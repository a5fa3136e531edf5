"""Does one call after the other fail? Pure: judged by the results since orch spoke to the session last.

Each failed call has said already what was wrong with it. Who still fails with the third turn in a row does
not read that, or tries what cannot be done: its result says so, with what the tool takes and which tools
there are. The calls of one turn are one try, for none of them knew how the others would end.
"""

from collections.abc import Collection

from orch.mission.transcript import AssistantMessage, History, ToolMessage

ROW = 3
"""Turns in a row of which nothing worked, after which (and after each as many more) it is said."""
MARK = f"[orch] The last {ROW} calls failed, one after the other."


def is_due(history: History) -> bool:
    """Whether the turn at the end of `history` makes another row of failures full."""
    failed = _failed_turns(history)
    return failed > 0 and failed % ROW == 0


def _failed_turns(history: History) -> int:
    turns = 0
    for message in reversed(history):
        match message:
            case ToolMessage(failed=True):
                continue
            case AssistantMessage(tool_calls=calls) if calls:
                turns += 1
            case _:
                break
    return turns


def told(result: str, takes: str, granted: Collection[str]) -> str:
    """Return a tool's result with the prompt behind it; `takes` says what the tool takes, if it is one."""
    return (
        f"{result}\n{MARK} Do not try variations: read the last error again and do what it says. "
        f"{f'{takes}. ' if takes else ''}You may call: {', '.join(sorted(granted))}. What cannot be done "
        "with these: leave it, say in one line why, and go on with the rest or stop."
    )


def plain(result: str) -> str:
    """Return a result without the prompt."""
    return result.partition(f"\n{MARK}")[0]
