"""What is said of a settings file, a flag or a variable that cannot be used: all that is wrong, in few lines.

Each error names where it is (file, line, key; or the flag), what may stand there, and for a key that does not
exist the nearest one that does. No value is ever quoted: a key of a provider may have slipped into it.
"""

import datetime as dt
import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeGuard, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orch.config.tables import ONLY_USER, Expected, Table
from orch.errors import ConfigError

MOST_SHOWN = 10
_LINES_LOOKED_AT = 400
"""In a longer file no line is looked for: each line costs a reading of all before it."""
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "a text"),
    (int, "a whole number"),
    (float, "a decimal number"),
    (list, "a list"),
    (dict, "a table"),
    (dt.date, "a date"),
    (dt.time, "a time"),
)

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Where settings come from: a file with its `text`, or flags or variables with their `names` by key."""

    name: str
    text: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, path: Path, complaint: str) -> ConfigError:
        """Return the error for one key."""
        return self.refusals([(path, complaint)])

    def refusals(self, found: Sequence[tuple[Path, str]]) -> ConfigError:
        """Return one error that lists what was found, up to a bound."""
        path, complaint = found[0]
        name = self.names.get(_dotted(path))
        if len(found) == 1:
            text = f"{self._place(path)}{name or shown(path)} {complaint}"
            return ConfigError(text, source=name or self.name, key=shown(path))
        rows = sorted((self._line(path), shown(path), self._row(path), text) for path, text in found)
        lines = [f"  {row} {complaint}" for _, _, row, complaint in rows[:MOST_SHOWN]]
        if len(found) > MOST_SHOWN:
            lines.append(f"  ... and {len(found) - MOST_SHOWN} more")
        text = "\n".join([f"{self.name} has {len(found)} errors:", *lines])
        return ConfigError(text, source=self.name, key=shown(path))

    def _place(self, path: Path) -> str:
        if self.names:
            return ""
        line = self._line(path)
        return f"{self.name}:{line}: " if line else f"{self.name}: "

    def _line(self, path: Path) -> int:
        return 0 if self.names else line_of(self.text, path)

    def _row(self, path: Path) -> str:
        line = self._line(path)
        name = self.names.get(_dotted(path)) or shown(path)
        return f"line {line}: {name}" if line else name


def complaints(
    error: ValidationError, schema: type[Table], data: Mapping[str, object], *, is_typed: bool
) -> Sequence[tuple[Path, str]]:
    """Return each key that cannot be used with what is wrong with it, once.

    Args:
        error: What pydantic found.
        schema: The table that was expected.
        data: What came.
        is_typed: The values have types, as in a file; on a command line all is text.
    """
    found: dict[Path, str] = {}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = _cut(detail, data)
        found.setdefault(path, _complaint(schema, data, path, detail["type"], is_typed=is_typed))
    return tuple(found.items())


def shown(path: Path) -> str:
    """Return a key as TOML writes it: `providers.x.models."a:b".output_tokens`, `verify[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else json.dumps(part))
    return text


def line_of(text: str, path: Path) -> int:
    """Return the 1-based line where a key of a TOML text begins, 0 if that is not found."""
    lines = text.splitlines(keepends=True)
    if len(lines) > _LINES_LOOKED_AT:
        return 0
    wanted = tuple(takewhile(lambda part: isinstance(part, str), path))
    while wanted and not _holds(text, wanted):
        wanted = wanted[:-1]
    begin = 1
    for number in range(1, len(lines) + 1) if wanted else ():
        beginning = "".join(lines[:number])
        if _holds(beginning, wanted):
            return begin
        if _parsed(beginning) is not None:
            begin = number + 1
    return 0


def _holds(text: str, path: Path) -> bool:
    table: object = _parsed(text)
    for part in path:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _parsed(text: str) -> Mapping[str, object] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _dotted(path: Path) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _cut(detail: ErrorDetails, data: object) -> Path:
    """Return the part of an error's place that stands in the data; what lacks or is too much closes it."""
    path: list[str | int] = []
    for part in detail["loc"]:
        if not _is_in(data, part):
            return (*path, part) if detail["type"] == "missing" else tuple(path)
        data = _value(data, (part,))
        path.append(part)
    return tuple(path)


def _is_in(data: object, part: str | int) -> bool:
    return part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)


def _complaint(
    schema: type[Table], data: Mapping[str, object], path: Path, kind: str, *, is_typed: bool
) -> str:
    if kind == "extra_forbidden":
        return _unknown(schema, path)
    expected = _descend(schema, path)[1]
    if kind == "missing":
        return f"is missing: expected {expected}"
    came = _kind(_value(data, path)) if is_typed and kind.endswith("_type") else ""
    return f"cannot be used: expected {expected}{f', not {came}' if came else ''}"


def _unknown(schema: type[Table], path: Path) -> str:
    name = str(path[-1])
    if path[0] in ONLY_USER.difference(schema.model_fields):
        return "counts only in the user's own config.toml or the environment: a workspace may not set it"
    table, _ = _descend(schema, path[:-1])
    if table is not schema and name in schema.model_fields:
        return "belongs to the top of the file, above the first [table]"
    homes = [key for key, known in schema.model_fields.items() if name in _fields(known.annotation)]
    if table is schema and homes:
        return f"belongs into the table [{homes[0]}]"
    near = difflib.get_close_matches(name, table.model_fields, n=1, cutoff=0.0)
    return f"is no setting; the nearest is {near[0]}"


def _fields(annotation: object) -> frozenset[str]:
    """Return the keys of a table that stands for itself, and not for many under names of their own."""
    return frozenset(annotation.model_fields) if _is_table(annotation) else frozenset()


def _descend(schema: type[Table], path: Path) -> tuple[type[Table], str]:
    """Return the table that holds the end of `path`, and what the field there expects."""
    table, expected, is_name = schema, "a table", False
    for part in path:
        known = None if is_name else table.model_fields.get(str(part))
        is_name = False
        if known is None:
            continue
        expected = next((str(each) for each in known.metadata if isinstance(each, Expected)), expected)
        is_name = get_origin(known.annotation) is dict
        inner = [kind for kind in (known.annotation, *get_args(known.annotation)) if _is_table(kind)]
        table = inner[0] if inner else table
    return table, expected


def _is_table(kind: object) -> TypeGuard[type[Table]]:
    return isinstance(kind, type) and issubclass(kind, Table)


def _value(data: object, path: Path) -> object:
    for part in path:
        data = data[part] if isinstance(data, dict | list) else None  # type: ignore[index]
    return data


def _kind(value: object) -> str:
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "")
