"""`read`, `write`, `edit` and `delete`: the tools above the file functions.

A write is allowed only to files of the session's own item, while its lease holds. Its intent (hash before,
hash after) is durable before the disk is touched, so that a resume can tell what happened: a target that has
the after-hash is done, one with the before-hash is done again, anything else is a conflict. Lease and hash
are looked at once more at the moment of writing, in the thread that writes.
"""

import asyncio
import fnmatch
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.state import Item, MissionState, owner_of
from orch.tools import diagnostics, files, paths
from orch.tools.desk import Desk, Place, SessionOver, ToolResult

DIAGNOSTIC_TIMEOUT_S = 30.0
"""A project's own diagnostic command may take this long."""

Prepare = Callable[[Path, str, str | None], files.Change]
"""Plans a change of a file (workspace, path, the hash that the session saw). Blocks."""


async def read(desk: Desk, path: str, offset: int, limit: int) -> ToolResult:
    """Show a page of a file. Of one that is gone, the session knows from then on that it is."""
    return await asyncio.to_thread(_read, desk.place.workspace, path, offset, limit)


def _read(workspace: Path, path: str, offset: int, limit: int) -> ToolResult:
    try:
        page = files.read_page(workspace, path, offset, limit)
    except ToolError as error:
        where = paths.locate(workspace, path)
        if os.path.lexists(workspace / where):
            raise
        return ToolResult(text=str(error), ok=False, seen={where: None})
    return ToolResult(text=page.text, seen={page.path: page.sha256})


async def write(desk: Desk, call_id: str, path: str, content: str) -> ToolResult:
    """Create or replace a file."""

    def prepare(workspace: Path, where: str, seen: str | None) -> files.Change:
        return files.prepare_write(workspace, where, content, seen=seen)

    return await _change(desk, call_id, path, prepare)


async def edit(desk: Desk, call_id: str, path: str, old: str, new: str, *, replace_all: bool) -> ToolResult:
    """Replace a text in a file."""

    def prepare(workspace: Path, where: str, seen: str | None) -> files.Change:
        return files.prepare_edit(workspace, where, old, new, replace_all=replace_all, seen=seen)

    return await _change(desk, call_id, path, prepare)


async def delete(desk: Desk, call_id: str, path: str) -> ToolResult:
    """Delete a file."""

    def prepare(workspace: Path, where: str, seen: str | None) -> files.Change:
        return files.prepare_delete(workspace, where, seen=seen)

    return await _change(desk, call_id, path, prepare)


async def _change(desk: Desk, call_id: str, path: str, prepare: Prepare) -> ToolResult:
    """Check, plan, record the intent, write, look at what was written."""
    where = await asyncio.to_thread(paths.locate, desk.place.workspace, path)
    _refuse_foreign(desk.place.state(), desk.item, where)
    if call_id not in desk.begun and (earlier := await _done_before(desk, where)):
        return _done(desk, earlier)
    change = await asyncio.to_thread(prepare, desk.place.workspace, where, desk.session.seen.get(where))
    state = desk.place.state()
    found = _found(state, desk.session.item, change)
    await desk.record(
        *found,
        ev.FileIntended(
            session=desk.session_id,
            item=desk.session.item,
            path=where,
            before=change.before,
            after=change.after,
        ),
    )
    try:
        await _write(desk, change, keeps=bool(found) or where not in state.first_seen)
        findings = await _findings(desk, change)
    except asyncio.CancelledError:
        await _leave_behind(desk, change)
        raise
    return _done(desk, change, findings)


def _found(state: MissionState, item: ev.ItemId | None, change: files.Change) -> tuple[ev.FileChanged, ...]:
    """Return what somebody else did to a file since orch wrote it, which is about to be replaced."""
    known, intent = state.files.get(change.path), state.intents.get(change.path)
    ours = {known} if intent is None else {known, intent.after}
    if change.path not in state.first_seen or change.before in ours:
        return ()
    return (ev.FileChanged(item=item, path=change.path, before=known, after=change.before, by_tool=False),)


