"""The scripted endpoint is as strict as the real ones: what they refuse, it refuses, in their words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.endpoint import MODELS, NEWER_MODEL, UNKNOWN_MODEL, Endpoint, Fault, Step, Turn

USER = {"role": "user", "content": "go"}
TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
START_LIMIT_S = 20.0


def _call(call_id: str = "c1", name: str = "read", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _calls(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def _result(call_id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "ok"}


def _post(endpoint: Endpoint, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    request = {"model": "scripted", "messages": list(messages), "stream": True} | fields
    return httpx.post(f"{endpoint.base_url}/chat/completions", json=request, trust_env=False)


def _echo(turn: Turn) -> Step:
    return Step(
        text=f"{turn.number}/{turn.attempt}: {turn.first_user} {turn.last} {turn.system} {turn.tool_names}"
    )


def _events(response: httpx.Response) -> list[Any]:
    *data, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(each) for each in data]


@pytest.mark.parametrize(
    ("messages", "fields", "words", "param", "code"),
    [
        ([USER, _calls(_call()), USER], {}, "must be followed by tool messages", "messages.[2].role", None),
        (
            [USER, _calls(_call(), _call("c2")), _result()],
            {},
            "did not have response messages: c2",
            "messages.[3].role",
            None,
        ),
        ([USER, _result()], {}, "must be a response to a preceeding", "messages.[1].role", None),
        ([USER, _calls(_call()), _result("c9")], {}, "must be a response", "messages.[2].role", None),
        ([USER, _calls(_call()), _result(), _result()], {}, "must be a response", "messages.[3].role", None),
        (
            [{"role": "user", "content": None}],
            {},
            "expected a string, got null",
            "messages.[0].content",
            None,
        ),
        (
            [USER, _calls(_call("x" * 53)), _result("x" * 53)],
            {},
            "maximum length 40, but got a string with length 53",
            "messages[1].tool_calls[0].id",
            "string_above_max_length",
        ),
        (
            [USER, _calls(_call(name="x" * 65)), _result()],
            {},
            "maximum length 64",
            "messages[1].tool_calls[0].function.name",
            "string_above_max_length",
        ),
        (
            [USER],
            {"tools": [TOOL | {"function": {"name": "a.b"}}]},
            "does not match pattern",
            "tools[0].function.name",
            "invalid_value",
        ),
        ([], {}, "empty array", "messages", None),
        ([USER], {"tools": []}, "empty array", "tools", None),
        ([USER], {"tool_choice": "auto"}, "only allowed when 'tools'", "tool_choice", None),
        (
            [USER],
            {"model": NEWER_MODEL, "max_tokens": 5},
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        ),
    ],
)
def test_what_openai_refuses_is_refused(
    messages: list[dict[str, Any]], fields: dict[str, Any], words: str, param: str, code: str | None
) -> None:
    """With its message, its param and its code; and it is counted."""
    with Endpoint(_echo) as endpoint:
        response = _post(endpoint, *messages, **fields)
        error = response.json()["error"]

        assert response.status_code == 400
        assert words in error["message"]
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
        assert endpoint.refusals == [error["message"]]
        assert endpoint.ledger[0].refusal == error["message"]


def test_arguments_that_llama_cpp_cannot_parse_fail_as_they_do_there() -> None:
    """A poisoned history answers 500 on every later turn."""
    with Endpoint(_echo) as endpoint:
        assert _post(endpoint, USER, _calls(_call(arguments="{")), _result()).status_code == 500


def test_an_unknown_model_is_a_404_and_the_known_ones_are_listed() -> None:
    """As OpenAI has it."""
    with Endpoint(_echo) as endpoint:
        missing = _post(endpoint, USER, model=UNKNOWN_MODEL)
        listed = httpx.get(f"{endpoint.base_url}/models", trust_env=False).json()

        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        assert [model["id"] for model in listed["data"]] == list(MODELS)


def test_a_valid_conversation_is_answered_from_its_turn_alone() -> None:
    """The script sees what it needs; the stream has OpenAI's shape."""
    with Endpoint(_echo) as endpoint:
        history = ({"role": "system", "content": "be good"}, USER, _calls(_call()), _result())
        events = _events(_post(endpoint, *history, tools=[TOOL]))

        text = "".join(each["choices"][0]["delta"].get("content", "") for each in events if each["choices"])
        assert text == "1/1: go ok be good ['read']"
        assert events[0]["choices"][0]["delta"]["role"] == "assistant"
        assert [each["choices"][0]["finish_reason"] for each in events if each["choices"]][-1] == "stop"
        assert events[-1]["choices"] == []
        assert events[-1]["usage"]["prompt_tokens"] > 0


