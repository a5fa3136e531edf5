"""`--fallback-model`, and the same in the settings: checked at the start, used, kept by a resume."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orch.config import Flags, ModelRef, Settings, load
from orch.errors import ConfigError
from tests import play
from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Endpoint, Fault, Step
from tests.program import KEY, Bench

A = play.item("a")
SCRIPT = play.mission(A)
NO_CREDIT = Step(
    fault=Fault.STATUS, status=429, body={"error": {"message": "x", "code": "insufficient_quota"}}
)
UNPAID = play.mission(A, worker=lambda scene: NO_CREDIT if scene.done else play.build(scene))
OTHER = "anthropic/test"


@contextmanager
def _other(bench: Bench) -> Iterator[Endpoint]:
    """Serve a whole mission on another wire too, and tell the program of it."""
    with anthropic_endpoint(SCRIPT) as other:
        bench.extra |= dict(zip(other.variables, (other.base_url, KEY), strict=True))
        yield other


def _config(bench: Bench, text: str) -> None:
    config = bench.home / ".config/orch/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(text)


def _settings(folder: Path, flags: Flags | None = None) -> Settings:
    return load(flags or Flags(), folder, {"HOME": str(folder)})


def test_a_mission_goes_on_over_the_other_wire_and_is_sealed(bench: Bench) -> None:
    """No credit is left in the middle of a Worker's turns: exit 0, and both models are in the bill."""
    with bench.served(UNPAID), _other(bench):
        ended = bench.task("--fallback-model", OTHER, "--output-format", "json")

    assert ended.code == 0, ended.err
    assert set(ended.result["usage"]["by_model"]) == {bench.model, OTHER}
    assert f"worker goes on with {OTHER}: " in ended.err
    (switched,) = [event for event in bench.journal() if event["type"] == "model.switched"]
    assert (switched["before"], switched["model"]) == (bench.model, OTHER)


def test_a_resume_keeps_the_fallback_models_unless_it_is_told_others(bench: Bench) -> None:
    """They stand in each run's first event; an empty text takes them away."""
    with bench.served(UNPAID), _other(bench):
        _config(bench, f'fallback_models = ["{OTHER}-2"]\n')
        assert bench.task("--fallback-model", "openai/test").code == 75
        kept = bench.run("resume")
        taken = bench.run("resume", "--fallback-model", "")
        told = bench.run("resume", "--fallback-model", OTHER)

    assert [kept.code, taken.code, told.code] == [75, 75, 0], told.err
    runs = [event for event in bench.journal() if event["type"] in ("mission.started", "mission.resumed")]
    assert [run["fallback"] for run in runs] == [["openai/test"], ["openai/test"], [], [OTHER]]


def test_a_resume_with_another_model_needs_the_old_provider_no_more(bench: Bench) -> None:
    """A session in the middle of its work goes on with the model that the command line names."""
    with bench.served(UNPAID):
        assert bench.task().code == 75
    bench.endpoint = None
    with _other(bench):
        ended = bench.run("resume", "-m", OTHER)

    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fallback-model", "nobody/test"), "no provider is called 'nobody'"),
        (("--fallback-model", "openai/test,anthropic/test"), "anthropic/test cannot be asked: set ANTHROPIC"),
        (
            ("--fallback-model", "test"),
            "--fallback-model cannot be used: expected a list of models, each as PROVIDER/MODEL",
        ),
        (("--fallback-model", "openai/dear", "--max-budget-usd", "1"), "the price of openai/dear is unknown"),
    ],
    ids=["no provider", "no key", "no model", "no price"],
)
def test_a_fallback_model_that_could_not_be_asked_ends_the_start(
    bench: Bench, arguments: tuple[str, ...], words: str
) -> None:
    """Exit 2 before anything is paid: it is found now, not in the middle of the night."""
    _config(
        bench,
        '[providers.p]\nkind = "openai"\nbase_url = "http://127.0.0.1:9"\n'
        '[providers.p.models."m"]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n',
    )
    with bench.served(SCRIPT) as endpoint:
        ended = bench.task("-m", "p/m", *arguments)

    assert ended.code == 2
    assert words in ended.err
    assert endpoint.ledger == []


def test_a_fallback_model_of_unknown_window_is_mentioned(bench: Bench) -> None:
    """As any other is."""
    with bench.served(SCRIPT):
        ended = bench.task("--fallback-model", "openai/other")

    assert ended.code == 0, ended.err
    assert "openai/other: window unknown" in ended.err


def test_fallback_models_come_from_the_flag_else_from_the_files(tmp_path: Path) -> None:
    """In their order; one that is no model is an error that names its key."""
    (tmp_path / ".opencode").mkdir()
    file = tmp_path / ".opencode" / "orch.toml"
    file.write_text('fallback_models = ["p/one", "p/two/three"]\n')
    one, two = ModelRef("p", "one"), ModelRef("p", "two/three")

    assert _settings(tmp_path).fallback_models == (one, two)
    assert _settings(tmp_path, Flags(fallback_models=" p/two/three, p/one,")).fallback_models == (two, one)
    assert _settings(tmp_path, Flags(fallback_models="")).fallback_models == ()
    file.write_text('fallback_models = ["one"]\n')
    with pytest.raises(ConfigError, match=r"fallback_models\[0\] cannot be used: expected a list"):
        _settings(tmp_path)
