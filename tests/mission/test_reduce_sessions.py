"""Tests of what the events of a session change."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.reduce import reduce
from orch.mission.state import NOTHING_SPENT, SessionStatus
from orch.mission.transcript import AssistantMessage, ThinkingBlock, ToolMessage, UserMessage, check
from tests.mission.samples import (
    CALL,
    I1,
    RUNNING_TURN,
    S1,
    S2,
    SAMPLES,
    TS,
    USAGE,
    a_mission,
    refused,
    stamped,
    turn,
    with_worker,
)
from tests.mission.simulation import MODELS


def test_a_second_message_needs_a_turn_in_between() -> None:
    """A session that has not answered yet is not spoken to again."""
    nudge = ev.MessageSent(session=S2, reason=ev.MessageReason.NUDGE, text="go")
    state = reduce(a_mission(), stamped(nudge, 10))

    refused(state, nudge)


def test_a_turn_is_counted_where_it_was_spent() -> None:
    """Usage adds up for the session, the model, the role and the mission."""
    state = reduce(RUNNING_TURN, stamped(turn(AssistantMessage(text="", tool_calls=(CALL,))), 10))

    assert state.spending.total == USAGE
    assert state.spending.by_model == {"m": USAGE}
    assert state.spending.by_role == {"worker": USAGE}
    assert state.sessions[S2].usage == USAGE
    assert (state.num_turns, state.sessions[S2].turns, state.sessions[S2].open_calls) == (1, 1, (CALL,))


ESTIMATED = with_worker(open_turn=True, estimate=USAGE)
LOSSES: tuple[tuple[ev.Event, ev.Usage], ...] = (
    (ev.SessionEnded(session=S2, outcome=ev.SessionOutcome.CANCELLED), USAGE),
    (ev.MissionResumed(orch_version="1", models=MODELS, max_parallel=1, max_turns=1), USAGE),
    (ev.Retry(session=S2, attempt=1, delay_s=1, error="E", text="t", usage=USAGE), USAGE),
    (ev.Retry(session=S2, attempt=1, delay_s=1, error="E", text="t"), NOTHING_SPENT),
    (ev.TurnFailed(session=S2, turn=1, model="m", error="E", text="t", usage=USAGE), USAGE),
    (ev.TurnFailed(session=S2, turn=1, model="m", error="E", text="t"), NOTHING_SPENT),
)


@pytest.mark.parametrize(("event", "lost"), LOSSES, ids=lambda value: getattr(value, "type", ""))
def test_a_call_without_an_answer_counts_if_it_may_have_been_paid(event: ev.Event, lost: ev.Usage) -> None:
    """One that was cut off with its session or its run does; each try counts once."""
    state = reduce(ESTIMATED, stamped(event, 10))

    assert state.spending.total == lost
    assert state.sessions[S2].usage == lost
    if isinstance(event, ev.TurnFailed):
        again = reduce(state, stamped(ev.SessionEnded(session=S2, outcome=ev.SessionOutcome.FAILED), 11))
        assert again.spending.total == lost


def test_no_turn_that_is_not_open_can_fail() -> None:
    """Nor be counted."""
    refused(a_mission(), ev.TurnFailed(session=S2, turn=1, model="m", error="E", text="t", usage=USAGE))


def test_a_result_closes_its_call_and_says_what_the_session_knows() -> None:
    """The result is in the history, and the file's hash is what the session has seen."""
    event, before = next((e, s) for e, s in SAMPLES if e.type == "tool.finished")

    after = reduce(before, stamped(event, 10)).sessions[S2]

    assert after.messages[-1] == ToolMessage(call_id="c1", text="x")
    assert (after.open_calls, after.seen) == ((), {"a.py": "1"})


CUT = with_worker(nudged=True, wrote=True, turns=5, turns_since_wake=3, told_seq=4, doing="thinking")
RECOVERY = ev.MessageSent(session=S2, reason=ev.MessageReason.RECOVERY, text="your answer was cut: go on")


def test_a_recovery_tells_the_session_and_changes_nothing_of_what_it_owes() -> None:
    """A cut answer is healed in the conversation: what it wrote, was told and spent still counts."""
    before = CUT.sessions[S2]

    state = reduce(CUT, stamped(RECOVERY, 10))
    after = state.sessions[S2]

    assert after.messages == (*before.messages, UserMessage(text=RECOVERY.text))
    assert (after.status, after.last_activity, after.doing) == (SessionStatus.RUNNING, TS, "")
    kept = ("nudged", "wrote", "turns", "turns_since_wake", "told_seq", "open_calls", "open_turn")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert state.issues == CUT.issues


def test_a_session_that_was_recovered_owes_a_turn_before_it_is_spoken_to_again() -> None:
    """The recovery follows an answer, and an answer follows the recovery."""
    state = reduce(CUT, stamped(RECOVERY, 10))

    refused(state, RECOVERY)
    assert reduce(state, stamped(ev.TurnStarted(session=S2, turn=6, model="m"), 11)).sessions[S2].open_turn


