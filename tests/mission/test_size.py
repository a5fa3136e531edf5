"""How large a request is: the endpoint's count first, then bytes."""

from dataclasses import replace

from orch.mission import events as ev
from orch.mission import size
from orch.mission.reduce import reduce
from orch.mission.size import BYTES_PER_TOKEN
from orch.mission.state import SessionStatus
from orch.mission.transcript import AssistantMessage, ThinkingBlock, ToolCall, ToolMessage, UserMessage
from tests.mission.samples import RUNNING_TURN, S2, session, stamped, turn

SPOKEN = AssistantMessage(text="a" * 600)
FRESH = replace(session(S2, ev.Role.WORKER, SessionStatus.RUNNING), messages=(UserMessage(text="u" * 300),))


def test_all_that_goes_over_the_wire_counts() -> None:
    """Text, calls and thoughts, by their bytes: a character may have several."""
    call = ToolCall(id="c", name="read", arguments='{"path":"a"}')
    thought = ThinkingBlock(json_text="{}")
    message = AssistantMessage(text="\u00e9\u00e9", tool_calls=(call,), thinking=(thought,))

    assert size.tokens_of((message,)) == (4 + 4 + 12 + 2) // BYTES_PER_TOKEN


def test_until_an_endpoint_has_counted_all_is_estimated() -> None:
    """With what stands before the history, and what was said since."""
    assert size.request_tokens(FRESH, ("p" * 30,), 50) == 50 + 100 + 10


def test_an_endpoint_s_count_is_taken_and_only_the_rest_is_estimated() -> None:
    """What stands before the history is part of the count."""
    messages = (*FRESH.messages, SPOKEN, ToolMessage(call_id="c", text="t" * 60))
    counted = replace(FRESH, messages=messages, counted_messages=2, counted_tokens=1000)

    assert size.request_tokens(counted, (), 50) == 1020


def test_of_an_answer_only_what_is_sent_back_counts() -> None:
    """A model may have thought much more than it said, and an endpoint may not count at all."""
    assert size.counted(SPOKEN, ev.Usage(input_tokens=500, output_tokens=9000)) == 700
    assert size.counted(SPOKEN, ev.Usage(input_tokens=500, output_tokens=150)) == 650
    assert size.counted(SPOKEN, ev.Usage(input_tokens=500)) == 700
    assert size.counted(SPOKEN, ev.Usage()) == 0


def test_a_finished_turn_says_how_large_the_history_is() -> None:
    """What is reduced is what the next request is measured by."""
    after = reduce(RUNNING_TURN, stamped(turn(SPOKEN), 10)).sessions[S2]

    assert after.counted_messages == len(after.messages) == 3
    assert after.counted_tokens == 3 + 1
