"""One conversation: ask, act, repeat; everything durable before anything acts on it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.mission.transcript import AssistantMessage, ToolCall
from orch.models.gate import Gate
from orch.models.interface import Ask, Reply
from orch.runtime.asking import Voice
from orch.runtime.session import NOT_RUN, Conversation
from tests.endpoint import Step
from tests.play import Scene, approve, call, item, lead, mission, plan, say
from tests.runtime.house import House
from tests.tools.office import A, Office, opened


def test_results_travel_with_the_next_turn(house: House) -> None:
    """A turn is two batches: the answer with its calls, then the results with the next turn's start."""
    run = house.begin(mission(item("a")))

    worker = [event.type for event in run.events if event.session == "S3"]
    assert worker == [
        "session.started",
        "message.sent",
        "item.started",
        "turn.started",
        "turn.finished",
        "tool.called",
        "file.intended",
        "file.changed",
        "tool.finished",
        "turn.started",
        "turn.finished",
        "session.idle",
        "item.submitted",
        "session.ended",
    ]


def test_several_calls_of_a_turn_run_in_order(house: House) -> None:
    """Reads side by side, a write after the read that it needs, each with its own result."""
    (house.workspace / "a.txt").write_text("old\n")
    (house.workspace / "z.txt").write_text("zzz\n")

    def worker(scene: Scene) -> Step:
        """Do all of it in one turn."""
        if scene.done:
            return say()
        return Step(
            tool_calls=[
                ("read", {"path": "a.txt"}),
                ("read", {"path": "z.txt"}),
                ("write", {"path": "a.txt", "content": "made\n"}),
                ("read", {"path": "a.txt"}),
                ("edit", {"path": "a.txt", "old_string": "made", "new_string": "made well"}),
                ("nonsense", {}),
                ("read", "{broken"),
            ]
        )

    run = house.begin(mission(item("a"), worker=worker))

    results = [event for event in run.all(ev.ToolFinished) if event.session == "S3"]
    assert run.result.exit_code == 0, run.result.result
    assert [event.tool for event in results] == ["read", "read", "write", "read", "edit", "nonsense", "read"]
    assert [event.ok for event in results] == [True, True, True, True, True, False, False]
    assert "zzz" in results[1].text
    assert "made" in results[3].text
    assert "no tool nonsense; you have:" in results[5].text
    assert "arguments of read cannot be read" in results[6].text
    assert (house.workspace / "a.txt").read_text() == "made well\n"


def test_a_call_behind_the_one_that_ends_the_turn_is_not_run(house: House) -> None:
    """It gets a result that says so, and no further turn is paid."""

    def planner(scene: Scene) -> Step:
        """Submit, and want to look at something as well."""
        submitted = plan(item("a"))(scene).tool_calls
        return Step(tool_calls=[("glob", {"pattern": "*"}), *submitted, ("glob", {"pattern": "*"})])

    run = house.begin(mission(planner=planner))

    results = [event for event in run.all(ev.ToolFinished) if event.session == "S2"]
    assert run.result.exit_code == 0, run.result.result
    assert [event.tool for event in results] == ["glob", "submit_plan", "glob"]
    assert (results[2].ok, results[2].text) == (False, NOT_RUN)
    assert len([event for event in run.all(ev.TurnStarted) if event.session == "S2"]) == 1


@pytest.mark.fault(30)
def test_a_session_ends_at_its_limit_of_turns(house: House) -> None:
    """A fresh one gets the item once; then it fails with kind `limit`."""
    house.settings = {"max_turns": 3}

    def worker(_scene: Scene) -> Step:
        """Look for ever."""
        return call("glob", pattern="*")

    run = house.begin(mission(item("a"), worker=worker))

    limits = [event for event in run.all(ev.SessionEnded) if event.kind is ev.BlockerKind.LIMIT]
    assert run.result.exit_code == 4
    assert [event.session for event in limits] == ["S3", "S4"]
    assert "3 turns (--max-turns)" in limits[0].reason
    assert {run.state.sessions[event.session].turns for event in limits if event.session} == {3}


