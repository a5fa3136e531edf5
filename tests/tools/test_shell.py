"""What a Reviewer's commands prove, what they may not change, and how its jobs end."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission import plan
from orch.tools import shell
from orch.tools.desk import SessionOver
from tests.tools.office import A, B, opened

pytestmark = pytest.mark.anyio

HEADLINE = re.compile(r"evidence (E\d+) · exit (\d+) · \d+\.\d+s")


def sha256(text: str) -> str:
    """Return the hash as orch writes it."""
    return hashlib.sha256(text.encode()).hexdigest()


async def test_every_finished_command_is_evidence(tmp_path: Path) -> None:
    """Its first line is the id, the status and the time; the hashes are those of the item's files."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        await office.call(worker, "write", path="a.txt", content="made\n")
        desk = await office.reviewer(A)

        good = await office.call(desk, "bash", command="grep made a.txt")
        bad = await office.call(desk, "bash", command="grep missing a.txt")

        first, second = office.all(ev.EvidenceRecorded)
        assert HEADLINE.fullmatch(good.text.splitlines()[0])
        assert good.text.splitlines()[1:] == ["made"]
        assert bad.text.splitlines()[1:] == ["(no output)"]
        assert (first.evidence, first.exit_code, first.void) == ("E1", 0, False)
        assert (second.evidence, second.exit_code) == ("E2", 1)
        assert first.files == {"a.txt": sha256("made\n")}
        assert first.tree == second.tree


async def test_a_command_that_changes_the_items_files_proves_nothing(tmp_path: Path) -> None:
    """It is void, is recorded as a change that no tool made, and is an issue."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        await office.call(worker, "write", path="a.txt", content="made\n")
        desk = await office.reviewer(A)

        result = await office.call(desk, "bash", command="echo more >> a.txt")

        assert office.last(ev.EvidenceRecorded).void
        assert "void as evidence" in result.text
        assert office.last(ev.FileChanged).by_tool is False
        assert office.last(ev.IssueOpened).item == A


async def test_a_command_that_changes_anothers_file_is_an_issue_for_its_owner(tmp_path: Path) -> None:
    """The evidence counts for the own item all the same."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        await office.call(worker, "write", path="a.txt", content="made\n")
        desk = await office.reviewer(A)

        result = await office.call(desk, "bash", command="echo formatted > b.txt")
        again = await office.call(desk, "bash", command="true")

        changed = office.last(ev.FileChanged)
        issue = office.last(ev.IssueOpened)
        assert not office.last(ev.EvidenceRecorded).void
        assert (changed.path, changed.by_tool, changed.session) == ("b.txt", False, desk.session_id)
        assert (issue.item, issue.path, issue.source) == (B, "b.txt", ev.IssueSource.INTRUSION)
        assert "changed while it ran: b.txt" in result.text
        assert "changed" not in again.text
        assert len(office.all(ev.IssueOpened)) == 1


@pytest.mark.parametrize("moment", ["intended", "written", "recorded"])
async def test_a_worker_that_writes_meanwhile_is_no_intruder(tmp_path: Path, moment: str) -> None:
    """Whichever step of its write the hashes fall upon."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        await office.call(worker, "write", path="a.txt", content="made\n")
        desk = await office.reviewer(A)
        other = await office.worker(B)
        after = sha256("b\n")
        intended = ev.FileIntended(session=other.session_id, path="b.txt", before=None, after=after)
        changed = ev.FileChanged(session=other.session_id, path="b.txt", before=None, after=after)
        hashes = office.place.hashes

        async def while_it_writes(paths: Iterable[str]) -> Mapping[str, str | None]:
            """Let the Worker's write go on between the look at the disk and its end."""
            if "b.txt" not in (wanted := tuple(paths)):
                return await hashes(wanted)
            if moment == "written":
                office.apply(intended)
                await asyncio.to_thread((tmp_path / "b.txt").write_text, "b\n")
            seen = await hashes(wanted)
            if moment == "intended":
                office.apply(intended)
            if moment == "recorded":
                office.apply(intended, changed)
            return seen

        office.place = replace(office.place, hashes=while_it_writes)
        await office.call(office.desk(desk.session_id), "bash", command="true")

        assert office.all(ev.IssueOpened) == []
        assert all(change.by_tool for change in office.all(ev.FileChanged))


async def test_a_running_setup_is_no_intruder(tmp_path: Path) -> None:
    """What it changes in its item's files, orch records when it is through."""
    async with opened(tmp_path) as office:
        worker = await office.worker(A)
        await office.call(worker, "write", path="a.txt", content="made\n")
        desk = await office.reviewer(A)
        await office.worker(B)
        item = office.state.items[B]
        setting_up = replace(item, spec=item.spec.model_copy(update={"setup": "make"}))
        office.state = replace(office.state, items={**office.state.items, B: setting_up})
        assert item.worker is not None
        office.apply(
            ev.SessionIdle(session=item.worker, item=B), ev.ItemSubmitted(item=B, session=item.worker)
        )

        await office.call(desk, "bash", command="echo lock > b.txt")

        assert office.all(ev.IssueOpened) == []


