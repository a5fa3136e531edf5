"""orch's own runs of commands: the verification before the first write, the seal's, and setup commands.

Nothing here believes anybody: commands are run by orch, on the tree as it is, one after the other and while
nothing else writes; what they exit with becomes events. One that does not even start is red. Cut off by a
stop, a verification starts again; what comes to its end after the run did is not recorded.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePath

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission import review, seal
from orch.mission.brief import OUTPUT_EXCERPT_CHARS
from orch.mission.excerpt import relevant
from orch.mission.state import MissionStatus, Verification, tree_hash, tree_paths
from orch.tools import paths, walk
from orch.tools.desk import Place, Record
from orch.tools.process_log import excerpt
from orch.tools.processes import Finished

NOT_STARTED = 127
SEARCHED_CHARS = 400_000
"""What is read of a log, of its beginning and its end, to find there what matters."""
SETUP_FILES_MAX = 1_000
"""Files of a setup that can become an item's; each is hashed again and again, and named in the result."""


async def verify(place: Place, record: Record, timeout_s: float) -> None:
    """Run what is left of the mission's present verification; at the seal, say what it means."""
    while (run := place.state().verification) is not None and not run.is_complete:
        command = run.commands[len(run.results)]
        log = place.logs / f"{run.phase}-{len(run.results) + 1}.log"
        finished = await _run(place, command, log, timeout_s)
        output = await _excerpt(finished, timeout_s) if finished.exit_code else ""
        tree = tree_hash(await place.hashes(tree_paths(place.state())))
        if place.state().verification is not run or not _is_on(place):
            return
        result = ev.VerificationFinished(
            phase=run.phase,
            command=command,
            exit_code=finished.exit_code,
            duration_s=round(finished.duration_s, 3),
            tree=tree,
            output=output,
        )
        await record(result)
    if run is not None and run.phase is ev.VerificationPhase.SEAL:
        await _judge(place, record, run)


async def _run(place: Place, command: str, log: Path, timeout_s: float) -> Finished:
    """Run a command; one that does not start exits as a shell says it of a command that is not there."""
    try:
        return await place.processes.run(command, cwd=place.workspace, log=log, timeout_s=timeout_s)
    except ToolError as error:
        return Finished(NOT_STARTED, 0.0, str(error), log, timed_out=False, overflowed=False)


def _is_on(place: Place) -> bool:
    return place.state().status is MissionStatus.RUNNING


async def _judge(place: Place, record: Record, run: Verification) -> None:
    files = await place.hashes(tree_paths(place.state()))
    state = place.state()
    if state.verification is not run or not _is_on(place):
        return
    moved = [
        ev.FileChanged(path=path, before=state.files.get(path), after=sha, by_tool=False)
        for path, sha in files.items()
        if sha != state.files.get(path)
    ]
    await record(*moved, *seal.verdict(state, run, files, len(state.issues) + 1))


async def _excerpt(finished: Finished, timeout_s: float) -> str:
    """Return the part of a command's output that its reader needs."""
    text = await asyncio.to_thread(_relevant, finished)
    ended = f"ended by orch after {timeout_s:.0f} s\n" if finished.timed_out else ""
    return f"{ended}{text}".strip() or "(no output)"


def _relevant(finished: Finished) -> str:
    text = finished.output
    if finished.log_start is not None:
        with suppress(OSError):  # what was read when it ended has to do
            text = excerpt(finished.log, finished.log_start, SEARCHED_CHARS) + finished.notes
    return relevant(text, OUTPUT_EXCERPT_CHARS)


async def set_up(place: Place, record: Record, item_id: ev.ItemId, timeout_s: float) -> None:
    """Run a submitted item's setup command; new files that belong to nobody become the item's."""
    item = place.state().items[item_id]
    command = item.spec.setup or ""
    before = await asyncio.to_thread(_listing, place.workspace)
    finished = await _run(place, command, place.logs / f"setup-{item_id}.log", timeout_s)
    after = await asyncio.to_thread(_listing, place.workspace)
    owned = {path for other in place.state().items.values() for path in other.files}
    made = sorted(path for path in after if before.get(path) != after[path] and path not in owned)
    made, left_out = _folded(made, before)
    output = await _excerpt(finished, timeout_s)
    hashes = await place.hashes([*made, *item.files])
    state = place.state()
    if state.items[item_id] is not item or not _is_on(place):
        return
    done = ev.SetupFinished(
        item=item_id,
        command=command,
        exit_code=finished.exit_code,
        duration_s=round(finished.duration_s, 3),
        output=left_out + output,
        files={path: sha for path in made if (sha := hashes[path])},
    )
    touched = [
        ev.FileChanged(
            item=item_id, path=path, before=state.files.get(path), after=hashes[path], by_tool=False
        )
        for path in item.files
        if hashes[path] != state.files.get(path)
    ]
    if finished.exit_code == 0:
        await record(done, *touched)
        return
    text = f"setup `{command}` exited {finished.exit_code}:\n{output}"
    await record(done, *touched, *review.sent_back(state, item, ev.IssueSource.SETUP, text))


def _folded(made: list[str], before: Collection[str]) -> tuple[list[str], str]:
    """Leave out the folders with the most files until at most `SETUP_FILES_MAX` are left; say so.

    A folder counts from where it is new: `node_modules` goes, what was changed elsewhere stays if it can.
    """
    known = {str(folder) for path in before for folder in PurePath(path).parents}
    groups: dict[str, list[str]] = {}
    for path in made:
        folders = [str(folder) for folder in reversed(PurePath(path).parents)]
        groups.setdefault(next((folder for folder in folders if folder not in known), "."), []).append(path)
    kept, left_out = len(made), set[str]()
    for folder in sorted(groups, key=lambda each: (each == ".", -len(groups[each]))):
        if kept <= SETUP_FILES_MAX:
            break
        left_out.add(folder)
        kept -= len(groups[folder])
    text = "".join(
        f"[orch] {len(groups[folder])} files below {folder} are too many to be the item's and were left out; "
        "put them into .gitignore\n"
        for folder in sorted(left_out)
    )
    return sorted(path for folder in groups.keys() - left_out for path in groups[folder]), text


def _listing(workspace: Path) -> Mapping[str, tuple[int, int]]:
    """Return each file that is neither ignored nor orch's, with what tells that it changed."""
    listing = {}
    for path in walk.walk(workspace):
        if paths.is_orchs(path):  # its views change at any time
            continue
        try:
            status = (workspace / path).lstat()
        except OSError:
            continue
        listing[path] = (status.st_mtime_ns, status.st_size)
    return listing
