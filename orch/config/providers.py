"""Who can be asked: the providers of the environment and of the user's file, and the model of a role."""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

from orch.config.settings import ModelFacts, ModelRef, Provider, ProviderKind, Secret, Settings
from orch.config.tables import Facts, UserFile, web_address
from orch.errors import ConfigError, UsageError
from orch.mission.events import Role

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


def of_environment(env: Mapping[str, str]) -> dict[str, Provider]:
    """Return the providers that variables name. Raises `ConfigError`."""
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


def of_user(user: UserFile, env: Mapping[str, str]) -> dict[str, Provider]:
    """Return the providers of the user's file. Raises `ConfigError` for a key that is none."""
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


def _facts(table: Facts) -> ModelFacts:
    known = table.model_dump(exclude_none=True)
    return ModelFacts(assumed="context_tokens" not in known, **known)


def _secret(env: Mapping[str, str], name: str) -> Secret | None:
    value = env.get(name, "").strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"{name} holds no key: a key is printable ASCII without blanks", source=name)
    return Secret(value) if value else None


def _address(text: str, source: str) -> str:
    try:
        return web_address(text)
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
