"""From what a model wrote as tool calls to calls that can be stored, sent back and run.

`tidy` never fails and never loses a call below the limit: an id that another endpoint would refuse is
replaced, a name is cut to the characters of a name, and arguments that are not the strict JSON of one object
become `{}` with `malformed` saying why, for the model to read. Such arguments must not be kept: llama.cpp
answers 500 to every later request whose history holds a call that it cannot parse. Of the calls behind the
first `MAX_CALLS`, which are not run, the arguments are not kept either.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NoReturn

from orch.mission.transcript import CALL_ID, ToolCall, clean

MAX_CALLS = 32  # of one turn that are run; no model asks for more at once unless it repeats itself
MAX_KEPT_CALLS = 256  # of one turn that are kept, each to be told that it was not run; more are dropped
MAX_ARGUMENTS_CHARS = 1_000_000  # more than any file that may be written
MAX_DEPTH = 64  # parsers elsewhere give up at 100 and more
MAX_DIGITS = 300  # what still fits a double; nobody means a longer number
SURPLUS = f"not run: of one turn only the first {MAX_CALLS} calls are run; call again what you still need"
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]+")
_ESCAPED_UNUSABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


@dataclass(slots=True)
class RawCall:
    """A call as its pieces came in; what exceeds the limit of arguments is counted, not kept."""

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    size_chars: int = 0

    def add(self, piece: str) -> None:
        """Append a piece of the arguments."""
        if self.size_chars <= MAX_ARGUMENTS_CHARS:
            self.pieces.append(piece)
        self.size_chars += len(piece)


def tidy(
    raw: Sequence[RawCall], taken: AbstractSet[str], history_messages: int, *, cut: bool
) -> tuple[ToolCall, ...]:
    """Return the calls of one turn with ids that occur nowhere in the history, of which `taken` are the ids.

    Args:
        raw: The calls as they came in.
        taken: Every call id of the history.
        history_messages: How long the history is; new ids are derived from it.
        cut: The answer ran into its output limit, so the last call may be half.
    """
    used = set(taken)
    calls = []
    for index, call in enumerate(raw):
        call_id = call.id
        if not CALL_ID.fullmatch(call_id) or call_id in used:
            call_id = _new_id(history_messages, index, used)
        used.add(call_id)
        name = _NO_NAME.sub("_", call.name.strip())[:64] or "unknown"
        if index < MAX_CALLS:
            arguments, malformed = _arguments(call, cut=cut and index == len(raw) - 1)
        else:
            arguments, malformed = "{}", SURPLUS
        calls.append(ToolCall(id=call_id, name=name, arguments=arguments, malformed=malformed))
    return tuple(calls)


def _new_id(history_messages: int, index: int, used: AbstractSet[str]) -> str:
    """Return nine letters and digits, the one form that Mistral's endpoints take too."""
    salt = 0
    while True:
        seed = f"{history_messages}.{index}.{salt}".encode()
        call_id = hashlib.sha256(seed).hexdigest()[:9]
        if call_id not in used:
            return call_id
        salt += 1


def _arguments(call: RawCall, *, cut: bool) -> tuple[str, str | None]:
    if call.size_chars > MAX_ARGUMENTS_CHARS:
        return "{}", f"the arguments are longer than {MAX_ARGUMENTS_CHARS} characters; send less at once"
    text = "".join(call.pieces).strip()
    if not text and not cut:
        return "{}", None
    try:
        return _strict(text), None
    except RecursionError:
        reason = f"nested deeper than {MAX_DEPTH} levels"
    except ValueError as error:
        reason = clean(str(error))
    if cut:
        return (
            "{}",
            "the answer ran into its output limit, so the arguments are incomplete; send less at once",
        )
    return "{}", f"the arguments are not the JSON text of one object: {reason}"


def _strict(text: str) -> str:
    value = json.loads(
        text, object_pairs_hook=_object, parse_float=_number, parse_int=_whole, parse_constant=_constant
    )
    if not isinstance(value, dict):
        raise ValueError("another kind of value")  # noqa: TRY004 - like every other defect of the text
    if _too_deep(value):
        raise RecursionError
    if _ESCAPED_UNUSABLE.search(text) or clean(text) != text:
        return json.dumps(_cleaned(value), ensure_ascii=False)
    return text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(inner) for key, inner in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value
