"""What README.md says is what the program does: its commands, help, screen, exit codes and settings."""

import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import typer.main

from orch import config
from orch.commands import exit_codes
from orch.config import tables
from orch.main import app
from orch.mission import result

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ORCH = Path(sysconfig.get_path("scripts")) / "orch"
COMMANDS = ("task", "status", "stop", "resume")
NOT_OF_RESUME = {"--file", "--answer", "--dry-run", "--demo"}


def blocks(language: str = "") -> list[str]:
    """Return the README's fenced blocks of one language."""
    fenced = README.split("```")[1::2]
    return [
        body.rstrip() for head, _, body in (block.partition("\n") for block in fenced) if head == language
    ]


def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `orch` as a user does who has no key, without a terminal."""
    home = os.environ["HOME"]
    environment = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    return subprocess.run(
        [ORCH, *args], capture_output=True, text=True, timeout=60, check=False, env=environment | variables
    )


def options(command: str) -> set[str]:
    """Return the long names of a command's options."""
    group = typer.main.get_command(app)
    parameters = group.commands[command].params  # type: ignore[attr-defined] # a Typer app is a group
    return {name for parameter in parameters for name in parameter.opts if name.startswith("--")}


def test_the_readme_fits_200_lines() -> None:
    """It is read to its end."""
    assert len(README.splitlines()) <= 200


def test_the_first_screen_holds_exactly_two_commands_to_paste() -> None:
    """One runs the demo and one the tests; each makes an environment of its own, which git ignores."""
    demo, tests = blocks("sh")[0].splitlines()

    assert README.index(demo) < len("\n".join(README.splitlines()[:25]))
    assert demo.startswith("python3 -m venv .venv && .venv/bin/pip install -q . && ")
    assert demo.endswith(".venv/bin/orch task --demo -C demo")
    assert tests.startswith("python3 -m venv .venv-dev && ")
    assert tests.endswith(".venv-dev/bin/python -m pytest")
    assert {".venv/", ".venv-*/", "/demo/"} <= set((ROOT / ".gitignore").read_text().split())


@pytest.mark.parametrize("command", ["task", "status", "stop"])
def test_the_help_shown_is_the_programs(command: str) -> None:
    """Its usage and its options, as `orch COMMAND --help` prints them; what is in all of them is left out."""
    printed = run(command, "--help").stdout
    usage, _, rest = printed.partition("\n")
    options = re.search(r"^(Options|What to do):\n.*?(?=^Examples:)", rest, re.MULTILINE | re.DOTALL)
    assert options is not None
    left_out = ("Options:", "Other:", "  -h,", "  MISSION ")
    lines = [line for line in options[0].splitlines() if line and not line.startswith(left_out)]
    expected = "\n".join([usage, *lines])

    assert any(expected in block for block in blocks()), f"README.md lacks:\n{expected}"


def test_resume_takes_the_options_of_task_as_the_readme_says() -> None:
    """All but those that say what the goal is; and one of its own."""
    assert options("resume") == options("task") - NOT_OF_RESUME | {"--reply"}
    assert "`resume` takes the options of `task` but for `-f`, `--answer`, `--dry-run` and `--demo`" in README
    assert "`--reply TEXT`" in README


def test_every_option_the_readme_names_exists() -> None:
    """In its prose too: no flag is promised that is not there."""
    known = {name for command in COMMANDS for name in options(command)}
    known |= {"--version", "--show-completion"}
    known |= {"--faults", "--exit-codes"}  # of pytest, with the project's own conftest.py
    prose = "".join(README.split("```")[::2])

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose)) <= known


def test_the_screen_shown_is_what_the_demo_prints(tmp_path: Path) -> None:
    """Line by line, but for times, numbers and the order of what happens at once."""
    shown = next(block for block in blocks() if "orch: sealed" in block)
    demo = run("task", "--demo", "-C", str(tmp_path / "demo"))

    assert demo.returncode == 0
    assert demo.stdout.rstrip() in shown
    printed = set(_shapes(demo.stderr))
    missing = [line for line in _shapes(shown.replace(demo.stdout.rstrip(), "")) if line not in printed]
    assert missing == []


def _shapes(text: str) -> list[str]:
    """Return the lines without what differs from run to run; cut lines may be cut elsewhere."""
    lines = [line for line in text.splitlines() if line.strip() not in ("", "...")]
    plain = (re.sub(r"mission [\w-]+|tree \w+", "ID", line) for line in lines)
    return [re.sub(r"\d+", "N", line).strip()[:40] for line in plain]


def test_the_exit_codes_shown_are_those_that_exist() -> None:
    """Every code that orch may end with is in the table, and no other."""
    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE)
    shown = {int(code) for row in rows for code in row.split(",")}
    own = {exit_codes.USAGE, exit_codes.BUG, exit_codes.INTERRUPTED, 1}

    assert shown == set(result.EXIT_CODES.values()) | own


def test_the_settings_shown_are_accepted_and_complete(tmp_path: Path) -> None:
    """The first file is a user's, the second a workspace's; together they name every key."""
    users, projects = blocks("toml")
    projects = projects.replace("# ", "", 1).replace("\n# ", "\n")
    home, workspace = tmp_path / "orch", tmp_path / "workspace" / ".opencode"
    home.mkdir()
    workspace.mkdir(parents=True)
    (home / "config.toml").write_text(users)
    (workspace / "orch.toml").write_text(projects)
    (workspace.parent / "docs").mkdir()
    (workspace.parent / "docs" / "agents.md").write_text("Be brief.")

    settings = config.load(config.Flags(), workspace.parent, {"XDG_CONFIG_HOME": str(tmp_path)})

    assert settings.max_parallel == config.Settings.max_parallel
    assert settings.max_turns == config.Settings.max_turns
    assert settings.baseline is config.Settings.baseline
    assert settings.command_timeout_s == config.Settings.command_timeout_s
    assert settings.idle_timeout_s == config.Settings.idle_timeout_s
    assert settings.turn_timeout_s == config.Settings.turn_timeout_s
    assert settings.session_timeout_s == config.Settings.session_timeout_s
    assert set(tomllib.loads(projects)) == set(config.ProjectFile.model_fields)
    assert set(tomllib.loads(projects)["limits"]) == set(tables.Limits.model_fields)
    assert set(tomllib.loads(users)["providers"]["small"]) == set(tables.ProviderTable.model_fields)
    assert set(tomllib.loads(projects)["roles"]["worker"]) == set(tables.RoleTable.model_fields) - {
        "model",
        "instructions_file",
    }
    assert {"providers", "pass_env", "notify_command"} == config.ONLY_USER
    assert all(f"`{key} = " in README for key in config.ONLY_USER - {"providers"})


def test_the_variables_shown_are_read() -> None:
    """No variable is promised that nothing looks at."""
    sources = "".join(path.read_text() for path in (ROOT / "orch").rglob("*.py"))
    named = set(re.findall(r"`((?:ORCH|OPENAI|OPENROUTER|OLLAMA)_[A-Z_]+)`", README))

    assert {"OPENAI_API_KEY", "ORCH_MODEL"} <= named
    assert [name for name in named if name not in sources and not name.startswith("ORCH_MODEL_")] == []


def test_the_helper_that_the_commands_start_with_is_python() -> None:
    """The two commands need nothing but Python and git: every program in them comes from the environment."""
    programs = [part.split()[0] for line in blocks("sh")[0].splitlines() for part in line.split(" && ")]

    assert {p for p in programs if not p.startswith(".venv")} == {"python3"}
    assert shutil.which("python3") is not None
