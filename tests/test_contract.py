"""What holds the tests' streams against the contract finds what is wrong with them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from orch.mission.events import Outcome
from orch.mission.result import nothing_started
from orch.view.stream import json_text
from tests import contract

Lines = list[dict[str, Any]]
TREE = "0" * 64


def stream() -> Lines:
    """Return a short stream with which nothing is wrong."""
    envelope = {"v": 1, "ts": "2026-01-01T00:00:00.000Z", "mission": "m"}
    result = json.loads(json_text(nothing_started("g", Outcome.ERROR, 70, "a bug")))
    return [
        {**envelope, "seq": 7, "type": "item.submitted", "item": "a", "session": "S1"},
        {**envelope, "seq": 8, "type": "mission.sealed", "tree": TREE, "summary": "s"},
        result,
    ]


def text(lines: Lines) -> str:
    """Return a stream as it is printed."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def changed(number: int, **facts: object) -> Callable[[Lines], Lines]:
    """Return what changes keys of one line."""
    return lambda lines: [line | facts if n == number else line for n, line in enumerate(lines)]


def without(number: int, key: str) -> Callable[[Lines], Lines]:
    """Return what takes a key out of one line."""

    def taken(lines: Lines) -> Lines:
        del lines[number][key]
        return lines

    return taken


WRONG: dict[str, Callable[[Lines], Lines]] = {
    "a key of another type": changed(0, item=3),
    "a key that is null": changed(0, session=None),
    "a key that nobody named": changed(0, colour="red"),
    "a key that is missing": without(1, "summary"),
    "an event of no type": changed(0, type="item.teleported"),
    "a hash that is none": changed(1, tree="abc"),
    "a time that is none": changed(1, ts="2026-13-01T00:00:00.000Z"),
    "a time without a zone": changed(1, ts="2026-01-01T00:00:00.000"),
    "a number that is missing": changed(1, seq=9),
    "two results": lambda lines: [*lines, lines[-1]],
    "no result": lambda lines: lines[:-1],
    "a result that is not last": lambda lines: [lines[0], lines[2], lines[1]],
    "a result of another exit code": changed(2, exit_code=0),
    "a result without a key": without(2, "blockers"),
    "a result of no subtype": changed(2, subtype="fine"),
    "a usage that is none": changed(2, usage={}),
}


def test_a_stream_with_which_nothing_is_wrong_is_none() -> None:
    """Whole, or cut where the program was killed."""
    whole = text(stream())

    contract.check_stream(whole, 70)
    contract.check_stream(whole[:-300], -9)
    contract.check_stream("", -9)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_stream_with_which_something_is_wrong_is_found(wrong: str) -> None:
    """Each single fault is."""
    with pytest.raises(AssertionError):
        contract.check_stream(text(WRONG[wrong](stream())), 70)


def test_a_stream_that_breaks_off_is_found() -> None:
    """Unless the program was killed."""
    with pytest.raises(AssertionError):
        contract.check_stream(text(stream())[:-1], 70)


@pytest.mark.parametrize(
    ("arguments", "form"),
    [
        (("task", "x", "--json"), "stream-json"),
        (("resume", "--output-format=json"), "json"),
        (("task", "--output-format", "stream-json", "x"), "stream-json"),
        (("status", "--json", "--all"), "status"),
        (("status", "--json", "--session", "S1"), ""),
        (("task", "x", "--output-format", "text"), ""),
        (("task", "--json", "--help"), ""),
        (("stop",), ""),
        ((), ""),
    ],
)
def test_what_the_program_prints_is_known_from_how_it_was_started(
    arguments: tuple[str, ...], form: str
) -> None:
    """So no test has to ask for its stream to be looked at."""
    assert contract.form_of(arguments) == form
