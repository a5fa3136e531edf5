"""What an endpoint said instead of an answer, as one of orch's errors.

Classified by status, `code` and `type`, never by searching a text for words; the one exception are endpoints
that give a context overflow no code of its own, where the two figures of the text are compared. Every
message is one line that names the endpoint, the model and what to do next, and holds no key, even where the
endpoint quotes it.
"""

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch.config import Secret
from orch.errors import (
    AuthRefused,
    ContextOverflow,
    ModelError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
    ServerFailed,
    UnknownModel,
)
from orch.mission.transcript import clean
from orch.models.rates import exhausted_s

MAX_RETRY_AFTER_S = 3600.0  # a longer wait is asked for again when it is over
MAX_QUOTE_CHARS = 200  # of the endpoint's own words in an error

_OVERFLOW = frozenset(  # OpenAI; llama.cpp; Anthropic
    {"context_length_exceeded", "exceed_context_size_error", "request_too_large"}
)
_NO_QUOTA = frozenset(  # OpenAI; Anthropic, the second one with a 429
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
    | {"billing_error", "enforced_spend_limit_reached"}
)
_LIMITED = frozenset({"rate_limit_exceeded", "rate_limit_error", "overloaded_error", "server_is_overloaded"})
_NO_AUTH = frozenset({"invalid_api_key", "authentication_error", "permission_error"})
_NO_MODEL = frozenset({"model_not_found"})
_OUR_FAULT = frozenset({"invalid_request_error", "BadRequestError"})
_FIGURES = re.compile(
    r"maximum context length (?:is|of) (?P<limit>\d+).*?(?:requested|resulted in)(?: about)? (?P<asked>\d+)"
    r"|Limit (?P<tpm>\d+),.*?Requested (?P<wanted>\d+)",
    re.DOTALL,
)
_SUM = re.compile(  # Anthropic: the prompt alone, or with the answer that was asked for
    r"(?:prompt is too long: (?P<prompt>\d+) tokens"
    r"|exceed context limit: (?P<input>\d+) \+ (?P<output>\d+)) > (?P<limit>\d+)"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who was asked, for the texts of errors."""

    provider: str
    host: str
    model: str
    key: Secret | None

    def says(self, text: str) -> str:
        """Return `text` as one line that names the endpoint and hides the key."""
        line = clean(f"{self.provider} ({self.host}), model {self.model}: {text}")
        return self.hide(" ".join(line.split()))

    def hide(self, text: str) -> str:
        """Return `text` without the key."""
        return text.replace(self.key.reveal(), "***") if self.key else text


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error object in any of the shapes that are about; absent parts are empty."""

    message: str = ""
    kind: str = ""
    code: str = ""
    param: str = ""

    @classmethod
    def of(cls, error: object) -> "ErrorBody":
        """Read the value of `error`, or a whole body that has none."""
        if isinstance(error, str):
            return cls(message=error)
        if not isinstance(error, dict):
            return cls()
        return cls(
            message=_text(error.get("message") or error.get("detail")),
            kind=_text(error.get("type")),
            code=_text(error.get("code") or _error_code(error.get("details"))),
            param=_text(error.get("param")),
        )

    @classmethod
    def read(cls, body: bytes) -> "ErrorBody":
        """Read the body of a response; HTML and whatever else is no JSON has no parts."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return cls()
        if isinstance(content, list) and content:  # Gemini's compatible endpoint
            content = content[0]
        return cls.of(content.get("error") or content if isinstance(content, dict) else content)

    @property
    def names(self) -> frozenset[str]:
        """What the error is called."""
        return frozenset((self.code, self.kind))


def classify(endpoint: Endpoint, status: int, headers: Mapping[str, str], error: ErrorBody) -> ModelError:
    """Return the error that `status` and `error` mean; an error inside a stream has the status 200."""
    if status == 200:  # noqa: PLR2004 - the stream had begun
        status = _status_in_stream(error)
    if _is_overflow(status, error):
        return ContextOverflow(endpoint.says(f"the request is too large for it{_quote(endpoint, error)}"))
    if error.names & _NO_MODEL:
        return unknown_model(endpoint, ())
    if error.names & _NO_QUOTA or status == 402:  # noqa: PLR2004 - 402 Payment Required
        return ProviderUnavailable(
            endpoint.says(f"no credit is left; check plan and billing{_quote(endpoint, error)}")
        )
    return _by_status(endpoint, status, headers, error)


def _by_status(endpoint: Endpoint, status: int, headers: Mapping[str, str], error: ErrorBody) -> ModelError:
    quote = _quote(endpoint, error)
    if status in (401, 403):
        return AuthRefused(endpoint.says(_auth_text(endpoint, status)))
    wait_s = retry_after_s(headers)
    if status in (429, 529):
        return RateLimited(endpoint.says(f"asks for fewer requests ({status}){quote}"), retry_after_s=wait_s)
    if status >= 500 or status in (408, 409):  # noqa: PLR2004 - the server's own errors
        text = f"failed ({status}); it is worth asking again{quote}"
        return ServerFailed(endpoint.says(text), status=status, retry_after_s=wait_s)
    text = f"refused the request ({status}); asking again unchanged cannot help{quote}"
    return RequestRefused(endpoint.says(text), status=status, code=error.code or None)


def _quote(endpoint: Endpoint, error: ErrorBody) -> str:
    return f": {endpoint.hide(error.message)[:MAX_QUOTE_CHARS]}" if error.message else ""


def unknown_model(endpoint: Endpoint, known: tuple[str, ...]) -> UnknownModel:
    """Return the error for a model that the endpoint does not know; `known` are its own, nearest first."""
    offer = f"it knows {', '.join(known[:8])}" if known else "check the name"
    return UnknownModel(endpoint.says(f"no such model there; {offer}"), model=endpoint.model, known=known)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that the endpoint asks for, at most an hour; `None` for none, garbage and the past.

    Where it asks for none, its rates may say when something is left again.
    """
    millis = _seconds(headers.get("retry-after-ms", ""))
    stamp = headers.get("retry-after", "")
    wait = millis / 1000 if millis is not None else _seconds(stamp)
    if wait is None:
        wait = _until(stamp)
    if wait is None or wait <= 0:
        wait = exhausted_s(headers)
    return min(wait, MAX_RETRY_AFTER_S) if wait > 0 else None


def _seconds(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _until(stamp: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(stamp).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _auth_text(endpoint: Endpoint, status: int) -> str:
    if endpoint.key is None:
        return f"wants a key and none is set ({status}); set the provider's API key"
    return f"refused the key ({status}); check the provider's API key and what it may use"


def _is_overflow(status: int, error: ErrorBody) -> bool:
    if error.names & _OVERFLOW or status == 413:  # noqa: PLR2004 - 413 Content Too Large
        return True
    message = error.message if status in (400, 429) else ""
    if figures := _SUM.search(message):
        *asked, limit = (int(figure) for figure in figures.groups() if figure)
        return sum(asked) > limit
    if figures := _FIGURES.search(message):
        limit, wanted = (int(figure) for figure in figures.groups() if figure)
        return wanted > limit
    return False


def _status_in_stream(error: ErrorBody) -> int:
    """Return the status that an error would have had before the stream began; OpenRouter's code is one."""
    if re.fullmatch("[45][0-9]{2}", error.code):
        return int(error.code)
    for names, status in ((_LIMITED, 429), (_NO_AUTH, 401), (_OUR_FAULT, 400)):
        if error.names & names:
            return status
    return 500


def _error_code(details: Any) -> Any:
    """Return what Anthropic says more precisely than by the type of an error."""
    return details.get("error_code") if isinstance(details, dict) else None


def _text(value: Any) -> str:
    return str(value)[:10_000] if isinstance(value, str | int) else ""
