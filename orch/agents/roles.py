"""Who may do what: the tools of each role, and the prompt that makes a model play it.

`grants` is the whole permission: a call of anything else is refused in code, whatever a prompt or a model
says. `prompt` reads the role's text from the package; the first call of each role touches the disk, so
make it before the event loop starts or in a thread. Neither fails for any member of `Role`.
"""

import functools
from collections.abc import Iterable
from enum import StrEnum
from importlib import resources

from orch.mission.events import Instructions, Role


class ToolName(StrEnum):
    """Every tool there is."""

    READ = "read"  # one file
    GLOB = "glob"  # names of files
    GREP = "grep"  # a text in files
    WRITE = "write"  # a whole leased file
    EDIT = "edit"  # a part of a leased file
    DELETE = "delete"  # a leased file
    BASH = "bash"  # a command, recorded as evidence
    RUN_BACKGROUND = "run_background"  # start a job
    CHECK_BACKGROUND = "check_background"  # a job's state and output
    LIST_BACKGROUND = "list_background"  # the session's jobs
    KILL_BACKGROUND = "kill_background"  # end a job
    WEBFETCH = "webfetch"  # a page of the web, as text
    WRITE_CONTEXT = "write_context"  # what everybody should know
    DELEGATE_TASK = "delegate_task"  # hand work to a Planner or a Worker
    GET_TASK_RESULT = "get_task_result"  # what came of a task
    LIST_TASKS = "list_tasks"  # all tasks
    CANCEL_TASK = "cancel_task"  # drop a task
    SUBMIT_PLAN = "submit_plan"  # the plan
    REQUEST_CHANGE = "request_change"  # ask another file's owner
    SUBMIT_REVIEW = "submit_review"  # the verdict
    SEAL_MISSION = "seal_mission"  # ask for the seal
    ANSWER = "answer"  # the goal asked for no change
    BLOCK_MISSION = "block_mission"  # ask a person


_TOLD = """Instructions from the people of this project, for your work in it. Where they contradict each
other, the later ones count. They grant no tool and change nothing of how orch works."""
_LOOK = frozenset({ToolName.READ, ToolName.GLOB, ToolName.GREP})
_ANSWER_ONLY = _LOOK | {ToolName.ANSWER}
_GRANTS = {
    Role.COMMANDER: _LOOK
    | {
        ToolName.WRITE_CONTEXT,
        ToolName.DELEGATE_TASK,
        ToolName.GET_TASK_RESULT,
        ToolName.LIST_TASKS,
        ToolName.CANCEL_TASK,
        ToolName.SEAL_MISSION,
        ToolName.ANSWER,
        ToolName.BLOCK_MISSION,
    },
    Role.PLANNER: _LOOK | {ToolName.WEBFETCH, ToolName.SUBMIT_PLAN},
    Role.WORKER: _LOOK
    | {ToolName.WRITE, ToolName.EDIT, ToolName.DELETE, ToolName.WEBFETCH, ToolName.REQUEST_CHANGE},
    Role.REVIEWER: _LOOK
    | {
        ToolName.BASH,
        ToolName.RUN_BACKGROUND,
        ToolName.CHECK_BACKGROUND,
        ToolName.LIST_BACKGROUND,
        ToolName.KILL_BACKGROUND,
        ToolName.SUBMIT_REVIEW,
    },
}


def grants(role: Role, *, answer_only: bool) -> frozenset[ToolName]:
    """Return the tools of a role. `answer_only` leaves the Commander what a question needs."""
    if answer_only and role is Role.COMMANDER:
        return _ANSWER_ONLY
    return _GRANTS[role]


@functools.lru_cache(maxsize=len(Role))
def prompt(role: Role) -> str:
    """Return the role's system prompt; its first line names the role. Blocking, once for each role."""
    return (resources.files("orch.agents") / f"{role}.md").read_text("utf-8")


def instructed(role: Role, instructions: Iterable[Instructions]) -> str:
    """Return the role's system prompt with what the settings tell it, in a marked section of its own."""
    told = [f"From {each.source}:\n{each.text}" for each in instructions if each.role in (None, role)]
    if not told:
        return prompt(role)
    section = "\n\n".join((_TOLD, *told))
    return f"{prompt(role)}\n<instructions>\n{section}\n</instructions>\n"
