"""Looks whether a mission that is killed again and again keeps what orch promises; knows nothing of its code.

It reads the journal (with a parser of its own), the workspace, what lies around it, the endpoint's books and
/proc, and raises `Violation` with the rule that is broken. `mark` is called at every blow, `look` whenever
nothing runs, `close` once the mission is over. The rules:

- I1: what is on record stays on record, byte for byte; an item is completed once, and nothing follows.
- I2: a call has one recorded answer, and is asked again only if a blow or the endpoint cut it off; nothing is
  asked before its `turn.started`, nor on top of what is not on record; nothing acts before its turn is.
- I3: the workspace holds what the items' tools and setups made, each file as it was before or after a whole
  change; nothing else is anywhere.
- I4: what a killed run left running is gone once another run has begun, and 2 s after any exit.
- I5: exit code, last record, result and status agree; commands run once; the seal's tree is that on disk.
"""

import hashlib
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import contract
from tests.chaos.ledger import Key, Note, key_of, numbers_in
from tests.chaos.story import RAN, Story

Record = Mapping[str, Any]
GONE_LIMIT_S = 2.0
LOOK_S = 0.02
_REFERENCE = "blob:sha256:"
_SUBTYPES = {"mission.sealed": "sealed", "mission.stopped": "stopped", "mission.failed": "unsealed"}
_CODES = {"mission.sealed": 0, "mission.stopped": 143, "mission.failed": 1}
_SET_ASIDE = " was set aside"
CRASHES = 3
"""Runs in a row that have to end in the same step of a session before it may be set aside."""
_STATE = {"context.md", "todo.md", "issues.md", "docs", "orch"}


class Violation(Exception):
    """A promise is broken."""


@dataclass(frozen=True)
class Place:
    """Where a mission runs; in `root` there is nothing but these folders."""

    root: Path

    @property
    def workspace(self) -> Path:
        """The project."""
        return self.root / "work"

    @property
    def home(self) -> Path:
        """The user's HOME, which tells all processes of this mission from others."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files."""
        return self.root / "tmp"

    @property
    def output(self) -> Path:
        """What the program printed."""
        return self.root / "out"

    def furnish(self, story: Story) -> None:
        """Make the folders, and what is there before the mission."""
        for folder in (self.workspace, self.home, self.temporary, self.output):
            folder.mkdir(parents=True)
        story.furnish(self.workspace)

    @property
    def journals(self) -> Sequence[Path]:
        """Every journal, oldest first."""
        return sorted(self.workspace.glob(".opencode/orch/missions/*/journal.jsonl"))

    @property
    def journal(self) -> Path | None:
        """The journal of the mission: others were killed before their first record."""
        return next((path for path in self.journals if _begins(path)), None)

    @property
    def holder(self) -> Path:
        """What whoever holds the workspace writes about itself."""
        return self.workspace / ".opencode/orch/locks/holder.json"


def _begins(journal: Path) -> bool:
    with journal.open("rb") as file:
        return file.readline().endswith(b"\n")


@dataclass
class Blow:
    """What was going on when a run was ended from outside."""

    records: int
    in_flight: int  # calls that had reached the endpoint, and have no answer on record
    paid: int  # those of them that were answered to the last byte
    orphans: Mapping[int, int] = field(default_factory=dict)


# ---- the journal


def parse(data: bytes) -> tuple[list[Record], int]:
    """Return the records of a journal and where they end.

    Only the last line may be broken, and only the last batch unfinished: a record names in `more` how many
    others were written with it and follow. What a kill cut off in the middle never was on record.
    """
    records: list[Record] = []
    whole, end, position = 0, 0, 0
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        head, mark, tail = line.rpartition(b',"crc":"')
        if not mark or tail != b'%08x"}\n' % zlib.crc32(head):
            require(number == len(lines), "I5", f"line {number} of the journal is broken, and not the last")
            break
        record = json.loads(line)
        require(record["seq"] == number, "I5", f"line {number} of the journal has seq {record['seq']}")
        due = records[-1].get("more", 0) if records else 0
        require(not due or record.get("more", 0) == due - 1, "I5", f"line {number} breaks up a batch")
        records.append(record)
        position += len(line)
        if not record.get("more"):
            whole, end = number, position
    return records[:whole], end