def test_a_recovery_of_the_commander_leaves_its_news_untold() -> None:
    """It still has to hear a person's answer, and what happened since it was woken."""
    state = replace(a_mission(), reply="blue", moved="f", stagnations=1)

    after = reduce(state, stamped(RECOVERY.model_copy(update={"session": S1}), 10))

    assert (after.reply, after.moved, after.stagnations) == ("blue", "f", 1)
    assert after.sessions[S1].told_seq == state.sessions[S1].told_seq
    assert after.sessions[S1].status is SessionStatus.RUNNING


@pytest.mark.parametrize("reason", [r for r in ev.MessageReason if r is not ev.MessageReason.RECOVERY])
def test_every_other_message_starts_something(reason: ev.MessageReason) -> None:
    """What the session owes counts from there; only a nudge lets what it wrote stand."""
    after = reduce(CUT, stamped(RECOVERY.model_copy(update={"reason": reason}), 10))

    nudge = reason is ev.MessageReason.NUDGE
    worker = after.sessions[S2]
    wakes = reason in {ev.MessageReason.BRIEF, ev.MessageReason.WAKE, ev.MessageReason.REPLY}
    assert (worker.nudged, worker.wrote, worker.told_seq) == (nudge, nudge, 10)
    assert worker.turns_since_wake == (0 if wakes else 3)
    assert after.issues[I1].told is not nudge


DROPPED = ev.Compaction(
    session=S2,
    stage=ev.CompactionStage.DROPPED,
    cause=ev.CompactionCause.OVERFLOW,
    before_tokens=90,
    after_tokens=60,
    dropped=("c1",),
)
SUMMARISED = DROPPED.model_copy(
    update={
        "stage": ev.CompactionStage.SUMMARISED,
        "cause": ev.CompactionCause.FULL,
        "kept_from": 3,
        "text": "a.py was read",
        "digest": "- read a.py",
        "seen": {"a.py": "2"},
        "usage": USAGE,
    }
)
READ = (
    UserMessage(text="brief"),
    AssistantMessage(text="", tool_calls=(CALL,)),
    ToolMessage(call_id="c1", text="x" * 900),
    AssistantMessage(text="hm"),
    UserMessage(text="go on"),
)


def test_a_dropped_result_leaves_all_else_in_its_place() -> None:
    """The size is the new one, and the refusal of the old one is remembered for this turn."""
    state = with_worker(messages=READ, brief="brief", turns=4, counted_messages=4, counted_tokens=90)

    after = reduce(state, stamped(DROPPED, 10)).sessions[S2]

    assert after.messages[:2] + after.messages[3:] == READ[:2] + READ[3:]
    assert "900 characters of read" in after.messages[2].text
    assert (after.counted_messages, after.counted_tokens) == (5, 60)
    assert (after.overflowed_turn, after.summarised_turn) == (4, None)


def test_a_summary_begins_anew_behind_the_first_brief_and_closes_its_turn() -> None:
    """What it cost is spent; what it shows of files is known. It is no turn of the session."""
    state = with_worker(
        messages=READ, brief="brief", turns=4, open_turn=True, estimate=USAGE, seen={"b.py": "1"}
    )

    new = reduce(state, stamped(SUMMARISED, 10))
    after = new.sessions[S2]

    assert after.messages == (UserMessage(text="brief\n\na.py was read"), *READ[3:])
    assert (after.turns, after.open_turn, after.estimate, after.summarised_turn) == (4, False, None, 4)
    assert after.seen == {"a.py": "2", "b.py": "1"}
    assert new.spending.total == after.usage == USAGE
    assert new.num_turns == state.num_turns


def test_a_history_does_not_change_in_the_middle_of_a_turn() -> None:
    """A result would stand without its call."""
    refused(with_worker(open_calls=(CALL,)), SUMMARISED)
    refused(with_worker(open_calls=(CALL,)), ev.Heal(session=S2, text="t", history=True))


def test_a_healed_history_is_valid_and_holds_no_thoughts() -> None:
    """Its size is not known any more; a heal of something else leaves it alone."""
    thought = AssistantMessage(text="hm", thinking=(ThinkingBlock(json_text="{}"),))
    state = with_worker(messages=(READ[0], thought, *READ[2:]), turns=4, counted_messages=4, counted_tokens=9)

    after = reduce(state, stamped(ev.Heal(session=S2, text="t", history=True), 10)).sessions[S2]

    check(after.messages)
    assert after.messages[1] == AssistantMessage(text="hm")
    assert (after.counted_messages, after.repaired_turn) == (0, 4)
    assert reduce(state, stamped(ev.Heal(session=S2, text="t"), 10)).sessions[S2] == state.sessions[S2]
