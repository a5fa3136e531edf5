"""Who fails call after call is told so, with what helps; who only fails now and then is let alone."""

import pytest

from orch.mission import repetition, stumbles
from orch.mission.repetition import Verdict
from orch.mission.stumbles import ROW, is_due, plain, told
from orch.mission.transcript import AssistantMessage, History, ToolCall, ToolMessage, UserMessage

NO, YES = "error: no", "done"


def history(*turns: str) -> History:
    """Return a history: of each turn a letter a call (`x` failed, `o` did not), or `!`, a word of orch."""
    messages: list[UserMessage | AssistantMessage | ToolMessage] = [UserMessage(text="go")]
    for number, turn in enumerate(turns):
        if turn == "!":
            messages.append(UserMessage(text="[orch] so"))
            continue
        ids = [f"c{number}-{index}" for index in range(len(turn))]
        calls = tuple(ToolCall(id=each, name="edit", arguments=f'{{"n": {number}}}') for each in ids)
        messages.append(AssistantMessage(text="", tool_calls=calls))
        pairs = zip(ids, turn, strict=True)
        messages += [ToolMessage(call_id=each, text="so", failed=mark == "x") for each, mark in pairs]
    return tuple(messages)


@pytest.mark.parametrize(
    ("turns", "due"),
    [
        (("x", "x"), False),
        (("x", "x", "x"), True),
        (("o", "x", "x", "x"), True),
        (("x", "x", "x", "x"), False),
        (("x",) * 2 * ROW, True),
        (("x", "x", "o"), False),
        (("x", "o", "x", "x"), False),
        (("xxx",), False),
        (("xx", "xo", "x"), False),
        (("xx", "x", "xxx"), True),
        (("x", "x", "!", "x"), False),
        (("x", "x", "!"), False),
        ((), False),
    ],
)
def test_the_third_turn_in_a_row_of_which_nothing_worked(turns: tuple[str, ...], due: bool) -> None:
    """Whatever the tools; the calls of one turn are one try; a word of orch begins anew."""
    assert is_due(history(*turns)) is due


def test_the_prompt_says_what_the_tool_takes_and_what_there_is() -> None:
    """Behind what went wrong; of a tool that does not exist it says only what there is."""
    text = told("error: no", "edit takes: path, old_string", {"read", "edit"})

    assert text.startswith(f"error: no\n{stumbles.MARK} ")
    assert "edit takes: path, old_string. You may call: edit, read. " in text
    assert "takes" not in told("error: no", "", {"read"})
    assert plain(text) == "error: no"
    assert plain("1: as it is") == "1: as it is"


def test_a_prompt_does_not_hide_that_a_session_goes_round_in_circles() -> None:
    """The same call with the same error stays the same, whatever orch wrote below it."""
    messages = [UserMessage(text="go")]
    for number, text in enumerate((told("error: no", "", {"read"}), "error: no", "error: no")):
        call = ToolCall(id=f"c{number}", name="read", arguments="{}")
        result = ToolMessage(call_id=call.id, text=text, failed=True)
        messages += [AssistantMessage(text="", tool_calls=(call,)), result]  # type: ignore[list-item]

    assert repetition.judge(tuple(messages)) is Verdict.TELL
