"""Options that several commands share, and the formats they print in.

Kept light: `orch --help` imports this, and must not pay for what only a mission needs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orch.commands.page import LIMITS, MODELS, OUTPUT, WHAT, env


class OutputFormat(StrEnum):
    """What stdout carries."""

    TEXT = "text"  # the closing report
    JSON = "json"  # the result, as one object
    STREAM_JSON = "stream-json"  # every event as a line, the result last


Workspace = Annotated[
    Path,
    typer.Option(
        "-C",
        "--cd",
        envvar="ORCH_CD",
        show_envvar=False,
        metavar="DIR",
        help=f"The workspace; default: here. {env('ORCH_CD')}",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="PROVIDER/MODEL",
        help=f"Model for every role. {env('ORCH_MODEL')}",
        rich_help_panel=MODELS,
    ),
]
CommanderModel = Annotated[
    str | None,
    typer.Option(
        "--model-commander",
        metavar="MODEL",
        help=f"The Commander's. {env('ORCH_MODEL_COMMANDER')}",
        rich_help_panel=MODELS,
    ),
]
PlannerModel = Annotated[
    str | None,
    typer.Option(
        "--model-planner",
        metavar="MODEL",
        help=f"The Planner's. {env('ORCH_MODEL_PLANNER')}",
        rich_help_panel=MODELS,
    ),
]
WorkerModel = Annotated[
    str | None,
    typer.Option(
        "--model-worker",
        metavar="MODEL",
        help=f"The Workers'. {env('ORCH_MODEL_WORKER')}",
        rich_help_panel=MODELS,
    ),
]
ReviewerModel = Annotated[
    str | None,
    typer.Option(
        "--model-reviewer",
        metavar="MODEL",
        help=f"The Reviewers'. {env('ORCH_MODEL_REVIEWER')}",
        rich_help_panel=MODELS,
    ),
]
FallbackModel = Annotated[
    str | None,
    typer.Option(
        "--fallback-model",
        metavar="A,B",
        help="Models to go on with when one is down.",
        rich_help_panel=MODELS,
    ),
]
MaxParallel = Annotated[
    str | None,
    typer.Option(
        "-j",
        "--max-parallel",
        metavar="N",
        help=f"Sessions at once, 1-500; default 50. {env('ORCH_MAX_PARALLEL')}",
        rich_help_panel=LIMITS,
    ),
]
MaxTurns = Annotated[
    str | None,
    typer.Option(
        "--max-turns", metavar="N", help="Turns of one session; default 200.", rich_help_panel=LIMITS
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help=f"Stop after, say, 1h30m. {env('ORCH_TIMEOUT')}",
        rich_help_panel=LIMITS,
    ),
]
MaxTokens = Annotated[
    str | None,
    typer.Option(
        "--max-tokens", metavar="N", help="Cap on the tokens of all sessions.", rich_help_panel=LIMITS
    ),
]
MaxBudget = Annotated[
    str | None,
    typer.Option(
        "--max-budget-usd", metavar="X", help="Cap on their cost in US dollars.", rich_help_panel=LIMITS
    ),
]
Output = Annotated[
    OutputFormat,
    typer.Option(
        "--output-format",
        metavar="FORMAT",
        help="Stdout as text (default), json, stream-json.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
AsStream = Annotated[
    bool,
    typer.Option("--json", help="Short for --output-format stream-json.", rich_help_panel=OUTPUT),
]
LastMessage = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output-last-message",
        metavar="FILE",
        help="Write the closing report to FILE.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.", rich_help_panel=OUTPUT)]
JUnit = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        metavar="FILE",
        help="Write a JUnit report, for CI.",
        rich_help_panel=OUTPUT,
    ),
]
Mission = Annotated[
    str | None,
    typer.Argument(metavar="MISSION", help="Its id; `orch status --all` lists them.", show_default=False),
]
