"""What a run is told: its models, providers, limits and instructions, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, NoReturn, Self

from orch.errors import UsageError
from orch.mission.events import Instructions, Role

DEFAULT_CONTEXT_TOKENS = 32_768


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
    """What the command line gave; `None` where it said nothing. Numbers may come as they were typed."""

    model: str | None = None
    role_models: Mapping[Role, str] = field(default_factory=dict)
    fallback_models: str | None = None
    """Separated by commas; an empty text means none, whatever the settings or the mission say."""
    max_parallel: int | str | None = None
    max_turns: int | str | None = None
    timeout: str | None = None
    max_tokens: int | str | None = None
    max_budget_usd: float | str | None = None


@dataclass(frozen=True)
class Settings:
    """Everything a run is told; see the package for where each value comes from."""

    models: Mapping[Role, ModelRef]
    providers: Mapping[str, Provider]
    fallback_models: tuple[ModelRef, ...] = ()
    """Tried in this order when a model is down or refuses."""
    max_parallel: int = 50
    max_turns: int = 200
    role_turns: Mapping[Role, int] = field(default_factory=dict)
    """Of the roles that have a limit of their own; the others have `max_turns`."""
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
    role_session_timeout_s: Mapping[Role, float] = field(default_factory=dict)
    """Of the roles that have one of their own."""
    instructions: tuple[Instructions, ...] = ()
    """What the settings files tell the agents, the user's own first; it goes into their system prompts."""
    pass_env: tuple[str, ...] = ()
    """Names of variables that child processes may see besides the usual ones."""
    notify: bool = True
    """Whether a person may be told, outside the terminal's text, that a long run is over."""
    notify_command: tuple[str, ...] = ()
    """Program and arguments that do so, `{title}` and `{text}` in them; empty: what the system has."""
    given: frozenset[str] = frozenset()
    """The names of those above that some source gave: the others are defaults."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The process's environment as it was read; what children see is chosen from it."""

    @property
    def state_folder(self) -> Path:
        """Where the user's orch processes tell each other of providers (XDG base directories)."""
        return xdg_folder(self.environment, "XDG_STATE_HOME", ".local/state") / "orch"

    def secrets(self) -> frozenset[str]:
        """Return the values of all providers' keys, to be kept out of everything that is recorded."""
        return frozenset(p.api_key.reveal() for p in self.providers.values() if p.api_key)

    def session_timeout_of(self, role: Role) -> float:
        """Return how long a session of `role` may work, in seconds."""
        return self.role_session_timeout_s.get(role, self.session_timeout_s)


def xdg_folder(env: Mapping[str, str], name: str, default: str) -> Path:
    """Return a base directory of the XDG specification; an empty or relative one counts as none."""
    base = env.get(name) or ""
    home = Path(env.get("HOME") or "~").expanduser()
    return Path(base) if Path(base).is_absolute() else home / default
