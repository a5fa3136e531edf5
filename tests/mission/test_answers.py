"""An answer that nothing can be done with is told from one that something can be done with."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.answers import ASK_AGAIN, REASONS, Flaw, counts_as_stop, flaw, is_asked_again
from orch.mission.state import SessionStatus
from orch.mission.transcript import AssistantMessage, ToolCall, UserMessage
from tests.mission.samples import S2, session

CALL = ToolCall(id="c1", name="read", arguments="{}")
STOP, LENGTH, REFUSED = ev.FinishReason.STOP, ev.FinishReason.LENGTH, ev.FinishReason.REFUSED


@pytest.mark.parametrize(
    ("text", "calls", "finish", "found"),
    [
        ("done", (), STOP, None),
        ("", (CALL,), ev.FinishReason.TOOL_CALLS, None),
        ("half", (CALL,), LENGTH, None),
        ("", (), STOP, Flaw.EMPTY),
        (" \n", (), STOP, Flaw.EMPTY),
        ("half a", (), LENGTH, Flaw.CUT),
        ("", (), LENGTH, Flaw.CUT),
        ("I cannot", (), REFUSED, Flaw.REFUSED),
        ("", (), REFUSED, Flaw.REFUSED),
        ("so so so", (), ev.FinishReason.DEGENERATE, Flaw.DEGENERATE),
    ],
)
def test_what_is_wrong_with_an_answer(
    text: str, calls: tuple[ToolCall, ...], finish: ev.FinishReason, found: Flaw | None
) -> None:
    """Where a tool was called, something can be done: what is wrong with the call is told as its result."""
    assert flaw(AssistantMessage(text=text, tool_calls=calls), finish) is found


@pytest.mark.parametrize("found", Flaw)
def test_an_answer_is_asked_for_once_more(found: Flaw) -> None:
    """Every flaw has its words and its reason, and the words are recognised behind any answer."""
    assert ASK_AGAIN[found].startswith("[orch] Your answer was ")
    assert REASONS[found]
    assert is_asked_again((UserMessage(text="go"), UserMessage(text=ASK_AGAIN[found])))
    assert not is_asked_again((UserMessage(text=ASK_AGAIN[found]), AssistantMessage(text="so")))
    assert not is_asked_again((UserMessage(text="go"),))


def test_who_has_done_something_may_stop_without_a_word() -> None:
    """A Worker that wrote is judged by its review; a mute Commander is no failure, a refusing one is."""
    roles = {role: session(S2, role, SessionStatus.RUNNING) for role in ev.Role}
    wrote = replace(roles[ev.Role.WORKER], wrote=True)

    assert all(counts_as_stop(wrote, found) for found in Flaw)
    assert [found for found in Flaw if counts_as_stop(roles[ev.Role.COMMANDER], found)] == [Flaw.EMPTY]
    for role in (ev.Role.PLANNER, ev.Role.WORKER, ev.Role.REVIEWER):
        assert not any(counts_as_stop(roles[role], found) for found in Flaw)
