"""Every tool: its name, what a model is told of it, the shape of its arguments, and what it runs.

Arguments are read leniently (a number in quotes, one path where a list is wanted, unknown keys are no error),
because budget models write them; what cannot be read is a `ToolError` that names the arguments. Who may call
what is not decided here but by the grants in `orch.agents.roles`.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.review import Finding
from orch.mission.transcript import ToolCall
from orch.tools import edits, search, shell, team, web
from orch.tools.desk import Desk, ToolResult


def _as_list(value: object) -> object:
    """Read one thing, or the JSON text of a list, where a list is wanted."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return [value] if value.strip() else []
        return parsed if isinstance(parsed, list) else [value]
    return [] if value is None else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


class Arguments(BaseModel):
    """Base of every tool's arguments."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


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


class Path(Arguments):
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

    agent: ev.Role = Field(description="worker or planner")
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

    verdict: ev.Verdict
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


async def _read(desk: Desk, _call: ToolCall, a: Read) -> ToolResult:
    return await edits.read(desk, a.path, a.offset, a.limit)


async def _glob(desk: Desk, _call: ToolCall, a: Glob) -> ToolResult:
    return ToolResult(text=await search.glob(desk.place.workspace, a.pattern, a.path))


async def _grep(desk: Desk, _call: ToolCall, a: Grep) -> ToolResult:
    return ToolResult(text=await search.grep(desk.place.workspace, a.pattern, a.path, a.include))


async def _write(desk: Desk, _call: ToolCall, a: Write) -> ToolResult:
    return await edits.write(desk, a.path, a.content)


async def _edit(desk: Desk, _call: ToolCall, a: Edit) -> ToolResult:
    return await edits.edit(desk, a.path, a.old_string, a.new_string, replace_all=a.replace_all)


async def _delete(desk: Desk, _call: ToolCall, a: Path) -> ToolResult:
    return await edits.delete(desk, a.path)


async def _bash(desk: Desk, call: ToolCall, a: Bash) -> ToolResult:
    return await shell.bash(desk, call.id, a.command, a.timeout_s)


async def _run_background(desk: Desk, _call: ToolCall, a: RunBackground) -> ToolResult:
    return await shell.run_background(desk, a.command, a.label, a.timeout_s)


async def _check_background(desk: Desk, _call: ToolCall, a: CheckBackground) -> ToolResult:
    return await shell.check_background(desk, a.job_id, a.tail)


async def _list_background(desk: Desk, _call: ToolCall, _a: Nothing) -> ToolResult:
    return shell.list_background(desk)


async def _kill_background(desk: Desk, _call: ToolCall, a: JobId) -> ToolResult:
    return await shell.kill_background(desk, a.job_id)


async def _webfetch(desk: Desk, _call: ToolCall, a: Url) -> ToolResult:
    return ToolResult(text=await web.fetch(a.url, desk.place.docs))


async def _write_context(desk: Desk, _call: ToolCall, a: Context) -> ToolResult:
    return await team.write_context(desk, a.content)


async def _delegate_task(desk: Desk, _call: ToolCall, a: Delegate) -> ToolResult:
    item = PlanItem(
        id="new",
        title=a.description,
        files=a.files,
        instructions=a.prompt,
        depends_on=a.depends_on,
        check=a.check,
    )
    return await team.delegate_task(desk, a.agent, item.spec())


async def _get_task_result(desk: Desk, _call: ToolCall, a: TaskId) -> ToolResult:
    return team.get_task_result(desk, a.task_id)


async def _list_tasks(desk: Desk, _call: ToolCall, a: Status) -> ToolResult:
    return team.list_tasks(desk, a.status)


async def _cancel_task(desk: Desk, _call: ToolCall, a: TaskId) -> ToolResult:
    return team.cancel_task(desk, a.task_id)


async def _submit_plan(desk: Desk, _call: ToolCall, a: Plan) -> ToolResult:
    return await team.submit_plan(desk, [item.spec() for item in a.items], a.verify)


async def _request_change(desk: Desk, _call: ToolCall, a: RequestChange) -> ToolResult:
    return await team.request_change(desk, a.path, a.description)


async def _submit_review(desk: Desk, _call: ToolCall, a: Review) -> ToolResult:
    findings = [Finding(issue.path, issue.description) for issue in a.issues]
    return await team.submit_review(desk, a.verdict, a.evidence, findings)


async def _seal_mission(desk: Desk, _call: ToolCall, a: Summary) -> ToolResult:
    return team.seal_mission(desk, a.summary)


async def _answer(desk: Desk, _call: ToolCall, a: Answer) -> ToolResult:
    return team.answer(desk, a.text)


async def _block_mission(desk: Desk, _call: ToolCall, a: Question) -> ToolResult:
    return team.block_mission(desk, a.question)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `is_read` tools change nothing and may run side by side; the others run in order.

    `is_command` tools run a command of an agent: one that was cut off is never run again by orch.
    """

    description: str
    arguments: type[Arguments]
    run: Callable[[Desk, ToolCall, Any], Awaitable[ToolResult]]
    is_read: bool = False
    is_command: bool = False

    def parameters(self) -> Mapping[str, object]:
        """Return the JSON Schema of the arguments, without references and titles."""
        schema = self.arguments.model_json_schema()
        definitions = schema.pop("$defs", {})
        plain = _plain(schema, definitions)
        return cast("Mapping[str, object]", plain)

    def parse(self, call: ToolCall) -> Arguments:
        """Read a call's arguments. Raises `ToolError`."""
        if call.malformed:
            raise ToolError(
                f"the arguments of {call.name} cannot be read: {call.malformed} Send one JSON object."
            )
        try:
            return self.arguments.model_validate_json(call.arguments)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(p) for p in e['loc']) or 'arguments'}: {e['msg']}" for e in error.errors()[:8]
            )
            takes = ", ".join(self.arguments.model_fields) or "nothing"
            raise ToolError(f"wrong arguments for {call.name}: {wrong}. It takes: {takes}") from None


