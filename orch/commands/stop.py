"""`orch stop`: stop a running mission, and look that nothing of it lives on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orch.commands import options

if TYPE_CHECKING:
    from orch.runtime.halt import Halted


def stop(
    mission: options.Mission = None,
    cd: options.Workspace = Path(),
    now: Annotated[bool, typer.Option("--now", help="Do not let running turns finish.")] = False,
) -> None:
    """Stop the running mission and return when nothing of it lives.

    It is checkpointed: `orch resume` goes on. Stopping what does not run is no error.

    Examples:

      orch stop

      orch stop --now
    """
    from orch.commands import place
    from orch.runtime import halt

    halted = halt.halt(place.folder_of(cd), mission, now=now)
    typer.echo(f"orch: {words(halted)}", err=True)
    raise typer.Exit(0 if halted.is_over else 1)


def words(halted: "Halted") -> str:
    """Return what a person is told of a stop."""
    if halted.pids:
        return f"still alive: {', '.join(map(str, halted.pids))}; kill -9 ends them"
    if halted.is_held:
        return "the workspace is still held, by a process that cannot be named"
    if halted.mission:
        return f"stopped {halted.mission}; `orch resume` goes on"
    return "nothing was running here"
