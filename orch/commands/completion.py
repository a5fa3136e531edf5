"""What the Tab key offers: commands, options, and values as far as they can be known without asking anybody.

`reply` reads the command line up to the cursor, and for some values the workspace's missions and the
settings; it writes nothing, asks no endpoint, and takes what cannot be read for nothing. Light: whoever
presses Tab waits for it.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orch.commands import known
from orch.commands.options import OutputFormat
from orch.view import defuse

FILES = ":files"
DIRS = ":dirs"
NONE = ":none"

_LONGEST_HELP = 70
PATHS: Mapping[str, str] = {
    "cd": DIRS,
    "file": FILES,
    "output_last_message": FILES,
    "junit": FILES,
    "report": FILES,
}
"""Parameters that take a path, which the shell completes."""

Candidate = tuple[str, str]
"""A value with its description, which may be empty."""


@dataclass(frozen=True)
class _Line:
    """A command line that was read up to the cursor.

    `given` are the options with their values, `value_of` is the option whose value is to be completed.
    """

    current: str
    command: Any = None
    given: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    value_of: Any = None
    is_closed: bool = False
    """`--` was given: no options any more."""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        """The workspace that the line speaks of."""
        return Path(self.given.get("cd") or self.environ.get("ORCH_CD") or ".").expanduser()


def reply(program: Any, words: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return what a completion script is told for `words`, the last of which is at the cursor."""
    *before, current = [_unquoted(word) for word in words] or [""]
    found = _candidates(program, replace(_read(program, before, current), environ=environ))
    if isinstance(found, str):
        return found
    rows = (f"{value}\t{defuse.line(words, _LONGEST_HELP)}".rstrip("\t") for value, words in found)
    return "\n".join(rows) or NONE


def _candidates(program: Any, line: _Line) -> str | list[Candidate]:
    """Return what the word at the cursor may become, or the word for what the shell completes itself."""
    if line.value_of is not None:
        return _values(line, line.value_of, line.current)
    if line.current.startswith("-") and not line.is_closed:
        return _option_candidates(program, line)
    if line.command is None:
        return _begun(_commands(program), line.current)
    arguments = [p for p in line.command.params if p.param_type_name == "argument"]
    return _values(line, arguments[0], line.current) if arguments and not line.arguments else NONE


def _option_candidates(program: Any, line: _Line) -> str | list[Candidate]:
    name, equals, begun = line.current.partition("=")
    if not equals or not name.startswith("--"):
        return _begun(_options(line.command or program, line.current), line.current)
    if (parameter := _option(line.command, name)) is None:
        return NONE
    found = _values(line, parameter, begun)
    return found if isinstance(found, str) else [(f"{name}={value}", text) for value, text in found]


def _read(program: Any, before: Sequence[str], current: str) -> _Line:
    """Read the words before the cursor, as far as they can be read."""
    command, pending, is_closed = None, None, False
    given: dict[str, str] = {}
    arguments: list[str] = []
    for word in before:
        name, equals, value = word.partition("=")
        if pending is not None:
            given[pending.name], pending = word, None
        elif word == "--":
            is_closed = True
        elif word.startswith("-") and word != "-" and not is_closed:
            option = _option(command or program, name)
            if option is not None and equals:
                given[option.name] = value
            elif option is not None and not option.is_flag:
                pending = option
        elif command is None:
            command = program.commands.get(word)
        else:
            arguments.append(word)
    return _Line(current, command, given, arguments, pending, is_closed)


def _option(command: Any, name: str) -> Any:
    parameters = command.params if command is not None else ()
    return next((p for p in parameters if p.param_type_name == "option" and name in p.opts), None)


def _commands(program: Any) -> Iterable[Candidate]:
    return [(name, (command.help or "").partition("\n")[0]) for name, command in program.commands.items()]


def _options(command: Any, current: str) -> Iterable[Candidate]:
    """Return the long options, and the short ones too where only a dash is typed."""
    shown = 2 if current.startswith("--") else 1
    rows = [(name, p.help or "") for p in command.params for name in p.opts if name.startswith("-" * shown)]
    helps = [("--help", "Show this message and exit."), ("-h", "Show this message and exit.")]
    return rows + [row for row in helps if row[0].startswith("-" * shown)]


def _values(line: _Line, parameter: Any, begun: str) -> str | list[Candidate]:
    """Return the values of an option or argument."""
    name = parameter.name
    if name in PATHS:
        return PATHS[name]
    if name == "fallback_model":
        first, comma, last = begun.rpartition(",")
        return [(f"{first}{comma}{value}", text) for value, text in _found(line, "model", last)]
    return _found(line, "model" if name.startswith("model") else name, begun) or NONE


def _found(line: _Line, name: str, begun: str) -> list[Candidate]:
    source = _SOURCES.get(name)
    return _begun(source(line), begun) if source is not None else []


def _missions(line: _Line) -> Iterable[Candidate]:
    return known.missions(line.workspace)


def _sessions(line: _Line) -> Iterable[Candidate]:
    return known.sessions(line.workspace, line.arguments[0] if line.arguments else None)


def _formats(_line: _Line) -> Iterable[Candidate]:
    return [(form.value, "") for form in OutputFormat]


def _models(line: _Line) -> Iterable[Candidate]:
    return known.models(line.workspace, line.environ)


_SOURCES: Mapping[str, Callable[[_Line], Iterable[Candidate]]] = {
    "mission": _missions,
    "session": _sessions,
    "model": _models,
    "output_format": _formats,
}


def _begun(rows: Iterable[Candidate], current: str) -> list[Candidate]:
    return [row for row in rows if row[0].startswith(current)]


def _unquoted(word: str) -> str:
    """Return a word of a shell's line without its quotes, also one whose closing quote is not typed yet."""
    for end in ("", '"', "'"):
        try:
            return "".join(shlex.split(word + end)[:1])
        except ValueError:
            continue
    return word
