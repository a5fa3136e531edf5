"""The settings of one run, built once and passed down; the only reader of the environment in orch.

Theory of operation. A setting comes from the first place that gives it: flags, `ORCH_*` variables,
`.opencode/orch.toml` of the workspace, `$XDG_CONFIG_HOME/orch/config.toml` of the user, the default. A model
for every role in a higher place beats a model for one role in a lower one. The workspace is not trusted with
the user's keys: what names providers or widens what a child process sees counts only in the user's own file
or the environment. Whatever cannot be used is a `ConfigError` that names its source and its key; nothing is
guessed or silently dropped. `load` only reads; that a model's provider exists is `model_for`'s question, so
that a run that needs no model needs no provider.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn, Self, TypeGuard, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from orch.errors import ConfigError, UsageError
from orch.mission import caps
from orch.mission.events import Role

DEFAULT_CONTEXT_TOKENS = 32_768
LEAST_THINKING_TOKENS = 1024  # the smallest budget (Anthropic API reference, "Extended thinking")
OLLAMA = "ollama"
OLLAMA_URL = "http://127.0.0.1:11434"
ANTHROPIC_URL = "https://api.anthropic.com"  # without /v1, as ANTHROPIC_BASE_URL is written
GETTING_STARTED = """no model provider is configured. Ways to get going:
  orch task --demo               the built-in scripted model, without a key
  export OPENAI_API_KEY=...      then: orch task -m openai/MODEL "GOAL"
  export ANTHROPIC_API_KEY=...   then: orch task -m anthropic/MODEL "GOAL"
  export OPENROUTER_API_KEY=...  then: orch task -m openrouter/VENDOR/MODEL "GOAL"
  ollama serve                   then: orch task -m ollama/MODEL "GOAL"
  export OPENAI_BASE_URL=URL     a local server: orch task -m openai/MODEL "GOAL"
