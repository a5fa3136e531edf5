"""What each tool takes, as the model is told and as it is read.

Arguments are read leniently (a number in quotes, one path where a list is wanted, `null` for what may be left
out, unknown keys are no error), because budget models write them; what cannot be read is pydantic's
`ValidationError`.
"""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orch.mission import events as ev
from orch.mission.transcript import clean


def _as_list(value: object) -> object:
    """Read one thing, or the JSON text of a list, where a list is wanted."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
            return _cleaned(parsed) if isinstance(parsed, list) else [value]
        except (ValueError, RecursionError):
            return [value] if value.strip() else []
    return [] if value is None else value


def _cleaned(value: object) -> object:
    """Clean the strings of a text that was read as JSON a second time: escapes hide in it from the first."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(inner) for key, inner in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


def _as_word(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


class Arguments(BaseModel):
    """Base of every tool's arguments; one that is `null` counts as left out."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None}


class Read(Arguments):
    """See `read`."""

    path: str
    offset: int = Field(1, description="first line, 1-based")
    limit: int = Field(2000, description="number of lines")


class Glob(Arguments):
    """See `glob`."""

    pattern: str
    path: str | None = Field(None, description="folder to search in")


class Grep(Arguments):
    """See `grep`."""

    pattern: str = Field(description="regular expression")
    path: str | None = Field(None, description="folder or file to search in")
    include: str | None = Field(None, description="only files that match this glob, e.g. *.py")


class Write(Arguments):
    """See `write`."""

    path: str
    content: str


class Edit(Arguments):
    """See `edit`."""

    path: str
    old_string: str
    new_string: str
    replace_all: bool = False


class FilePath(Arguments):
    """See `delete`."""

    path: str


class Bash(Arguments):
    """See `bash`."""

    command: str
    timeout_s: float | None = None


class RunBackground(Bash):
    """See `run_background`."""

    label: str | None = None


class CheckBackground(Arguments):
    """See `check_background`."""

    job_id: str
    tail: int = Field(50, description="lines of output")


class JobId(Arguments):
    """See `kill_background`."""

    job_id: str


class Nothing(Arguments):
    """No arguments."""


class Url(Arguments):
    """See `webfetch`."""

    url: str


class Context(Arguments):
    """See `write_context`."""

    content: str


class Delegate(Arguments):
    """See `delegate_task`."""

    agent: Annotated[ev.Role, BeforeValidator(_as_word)] = Field(description="worker or planner")
    description: str = Field(description="a short title")
    prompt: str = Field(description="everything the agent needs to know")
    files: Names = Field(default_factory=list, description="the files the worker may write")
    check: str | None = Field(None, description="command that fails if the task is not done right")
    depends_on: Names = Field(default_factory=list, description="task ids that must be completed first")


class TaskId(Arguments):
    """See `get_task_result`."""

    task_id: str


class Status(Arguments):
    """See `list_tasks`."""

    status: str | None = None


class PlanItem(Arguments):
    """One item of a plan."""

    id: str
    title: str
    files: Names
    instructions: str
    depends_on: Names = Field(default_factory=list)
    check: str | None = None
    setup: str | None = None

    def spec(self) -> ev.ItemSpec:
        """Return the item as the mission knows it."""
        return ev.ItemSpec(
            id=ev.ItemId(self.id.strip()),
            title=self.title,
            files=tuple(self.files),
            instructions=self.instructions,
            depends_on=tuple(ev.ItemId(d) for d in self.depends_on),
            check=self.check.strip() if self.check and self.check.strip() else None,
            setup=self.setup.strip() if self.setup and self.setup.strip() else None,
        )


class Plan(Arguments):
    """See `submit_plan`."""

    items: Annotated[list[PlanItem], BeforeValidator(_as_list)]
    verify: Names = Field(default_factory=list, description="commands that must exit 0 at the end")


class RequestChange(Arguments):
    """See `request_change`."""

    path: str
    description: str


class ReviewIssue(Arguments):
    """One issue of a verdict."""

    path: str | None = None
    description: str


def _as_issues(value: object) -> object:
    listed = _as_list(value)
    if not isinstance(listed, list):
        return listed
    return [{"description": entry} if isinstance(entry, str) else entry for entry in listed]


class Review(Arguments):
    """See `submit_review`."""

    verdict: Annotated[ev.Verdict, BeforeValidator(_as_word)]
    evidence: Names = Field(default_factory=list, description="evidence ids, e.g. E3")
    issues: Annotated[list[ReviewIssue], BeforeValidator(_as_issues)] = Field(default_factory=list)


class Summary(Arguments):
    """See `seal_mission`."""

    summary: str


class Answer(Arguments):
    """See `answer`."""

    text: str


class Question(Arguments):
    """See `block_mission`."""

    question: str
