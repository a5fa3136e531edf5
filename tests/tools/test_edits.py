"""A Worker writes its own files, over what it has seen, and nothing of anybody else's."""

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orch.errors import Conflict, ToolError
from orch.mission import events as ev
from orch.mission import plan
from orch.tools import files
from orch.tools.desk import Desk, SessionOver
from tests.tools.office import A, B, Office, opened, spec

pytestmark = pytest.mark.anyio


def sha256(text: str) -> str:
    """Return the hash as orch writes it."""
    return hashlib.sha256(text.encode()).hexdigest()


async def test_a_write_is_intended_before_it_happens_and_changed_after(tmp_path: Path) -> None:
    """Both events carry the hashes before and after."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        result = await office.call(desk, "write", path="a.txt", content="one\n")

        intended = office.last(ev.FileIntended)
        changed = office.last(ev.FileChanged)

        assert result.text == "a.txt: created"
        assert (intended.before, intended.after) == (changed.before, changed.after) == (None, sha256("one\n"))
        assert intended.seq < changed.seq
        assert (tmp_path / "a.txt").read_text() == "one\n"
        assert office.state.intents == {}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("b.txt", "it belongs to item b. Use request_change"),
        ("c.txt", "no item owns it. Use request_change"),
        ("../a.txt", "outside the workspace"),
        (".opencode/orch/x", "leave it alone"),
    ],
)
async def test_only_the_files_of_the_own_item_are_written(tmp_path: Path, path: str, words: str) -> None:
    """Everything else is refused, with what to do instead, and nothing is intended."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        with pytest.raises(ToolError, match=words):
            await office.call(desk, "write", path=path, content="x")

        assert not (tmp_path / path).exists()
        assert office.state.intents == {}


async def test_a_write_needs_an_earlier_look_at_a_file_that_exists(tmp_path: Path) -> None:
    """One's own write counts as a look; an edit shows by its match that it knows the file."""
    (tmp_path / "a.txt").write_text("old\n")
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        with pytest.raises(ToolError, match="read it first"):
            await office.call(desk, "write", path="a.txt", content="new\n")
        await office.call(desk, "edit", path="a.txt", old_string="old", new_string="new")
        await office.call(desk, "write", path="a.txt", content="newer\n")

        assert (tmp_path / "a.txt").read_text() == "newer\n"


@pytest.mark.fault(41)
async def test_a_persons_change_is_a_conflict_until_it_was_read(tmp_path: Path) -> None:
    """It is never overwritten, edited or deleted unseen; the Worker reads again and goes on."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "write", path="a.txt", content="mine\n")
        (tmp_path / "a.txt").write_text("a person's\n")

        with pytest.raises(Conflict, match="changed since you read it"):
            await office.call(desk, "write", path="a.txt", content="mine again\n")
        with pytest.raises(Conflict, match="changed since you read it"):
            await office.call(desk, "edit", path="a.txt", old_string="person", new_string="Worker")
        with pytest.raises(Conflict, match="changed since you read it"):
            await office.call(desk, "delete", path="a.txt")
        assert (tmp_path / "a.txt").read_text() == "a person's\n"
        await office.call(desk, "read", path="a.txt")
        await office.call(desk, "write", path="a.txt", content="both\n")

        assert (tmp_path / "a.txt").read_text() == "both\n"


@pytest.mark.fault(41)
async def test_a_file_that_a_person_deleted_is_no_conflict_for_ever(tmp_path: Path) -> None:
    """Whoever looks and finds it gone knows that, and may write it anew."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "write", path="a.txt", content="mine\n")
        (tmp_path / "a.txt").unlink()

        with pytest.raises(Conflict, match="deleted since you read it"):
            await office.call(desk, "write", path="a.txt", content="again\n")
        looked = await office.call(desk, "read", path="a.txt")
        await office.call(desk, "write", path="a.txt", content="again\n")

        assert (looked.ok, looked.seen) == (False, {"a.txt": None})
        assert "does not exist" in looked.text
        assert (tmp_path / "a.txt").read_text() == "again\n"


async def test_what_cannot_be_read_is_an_error_and_not_gone(tmp_path: Path) -> None:
    """Only an absent file resets what a session has seen."""
    (tmp_path / "image").write_bytes(b"\0\1")
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        with pytest.raises(ToolError, match="binary"):
            await office.call(desk, "read", path="image")
        with pytest.raises(ToolError, match="outside"):
            await office.call(desk, "read", path="/etc/passwd")


