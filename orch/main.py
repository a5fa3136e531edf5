"""The command line, and the one place where an error becomes an exit code.

Importing it is cheap: a command imports what it needs when it runs. Whoever asked `task` or `resume` for
JSON gets a `result` also for a command line that cannot be read, and for a bug.
"""

import importlib.metadata
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated, Protocol, runtime_checkable

import typer

from orch.commands import early, exit_codes
from orch.commands.resume import resume
from orch.commands.status import status
from orch.commands.stop import stop
from orch.commands.task import task
from orch.errors import OrchError, UsageError
from orch.view import defuse

app = typer.Typer(
    name="orch",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"orch {importlib.metadata.version('orch')}")
        raise typer.Exit


@app.callback()
def orch(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One command, a team of coding agents, and an exit code that means done."""
    del version
    if sys.platform == "win32":
        raise UsageError("orch runs on Linux and macOS; on Windows, run it inside WSL")


for command in (task, stop, status, resume):
    app.command()(command)


@runtime_checkable
class _Misread(Protocol):
    """What typer raises for a command line that it cannot read."""

    exit_code: int
    message: str

    def show(self) -> None:
        """Print the usage and what is wrong."""


def main() -> None:
    """Run the command line; always ends with `SystemExit`."""
    _fill_streams()
    arguments = [_utf8(argument) for argument in sys.argv[1:]]
    try:
        code = app(arguments, standalone_mode=False)
    except OrchError as error:
        code = _refused(arguments, error)
    except KeyboardInterrupt as interrupt:
        code = exit_codes.cut_short(interrupt)
    except Exception as error:  # noqa: BLE001 - the error boundary: a traceback on the screen is a bug
        code = _misread(arguments, error) if isinstance(error, _Misread) else _bug(arguments, error)
    _turn_deaf()
    raise SystemExit(code)


def _turn_deaf() -> None:
    """Let no signal change the exit code any more: what was asked for is done, and said."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):  # Windows has only some of them
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _misread(arguments: Sequence[str], error: _Misread) -> int:
    error.show()
    early.print_result(arguments, exit_codes.USAGE, "error", error.message)
    return exit_codes.USAGE


def _refused(arguments: Sequence[str], error: OrchError) -> int:
    code, subtype = exit_codes.ending(error)
    typer.echo(defuse.block(f"orch: {error}"), err=True)
    early.print_result(arguments, code, subtype, _utf8(str(error)))
    return code


def _bug(arguments: Sequence[str], error: Exception) -> int:
    text = f"a bug: {type(error).__name__}: {error}\norch: the log is {_keep_log()}"
    typer.echo(defuse.block(f"orch: {text}"), err=True)
    early.print_result(arguments, exit_codes.BUG, "error", _utf8(text))
    return exit_codes.BUG


def _utf8(text: str) -> str:
    """Return a text without the bytes that are no UTF-8: no journal and no wire could hold them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _fill_streams() -> None:
    """Put nothing where the caller closed a standard stream: the next file opened would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _keep_log() -> str:
    """Write the present traceback where the user can find it, and return the path."""
    with tempfile.NamedTemporaryFile("w", prefix="orch-crash-", suffix=".log", delete=False) as log:
        log.write(f"orch {importlib.metadata.version('orch')}, python {sys.version}\n")
        log.write(traceback.format_exc())
    return log.name
