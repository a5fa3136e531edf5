"""The tools with which agents work together change nothing but the state, and wait for nobody."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.state import ItemStatus
from orch.tools.desk import Desk
from orch.tools.team import CONTEXT_LIMIT_CHARS
from tests.tools.office import A, B, Office, opened, spec

pytestmark = pytest.mark.anyio
COMMANDER = "S1"


async def planner(office: Office) -> Desk:
    """Start a Planner."""
    await office.call(
        office.desk(COMMANDER), "delegate_task", agent="planner", description="plan", prompt="all of it"
    )
    return office.desk(f"S{len(office.state.sessions)}")


def entry(
    item: str, *files: str, after: Sequence[str] = (), check: str | None = "make test"
) -> dict[str, object]:
    """Return an item as a Planner writes it."""
    fields: dict[str, object] = {
        "id": item,
        "title": item,
        "files": list(files),
        "instructions": "do",
        "check": check,
    }
    return fields | {"depends_on": list(after)}


# ---- plans


async def test_an_accepted_plan_replaces_what_is_open_and_keeps_what_is_done(tmp_path: Path) -> None:
    """The Planner's session ends with it, in the same turn."""
    async with opened(tmp_path) as office:
        done = replace(office.state.items[A], status=ItemStatus.COMPLETED)
        office.state = replace(office.state, items={**office.state.items, A: done})
        desk = await planner(office)
        plan = [entry("a", "a.txt"), entry("c", "./sub/../c.txt", after=["a"])]

        result = await office.call(desk, "submit_plan", items=plan, verify=["make test"])

        assert result.ends_turn
        assert {key: item.status for key, item in office.state.items.items()} == {
            A: "completed",
            B: "dropped",
            "c": "pending",
        }
        assert office.state.items[ev.ItemId("c")].files == ("c.txt",)
        assert office.last(ev.PlanAccepted).files == {"a.txt": None, "c.txt": None}
        assert desk.session.outcome is ev.SessionOutcome.DONE


async def test_a_refused_plan_says_everything_that_is_wrong(tmp_path: Path) -> None:
    """In one go, and the Planner may mend it in the same session."""
    (tmp_path / "folder").mkdir()
    async with opened(tmp_path) as office:
        desk = await planner(office)
        plan = [
            entry("x", "../out.txt", check="true"),
            entry("y", "folder", "same.txt", after=["nobody"]),
            entry("y", ".opencode/todo.md", ".git/config"),
            entry("z", after=["z"]),
        ]

        result = await office.call(desk, "submit_plan", items=plan, verify=[":"])

        assert not result.ok
        for reason in (
            "item x: ../out.txt lies outside the workspace",
            "the check of item x cannot fail",
            "item y: folder is a folder",
            "item y: .opencode/todo.md: only orch itself writes",
            "item y: .git/config belongs to git",
            "item id y is used twice",
            "item z has no file",
            "depends on nobody, which is no item",
            "depend on each other in a circle",
            "a verify command cannot fail",
        ):
            assert reason in result.text
        assert "item x has no file" not in result.text
        assert office.last(ev.PlanRejected).reasons
        assert desk.session.outcome is None
        assert office.state.items[A].status is ItemStatus.PENDING


# ---- delegation


