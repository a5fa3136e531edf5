"""One small mission that touches everything, run under the switch, and an auditor of what it left behind.

Three items, one after the other: an executable file is edited, a file in a new folder is written, rejected
and written again, a file is deleted. Reviewers run commands, one of them a background job. The auditor reads
the journal, the workspace, the endpoint's ledger and the table of processes, and says what is wrong.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from orch.errors import OrchError
from orch.mission import events as ev
from orch.mission.reduce import replay
from orch.store import journal
from orch.store.folder import Folder
from orch.tools.process_table import survivors
from tests import contract
from tests.endpoint import Endpoint, Step
from tests.play import Player, Scene, call, item, lead, mission, reject, say
from tests.switch.switch import Plan

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
OLD, NEW = "#!/bin/sh\necho old\n", "#!/bin/sh\necho new\n"
FIRST, SECOND = "first\n" + "1" * 20_000, "second\n" + "2" * 20_000
MODE = 0o755
RAN = "ran.log"
IN_FLIGHT = 2
"""Calls at once: the Commander still speaks when the Planner begins."""
KILLED = -9

_EVIDENCE = "evidence E"
_WRITES = ("write", "edit", "delete")
_JOB = "sleep 300"

ITEMS = (
    item("edit", "run.sh", check="./run.sh | grep -q new"),
    item("new", "docs/new.txt", after=["edit"], check="grep -q second docs/new.txt"),
    item("gone", "old.txt", after=["new"], check="test ! -e old.txt"),
)


# ---- the cast


def _lead(scene: Scene) -> Step:
    """Commander: write down the context first."""
    if not scene.woken and not scene.results("write_context"):
        return call("write_context", content="A shell script and a text.")
    return lead(scene)


def _work(scene: Scene) -> Step:
    """Worker: what its item asks for, once after each word of orch."""
    match scene.field("id"):
        case "edit":
            steps = [("read", {"path": "run.sh"})]
            steps += [("edit", {"path": "run.sh", "old_string": "old", "new_string": "new"})]
        case "new":
            steps = [("read", {"path": "docs/new.txt"})] if scene.woken else []
            steps += [("write", {"path": "docs/new.txt", "content": SECOND if scene.woken else FIRST})]
        case _:
            steps = [("read", {"path": "old.txt"}), ("delete", {"path": "old.txt"})]
    return _next(scene, steps)


def _next(scene: Scene, steps: Sequence[tuple[str, Mapping[str, Any]]]) -> Step:
    has_failed = any(done.result.startswith("error: ") for done in scene.done)
    made = len(scene.done) - has_failed  # what fails is tried once more
    return Step(tool_calls=[steps[made]]) if made < len(steps) else say()


def _review(scene: Scene) -> Step:
    """Reviewer: run a command that leaves a trace, a job, the check; approve what exits 0."""
    if scene.results("submit_review"):
        return say()
    item_id, check = scene.field("id"), scene.field("check")
    if item_id == "new" and not scene.results("run_background"):
        return call("run_background", command=_JOB)
    results = {done.arguments["command"]: done.result for done in scene.results("bash")}
    for command in (f"echo {item_id} >> {RAN}", check):
        if not results.get(command, "").startswith(_EVIDENCE):
            return call("bash", command=command)
    words = results[check].split()
    if words[4].rstrip("·") != "0":
        return reject("the check fails")(scene)
    return call("submit_review", verdict="approve", evidence=[words[1]], issues=[])


def script(**players: Player) -> Any:
    """Return the mission, with other players where they are given."""
    cast: dict[str, Player] = {"commander": _lead, "worker": _work, "reviewer": _review}
    return mission(*ITEMS, verify=["grep -q second docs/new.txt"], **(cast | players))


# ---- a run


@dataclass(frozen=True)
class Ended:
    """How a run of orch ended, what it said, the points it came to, and the numbers of those that failed."""

    code: int
    out: str
    err: str
    points: Sequence[str]
    failed: Sequence[int]
    hung: bool

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the stream said, but for the result and a last line that is not whole."""
        whole = [line for line in self.out.splitlines(keepends=True) if line.endswith("\n")]
        return [fact for line in whole if (fact := json.loads(line))["type"] != "result"]

    @property
    def result(self) -> dict[str, Any]:
        """The result; empty if there is none."""
        facts = [json.loads(line) for line in self.out.splitlines() if '"type":"result"' in line]
        return facts[-1] if len(facts) == 1 else {}


