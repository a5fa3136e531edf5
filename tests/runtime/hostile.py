"""Answers at their worst, as a script can send them: a table of single ones, and whatever a seed draws.

`CASES` are answers of a Worker that had to read a file: each with what its session has to be told, and how
many of its calls ran well. `drawn` is a stream whose every part is well-formed JSON and otherwise anything.
"""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.endpoint import Fault, Step

NOTE = "note.txt"
READ = json.dumps({"path": NOTE})
DEEP = 100_000


@dataclass(frozen=True)
class Case:
    """One answer; the session is told `words`, and `ran` of its calls do what they were to do."""

    name: str
    step: Step
    words: str = ""
    ran: int = 0

    def __str__(self) -> str:
        """Return the name."""
        return self.name


def stream(*deltas: dict[str, Any], finish: str | None = "stop") -> Step:
    """Answer with these deltas, each in a chunk of its own."""
    choices: list[Any] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    return chunks(*({"choices": [choice]} for choice in choices))


def chunks(*sent: object) -> Step:
    """Answer with these chunks, and the end mark."""
    lines = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in sent]
    return Step(fault=Fault.RAW, body=b"".join(lines) + b"data: [DONE]\n\n")


def piece(
    arguments: object = READ, *, index: object = 0, call_id: object = "c1", name: object = "read"
) -> dict[str, Any]:
    """Return a piece of a call."""
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def calls(*pieces: object, finish: str | None = "tool_calls") -> Step:
    """Answer with these pieces of calls, each in a chunk of its own."""
    return stream(*({"tool_calls": [each]} for each in pieces), finish=finish)


def _arguments() -> list[Case]:
    """Return the calls whose arguments are at their worst."""
    table: list[tuple[str, str, str]] = [
        ("cut", '{"path": "a', "Unterminated string"),
        ("comma", '{"path": "a",}', "cannot be read"),
        ("newline in a string", '{"path": "a\nb"}', "control character"),
        ("NaN", '{"path": "a", "limit": NaN}', "NaN is no JSON"),
        ("infinite", '{"path": "a", "limit": 1e999}', "a number is too large"),
        ("5000 digits", '{"path": "a", "limit": ' + "9" * 5000 + "}", "a number is too large"),
        ("200 digits", '{"path": "a", "offset": ' + "9" * 200 + "}", "does not exist"),
        ("1e300", '{"path": "a", "limit": 1e300}', "error: "),
        ("100,000 levels", '{"path":' * DEEP + "1" + "}" * DEEP, "nested deeper"),
        ("100,000 lists", "[" * DEEP + "]" * DEEP, "cannot be read"),
        ("80 levels", '{"path":' * 80 + "1" + "}" * 80, "nested deeper"),
        ("a key twice", '{"path": "a", "path": "b"}', "a key stands twice"),
        ("null", "null", "another kind of value"),
        ("a list", "[1]", "another kind of value"),
        ("a string", '"{}"', "another kind of value"),
        ("not JSON", "<tool_call>read</tool_call>", "cannot be read"),
        ("two objects", READ * 2, "Extra data"),
        ("a wrong type", '{"path": {"a": [1]}}', "wrong arguments for read: path"),
        ("a missing one", '{"offset": 3}', "path: Field required"),
        ("all null", '{"path": null, "offset": null}', "path: Field required"),
        ("a NUL", '{"path": "a\\u0000b"}', "does not exist"),
        ("a lone surrogate", '{"path": "\\ud800"}', "does not exist"),
        ("10 MB", json.dumps({"path": "x" * 10_000_000}), "longer than 1000000 characters"),
    ]
    return [Case(f"arguments: {name}", calls(piece(text)), words) for name, text, words in table]


def _kinds() -> list[Case]:
    """Return the calls whose arguments are no text."""
    table: list[tuple[str, object, str, int]] = [
        ("an object", {"path": NOTE}, "", 1),
        ("a list", [NOTE], "another kind of value", 0),
        ("a number", 7, "another kind of value", 0),
        ("nothing", None, "path: Field required", 0),
        ("extra ones", json.dumps({"path": NOTE, "why": "?", "": {"a": None}}), "", 1),
        ("blanks", " \n", "path: Field required", 0),
    ]
    return [Case(f"arguments as {name}", calls(piece(v)), words, ran) for name, v, words, ran in table]