async def test_a_delegated_task_is_one_more_item(tmp_path: Path) -> None:
    """Its id comes at once; it may share a file, and then waits for it."""
    async with opened(tmp_path) as office:
        desk = office.desk(COMMANDER)
        results = [
            await office.call(
                desk,
                "delegate_task",
                agent="worker",
                description="more",
                prompt="do more",
                files=["a.txt"],
                check="make test",
                depends_on=depends_on,
            )
            for depends_on in ([], ["T1"])
        ]

        assert [result.text.split()[:2] for result in results] == [["task", "T1"], ["task", "T2"]]
        assert not any(result.ends_turn for result in results)
        added = office.last(ev.ItemAdded)
        assert (added.spec.title, added.spec.instructions, added.spec.depends_on) == (
            "more",
            "do more",
            ("T1",),
        )
        assert added.origin is ev.ItemOrigin.DELEGATED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"agent": "reviewer"}, "delegate to agent 'worker' or 'planner'"),
        ({"check": None}, "check is missing"),
        ({"check": "true"}, "cannot fail"),
        ({"files": []}, "has no file"),
        ({"files": ["../x"]}, "outside the workspace"),
        ({"depends_on": ["T9"]}, "T9, which is no task"),
        ({"prompt": " "}, "has no instructions"),
    ],
)
async def test_a_task_that_cannot_be_done_is_not_taken(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    """With every reason, like a plan."""
    task = {"agent": "worker", "description": "d", "prompt": "p", "files": ["c.txt"], "check": "make test"}
    async with opened(tmp_path) as office:
        with pytest.raises(ToolError, match=words):
            await office.call(office.desk(COMMANDER), "delegate_task", **(task | arguments))

        assert office.all(ev.ItemAdded) == []


async def test_one_planner_works_at_a_time(tmp_path: Path) -> None:
    """It is told the goal verbatim, and what the Commander adds."""
    async with opened(tmp_path) as office:
        desk = await planner(office)

        assert desk.session.messages[0].text == "go\n\nWhat the Commander adds:\nall of it"
        with pytest.raises(ToolError, match="planner is at work already"):
            await planner(office)
        await office.call(office.desk(COMMANDER), "cancel_task", task_id=desk.session_id)
        assert (await planner(office)).session_id != desk.session_id


async def test_cancelling_a_task_takes_it_off_the_list_with_all_it_has(tmp_path: Path) -> None:
    """Queued or running: sessions end, files are free, its issues are closed."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        other = await office.worker(B)
        await office.call(other, "request_change", path="a.txt", description="rename it")
        desk = office.desk(COMMANDER)

        await office.call(desk, "cancel_task", task_id="a")

        assert office.state.items[A].status is ItemStatus.DROPPED
        assert not office.state.items[A].leased
        assert worker.session.outcome is ev.SessionOutcome.CANCELLED
        assert not other.is_over
        assert [issue.is_open for issue in office.state.issues.values()] == [False]
        for task, words in (("a", "cannot be cancelled"), ("S9", "no task S9"), ("S1", "no task S1")):
            with pytest.raises(ToolError, match=words):
                await office.call(desk, "cancel_task", task_id=task)


async def test_tasks_can_be_looked_at(tmp_path: Path) -> None:
    """Their state, what was proven, what is wrong, what was said last."""
    async with opened(tmp_path) as office:
        await planner(office)
        await office.worker(A)
        review = await office.reviewer(A)
        await office.call(review, "bash", command="echo fine")
        await office.call(
            review, "submit_review", verdict="reject", issues=[{"description": "it is not a.txt"}]
        )
        desk = office.desk(COMMANDER)

        every = await office.call(desk, "list_tasks")
        pending = await office.call(desk, "list_tasks", status="pending")
        report = await office.call(desk, "get_task_result", task_id="a")
        plan = await office.call(desk, "get_task_result", task_id="S2")

        assert every.text.splitlines()[0] == "a rejected: title of a (a.txt)"
        assert "S2 planner running: plan" in every.text
        assert pending.text == "b pending: title of b (b.txt)"
        assert "open issue I1: it is not a.txt" in report.text
        assert plan.text.startswith("S2 (plan) running")
        with pytest.raises(ToolError, match="no task T7; list_tasks names them"):
            await office.call(desk, "get_task_result", task_id="T7")


# ---- requests and reviews


async def test_a_request_goes_to_the_files_owner(tmp_path: Path) -> None:
    """Or to the Commander, where nobody owns the file; one's own file one changes oneself."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        owned = await office.call(desk, "request_change", path="b.txt", description="export it")
        unowned = await office.call(desk, "request_change", path="c.txt", description="make it")

        assert "goes to item b" in owned.text
        assert "goes to the Commander" in unowned.text
        assert [issue.item for issue in office.state.issues.values()] == [B, None]
        for path, description, words in (
            ("a.txt", "x", "of your own item"),
            ("b.txt", " ", "what should change"),
        ):
            with pytest.raises(ToolError, match=words):
                await office.call(desk, "request_change", path=path, description=description)


async def test_an_approval_needs_fresh_evidence_of_this_very_session(tmp_path: Path) -> None:
    """Each thing that is missing is said; nothing of it ends the turn."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        await office.call(worker, "write", path="a.txt", content="made\n")
        await office.worker(B)
        stranger = await office.reviewer(B)
        await office.call(stranger, "bash", command="test -f a.txt")
        desk = await office.reviewer(A)
        await office.call(desk, "bash", command="false")
        await office.call(desk, "bash", command="test -f a.txt")
        (tmp_path / "a.txt").write_text("a person's\n")

        for cited, words in (
            ([], "cites at least one command"),
            (["E1"], "E1 is no evidence of this session"),
            (["E9"], "E9 is no evidence"),
            (["E2"], "E2 exited 1"),
            (["E3"], "E3 is older than the last change"),
        ):
            refused = await office.call(desk, "submit_review", verdict="approve", evidence=cited)
            assert (refused.ok, refused.ends_turn) == (False, False)
            assert words in refused.text
        (tmp_path / "a.txt").write_text("made\n")
        await office.call(desk, "bash", command="true")
        unchecked = await office.call(desk, "submit_review", verdict="approve", evidence=["E4"])
        await office.call(desk, "bash", command=" test -f a.txt ")
        accepted = await office.call(desk, "submit_review", verdict="approve", evidence=["E5"])

        assert "run exactly: test -f a.txt" in unchecked.text
        assert accepted.ends_turn
        assert office.state.items[A].status is ItemStatus.COMPLETED
        assert len(office.all(ev.ReviewRefused)) == 6


async def test_issues_find_their_owners(tmp_path: Path) -> None:
    """One on another's file goes there; a path that is none stays with the item."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)
        nothing = await office.call(desk, "submit_review", verdict="reject")
        issues = [
            {"path": "b.txt", "description": "one"},
            {"path": "a.txt", "description": "two"},
            {"path": "/etc/x:12", "description": "three"},
            {"description": "four"},
        ]

        await office.call(desk, "submit_review", verdict="reject", issues=issues)

        assert "names at least one issue" in nothing.text
        assert [issue.item for issue in office.state.issues.values()] == [B, A, A, A]
        assert office.state.items[A].status is ItemStatus.REJECTED


# ---- the end


async def test_the_seal_is_refused_with_what_stands_between(tmp_path: Path) -> None:
    """At once, and the turn goes on."""
    async with opened(tmp_path) as office:
        refused = await office.call(office.desk(COMMANDER), "seal_mission", summary="done")

        assert (refused.ok, refused.ends_turn) == (False, False)
        assert "item a is pending" in refused.text
        assert "item b is pending" in refused.text
        assert len(office.last(ev.SealRefused).blockers) == 2


async def test_an_answer_is_for_a_mission_without_items(tmp_path: Path) -> None:
    """Once something is on the list it has to be finished, or cancelled."""
    async with opened(tmp_path) as office:
        desk = office.desk(COMMANDER)

        with pytest.raises(ToolError, match="there are items already"):
            await office.call(desk, "answer", text="42")
        for item in ("a", "b"):
            await office.call(desk, "cancel_task", task_id=item)
        with pytest.raises(ToolError, match="empty"):
            await office.call(desk, "answer", text=" ")
        await office.call(desk, "answer", text="42")

        assert office.state.outcome is ev.Outcome.ANSWERED


async def test_a_question_blocks_the_mission(tmp_path: Path) -> None:
    """The question is the blocker."""
    async with opened(tmp_path) as office:
        desk = office.desk(COMMANDER)

        with pytest.raises(ToolError, match="empty"):
            await office.call(desk, "block_mission", question="")
        await office.call(desk, "block_mission", question="Which one?")

        assert office.state.outcome is ev.Outcome.BLOCKED
        assert [blocker.text for blocker in office.state.end_blockers] == ["Which one?"]


async def test_the_context_is_written_for_everybody(tmp_path: Path) -> None:
    """Within a limit, for it goes before every agent."""
    async with opened(tmp_path, spec("a")) as office:
        desk = office.desk(COMMANDER)

        await office.call(desk, "write_context", content="Python, pytest")
        with pytest.raises(ToolError, match="at most"):
            await office.call(desk, "write_context", content="x" * (CONTEXT_LIMIT_CHARS + 1))

        assert "Python, pytest" in (tmp_path / ".opencode" / "context.md").read_text()
        assert office.last(ev.ContextUpdated).size_bytes == len("Python, pytest")
