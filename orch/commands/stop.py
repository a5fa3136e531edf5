"""`orch stop`: stop a running mission, and look that nothing of it lives on."""

from pathlib import Path
from typing import Annotated

import typer

from orch.commands import options


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
    if halted.pids:
        typer.echo(f"orch: still alive: {', '.join(map(str, halted.pids))}; kill -9 ends them", err=True)
    elif halted.is_held:
        typer.echo("orch: the workspace is still held, by a process that cannot be named", err=True)
    elif halted.mission:
        typer.echo(f"orch: stopped {halted.mission}; `orch resume` goes on", err=True)
    else:
        typer.echo("orch: nothing was running here", err=True)
    raise typer.Exit(0 if halted.is_over else 1)
