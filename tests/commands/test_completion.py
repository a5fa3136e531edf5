"""What the Tab key offers, word by word."""

import json
import os
import typing
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer.main

from orch.commands import completion, resume, status, stop, task
from orch.main import app

PROGRAM = typer.main.get_command(app)
COMMANDS = {"task": task.task, "status": status.status, "stop": stop.stop, "resume": resume.resume}


class _Place:
    """A workspace with missions and settings, and what is offered in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"ORCH_CD": str(root), "HOME": str(root / "home")}

    def mission(self, name: str, *events: dict[str, object]) -> None:
        folder = self.root / ".opencode" / "orch" / "missions" / name
        folder.mkdir(parents=True)
        lines = (json.dumps(event, separators=(",", ":")) for event in events)
        (folder / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def offered(self, *words: str) -> list[str]:
        return completion.reply(PROGRAM, words, self.environ).splitlines()

    def names(self, *words: str) -> list[str]:
        return [row.partition("\t")[0] for row in self.offered(*words)]


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    """An empty workspace."""
    return _Place(tmp_path)


def _started(goal: str, model: str = "openai/own", **more: object) -> dict[str, object]:
    return {"type": "mission.started", "goal": goal, "models": {"worker": model}, **more}


def test_the_four_commands_are_offered_with_their_sentence(place: _Place) -> None:
    """They are all there is, and a beginning narrows them."""
    assert sorted(place.names("")) == sorted(COMMANDS)
    assert place.names("st") == ["stop", "status"]
    assert all(row.endswith(".") for row in place.offered(""))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_offered(place: _Place, command: str) -> None:
    """By its long name, `--help` included; with one dash typed the short ones too."""
    parameters = PROGRAM.commands[command].params  # type: ignore[attr-defined] # a Typer app is a group
    names = {name for parameter in parameters for name in parameter.opts if name.startswith("-")}

    assert set(place.names(command, "--")) == {n for n in names if n.startswith("--")} | {"--help"}
    assert set(place.names(command, "-")) == names | {"--help", "-h"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_path_is_completed_by_the_shell(command: str) -> None:
    """A new option that takes a path is found here."""
    hints = typing.get_type_hints(COMMANDS[command])
    paths = {name for name, kind in hints.items() if Path in (kind, *typing.get_args(kind))}

    assert "cd" in paths
    assert paths <= completion.PATHS.keys()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("task", "--output-format", ""), ["text", "json", "stream-json"]),
        (("task", "--output-format=j"), ["--output-format=json"]),
        (("task", "-f", ""), [":files"]),
        (("task", "--cd", ""), [":dirs"]),
        (("task", "--cd=x"), [":dirs"]),
        (("task", "--timeout", ""), [":none"]),
        (("task", "goal"), [":none"]),
        (("task", "--", "--mo"), [":none"]),
        (("task", "--bogus=x"), [":none"]),
        (("task", "-C=x"), [":none"]),
        (("bogus", "x"), [":none"]),
        (("status", "--"), None),
    ],
)
def test_what_stands_before_decides(place: _Place, words: Sequence[str], offered: list[str] | None) -> None:
    """An option's value, an argument, or nothing that could be known."""
    assert offered in (None, place.offered(*words))


def test_missions_are_offered_newest_first_with_their_goals_defused(place: _Place) -> None:
    """A goal may hold anything."""
    place.mission("20260101-000000-aaaa", _started("first"))
    place.mission("20260102-000000-bbbb", _started("\x1b[31mred\nline " + "x" * 200))

    newest, oldest = place.offered("resume", "")
    assert newest.startswith("20260102-000000-bbbb\tred line xxx")
    assert len(newest) < 100
    assert oldest == "20260101-000000-aaaa\tfirst"
    assert place.names("stop", "20260101") == ["20260101-000000-aaaa"]
    assert place.offered("resume", "20260101-000000-aaaa", "") == [":none"]


def test_missions_are_those_of_the_workspace_that_is_named(place: _Place) -> None:
    """Also where its name has blanks and stands in quotes that are still open."""
    other = _Place(place.root / "an other")
    other.mission("20260103-000000-cccc", _started("there"))

    assert place.offered("resume", "") == [":none"]
    assert (
        place.names("resume", "-C", f"'{other.root}'", "")
        == place.names("resume", "-C", f'"{other.root}', "")
        == ["20260103-000000-cccc"]
    )
    assert place.names("resume", f"'--cd={other.root}'", "20") == ["20260103-000000-cccc"]


def test_the_sessions_of_a_mission_are_offered(place: _Place) -> None:
    """Of the latest, where none is named."""
    first: dict[str, object] = {
        "type": "session.started",
        "session": "S1",
        "role": "worker",
        "item": "api",
        "title": "The API",
    }
    place.mission("20260101-000000-aaaa", _started("a"), first)
    place.mission("20260102-000000-bbbb", _started("b"), first | {"session": "S2", "role": "commander"})

    assert place.names("status", "--session", "") == ["S2"]
    assert place.offered("status", "20260101-000000-aaaa", "--session", "") == ["S1\tworker api The API"]


def test_models_come_from_variables_settings_missions_and_makers(place: _Place) -> None:
    """In this order, each once; the demo's is none."""
    place.mission("20260101-000000-aaaa", _started("a", "openai/used:1"))
    place.mission("20260102-000000-bbbb", _started("b", "demo/scripted", demo=True))
    (place.root / ".opencode" / "orch.toml").write_text(
        'fallback_models = ["a/fallback"]\n[roles.worker]\nmodel = "a/role"\n'
    )
    users = place.root / "home" / ".config" / "orch"
    users.mkdir(parents=True)
    (users / "config.toml").write_text('model = "a/role"\n[providers.small.models."qwen:7b"]\n')
    place.environ["ORCH_MODEL_WORKER"] = "a/env"

    names = place.names("task", "-m", "")

    assert names[:5] == ["a/env", "a/fallback", "a/role", "small/qwen:7b", "openai/used:1"]
    assert {"openai/gpt-4.1", "anthropic/claude-opus-4-8"} <= set(names)
    assert len(set(names)) == len(names)
    assert "demo/scripted" not in names
    assert place.names("task", "--model-worker=a/r") == ["--model-worker=a/role"]
    assert place.names("task", "--fallback-model", "x/y,a/f") == ["x/y,a/fallback"]


@pytest.mark.parametrize("text", ["", "x", "model = 3", "models = [1]", "[providers]\nx = 1", "roles = 1"])
def test_settings_of_any_shape_break_nothing(place: _Place, text: str) -> None:
    """They are judged when they are used."""
    (place.root / ".opencode").mkdir()
    (place.root / ".opencode" / "orch.toml").write_text(text)

    assert "openai/gpt-4.1" in place.names("task", "-m", "")


def test_a_folder_that_cannot_be_read_offers_nothing(place: _Place) -> None:
    """Nor does one that is not there, or a pipe in the place of a journal."""
    place.mission("20260101-000000-aaaa")
    journal = place.root / ".opencode/orch/missions/20260101-000000-aaaa/journal.jsonl"
    journal.unlink()
    os.mkfifo(journal)

    assert place.offered("resume", "") == [":none"]
    assert place.offered("resume", "-C", "/nowhere", "") == [":none"]
