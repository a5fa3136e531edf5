"""`orch status`: what is going on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orch.commands import options


def status(  # noqa: PLR0913 - one option per line is the schema of the command line
    mission: options.Mission = None,
    cd: options.Workspace = Path(),
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Every mission of the workspace, newest first.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Live, until you press q; plain lines where no terminal is.")
    ] = False,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="ID", help="What one session was told, said and did.", show_default=False
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="With --session: cut nothing.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write the mission as one page of HTML; FILE is replaced.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the running mission, else the latest.

    A mission that was killed is `interrupted`; `orch resume` goes on with it.

    Examples:

      orch status

      orch status --all --json

      orch status --watch

      orch status --session S3

      orch status --report mission.html
    """
    from orch.commands import place
    from orch.runtime import survey
    from orch.view import table
    from orch.view.stream import json_text

    if session is not None or full:
        told = _told(cd, mission, None if all_ or watch or report else session, json=json, full=full)
        typer.echo(told)
        return
    if watch:
        _watch(cd, mission, is_alone=not (json or all_ or report))
        return
    if report is not None:
        _write_report(report, cd, mission, every=all_)
        return
    missions = survey.missions(place.folder_of(cd), mission, every=all_)
    if json:
        typer.echo(json_text(missions, indent=2))
    else:
        typer.echo(table.render(missions, place.columns(80), datetime.now(UTC)))


def _told(cd: Path, mission: str | None, session: str | None, *, json: bool, full: bool) -> str:
    """Return what one session did; `session` is `None` where something else was asked for besides."""
    from orch.commands import place, story
    from orch.errors import UsageError

    if session is None:
        raise UsageError("--session ID [--full] is about one session: leave out --all, --watch and --report")
    return story.tell(place.folder_of(cd), mission, session, as_json=json, whole=full)


def _watch(cd: Path, mission: str | None, *, is_alone: bool) -> None:
    """Watch a mission until the person leaves."""
    from orch.commands import place
    from orch.commands import watch as watching
    from orch.errors import UsageError

    if not is_alone:
        raise UsageError(
            "--watch shows one mission to a person: leave out --json, --all and --report; "
            "`orch task --json` prints events"
        )
    watching.watch(place.folder_of(cd), mission)


def _write_report(file: Path, cd: Path, mission: str | None, *, every: bool) -> None:
    """Write the page of one mission, and say where it is."""
    from orch.commands import place
    from orch.commands import report as pages
    from orch.errors import UsageError
    from orch.runtime import survey
    from orch.view import defuse

    if every:
        raise UsageError("--report is about one mission: leave --all out, or name the mission")
    pages.check(file)
    folder = place.folder_of(cd)
    entries = survey.missions(folder, mission, every=False).missions
    if not entries:
        raise UsageError(f'no mission in {folder.workspace} yet: orch task "…", or orch task --demo')
    path = pages.write(folder, entries[0], file)
    typer.echo(f"orch: the report of {entries[0].mission} is {defuse.block(str(path))}", err=True)
