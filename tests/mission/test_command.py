"""Tests of the Commander: when it is woken, what happens without it, and how a run ends."""

import pytest

from orch.mission import brief, result
from orch.mission import events as ev
from orch.mission.state import Session
from orch.mission.transcript import UserMessage
from tests.mission.casts import (
    cast,
    diligent_worker,
    mute,
    rejecting_reviewer,
    script,
    spec,
)
from tests.mission.readings import LIMIT, ONE, TWO, red, roles, told, types
from tests.mission.simulation import (
    Act,
    Answer,
    Block,
    Break,
    Delegate,
    DelegatePlan,
    Say,
    Seal,
    Simulation,
)


def test_a_red_seal_that_names_nobody_wakes_the_commander() -> None:
    """It decides; if it does nothing, nothing is left to run."""
    mission = Simulation(cast(planner=script(ONE)), outcomes=red(9, "boom")).start().run()

    assert "`verify` exited 1" in told(mission, ev.MessageReason.WAKE)[-1].text
    assert mission.state.outcome is ev.Outcome.UNSEALED
    assert {b.kind for b in mission.state.end_blockers} == {ev.BlockerKind.VERIFICATION}


def test_the_seal_is_refused_while_work_is_open_and_that_wakes_nobody() -> None:
    """`seal_mission` answers at once."""
    early = script(Delegate(spec("T", "x.py")), Seal())
    mission = Simulation(cast(commander=early)).start().run()

    assert types(mission).count("seal.refused") == 1
    assert len(told(mission, ev.MessageReason.WAKE)) == 1
    assert mission.state.outcome is ev.Outcome.SEALED


def test_the_commanders_first_message_is_the_goal() -> None:
    """Verbatim, and nothing else."""
    mission = Simulation(cast()).start(goal="  do *this*\n").run()

    assert mission.state.sessions[ev.SessionId("S1")].messages[0] == UserMessage(text="  do *this*\n")


def test_a_commander_that_is_mute_from_the_start_does_not_stop_a_mission() -> None:
    """The Planner gets the goal, the items are dispatched, the seal is asked for: exit 0."""
    mission = Simulation(cast(commander=mute)).start().run()

    assert mission.state.sessions[ev.SessionId("S2")].messages[0] == UserMessage(text="make it so")
    assert mission.state.outcome is ev.Outcome.SEALED
    assert "a (title of a) completed" in result.report(mission.state)


def test_a_mute_commander_and_a_planner_without_a_plan_end_at_1() -> None:
    """Asked once more, then a fresh Planner, then the Commander, then the end."""
    mission = Simulation(cast(commander=mute, planner=mute)).start().run()

    assert roles(mission)[ev.Role.PLANNER] == 2
    assert [m.text for m in told(mission, ev.MessageReason.NUDGE)] == [brief.PLANNER_NUDGE] * 2
    assert len(told(mission, ev.MessageReason.WAKE)) == 1
    assert (mission.state.outcome, mission.state.end_blockers[0].kind) == ("unsealed", "plan")


def test_the_commander_is_woken_once_for_a_batch() -> None:
    """Never for single results while work goes on."""
    mission = Simulation(cast()).start().run()

    wakes = told(mission, ev.MessageReason.WAKE)

    assert len(wakes) == 1
    assert all(f"- {name} (title of {name}) completed" in wakes[0].text for name in "abc")


def test_the_commander_is_woken_at_once_for_an_item_that_failed() -> None:
    """While others still work."""

    def fails(simulation: Simulation, session: Session) -> Act:
        return Break() if session.item == "a" else diligent_worker(simulation, session)

    mission = Simulation(cast(planner=script(TWO), worker=fails)).start().run()

    assert "Still under way: b." in told(mission, ev.MessageReason.WAKE)[0].text


def test_a_broken_commander_is_followed_by_a_fresh_one_that_is_told_what_happened() -> None:
    """Once; its first words are the goal."""

    def breaks(_simulation: Simulation, session: Session) -> Act:
        if session.id != "S1":
            return Seal()
        return DelegatePlan("goal") if session.turns == 0 else Break()

    mission = Simulation(cast(commander=breaks)).start().run()
    second = [s for s in mission.state.sessions.values() if s.role is ev.Role.COMMANDER][1]

    assert isinstance(second.messages[0], UserMessage)
    assert second.messages[0].text.startswith("make it so")
    assert mission.state.outcome is ev.Outcome.SEALED


def test_two_broken_commanders_do_not_stop_work_that_can_be_sealed() -> None:
    """The rest goes on without."""

    def breaks(_simulation: Simulation, session: Session) -> Act:
        return DelegatePlan("goal") if session.id == "S1" and session.turns == 0 else Break()

    mission = Simulation(cast(commander=breaks), outcomes=red(1, "a.py b.py")).start().run()

    assert roles(mission)[ev.Role.COMMANDER] == 2
    assert mission.state.outcome is ev.Outcome.SEALED


# ---- how it ends


