"""What a session did is told from top to bottom: whole where it is short, cut where it is long, harmless."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from orch.mission import events as ev
from orch.mission.reduce import reduce
from orch.mission.state import MissionState, SessionStatus
from orch.mission.status import SessionEntry, SessionStory
from orch.mission.transcript import AssistantMessage
from orch.view import defuse, dialogue
from tests.mission.samples import SAMPLES, stamped

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = BEGAN.isoformat()
SESSION = ev.SessionId("S3")
BRIEF = "id: auth\n" + "\n".join(f"line {n} of the brief" for n in range(40))
STATE = MissionState()


def story(*events: ev.Event) -> SessionStory:
    """Return a Worker's session with these events, ten seconds apart."""
    stamped = tuple(
        event.model_copy(update={"ts": (BEGAN + timedelta(seconds=10 * n)).isoformat(), "session": SESSION})
        for n, event in enumerate(events)
    )
    entry = SessionEntry(
        session=SESSION,
        role=ev.Role.WORKER,
        item=ev.ItemId("auth"),
        state=SessionStatus.RUNNING,
        turns=2,
        tokens=1_300,
        doing="",
        since=STAMP,
        last_activity=stamped[-1].ts if stamped else STAMP,
    )
    return SessionStory(
        mission=ev.MissionId("20260101-000000-00000"),
        session=entry,
        title="log in",
        model="openai/test",
        usage=ev.Usage(input_tokens=1_200, output_tokens=100, cost_usd=0.5),
        journal="/w/.opencode/orch/missions/m/journal.jsonl",
        events=stamped,
    )


def turn(number: int, text: str, finish: ev.FinishReason = ev.FinishReason.STOP) -> ev.TurnFinished:
    """Return a turn that says something."""
    return ev.TurnFinished(
        session=SESSION,
        turn=number,
        model="openai/test",
        message=AssistantMessage(text=text),
        finish=finish,
        usage=ev.Usage(input_tokens=1_200, output_tokens=100),
        duration_s=2.34,
    )


def result(text: str, *, ok: bool = True) -> ev.ToolFinished:
    """Return what a tool told the model."""
    return ev.ToolFinished(session=SESSION, call_id="c1", tool="read", ok=ok, text=text, duration_s=0.04)


def told(*events: ev.Event, width: int = 80, whole: bool = False) -> list[str]:
    """Return the rows, without the heading."""
    return dialogue.render(story(*events), STATE, width, whole=whole).splitlines()[4:]


TALE: Sequence[ev.Event] = (
    ev.MessageSent(session=SESSION, reason=ev.MessageReason.BRIEF, text="id: auth"),
    turn(1, "I look first."),
    ev.ToolCalled(session=SESSION, call_id="c1", tool="read", summary="read src/auth.py"),
    result("one\ntwo"),
    ev.Retry(session=SESSION, attempt=1, delay_s=2.0, error="ServerFailed", text="the provider failed"),
    ev.MessageSent(session=SESSION, reason=ev.MessageReason.REJECTION, text="- it does not log in"),
    turn(2, "", ev.FinishReason.LENGTH),
    ev.FileChanged(path="src/auth.py", before=None, after="0" * 64),
    ev.SessionEnded(session=SESSION, outcome=ev.SessionOutcome.FAILED, reason="it never delivered"),
)


def test_a_session_reads_from_top_to_bottom() -> None:
    """Who it was, what it was told, said and did, and when, since it began."""
    text = dialogue.render(story(*TALE), STATE, 80, whole=False)
    assert text.splitlines() == [
        "S3 worker, item auth: log in",
        "of 20260101-000000-00000, with openai/test",
        "running after 1:20, 2 turns, 1,200 tokens in, 100 out, $0.50",
        "",
        "  0:00  briefed",
        "        id: auth",
        "  0:10  turn 1: 2.3s, 1,200 tokens in, 100 out",
        "        I look first.",
        "  0:20  > read src/auth.py",
        "  0:30  < read ok, 0.0s, 7 characters",
        "        one",
        "        two",
        "  0:40  retry 1 in 2.0s: the provider failed",
        "  0:50  woken: its work was rejected",
        "        - it does not log in",
        "  1:00  turn 2: 2.3s, 1,200 tokens in, 100 out, cut off at its output limit",
        "  1:10  made src/auth.py",
        "  1:20  ended: failed",
        "        it never delivered",
    ]


def test_what_is_long_is_cut_unless_all_is_asked_for() -> None:
    """It is said how much is missing, and where it is."""
    brief = ev.MessageSent(session=SESSION, reason=ev.MessageReason.BRIEF, text=BRIEF)
    file = "\n".join(f"{n:5} code" for n in range(500))
    rows = told(brief, result(file), result(file, ok=False))
    assert "        [29 more lines]" in rows
    assert "        [497 more lines]" in rows
    assert "        [490 more lines]" in rows
    assert "--full" in rows[-2]
    assert rows[-1] == "/w/.opencode/orch/missions/m/journal.jsonl"

    rows = told(brief, result(file), result(file, ok=False), whole=True)
    assert not any("more lines" in row or "--full" in row for row in rows)
    assert len(rows) == 3 + 41 + 500 + 500


def test_one_line_more_is_not_worth_a_line_that_says_so() -> None:
    """Nothing is cut where the cut would be as long."""
    rows = told(result("1\n2\n3\n4"))
    assert rows == ["  0:00  < read ok, 0.0s, 7 characters", *(f"        {n}" for n in range(1, 5))]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("width", [10, 80, 200])
def test_whatever_is_said_fits_and_is_harmless(width: int, *, whole: bool) -> None:
    """Also where a line breaks right before what a CI runner would obey."""
    texts = (
        "\x1b[2J\x1b]0;x\x07" + "漢字" * 300,
        "a " * 30 + "::error::x",
        "b" * 71 + " ::warning::y ##[error]z",
    )
    long = [t * n for t in texts for n in (1, 20)]
    events = [turn(1, text) for text in long] + [result(text) for text in long]
    calls = [ev.ToolCalled(session=SESSION, call_id="c1", tool="bash", summary=text) for text in texts]
    rows = told(*events, *calls, width=width, whole=whole)
    assert all(defuse.columns(row) <= max(width, 32) for row in rows if "journal.jsonl" not in row)
    assert not any(row.lstrip().startswith("::") or "##[" in row or "\x1b" in row for row in rows)


def test_every_event_can_be_told() -> None:
    """Whatever happens in a session; routine is left out."""
    for event, before in SAMPLES:
        state = reduce(before, stamped(event, before.seq + 1))
        assert dialogue.render(story(event), state, 80, whole=True).startswith("S3 worker")


def test_a_session_that_did_nothing_yet_has_its_heading() -> None:
    """It has just begun."""
    assert dialogue.render(story(), STATE, 80, whole=False).splitlines()[0] == "S3 worker, item auth: log in"
