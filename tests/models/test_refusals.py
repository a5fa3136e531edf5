"""What endpoints say instead of an answer, by the dialects that are about."""

import email.utils
import json
import time
from typing import Any

import pytest

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
from orch.models.refusals import Endpoint, ErrorBody, classify, retry_after_s

KEY = "sk-live-0123456789abcdef"
ENDPOINT = Endpoint("small", "models.example:8080", "qwen", Secret(KEY))
LLAMA_OVERFLOW = {
    "code": 400,
    "type": "exceed_context_size_error",
    "message": "request (9021 tokens) exceeds the available context size (4096 tokens), try increasing it",
}
OPENAI_OVERFLOW = {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
DEEPSEEK_OVERFLOW = {
    "message": "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens "
    "(122942 in the messages, 8192 in the completion).",
    "type": "invalid_request_error",
    "code": "invalid_request_error",
}
SMALL_ENOUGH = {"message": "maximum context length is 4096 tokens. However, you requested 300 tokens"}
TOO_LARGE_FOR_TPM = {
    "message": "Request too large for gpt-4o: Limit 30000, Requested 36278.",
    "type": "tokens",
}
LIMITED = {
    "message": "Rate limit reached: Limit 30000, Used 29937, Requested 385. Please try again in 644ms.",
    "type": "tokens",
    "code": "rate_limit_exceeded",
}
NO_QUOTA = {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}
PAIRING = {"message": "tool_call_ids did not have response messages", "type": "invalid_request_error"}


def _classified(status: int, error: object, **headers: str) -> ModelError:
    body = json.dumps({"error": error}).encode() if not isinstance(error, bytes) else error
    return classify(ENDPOINT, status, headers, ErrorBody.read(body))


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"code": "invalid_api_key"}, AuthRefused),
        (403, b"<html>forbidden</html>", AuthRefused),
        (404, {"code": "model_not_found"}, UnknownModel),
        (400, {"code": "model_not_found"}, UnknownModel),
        (404, b"404 page not found", RequestRefused),
        (400, OPENAI_OVERFLOW, ContextOverflow),
        (400, LLAMA_OVERFLOW, ContextOverflow),
        (400, DEEPSEEK_OVERFLOW, ContextOverflow),
        (400, SMALL_ENOUGH, RequestRefused),
        (413, b"<html>413</html>", ContextOverflow),
        (429, LIMITED, RateLimited),
        (429, TOO_LARGE_FOR_TPM, ContextOverflow),
        (429, NO_QUOTA, ProviderUnavailable),
        (402, {"code": 402, "message": "Insufficient credits"}, ProviderUnavailable),
        (429, b"", RateLimited),
        (529, b"Overloaded", RateLimited),
        (400, PAIRING, RequestRefused),
        (422, {"detail": [1]}, RequestRefused),
        (301, b"", RequestRefused),
        (408, b"", ServerFailed),
        (409, b"", ServerFailed),
        (500, b"\xff\xfe", ServerFailed),
        (502, b"<html><h1>502 Bad Gateway</h1></html>", ServerFailed),
        (503, [{"error": {"message": "Loading model"}}], ServerFailed),
        (504, b"[" * 100_000, ServerFailed),
    ],
)
def test_a_refusal_is_known_by_status_code_and_type(
    status: int, error: object, kind: type[ModelError]
) -> None:
    """The exact class, because the class decides what happens next."""
    assert type(_classified(status, error)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "server_error", "message": "boom"}, ServerFailed),
        ("just a text", ServerFailed),
        ({"code": "server_is_overloaded"}, RateLimited),
        ({"code": 429, "message": "upstream"}, RateLimited),
        ({"code": 502, "message": "upstream"}, ServerFailed),
        ({"type": "overloaded_error"}, RateLimited),
        (NO_QUOTA, ProviderUnavailable),
        (OPENAI_OVERFLOW, ContextOverflow),
        (DEEPSEEK_OVERFLOW, ContextOverflow),
        ({"type": "invalid_request_error", "message": "no"}, RequestRefused),
        ({"type": "authentication_error"}, AuthRefused),
        (None, ServerFailed),
    ],
)
def test_an_error_inside_a_stream_is_known_by_code_and_type(error: object, kind: type[ModelError]) -> None:
    """The status was 200 before it came."""
    assert type(classify(ENDPOINT, 200, {}, ErrorBody.of(error))) is kind


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "1e12"}, 3600.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
    ],
)
def test_a_wait_is_what_the_endpoint_asked_for_if_it_makes_sense(
    headers: dict[str, str], wait: float | None
) -> None:
    """Milliseconds, seconds, a date; at most an hour; never garbage."""
    assert retry_after_s(headers) == wait


def test_a_date_is_a_wait_from_now() -> None:
    """Within the second that a date can say."""
    stamp = email.utils.formatdate(time.time() + 600, usegmt=True)

    assert retry_after_s({"retry-after": stamp}) == pytest.approx(600, abs=5)


def test_the_facts_of_an_error_are_attributes() -> None:
    """Nothing has to be read out of a text again."""
    limited = _classified(429, LIMITED, **{"retry-after": "7"})
    failed = _classified(503, b"", **{"retry-after": "2"})
    refused = _classified(400, {"code": "string_above_max_length", "message": "too long"})

    assert isinstance(limited, RateLimited)
    assert isinstance(failed, ServerFailed)
    assert isinstance(refused, RequestRefused)
    assert limited.retry_after_s == 7.0
    assert (failed.status, failed.retry_after_s) == (503, 2.0)
    assert (refused.status, refused.code) == (400, "string_above_max_length")


@pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 429, 500])
@pytest.mark.parametrize("padding", [0, 150, 180])
def test_an_error_is_one_line_that_names_the_place_and_hides_the_key(status: int, padding: int) -> None:
    """Also where the endpoint quotes the key, and where the quote is cut in the middle of it."""
    error: dict[str, Any] = {"message": "x" * padding + f"\nkey {KEY} is\x00 bad\n"}
    text = str(_classified(status, error))

    assert text.startswith("small (models.example:8080), model qwen: ")
    assert "\n" not in text
    assert "\x00" not in text
    assert KEY[:8] not in text


def test_a_refused_key_and_a_missing_key_are_told_apart() -> None:
    """The fix is another one."""
    keyless = Endpoint("small", "models.example", "qwen", None)

    assert "refused the key" in str(classify(ENDPOINT, 401, {}, ErrorBody()))
    assert "none is set" in str(classify(keyless, 401, {}, ErrorBody()))
