"""`orch task`: run a mission to its seal."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orch.commands import options, page
from orch.commands.options import OutputFormat
from orch.errors import UsageError


def task(  # noqa: PLR0913 - one option per line is the schema of the command line
    goal: Annotated[
        str | None,
        typer.Argument(metavar="GOAL", help="What to achieve; `-` reads it from stdin.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", metavar="FILE", help="Read the goal from FILE.", rich_help_panel=page.WHAT
        ),
    ] = None,
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
    answer: Annotated[
        bool,
        typer.Option(
            "--answer",
            help="A question: read, change nothing, answer.",
            rich_help_panel=page.WHAT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print the plan and what it may cost.",
            rich_help_panel=page.WHAT,
        ),
    ] = False,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="A scripted model: no key, no network.",
            rich_help_panel=page.WHAT,
        ),
    ] = False,
) -> None:
    """Run a mission to its seal: exit 0 means done and proven.

    A team of agents explores, plans, builds in parallel, tests and fixes, until every TODO is done with
    evidence, no issue is open, and orch itself has verified the final tree.

    Examples:

      orch task --demo -C demo

      orch task "Build a REST API with authentication" -m openai/gpt-4.1

      orch task "Add a --json flag to export" --dry-run

      orch task -f goal.md --max-budget-usd 5 --json > events.jsonl

      orch task --answer "Where are the retries configured?"
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
    mode = parts.Mode(answer=answer, dry_run=dry_run, demo=demo)
    raise typer.Exit(parts.start(asked, lambda: _goal(goal, file, demo=demo), mode))


def _goal(goal: str | None, file: Path | None, *, demo: bool) -> str:
    """Return the goal from where it was given. Raises `UsageError`."""
    if goal is not None and file is not None:
        raise UsageError("the goal is given twice: as an argument and with -f; use one of them")
    if file is not None:
        try:
            goal = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the goal cannot be read from {file}: {error}") from error
    elif goal == "-":
        goal = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    if goal is None and demo:
        return ""
    if goal is None or not goal.strip():
        raise UsageError('no goal: try `orch task "Build a REST API with authentication"`, or --demo')
    return goal.strip()
