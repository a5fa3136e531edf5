"""A session records nothing any more once it, or the run, is over; what it wrote is still true."""

from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.mission import plan
from orch.tools.desk import SessionOver
from tests.tools.office import A, B, opened

pytestmark = pytest.mark.anyio


async def test_a_session_knows_itself_and_its_item(tmp_path: Path) -> None:
    """As they are now, not as they were."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        office.apply(ev.SessionIdle(session=desk.session_id, item=A))

        assert desk.item.spec.id == A
        assert desk.session.status == "idle"
        assert not desk.is_over


async def test_the_end_of_the_run_ends_every_desk(tmp_path: Path) -> None:
    """Not even a write is recorded: the next run finds it by its hashes."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        office.apply(
            ev.FileIntended(session=desk.session_id, path="a.txt", before=None, after="x"),
            ev.MissionFailed(outcome=ev.Outcome.PROVIDER, text="gone"),
        )
        known = len(office.events)

        with pytest.raises(SessionOver):
            await desk.record(ev.FileChanged(session=desk.session_id, path="a.txt", before=None, after="x"))

        assert desk.is_over
        assert len(office.events) == known


async def test_a_session_that_was_ended_leaves_what_it_wrote(tmp_path: Path) -> None:
    """Only that, of all it wants recorded."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        office.apply(ev.FileIntended(session=desk.session_id, path="a.txt", before=None, after="x"))
        office.apply(*plan.leave(office.state, office.state.items[A], "cancelled"))

        with pytest.raises(SessionOver):
            await desk.record(
                ev.FileChanged(session=desk.session_id, path="a.txt", before=None, after="x"),
                ev.SessionIdle(session=desk.session_id),
            )

        assert office.events[-1].type == "file.changed"
        assert office.state.files["a.txt"] == "x"


async def test_a_late_word_on_a_file_that_others_write_by_now_is_not_heard(tmp_path: Path) -> None:
    """What orch knows of a file is the last write, not the last report."""
    async with opened(tmp_path) as office:
        late, heir = await office.worker(A), await office.worker(B)
        office.apply(ev.FileIntended(session=late.session_id, path="a.txt", before=None, after="x"))
        office.apply(*plan.leave(office.state, office.state.items[A], "cancelled"))
        office.apply(ev.FileIntended(session=heir.session_id, path="a.txt", before="x", after="y"))

        with pytest.raises(SessionOver):
            await late.record(ev.FileChanged(session=late.session_id, path="a.txt", before=None, after="x"))

        assert office.all(ev.FileChanged) == []


async def test_closing_ends_all_jobs_at_once(tmp_path: Path) -> None:
    """Also one that does not listen."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        desk = await office.reviewer(A)
        for command in ("exec sleep 600", "trap '' TERM; while :; do sleep 0.05; done"):
            await office.call(desk, "run_background", command=command)

        await desk.close()

        assert [background.job.running for background in desk.jobs.values()] == [False, False]