async def _done_before(desk: Desk, path: str) -> files.Change | None:
    """Return the change that the last run had written when it was cut off."""
    intent = desk.place.state().intents.get(path)
    if intent is None or intent.session != desk.session_id:
        return None
    now = (await desk.place.hashes([path]))[path]
    return files.Change(path, intent.before, intent.after, None) if now == intent.after else None


def _refuse_foreign(state: MissionState, item: Item, path: str) -> None:
    if path in item.files:
        return
    owner = owner_of(state, path)
    whose = f"it belongs to item {owner.spec.id}" if owner else "no item owns it"
    raise ToolError(
        f"{path} is not a file of your item ({', '.join(item.files)}): {whose}. "
        "Use request_change to say what should change there."
    )


async def _write(desk: Desk, change: files.Change, *, keeps: bool) -> None:
    """Write to the end even if the session is cancelled meanwhile: a file is never left half-decided."""
    item = desk.item
    if desk.is_over or not item.leased:
        raise SessionOver
    loop = asyncio.get_running_loop()
    writing = loop.run_in_executor(None, _commit, desk.place, item.spec.id, change, keeps)
    interruption: asyncio.CancelledError | None = None
    while not writing.done():
        try:
            await asyncio.wait([writing])
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        writing.exception()  # seen: the next run finds out by the hashes
        raise interruption
    writing.result()


def _commit(place: Place, item: ev.ItemId, change: files.Change, keeps: bool) -> None:
    """Keep what a file was that is not the mission's own, and change it if its lease still holds."""
    if keeps and change.old is not None:
        place.keep(change.old)
    if not place.holds(item, change.path):
        raise ToolError(f"the lease on {change.path} is lost, nothing was written: stop, and say so")
    files.commit(place.workspace, change)


async def _leave_behind(desk: Desk, change: files.Change) -> None:
    """Record what a session wrote that ended meanwhile; one that only pauses finds its intent again."""
    if desk.is_over and (await desk.place.hashes([change.path]))[change.path] == change.after:
        try:
            await desk.record(_changed(desk, change))
        except SessionOver:
            return


def _changed(desk: Desk, change: files.Change) -> ev.FileChanged:
    return ev.FileChanged(
        session=desk.session_id,
        item=desk.session.item,
        path=change.path,
        before=change.before,
        after=change.after,
    )


def _done(desk: Desk, change: files.Change, findings: str = "") -> ToolResult:
    verb = "deleted" if change.after is None else ("created" if change.before is None else "written")
    if change.before == change.after:
        verb = "written (the same bytes as before)"
    text = f"{change.path}: {verb}" + (f"\n{findings}" if findings else "")
    return ToolResult(text=text, events=(_changed(desk, change),))


async def _findings(desk: Desk, change: files.Change) -> str:
    """Say what looks wrong in a file as it was written; empty if nothing does."""
    if change.data is None:
        return ""
    place = desk.place
    planned = {path for item in place.state().items.values() for path in item.files}
    installed = await place.site_packages() if change.path.endswith(".py") else ()
    found = await asyncio.to_thread(
        diagnostics.diagnose, place.workspace, change.path, change.data, planned, installed
    )
    own = await _own_diagnostic(desk, change.path)
    return "\n".join(text for text in (found, own) if text)


async def _own_diagnostic(desk: Desk, path: str) -> str:
    """Run the command that the project names for such files; its output counts when it fails."""
    place = desk.place
    command = next((c for pattern, c in place.diagnostics.items() if fnmatch.fnmatch(path, pattern)), None)
    if command is None:
        return ""
    try:
        finished = await place.processes.run(
            command.replace("{path}", shlex.quote(path)),
            cwd=place.workspace,
            log=place.logs / f"diagnostic-{desk.session_id}.log",
            timeout_s=DIAGNOSTIC_TIMEOUT_S,
        )
    except ToolError as error:  # the file is written all the same
        return f"`{command}` did not run: {error}"
    return f"`{command}` exited {finished.exit_code}:\n{finished.output}" if finished.exit_code else ""