async def test_what_a_file_was_before_the_mission_is_kept(tmp_path: Path) -> None:
    """Once: what it was in between is nobody's loss."""
    (tmp_path / "a.txt").write_text("first\n")
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "read", path="a.txt")
        await office.call(desk, "write", path="a.txt", content="second\n")
        await office.call(desk, "delete", path="a.txt")

        assert {path.name: path.read_text() for path in office.blobs.folder.iterdir()} == {
            sha256("first\n"): "first\n"
        }
        assert office.state.first_seen["a.txt"] == sha256("first\n")


@pytest.mark.fault(41)
async def test_what_a_person_wrote_over_a_worker_is_kept_and_named(tmp_path: Path) -> None:
    """The Worker replaces it, having read it: the journal says so, and the bytes can be had again."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "write", path="a.txt", content="mine\n")
        (tmp_path / "a.txt").write_text("a person's\n")
        await office.call(desk, "read", path="a.txt")
        await office.call(desk, "write", path="a.txt", content="mine again\n")

        found = [e for e in office.events if isinstance(e, ev.FileChanged) and not e.by_tool]
        assert [(e.path, e.session, e.before, e.after) for e in found] == [
            ("a.txt", None, sha256("mine\n"), sha256("a person's\n"))
        ]
        assert (office.blobs.folder / sha256("a person's\n")).read_text() == "a person's\n"


async def test_nothing_is_written_without_the_lease(tmp_path: Path) -> None:
    """It is looked at in the moment of writing, and binds also when it was lost just before."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        office.leases.release(A)

        with pytest.raises(ToolError, match=r"lease on a\.txt is lost"):
            await office.call(desk, "write", path="a.txt", content="x")

        assert not (tmp_path / "a.txt").exists()


@pytest.mark.fault(40)
@pytest.mark.parametrize("tool", ["write", "edit", "delete"])
async def test_a_write_that_was_done_before_a_crash_is_not_repeated(tmp_path: Path, tool: str) -> None:
    """Its intent is on record and the file is what it was to become: only the result was lost."""
    (tmp_path / "a.txt").write_text("old\n")
    arguments = {"content": "new\n"} if tool == "write" else {"old_string": "old", "new_string": "new"}
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "read", path="a.txt")
        after = None if tool == "delete" else sha256("new\n")
        intent = ev.FileIntended(session=desk.session_id, path="a.txt", before=sha256("old\n"), after=after)
        await office.record(intent)
        (tmp_path / "a.txt").write_text("new\n")
        if tool == "delete":
            (tmp_path / "a.txt").unlink()

        result = await office.answer(desk, office.asked(desk, tool, path="a.txt", **arguments))

        changed = office.last(ev.FileChanged)
        assert (changed.before, changed.after) == (sha256("old\n"), after)
        assert result.text == f"a.txt: {'deleted' if tool == 'delete' else 'written'}"
        assert len(office.all(ev.FileIntended)) == 1


@pytest.mark.fault(40)
async def test_a_write_that_a_crash_prevented_is_done(tmp_path: Path) -> None:
    """The file still is what it was before."""
    (tmp_path / "a.txt").write_text("old\n")
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "read", path="a.txt")
        await office.record(
            ev.FileIntended(
                session=desk.session_id, path="a.txt", before=sha256("old\n"), after=sha256("new\n")
            )
        )

        await office.answer(desk, office.asked(desk, "write", path="a.txt", content="new\n"))

        assert (tmp_path / "a.txt").read_text() == "new\n"


async def test_after_a_crash_a_third_state_is_a_conflict(tmp_path: Path) -> None:
    """Neither what it was nor what it was to become: a person was here."""
    (tmp_path / "a.txt").write_text("old\n")
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        await office.call(desk, "read", path="a.txt")
        await office.record(
            ev.FileIntended(
                session=desk.session_id, path="a.txt", before=sha256("old\n"), after=sha256("new\n")
            )
        )
        (tmp_path / "a.txt").write_text("a person's\n")

        with pytest.raises(Conflict):
            await office.answer(desk, office.asked(desk, "write", path="a.txt", content="new\n"))

        assert (tmp_path / "a.txt").read_text() == "a person's\n"


