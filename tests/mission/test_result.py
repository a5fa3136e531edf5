"""Tests of what a run comes to."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission import result
from orch.mission.caps import Cap
from orch.mission.state import MissionState, Session, Spending
from tests.mission.casts import cast, script, spec
from tests.mission.simulation import Break, Plan, Simulation

RESUME = "orch resume m1"
USAGE = ev.Usage(input_tokens=10, output_tokens=2, cached_tokens=4, cost_usd=0.5)


def sealed() -> MissionState:
    """Return a mission that went well."""
    return Simulation(cast()).start().run().state


def unsealed() -> MissionState:
    """Return a mission whose one item failed."""
    one = script(Plan((spec("a"),), ("verify",)))
    return Simulation(cast(planner=one, worker=script(Break()))).start().run().state


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (ev.Outcome.SEALED, 0),
        (ev.Outcome.UNSEALED, 1),
        (ev.Outcome.BLOCKED, 3),
        (ev.Outcome.LIMIT, 4),
        (ev.Outcome.STAGNATED, 5),
        (ev.Outcome.ANSWERED, 6),
        (ev.Outcome.ERROR, 70),
        (ev.Outcome.DISK, 74),
        (ev.Outcome.PROVIDER, 75),
        (ev.Outcome.AUTH, 77),
        (ev.Outcome.STOPPED, 143),
    ],
)
def test_every_outcome_has_the_code_of_the_contract(outcome: ev.Outcome, code: int) -> None:
    """The table is public."""
    assert result.exit_code(MissionState(), outcome) == code
    assert set(result.EXIT_CODES) == set(ev.Outcome)


def test_the_code_knows_the_signal_the_question_and_the_setting() -> None:
    """130 for Ctrl-C, 0 for an answer that was asked for, 2 for what no turn could be paid with."""
    interrupted = MissionState(stopped_by=ev.StopSignal.INTERRUPT)

    assert result.exit_code(interrupted, ev.Outcome.STOPPED) == 130
    assert result.exit_code(MissionState(answer_only=True), ev.Outcome.ANSWERED) == 0
    assert result.exit_code(MissionState(is_usage=True), ev.Outcome.ERROR) == 2


def test_a_sealed_mission_has_all_that_the_contract_promises() -> None:
    """Counts, commands, files, usage; no line to resume."""
    summary = result.summarise(sealed(), RESUME)

    assert (summary.subtype, summary.is_error, summary.exit_code, summary.retryable) == (
        "sealed",
        False,
        0,
        False,
    )
    assert summary.resume is None
    assert summary.todo == result.Count(done=3, total=3)
    assert summary.blockers == ()
    assert [(v.command, v.exit_code) for v in summary.verification] == [("verify", 0)]
    assert summary.files_changed == ("a.py", "b.py", "c.py")
    assert summary.num_sessions == 8
    assert summary.usage.input_tokens == 10 * summary.num_turns
    assert set(summary.usage.by_role) == {"commander", "planner", "worker", "reviewer"}
    assert summary.usage.cost_usd == 0.5 * summary.num_turns
    assert summary.duration_s > 0
    assert summary.result == "all is well"


def test_an_unsealed_mission_says_what_is_missing_and_how_to_go_on() -> None:
    """The blockers of the end, and a report from the journal."""
    summary = result.summarise(unsealed(), RESUME)

    assert (summary.subtype, summary.is_error, summary.exit_code) == ("unsealed", True, 1)
    assert summary.resume == RESUME
    assert summary.todo == result.Count(done=0, total=1)
    assert [(b.kind, b.item) for b in summary.blockers] == [("item", "a")]
    assert "- a (title of a) failed: two Workers did not finish it" in summary.result


def test_a_stopped_mission_names_what_was_open() -> None:
    """Also where the end itself named nothing."""
    simulation = Simulation(cast()).start()
    simulation.settle()
    simulation.record(ev.MissionStopped(signal=ev.StopSignal.TERMINATE))

    summary = result.summarise(simulation.state, RESUME)

    assert (summary.exit_code, summary.retryable, summary.resume) == (143, True, RESUME)
    assert [b.kind for b in summary.blockers] == ["plan"]


@pytest.mark.parametrize("outcome", ev.Outcome)
def test_what_a_retry_can_help_is_said(outcome: ev.Outcome) -> None:
    """As the table of exit codes has it: not after a seal, a refused key, stagnation or a bug."""
    helps = {"blocked", "limit", "stopped", "timeout", "provider", "disk"}
    summary = result.summarise(MissionState(outcome=outcome), RESUME)

    assert summary.retryable is (outcome.value in helps)
    assert (summary.resume is None) is (outcome in (ev.Outcome.SEALED, ev.Outcome.ANSWERED))


def test_denials_and_red_before_are_named() -> None:
    """What would have been a question is a refusal that is recorded and named."""
    denied = ev.PermissionDenied(session=ev.SessionId("S2"), tool="bash", reason="a worker may not")
    state = MissionState(outcome=ev.Outcome.UNSEALED, denials=(denied,), red_before=("lint",), changed=("x",))

    summary = result.summarise(state, RESUME)

    assert summary.permission_denials == (
        result.Denial(session=ev.SessionId("S2"), tool="bash", reason="a worker may not"),
    )
    assert summary.red_before == ("lint",)
    assert summary.result.splitlines() == ["Changed: x", "Red before the first change: `lint`"]


def test_a_healed_error_leaves_no_trace_in_the_code() -> None:
    """It comes from the final state alone; retries are counted."""
    simulation = Simulation(cast()).start()
    simulation.settle()
    retry = ev.Retry(session=ev.SessionId("S1"), attempt=1, delay_s=1, error="RateLimited", text="slow down")
    simulation.record(retry)
    simulation.run()

    summary = result.summarise(simulation.state, None)

    assert (summary.exit_code, summary.num_retries) == (0, 1)


def test_usage_is_reported_with_who_spent_it() -> None:
    """An unknown cost stays unknown."""
    unknown = USAGE.model_copy(update={"cost_usd": None})
    spent = Spending({(ev.Role.WORKER, "m"): USAGE, (ev.Role.PLANNER, "free"): unknown})

    assert result.usage_report(spent).model_dump() == {
        "input_tokens": 20,
        "output_tokens": 4,
        "cached_tokens": 8,
        "cost_usd": None,
        "by_model": {"m": USAGE.model_dump(), "free": unknown.model_dump()},
        "by_role": {"worker": USAGE.model_dump(), "planner": unknown.model_dump()},
    }


def test_a_command_that_started_nothing_has_a_result_too() -> None:
    """`mission` is null, and every key is there."""
    nothing = result.nothing_started("goal", ev.Outcome.ERROR, 2, "no model")
    full = result.summarise(sealed(), None)

    assert (nothing.mission, nothing.exit_code, nothing.result) == (None, 2, "no model")
    assert nothing.model_dump().keys() == full.model_dump().keys()


def test_a_result_round_trips_through_json() -> None:
    """`result.json` can be read back as it was written."""
    for state in (sealed(), unsealed(), replace(unsealed(), outcome=ev.Outcome.DISK)):
        summary = result.summarise(state, RESUME)

        assert result.Result.model_validate_json(summary.model_dump_json()) == summary


def test_a_run_whose_end_could_not_be_written_took_time_all_the_same() -> None:
    """A full disk takes no last event: what counts is the last sign of life."""
    cut = MissionState(
        goal="g",
        outcome=ev.Outcome.DISK,
        duration_s=1.5,
        run_started="2026-01-01T00:00:00.000Z",
        ts="2026-01-01T00:00:04.000Z",
    )

    assert result.summarise(cut, None).duration_s == 5.5


@pytest.mark.parametrize(
    ("outcome", "fact", "line"),
    [
        (ev.Outcome.BLOCKED, None, "orch resume m --reply TEXT"),
        (ev.Outcome.STOPPED, None, "orch resume m"),
        (ev.Outcome.LIMIT, (Cap.TOKENS, 100, 90, 20), "orch resume m --max-tokens 200"),
        (ev.Outcome.LIMIT, (Cap.TOKENS, 10, 0, 2503), "orch resume m --max-tokens 5006"),
        (ev.Outcome.LIMIT, (Cap.USD, 0.0001, 0.0109, 0.0), "orch resume m --max-budget-usd 0.022"),
        (ev.Outcome.LIMIT, None, "orch resume m --max-turns 8"),
    ],
)
def test_the_line_for_a_person_says_what_is_wanting(
    outcome: ev.Outcome, fact: tuple[Cap, float, float, float] | None, line: str
) -> None:
    """An answer, or a cap that makes room; what programs read stays as it is."""
    tired = Session(
        id=ev.SessionId("S1"), role=ev.Role.WORKER, model="m", title="t", started="", started_seq=1, turns=4
    )
    reached = (
        ev.Budget(limit=fact[0], cap=fact[1], spent=fact[2], needed=fact[3], reached=True) if fact else None
    )
    state = MissionState(outcome=outcome, exhausted=reached, max_turns=4, sessions={tired.id: tired})
    said = result.summarise(state, "orch resume m")
    assert said.next == line
    assert said.resume == "orch resume m"
