"""A mission drawn from a seed: what is planned, what each role answers, and what stands on disk in the end.

The answers follow from the request and the seed alone, so a resume needs nothing of the run before it. A
Worker finds out how far its item is by reading the files; a Reviewer runs a few commands of its own, then the
check. `@N@` in a text or a command stands for the number of the answer, which the ledger puts there: so every
answer and every command can be told from all others, in the journal as on disk.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from tests.endpoint import Fault, Step, Turn
from tests.play import PLANNED, SUMMARY, Scene, approve, call, item, plan, reject, scene_of

NUMBER = "@N@"
RAN = "ran"
"""The file in HOME to which each command of a Reviewer adds its number: who runs twice stands there twice."""
_NOTE_RUN = f'echo {NUMBER} >> "$HOME/{RAN}"'
_ATTEMPT = re.compile(r"\battempt (\d+) ")
_DONE = re.compile(r"^ +1\t(final|flawed) ", re.MULTILINE)


class Kind(StrEnum):
    """What an item does to its files."""

    NEW = "new"
    REWRITE = "rewrite"
    EDIT = "edit"
    DELETE = "delete"


class Aside(StrEnum):
    """What a Reviewer does before it runs the check."""

    PLAIN = _NOTE_RUN
    SLOW = f"{_NOTE_RUN}; sleep 0.15"
    ESCAPED = f"{_NOTE_RUN}; setsid sleep 60 & sleep 0.05"
    STUBBORN = f"trap '' TERM INT HUP; {_NOTE_RUN}; sleep 0.1"
    JOB = f"{_NOTE_RUN}; setsid sleep 61 & sleep 60"


@dataclass(frozen=True)
class Task:
    """One item. `broken` attempts are rejected by its check; a `flawed` one is found by the verification."""

    id: str
    kind: Kind
    files: tuple[str, ...]
    after: tuple[str, ...] = ()
    broken: int = 0
    flawed: bool = False
    filler: str = ""
    together: bool = True
    setup: str = ""
    asides: tuple[Aside, ...] = ()

    def text(self, path: str, state: str) -> str:
        """Return what a file holds in some state."""
        return f"{state} {self.id} {path}\n{self.filler}"

    @property
    def check(self) -> str:
        """The command that proves it."""
        if self.kind is Kind.DELETE:
            return " && ".join(f"! test -e {path}" for path in self.files)
        return " && ".join(f"grep -qE '^(final|flawed) {self.id}' {path}" for path in self.files)

    @property
    def spec(self) -> dict[str, Any]:
        """The item as it is planned."""
        setup = f"sleep 0.03; printf 'made\\n' > {self.setup}" if self.setup else None
        return item(self.id, *self.files, after=self.after, check=self.check, setup=setup)


@dataclass(frozen=True)
class Story:
    """A mission: its items, and the manner in which the model answers."""

    seed: str
    tasks: tuple[Task, ...]
    parallel: int = 2
    delay_s: float = 0.0
    chunk_bytes: int | None = None
    verify: tuple[str, ...] = ()
    stumbles: float = 0.0

    def furnish(self, workspace: Path) -> None:
        """Put what is there before the mission into the workspace."""
        for path, text in self.before.items():
            (workspace / path).write_text(text)

    @cached_property
    def before(self) -> Mapping[str, str]:
        """The files that are there before the mission."""
        old = [task for task in self.tasks if task.kind is not Kind.NEW]
        return {path: task.text(path, "base") for task in old for path in task.files}

    @cached_property
    def afterwards(self) -> Mapping[str, str]:
        """The files that are there once it is sealed, to the byte."""
        kept = [task for task in self.tasks if task.kind is not Kind.DELETE]
        made = {path: task.text(path, "final") for task in kept for path in task.files}
        return made | {task.setup: "made\n" for task in self.tasks if task.setup}

    def answer(self, turn: Turn) -> Step:
        """Play all roles."""
        scene = scene_of(turn)
        dice = _dice(f"{self.seed} {scene.brief} {len(turn.messages)}")
        step = replace(self._player(scene)(scene), text=f"[n{NUMBER}]")
        if turn.attempt == 1 and dice.random() < self.stumbles:
            return dice.choice(_STUMBLES)(step)
        delay_s = self.delay_s * dice.random()
        return replace(step, delay_s=delay_s, chunk_bytes=self.chunk_bytes)

    def _player(self, scene: Scene) -> Callable[[Scene], Step]:
        match scene.role:
            case "Commander":
                return _lead
            case "Planner":
                return plan(*(task.spec for task in self.tasks), verify=self.verify)
            case "Worker":
                return _Worker(self._task(scene), is_fix=".fix" in scene.field("id"))
            case _:
                return _Reviewer(self._task(scene))

    def _task(self, scene: Scene) -> Task:
        name = scene.field("id").partition(".")[0]
        return next(task for task in self.tasks if task.id == name)


_STUMBLES: Sequence[Callable[[Step], Step]] = (
    lambda step: replace(step, fault=Fault.CUT),
    lambda step: replace(step, fault=Fault.HEADERS_ONLY),
    lambda step: replace(step, fault=Fault.NO_FINISH),
)
"""Answers that are paid for, and lost on the way."""


def _lead(scene: Scene) -> Step:
    """Commander: note the context, have it planned; when woken, ask for the seal, once."""
    if scene.woken:
        asked = scene.results("seal_mission")
        return Step() if asked else call("seal_mission", summary=SUMMARY)
    if not scene.results("write_context"):
        return call("write_context", content="All files are texts.")
    if not scene.results("delegate_task"):
        return call("delegate_task", agent="planner", description="Plan", prompt=PLANNED)
    return Step()


@dataclass(frozen=True)
class _Worker:
    """Read the files; take them one attempt further."""

    task: Task
    is_fix: bool

    def __call__(self, scene: Scene) -> Step:
        reads = {done.arguments["path"]: done.result for done in scene.results("read")}
        mine = [path for path in scene.files if path in self.task.files]
        unread = [path for path in mine if path not in reads]
        if unread:
            return Step(tool_calls=[("read", {"path": path}) for path in unread])
        done = {d.arguments["path"] for tool in ("write", "edit", "delete") for d in scene.results(tool)}
        due = [path for path in mine if path not in done and self._is_due(reads[path])]
        if not due:
            return Step()
        state = self._next(reads[mine[0]])
        changes = [self._change(path, reads[path], state) for path in due]
        return Step(tool_calls=changes if self.task.together else changes[:1])

    def _is_due(self, read: str) -> bool:
        if self.task.kind is Kind.DELETE:
            return " base " in f" {_first_line(read)} "
        done = _DONE.search(read)
        return done is None or (self.is_fix and done[1] == "flawed")

    def _next(self, read: str) -> str:
        attempt = _ATTEMPT.search(_first_line(read))
        so_far = int(attempt[1]) if attempt else 0
        if self.is_fix or _DONE.search(read):
            return "final"
        if so_far < self.task.broken:
            return f"attempt {so_far + 1}"
        return "flawed" if self.task.flawed else "final"

    def _change(self, path: str, read: str, state: str) -> tuple[str, dict[str, Any]]:
        if self.task.kind is Kind.DELETE:
            return "delete", {"path": path}
        if self.task.kind is Kind.EDIT:
            old, new = _first_line(read), self.task.text(path, state).partition("\n")[0]
            return "edit", {"path": path, "old_string": old, "new_string": new}
        return "write", {"path": path, "content": self.task.text(path, state)}


def _first_line(read: str) -> str:
    """Return the first line of a file as `read` shows it; empty if there is none."""
    return read.partition("\n")[0].partition("\t")[2]


@dataclass(frozen=True)
class _Reviewer:
    """Run the commands of its own, then the check; what was cut off is run again, by its own decision."""

    task: Task

    def __call__(self, scene: Scene) -> Step:
        runs = [d for d in scene.done if d.name in ("bash", "run_background")]
        whole = [d for d in runs if not d.result.startswith("interrupted")]
        if len(whole) < len(self.task.asides):
            aside = self.task.asides[len(whole)]
            return call("run_background" if aside is Aside.JOB else "bash", command=str(aside))
        is_refused = scene.done[-1:] and scene.done[-1].name == "submit_review"
        if len(whole) == len(self.task.asides) or is_refused:
            return call("bash", command=scene.field("check"))
        if " exit 0 " in whole[-1].result:
            return approve(replace(scene, done=tuple(d for d in scene.done if d is whole[-1])))
        return reject("not yet")(scene)


# ---- drawing


def draw(seed: str, most_items: int) -> Story:
    """Return the mission of a seed, with 2 to `most_items` items."""
    dice = _dice(seed)
    count = dice.randint(2, most_items)
    tasks = [_task(dice, number) for number in range(count)]
    tasks = [replace(task, flawed=False) for task in tasks[:-1]] + tasks[-1:]
    flawed = [path for task in tasks for path in task.files if task.flawed]
    verify = [f"! grep -ls '^flawed' {' '.join(flawed)}"] if flawed else []
    verify += ["sleep 0.1 && test -d ."] if flawed or dice.random() < 0.6 else []
    return Story(
        seed=seed,
        tasks=tuple(tasks),
        parallel=dice.choice((1, 2, 4, 8)),
        delay_s=dice.choice((0.0, 0.05, 0.2)),
        chunk_bytes=dice.choice((None, None, 900, 9000)),
        verify=tuple(verify),
        stumbles=0.01 if dice.random() < 0.3 else 0.0,
    )


def _task(dice: Random, number: int) -> Task:
    name = f"i{number}"
    kind = dice.choices(list(Kind), (5, 2, 2, 1))[0]
    writes = kind is not Kind.DELETE
    return Task(
        id=name,
        kind=kind,
        files=tuple(f"{name}-{letter}.txt" for letter in "abc"[: dice.choice((1, 1, 1, 2, 3))]),
        after=tuple(f"i{other}" for other in range(number) if dice.random() < 0.6 / number),
        broken=dice.choice((0, 0, 0, 0, 1, 1, 4)) if writes else 0,
        flawed=writes and dice.random() < 0.3,
        filler=_filler(dice, dice.choice((0, 300, 300, 3_000, 30_000))),
        together=dice.random() < 0.7,
        setup=f"{name}-setup.out" if dice.random() < 0.2 else "",
        asides=tuple(dice.choices(list(Aside), k=dice.choice((0, 0, 1, 1, 2)))),
    )


def _filler(dice: Random, size: int) -> str:
    return "".join(f"{dice.getrandbits(240):060x}\n" for _ in range(size // 61))


def _dice(seed: str) -> Random:
    return Random(seed)  # noqa: S311 - to be drawn again, not to be secret
