"""A provider's key is in no event, wherever it stood."""

from hypothesis import given
from hypothesis import strategies as st

from orch.mission import events as ev
from orch.mission.redaction import MASK, Redaction
from orch.mission.transcript import AssistantMessage, ToolCall

KEY = "sk-proj-0123456789abcdef"


def finished(text: str, arguments: str = "{}") -> ev.TurnFinished:
    """Return a turn in which a model said `text` and called a tool."""
    call = ToolCall(id="c1", name="write", arguments=arguments)
    return ev.TurnFinished(
        session=ev.SessionId("S1"),
        turn=1,
        model="m",
        message=AssistantMessage(text=text, tool_calls=(call,)),
        finish=ev.FinishReason.TOOL_CALLS,
        usage=ev.Usage(),
        duration_s=0.1,
    )


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_key_is_struck_out_of_texts_and_arguments(before: str, after: str) -> None:
    """What stands around it stays."""
    event = Redaction([KEY])(finished(f"{before}{KEY}{after}", f'{{"content": "{KEY}"}}'))

    assert isinstance(event, ev.TurnFinished)
    assert KEY not in event.model_dump_json()
    assert event.message.tool_calls[0].arguments == f'{{"content": "{MASK}"}}'
    assert MASK in event.message.text


def test_an_event_without_a_key_is_the_very_same() -> None:
    """Most are, and cost one look."""
    event = finished("nothing here")

    assert Redaction([KEY])(event) is event


def test_a_placeholder_is_no_secret() -> None:
    """`ollama` or `none` as a key would strike words out of every text."""
    event = finished("none of it")

    assert Redaction(["none", ""])(event) is event