def require(holds: object, rule: str, text: str) -> None:
    """Raise a `Violation` unless something holds."""
    if not holds:
        raise Violation(f"{rule}: {text}")


def _attached(value: Any, blobs: Path) -> Any:
    """Return a value with its blobs read, each of which has to be what its name says."""
    match value:
        case str() if value.startswith(_REFERENCE):
            name = value.removeprefix(_REFERENCE)
            data = (blobs / name).read_bytes()
            require(hashlib.sha256(data).hexdigest() == name, "I5", f"blob {name} is altered")
            return data.decode()
        case dict():
            return {key: _attached(member, blobs) for key, member in value.items()}
        case list():
            return [_attached(member, blobs) for member in value]
        case _:
            return value


def of(records: Iterable[Record], *types: str) -> Iterator[Record]:
    """Yield the records of some types."""
    return (record for record in records if record["type"] in types)


def open_turns(records: Sequence[Record]) -> set[tuple[str, int]]:
    """Return the turns that were started and not finished."""
    found: set[tuple[str, int]] = set()
    for record in of(records, "turn.started", "turn.finished"):
        turn = (record["session"], record["turn"])
        found = found | {turn} if record["type"] == "turn.started" else found - {turn}
    return found


def _at_work(records: Sequence[Record]) -> set[str]:
    """Return the sessions that were in the middle of a turn or a call."""
    turns = {session for session, _ in open_turns(records)}
    called = {(r["session"], r["call_id"]) for r in of(records, "tool.called")}
    done = {(r["session"], r["call_id"]) for r in of(records, "tool.finished")}
    return turns | {session for session, _ in called - done}


def call_keys(records: Sequence[Record]) -> dict[tuple[str, int], Key]:
    """Return the key of each turn that was started."""
    briefs: dict[str, str] = {}
    answers: dict[str, tuple[int, ...]] = {}
    keys: dict[tuple[str, int], Key] = {}
    for record in of(records, "message.sent", "turn.started", "turn.finished"):
        session = record["session"]
        if record["type"] == "message.sent":
            briefs.setdefault(session, record["text"])
        elif record["type"] == "turn.started":
            keys[session, record["turn"]] = key_of(briefs[session], answers.get(session, ()))
        else:
            answers[session] = numbers_in(record["message"]["text"])
    return keys


# ---- the auditor


