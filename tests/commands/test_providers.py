"""A provider of the environment, as the program finds it."""

from tests import play
from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Fault, Script, Step
from tests.program import Bench

A = play.item("a")


def _refused_first(script: Script) -> Script:
    """Return `script`, whose Commander finds the endpoint overloaded at first."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    overloaded = Step(fault=Fault.STATUS, status=529, headers={"retry-after": "0.01"}, body=body)
    return lambda turn: overloaded if turn.attempt == 1 and "Commander" in turn.system[:30] else script(turn)


def test_the_program_finds_the_endpoint_in_its_environment(bench: Bench) -> None:
    """ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY are enough; an overload is waited out."""
    with bench.served(_refused_first(play.mission(A)), anthropic_endpoint) as endpoint:
        ended = bench.task("--json")

        assert ended.code == 0, ended.err
        assert ended.lines[-1]["subtype"] == "sealed"
        assert 529 in {entry.status for entry in endpoint.ledger}
        assert endpoint.refusals == []


def test_the_program_names_the_models_of_the_endpoint(bench: Bench) -> None:
    """Without -m: exit 2, no turn was paid."""
    with bench.served(play.mission(A), anthropic_endpoint):
        ended = bench.run("task", "build it")

        assert ended.code == 2
        assert "anthropic/scripted" in ended.err
