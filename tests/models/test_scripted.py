"""The demo's model: a valid endpoint, a team that plays one mission, and a program that really works."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from orch.agents.roles import grants, prompt
from orch.mission.events import ItemId, ItemSpec, Role
from orch.models.demo_script import DEFECT, demo
from orch.models.scripted import DEMO_FILES, DEMO_GOAL, DEMO_MODEL, ScriptedTransport

UNITTEST = (sys.executable, "-B", "-m", "unittest")
PROCESS_LIMIT_S = 60
MAX_TURNS = 20
DEMO = demo()
PROMPTS = {role: prompt(role) for role in Role}  # read here: both touch the disk
Calls = list[tuple[str, dict[str, Any]]]


@dataclass
class Session:
    """A conversation with the demo model over plain httpx; knows nothing of its script."""

    role: Role
    brief: str
    answer_only: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        system = PROMPTS[self.role] + "\n# Context\n(none)"
        self.messages = [{"role": "system", "content": system}, {"role": "user", "content": self.brief}]

    def told(self, text: str) -> None:
        """Say something to the session."""
        self.messages.append({"role": "user", "content": text})

    def result(self, *texts: str) -> None:
        """Answer the calls of the last turn."""
        calls = self.messages[-1]["tool_calls"]
        self.messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": text}
            for call, text in zip(calls, texts, strict=True)
        ]

    async def turn(self) -> Calls:
        """Ask for the next turn and return its calls; `text` is what was said."""
        names = sorted(grants(self.role, answer_only=self.answer_only))
        tools = [{"type": "function", "function": {"name": str(name), "parameters": {}}} for name in names]
        request = {"model": DEMO_MODEL, "stream": True, "messages": self.messages, "tools": tools}
        chunks = await stream(request)
        message = assemble(chunks)
        self.messages.append(message)
        self.text = message["content"]
        return [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ]


def client() -> httpx.AsyncClient:
    """Return a client whose network is the demo model."""
    return httpx.AsyncClient(transport=ScriptedTransport(latency_s=0), base_url="http://demo.invalid/v1")


async def stream(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the chunks of an answer, and check that the stream is whole."""
    async with client() as http:
        response = await http.post("/chat/completions", json=request)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def assemble(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put a message together as clients of the OpenAI API do."""
    text = ""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            for piece in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(piece["index"], {**piece, "function": dict(piece["function"])})
                if "id" not in piece:
                    call["function"]["arguments"] += piece["function"]["arguments"]
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return {**message, "tool_calls": list(calls.values())} if calls else message


def specs() -> list[ItemSpec]:
    """Return the items of the demo's plan."""
    return [ItemSpec.model_validate_json(json.dumps(item)) for item in DEMO.plan["items"]]


def spec(item_id: str) -> ItemSpec:
    """Return one item of the demo's plan."""
    return next(item for item in specs() if item.id == item_id)


def brief(item: ItemSpec) -> str:
    """State an item and its neighbours as orch does."""
    others = "\n".join(f"- {o.id}: {o.title} ({', '.join(o.files)})" for o in specs() if o.id != item.id)
    return (
        f"Your item:\n\nid: {item.id}\ntitle: {item.title}\nfiles: {', '.join(item.files)}\n"
        f"check: {item.check}\ninstructions:\n{item.instructions}\n\nOther items:\n{others}"
    )


def act(workspace: Path, name: str, arguments: Mapping[str, Any]) -> str:
    """Do what a Worker's call asks for, strictly, and return the result."""
    if name == "glob":
        found = sorted(path for path in workspace.rglob("*") if path.is_file())
        return "\n".join(path.relative_to(workspace).as_posix() for path in found) or "no files"
    path = workspace / arguments["path"]
    if name == "read":
        lines = path.read_text("utf-8").splitlines()
        return "\n".join(f"{number:5}\t{line}" for number, line in enumerate(lines, start=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "edit":
        text = path.read_text("utf-8")
        assert text.count(arguments["old_string"]) == 1
        path.write_text(text.replace(arguments["old_string"], arguments["new_string"]), "utf-8")
        return "edited"
    assert name == "write"
    path.write_text(arguments["content"], "utf-8")
    return "written"


async def work(session: Session, workspace: Path) -> list[str]:
    """Let a Worker act until it stops; return the names of its calls."""
    names: list[str] = []
    for _ in range(MAX_TURNS):
        calls = await session.turn()
        if not calls:
            return names
        names += [name for name, _ in calls]
        session.result(*[act(workspace, name, arguments) for name, arguments in calls])
    raise AssertionError(f"a Worker that does not stop: {names}")


async def build(workspace: Path) -> dict[str, Session]:
    """Let a Worker play every item of the plan; return the sessions by item."""
    sessions = {item.id: Session(Role.WORKER, brief(item)) for item in specs()}
    for session in sessions.values():
        await work(session, workspace)
    return {str(item_id): session for item_id, session in sessions.items()}


def run(workspace: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the workspace to its end."""
    return subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, timeout=PROCESS_LIMIT_S, check=False
    )


def run_check(workspace: Path, item: ItemSpec) -> subprocess.CompletedProcess[str]:
    """Run an item's check as orch does."""
    assert item.check
    return run(workspace, "bash", "-c", item.check)


def unpack(workspace: Path, files: Sequence[str]) -> None:
    """Put the final text of some demo files into the workspace."""
    for path in files:
        act(workspace, "write", {"path": path, "content": DEMO.files[path]})


@pytest.mark.anyio
async def test_the_stream_is_what_the_api_reference_describes() -> None:
    """Role first, arguments in pieces, the reason alone, usage last with no choices."""
    session = Session(Role.WORKER, brief(spec("store")))
    await session.turn()
    session.result("no files")
    chunks = await stream({"stream": True, "messages": session.messages})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    head = deltas[1]["tool_calls"][0]
    assert deltas[0] == {"role": "assistant", "content": None}
    assert (head["id"], head["function"]) == ("call_1_0", {"name": "write", "arguments": ""})
    assert len(deltas) > 5
    assert all(set(delta["tool_calls"][0]) == {"index", "function"} for delta in deltas[2:-1])
    assert (deltas[-1], chunks[-2]["choices"][0]["finish_reason"]) == ({}, "tool_calls")
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks[:-2]} == {None}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 100


@pytest.mark.anyio
async def test_the_endpoint_lists_its_model() -> None:
    """`/models` names the one model."""
    async with client() as http:
        response = await http.get("/models")
    assert [model["id"] for model in response.json()["data"]] == [DEMO_MODEL]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"stream": false, "messages": []}', b'{"stream": true, "messages": []}', b"\xff"],
)
@pytest.mark.anyio
async def test_what_is_no_streamed_chat_request_is_refused(body: bytes) -> None:
    """A client that goes wrong is told so as an endpoint would."""
    async with client() as http:
        response = await http.post("/chat/completions", content=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.anyio
async def test_another_address_is_not_found() -> None:
    """There is nothing but chat and the list of models."""
    async with client() as http:
        assert (await http.post("/embeddings", json={})).status_code == 404
        assert (await http.get("/chat/completions")).status_code == 404


@pytest.mark.anyio
async def test_a_conversation_without_a_role_is_answered_in_words() -> None:
    """A summary that orch asks for, say, gets a text and no call."""
    chunks = await stream(
        {
            "stream": True,
            "messages": [{"role": "system", "content": "Summarise."}, {"role": "user", "content": "x"}],
        }
    )
    assert "scripted demo model" in assemble(chunks)["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.anyio
async def test_the_commander_looks_writes_the_context_delegates_and_ends_its_turn() -> None:
    """Three calls, one a turn, then silence until it is woken; then the seal, honest about the script."""
    session = Session(Role.COMMANDER, DEMO_GOAL)
    names = []
    for result in ("no files", "written", "task t1 queued"):
        ((name, arguments),) = await session.turn()
        names.append((name, arguments.get("agent")))
        session.result(result)
    assert names == [("glob", None), ("write_context", None), ("delegate_task", "planner")]
    assert await session.turn() == []
    session.told("[orch] Everything is completed.")
    ((name, arguments),) = await session.turn()
    assert (name, "scripted model" in arguments["summary"]) == ("seal_mission", True)


@pytest.mark.anyio
async def test_a_commander_whose_seal_is_refused_does_not_insist() -> None:
    """One request per wake-up; the mission's own rules do the rest."""
    session = Session(Role.COMMANDER, DEMO_GOAL)
    session.messages.append({"role": "assistant", "content": "The Planner has the goal."})
    session.told("[orch] item auth failed")
    await session.turn()
    session.result("refused: item auth failed")
    assert await session.turn() == []


@pytest.mark.anyio
async def test_a_commander_who_may_only_answer_says_what_it_is() -> None:
    """The script cannot answer questions and does not pretend to."""
    session = Session(Role.COMMANDER, "What is this?", answer_only=True)
    ((name, arguments),) = await session.turn()
    assert (name, "scripted demo model" in arguments["text"]) == ("answer", True)


@pytest.mark.anyio
async def test_the_planner_looks_and_submits_the_plan_once() -> None:
    """A refusal is not answered with the same plan again."""
    session = Session(Role.PLANNER, DEMO_GOAL)
    ((name, _),) = await session.turn()
    session.result("no files")
    ((submit, plan),) = await session.turn()
    assert (name, submit) == ("glob", "submit_plan")
    assert plan == DEMO.plan
    session.result("refused")
    assert await session.turn() == []


def test_the_plan_covers_the_demos_files_each_once() -> None:
    """The files of the items are exactly those that the demo may create."""
    assert sorted(path for item in specs() for path in item.files) == sorted(DEMO_FILES)


def test_the_plan_runs_wide() -> None:
    """At least four items can be under way at once, and every dependency exists."""
    ids = {item.id for item in specs()}
    waves: dict[ItemId, int] = {}
    for item in specs():
        assert ids >= set(item.depends_on)
        waves[item.id] = 1 + max((waves[each] for each in item.depends_on), default=0)
    assert max(list(waves.values()).count(wave) for wave in waves.values()) >= 4


@pytest.mark.parametrize("item", specs(), ids=lambda item: str(item.id))
def test_a_check_needs_no_file_of_an_item_it_does_not_depend_on(item: ItemSpec, tmp_path: Path) -> None:
    """With the item and its dependencies alone the check is green; without the item it is red."""
    needed = {item.id}
    for other in reversed(specs()):
        if other.id in needed:
            needed |= set(other.depends_on)
    unpack(tmp_path, [path for other in specs() if other.id in needed - {item.id} for path in other.files])
    assert run_check(tmp_path, item).returncode != 0
    unpack(tmp_path, item.files)
    green = run_check(tmp_path, item)
    assert green.returncode == 0, green.stderr


@pytest.mark.anyio
async def test_a_review_catches_the_one_defect_and_the_worker_mends_it(tmp_path: Path) -> None:
    """First build: one module red, for a real reason. After the rejection: everything green."""
    workers = await build(tmp_path)
    assert act(tmp_path, "glob", {}).splitlines() == list(DEMO_FILES)
    red = {item.id: run_check(tmp_path, item) for item in specs()}
    assert [item_id for item_id, done in red.items() if done.returncode] == ["auth"]
    failed = re.findall(r"^(?:FAIL|ERROR): (\w+)", red[ItemId("auth")].stderr, re.MULTILINE)
    assert failed == ["test_an_expired_token_is_refused"]

    workers["auth"].told(f"[orch] The review rejected item auth (round 1).\n{red[ItemId('auth')].stderr}")
    assert await work(workers["auth"], tmp_path) == ["read", "read", "edit"]
    for command in DEMO.plan["verify"]:
        green = run(tmp_path, "bash", "-c", command)
        assert green.returncode == 0, green.stderr


@pytest.mark.anyio
async def test_a_worker_looks_writes_file_by_file_and_sums_up(tmp_path: Path) -> None:
    """In an empty project there is nothing to read."""
    session = Session(Role.WORKER, brief(spec("store")))
    assert await work(session, tmp_path) == ["glob", "write", "write"]
    assert "demo_api/store.py, tests/test_store.py" in session.text


@pytest.mark.anyio
async def test_a_worker_that_takes_over_reads_what_is_there_and_leaves_no_defect(tmp_path: Path) -> None:
    """A fresh session after a crash does not write over a file unread."""
    await work(Session(Role.WORKER, brief(spec("auth"))), tmp_path)
    names = await work(Session(Role.WORKER, brief(spec("auth"))), tmp_path)
    assert names == ["glob", "read", "read", "write", "write"]
    assert (tmp_path / DEFECT.path).read_text() == DEMO.files[DEFECT.path]


@pytest.mark.anyio
async def test_a_fix_item_changes_its_one_file_alone(tmp_path: Path) -> None:
    """An issue on a completed item is mended without touching the item's other files."""
    await work(Session(Role.WORKER, brief(spec("auth"))), tmp_path)
    fix = spec("auth").model_copy(update={"id": ItemId("auth.fix1"), "files": (DEFECT.path,)})
    assert await work(Session(Role.WORKER, brief(fix)), tmp_path) == ["glob", "read", "edit"]
    assert (tmp_path / DEFECT.path).read_text() == DEMO.files[DEFECT.path]


@pytest.mark.parametrize("role", [Role.WORKER, Role.REVIEWER])
@pytest.mark.anyio
async def test_an_item_that_the_script_does_not_know_is_left_alone(role: Role) -> None:
    """It says so instead of writing something."""
    session = Session(
        role, "Your item:\n\nid: other\ntitle: x\nfiles: src/other.py\ncheck: make\ninstructions:\nx"
    )
    assert await session.turn() == []
    assert "does not know" in session.text


async def review(session: Session, first_line: str, output: str) -> dict[str, Any]:
    """Let a Reviewer read and run its check, and return the verdict."""
    reads = await session.turn()
    assert {name for name, _ in reads} == {"read"}
    session.result(*["text"] * len(reads))
    ((name, arguments),) = await session.turn()
    assert (name, arguments) == ("bash", {"command": spec("auth").check})
    session.result(f"{first_line}\n{output}")
    ((name, verdict),) = await session.turn()
    assert name == "submit_review"
    return verdict


@pytest.mark.anyio
async def test_a_reviewer_approves_with_the_evidence_of_the_green_check() -> None:
    """It cites the id that orch gave the run."""
    verdict = await review(Session(Role.REVIEWER, brief(spec("auth"))), "evidence E7 · exit 0 · 0.2s", "OK")
    assert verdict == {"verdict": "approve", "evidence": ["E7"], "issues": []}


@pytest.mark.anyio
async def test_a_reviewer_rejects_with_the_failing_test() -> None:
    """The issue names the file, the test and what it said."""
    output = "FAIL: test_an_expired_token_is_refused (tests.test_auth)\nAssertionError: 'ada' is not None"
    verdict = await review(Session(Role.REVIEWER, brief(spec("auth"))), "evidence E1 · exit 1 · 0.2s", output)
    (issue,) = verdict["issues"]
    assert (verdict["verdict"], issue["path"]) == ("reject", DEFECT.path)
    assert "test_an_expired_token_is_refused" in issue["description"]
    assert "'ada' is not None" in issue["description"]


@pytest.mark.anyio
async def test_a_reviewer_does_not_approve_what_it_has_no_evidence_for() -> None:
    """A command that was cut off is no proof: it runs again, and is no proof for ever either."""
    session = Session(Role.REVIEWER, brief(spec("auth")))
    session.result(*["text"] * len(await session.turn()))
    names = []
    for _ in range(3):
        names += [name for name, _ in await session.turn()]
        session.result("interrupted: its outcome is unknown")
    ((name, verdict),) = await session.turn()

    assert names == ["bash"] * 3
    assert name == "submit_review"
    assert (verdict["verdict"], verdict["evidence"]) == ("reject", [])


@pytest.mark.anyio
async def test_a_refused_verdict_is_backed_by_a_new_run_but_not_for_ever() -> None:
    """Evidence can go stale; the check runs again, three times at most."""
    session = Session(Role.REVIEWER, brief(spec("auth")))
    await review(session, "evidence E1 · exit 0 · 0.2s", "OK")
    names = []
    for result in (
        "refused: E1 is stale",
        "evidence E2 · exit 0 · 0.2s",
        "refused",
        "evidence E3 · exit 0 · 0.2s",
        "refused",
    ):
        session.result(result)
        names += [name for name, _ in await session.turn()]
    assert names == ["bash", "submit_review", "bash", "submit_review"]


@pytest.mark.anyio
async def test_every_call_of_the_demo_is_granted_to_its_role(tmp_path: Path) -> None:
    """The script never asks for what would be denied."""
    sessions = await build(tmp_path)
    used = {
        call["function"]["name"]
        for session in sessions.values()
        for message in session.messages
        for call in message.get("tool_calls", ())
    }
    assert used <= grants(Role.WORKER, answer_only=False)


def test_the_server_of_the_demo_really_guards_its_notes(tmp_path: Path) -> None:
    """Started by hand as its README says: 401 without a token, 200 with the one from the login."""
    unpack(tmp_path, DEMO_FILES)
    command = (sys.executable, "-B", "-u", "-m", "demo_api", "--port", "0")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            host, port = server.stdout.readline().strip().removeprefix("listening on http://").split(":")
            account = json.dumps({"name": "ada", "password": "secret"})
            assert ask(host, int(port), "GET", "/notes")[0] == 401
            assert ask(host, int(port), "GET", "/notes", token="forged.token")[0] == 401
            assert ask(host, int(port), "POST", "/users", account)[0] == 201
            token = ask(host, int(port), "POST", "/login", account)[1]["token"]
            assert ask(host, int(port), "GET", "/notes", token=token) == (200, {"notes": []})
        finally:
            server.kill()


def ask(
    host: str, port: int, method: str, path: str, body: str | None = None, *, token: str = ""
) -> tuple[int, dict[str, Any]]:
    """Ask the demo's server."""
    connection = HTTPConnection(host, port, timeout=PROCESS_LIMIT_S)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
    response = connection.getresponse()
    document: dict[str, Any] = json.loads(response.read())
    connection.close()
    return response.status, document
