"""What the four roles of `--demo` do, turn by turn.

`play` is a function of the conversation alone: role, item and turn are read from it, nothing is kept
between turns. It plays one mission, `DEMO_GOAL`, whatever the goal says, and never hides that it is a
script. One file has a defect in its first version (`DEFECT`); the Reviewer's real test run catches it,
and the Worker puts it right. The plan and the files' text stand in `orch/models/demo/`; `demo` reads
them. Where the script does not know what to do it ends the turn with a sentence and never loops.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

DEMO_GOAL = "Build a small REST API with authentication"
DEMO_FILES = (
    "README.md",
    "demo_api/__init__.py",
    "demo_api/__main__.py",
    "demo_api/auth.py",
    "demo_api/routes.py",
    "demo_api/server.py",
    "demo_api/store.py",
    "tests/__init__.py",
    "tests/test_api.py",
    "tests/test_auth.py",
    "tests/test_store.py",
)

_FIX = re.compile(r"^id: \S+\.fix\d+$", re.MULTILINE)
_ITEM_FILES = re.compile(r"^files: (.+)$", re.MULTILINE)
_ITEM_CHECK = re.compile(r"^check: (.+)$", re.MULTILINE)
_EVIDENCE = re.compile(r"evidence (E\d+) · exit (-?\d+) · ")
_FAILURE = re.compile(r"^(?:FAIL|ERROR): .+|^\w*Error: .+", re.MULTILINE)
_MAX_CHECKS = 3  # of one review; a verdict refused more often than that is given up
_QUOTE_CHARS = 400

_CONTEXT = """\
# Context
- Stack: Python 3.8 or later, standard library only.
- Build: none. Test: `python3 -m unittest discover -s tests -t .`
- Conventions: package `demo_api/`, tests in `tests/`, a docstring for everything public.
"""
_SUMMARY = """\
Built demo_api, a small REST API with authentication: hashed passwords, signed
tokens that expire, notes that belong to one user. Run it with
`python3 -m demo_api --port 8000`; the README lists its routes.
A scripted model played this mission: its words were written beforehand, no
language model was asked. The Workers, the Reviewers' commands and the
verification were real."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong in the first version of one demo file: `wrong` stands where `right` belongs."""

    path: str
    wrong: str
    right: str


DEFECT = Defect(
    path="demo_api/auth.py",
    wrong='if claims["exp"] <= claims["iat"]:',  # the clock is never asked: no token ever expires
    right='if claims["exp"] <= self._clock():',
)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of a turn."""

    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the script answers: calls, or a text that ends the turn."""

    text: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A call that was made since the session was last spoken to, with its result."""

    name: str
    arguments: Mapping[str, Any]
    result: str


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's plan, and the final text of its files by path."""

    plan: Mapping[str, Any]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request tells: who is asked, the first message, and what happened since the last one."""

    role: str
    brief: str
    turn: int
    woken: bool
    steps: tuple[Step, ...]
    tools: frozenset[str]

    def results(self, tool: str) -> list[Step]:
        """Return the steps that called `tool`, oldest first."""
        return [step for step in self.steps if step.name == tool]


_STRANGER = Turn("The script does not know this item.")


@functools.lru_cache(maxsize=1)
def demo() -> Demo:
    """Read the demo's plan and files, once. Blocking."""
    folder = resources.files("orch.models") / "demo"
    return Demo(
        plan=json.loads((folder / "plan.json").read_text("utf-8")),
        files={path: (folder / f"{path}.txt").read_text("utf-8") for path in DEMO_FILES},
    )


def play(conversation: Conversation, material: Demo) -> Turn:
    """Return the next turn of the script."""
    match conversation.role:
        case "Commander":
            return _commander(conversation)
        case "Planner":
            return _planner(conversation, material)
        case "Worker":
            return _worker(conversation, material)
        case "Reviewer":
            return _reviewer(conversation)
        case _:
            return Turn("The scripted demo model plays the four roles of its demo and nothing else.")


def _commander(conversation: Conversation) -> Turn:
    if "delegate_task" not in conversation.tools:
        text = f"The scripted demo model cannot answer questions; it plays one mission: {DEMO_GOAL}."
        return Turn(calls=(Call("answer", {"text": text}),))
    if conversation.woken:
        if conversation.results("seal_mission"):
            return Turn("The seal was refused; the script has no other idea.")
        return Turn(calls=(Call("seal_mission", {"summary": _SUMMARY}),))
    delegation = {
        "agent": "planner",
        "description": "Plan the API",
        "prompt": f"{DEMO_GOAL}. Standard library only; small modules that Workers can write in parallel.",
    }
    script = (
        Call("glob", {"pattern": "**/*"}),
        Call("write_context", {"content": _CONTEXT}),
        Call("delegate_task", delegation),
    )
    done = len(conversation.steps)
    return Turn(calls=(script[done],)) if done < len(script) else Turn("The Planner has the goal.")


