"""Caps as a script meets them: flags, variables, files and defaults; the exit codes 4, 124 and 2."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orch.commands import limits
from orch.config import Flags, ModelFacts, ModelRef, Settings, load
from orch.errors import ConfigError, UsageError
from orch.mission.caps import Caps
from orch.mission.events import Usage
from tests import play, program
from tests.program import Bench

ITEMS = tuple(play.item(f"i{number}") for number in range(3))
HANGS = play.mission(play.item("a"), reviewer=play.run("sleep 60"))


def caps_of(bench: Bench) -> list[Any]:
    """Return the caps of each run of the only mission."""
    return [e["caps"] for e in bench.journal() if e["type"] in ("mission.started", "mission.resumed")]


def settings(tmp_path: Path, flags: Flags | None = None, **environ: str) -> Settings:
    """Return the settings of a run in `tmp_path`."""
    return load(flags or Flags(), tmp_path, {"HOME": str(tmp_path), **environ})


# ---- the ends


@pytest.mark.fault(30)
def test_tokens_used_up_end_with_4_and_more_of_them_go_on(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """The result, the status and stderr name the flag; a resume without more of them pays nothing."""
    with bench.served(play.mission(*ITEMS)) as endpoint:
        ended = bench.task("--max-tokens", "15000", "--json")
        result = program.check_result(ended, "limit", "stream-json")
        assert ended.code == 4
        assert [blocker["kind"] for blocker in result["blockers"]] == ["limit"]
        assert result["result"].startswith("--max-tokens 15000: ")
        assert ended.lines[0]["caps"]["max_tokens"] == 15_000
        assert ended.lines[-3]["type"] == "budget"
        usage = result["usage"]
        spent = usage["input_tokens"] + usage["output_tokens"]
        assert spent <= 15_000
        record_property("figure", f"{spent} tokens spent of 15000")
        assert f"orch: go on with: {result['resume']} --max-tokens 30000\n" in ended.err
        assert [entry["status"] for entry in bench.status()] == ["limit"]
        asked = len(endpoint.ledger)

        again = bench.run(*result["resume"].split()[1:], "--json")
        assert again.code == 4
        assert "--max-tokens" in program.check_result(again, "limit", "stream-json")["result"]
        assert [line["type"] for line in again.lines[:-1]] == ["mission.resumed", "budget", "mission.failed"]
        assert len(endpoint.ledger) == asked

        assert bench.run("resume", "--max-tokens", "1000000", "-q").code == 0
    assert [caps["max_tokens"] for caps in caps_of(bench)] == [15_000, 15_000, 1_000_000]


@pytest.mark.fault(30)
def test_dollars_used_up_end_with_4_and_need_the_price_of_every_model(bench: Bench) -> None:
    """Without a price nothing is asked: exit 2 names the model, and where to write its price."""
    with bench.served(play.mission(*ITEMS)) as endpoint:
        file = bench.home / ".config" / "orch" / "config.toml"
        file.parent.mkdir(parents=True)
        file.write_text(
            f'[providers.p]\nkind = "openai"\nbase_url = {json.dumps(endpoint.base_url)}\n'
            '[providers.p.models."dear/one"]\ninput_usd_per_mtok = 10\noutput_usd_per_mtok = 20\n'
        )
        asked = ("task", program.GOAL, "--max-budget-usd", "0.15", "--output-format", "json")
        unknown = bench.run(*asked, "-m", "p/dear/one", "--model-worker", "p/other")
        assert unknown.code == 2
        text = program.check_result(unknown, "error", "json")["result"]
        assert "price of p/other is unknown" in text
        assert '[providers.p.models."other"]' in text
        assert endpoint.ledger == []
        assert not (bench.workspace / ".opencode/orch/missions").exists()

        ended = bench.run(*asked, "-m", "p/dear/one")
        assert ended.code == 4
        result = program.check_result(ended, "limit", "json")
        assert 0.05 < result["usage"]["cost_usd"] <= 0.15
        assert result["result"].startswith("--max-budget-usd 0.15: $0.1")
        assert "go on with: " in ended.err
        assert "--max-budget-usd 0.3\n" in ended.err

        calls = len(endpoint.ledger)
        assert bench.run("resume", "-m", "p/other", "--max-budget-usd", "9").code == 2
        assert len(endpoint.ledger) == calls
        assert bench.run("resume", "--max-budget-usd", "9", "-q").code == 0


@pytest.mark.fault(30)
def test_a_timeout_ends_with_124_while_a_command_runs(bench: Bench) -> None:
    """The status says so, no process of the mission lives on, and a resume has all of the time again."""
    bench.extra["ORCH_TIMEOUT"] = "1.5"
    with bench.served(HANGS):
        ended = bench.task("--json")
    result = program.check_result(ended, "timeout", "stream-json")
    assert ended.code == 124
    assert result["retryable"]
    assert "--timeout 1.5s is over: stopping" in ended.err
    assert f"orch: go on with: {result['resume']}\n" in ended.err
    assert [entry["status"] for entry in bench.status()] == ["timeout"]
    assert program.marked(result["mission"]) == []
    bench.extra.clear()
    with bench.served(play.mission(play.item("a"))):
        assert bench.run("resume", "--timeout", "60", "-q").code == 0
    assert [caps["timeout_s"] for caps in caps_of(bench)] == [1.5, 60]


# ---- what applies


def test_a_cap_that_cannot_be_is_refused_before_anything_starts(bench: Bench, tmp_path: Path) -> None:
    """Exit 2 says what was expected."""
    ended = bench.run("task", "--demo", "--timeout", "soon")
    assert ended.code == 2
    assert "--timeout cannot be used: expected a duration such as 90s, 15m, 2h or 1h30m" in ended.err
    assert not list(bench.workspace.iterdir())
    with pytest.raises(ConfigError, match=r"^ORCH_TIMEOUT cannot be used: expected a duration"):
        settings(tmp_path, ORCH_TIMEOUT="1h30")
    with pytest.raises(
        ConfigError, match=r"^--max-budget-usd cannot be used: expected US dollars, more than 0"
    ):
        settings(tmp_path, Flags(max_budget_usd=-1))
    with pytest.raises(ConfigError, match=r"^--max-tokens cannot be used: expected a whole number from 1"):
        settings(tmp_path, Flags(max_tokens=0))


@pytest.mark.parametrize("quiet", [False, True])
def test_where_nobody_watches_there_are_caps_and_they_are_announced(bench: Bench, quiet: bool) -> None:
    """In one line at the start, but not with -q; in the stream and the journal in any case."""
    with bench.served(play.mission(commander=play.answer("Rust."))):
        ended = bench.task("--answer", *(["-q"] if quiet else []))
    announced = [line for line in ended.err.splitlines() if "--timeout 2h and --max-tokens 10000000" in line]
    assert len(announced) == (0 if quiet else 1)
    assert caps_of(bench) == [{"timeout_s": 7200.0, "max_tokens": 10_000_000, "max_budget_usd": None}]


def test_flags_go_before_the_environment_and_that_before_the_files(tmp_path: Path) -> None:
    """As with every other setting; a file may say a number of seconds too."""
    folder = tmp_path / ".opencode"
    folder.mkdir()
    file = folder / "orch.toml"
    file.write_text('timeout = "2h"\nmax_tokens = 7\nmax_budget_usd = 1\n')

    read = settings(tmp_path)
    assert (read.timeout_s, read.max_tokens, read.max_budget_usd) == (7200, 7, 1)
    assert settings(tmp_path, ORCH_TIMEOUT="90s").timeout_s == 90
    flags = Flags(timeout="15m", max_tokens=9, max_budget_usd=0.5)
    given = settings(tmp_path, flags, ORCH_TIMEOUT="90s")
    assert (given.timeout_s, given.max_tokens, given.max_budget_usd) == (900, 9, 0.5)

    file.write_text("timeout = 45")
    assert settings(tmp_path).timeout_s == 45
    for wrong in (
        'timeout = "never"',
        "timeout = true",
        "timeout = -1",
        "max_tokens = 0",
        "max_budget_usd = 0",
    ):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=f"{wrong.split()[0]} cannot be used: expected "):
            settings(tmp_path)


def test_what_is_said_now_goes_before_what_the_mission_had_and_that_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a person at the terminal there are no defaults; CI is no person, whatever it is set to."""
    said: list[str] = []
    had = Caps(timeout_s=60, max_tokens=5)
    now = settings(tmp_path, Flags(max_tokens=9))
    assert limits.chosen(now, had, said.append) == Caps(timeout_s=60, max_tokens=9)
    assert said == []
    assert limits.chosen(now, Caps(), said.append) == Caps(timeout_s=7200, max_tokens=9)
    assert said == ["no terminal, or CI is set, so it has caps: --timeout 2h; flags set others"]

    monkeypatch.setattr("os.isatty", lambda _descriptor: True)
    assert limits.chosen(now, Caps(), said.append) == Caps(max_tokens=9)
    assert limits.chosen(settings(tmp_path, CI="false"), Caps(), said.append) == limits.DEFAULTS
    assert limits.chosen(settings(tmp_path, CI=""), Caps(), said.append) == Caps()
    assert said[1:] == [
        "no terminal, or CI is set, so it has caps: --timeout 2h and --max-tokens 10000000; flags set others"
    ]


def test_a_dollar_cap_asks_for_the_price_of_what_was_asked_before_too(tmp_path: Path) -> None:
    """Unless what it cost is known; the demo's model costs nothing."""
    caps, model = Caps(max_budget_usd=1.0), ModelRef("p", "m")
    facts = {model: ModelFacts(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)}

    def known(ref: ModelRef) -> ModelFacts:
        return facts.get(ref, ModelFacts())

    limits.check_prices(caps, [model], {"q/old": Usage(cost_usd=0.5)}, known)
    limits.check_prices(Caps(max_tokens=1), [ModelRef("q", "new")], {}, known)
    with pytest.raises(UsageError, match=r"the price of q/old is unknown"):
        limits.check_prices(caps, [model], {"q/old": Usage()}, known)
    demo = limits.facts_of(settings(tmp_path), demo=True)
    limits.check_prices(caps, [ModelRef("demo", "scripted")], {}, demo)
