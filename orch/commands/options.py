"""Options that several commands share, and the formats they print in.

Kept light: `orch --help` imports this, and must not pay for what only a mission needs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
        help="The workspace; default: here. [env: ORCH_CD]",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("-m", "--model", metavar="PROVIDER/MODEL", help="Model for every role. [env: ORCH_MODEL]"),
]
CommanderModel = Annotated[
    str | None,
    typer.Option(
        "--model-commander", metavar="MODEL", help="Model for the Commander. [env: ORCH_MODEL_COMMANDER]"
    ),
]
PlannerModel = Annotated[
    str | None,
    typer.Option("--model-planner", metavar="MODEL", help="Model for the Planner. [env: ORCH_MODEL_PLANNER]"),
]
WorkerModel = Annotated[
    str | None,
    typer.Option("--model-worker", metavar="MODEL", help="Model for the Workers. [env: ORCH_MODEL_WORKER]"),
]
ReviewerModel = Annotated[
    str | None,
    typer.Option(
        "--model-reviewer", metavar="MODEL", help="Model for the Reviewers. [env: ORCH_MODEL_REVIEWER]"
    ),
]
FallbackModel = Annotated[
    str | None,
    typer.Option("--fallback-model", metavar="A,B", help="Models to go on with when one is down."),
]
MaxParallel = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--max-parallel",
        metavar="N",
        help="Sessions at once, 1-500; default 50. [env: ORCH_MAX_PARALLEL]",
    ),
]
MaxTurns = Annotated[
    int | None,
    typer.Option("--max-turns", metavar="N", help="Turns of one session; default 200."),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help="Stop after, say, 1h30m. [env: ORCH_TIMEOUT]",
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", help="Cap on the tokens of all sessions."),
]
MaxBudget = Annotated[
    float | None,
    typer.Option("--max-budget-usd", metavar="X", help="Cap on the cost of all sessions."),
]
Output = Annotated[
    OutputFormat, typer.Option("--output-format", help="What stdout carries.", show_default=True)
]
AsStream = Annotated[bool, typer.Option("--json", help="Short for --output-format stream-json.")]
LastMessage = Annotated[
    Path | None,
    typer.Option("-o", "--output-last-message", metavar="FILE", help="Write the closing report to FILE."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")]
Mission = Annotated[
    str | None,
    typer.Argument(metavar="MISSION", help="Its id; `orch status --all` lists them.", show_default=False),
]
