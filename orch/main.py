"""The command line, and the one place where an error becomes an exit code.

Importing it is cheap: a command imports what it needs when it runs. Whoever asked `task` or `resume` for
JSON gets a `result` also for a command line that cannot be read, and for a bug.
"""

import functools
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Protocol, runtime_checkable

import typer

from orch.commands import crash, early, exit_codes, shells
from orch.commands.page import Cover, Page
from orch.commands.resume import resume
from orch.commands.status import status
from orch.commands.stop import stop
from orch.commands.task import task
from orch.errors import OrchError, UsageError
from orch.view import defuse

app = typer.Typer(
    name="orch",
    cls=Cover,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"orch {importlib.metadata.version('orch')}")
        raise typer.Exit


def _print_script(shell: str | None) -> None:
    if shell is not None:
        if shell not in shells.SCRIPTS:
            raise UsageError(f"--show-completion {shell}: expected one of {', '.join(shells.SCRIPTS)}")
        typer.echo(shells.SCRIPTS[shell], nl=False)
        raise typer.Exit


@app.callback()
def orch(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    show_completion: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            metavar="SHELL",
            callback=_print_script,
            is_eager=True,
            help="Print what completes orch in bash, zsh or fish.",
        ),
    ] = None,
) -> None:
    """One command, a team of coding agents, and an exit code that means done.

    Examples:

      orch task --demo -C demo        watch it work: no key, no network

      orch task "GOAL" -m PROVIDER/MODEL

      orch status                     what is going on, and what to do next

      orch COMMAND --help             options, examples, exit codes
    """
    del version, show_completion
    if sys.platform == "win32":
        raise UsageError("orch runs on Linux and macOS; on Windows, run it inside WSL")


class _CutShort(Exception):
    """An interrupt that Typer does not see: it would end the command as if that had been its own wish."""


def _heard(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose interrupt reaches `main`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            raise _CutShort(exit_codes.cut_short(interrupt)) from interrupt

    return run


for command in (task, stop, status, resume):
    app.command(cls=Page, epilog=exit_codes.described() if command is task else None)(_heard(command))


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
    if asked := os.environ.get(shells.VARIABLE):
        raise SystemExit(_complete(asked, arguments))
    try:
        code = app(arguments, standalone_mode=False)
    except OrchError as error:
        code = _refused(arguments, error)
    except _CutShort as cut:
        code = _cut_short(arguments, cut.args[0])
    except KeyboardInterrupt as interrupt:
        code = _cut_short(arguments, exit_codes.cut_short(interrupt))
    except Exception as error:  # noqa: BLE001 - the error boundary: a traceback on the screen is a bug
        code = _misread(arguments, error) if isinstance(error, _Misread) else _bug(arguments, error)
    _turn_deaf()
    _flush()
    raise SystemExit(code)


def _complete(asked: str, arguments: Sequence[str]) -> int:
    """Answer a completion script. Whatever goes wrong, nothing is said: a person is typing."""
    script = shells.SCRIPTS.get(asked.removeprefix("source_"))
    if script is not None:
        typer.echo(script, nl=False)
        return 0
    try:
        from orch.commands import completion  # noqa: PLC0415 - only the Tab key needs it

        typer.echo(completion.reply(typer.main.get_command(app), arguments, os.environ))
    except Exception:  # noqa: BLE001 - an error boundary: an error in the prompt helps nobody
        return exit_codes.BUG
    return 0


def _turn_deaf() -> None:
    """Let no signal change the exit code any more: what was asked for is done, and said."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):  # Windows has only some of them
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _flush() -> None:
    """Write what is left; where nobody reads it any more, the interpreter is not to fail over it (120)."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _cut_short(arguments: Sequence[str], code: int) -> int:
    _turn_deaf()
    early.print_result(arguments, code, "stopped", "interrupted")
    return code


def _misread(arguments: Sequence[str], error: _Misread) -> int:
    with suppress(OSError):  # nobody reads it any more
        error.show()
    early.print_result(arguments, exit_codes.USAGE, "error", error.message)
    return exit_codes.USAGE


def _refused(arguments: Sequence[str], error: OrchError) -> int:
    code, subtype = exit_codes.ending(error)
    _complain(str(error))
    early.print_result(arguments, code, subtype, _utf8(str(error)))
    return code


def _bug(arguments: Sequence[str], error: Exception) -> int:
    text = crash.told(error)
    _complain(text)
    early.print_result(arguments, exit_codes.BUG, "error", _utf8(text))
    return exit_codes.BUG


def _complain(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        typer.echo(defuse.block(f"orch: {text}"), err=True)


def _utf8(text: str) -> str:
    """Return a text without the bytes that are no UTF-8: no journal and no wire could hold them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _fill_streams() -> None:
    """Put nothing where the caller closed a standard stream: the next file opened would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
