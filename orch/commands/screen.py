"""What a run shows, and where: stdout carries data only, everything for people goes to stderr.

Data is the closing report, the result as one object, or the events with the result last. Text from outside
is defused. Both streams are written beside the run, so that a reader who is slow or gone does not disturb it.
A terminal has the live frame below the lines, as long as the run goes on; it reads no keys: what is typed
meanwhile is the shell's, and Ctrl-C stops. Anything else gets a sign of life in between.
"""

import os
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO, cast

from rich.console import Console

from orch import config
from orch.commands import ci
from orch.commands.announce import Announcer
from orch.commands.options import OutputFormat
from orch.commands.place import columns
from orch.config import Settings
from orch.errors import UsageError
from orch.mission.events import Outcome
from orch.mission.result import Result
from orch.runtime.recorder import View
from orch.view import defuse, live
from orch.view.heartbeat import Pulse, counted, tokens
from orch.view.keys import Hush
from orch.view.lines import Lines
from orch.view.outlet import Outlet
from orch.view.stream import Stream, json_text

STDIN, STDOUT, STDERR = 0, 1, 2
LOG_COLUMNS = 400
"""How long a line may be where no terminal shows it, and `COLUMNS` says nothing."""
HINT = "Ctrl-C stops it; orch resume goes on"
INDENT = " " * len("orch: ")
STOPPED_LIMIT_S = 2.0
"""How long who told the run to stop, or by when, is kept waiting for a reader that does not read."""
_LONGEST_COMMAND = 10_000


@dataclass(frozen=True, slots=True)
class Form:
    """How a run is shown, as the command line asked for it."""

    output: OutputFormat
    last_message: Path | None
    is_quiet: bool
    junit: Path | None = None

    def check(self) -> None:
        """Raise `UsageError` if a report would have nowhere to go: before it costs anything."""
        file = self.last_message
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise UsageError(f"-o {file} cannot be written: name a file in a folder that exists")
        if self.junit is not None:
            ci.check(self.junit)


class Screen:
    """The two streams of one run. `views` are who looks at its events; `is_told` once the result is out."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._began_s = time.monotonic()
        self._announcer: Announcer | None = None
        self._out = Outlet(STDOUT)
        self._err = Outlet(STDERR)
        self._lines = None if form.is_quiet else Lines(console(self._err), partial(columns_of, self._err))
        self._picture = self._live(config.environment())
        stream = Stream(self._out.write) if form.output is OutputFormat.STREAM_JSON else None
        views = (stream, self._lines, self._picture)
        self.views: tuple[View, ...] = tuple(view for view in views if view is not None)
        self._beside = ExitStack()
        self.is_told = False

    def _live(self, environment: Mapping[str, str]) -> live.Picture | None:
        """Return a picture if the terminal can show it, and no data comes in between."""
        is_mixed = self._form.output is OutputFormat.STREAM_JSON and self._out.isatty()
        if self._lines is None or is_mixed or not live.suits(STDERR, environment):
            return None
        return live.Picture(HINT, is_ascii=is_ascii())

    def __enter__(self) -> Self:
        if self._picture is not None:
            self._beside.enter_context(live.stoppable(self._err))
            # With a pipe at either end, the terminal may be a pager's as well.
            hush = Hush(STDERR) if os.isatty(STDIN) and self._out.isatty() else None
            self._err.stand_on(live.Pane(console(self._err), STDERR, self._picture.rows, hush))
        elif self._lines is not None:
            self._beside.enter_context(Pulse(self._lines.beat))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.finish(STOPPED_LIMIT_S)
        self._err.finish(STOPPED_LIMIT_S)
        self._beside.close()

    def heed(self, settings: Settings) -> None:
        """Announce the end of the run that begins now as these settings say."""
        if not self._form.is_quiet and self._err.isatty():
            self._announcer = Announcer(settings, self._err.write)

    def say(self, text: str) -> None:
        """Tell a person something, unless it is to be quiet; a terminal gets it folded at words."""
        shown = defuse.line(text, _LONGEST_COMMAND)
        self._say(_folded(shown, columns_of(self._err)) if self._err.isatty() else shown)

    def _say(self, shown: str) -> None:
        if self._lines is not None:
            self._lines.say(f"orch: {shown}")

    def complain(self, text: str) -> None:
        """Tell a person what is wrong, quiet or not."""
        self._err.write(f"orch: {defuse.block(text)}\n")

    def annotate(self, lines: Sequence[str]) -> None:
        """Write commands for the CI's runner, as they are."""
        self._err.write("".join(f"{line}\n" for line in lines))

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
        self.is_told = True
        refusal = self._out.finish(limit_s)
        if refusal is not None and not isinstance(refusal, BrokenPipeError):
            self.complain(f"stdout could not be written: {refusal.strerror}; the result is in .opencode/orch")
        for text in words[:1]:
            self.say(text)
        for text in words[1:]:  # paths and commands, for pasting: in one piece
            self._say(defuse.line(text, _LONGEST_COMMAND))
        self._err.finish(limit_s)
        if self._announcer is not None:
            self._announcer.announce(result, time.monotonic() - self._began_s)
            self._err.finish(limit_s)

    def _keep(self, result: Result) -> None:
        file = self._form.last_message
        if file is None or result.mission is None:
            return
        try:
            file.write_text(result.result + "\n", encoding="utf-8")
        except OSError as error:
            self.complain(f"{file} cannot be written: {error.strerror or error}")


def closing(result: Result, workspace: Path) -> tuple[str, ...]:
    """Return what a person is told at the end; paths are those of the shell that it was started from."""
    usage = result.usage
    cost = f", ${usage.cost_usd:.2f}" if usage.cost_usd is not None else ""
    done = f"{result.todo.done}/{result.todo.total} done, {counted(result.issues.open, 'issue')} open"
    shown = tokens(usage.input_tokens + usage.output_tokens)
    sessions, turns = counted(result.num_sessions, "session"), counted(result.num_turns, "turn")
    spent = f"{sessions}, {turns}, {shown} tokens{cost}, {result.duration_s:.1f}s"
    head = f"{result.subtype}: {done}; {spent}"
    then = "run it with" if result.subtype is Outcome.PLANNED else "go on with"
    words = [head]
    if result.patch:
        words.append(
            f"{counted(len(result.files_changed), 'file')} changed: {_from_here(workspace / result.patch)}"
        )
    if result.next:
        words.append(f"{then}: {result.next}")
    return tuple(words)


def _from_here(path: Path) -> Path:
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def columns_of(outlet: Outlet) -> int:
    """Return how many columns a line may take there now."""
    return columns(live.size_of(outlet.fileno()).columns if outlet.isatty() else LOG_COLUMNS)


def console(outlet: Outlet) -> Console:
    """Return a console that writes there, in colours if they are wanted."""
    file = cast("TextIO", outlet)
    coloured = Console(file=file)
    return Console(file=file, color_system=None) if coloured.no_color else coloured


def is_ascii() -> bool:
    """Say whether what is shown can hold nothing but ASCII."""
    return "utf" not in (sys.stderr.encoding or "").lower()


def _folded(text: str, width: int) -> str:
    rows = textwrap.wrap(
        text, width - len(INDENT), break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    return f"\n{INDENT}".join(rows)