def _plain(schema: object, definitions: Mapping[str, object]) -> object:
    """Inline references and drop what only costs tokens."""
    if isinstance(schema, list):
        return [_plain(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    options = schema.get("anyOf")
    if isinstance(options, list):  # "or null": the argument may simply be left out
        real = [option for option in options if option != {"type": "null"}]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
        return {**cast("dict[str, object]", _plain(real[0], definitions)), **rest}
    dropped = {"title", "default", "additionalProperties"}
    if schema.get("type") == "object":
        dropped.add("description")
    return {
        key: (
            {name: _plain(value, definitions) for name, value in entry.items()}
            if key == "properties"
            else _plain(entry, definitions)
        )
        for key, entry in schema.items()
        if key not in dropped
    }


TOOLS: Mapping[str, Tool] = {
    "read": Tool("Show a file with line numbers, page by page.", Read, _read, is_read=True),
    "glob": Tool("List files by pattern, e.g. **/*.py.", Glob, _glob, is_read=True),
    "grep": Tool("Search file contents by regular expression.", Grep, _grep, is_read=True),
    "write": Tool("Create or replace one of your files. Read it first if it exists.", Write, _write),
    "edit": Tool("Replace a text that stands exactly once in one of your files.", Edit, _edit),
    "delete": Tool("Delete one of your files.", Path, _delete),
    "bash": Tool("Run a command to its end; it is recorded as evidence.", Bash, _bash, is_command=True),
    "run_background": Tool(
        "Start a command that goes on, e.g. a server; returns a job id.",
        RunBackground,
        _run_background,
        is_command=True,
    ),
    "check_background": Tool("Show a job's state and last output.", CheckBackground, _check_background),
    "list_background": Tool("List your jobs.", Nothing, _list_background),
    "kill_background": Tool("End a job.", JobId, _kill_background),
    "webfetch": Tool("Fetch a public web page as text; it is kept in .opencode/docs/.", Url, _webfetch),
    "write_context": Tool(
        "Replace the project context (Markdown: stack, commands, conventions) that every agent reads.",
        Context,
        _write_context,
    ),
    "delegate_task": Tool("Give work to a worker or the planner; returns at once.", Delegate, _delegate_task),
    "get_task_result": Tool("Show what came of a task.", TaskId, _get_task_result),
    "list_tasks": Tool("List all tasks.", Status, _list_tasks),
    "cancel_task": Tool("Take a task off the list.", TaskId, _cancel_task),
    "submit_plan": Tool("Submit the plan; it is dispatched at once.", Plan, _submit_plan),
    "request_change": Tool("Ask the owner of another file for a change.", RequestChange, _request_change),
    "submit_review": Tool("Give your verdict on the item.", Review, _submit_review),
    "seal_mission": Tool("Ask orch to verify and seal the mission.", Summary, _seal_mission),
    "answer": Tool("Answer a goal that asks for no change; ends the mission.", Answer, _answer),
    "block_mission": Tool("Stop, with a question only a person can answer.", Question, _block_mission),
}


async def run(desk: Desk, call: ToolCall) -> ToolResult:
    """Run a call that was granted. Raises `ToolError` for what the model can do better."""
    tool = TOOLS[call.name]
    return await tool.run(desk, call, tool.parse(call))


def summary(call: ToolCall) -> str:
    """Return one line that tells a person what a call is about."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    keys = ("path", "command", "pattern", "url", "task_id", "job_id", "verdict", "description", "question")
    subject = next((str(arguments[key]) for key in keys if arguments.get(key)), "")
    return f"{call.name} {' '.join(subject.split())[:120]}".rstrip()
