"""Tests of what can be asked of a state."""

from orch.mission import events as ev
from orch.mission.state import (
    Spending,
    plus,
)
from tests.mission.samples import USAGE


def test_an_unknown_cost_makes_the_sum_unknown() -> None:
    """Nobody is told a sum that leaves something out."""
    assert plus(USAGE, ev.Usage(input_tokens=1)).cost_usd is None
    assert plus(USAGE, USAGE).cost_usd == 0.5


def test_spending_adds_up_by_model_and_by_role() -> None:
    """Two roles on one model, one role on two: each sum has every turn once."""
    spent = Spending()
    for role, model in ((ev.Role.WORKER, "m"), (ev.Role.WORKER, "n"), (ev.Role.PLANNER, "m")):
        spent = spent.with_turn(role, model, USAGE).with_turn(role, model, USAGE)

    two, four = plus(USAGE, USAGE), plus(plus(USAGE, USAGE), plus(USAGE, USAGE))
    assert spent.by_model == {"m": four, "n": two}
    assert spent.by_role == {"worker": four, "planner": two}
    assert spent.total == plus(two, four)
