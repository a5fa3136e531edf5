"""Whole missions as scripts for `tests/endpoint.py`: what each role says follows from the request alone.

`mission(item("a"), item("b", after=["a"]))` is a script whose Commander has it planned, whose Planner submits
those items, whose Workers write `made by ID` into their files, whose Reviewers run the check and approve, and
whose Commander asks for the seal when it is woken. Any role is replaced by a `Player` of its own, e.g.
`mission(item("a"), reviewer=approve_unseen)`; `shown` makes a player tell a test that its turn has come.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from tests.endpoint import Fault, Script, Step, Turn

HELD_LIMIT_S = 30.0
PLANNED = "Plan all of it"
SUMMARY = "All of it is built, as the plan says."
QUESTION = "Which database should it be?"
_ROLE = re.compile(r"You are the (\w+)\.")
_EVIDENCE = re.compile(r"evidence (E\d+) · exit (-?\d+) · ")


@dataclass(frozen=True)
class Done:
    """A call that was made since orch spoke last, and what came of it."""

    name: str
    arguments: Mapping[str, Any]
    result: str


@dataclass(frozen=True)
class Scene:
    """What a player sees: the first message, what orch said last, and what it did since then."""

    role: str
    brief: str
    told: str
    woken: int  # messages of orch after the brief
    done: tuple[Done, ...]
    turn: Turn

    def field(self, name: str) -> str:
        """Return what the brief's item says under `name`; empty if it does not."""
        found = re.search(rf"^{name}: (.+)$", self.brief, re.MULTILINE)
        return found[1] if found else ""

    @property
    def files(self) -> list[str]:
        """The item's files."""
        return self.field("files").split(", ") if self.field("files") else []

    def results(self, tool: str) -> list[Done]:
        """Return the calls of `tool`, oldest first."""
        return [done for done in self.done if done.name == tool]


Player = Callable[[Scene], Step]


def cast(commander: Player, planner: Player, worker: Player, reviewer: Player) -> Script:
    """Return a script in which each role has its player."""
    players = {"Commander": commander, "Planner": planner, "Worker": worker, "Reviewer": reviewer}

    def script(turn: Turn) -> Step:
        scene = scene_of(turn)
        return players[scene.role](scene)

    return script


def scene_of(turn: Turn) -> Scene:
    """Read a request."""
    users = [index for index, message in enumerate(turn.messages) if message["role"] == "user"]
    since = turn.messages[users[-1] + 1 :]
    results = {m["tool_call_id"]: str(m["content"]) for m in since if m["role"] == "tool"}
    calls = [call for message in since for call in message.get("tool_calls") or ()]
    role = _ROLE.match(turn.system)
    return Scene(
        role=role[1] if role else "",
        brief=turn.first_user,
        told=str(turn.messages[users[-1]]["content"]),
        woken=len(users) - 1,
        done=tuple(
            Done(c["function"]["name"], json.loads(c["function"]["arguments"]), results[c["id"]])
            for c in calls
        ),
        turn=turn,
    )


def mission(*items: Mapping[str, Any], verify: Sequence[str] = (), **players: Player) -> Script:
    """Return the script of a mission that is planned as `items`, with the default player for each role."""
    default: dict[str, Player] = {
        "commander": lead,
        "planner": plan(*items, verify=verify),
        "worker": build,
        "reviewer": approve,
    }
    return cast(**default | players)


def item(
    item_id: str, *files: str, after: Sequence[str] = (), check: str | None = None, setup: str | None = None
) -> dict[str, Any]:
    """Return an item of a plan; its file is `ID.txt` and its check looks for what `build` writes there."""
    paths = list(files) or [f"{item_id}.txt"]
    return {
        "id": item_id,
        "title": f"title of {item_id}",
        "files": paths,
        "instructions": f"Make {item_id}.",
        "depends_on": list(after),
        "check": check or f"grep -q made {paths[0]}",
        "setup": setup,
    }


# ---- steps


def call(name: str, **arguments: Any) -> Step:
    """Answer with one call."""
    return Step(tool_calls=[(name, arguments)])


def say(text: str = "That is all.") -> Step:
    """End the turn with a text."""
    return Step(text=text)


def refused(status: int, message: str = "no", **headers: str) -> Step:
    """Answer with an error of HTTP; in the names of `headers`, `_` stands for `-`."""
    body = {"error": {"message": message, "type": HTTPStatus(status).phrase}}
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Step(fault=Fault.STATUS, status=status, headers=fields, body=body)


SILENCE = Step(fault=Fault.SILENT)
"""An answer that never comes."""


# ---- players


def lead(scene: Scene) -> Step:
    """Commander: have it planned; when woken, ask for the seal, once."""
    if scene.woken:
        return say() if scene.results("seal_mission") else call("seal_mission", summary=SUMMARY)
    if not scene.results("delegate_task"):
        return call("delegate_task", agent="planner", description="Plan", prompt=PLANNED)
    return say()


