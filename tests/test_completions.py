"""The scripts in completions/ are Typer's, and what they ask the program for is what it has."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import typer.main

from orch.main import app

COMPLETIONS = Path(__file__).resolve().parents[1] / "completions"
ORCH = Path(sysconfig.get_path("scripts")) / "orch"
COMMANDS = ("task", "status", "stop", "resume")


def ask(mode: str, *interpreter: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Call the program as a completion script does."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "_ORCH_COMPLETE": mode} | variables
    return subprocess.run(
        [*interpreter, ORCH], capture_output=True, text=True, timeout=30, check=True, env=environment
    )


def offered(words: str) -> list[str]:
    """Return what bash is offered for the last of `words`."""
    position = str(len(words.split(" ")) - 1)
    return ask("complete_bash", COMP_WORDS=words, COMP_CWORD=position).stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_what_the_program_generates(shell: str) -> None:
    """A script that differs is written anew by `_ORCH_COMPLETE=source_SHELL orch`."""
    script = (COMPLETIONS / f"orch.{shell}").read_text()

    assert script.strip() == ask(f"source_{shell}").stdout.strip()


def test_the_four_commands_complete() -> None:
    """They are all there is, and a beginning narrows them."""
    assert sorted(offered("orch ")) == sorted(COMMANDS)
    assert sorted(offered("orch st")) == ["status", "stop"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_completes(command: str) -> None:
    """By its long name, `--help` included."""
    group = typer.main.get_command(app)
    parameters = group.commands[command].params  # type: ignore[attr-defined] # a Typer app is a group
    names = {name for parameter in parameters for name in parameter.opts if name.startswith("--")}

    assert len(names) >= 2
    assert set(offered(f"orch {command} --")) == names | {"--help"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_with_the_script() -> None:
    """The script is sourced and its function called, as the Tab key does."""
    lines = (
        f"source '{COMPLETIONS / 'orch.bash'}'",
        "COMP_WORDS=(orch st) COMP_CWORD=1",
        f"_orch_completion '{ORCH}'",
        'printf "%s\\n" "${COMPREPLY[@]}"',
        "complete -p orch",
    )
    shell = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)],  # noqa: S607 - the bash of whoever runs the tests
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
    )

    *replies, registered = shell.stdout.splitlines()
    assert sorted(replies) == ["status", "stop"]
    assert "-F _orch_completion orch" in registered


def test_the_tab_key_waits_for_no_heavy_import() -> None:
    """What only a mission needs is not imported to complete a word (Typer itself may import pydantic)."""
    words = {"COMP_WORDS": "orch task --", "COMP_CWORD": "2"}
    loaded = ask("complete_bash", sys.executable, "-X", "importtime", **words).stderr
    modules = set(re.findall(r"\|\s+([\w.]+)$", loaded, re.MULTILINE))

    assert "orch.commands.task" in modules
    assert modules.isdisjoint(
        {"httpx", "filelock", "tenacity", "orch.config", "orch.mission", "orch.runtime"}
    )
