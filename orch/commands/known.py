"""What is known without asking anybody: missions, their sessions, names of models. Cheap, for the Tab key.

Journals are read for what their lines say at first sight, without being proven: whoever acts on a name reads
them properly. What cannot be read says nothing. Values that a shell or terminal could take for something else
are left out.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from orch.models import makers

MOST_MISSIONS = 50
_MOST_LINES = 200_000
"""So much of a journal is looked at for sessions."""
_LONGEST_LINE = 1024 * 1024
_NAME = re.compile(r"[\w.:/@+-]+", re.ASCII)
_ROLES = ("COMMANDER", "PLANNER", "WORKER", "REVIEWER")


def missions(workspace: Path) -> list[tuple[str, str]]:
    """Return the missions of a workspace with their goals, newest first."""
    return [(path.parent.name, str(_started(path).get("goal", ""))) for path in _journals(workspace)]


def sessions(workspace: Path, mission: str | None) -> list[tuple[str, str]]:
    """Return the sessions of a mission with what they are for; of the latest, where none is named."""
    chosen = [path for path in _journals(workspace) if mission in (None, path.parent.name)][:1]
    found = []
    for path in chosen:
        for event in _events(path, b'"type":"session.started"'):
            about = " ".join(str(event.get(key, "")) for key in ("role", "item", "title"))
            found.append((str(event.get("session", "")), about))
    return [row for row in found if _NAME.fullmatch(row[0])]


def models(workspace: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return names of models: of variables and settings, of earlier missions, of those with a maker."""
    names: dict[str, str] = {}
    for where, found in (
        ("from the environment", _of_environment(environ)),
        ("from the settings", _of_settings(workspace / ".opencode" / "orch.toml")),
        ("from the settings", _of_settings(_user_file(environ))),
        ("used here before", _of_missions(workspace)),
        ("", (f"{provider}/{name}" for provider, table in makers.MODELS.items() for name in table)),
    ):
        for name in found:
            names.setdefault(name, where)
    return [row for row in names.items() if _NAME.fullmatch(row[0]) and "/" in row[0]]


def _journals(workspace: Path) -> list[Path]:
    folder = workspace / ".opencode" / "orch" / "missions"
    try:
        names = sorted((p.name for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)
    except OSError:
        return []
    journals = (folder / name / "journal.jsonl" for name in names)
    return list(islice((path for path in journals if path.is_file()), MOST_MISSIONS))


def _started(journal: Path) -> Mapping[str, Any]:
    """Return the first event of a journal."""
    try:
        with journal.open("rb") as file:
            event = json.loads(file.readline(_LONGEST_LINE))
    except (OSError, ValueError):
        return {}
    return event if isinstance(event, dict) else {}


def _events(journal: Path, mark: bytes) -> Iterator[Mapping[str, Any]]:
    """Return the events of a journal whose lines hold `mark`."""
    try:
        with journal.open("rb") as file:
            for line in islice(file, _MOST_LINES):
                if mark in line and isinstance(event := json.loads(line), dict):
                    yield event
    except (OSError, ValueError):
        return


def _of_environment(environ: Mapping[str, str]) -> Iterable[str]:
    names = ["ORCH_MODEL", *(f"ORCH_MODEL_{role}" for role in _ROLES)]
    return [environ[name] for name in names if environ.get(name)]


def _of_missions(workspace: Path) -> Iterator[str]:
    for path in _journals(workspace):
        event = _started(path)
        chosen = event.get("models")
        if isinstance(chosen, dict) and not event.get("demo"):
            yield from map(str, chosen.values())


def _user_file(environ: Mapping[str, str]) -> Path:
    base = Path(environ.get("XDG_CONFIG_HOME", ""))
    folder = base if base.is_absolute() else Path(environ.get("HOME") or "/") / ".config"
    return folder / "orch" / "config.toml"


def _of_settings(path: Path) -> Iterator[str]:
    try:
        table = tomllib.loads(path.read_text("utf-8-sig")) if path.is_file() else {}
    except (OSError, ValueError):
        return
    yield from _texts([table.get("model"), table.get("fallback_models"), table.get("models")])
    roles, providers = table.get("roles"), table.get("providers")
    for role in roles.values() if isinstance(roles, dict) else ():
        yield from _texts([role.get("model") if isinstance(role, dict) else None])
    for name, provider in providers.items() if isinstance(providers, dict) else ():
        own = provider.get("models") if isinstance(provider, dict) else None
        yield from (f"{name}/{model}" for model in own or () if isinstance(own, dict))


def _texts(values: Iterable[object]) -> Iterator[str]:
    """Return the texts among values, and in lists and tables of them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)
        elif isinstance(value, dict):
            yield from _texts(value.values())