def _planner(conversation: Conversation, material: Demo) -> Turn:
    if not conversation.steps:
        return Turn(calls=(Call("glob", {"pattern": "**/*"}),))
    if not conversation.results("submit_plan"):
        return Turn(calls=(Call("submit_plan", material.plan),))
    return Turn("The plan was refused; the script has no other.")


def _worker(conversation: Conversation, material: Demo) -> Turn:
    files = _files(conversation)
    if not files:
        return _STRANGER
    if not conversation.woken and not conversation.steps:
        return Turn(calls=(Call("glob", {"pattern": "**/*"}),))
    if not conversation.results("read"):
        known = files if conversation.woken else _existing(files, conversation.steps[0].result)
        if known:
            return Turn(calls=tuple(Call("read", {"path": path}) for path in known))
    touched = {step.arguments["path"] for step in conversation.steps if step.name in {"write", "edit"}}
    due = (DEFECT.path,) if _sees_defect(conversation) else files
    for path in due:
        if path not in touched:
            return Turn(calls=(_change(path, conversation, material),))
    return Turn(f"Wrote {', '.join(due)} as the item asks.\nThe check is the Reviewer's.")


def _files(conversation: Conversation) -> tuple[str, ...]:
    """Return the files of the brief's item, as far as the script knows them."""
    line = _ITEM_FILES.search(conversation.brief)
    return tuple(path for path in line[1].split(", ") if path in DEMO_FILES) if line else ()


def _existing(files: Sequence[str], listing: str) -> tuple[str, ...]:
    lines = {line.strip() for line in listing.splitlines()}
    return tuple(path for path in files if path in lines)


def _repairs(conversation: Conversation) -> bool:
    """Say whether the Worker answers a complaint: of a review, or of an issue on a finished item."""
    return conversation.woken or _FIX.search(conversation.brief) is not None


def _sees_defect(conversation: Conversation) -> bool:
    return _repairs(conversation) and any(
        DEFECT.wrong in step.result for step in conversation.results("read")
    )


def _change(path: str, conversation: Conversation, material: Demo) -> Call:
    """Put the defect right if that is what is asked; else write the file, at first with the defect."""
    if _sees_defect(conversation):
        swap = {"path": path, "old_string": DEFECT.wrong, "new_string": DEFECT.right}
        return Call("edit", swap)
    text = material.files[path]
    known = any(step.arguments["path"] == path for step in conversation.results("read"))
    if path == DEFECT.path and not known and not _repairs(conversation):
        text = text.replace(DEFECT.right, DEFECT.wrong)
    return Call("write", {"path": path, "content": text})


def _reviewer(conversation: Conversation) -> Turn:
    files = _files(conversation)
    check = _ITEM_CHECK.search(conversation.brief)
    if not files or not check:
        return _STRANGER
    if not conversation.steps:
        return Turn(calls=tuple(Call("read", {"path": path}) for path in files))
    runs = conversation.results("bash")
    proven = bool(runs) and (_EVIDENCE.match(runs[-1].result) or len(runs) >= _MAX_CHECKS)
    if conversation.steps[-1].name == "bash" and proven:
        return Turn(calls=(_verdict(files[0], check[1], runs[-1].result),))
    if len(runs) < _MAX_CHECKS:
        return Turn(calls=(Call("bash", {"command": check[1]}),))
    return Turn("The verdict was refused; the script has no other.")


def _verdict(path: str, check: str, result: str) -> Call:
    evidence = _EVIDENCE.match(result)
    if evidence and evidence[2] == "0":
        arguments: dict[str, object] = {"verdict": "approve", "evidence": [evidence[1]], "issues": []}
        return Call("submit_review", arguments)
    found = "; ".join(_FAILURE.findall(result)) or result.strip()[-_QUOTE_CHARS:]
    issue = {"path": path, "description": f"`{check}` fails: {found}. Right would be: it exits 0."}
    cited = [evidence[1]] if evidence else []
    return Call("submit_review", {"verdict": "reject", "evidence": cited, "issues": [issue]})
