"""Flags, variables and files, put together: `load` is the one place where settings come from."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orch.config import files, providers
from orch.config.complaints import Source
from orch.config.settings import Flags, ModelRef, Settings, xdg_folder
from orch.config.tables import ProjectFile, UserFile
from orch.mission import caps
from orch.mission.events import Role

_CAPS = {"timeout", "max_tokens", "max_budget_usd"}
_PLAIN_KEYS = {
    "fallback_models",
    "max_parallel",
    "max_turns",
    "verify",
    "verify_before",
    "diagnostics",
    "notify",
} | _CAPS
_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)


def load(flags: Flags, workspace: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read every source once and return the settings.

    Raises:
        ConfigError: A file or a value cannot be used.
    """
    env = dict(os.environ if environ is None else environ)
    path = user_path(env)
    user = files.read(path, UserFile, path.parent)
    project = files.read(project_path(workspace), ProjectFile, workspace, within=workspace)
    layers = (_from_flags(flags), _from_environment(env), project.content, user.content)
    instructions = (*user.instructions(), *project.instructions())
    files.check_size(instructions)
    return Settings(
        models=MappingProxyType(_models(layers)),
        providers=MappingProxyType(providers.of_environment(env) | providers.of_user(user.content, env)),
        instructions=instructions,
        pass_env=tuple(user.content.pass_env),
        notify_command=tuple(user.content.notify_command),
        environment=MappingProxyType(env),
        **_merged(layers),
    )


def environment() -> Mapping[str, str]:
    """Return the process's environment, for who has to know it before there are settings."""
    return MappingProxyType(dict(os.environ))


def user_path(env: Mapping[str, str]) -> Path:
    """Return where the user's own settings are looked for."""
    return xdg_folder(env, "XDG_CONFIG_HOME", ".config") / "orch" / "config.toml"


def project_path(workspace: Path) -> Path:
    """Return where the settings of a workspace are looked for."""
    return workspace / ".opencode" / "orch.toml"


def _from_flags(flags: Flags) -> ProjectFile:
    names = {"model": "--model", "max_parallel": "--max-parallel", "max_turns": "--max-turns"}
    names |= {cap.value: cap.flag for cap in caps.Cap}
    names |= {f"models.{role}": f"--model-{role}" for role in Role}
    names["fallback_models"] = "--fallback-model"
    table: dict[str, object] = {
        "model": flags.model,
        "models": {str(role): name for role, name in flags.role_models.items()},
        "fallback_models": _listed(flags.fallback_models),
        "max_parallel": _whole(flags.max_parallel),
        "max_turns": _whole(flags.max_turns),
        "timeout": flags.timeout,
        "max_tokens": _whole(flags.max_tokens),
        "max_budget_usd": _decimal(flags.max_budget_usd),
    }
    return files.checked(table, ProjectFile, Source("the command line", names=names))


def _listed(text: str | None) -> list[str] | None:
    """Return what a flag separates with commas."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _whole(value: float | str | None) -> float | str | None:
    """Return the number that a text is; what is none stays a text, and is refused as that."""
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value.strip()) else value


def _decimal(value: float | str | None) -> float | str | None:
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()) else value


def _from_environment(env: Mapping[str, str]) -> ProjectFile:
    names = {"model": "ORCH_MODEL", "max_parallel": "ORCH_MAX_PARALLEL", "timeout": "ORCH_TIMEOUT"}
    roles = {str(role): f"ORCH_MODEL_{role.upper()}" for role in Role}
    table: dict[str, object] = {
        "model": env.get("ORCH_MODEL") or None,
        "models": {role: env.get(name) or None for role, name in roles.items()},
        "max_parallel": _whole(env.get("ORCH_MAX_PARALLEL") or None),
        "timeout": env.get("ORCH_TIMEOUT") or None,
    }
    names |= {f"models.{role}": name for role, name in roles.items()}
    return files.checked(table, ProjectFile, Source("the environment", names=names))


# -- putting them together ---------------------------------------------------------------------------


def _models(layers: Sequence[ProjectFile]) -> dict[Role, ModelRef]:
    models: dict[Role, ModelRef] = {}
    for layer in reversed(layers):
        for role in Role:
            text = getattr(layer.roles, role).model or getattr(layer.models, role) or layer.model
            if text:
                models[role] = ModelRef.parse(text)
    return models


def _own(layers: Sequence[ProjectFile], name: str) -> Mapping[Role, Any]:
    """Return the limits that roles have of their own; one for all in a higher place ends those below."""
    own: dict[Role, Any] = {}
    for layer in reversed(layers):
        if getattr(layer, name, None) is not None or getattr(layer.limits, name, None) is not None:
            own.clear()
        for role in Role:
            if (limit := getattr(getattr(layer.roles, role), name)) is not None:
                own[role] = limit
    return MappingProxyType(own)


def _merged(layers: Sequence[ProjectFile]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "role_turns": _own(layers, "max_turns"),
        "role_session_timeout_s": _own(layers, "session_timeout_s"),
    }
    for layer in reversed(layers):
        values |= layer.model_dump(exclude_none=True, include=_PLAIN_KEYS)
        values |= layer.limits.model_dump(exclude_none=True)
    if "timeout" in values:
        values["timeout_s"] = values.pop("timeout")
    if "verify_before" in values:
        values["baseline"] = values.pop("verify_before")
    if "fallback_models" in values:
        values["fallback_models"] = tuple(ModelRef.parse(name) for name in values["fallback_models"])
    if "verify" in values:
        values["verify"] = tuple(values["verify"])
    return values | {"given": frozenset(values)}