async def test_a_command_is_ended_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result says so, and the evidence is red."""
    monkeypatch.setattr(shell, "_limit", lambda *_: 0.2)
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)

        result = await office.call(desk, "bash", command="echo begun; sleep 60")

        assert "ended by orch: it ran longer than 0 s" in result.text
        assert "begun" in result.text
        assert office.last(ev.EvidenceRecorded).exit_code != 0


@pytest.mark.parametrize(
    ("asked", "limit_s"), [(None, 120.0), (0.0, 120.0), (-5.0, 1.0), (7.0, 7.0), (1e9, 3600.0)]
)
def test_a_limit_is_within_reason(asked: float | None, limit_s: float) -> None:
    """Whatever a model asks for."""
    assert shell._limit(asked, shell.DEFAULT_TIMEOUT_S) == limit_s


async def test_a_job_is_evidence_as_soon_as_it_has_ended(tmp_path: Path) -> None:
    """Whoever looks after its end is told the evidence first."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)

        started = await office.call(desk, "run_background", command="echo up; exit 4", label="server")
        await desk.jobs["S3-job1"].job.wait()
        checked = await office.call(desk, "check_background", job_id="S3-job1")
        listed = await office.call(desk, "list_background")

        assert started.text == "job S3-job1 started (server): echo up; exit 4"
        first, second, third = checked.text.splitlines()
        found = HEADLINE.fullmatch(first)
        assert found is not None
        assert found.groups() == ("E1", "4")
        assert (second, third) == ("job S3-job1 ended: echo up; exit 4", "up")
        assert listed.text.splitlines()[0] == first
        assert office.last(ev.EvidenceRecorded).log == "S3-job1.log"


async def test_a_running_job_shows_its_output_and_can_be_killed(tmp_path: Path) -> None:
    """Its end is evidence too, whatever it is good for."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)

        await office.call(desk, "run_background", command="echo up; exec sleep 600")
        running = await office.call(desk, "check_background", job_id="S3-job1")
        killed = await office.call(desk, "kill_background", job_id="S3-job1")

        assert running.text.startswith("job S3-job1 running: echo up; exec sleep 600\n")
        assert killed.text.startswith("evidence E1 · exit 143 · ")
        assert not desk.jobs["S3-job1"].job.running


async def test_a_job_that_is_no_more_is_explained(tmp_path: Path) -> None:
    """Jobs are the session's own, and end with orch."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)

        assert (await office.call(desk, "list_background")).text == "no jobs"
        for tool in ("check_background", "kill_background"):
            with pytest.raises(ToolError, match=r"no job S9-job1 .* they end"):
                await office.call(desk, tool, job_id="S9-job1")


async def test_jobs_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has ended does not count."""
    monkeypatch.setattr(shell, "MAX_JOBS", 1)
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)
        await office.call(desk, "run_background", command="exec sleep 600")

        with pytest.raises(ToolError, match="kill_background one first"):
            await office.call(desk, "run_background", command="true")
        await office.call(desk, "kill_background", job_id="S3-job1")
        await office.call(desk, "run_background", command="true")

        assert list(desk.jobs) == ["S3-job1", "S3-job2"]


async def test_a_job_ends_with_its_session_and_is_no_evidence_then(tmp_path: Path) -> None:
    """Nothing is recorded in the name of a session that is over."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)
        await office.call(desk, "run_background", command="exec sleep 600")
        office.apply(*plan.leave(office.state, office.state.items[A], "cancelled"))

        await desk.close()
        await desk.jobs["S3-job1"].noted.wait()

        assert not desk.jobs["S3-job1"].job.running
        assert office.all(ev.EvidenceRecorded) == []
        with pytest.raises(SessionOver):
            await desk.record(ev.SessionIdle(session=desk.session_id))


async def test_two_reviewers_get_evidence_of_their_own(tmp_path: Path) -> None:
    """Side by side, each with an id that nobody else has."""
    async with opened(tmp_path) as office:
        desks = []
        for item in (A, B):
            await office.worker(item)
            desks.append(await office.reviewer(item))
        async with asyncio.TaskGroup() as group:
            for desk in desks:
                call = office.asked(desk, "bash", command="sleep 0.05")
                group.create_task(office.answer(desk, call))

        assert [e.evidence for e in office.all(ev.EvidenceRecorded)] == ["E1", "E2"]
        assert {e.item for e in office.all(ev.EvidenceRecorded)} == {A, B}


async def test_a_job_that_never_started_leaves_nothing(tmp_path: Path) -> None:
    """Its place is free for the next one."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)

        with pytest.raises(ToolError, match="did not start"):
            await office.call(desk, "run_background", command="\0")

        assert desk.jobs == {}


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("echo > tests.py", "tests.py"),
        ("rm tests.py", "tests.py"),
        ("chmod +x lib/x.py; touch lib/new.py", "lib/x.py"),
        ("cp tests.py t && mv t tests.py", "tests.py"),
        ("touch new; echo y > b.txt; echo z > build/z; echo log > x.log", None),
        ("cat tests.py lib/x.py > /dev/null", None),
    ],
)
async def test_a_file_of_no_item_that_a_command_changes_is_named(
    tmp_path: Path, command: str, named: str | None
) -> None:
    """To the Reviewer and on record, but it stops nothing; what is ignored, new or an item's is not meant."""
    for path in ("tests.py", "lib/x.py", "build/z", "x.log", "b.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("assert make() == 1\n")
    (tmp_path / ".gitignore").write_text("*.log\n")
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)

        said = (await office.call(desk, "bash", command=command)).text
        denials = office.all(ev.PermissionDenied)

        assert [named in denial.reason for denial in denials if named] == ([True] if named else [])
        assert ("not yours to change: " in said) == (named is not None)
        assert not office.last(ev.EvidenceRecorded).void
        assert "not yours" not in (await office.call(desk, "bash", command="cat .gitignore")).text