def test_an_answer_ends_the_mission_with_6_and_with_answer_only_with_0() -> None:
    """Nothing was changed, nothing proven."""
    answered = Simulation(cast(commander=script(Answer("42")))).start().run()
    asked = Simulation(cast(commander=script(Answer("42")))).start(answer_only=True).run()

    assert [result.exit_code(m.state, ev.Outcome.ANSWERED) for m in (answered, asked)] == [6, 0]
    assert result.report(asked.state) == "42"


def test_with_answer_only_the_last_words_are_the_answer() -> None:
    """A model that forgets the tool has answered too; one that says nothing has not."""
    said = Simulation(cast(commander=script(Say("it is 42")))).start(answer_only=True).run()
    silent = Simulation(cast(commander=script(Say("(empty reply)")))).start(answer_only=True).run()

    assert (said.state.outcome, said.state.ending) == (ev.Outcome.ANSWERED, "it is 42")
    assert silent.state.outcome is ev.Outcome.UNSEALED
    assert roles(silent) == {ev.Role.COMMANDER: 1}


def test_a_question_ends_the_run_with_3_and_the_answer_reaches_the_commander() -> None:
    """`orch resume --reply` is told once, in the same conversation."""

    def asks(_simulation: Simulation, session: Session) -> Act:
        return Block("which colour?") if session.turns == 0 else Say()

    mission = Simulation(cast(commander=asks)).start().run()
    assert result.summarise(mission.state, None).exit_code == 3

    mission.resume(reply="blue").run()

    assert [m.text for m in told(mission, ev.MessageReason.REPLY)] == ["[orch] A person answers:\nblue"]
    assert mission.state.outcome is ev.Outcome.SEALED


@pytest.mark.parametrize("role", ["worker", "reviewer", "planner", "commander"])
def test_sessions_that_run_into_their_limit_end_the_run_with_4(role: str) -> None:
    """A fresh session once; then the limit is what stands between."""
    mission = Simulation(cast(**{role: script(Break(LIMIT))})).start()
    mission.agents = {**mission.agents, ev.Role.PLANNER: script(Break(LIMIT) if role == "planner" else ONE)}
    mission.run()

    assert roles(mission)[ev.Role(role)] == 2
    assert result.summarise(mission.state, None).exit_code == 4


def test_a_resume_with_a_higher_limit_gets_fresh_sessions() -> None:
    """Every end is resumable, also with new Commanders."""
    mission = Simulation(cast(commander=script(Break(LIMIT)))).start().run()
    mission.agents = cast()

    mission.resume().run()

    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_resume_after_a_red_end_asks_the_commander_again() -> None:
    """Nothing new happened, but a person wants another try."""
    mission = Simulation(cast(planner=script(ONE)), outcomes=red(1, "boom")).start().run()
    assert mission.state.outcome is ev.Outcome.UNSEALED
    wakes = len(told(mission, ev.MessageReason.WAKE))

    mission.resume()
    mission.settle()

    assert len(told(mission, ev.MessageReason.WAKE)) == wakes + 1


def test_a_resume_gives_a_failed_item_new_rounds() -> None:
    """Its files are free, its counters at zero."""
    mission = Simulation(cast(planner=script(TWO), reviewer=rejecting_reviewer(5))).start().run()
    assert result.summarise(mission.state, None).exit_code == 1

    mission.resume().run()

    assert mission.state.outcome is ev.Outcome.SEALED


def test_a_mission_where_nothing_moves_is_told_so_then_replanned_then_stopped_with_5() -> None:
    """The ladder has three rungs, and each is an event."""

    def stubborn(_simulation: Simulation, session: Session) -> Act:
        return Delegate(spec("T", "x.py")) if session.turns_since_wake == 0 else Say()

    mission = Simulation(cast(commander=stubborn, worker=script(Break()))).start().run()

    assert [e.stage for e in mission.events if isinstance(e, ev.Stagnation)] == list(ev.StagnationStage)
    assert result.summarise(mission.state, None).exit_code == 5
    wakes = [m.text for m in told(mission, ev.MessageReason.WAKE)]
    assert ["Nothing moved" in w for w in wakes] == [False, True, False]
    assert "Delegate a new plan" in wakes[2]


def test_progress_takes_the_mission_off_the_ladder() -> None:
    """Three failures in a row are not stagnation if something was done in between."""

    def patient(_simulation: Simulation, session: Session) -> Act:
        return Delegate(spec("T", "x.py")) if session.turns_since_wake == 0 and session.turns < 14 else Say()

    def moody(simulation: Simulation, session: Session) -> Act:
        even = str(session.item).endswith(("2", "4", "6"))
        return diligent_worker(simulation, session) if even else Break()

    mission = Simulation(cast(commander=patient, worker=moody)).start().run()

    assert "stop" not in [e.stage for e in mission.events if isinstance(e, ev.Stagnation)]
    assert mission.state.outcome is ev.Outcome.UNSEALED
