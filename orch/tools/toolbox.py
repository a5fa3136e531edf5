"""Every tool: its name, what a model is told of it, the shape of its arguments, and what it runs.

Arguments that cannot be read are a `ToolError` that names what the tool takes. Who may call what is not
decided here but by the grants in `orch.agents.roles`.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from orch.errors import ToolError
from orch.mission.review import Finding
from orch.mission.transcript import ToolCall
from orch.tools import arguments as args
from orch.tools import edits, search, shell, team, web
from orch.tools.desk import Desk, ToolResult


async def _read(desk: Desk, _call: ToolCall, a: args.Read) -> ToolResult:
    return await edits.read(desk, a.path, a.offset, a.limit)


async def _glob(desk: Desk, _call: ToolCall, a: args.Glob) -> ToolResult:
    return ToolResult(text=await search.glob(desk.place.workspace, a.pattern, a.path))


async def _grep(desk: Desk, _call: ToolCall, a: args.Grep) -> ToolResult:
    return ToolResult(text=await search.grep(desk.place.workspace, a.pattern, a.path, a.include))


async def _write(desk: Desk, call: ToolCall, a: args.Write) -> ToolResult:
    return await edits.write(desk, call.id, a.path, a.content)


async def _edit(desk: Desk, call: ToolCall, a: args.Edit) -> ToolResult:
    return await edits.edit(desk, call.id, a.path, a.old_string, a.new_string, replace_all=a.replace_all)


async def _delete(desk: Desk, call: ToolCall, a: args.FilePath) -> ToolResult:
    return await edits.delete(desk, call.id, a.path)


async def _bash(desk: Desk, call: ToolCall, a: args.Bash) -> ToolResult:
    return await shell.bash(desk, call.id, a.command, a.timeout_s)


async def _run_background(desk: Desk, _call: ToolCall, a: args.RunBackground) -> ToolResult:
    return await shell.run_background(desk, a.command, a.label, a.timeout_s)


async def _check_background(desk: Desk, _call: ToolCall, a: args.CheckBackground) -> ToolResult:
    return await shell.check_background(desk, a.job_id, a.tail)


async def _list_background(desk: Desk, _call: ToolCall, _a: args.Nothing) -> ToolResult:
    return await shell.list_background(desk)


async def _kill_background(desk: Desk, _call: ToolCall, a: args.JobId) -> ToolResult:
    return await shell.kill_background(desk, a.job_id)


async def _webfetch(desk: Desk, _call: ToolCall, a: args.Url) -> ToolResult:
    return ToolResult(text=await web.fetch(a.url, desk.place.docs))


async def _write_context(desk: Desk, _call: ToolCall, a: args.Context) -> ToolResult:
    return await team.write_context(desk, a.content)


async def _delegate_task(desk: Desk, _call: ToolCall, a: args.Delegate) -> ToolResult:
    item = args.PlanItem(
        id="new",
        title=a.description,
        files=a.files,
        instructions=a.prompt,
        depends_on=a.depends_on,
        check=a.check,
    )
    return await team.delegate_task(desk, a.agent, item.spec())


async def _get_task_result(desk: Desk, _call: ToolCall, a: args.TaskId) -> ToolResult:
    return team.get_task_result(desk, a.task_id)


async def _list_tasks(desk: Desk, _call: ToolCall, a: args.Status) -> ToolResult:
    return team.list_tasks(desk, a.status)


async def _cancel_task(desk: Desk, _call: ToolCall, a: args.TaskId) -> ToolResult:
    return team.cancel_task(desk, a.task_id)


async def _submit_plan(desk: Desk, _call: ToolCall, a: args.Plan) -> ToolResult:
    return await team.submit_plan(desk, [item.spec() for item in a.items], a.verify)


async def _request_change(desk: Desk, _call: ToolCall, a: args.RequestChange) -> ToolResult:
    return await team.request_change(desk, a.path, a.description)


async def _submit_review(desk: Desk, _call: ToolCall, a: args.Review) -> ToolResult:
    findings = [Finding(issue.path, issue.description) for issue in a.issues]
    return await team.submit_review(desk, a.verdict, a.evidence, findings)


async def _seal_mission(desk: Desk, _call: ToolCall, a: args.Summary) -> ToolResult:
    return team.seal_mission(desk, a.summary)


async def _answer(desk: Desk, _call: ToolCall, a: args.Answer) -> ToolResult:
    return team.answer(desk, a.text)


async def _block_mission(desk: Desk, _call: ToolCall, a: args.Question) -> ToolResult:
    return team.block_mission(desk, a.question)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `is_read` tools change nothing and may run side by side; the others run in order.

    `is_command` tools run a command of an agent: one that was cut off is never run again by orch.
    """

    description: str
    arguments: type[args.Arguments]
    run: Callable[[Desk, ToolCall, Any], Awaitable[ToolResult]]
    is_read: bool = False
    is_command: bool = False

    def parameters(self) -> Mapping[str, object]:
        """Return the JSON Schema of the arguments, without references and titles."""
        schema = self.arguments.model_json_schema()
        definitions = schema.pop("$defs", {})
        plain = _plain(schema, definitions)
        return cast("Mapping[str, object]", plain)

    def parse(self, call: ToolCall) -> args.Arguments:
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
            raise ToolError(f"wrong arguments for {call.name}: {wrong}. {takes(call.name)}") from None


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
    "read": Tool("Show a file with line numbers, page by page.", args.Read, _read, is_read=True),
    "glob": Tool("List files by pattern, e.g. **/*.py.", args.Glob, _glob, is_read=True),
    "grep": Tool("Search file contents by regular expression.", args.Grep, _grep, is_read=True),
    "write": Tool("Create or replace one of your files. Read it first if it exists.", args.Write, _write),
    "edit": Tool("Replace a text that stands exactly once in one of your files.", args.Edit, _edit),
    "delete": Tool("Delete one of your files.", args.FilePath, _delete),
    "bash": Tool("Run a command to its end; it is recorded as evidence.", args.Bash, _bash, is_command=True),
    "run_background": Tool(
        "Start a command that goes on, e.g. a server; returns a job id.",
        args.RunBackground,
        _run_background,
        is_command=True,
    ),
    "check_background": Tool("Show a job's state and last output.", args.CheckBackground, _check_background),
    "list_background": Tool("List your jobs.", args.Nothing, _list_background),
    "kill_background": Tool("End a job.", args.JobId, _kill_background),
    "webfetch": Tool("Fetch a public web page as text; it is kept in .opencode/docs/.", args.Url, _webfetch),
    "write_context": Tool(
        "Replace the project context (Markdown: stack, commands, conventions) that every agent reads.",
        args.Context,
        _write_context,
    ),
    "delegate_task": Tool(
        "Give work to a worker or the planner; returns at once.", args.Delegate, _delegate_task
    ),
    "get_task_result": Tool("Show what came of a task.", args.TaskId, _get_task_result),
    "list_tasks": Tool("List all tasks.", args.Status, _list_tasks),
    "cancel_task": Tool("Take a task off the list.", args.TaskId, _cancel_task),
    "submit_plan": Tool("Submit the plan; it is dispatched at once.", args.Plan, _submit_plan),
    "request_change": Tool(
        "Ask the owner of another file for a change.", args.RequestChange, _request_change
    ),
    "submit_review": Tool("Give your verdict on the item.", args.Review, _submit_review),
    "seal_mission": Tool("Ask orch to verify and seal the mission.", args.Summary, _seal_mission),
    "answer": Tool("Answer a goal that asks for no change; ends the mission.", args.Answer, _answer),
    "block_mission": Tool("Stop, with a question only a person can answer.", args.Question, _block_mission),
}


async def run(desk: Desk, call: ToolCall) -> ToolResult:
    """Run a call that was granted. Raises `ToolError` for what the model can do better.

    That is also what the system refuses in any corner of a tool: no file is worth the run.
    """
    tool = TOOLS[call.name]
    arguments = tool.parse(call)
    try:
        return await tool.run(desk, call, arguments)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ToolError(
            f"{call.name} broke off, for the system refused: {why}. Look at what is there now, then try "
            "another way."
        ) from error


def takes(name: str) -> str:
    """Say what a tool takes, in one line; nothing if there is no such tool."""
    tool = TOOLS.get(name)
    if tool is None:
        return ""
    fields = tool.arguments.model_fields.items()
    shown = ", ".join(key if field.is_required() else f"{key}?" for key, field in fields)
    return f"{name} takes: {shown or 'nothing'}"


def summary(call: ToolCall) -> str:
    """Return one line that tells a person what a call is about."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    keys = ("path", "command", "pattern", "url", "task_id", "job_id", "verdict", "description", "question")
    subject = next((str(arguments[key]) for key in keys if arguments.get(key)), "")
    return f"{call.name} {' '.join(subject.split())[:120]}".rstrip()