def delegate(*tasks: Mapping[str, Any]) -> Player:
    """Commander: give each of `tasks` (made by `item`) to a Worker; when woken, ask for the seal."""

    def player(scene: Scene) -> Step:
        given = len(scene.results("delegate_task"))
        if scene.woken or given == len(tasks):
            return lead(scene) if scene.woken else say()
        task = tasks[given]
        return call(
            "delegate_task",
            agent="worker",
            description=task["title"],
            prompt=task["instructions"],
            files=task["files"],
            check=task["check"],
            depends_on=task["depends_on"],
        )

    return player


def answer(text: str) -> Player:
    """Commander: answer the goal."""
    return lambda _scene: call("answer", text=text)


def ask_first(scene: Scene) -> Step:
    """Commander: block with a question; once a person has answered, lead."""
    if not scene.woken:
        return call("block_mission", question=QUESTION)
    if "A person answers" in scene.told:
        return say() if scene.results("delegate_task") else _plan_it(scene.told)
    return lead(scene)


def _plan_it(prompt: str) -> Step:
    return call("delegate_task", agent="planner", description="Plan", prompt=prompt)


def plan(*items: Mapping[str, Any], verify: Sequence[str] = ()) -> Player:
    """Planner: submit `items`, once."""

    def player(scene: Scene) -> Step:
        submitted = scene.results("submit_plan")
        return say(submitted[0].result) if submitted else call("submit_plan", items=items, verify=verify)

    return player


def build(scene: Scene) -> Step:
    """Worker: write each file of the item once after each word of orch, having read it if it was there."""
    written = {done.arguments["path"] for done in scene.results("write")}
    due = [path for path in scene.files if path not in written]
    if scene.woken and not scene.results("read"):
        return Step(tool_calls=[("read", {"path": path}) for path in scene.files])
    if not due:
        return say()
    return call("write", path=due[0], content=f"made by {scene.field('id')}, {scene.woken}\n")


def approve(scene: Scene) -> Step:
    """Reviewer: run the check; approve if it exited 0, else reject with its output."""
    runs, verdicts = scene.results("bash"), scene.results("submit_review")
    if verdicts:
        return say(verdicts[-1].result)
    if not runs:
        return call("bash", command=scene.field("check"))
    proof = _EVIDENCE.match(runs[-1].result)
    if proof and proof[2] == "0":
        return call("submit_review", verdict="approve", evidence=[proof[1]], issues=[])
    return reject(f"the check fails: {runs[-1].result}")(scene)


def approve_unseen(scene: Scene) -> Step:
    """Reviewer: approve without having run anything; say so if that does not count."""
    if scene.results("submit_review"):
        return say("I do approve.")
    return call("submit_review", verdict="approve", evidence=[], issues=[])


def reject(description: str) -> Player:
    """Reviewer: reject with one issue on the item's first file."""

    def player(scene: Scene) -> Step:
        issue = {"path": scene.files[0], "description": description}
        return call("submit_review", verdict="reject", evidence=[], issues=[issue])

    return player


def run(command: str) -> Player:
    """Reviewer: run `command` first, then the check, then review."""

    def player(scene: Scene) -> Step:
        commands = (command, scene.field("check"))
        runs = len(scene.results("bash"))
        return call("bash", command=commands[runs]) if runs < len(commands) else approve(scene)

    return player


def always(step: Step) -> Player:
    """Anybody: the same answer, whatever was asked."""
    return lambda _scene: step


def shown(player: Player, came: threading.Event) -> Player:
    """Return `player`, which tells a test that its turn has come."""

    def watched(scene: Scene) -> Step:
        came.set()
        return player(scene)

    return watched


def silent_once(player: Player, came: threading.Event, item_id: str = "") -> Player:
    """Return `player`, whose first answer (for `item_id`, if given) never comes, until it is asked again."""

    def mute(scene: Scene) -> Step:
        if scene.turn.number or scene.turn.attempt > 1 or item_id not in ("", scene.field("id")):
            return player(scene)
        came.set()
        return SILENCE

    return mute


def held(player: Player, came: threading.Event, go_on: threading.Event) -> Player:
    """Return `player`, who says that its turn has come and answers when the test says so.

    Nobody else is answered meanwhile.
    """

    def waits(scene: Scene) -> Step:
        came.set()
        assert go_on.wait(HELD_LIMIT_S), "the test forgot to let the player go on"
        return player(scene)

    return waits


def slow(player: Player, delay_s: float) -> Player:
    """Return `player`, who takes time for each answer."""
    return lambda scene: replace(player(scene), delay_s=delay_s)


def first(*steps: Step, then: Player) -> Player:
    """Return a player that begins a conversation with `steps`, and goes on as `then`."""

    def player(scene: Scene) -> Step:
        return steps[scene.turn.number] if scene.turn.number < len(steps) else then(scene)

    return player
