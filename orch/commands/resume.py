"""`orch resume`: continue a mission that was stopped, failed, blocked or killed."""

from pathlib import Path
from typing import Annotated

import typer

from orch.commands import options, page
from orch.commands.options import OutputFormat


def resume(  # noqa: PLR0913 - one option per line is the schema of the command line
    mission: options.Mission = None,
    cd: options.Workspace = Path(),
    model: options.Model = None,
    model_commander: options.CommanderModel = None,
    model_planner: options.PlannerModel = None,
    model_worker: options.WorkerModel = None,
    model_reviewer: options.ReviewerModel = None,
    fallback_model: options.FallbackModel = None,
    max_parallel: options.MaxParallel = None,
    max_turns: options.MaxTurns = None,
    timeout: options.Timeout = None,
    max_tokens: options.MaxTokens = None,
    max_budget_usd: options.MaxBudget = None,
    output_format: options.Output = OutputFormat.TEXT,
    json: options.AsStream = False,
    output_last_message: options.LastMessage = None,
    quiet: options.Quiet = False,
    junit: options.JUnit = None,
    reply: Annotated[
        str | None,
        typer.Option(
            "--reply",
            metavar="TEXT",
            help="The answer to what a blocked mission asked.",
            rich_help_panel=page.WHAT,
        ),
    ] = None,
) -> None:
    """Continue a mission that stopped, failed or crashed.

    The latest one by default. What is completed stays completed, and no finished turn is paid again. A
    sealed mission prints its stored result.

    Examples:

      orch resume

      orch resume --reply "Use PostgreSQL"

      orch resume --max-tokens 2000000
    """
    from orch.commands import parts, screen

    asked = parts.Asked(
        flags=parts.flags(
            model,
            {
                "commander": model_commander,
                "planner": model_planner,
                "worker": model_worker,
                "reviewer": model_reviewer,
            },
            {
                "fallback_models": fallback_model,
                "max_parallel": max_parallel,
                "max_turns": max_turns,
                "timeout": timeout,
                "max_tokens": max_tokens,
                "max_budget_usd": max_budget_usd,
            },
        ),
        workspace=cd,
        form=screen.Form(
            output=OutputFormat.STREAM_JSON if json else output_format,
            last_message=output_last_message,
            is_quiet=quiet,
            junit=junit,
        ),
    )
    raise typer.Exit(parts.go_on(asked, mission, reply))