class Stage:
    """A process in which orch runs again and again (`tests.switch.stage`), for the length of a `with`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.switch.stage"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=LIMIT_S)

    def play(self, run: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have orch run, and say how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(run) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


@dataclass
class Voyage:
    """A mission in a workspace of its own, from its start over crashes and refusals to its seal."""

    place: Path
    stage: Stage
    endpoint: Endpoint
    runs: list[Ended] = field(default_factory=list)
    keep: bool = False

    @property
    def workspace(self) -> Path:
        """Where the mission works."""
        return self.place / "work"

    @property
    def folder(self) -> Folder:
        """What orch keeps there."""
        return Folder(self.workspace)

    def prepare(self) -> None:
        """Make the workspace as it is before the mission."""
        self.workspace.mkdir(parents=True, exist_ok=True)
        (self.place / "home").mkdir()
        (self.workspace / "run.sh").write_text(OLD)
        (self.workspace / "run.sh").chmod(MODE)
        (self.workspace / "old.txt").write_text("old\n")

    def task(self, plan: Plan = None) -> Ended:
        """Start the mission."""
        return self._run(("task", "build it", "-m", "openai/test", "--json"), plan)

    def resume(self, plan: Plan = None) -> Ended:
        """Take the mission up again, or start it where it never began."""
        return self._run(("resume", "--json"), plan) if self.missions else self.task(plan)

    @property
    def missions(self) -> list[str]:
        """The missions that began: their journals hold a whole record."""
        paths = sorted(self.folder.missions.glob("*/journal.jsonl"))
        return [path.parent.name for path in paths if b"\n" in path.read_bytes()]

    def events(self) -> list[ev.Event]:
        """Return what the journal of the mission says."""
        return list(journal.read(self.folder.mission(self.missions[-1])))

    def _run(self, argv: Sequence[str], plan: Plan) -> Ended:
        number = len(self.runs)
        files = {name: str(self.place / f"{number}.{name}") for name in ("out", "err", "trace")}
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.place / "home"),
            "OPENAI_BASE_URL": self.endpoint.base_url,
            "OPENAI_API_KEY": "sk-made-up-for-tests",
        }
        told = self.stage.play(
            {
                "argv": argv,
                "cwd": str(self.workspace),
                "env": environment,
                "plan": asdict(plan) if plan is not None else None,
                "limit_s": LIMIT_S,
                **files,
            }
        )
        trace = Path(files["trace"])
        facts = json.loads(trace.read_text()) if trace.exists() else {"points": [], "failed": []}
        out, err = Path(files["out"]).read_text(), Path(files["err"]).read_text()
        contract.check(argv, told["code"], out)
        contract.check_stored(self.workspace)
        ended = Ended(told["code"], out, err, facts["points"], facts["failed"], told["hung"])
        self.runs.append(ended)
        return ended


@contextmanager
def voyage(place: Path, stage: Stage) -> Iterator[Voyage]:
    """Prepare a mission, serve its script, and remove what it left unless that is to be kept."""
    with Endpoint(script()) as endpoint:
        made = Voyage(place, stage, endpoint)
        made.prepare()
        yield made
    if not made.keep:
        shutil.rmtree(place)


# ---- the auditor


def audit_cut(v: Voyage) -> list[str]:
    """Say what is wrong right after a crash or a refusal."""
    wrong = []
    if (v.workspace / "run.sh").stat().st_mode & 0o777 != MODE:
        wrong.append("run.sh lost its mode")
    if _text(v.workspace / "run.sh") not in (OLD, NEW):
        wrong.append("run.sh is mixed")
    if _text(v.workspace / "docs/new.txt") not in (None, FIRST, SECOND):
        wrong.append("new.txt is mixed")
    if _text(v.workspace / "old.txt") not in (None, "old\n"):
        wrong.append("old.txt is mixed")
    return wrong + _stream_faults(v)


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _stream_faults(v: Voyage) -> list[str]:
    """Say what the last run told the world and the journal does not hold."""
    said = [(fact["seq"], fact["type"]) for fact in v.runs[-1].events]
    try:
        known = {(event.seq, str(event.type)) for event in v.events()} if v.missions else set()
    except OrchError as error:
        return [f"the journal cannot be read: {error}"]
    return [f"{lost} was said and is not in the journal" for lost in said if lost not in known]


def audit_sealed(v: Voyage) -> list[str]:
    """Say what is wrong with a mission that was taken up until it sealed."""
    ended = v.runs[-1]
    if ended.code != 0 or ended.result.get("subtype") != "sealed":
        return [f"exit {ended.code}, {ended.result.get('subtype')}: {ended.err[-600:]}"]
    events = v.events()
    replay(events)
    return [
        *_file_faults(v),
        *_journal_faults(events),
        *(() if any(run.failed for run in v.runs) else _story_faults(events)),
        *_payment_faults(v, events),
        *_command_faults(v, events),
        *_stream_faults(v),
        *(f"{run.err[-300:]!r} has a traceback" for run in v.runs if "Traceback" in run.err),
        *(["a run hung"] if any(run.hung for run in v.runs) else []),
    ]


def _file_faults(v: Voyage) -> Iterator[str]:
    files = {"run.sh": NEW, "docs/new.txt": SECOND, "old.txt": None}
    for path, text in files.items():
        if _text(v.workspace / path) != text:
            yield f"{path} is not what was scripted"
    if (v.workspace / "run.sh").stat().st_mode & 0o777 != MODE:
        yield "run.sh lost its mode"
    for left in v.workspace.rglob("*"):
        if left.name.endswith((".tmp", ".orch-tmp")):
            yield f"{left.name} was left behind"
    if not list(v.folder.orch.glob("missions/*/result.json")):
        yield "there is no result.json"


def _journal_faults(events: Sequence[ev.Event]) -> Iterator[str]:
    completed = Counter(event.item for event in events if isinstance(event, ev.ItemCompleted))
    if completed != Counter({spec["id"]: 1 for spec in ITEMS}):
        yield f"items were completed {dict(completed)}"
    turns = Counter((e.session, e.turn) for e in events if isinstance(e, ev.TurnFinished))
    yield from (f"turn {turn} was finished {n} times" for turn, n in turns.items() if n > 1)
    results = Counter((e.session, e.call_id) for e in events if isinstance(e, ev.ToolFinished))
    yield from (f"call {each} has {n} results" for each, n in results.items() if n > 1)


def _story_faults(events: Sequence[ev.Event]) -> Iterator[str]:
    """Where no disk refused, no write is refused: what a crash cut off is told as done, or is done.

    So the one rejection is the one that was scripted.
    """
    if sum(isinstance(event, ev.ItemRejected) for event in events) != 1:
        yield "the rejection is not there once"
    for event in events:
        if isinstance(event, ev.ToolFinished) and event.tool in _WRITES and not event.ok:
            yield f"{event.tool} failed: {event.text}"


def _payment_faults(v: Voyage, events: Sequence[ev.Event]) -> Iterator[str]:
    """One item is worked on at a time: each cut has two calls in flight at most."""
    cuts = len(v.runs) - 1
    paid = Counter((entry.session, entry.turn) for entry in v.endpoint.ledger)
    for turn, times in paid.items():
        if times > 1 + cuts:
            yield f"turn {turn} was paid {times} times"
    finished = sum(isinstance(event, ev.TurnFinished) for event in events)
    started = sum(isinstance(event, ev.TurnStarted) for event in events)
    if not finished <= len(v.endpoint.ledger) <= min(started, finished + IN_FLIGHT * cuts):
        yield f"{len(v.endpoint.ledger)} calls were paid for {finished} turns and {cuts} cuts"
    yield from v.endpoint.refusals


def _command_faults(v: Voyage, events: Sequence[ev.Event]) -> Iterator[str]:
    ran = Counter((v.workspace / RAN).read_text().split())
    for spec in ITEMS:
        words = f"echo {spec['id']} >> {RAN}"
        asked = sum(isinstance(e, ev.ToolCalled) and words in e.summary for e in events)
        if not 1 <= ran[spec["id"]] <= asked:
            yield f"{words!r} was asked for {asked} times and ran {ran[spec['id']]} times"
    for mission_id in v.missions:
        if alive := survivors(mission_id):
            yield f"processes of {mission_id} live on: {alive}"


def refused_in(ended: Ended) -> bool:
    """Whether what orch said of a refusal is one clear line with what and what next."""
    words = ("orch resume", "make room", "make that possible")
    names = {os.strerror(n) for n in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)}
    text = ended.err + str(ended.result.get("result"))
    return any(name in text for name in names) and any(word in text for word in words)