async def test_the_intent_of_another_session_is_not_ones_own_write(tmp_path: Path) -> None:
    """A Worker after one that was cut off in mid-write has its own words written."""
    async with opened(tmp_path) as office:
        first = await office.worker(A)
        await office.record(
            ev.FileIntended(session=first.session_id, path="a.txt", before=None, after=sha256("one\n"))
        )
        (tmp_path / "a.txt").write_text("one\n")
        session = replace(first.session, id=ev.SessionId("S9"), seen={})
        office.state = replace(office.state, sessions={**office.state.sessions, session.id: session})
        second = office.desk("S9")

        await office.call(second, "read", path="a.txt")
        await office.answer(second, office.asked(second, "write", path="a.txt", content="two\n"))

        assert (tmp_path / "a.txt").read_text() == "two\n"


async def _cancelled_in_mid_write(
    office: Office, desk: Desk, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Cancel a write again and again while its thread is at it."""
    writing, go_on = threading.Event(), threading.Event()
    commit = files.commit

    def slowly(workspace: Path, change: files.Change) -> None:
        writing.set()
        assert go_on.wait(10)
        commit(workspace, change)

    monkeypatch.setattr(files, "commit", slowly)
    call = office.asked(desk, "write", path="a.txt", content="late\n")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(office.answer(desk, call))
        assert await asyncio.to_thread(writing.wait, 10)
        meanwhile()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancelled_write_is_finished_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that only pauses leaves the intent; its resume sees that the write is done."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        await _cancelled_in_mid_write(office, desk, monkeypatch, lambda: None)

        assert (tmp_path / "a.txt").read_text() == "late\n"
        assert office.state.intents["a.txt"].after == sha256("late\n")


async def test_what_a_cancelled_session_wrote_last_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody will ask it again, but the file is changed."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        def drop() -> None:
            office.apply(*plan.leave(office.state, office.state.items[A], "cancelled"))

        await _cancelled_in_mid_write(office, desk, monkeypatch, drop)

        assert office.state.files["a.txt"] == sha256("late\n")
        assert office.state.changed == ("a.txt",)
        assert office.state.intents == {}


async def test_a_session_that_is_over_writes_nothing(tmp_path: Path) -> None:
    """Its intent is not even recorded."""
    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        call = office.asked(desk, "write", path="a.txt", content="x")
        await office.record(*plan.leave(office.state, office.state.items[A], "cancelled"))

        with pytest.raises(SessionOver):
            await office.answer(desk, call)

        assert not (tmp_path / "a.txt").exists()


async def test_a_write_tells_what_looks_wrong(tmp_path: Path) -> None:
    """Syntax, imports that resolve to nothing, and what the project's own command says."""
    async with opened(tmp_path, spec("a", "a.py"), spec("b", "b.py")) as office:
        office.place = replace(office.place, diagnostics={"*.py": "echo looks odd: {path}; exit 3"})
        desk = await office.worker(A)

        syntax = await office.call(desk, "write", path="a.py", content="def f(:\n")
        imports = await office.call(desk, "write", path="a.py", content="import b, nowhere\n")

        assert "a.py" in syntax.text
        assert "invalid syntax" in syntax.text
        assert "nowhere" in imports.text
        assert "import b" not in imports.text
        assert "exited 3:\nlooks odd: a.py" in imports.text


async def test_a_diagnostic_that_does_not_run_spoils_no_write(tmp_path: Path) -> None:
    """The file is written, and that is said."""
    async with opened(tmp_path) as office:
        office.place = replace(office.place, diagnostics={"*": "\0"})
        desk = await office.worker(A)

        result = await office.call(desk, "write", path="a.txt", content="x\n")

        assert result.text.startswith("a.txt: created\n")
        assert "did not run" in result.text
        assert office.state.files["a.txt"] == sha256("x\n")


async def test_two_workers_write_side_by_side(tmp_path: Path) -> None:
    """Each its own file, each under its own lease."""
    async with opened(tmp_path) as office:
        one, other = await office.worker(A), await office.worker(B)
        async with asyncio.TaskGroup() as group:
            for desk, path in ((one, "a.txt"), (other, "b.txt")):
                call = office.asked(desk, "write", path=path, content=f"{path}\n")
                desk.begun.add(call.id)
                group.create_task(office.answer(desk, call))

        assert {path: office.state.files[path] for path in ("a.txt", "b.txt")} == {
            "a.txt": sha256("a.txt\n"),
            "b.txt": sha256("b.txt\n"),
        }