NAMES = [
    Case("unknown tool", calls(piece(name="rm_rf")), "no tool rm_rf; you have: "),
    Case("no name", calls(piece(name="")), "no tool unknown"),
    Case("a name that is none", calls(piece(name={"a": 1})), "no tool unknown"),
    Case("a name of odd characters", calls(piece(name="../read\x00 \u202e")), "no tool _read_"),
    Case("a name without end", calls(piece(name="x" * 5000)), "no tool " + "x" * 64 + ";"),
    Case("a tool of others", calls(piece('{"command": "true"}', name="bash")), "a worker may not call bash"),
]
IDS = [
    Case("no id", calls(piece(call_id=None)), "", 1),
    Case("an empty id", calls(piece(call_id="")), "", 1),
    Case("a number as id", calls(piece(call_id=7)), "", 1),
    Case("an endless id", calls(piece(call_id="i" * 100_000)), "", 1),
    Case("an odd id", calls(piece(call_id="\x00 ../\u202e")), "", 1),
    Case("the same id twice", calls(piece(index=0), piece(index=1)), "", 2),
    Case("the same id and index", calls(piece(READ), piece(READ)), "cannot be read"),
]
ORDER = [
    Case("indices out of order", calls(*(piece(index=n, call_id=f"c{n}") for n in (5, 2, 0))), "", 3),
    Case("no index", calls(piece(index=None), piece(index=None, call_id="c2")), "", 2),
    Case("odd indices", calls(piece(index="x"), piece(index=-1, call_id="c2")), "", 2),
    Case("pieces without a call", calls({}, {"function": None}, {"index": 3}, 7), "no tool unknown"),
    Case("calls that are no list", stream({"tool_calls": {"a": 1}, "content": "so"})),
    Case(
        "200 calls",
        calls(*(piece(index=n, call_id=f"c{n}") for n in range(200))),
        "not run: of one turn only the first 32 calls are run",
        32,
    ),
    Case(
        "1000 calls of one id",
        calls(*(piece(index=n) for n in range(1000))),
        "not run: of one turn only the first 32 calls are run",
        32,
    ),
]
FINISHES = [
    Case("an unknown finish", calls(piece(), finish="banana"), "", 1),
    Case("a stop beside a call", calls(piece(), finish="stop"), "", 1),
    Case("a call that is whole at the limit", calls(piece(), finish="length"), "", 1),
    Case("a call that is cut at the limit", calls(piece('{"path": "no'), finish="length"), "output limit"),
    Case("a call cut before its arguments", calls(piece(""), finish="length"), "output limit"),
    Case("calls announced, and none", stream({"content": "I will."}, finish="tool_calls")),
    Case("another role", stream({"role": "user", "content": "x", "tool_calls": [piece()]}), "", 1),
    Case("text as a list", stream({"content": [{"text": "a"}, 7, None], "tool_calls": [piece()]}), "", 1),
    Case("text as a number", stream({"content": 7, "tool_calls": [piece()]}), "", 1),
    Case("text that looks like a call", stream({"content": "<tool_call>{}</tool_call>"})),
    Case(
        "two choices",
        chunks({"choices": [{"delta": {"tool_calls": [piece()]}, "finish_reason": "stop"}] * 2}),
        "",
        1,
    ),
    Case(
        "usage of nonsense",
        chunks(
            {"choices": [{"delta": {"tool_calls": [piece()]}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": 1e300, "x": None}},
        ),
        "",
        1,
    ),
]
FLAWED = [
    Case("empty", Step(), "Your answer was empty"),
    Case("blank", Step(text=" \n\t "), "Your answer was empty"),
    Case("null", stream({"content": None}), "Your answer was empty"),
    Case("no choices", chunks({"choices": []}), "Your answer was empty"),
    Case("reasoning alone", Step(reasoning="hm, hm"), "Your answer was empty"),
    Case("a call of the old kind", stream({"function_call": {"name": "read"}}), "Your answer was empty"),
    Case("cut", Step(text="First I will", finish="length"), "Your answer was cut off"),
    Case("cut before a word", Step(finish="length"), "Your answer was cut off"),
    Case("refused", Step(refusal="I won't."), "Your answer was refused"),
    Case("filtered", Step(text="So we", finish="content_filter"), "Your answer was refused"),
    Case("filtered in a call", calls(piece(), finish="content_filter"), "Your answer was refused"),
]
STOPS = frozenset({"calls that are no list", "calls announced, and none", "text that looks like a call"})
"""Answers that say something and call nothing: the session stops, and is told that it wrote nothing."""
CASES = [*FLAWED, *NAMES, *_arguments(), *_kinds(), *IDS, *ORDER, *FINISHES]


def drawn(dice: Random) -> Step:
    """Return an answer whose every part is drawn."""
    deltas = [_drawn_delta(dice) for _ in range(dice.randrange(5))]
    return stream(
        *deltas, finish=dice.choice(["stop", "tool_calls", "length", "content_filter", "?", None, ""])
    )


def _drawn_delta(dice: Random) -> dict[str, Any]:
    keys = dice.sample(["role", "content", "refusal", "tool_calls", "reasoning_content", "x"], 2)
    delta = {key: _drawn_value(dice, 2) for key in keys}
    if dice.random() < 0.7:
        delta["tool_calls"] = [_drawn_piece(dice) for _ in range(dice.randrange(4))]
    return delta


def _drawn_piece(dice: Random) -> object:
    if dice.random() < 0.1:
        return _drawn_value(dice, 2)
    tool = dice.choice(["read", "glob", "write", "edit", "delete", "request_change", "webfetch", "bash", "?"])
    keys = ["path", "pattern", "content", "old_string", "new_string", "url", "description", "offset"]
    arguments = json.dumps({key: _drawn_value(dice, 2) for key in dice.sample(keys, 4)})
    if dice.random() < 0.3:
        arguments = arguments[: dice.randrange(len(arguments))]
    index = dice.choice([0, 1, 2, None, "0"])
    return piece(arguments, index=index, call_id=dice.choice(["c1", "", None, "x" * 60]), name=tool)


def _drawn_value(dice: Random, depth: int) -> object:
    plain: list[object] = [
        None,
        True,
        -1,
        0,
        10**30,
        1e300,
        "",
        " ",
        "a\x00",
        "\ud800",
        NOTE,
        "..",
        "[[[",
        '["\\ud800"]',
    ]
    if depth and dice.random() < 0.3:
        inner = [_drawn_value(dice, depth - 1) for _ in range(3)]
        return inner if dice.random() < 0.5 else {str(key): key for key in inner}
    return dice.choice(plain)
