"""The Tab key in real shells: the scripts in completions/ offer what the program knows."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from orch.commands import shells

COMPLETIONS = Path(__file__).resolve().parents[1] / "completions"
SCRIPTS = Path(sysconfig.get_path("scripts"))
MODEL = "ollama/qwen2.5-coder:7b"

_BASH = """
source "$SCRIPT"
COMP_LINE=$1 COMP_POINT=${#1}; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() { printf 'compopt %s\\n' "$*"; }
_orch_completion orch
printf '%s\\n' "${COMPREPLY[@]}"
complete -p orch
"""
_ZSH = """
compdef() { : }
_describe() { print -rl -- ${(P)3} }
_files() { print -r -- files $@ }
source "$SCRIPT"
words=("$@") CURRENT=$# PREFIX=${@[-1]}
_orch
"""
_FISH = """
source $SCRIPT
complete -C $argv[1]
"""


def _needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def _run(arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> list[str]:
    environment = {
        "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "ORCH_MODEL": MODEL,
        **variables,
    }
    ended = subprocess.run(
        arguments, capture_output=True, text=True, timeout=30, check=False, env=environment, cwd=folder
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def _bash(folder: Path, line: str, *words: str) -> list[str]:
    variables = {"SCRIPT": str(COMPLETIONS / "orch.bash")}
    return _run(["bash", "--norc", "-c", _BASH, "bash", line, *words], folder, variables)[:-1]


def _zsh(folder: Path, *words: str) -> list[str]:
    return _run(["zsh", "-f", "-c", _ZSH, "zsh", *words], folder, {"SCRIPT": str(COMPLETIONS / "orch.zsh")})


def _fish(folder: Path, line: str) -> list[str]:
    variables = {"SCRIPT": str(COMPLETIONS / "orch.fish")}
    return _run(["fish", "--no-config", "-c", _FISH, line], folder, variables)


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """A workspace with a blank in its name, and one mission in it."""
    mission = tmp_path / "sp ace" / ".opencode" / "orch" / "missions" / "20260101-000000-aaaa"
    mission.mkdir(parents=True)
    (mission / "journal.jsonl").write_text('{"type":"mission.started","goal":"build: it"}\n')
    return tmp_path


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_what_the_program_prints(shell: str, tmp_path: Path) -> None:
    """A script that differs is written anew by `orch --show-completion SHELL`."""
    script = (COMPLETIONS / f"orch.{shell}").read_text()

    assert script == shells.SCRIPTS[shell]
    if shell == "bash":
        assert _run(["orch", "--show-completion", shell], tmp_path, {}) == script.splitlines()


@_needs("bash")
def test_bash_gets_whole_words_though_it_cuts_them_at_colons(tmp_path: Path) -> None:
    """What was cut off before is left out of what comes back, as readline wants it."""
    line = "orch task -m ollama/qwen2.5-coder:7"
    assert _bash(tmp_path, line, "orch", "task", "-m", "ollama/qwen2.5-coder", ":", "7") == [
        "compopt +o default",
        "7b",
    ]
    assert _bash(tmp_path, "orch task --model=oll", "orch", "task", "--model", "=", "oll")[1:] == [MODEL]


@_needs("bash")
def test_bash_completes_commands_missions_and_paths(blank: Path) -> None:
    """Words in quotes count as what they stand for; paths are bash's own business."""
    quoted = '"sp ace"'
    assert _bash(blank, "orch st", "orch", "st")[-2:] == ["stop", "status"]
    assert _bash(blank, f"orch resume -C {quoted} ", "orch", "resume", "-C", quoted, "")[-1] == (
        "20260101-000000-aaaa"
    )
    assert _bash(blank, "orch task -f ", "orch", "task", "-f", "")[0] == "compopt -o default"
    assert "dirnames" in _bash(blank, "orch task -C ", "orch", "task", "-C", "")[0]


@_needs("zsh")
def test_zsh_completes_with_descriptions(blank: Path) -> None:
    """A colon in a value is masked, that of a description is not one."""
    assert _zsh(blank, "orch", "sto") == [
        "stop:Stop the running mission and return when nothing of it lives."
    ]
    assert _zsh(blank, "orch", "task", "-m", "oll") == [MODEL.replace(":", "\\:") + ":from the environment"]
    assert _zsh(blank, "orch", "resume", "-C", "sp\\ ace", "") == ["20260101-000000-aaaa:build: it"]
    assert _zsh(blank, "orch", "task", "-C", "") == ["files -/"]


@_needs("fish")
def test_fish_completes_with_descriptions(blank: Path) -> None:
    """Also paths behind an equals sign."""
    assert _fish(blank, "orch resu") == ["resume\tContinue a mission that stopped, failed or crashed."]
    assert _fish(blank, "orch task -m oll") == [f"{MODEL}\tfrom the environment"]
    assert _fish(blank, "orch resume -C 'sp ace' ") == ["20260101-000000-aaaa\tbuild: it"]
    assert [row.split("\t")[0] for row in _fish(blank, "orch task --cd=sp")] == ["--cd=sp ace/"]


def test_whatever_goes_wrong_the_prompt_stays_clean(tmp_path: Path) -> None:
    """Settings and journals that cannot be read are no settings and no journals, and nothing is written."""
    mission = tmp_path / ".opencode" / "orch" / "missions" / "20260101-000000-aaaa"
    mission.mkdir(parents=True)
    (mission / "journal.jsonl").write_bytes(b'\xff{"goal')
    (tmp_path / ".opencode" / "orch.toml").write_text("no toml")
    before = sorted(tmp_path.rglob("*"))
    asked = {shells.VARIABLE: "complete", "ORCH_MODEL": "\x1b[31m"}

    assert _run(["orch", "resume", ""], tmp_path, asked) == ["20260101-000000-aaaa"]
    assert "openai/gpt-5" in _run(["orch", "task", "-m", ""], tmp_path, asked)
    assert _run(["orch", "bogus", "--x", "'"], tmp_path, asked) != ["Traceback"]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_tab_key_waits_for_no_heavy_import(tmp_path: Path) -> None:
    """What only a mission needs is not imported to complete a word."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], shells.VARIABLE: "complete"}
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPTS / "orch", "task", "-m", ""],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    modules = set(re.findall(r"\|\s+([\w.]+)$", loaded.stderr, re.MULTILINE))

    assert "openai/gpt-5" in loaded.stdout
    assert "orch.commands.completion" in modules
    assert modules.isdisjoint({"pydantic", "httpx", "filelock", "tenacity", "orch.config", "orch.mission"})
