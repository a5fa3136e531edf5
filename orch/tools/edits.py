"""`read`, `write`, `edit` and `delete`: the tools above the file functions.

A write is allowed only to files of the session's own item, while its lease holds. Its intent (hash before,
hash after) is durable before the disk is touched, so that a resume can tell what happened: a target that has
the after-hash is done, one with the before-hash is done again, anything else is a conflict.
"""

import asyncio
import fnmatch
import shlex
from collections.abc import Callable

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.state import owner_of
from orch.tools import diagnostics, files
from orch.tools.desk import Desk, ToolResult

DIAGNOSTIC_TIMEOUT_S = 30.0
"""A project's own diagnostic command may take this long."""


async def read(desk: Desk, path: str, offset: int, limit: int) -> ToolResult:
    """Show a page of a file."""
    page = await asyncio.to_thread(files.read_page, desk.place.workspace, path, offset, limit)
    return ToolResult(text=page.text, seen={page.path: page.sha256})


async def write(desk: Desk, path: str, content: str) -> ToolResult:
    """Create or replace a file."""
    where = await _own(desk, path)
    return await _change(
        desk, where, lambda seen: files.prepare_write(desk.place.workspace, where, content, seen=seen)
    )


async def edit(desk: Desk, path: str, old: str, new: str, *, replace_all: bool) -> ToolResult:
    """Replace a text in a file."""
    where = await _own(desk, path)
    return await _change(
        desk,
        where,
        lambda seen: files.prepare_edit(
            desk.place.workspace, where, old, new, replace_all=replace_all, seen=seen
        ),
    )


async def delete(desk: Desk, path: str) -> ToolResult:
    """Delete a file."""
    where = await _own(desk, path)
    return await _change(
        desk, where, lambda seen: files.prepare_delete(desk.place.workspace, where, seen=seen)
    )


async def _own(desk: Desk, path: str) -> str:
    """Return the file's canonical path if the session's item holds it."""
    where = await asyncio.to_thread(files.locate, desk.place.workspace, path)
    item = desk.item
    if where not in item.files:
        owner = owner_of(desk.place.state(), where)
        whose = f"it belongs to item {owner.spec.id}" if owner else "no item owns it"
        raise ToolError(
            f"{where} is not a file of your item ({', '.join(item.files)}): {whose}. "
            "Use request_change to say what should change there."
        )
    if not item.leased or not await asyncio.to_thread(desk.place.holds, item.spec.id, where):
        raise ToolError(f"the lease on {where} is lost: stop, and say so")
    return where


async def _change(desk: Desk, path: str, prepare: Callable[[str | None], files.Change]) -> ToolResult:
    state = desk.place.state()
    seen = desk.session.seen.get(path)
    if path in state.intents:
        current = (await desk.place.hashes([path]))[path]
        if current == state.intents[path]:
            return _done(desk, files.Change(path, state.files.get(path), current, None))
    change = await asyncio.to_thread(prepare, seen)
    await desk.record(
        ev.FileIntended(
            session=desk.session_id,
            item=desk.session.item,
            path=path,
            before=change.before,
            after=change.after,
        )
    )
    await _uninterrupted(desk, change)
    return await _diagnosed(desk, change)


async def _uninterrupted(desk: Desk, change: files.Change) -> None:
    """Write to the end even if the session is cancelled meanwhile: a file is never left half-decided."""
    first = change.path not in desk.place.state().first_seen

    def commit() -> None:
        if first and change.before is not None:
            desk.place.keep((desk.place.workspace / change.path).read_bytes())
        files.commit(desk.place.workspace, change)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.to_thread(commit), name=f"write {change.path}")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise


def _done(desk: Desk, change: files.Change, findings: str | None = None) -> ToolResult:
    verb = "deleted" if change.after is None else ("created" if change.before is None else "written")
    if change.before == change.after:
        verb = "written (the same bytes as before)"
    event = ev.FileChanged(
        session=desk.session_id,
        item=desk.session.item,
        path=change.path,
        before=change.before,
        after=change.after,
    )
    text = f"{change.path}: {verb}" + (f"\n{findings}" if findings else "")
    return ToolResult(text=text, events=(event,))


async def _diagnosed(desk: Desk, change: files.Change) -> ToolResult:
    if change.data is None:
        return _done(desk, change)
    planned = {path for item in desk.place.state().items.values() for path in item.files}
    installed = await desk.place.site_packages() if change.path.endswith(".py") else ()
    findings = await asyncio.to_thread(
        diagnostics.diagnose, desk.place.workspace, change.path, change.data, planned, installed
    )
    own = await _own_diagnostic(desk, change.path)
    return _done(desk, change, "\n".join(text for text in (findings, own) if text) or None)


async def _own_diagnostic(desk: Desk, path: str) -> str | None:
    """Run the command that the project names for such files; its output counts when it fails."""
    for pattern, command in desk.place.diagnostics.items():
        if fnmatch.fnmatch(path, pattern):
            finished = await desk.place.processes.run(
                command.replace("{path}", shlex.quote(path)),
                cwd=desk.place.workspace,
                log=desk.place.logs / f"diagnostic-{desk.session_id}.log",
                timeout_s=DIAGNOSTIC_TIMEOUT_S,
            )
            return (
                f"`{command}` exited {finished.exit_code}:\n{finished.output}" if finished.exit_code else None
            )
    return None