def test_the_commander_has_its_turns_per_wake(house: House) -> None:
    """What it did before it was woken does not count."""
    house.settings = {"max_turns": 3}

    def commander(scene: Scene) -> Step:
        """Look twice each time."""
        return call("list_tasks") if not scene.results("list_tasks") else lead(scene)

    run = house.begin(mission(item("a"), commander=commander))

    assert run.result.exit_code == 0, run.result.result
    assert run.state.sessions[ev.SessionId("S1")].turns == 5


def test_every_reviewer_has_ids_that_nobody_else_has(house: House) -> None:
    """Evidence and issues of sessions that end their commands in the same instant."""

    def reviewer(scene: Scene) -> Step:
        """Run three commands in one turn."""
        if not scene.done:
            return Step(tool_calls=[("bash", {"command": "true"})] * 3)
        return approve(Scene(**{**vars(scene), "done": scene.done[3:]}))

    run = house.begin(mission(*(item(f"i{n}") for n in range(8)), reviewer=reviewer), max_parallel=8)

    assert run.result.exit_code == 0, run.result.result
    assert [event.evidence for event in run.all(ev.EvidenceRecorded)] == [f"E{n}" for n in range(1, 33)]


# ---- without a house


class Mouth:
    """A model that says one thing after the other; it can be waited for, and it can hang."""

    def __init__(self, *messages: AssistantMessage) -> None:
        self.messages = list(messages)
        self.asked: list[Ask] = []
        self.was_asked = asyncio.Event()
        self.closed = 0

    async def ask(self, ask: Ask) -> Reply:
        """Answer, or never."""
        self.asked.append(ask)
        self.was_asked.set()
        if not self.messages:
            await asyncio.Event().wait()
        return Reply(self.messages.pop(0), ev.FinishReason.STOP, ev.Usage())

    async def close(self) -> None:
        """Count."""
        self.closed += 1


def conversing(office: Office, session: str, mouth: Mouth, grants: Sequence[str]) -> Conversation:
    """Return a conversation in an office."""
    voice = Voice(mouth, lambda: "You are.", frozenset(grants), 9, 0.0, lambda: False, Gate(4))
    return Conversation(office.desk(session), voice)


@pytest.mark.fault(52)
@pytest.mark.anyio
async def test_a_cancelled_turn_is_never_recorded(tmp_path: Path) -> None:
    """Nor asked twice within one start; the state still says that a turn is open."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        mouth = Mouth()
        conversation = conversing(office, "S2", mouth, ["read"])
        async with asyncio.TaskGroup() as group:
            task = group.create_task(conversation.run())
            await mouth.was_asked.wait()
            task.cancel()

        assert len(mouth.asked) == 1
        assert office.all(ev.TurnFinished) == []
        assert office.state.sessions[ev.SessionId("S2")].open_turn


@pytest.mark.anyio
async def test_the_connection_is_closed_also_when_the_close_is_cancelled(tmp_path: Path) -> None:
    """And the jobs are ended, however often it is cancelled."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)
        mouth = Mouth()
        conversation = conversing(office, "S3", mouth, ["bash"])
        conversation.desk.jobs.update(desk.jobs)
        await office.call(
            conversation.desk, "run_background", command="trap '' TERM; while :; do sleep 0.02; done"
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(conversation.close())
            for _ in range(3):
                await asyncio.sleep(0)
                task.cancel()

        assert task.cancelled()
        assert mouth.closed == 1
        assert [background.job.running for background in conversation.desk.jobs.values()] == [False]


@pytest.mark.anyio
async def test_the_prefix_of_every_request_is_the_same(tmp_path: Path) -> None:
    """Tools in one order, histories that only grow: what a provider caches stays cached."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        read = ToolCall(id="r1", name="glob", arguments='{"pattern": "*"}')
        mouth = Mouth(AssistantMessage(text="", tool_calls=(read,)), AssistantMessage(text="done"))
        await conversing(office, "S2", mouth, ["write", "glob", "read"]).run()

        first, second = mouth.asked
        assert [tool.name for tool in first.tools] == ["read", "glob", "write"]
        assert first.tools is second.tools
        assert second.messages[: len(first.messages)] == first.messages
        assert [type(message).__name__ for message in second.messages] == [
            "UserMessage",
            "AssistantMessage",
            "ToolMessage",
        ]
