"""What a run shows, and where: stdout carries data only, everything for people goes to stderr.

Data is the closing report, the result as one object, or the events with the result last. Text from outside
is defused. Both streams are written beside the run, so that a reader who is slow or gone does not disturb it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO, cast

from rich.console import Console

from orch.commands.options import OutputFormat
from orch.commands.place import columns
from orch.errors import UsageError
from orch.mission.events import Outcome
from orch.mission.result import Result
from orch.runtime.recorder import View
from orch.view import defuse
from orch.view.lines import Lines
from orch.view.outlet import Outlet
from orch.view.stream import Stream, json_text

STDOUT, STDERR = 1, 2
LOG_COLUMNS = 400
"""How long a line may be where no terminal shows it, and `COLUMNS` says nothing."""
ROUNDED_TOKENS = 10_000
"""From here on tokens are told in thousands."""
STOPPED_LIMIT_S = 2.0
"""How long who told the run to stop, or by when, is kept waiting for a reader that does not read."""
_LONGEST_COMMAND = 10_000


@dataclass(frozen=True, slots=True)
class Form:
    """How a run is shown, as the command line asked for it."""

    output: OutputFormat
    last_message: Path | None
    is_quiet: bool

    def check(self) -> None:
        """Raise `UsageError` if the closing report would have nowhere to go: before it costs anything."""
        file = self.last_message
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise UsageError(f"-o {file} cannot be written: name a file in a folder that exists")


class Screen:
    """The two streams of one run. `views` are who looks at its events."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._out = Outlet(STDOUT)
        self._err = Outlet(STDERR)
        self._lines = None if form.is_quiet else Lines(_console(self._err), _columns(self._err))
        stream = Stream(self._out.write) if form.output is OutputFormat.STREAM_JSON else None
        self.views: tuple[View, ...] = tuple(view for view in (stream, self._lines) if view is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.finish(STOPPED_LIMIT_S)
        self._err.finish(STOPPED_LIMIT_S)

    def say(self, text: str) -> None:
        """Tell a person something in one line, unless it is to be quiet."""
        if self._lines is not None:
            self._lines.say(f"orch: {defuse.line(text, _LONGEST_COMMAND)}")

    def complain(self, text: str) -> None:
        """Tell a person what is wrong, quiet or not."""
        self._err.write(f"orch: {defuse.block(text)}\n")

    def end(self, result: Result, words: Sequence[str]) -> None:
        """Show how the run ended: the report behind the progress, and `words` for people behind it.

        A terminal or pipe that nobody reads is waited for, but not after a stop or a timeout.
        """
        limit_s = STOPPED_LIMIT_S if result.subtype in (Outcome.STOPPED, Outcome.TIMEOUT) else None
        self._err.finish(limit_s)
        self._keep(result)
        if self._form.output is not OutputFormat.TEXT:
            indent = 2 if self._form.output is OutputFormat.JSON else None
            self._out.write(json_text(result, indent=indent) + "\n")
        elif result.mission is not None:
            self._out.write(defuse.block(result.result) + "\n")
        refusal = self._out.finish(limit_s)
        if refusal is not None and not isinstance(refusal, BrokenPipeError):
            self.complain(f"stdout could not be written: {refusal.strerror}; the result is in .opencode/orch")
        for text in words:
            self.say(text)
        self._err.finish(limit_s)

    def _keep(self, result: Result) -> None:
        file = self._form.last_message
        if file is None or result.mission is None:
            return
        try:
            file.write_text(result.result + "\n", encoding="utf-8")
        except OSError as error:
            self.complain(f"{file} cannot be written: {error.strerror or error}")


def closing(result: Result) -> tuple[str, ...]:
    """Return what a person is told at the end."""
    usage = result.usage
    cost = f", ${usage.cost_usd:.2f}" if usage.cost_usd is not None else ""
    done = f"{result.todo.done}/{result.todo.total} done, {_count(result.issues.open, 'issue')} open"
    tokens = usage.input_tokens + usage.output_tokens
    shown = f"{tokens / 1000:.0f}k" if tokens >= ROUNDED_TOKENS else str(tokens)
    sessions, turns = _count(result.num_sessions, "session"), _count(result.num_turns, "turn")
    spent = f"{sessions}, {turns}, {shown} tokens{cost}, {result.duration_s:.1f}s"
    head = f"{result.subtype}: {done}; {spent}"
    return (head, f"go on with: {result.next}") if result.next else (head,)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _columns(outlet: Outlet) -> int:
    return columns(os.get_terminal_size(outlet.fileno()).columns if outlet.isatty() else LOG_COLUMNS)


def _console(outlet: Outlet) -> Console:
    file = cast("TextIO", outlet)
    console = Console(file=file)
    return Console(file=file, color_system=None) if console.no_color else console