@dataclass
class Auditor:
    """Watches one mission."""

    place: Place
    story: Story
    notes: Sequence[Note]
    records: list[Record] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    _whole: bytes = b""

    def mark(self, asked_before: int) -> Blow:
        """Note what a blow hit; `asked_before` requests had come before the run that it ended."""
        self._read()
        present = {note.key for note in self.notes[asked_before:]}
        keys = call_keys(self.records)
        cut = {keys[turn] for turn in open_turns(self.records)} & present
        paid = {note.key for note in self.notes[asked_before:] if note.is_delivered}
        blow = Blow(len(self.records), len(cut), len(cut & paid), marked(self.place))
        self.blows.append(blow)
        return blow

    def look(self) -> None:
        """Check everything that has to hold whenever nothing runs."""
        self._read()
        _check_items(self.records)
        self._check_turns()
        self._check_requests()
        _check_tools(self.records)
        self._check_commands()
        self._check_files()
        self._check_surroundings()
        self._check_orphans()

    def close(self, code: int) -> None:
        """Check what has to hold when a run has ended by itself, with this exit code."""
        self.look()
        self._check_gone()
        last = self.records[-1]["type"]
        require(_CODES.get(last) == code, "I5", f"exit code {code} after {last}")
        unsealed = [r["text"] for r in of(self.records[-1:], "mission.failed") if not self.set_aside]
        require(not unsealed, "I2", f"a mission that can be sealed was given up: {unsealed}")
        journal = self.place.journal
        assert journal is not None
        result = json.loads(journal.with_name("result.json").read_bytes())
        contract.check_result(result)
        told = (result["subtype"], result["exit_code"])
        require(told == (_SUBTYPES[last], code), "I5", f"result.json says {told} after {last}, exit {code}")
        if last == "mission.sealed":
            self._check_sealed()

    def check_status(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Check what `orch status --json` says while nothing runs."""
        self._read()
        if not self.records:
            require(not entries, "I5", f"status shows a mission that never began: {entries}")
            return
        expected = _SUBTYPES.get(self.records[-1]["type"], "interrupted")
        require(len(entries) == 1, "I5", f"status shows {len(entries)} missions")
        said = (entries[0]["status"], entries[0]["alive"])
        require(said == (expected, False), "I5", f"status says {said} where it is {expected}")

    @property
    def asked_again(self) -> int:
        """How many requests were more than one for their call, through no fault of the endpoint's."""
        sessions = Counter(call_keys(self.records).values())
        sound = Counter(note.key for note in self.notes if not note.is_faulty)
        return sum(max(0, count - sessions[key]) for key, count in sound.items())

    @property
    def repairs(self) -> int:
        """How often an unfinished record was cut off the journal."""
        return sum(record["text"].startswith("cut ") for record in of(self.records, "heal"))

    @property
    def set_aside(self) -> list[str]:
        """The sessions that were given up because runs were killed in the same step of them."""
        heals = of(self.records, "heal")
        return [record["session"] for record in heals if _SET_ASIDE in record["text"]]

    # -- I1

    def _read(self) -> None:
        journal = self.place.journal
        data = journal.read_bytes() if journal else b""
        require(data.startswith(self._whole), "I1", "what was on record is no longer there")
        records, end = parse(data)
        for record in records[len(self.records) :]:
            assert journal is not None
            self.records.append(_attached(record, journal.parent / "blobs"))
        self._whole = data[:end]

    # -- I2

    def _check_turns(self) -> None:
        finished: Counter[str] = Counter()
        started: Counter[tuple[str, int]] = Counter()
        for record in of(self.records, "turn.started", "turn.finished"):
            session, turn = record["session"], record["turn"]
            due = finished[session] + 1
            require(turn == due, "I2", f"{record['type']} {turn} of {session} where {due} is due")
            started[session, turn] += record["type"] == "turn.started"
            if record["type"] == "turn.finished":
                require(started[session, turn], "I2", f"turn {turn} of {session} finished unstarted")
                finished[session] += 1
        hits = Counter(turn for blow in self.blows for turn in open_turns(self.records[: blow.records]))
        for session in self.set_aside:
            count = sum(session in _at_work(self.records[: blow.records]) for blow in self.blows)
            require(count >= CRASHES, "I2", f"{session} was set aside after {count} kills")
        for turn, count in started.items():
            require(count <= 1 + hits[turn], "I2", f"turn {turn} was started {count} times, hit {hits[turn]}")

    def _check_requests(self) -> None:
        keys = call_keys(self.records)
        allowed: Counter[Key] = Counter()
        latest: dict[str, Key] = {}
        for record in of(self.records, "turn.started", "retry"):
            if record["type"] == "turn.started":
                latest[record["session"]] = keys[record["session"], record["turn"]]
            allowed[latest[record["session"]]] += 1
        asked = Counter(note.key for note in self.notes)
        for key, count in asked.items():
            require(
                count <= allowed[key], "I2", f"{key} was asked {count} times, on record are {allowed[key]}"
            )
        faulty = sum(note.is_faulty for note in self.notes)
        retries = sum(1 for _ in of(self.records, "retry"))
        require(retries <= faulty, "I2", f"{retries} retries, but only {faulty} faults of the endpoint")
        self._check_histories(keys)
        lost = sum(blow.in_flight for blow in self.blows)
        require(
            self.asked_again <= lost, "I2", f"{self.asked_again} calls asked again, {lost} were in flight"
        )

    def _check_histories(self, keys: Mapping[tuple[str, int], Key]) -> None:
        """Whatever a request rests on is on record, and each answer once, where it was asked for."""
        notes = {note.number: note for note in self.notes}
        recorded: set[int] = set()
        for record in of(self.records, "turn.finished"):
            (number,) = numbers_in(record["message"]["text"])
            require(number not in recorded, "I2", f"answer {number} is on record twice")
            recorded.add(number)
            key = keys[record["session"], record["turn"]]
            require(notes[number].key == key, "I2", f"answer {number} is on record at {key}")
        results = {record["call_id"] for record in of(self.records, "tool.finished")}
        for note in self.notes:
            require(recorded.issuperset(note.history), "I2", f"request {note.number} rests on lost answers")
            require(results.issuperset(note.results), "I2", f"request {note.number} rests on lost results")

    def _check_commands(self) -> None:
        """Each command of a Reviewer ran once at most, and after its turn was on record."""
        ran = self.place.home / RAN
        lines = ran.read_text().split() if ran.exists() else []
        again = [number for number, count in Counter(lines).items() if count > 1]
        require(not again, "I5", f"the commands of the answers {again} ran more than once")
        answers = of(self.records, "turn.finished")
        recorded = {str(n) for record in answers for n in numbers_in(record["message"]["text"])}
        require(
            recorded.issuperset(lines), "I2", f"{set(lines) - recorded} ran before their turn was on record"
        )

    # -- I3

    def _check_files(self) -> None:
        present = dict(_files(self.place.workspace))
        for path, allowed in self._allowed().items():
            sha256 = present.pop(path, None)
            require(
                sha256 in allowed, "I3", f"{path} is {sha256}, neither before nor after a change: {allowed}"
            )
        made = {task.setup for task in self.story.tasks}
        left = [path for path in present if path not in made and not _is_temporary(path)]
        require(not left, "I3", f"nobody made {left}")

    def _allowed(self, *, pending_too: bool = True) -> dict[str, set[str | None]]:
        """Return what each file of an item may be now: what is on record, or about to be written."""
        before = {path: _sha256(text.encode()) for path, text in self.story.before.items()}
        paths = {path for task in self.story.tasks for path in task.files}
        known: dict[str, str | None] = {path: before.get(path) for path in paths}
        pending: dict[str, Record] = {}
        for record in of(self.records, "file.intended", "file.changed"):
            path = record["path"]
            if record["type"] == "file.intended":
                pending |= {path: record} if pending_too else {}
            else:
                known[path] = record["after"]
                pending.pop(path, None)
        return {p: {known[p], *([pending[p]["after"]] if p in pending else [])} for p in paths}

    def _check_surroundings(self) -> None:
        expected = {
            self.place.root: {"work", "home", "tmp", "out"},
            self.place.home: {RAN},
            self.place.temporary: set(),
            self.place.workspace / ".opencode": _STATE,
        }
        for folder, names in expected.items():
            present = {path.name for path in folder.iterdir()} if folder.exists() else set()
            strange = {name for name in present - names if not _is_temporary(name)}
            require(not strange, "I3", f"nobody made {strange} in {folder}")

    # -- I4

    def _check_orphans(self) -> None:
        for blow in self.blows:
            later = of(self.records[blow.records :], "mission.resumed")
            if blow.orphans and any(later):
                alive = [pid for pid, start in blow.orphans.items() if _start(pid) == start]
                require(not alive, "I4", f"{_named(alive)} outlived the resume after their kill")
                blow.orphans = {}

    def _check_gone(self) -> None:
        deadline = time.monotonic() + GONE_LIMIT_S
        while (alive := marked(self.place)) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        require(not alive, "I4", f"{_named(alive)} outlived the run")

    # -- I5

    def _check_sealed(self) -> None:
        leftovers = [path for path in self.place.workspace.rglob("*") if _is_temporary(path.name)]
        require(not leftovers, "I3", f"temporary files are left: {leftovers}")
        files = dict(_files(self.place.workspace))
        unknown = [
            p for p, on_record in self._allowed(pending_too=False).items() if {files.get(p)} != on_record
        ]
        require(not unknown, "I5", f"{unknown} are not what is on record")
        expected = {path: _sha256(text.encode()) for path, text in self.story.afterwards.items()}
        differ = {p for p in files.keys() | expected.keys() if files.get(p) != expected.get(p)}
        require(not differ, "I5", f"{sorted(differ)} are not what was written")
        tree = tree_of(self.records, files)
        require(tree == self.records[-1]["tree"], "I5", f"the tree is {tree}, not the seal's")
        todo = (self.place.workspace / ".opencode/todo.md").read_text()
        require("[ ]" not in todo, "I5", "todo.md has open items after the seal")
        items = {record["item"] for record in of(self.records, "item.completed")}
        missing = {task.id for task in self.story.tasks} - items
        require(not missing, "I1", f"sealed without {missing}")


def _check_items(records: Sequence[Record]) -> None:
    """A completed item is never touched again."""
    completed: set[str] = set()
    for record in records:
        is_work = str(record["type"]).startswith(("item.", "file.", "setup.", "turn.started"))
        over = is_work and record.get("item") in completed
        require(not over, "I1", f"{record['type']} of {record.get('item')}, which was completed")
        if record["type"] == "item.completed":
            completed.add(record["item"])


def _check_tools(records: Sequence[Record]) -> None:
    """Every effect has its turn on record before it, and its result once."""
    turned: dict[tuple[str, str], Record] = {}
    done: set[tuple[str, str]] = set()
    logs: set[str] = set()
    for record in records:
        match record["type"]:
            case "turn.finished":
                calls = record["message"]["tool_calls"]
                turned |= {(record["session"], call["id"]): call for call in calls}
            case "tool.finished":
                call = (record["session"], record["call_id"])
                require(call in turned, "I2", f"{call} finished without a turn")
                require(call not in done, "I2", f"{call} finished twice")
                done.add(call)
            case "file.intended":
                open_calls = [turned[call] for call in turned.keys() - done if call[0] == record["session"]]
                require(
                    _writes(open_calls, record["path"]), "I2", f"{record['path']} intended by no open call"
                )
            case "evidence.recorded":
                require(record["log"] not in logs, "I5", f"two evidences of one command: {record['log']}")
                logs.add(record["log"])
            case _:
                continue


def _writes(calls: Iterable[Mapping[str, Any]], path: str) -> bool:
    return any(
        path in str(call["arguments"]) for call in calls if call["name"] in ("write", "edit", "delete")
    )


# ---- files and processes


def tree_of(records: Sequence[Record], files: Mapping[str, str]) -> str:
    """Return the hash of the plan's files and all that were changed, as they are on disk."""
    paths: set[str] = set()
    first: dict[str, str | None] = {}
    last: dict[str, str | None] = {}
    for record in records:
        match record["type"]:
            case "plan.accepted":
                paths |= {path for item in record["items"] for path in item["files"]}
            case "item.added":
                paths |= set(record["spec"]["files"])
            case "setup.finished":
                paths |= set(record["files"])
            case "file.changed":
                first.setdefault(record["path"], record["before"])
                last[record["path"]] = record["after"]
            case _:
                continue
    paths |= {path for path in last if last[path] != first[path]}
    lines = (f"{path}\0{files.get(path) or 'absent'}\n" for path in sorted(paths))
    return _sha256("".join(lines).encode())


def marked(place: Place) -> dict[int, int]:
    """Return the living processes that were started for a mission, with their start times."""
    wanted = f"HOME={place.home}".encode()
    found = {}
    for folder in os.listdir("/proc"):  # noqa: PTH208 - names are all it takes
        if not folder.isdigit():
            continue
        try:
            environment = Path("/proc", folder, "environ").read_bytes()
        except OSError:
            continue
        start = _start(int(folder)) if wanted in environment.split(b"\0") else None
        if start is not None:
            found[int(folder)] = start
    return found


def _start(pid: int) -> int | None:
    """Return when a process started, in ticks; `None` if it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _named(pids: Collection[int]) -> str:
    return "; ".join(f"{pid} ({_command(pid)})" for pid in pids)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


def _files(workspace: Path) -> Iterator[tuple[str, str]]:
    for path in workspace.iterdir():
        if path.name != ".opencode":
            yield path.name, _sha256(path.read_bytes())


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith((".tmp", ".orch-tmp"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