or name a provider in ~/.config/orch/config.toml, under [providers.NAME]"""

_KEY_HINTS = MappingProxyType(
    {
        "openai": "set OPENAI_API_KEY, or OPENAI_BASE_URL for a local server",
        "anthropic": "set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for a compatible server",
        "openrouter": "set OPENROUTER_API_KEY",
    }
)


class Secret:
    """A key that shows itself to nobody but the caller of `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


class ProviderKind(StrEnum):
    """The wire a provider speaks."""

    OPENAI = "openai"  # chat completions, as OpenAI, OpenRouter, Ollama, vLLM and llama.cpp serve them
    ANTHROPIC = "anthropic"  # the Messages API, as Anthropic and compatible servers serve it


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model; prices in US dollars per million tokens, `None` where unknown."""

    context_tokens: int = DEFAULT_CONTEXT_TOKENS
    output_tokens: int | None = None
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    cached_usd_per_mtok: float | None = None
    thinking: int | Literal["adaptive"] | None = None
    """What is asked for on the Anthropic wire: a budget in tokens, or as the model sees fit. `None` asks for
    nothing, and then only those models think that do so by themselves."""
    assumed: bool = False
    """The window is a guess."""


@dataclass(frozen=True)
class Provider:
    """One endpoint and how to speak to it; `base_url` carries no slash at its end."""

    name: str
    kind: ProviderKind
    base_url: str
    api_key: Secret | None = None
    models: Mapping[str, ModelFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRef:
    """A model as it is written on the command line: `provider/name`; the name may hold more slashes."""

    provider: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split `text` at its first `/`.

        Raises:
            UsageError: One side is missing.
        """
        provider, _, name = text.strip().partition("/")
        if not provider or not name:
            raise UsageError(f"{text!r} is no model: write PROVIDER/MODEL, such as openai/gpt-4.1")
        return cls(provider, name)

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


@dataclass(frozen=True)
class Flags:
    """What the command line gave; `None` where it said nothing."""

    model: str | None = None
    role_models: Mapping[Role, str] = field(default_factory=dict)
    fallback_models: str | None = None
    """Separated by commas; an empty text means none, whatever the settings or the mission say."""
    max_parallel: int | None = None
    max_turns: int | None = None
    timeout: str | None = None
    max_tokens: int | None = None
    max_budget_usd: float | None = None


@dataclass(frozen=True)
class Settings:
    """Everything a run is told; see the module for where each value comes from."""

    models: Mapping[Role, ModelRef]
    providers: Mapping[str, Provider]
    fallback_models: tuple[ModelRef, ...] = ()
    """Tried in this order when a model is down or refuses."""
    max_parallel: int = 50
    max_turns: int = 200
    timeout_s: float | None = None
    """Of one run; `None`, as for the two below it: nothing was said."""
    max_tokens: int | None = None
    max_budget_usd: float | None = None
    verify: tuple[str, ...] = ()
    """Commands that must exit 0 on the final tree, besides those of the plan."""
    baseline: bool = True
    """Run the verification once before the first write."""
    diagnostics: Mapping[str, str] = field(default_factory=dict)
    """Glob of written files -> command that looks at one, `{path}` in it."""
    command_timeout_s: float = 600
    idle_timeout_s: float = 120
    turn_timeout_s: float = 600
    """Of one answer of a model."""
    session_timeout_s: float = 7200
    """Of the answers and tools of one session (the Commander's: since it was woken)."""
    pass_env: tuple[str, ...] = ()
    """Names of variables that child processes may see besides the usual ones."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The process's environment as it was read; what children see is chosen from it."""

    @property
    def state_folder(self) -> Path:
        """Where the user's orch processes tell each other of providers (XDG base directories)."""
        return _xdg_folder(self.environment, "XDG_STATE_HOME", ".local/state") / "orch"

    def secrets(self) -> frozenset[str]:
        """Return the values of all providers' keys, to be kept out of everything that is recorded."""
        return frozenset(p.api_key.reveal() for p in self.providers.values() if p.api_key)


def load(flags: Flags, workspace: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read every source once and return the settings.

    Raises:
        ConfigError: A file or a value cannot be used.
    """
    env = dict(os.environ if environ is None else environ)
    user = _read(_user_path(env), _UserFile)
    project = _read(workspace / ".opencode" / "orch.toml", _File)
    layers = (_from_flags(flags), _from_environment(env), project, user)
    return Settings(
        models=MappingProxyType(_models(layers)),
        providers=MappingProxyType(_providers_of(env) | _user_providers(user, env)),
        pass_env=tuple(user.pass_env),
        environment=MappingProxyType(env),
        **_merged(layers),
    )


def has_provider(settings: Settings) -> bool:
    """Say whether anything but the mere name of Ollama is there to ask."""
    return settings.providers.keys() != {OLLAMA} or bool(settings.environment.get("OLLAMA_HOST"))


def model_for(settings: Settings, role: Role, offered: Sequence[str] = ()) -> ModelRef:
    """Return the model of `role`; its provider is in `settings.providers`.

    Args:
        settings: The run's settings.
        role: Who asks.
        offered: Models to name where none is set, as `provider/name`; ask the endpoints for them.

    Raises:
        UsageError: No provider, no model, or a provider that nobody configured; the text says what to do.
    """
    ref = settings.models.get(role)
    if ref is None and not has_provider(settings):
        raise UsageError(GETTING_STARTED)
    if ref is None:
        raise UsageError(_no_model(settings, offered))
    check_provider(settings, ref)
    return ref


def check_provider(settings: Settings, ref: ModelRef) -> None:
    """Raise `UsageError` if nobody configured the provider of a model."""
    if ref.provider not in settings.providers:
        raise UsageError(_unknown_provider(settings, ref))


def _no_model(settings: Settings, offered: Sequence[str]) -> str:
    if offered:
        return "no model is set: name one with -m, such as\n  " + "\n  ".join(offered)
    names = ", ".join(sorted(settings.providers))
    return f"no model is set: name one with -m PROVIDER/MODEL (providers: {names})"


def _unknown_provider(settings: Settings, ref: ModelRef) -> str:
    if ref.provider in _KEY_HINTS:
        return f"{ref} cannot be asked: {_KEY_HINTS[ref.provider]}"
    known = sorted(settings.providers.keys() | _KEY_HINTS.keys())
    near = difflib.get_close_matches(ref.provider, known, n=3, cutoff=0.5) or known
    return (
        f"{ref}: no provider is called {ref.provider!r}; did you mean {', '.join(near)}? "
        f"Others go under [providers.{ref.provider}] in the user's config.toml"
    )


# -- what a source may say --------------------------------------------------------------------------


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(text)
    return text.rstrip("/")


def _model_name(text: str) -> str:
    provider, _, name = text.strip().partition("/")
    if not provider or not name:
        raise ValueError(text)
    return text


def _model_names(texts: list[str]) -> list[str]:
    return [_model_name(text) for text in texts]


def _with_path(command: str) -> str:
    if "{path}" not in command:
        raise ValueError(command)
    return command


def _seconds(value: object) -> object:
    """Return the seconds of a duration; a number stands for itself."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    return caps.seconds(value if isinstance(value, str) else f"{value:f}")


class _Table(BaseModel):
    """A table of a settings file; a field's description is what its error says was expected."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_Text = Annotated[str, Field(pattern=r"\S")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
_Model = Annotated[
    Annotated[str, AfterValidator(_model_name)] | None, Field(description="a model as PROVIDER/MODEL")
]
_Price = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
    Field(description="US dollars per million tokens"),
]
_Seconds = Annotated[float, Field(ge=1, le=86_400)]


class _RoleModels(_Table):
    commander: _Model = None
    planner: _Model = None
    worker: _Model = None
    reviewer: _Model = None


class _Limits(_Table):
    command_timeout_s: _Seconds | None = Field(None, description="seconds from 1 to 86400")
    idle_timeout_s: _Seconds | None = Field(None, description="seconds from 1 to 86400")
    turn_timeout_s: _Seconds | None = Field(None, description="seconds from 1 to 86400")
    session_timeout_s: _Seconds | None = Field(None, description="seconds from 1 to 86400")


class _File(_Table):
    """What every source may say; `None` where it says nothing."""

    model: _Model = None
    models: _RoleModels = Field(_RoleModels(), description="a table of models by role")
    fallback_models: Annotated[list[str], AfterValidator(_model_names)] | None = Field(
        None, description="models as PROVIDER/MODEL"
    )
    max_parallel: Annotated[int, Field(ge=1, le=500)] | None = Field(
        None, description="a whole number from 1 to 500"
    )
    max_turns: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="a whole number from 1 to 10000"
    )
    timeout: Annotated[float | None, BeforeValidator(_seconds)] = Field(None, description=caps.DURATION)
    max_tokens: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        None, description="a whole number from 1"
    )
    max_budget_usd: Annotated[float, Field(gt=0, le=10**9)] | None = Field(
        None, description="US dollars, more than 0"
    )
    verify: list[_Text] | None = Field(None, description="a list of commands")
    verify_before: bool | None = Field(None, description="true or false")
    diagnostics: dict[str, Annotated[str, AfterValidator(_with_path)]] | None = Field(
        None, description='a table of "GLOB" = "COMMAND", {path} in each command'
    )
    limits: _Limits = Field(_Limits(), description="a table of limits")


class _Facts(_Table):
    context_tokens: Annotated[int, Field(ge=1024)] | None = Field(
        None, description="a whole number from 1024"
    )
    output_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number from 1")
    input_usd_per_mtok: _Price = None
    output_usd_per_mtok: _Price = None
    cached_usd_per_mtok: _Price = None
    thinking: int | Literal["adaptive"] | None = Field(
        None, description='"adaptive", or a number of tokens from 1024 and below output_tokens'
    )

    @field_validator("thinking", mode="before")
    @classmethod
    def _leaves_room_to_answer(cls, value: object, others: ValidationInfo) -> object:
        limit = others.data.get("output_tokens")
        is_budget = isinstance(value, int) and value >= LEAST_THINKING_TOKENS
        if value == "adaptive" or (is_budget and (limit is None or value < limit)):
            return value
        raise ValueError(value)


class _ProviderTable(_Table):
    kind: Literal["openai", "anthropic"] = Field(description='"openai" or "anthropic"')
    base_url: Annotated[str, AfterValidator(_web_address)] = Field(
        description="an http:// or https:// address"
    )
    api_key_env: _Text | None = Field(None, description="the name of a variable")
    models: dict[str, _Facts] = Field({}, description="a table of models")


class _UserFile(_File):
    """What only the user's own file may say besides."""

    providers: dict[_Name, _ProviderTable] = Field({}, description="a table of providers")
    pass_env: list[_Text] = Field([], description="a list of variable names")


_Content = TypeVar("_Content", bound=_File)
_ONLY_USER = frozenset(_UserFile.model_fields) - frozenset(_File.model_fields)
_CAPS = {"timeout", "max_tokens", "max_budget_usd"}
_PLAIN_KEYS = {
    "fallback_models",
    "max_parallel",
    "max_turns",
    "verify",
    "verify_before",
    "diagnostics",
} | _CAPS
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)


# -- reading the sources -----------------------------------------------------------------------------


def _user_path(env: Mapping[str, str]) -> Path:
    return _xdg_folder(env, "XDG_CONFIG_HOME", ".config") / "orch" / "config.toml"


def _xdg_folder(env: Mapping[str, str], name: str, default: str) -> Path:
    base = env.get(name) or ""
    home = Path(env.get("HOME") or "~").expanduser()
    return Path(base) if Path(base).is_absolute() else home / default


def _read(path: Path, schema: type[_Content]) -> _Content:
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return schema()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", source=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML: {error}", source=str(path)) from error
    return _checked(table, schema, str(path), {})


def _from_flags(flags: Flags) -> _File:
    names = {"model": "--model", "max_parallel": "--max-parallel", "max_turns": "--max-turns"}
    names |= {cap.value: cap.flag for cap in caps.Cap}
    names |= {f"models.{role}": f"--model-{role}" for role in Role}
    names["fallback_models"] = "--fallback-model"
    table: dict[str, object] = {
        "model": flags.model,
        "models": {str(role): name for role, name in flags.role_models.items()},
        "fallback_models": _listed(flags.fallback_models),
        "max_parallel": flags.max_parallel,
        "max_turns": flags.max_turns,
    }
    table |= {cap: getattr(flags, cap) for cap in _CAPS}
    return _checked(table, _File, "command line", names)


def _listed(text: str | None) -> list[str] | None:
    """Return what a flag separates with commas."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _from_environment(env: Mapping[str, str]) -> _File:
    names = {"model": "ORCH_MODEL", "max_parallel": "ORCH_MAX_PARALLEL", "timeout": "ORCH_TIMEOUT"}
    roles = {str(role): f"ORCH_MODEL_{role.upper()}" for role in Role}
    parallel = env.get("ORCH_MAX_PARALLEL") or None
    table: dict[str, object] = {
        "model": env.get("ORCH_MODEL") or None,
        "models": {role: env.get(name) or None for role, name in roles.items()},
        "max_parallel": int(parallel) if parallel and _WHOLE.fullmatch(parallel) else parallel,
        "timeout": env.get("ORCH_TIMEOUT") or None,
    }
    return _checked(
        table, _File, "environment", names | {f"models.{role}": name for role, name in roles.items()}
    )


def _checked(
    table: Mapping[str, object], schema: type[_Content], source: str, names: Mapping[str, str]
) -> _Content:
    try:
        return schema.model_validate(table, strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False)[0]
        loc = tuple(str(part) for part in detail["loc"])
        key = ".".join(loc)
        shown = names.get(key) or f"{source}: {key}"
        raise ConfigError(
            f"{shown} {_complaint(schema, loc, detail['type'])}", source=names.get(key, source), key=key
        ) from None


def _complaint(schema: type[_Table], loc: tuple[str, ...], kind: str) -> str:
    if kind != "extra_forbidden":
        missing = "is missing" if kind == "missing" else "cannot be used"
        return f"{missing}: expected {_descend(schema, loc)[1]}"
    table, _ = _descend(schema, loc[:-1])
    if loc[0] in _ONLY_USER.difference(schema.model_fields):
        return "counts only in the user's own config.toml or the environment: a workspace may not set it"
    near = difflib.get_close_matches(loc[-1], table.model_fields, n=1, cutoff=0.0)
    return f"is no setting; the nearest is {near[0]}"


def _descend(schema: type[_Table], loc: tuple[str, ...]) -> tuple[type[_Table], str | None]:
    """Return the table that holds the end of `loc`, and what the field there expects."""
    table, description = schema, None
    for part in loc:
        known = table.model_fields.get(part)
        if known is None:
            continue
        description = known.description
        inner = [kind for kind in (known.annotation, *get_args(known.annotation)) if _is_table(kind)]
        table = inner[0] if inner else table
    return table, description


def _is_table(kind: object) -> TypeGuard[type[_Table]]:
    return isinstance(kind, type) and issubclass(kind, _Table)


# -- putting them together ---------------------------------------------------------------------------


def _models(layers: Sequence[_File]) -> dict[Role, ModelRef]:
    models: dict[Role, ModelRef] = {}
    for layer in reversed(layers):
        chosen = layer.models.model_dump(exclude_none=True)
        for role in Role:
            text = chosen.get(role.value) or layer.model
            if text:
                models[role] = ModelRef.parse(text)
    return models


def _merged(layers: Sequence[_File]) -> dict[str, Any]:
    values: dict[str, Any] = {}
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
    return values


def _providers_of(env: Mapping[str, str]) -> dict[str, Provider]:
    providers = {OLLAMA: _provider(OLLAMA, _ollama_url(env), None)}
    openai_url, openai_key = env.get("OPENAI_BASE_URL") or None, _secret(env, "OPENAI_API_KEY")
    if openai_url or openai_key:
        url = _address(openai_url, "OPENAI_BASE_URL") if openai_url else "https://api.openai.com/v1"
        providers["openai"] = _provider("openai", url, openai_key)
    anthropic_url, anthropic_key = env.get("ANTHROPIC_BASE_URL") or None, _secret(env, "ANTHROPIC_API_KEY")
    if anthropic_url or anthropic_key:
        url = _address(anthropic_url, "ANTHROPIC_BASE_URL") if anthropic_url else ANTHROPIC_URL
        kind = ProviderKind.ANTHROPIC
        providers["anthropic"] = Provider(name="anthropic", kind=kind, base_url=url, api_key=anthropic_key)
    if key := _secret(env, "OPENROUTER_API_KEY"):
        providers["openrouter"] = _provider("openrouter", "https://openrouter.ai/api/v1", key)
    return providers


def _provider(name: str, base_url: str, key: Secret | None) -> Provider:
    return Provider(name=name, kind=ProviderKind.OPENAI, base_url=base_url, api_key=key)


def _user_providers(user: _UserFile, env: Mapping[str, str]) -> dict[str, Provider]:
    return {
        name: Provider(
            name=name,
            kind=ProviderKind(table.kind),
            base_url=table.base_url,
            api_key=_secret(env, table.api_key_env) if table.api_key_env else None,
            models={model: _facts(facts) for model, facts in table.models.items()},
        )
        for name, table in user.providers.items()
    }


def _facts(table: _Facts) -> ModelFacts:
    known = table.model_dump(exclude_none=True)
    return ModelFacts(assumed="context_tokens" not in known, **known)


def _secret(env: Mapping[str, str], name: str) -> Secret | None:
    value = env.get(name, "").strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"{name} holds no key: a key is printable ASCII without blanks", source=name)
    return Secret(value) if value else None


def _address(text: str, source: str) -> str:
    try:
        return _web_address(text)
    except ValueError:
        raise ConfigError(
            f"{source} cannot be used: expected an http:// or https:// address", source=source
        ) from None


def _ollama_url(env: Mapping[str, str]) -> str:
    """Return the address of the server; OLLAMA_HOST is `host`, `host:port` or a URL (Ollama FAQ)."""
    host = env.get("OLLAMA_HOST") or OLLAMA_URL
    if "://" in host:
        return _address(host, "OLLAMA_HOST") + "/v1"
    url = _address(f"http://{host}", "OLLAMA_HOST")
    url = url if urlsplit(url).port else f"{url}:11434"
    return url.replace("//0.0.0.0:", "//127.0.0.1:") + "/v1"
