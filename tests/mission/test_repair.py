"""Histories that were mutilated come out as every endpoint takes them, and lose nothing that could stay."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission import repair as mended
from orch.mission.repair import AnyMessage, repair, without_thinking
from orch.mission.transcript import (
    AssistantMessage,
    History,
    ThinkingBlock,
    ToolCall,
    ToolMessage,
    UserMessage,
    check,
)

THOUGHT = ThinkingBlock(json_text='{"type":"thinking","thinking":"hm","signature":"c2ln"}')


def a_turn(*ids: str, text: str = "") -> AssistantMessage:
    """Return a turn with calls of these ids."""
    return AssistantMessage(
        text=text, tool_calls=tuple(ToolCall(id=i, name="read", arguments="{}") for i in ids)
    )


def test_a_missing_result_is_said_to_be_lost() -> None:
    """The other call of the turn keeps its own."""
    history = (UserMessage(text="go"), a_turn("a", "b"), ToolMessage(call_id="b", text="B"))
    assert repair(history) == (
        UserMessage(text="go"),
        a_turn("a", "b"),
        ToolMessage(call_id="a", text=mended.LOST_RESULT),
        ToolMessage(call_id="b", text="B"),
    )


def test_a_result_that_came_too_late_is_put_behind_its_call() -> None:
    """A message in between moves behind it."""
    history = (
        UserMessage(text="go"),
        a_turn("a"),
        UserMessage(text="and?"),
        ToolMessage(call_id="a", text="A"),
    )
    assert repair(history) == (
        UserMessage(text="go"),
        a_turn("a"),
        ToolMessage(call_id="a", text="A"),
        UserMessage(text="and?"),
    )


def test_a_result_without_a_call_goes() -> None:
    """Also a second one of the same call."""
    first = ToolMessage(call_id="a", text="first")
    history = (
        UserMessage(text="go"),
        ToolMessage(call_id="x", text="X"),
        a_turn("a"),
        first,
        ToolMessage(call_id="a", text="second"),
    )
    assert repair(history) == (UserMessage(text="go"), a_turn("a"), first)


def test_an_id_that_comes_twice_is_replaced_with_its_result() -> None:
    """Each call keeps the result that stands behind it."""
    history = (
        UserMessage(text="go"),
        a_turn("a"),
        ToolMessage(call_id="a", text="1"),
        a_turn("a"),
        ToolMessage(call_id="a", text="2"),
    )
    new = repair(history)
    check(new)
    assert [m.text for m in new if isinstance(m, ToolMessage)] == ["1", "2"]


def test_a_history_without_beginning_or_end_gets_one() -> None:
    """Neither starts with a turn nor ends with one."""
    assert repair((a_turn(text="hello"),)) == (
        UserMessage(text=mended.LOST_BEGINNING),
        a_turn(text="hello"),
        UserMessage(text=mended.GO_ON),
    )
    assert repair(()) == (UserMessage(text=mended.LOST_BEGINNING),)


def test_thinking_stays_unless_it_is_none_or_is_not_wanted() -> None:
    """A block that is no JSON object goes."""
    broken = ThinkingBlock(json_text="{")
    turn = AssistantMessage(text="x", thinking=(THOUGHT, broken))
    new = repair((UserMessage(text="go"), turn))
    assert isinstance(new[1], AssistantMessage)
    assert new[1].thinking == (THOUGHT,)
    bare = without_thinking(new)
    assert not any(message.thinking for message in bare if isinstance(message, AssistantMessage))
    assert [message.text for message in bare] == [message.text for message in new]


# ---- whatever was done to it


@st.composite
def valid(draw: st.DrawFn) -> History:
    """Return a valid history with thinking in some of its turns."""
    messages: list[AnyMessage] = [UserMessage(text="go")]
    number = 0
    for _ in range(draw(st.integers(0, 8))):
        calls = []
        for _ in range(draw(st.integers(0, 3))):
            number += 1
            calls.append(ToolCall(id=f"c{number}", name="read", arguments='{"path":"a"}'))
        thinking = (THOUGHT,) if draw(st.booleans()) else ()
        messages.append(AssistantMessage(text=f"turn {number}", tool_calls=tuple(calls), thinking=thinking))
        messages += [ToolMessage(call_id=call.id, text=f"result of {call.id}") for call in calls]
        if not calls or draw(st.booleans()):
            messages.append(UserMessage(text=f"go on {number}"))
    return tuple(messages)


def mutilate(history: History, dice: Random) -> History:
    """Return the history after something went wrong with it."""
    messages = list(history)
    match dice.randrange(8):
        case 0 if messages:
            del messages[dice.randrange(len(messages))]
        case 1 if messages:
            messages.insert(dice.randrange(len(messages)), dice.choice(messages))
        case 2:
            dice.shuffle(messages)
        case 3 if messages:
            place = dice.randrange(len(messages))
            messages[place] = messages[place].model_copy(update={"text": " \n"})
        case 4:
            messages.append(ToolMessage(call_id="nobody", text="an orphan"))
        case 5:
            messages = messages[dice.randrange(len(messages) + 1) :]
        case 6:
            messages = messages[: dice.randrange(len(messages) + 1)]
        case _:
            bad = ToolCall(
                id=dice.choice(["", "a b", "x" * 60, "c1"]), name="read", arguments=dice.choice(["[", "7"])
            )
            messages.append(AssistantMessage(text="", tool_calls=(bad, bad)))
    return tuple(messages)


@given(valid())
def test_a_valid_history_stays_as_it_is(history: History) -> None:
    """Nothing is touched that is in order."""
    assert repair(history) == history


@given(valid(), st.integers(), st.integers(1, 5))
def test_whatever_was_done_to_it_what_comes_out_can_be_sent(history: History, seed: int, times: int) -> None:
    """It satisfies the rules, a second repair changes nothing, and nothing is lost that has a place."""
    dice = Random(seed)  # noqa: S311 - replayable
    for _ in range(times):
        history = mutilate(history, dice)
    new = repair(history)
    check(new)
    assert repair(new) == new
    said = Counter(m.text for m in history if not isinstance(m, ToolMessage) and m.text.strip())
    assert said <= Counter(m.text for m in new if not isinstance(m, ToolMessage))
    called = [c.id for m in history if isinstance(m, AssistantMessage) for c in m.tool_calls]
    assert len(called) == sum(len(m.tool_calls) for m in new if isinstance(m, AssistantMessage))
    wanted = Counter(called) & Counter(
        m.call_id for m in history if isinstance(m, ToolMessage) and m.text.strip()
    )
    kept = [m for m in new if isinstance(m, ToolMessage) and m.text != mended.LOST_RESULT]
    assert len(kept) == wanted.total()


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_messages_that_say_nothing_go(text: str) -> None:
    """A turn without text and calls, and an empty message."""
    history = (
        UserMessage(text="go"),
        AssistantMessage(text=text),
        UserMessage(text=text),
        UserMessage(text="on"),
    )
    assert repair(history) == (UserMessage(text="go"), UserMessage(text="on"))