def test_calls_come_in_pieces_with_the_id_in_the_first_alone() -> None:
    """So that a client must assemble them."""
    with Endpoint(lambda _: Step(tool_calls=[("read", {"path": "x" * 90})], piece_chars=20)) as endpoint:
        deltas = [each["choices"][0]["delta"] for each in _events(_post(endpoint, USER)) if each["choices"]]
        pieces = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]

        assert [set(piece) for piece in pieces[1:]] == [{"index", "function"}] * (len(pieces) - 1)
        assert len(pieces) > 4
        joined = "".join(piece["function"]["arguments"] for piece in pieces)
        assert json.loads(joined) == {"path": "x" * 90}


def test_the_ledger_tells_turns_and_attempts_apart() -> None:
    """A retry is the same turn of the same session once more."""
    with Endpoint(_echo) as endpoint:
        for messages in (
            [USER],
            [USER],
            [USER, _calls(_call()), _result()],
            [{"role": "user", "content": "x"}],
        ):
            _post(endpoint, *messages)

        ledger = endpoint.ledger
        assert [(entry.turn, entry.attempt, entry.status) for entry in ledger] == [
            (0, 1, 200),
            (0, 2, 200),
            (1, 1, 200),
            (0, 1, 200),
        ]
        assert [entry.session == ledger[0].session for entry in ledger] == [True, True, True, False]
    assert all(entry.arrival <= (entry.first_byte or 0) <= (entry.end or 0) for entry in ledger)


def test_a_status_fault_has_its_headers_and_body() -> None:
    """Byte for byte."""
    step = Step(fault=Fault.STATUS, status=529, headers={"retry-after": "7"}, body=b"<html>")
    with Endpoint(lambda _: step) as endpoint:
        response = _post(endpoint, USER)

        assert (response.status_code, response.headers["retry-after"], response.content) == (
            529,
            "7",
            b"<html>",
        )


@pytest.mark.parametrize("fault", [Fault.REFUSED_SILENTLY, Fault.HEADERS_ONLY, Fault.CUT])
def test_a_hang_up_is_a_hang_up(fault: Fault) -> None:
    """The client sees the protocol broken."""
    with (
        Endpoint(lambda _: Step(text="x" * 500, fault=fault)) as endpoint,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        _post(endpoint, USER)


def test_it_runs_as_a_process_and_leaves_its_ledger(tmp_path: Path) -> None:
    """For benchmarks, where its own work must not count."""
    (tmp_path / "plays.py").write_text(
        "from tests.endpoint import Step\n\ndef script(turn):\n    return Step('hi')\n"
    )
    port_file, ledger = tmp_path / "port", tmp_path / "ledger"
    command = [sys.executable, str(Path(__file__).with_name("endpoint.py")), "--script", "plays:script"]
    command += ["--port-file", str(port_file), "--ledger", str(ledger)]
    with subprocess.Popen(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}) as process:
        try:
            _wait_for(port_file)
            url = f"http://127.0.0.1:{port_file.read_text()}/v1/chat/completions"
            request = {"model": "scripted", "messages": [USER]}
            assert "hi" in httpx.post(url, json=request, trust_env=False).text
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(START_LIMIT_S) == 0
    (entry,) = [json.loads(line) for line in ledger.read_text().splitlines()]

    assert (entry["turn"], entry["status"], entry["max_concurrent"]) == (0, 200, 1)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        os.sched_yield()
