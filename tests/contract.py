"""What stdout and `result.json` hold is what the published schemas say, for whatever the tests run.

The schemas are those that are shipped (`tests/schema` compares the files), but closed: a key that they do
not name is found here, where a reader of the contract has to live with it. An event is judged by the
definition of its type alone: to try all of them takes thirty times as long.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from orch.schema import published

RESULT = "result"
_FORMATS = FormatChecker(())
_KINDS_OF_OUTPUT = {"json": "json", "stream-json": "stream-json"}


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


@cache
def schema(name: str) -> Mapping[str, Any]:
    """Return a published schema."""
    document = published.SCHEMAS[name]()
    Draft202012Validator.check_schema(document)
    return document


def event_types() -> Mapping[str, str]:
    """Return the definition that describes each type of event."""
    definitions = {ref["$ref"].rpartition("/")[2] for ref in schema("events")["oneOf"]}
    return {schema("events")["$defs"][name]["properties"]["type"]["const"]: name for name in definitions}


@cache
def _validator(name: str, definition: str = "") -> Draft202012Validator:
    document = dict(schema(name))
    definitions = {key: _closed(value) for key, value in document.get("$defs", {}).items()}
    chosen = definitions[definition] if definition else _closed(document)
    return Draft202012Validator(chosen | {"$defs": definitions}, format_checker=_FORMATS)


def _closed(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {**definition, "additionalProperties": False} if "properties" in definition else dict(definition)


@cache
def _types() -> Mapping[str, str]:
    return event_types()


def check_event(event: Mapping[str, Any]) -> None:
    """Assert that a line of the stream is an event as the schema has it."""
    assert event["type"] in _types(), f"an event of no known type: {event}"
    _assert_valid(_validator("events", _types()[event["type"]]), event)


def check_result(result: object) -> None:
    """Assert that a result is as the schema has it."""
    _assert_valid(_validator(RESULT), result)


def check_status(status: object) -> None:
    """Assert that what `orch status --json` printed is as the schema has it."""
    _assert_valid(_validator("status"), status)


def _assert_valid(validator: Draft202012Validator, value: object) -> None:
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    assert not faults, f"{faults} in {json.dumps(value)[:2000]}"


def check_stream(text: str, code: int) -> None:
    """Assert that a stream is events in their order and one result, last, which tells the exit code.

    A run that was killed (`code` below 0) leaves what it had printed: whole events but for the last line.
    """
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if code >= 0:
        assert text.endswith("\n"), f"the stream ends within a line: {text[-200:]!r}"
        assert [x["type"] for x in lines].count(RESULT) == 1, "not exactly one result"
        assert lines[-1]["type"] == RESULT, "the result is not the last line"
        assert lines[-1]["exit_code"] == code, "the result tells another exit code"
    for line in lines:
        check_result(line) if line["type"] == RESULT else check_event(line)
    _check_order([line["seq"] for line in lines if line["type"] != RESULT])


def _check_order(numbers: Sequence[int]) -> None:
    first = numbers[0] if numbers else 0
    assert list(numbers) == list(range(first, first + len(numbers))), "events are missing, or out of order"


def form_of(arguments: Sequence[str]) -> str:
    """Return what the program prints when it is started so: a format of `task`, `status`, or nothing."""
    if not arguments or {"-h", "--help", "--session"} & set(arguments):
        return ""
    if "--json" in arguments:
        return {"task": "stream-json", "resume": "stream-json", "status": "status"}.get(arguments[0], "")
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    forms = [after for name, after in pairs if name == "--output-format"]
    forms += [name.partition("=")[2] for name in arguments if name.startswith("--output-format=")]
    return _KINDS_OF_OUTPUT.get(forms[-1], "") if forms and arguments[0] in ("task", "resume") else ""


def check(arguments: Sequence[str], code: int, out: str) -> None:
    """Assert that what the program printed on stdout is what its contract says of how it was started."""
    form = form_of(arguments)
    if form == "stream-json":
        check_stream(out, code)
    elif form == "json" and code >= 0:
        check_result(json.loads(out))
        assert json.loads(out)["exit_code"] == code, "the result tells another exit code"
    elif form == "status" and code == 0 and "--session" in arguments:
        for event in json.loads(out)["events"]:
            check_event(event)
    elif form == "status" and code == 0:
        check_status(json.loads(out))


def check_stored(workspace: Path) -> None:
    """Assert that every `result.json` of a workspace is as the schema has it."""
    for stored in workspace.glob(".opencode/orch/missions/*/result.json"):
        check_result(json.loads(stored.read_bytes()))
