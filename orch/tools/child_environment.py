"""The environment that commands get: an allow-list, so that what is not known to be harmless stays out.

No provider's key passes, under whatever name or by whose wish; nothing is read here and nothing raises.
"""

import re
from collections.abc import Collection, Mapping

_KEPT = frozenset(
    (
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
        *("CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
        *("CONDA_DEFAULT_ENV", "CONDA_PREFIX", "PIP_CACHE_DIR", "PYENV_ROOT", "UV_CACHE_DIR", "VIRTUAL_ENV"),
        *("BUN_INSTALL", "DENO_DIR", "FNM_DIR", "NVM_BIN", "NVM_DIR", "PNPM_HOME", "VOLTA_HOME"),
        *("CARGO_HOME", "RUSTUP_HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOROOT"),
        *("ANDROID_HOME", "ANDROID_SDK_ROOT", "GRADLE_USER_HOME", "JAVA_HOME", "M2_HOME", "MAVEN_HOME"),
        *("ASDF_DATA_DIR", "ASDF_DIR", "DOTNET_ROOT", "GEM_HOME", "GEM_PATH", "MISE_DATA_DIR"),
        *("RBENV_ROOT", "SDKMAN_DIR"),
    )
)
_PROXIES = frozenset({"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"})
_FIXED = {
    "CI": "1",
    "DEBIAN_FRONTEND": "noninteractive",
    "EDITOR": "true",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "TERM": "dumb",
    "VISUAL": "true",
}
"""Nobody is there to answer, to page or to see colours."""

_KEY = re.compile(
    r"(.*_)?API_?KEYS?(_.*)?|(OPENAI|ANTHROPIC|OPENROUTER)_.*(KEY|TOKEN|SECRET).*", re.IGNORECASE
)
_NEVER = re.compile(rf"ORCH_.*|{_KEY.pattern}", re.IGNORECASE)
_SECRET_LENGTH = 16
"""From this length on the value of a key is secret wherever it stands; shorter ones are placeholders."""


def child_environment(environ: Mapping[str, str], extra: Collection[str] = ()) -> dict[str, str]:
    """Return what commands may see of `environ`: the known harmless, and the exact names in `extra`.

    HOME stays, tools need it. `extra` is a person's choice and passes as it is, except for what looks like
    a provider's key, contains the value of one, or is orch's own (`ORCH_*`).
    """
    secrets = {v for name, v in environ.items() if _KEY.fullmatch(name) and len(v) >= _SECRET_LENGTH}
    passed = {
        name: value
        for name, value in environ.items()
        if (name in extra or _is_harmless(name, value))
        and not _NEVER.fullmatch(name)
        and not any(secret in value for secret in secrets)
    }
    return passed | _FIXED


def _is_harmless(name: str, value: str) -> bool:
    if name.upper() in _PROXIES:
        return "@" not in value  # user:password@host
    return name in _KEPT or name.startswith("LC_")
