"""`orch status`: what is going on."""

from pathlib import Path
from typing import Annotated

import typer

from orch.commands import options


def status(
    mission: options.Mission = None,
    cd: options.Workspace = Path(),
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Every mission of the workspace, newest first.")
    ] = False,
) -> None:
    """Show the running mission, else the latest.

    A mission that was killed is `interrupted`; `orch resume` goes on with it.

    Examples:

      orch status

      orch status --all --json
    """
    from orch.commands import place
    from orch.runtime import survey
    from orch.view import table

    missions = survey.missions(place.folder_of(cd), mission, every=all_)
    typer.echo(missions.model_dump_json(indent=2) if json else table.render(missions, place.columns(80)))
