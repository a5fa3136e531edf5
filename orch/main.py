"""The command line, and the one place where an error becomes an exit code.

Importing it is cheap: a command imports what it needs when it runs.
"""

import importlib.metadata
import sys
import tempfile
import traceback
from typing import Annotated

import typer

from orch.commands.resume import resume
from orch.commands.status import status
from orch.commands.stop import stop
from orch.commands.task import task
from orch.errors import AuthRefused, DiskRefused, OrchError, ProviderUnavailable, UsageError

EXIT_CODES: tuple[tuple[type[OrchError], int], ...] = (
    (UsageError, 2),
    (DiskRefused, 74),
    (ProviderUnavailable, 75),
    (AuthRefused, 77),
)
"""Errors that reach the command line itself; a mission's own code comes from its final state."""
BUG = 70
INTERRUPTED = 130

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


def main() -> None:
    """Run the command line; always ends with `SystemExit`."""
    try:
        app()
    except OrchError as error:
        typer.echo(f"orch: {error}", err=True)
        raise SystemExit(next((c for kind, c in EXIT_CODES if isinstance(error, kind)), BUG)) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001 - the error boundary: a traceback on the screen is a bug
        typer.echo(f"orch: a bug: {type(error).__name__}: {error}\norch: the log is {_keep_log()}", err=True)
        raise SystemExit(BUG) from None


def _keep_log() -> str:
    """Write the present traceback where the user can find it, and return the path."""
    with tempfile.NamedTemporaryFile("w", prefix="orch-crash-", suffix=".log", delete=False) as log:
        log.write(f"orch {importlib.metadata.version('orch')}, python {sys.version}\n")
        log.write(traceback.format_exc())
    return log.name
