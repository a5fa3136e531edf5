"""What is said when a new mission starts: a mission that is not finished, and what git has not committed.

Two lines at most, and never a reason not to start: what cannot be found out is not said. git is asked with
limits of time and output, without the user's keys, and with all that a repository's own configuration could
make it run switched off; a repository that names filters of its own is not asked, as git would run them.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orch.errors import OrchError
from orch.mission.events import Outcome
from orch.mission.status import MissionEntry
from orch.runtime import survey
from orch.store.folder import Folder
from orch.view import defuse

Say = Callable[[str], None]

GIT_LIMIT_S = 2.0
"""A tree that git needs longer for is not worth the wait."""
PATIENCE_S = 0.25
"""From then on a person is told what is waited for."""
OUTPUT_BYTES_MAX = 200_000
"""What is read of git's list; there are more changes than anybody counts, then."""
NAMED = 3
_NAME_COLUMNS = 60
_CLOSED = (Outcome.SEALED, Outcome.ANSWERED)
_SAFE = {
    "GIT_OPTIONAL_LOCKS": "0",  # a look changes nothing, not even the index
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # nothing that is missing is fetched
}
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_FILTERS = (*_GIT, "config", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
_STATUS = (
    *(*_GIT, "status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames"),
    *("--ignore-submodules=all", "--", ".", ":(exclude).opencode"),
)
_NO_MATCH = 1
_OWN_SCOPES = (b"local\t", b"worktree\t")
_CHUNK_BYTES = 65_536


def tell(folder: Folder, environment: Mapping[str, str], say: Say) -> None:
    """Say what a person should know before a mission starts. Blocks for `GIT_LIMIT_S` at most."""
    with suppress(OrchError):  # who asks for that mission hears what is wrong with it
        for entry in survey.missions(folder, None, every=False).missions:
            if text := unfinished(entry):
                say(text)
    if text := uncommitted(changes(folder.workspace, environment, say)):
        say(text)


def unfinished(entry: MissionEntry) -> str:
    """Say what goes on with the latest mission; empty if nothing does, or it runs."""
    if entry.alive or entry.resume is None or entry.status in _CLOSED:
        return ""
    if entry.status is Outcome.PLANNED:
        items = "1 item" if entry.todo.total == 1 else f"{entry.todo.total} items"
        return f"mission {entry.mission} is planned ({items}): {entry.resume} runs it"
    done = f"{entry.todo.done}/{entry.todo.total} done"
    return f"mission {entry.mission} is unfinished ({entry.status}, {done}): {entry.resume} goes on with it"


def uncommitted(names: Sequence[str] | None) -> str:
    """Say that a git tree is dirty; `names` are what is not committed, an empty one stands for many more."""
    if not names:
        return ""
    known = [name for name in names if name]
    some = ", ".join(defuse.line(name, _NAME_COLUMNS) for name in known[:NAMED])
    more = ", …" if len(known) > NAMED else ""
    number = "1 uncommitted change" if len(known) == 1 else f"{len(known)} uncommitted changes"
    at_least = "" if len(known) == len(names) else "more than "
    return f"the git tree has {at_least}{number}: {some}{more}; orch commits nothing, they stay as they are"


def changes(workspace: Path, environment: Mapping[str, str], say: Say) -> tuple[str, ...] | None:
    """Return what is not committed in the workspace, `.opencode/` left out; `None` where git says nothing."""
    if not any((parent / ".git").exists() for parent in (workspace, *workspace.parents)):
        return None
    git = _Git(workspace, {**environment, **_SAFE}, say)
    filters = git.ask(_FILTERS, fine=(0, _NO_MATCH))
    if filters is None or any(line.startswith(_OWN_SCOPES) for line in filters.splitlines()):
        return None
    listing = git.ask(_STATUS)
    if listing is None:
        return None
    whole, _, _ = listing.rpartition(b"\0")  # the last entry may be cut
    names = [entry[3:].decode("utf-8", "replace") for entry in whole.split(b"\0") if entry]
    return (*names, "") if len(listing) > OUTPUT_BYTES_MAX else tuple(names)


class _Git:
    """Asks git in a workspace; the limit of time is one for all questions."""

    def __init__(self, workspace: Path, environment: Mapping[str, str], say: Say) -> None:
        self._workspace = workspace
        self._environment = environment
        self._say = say
        self._deadline = time.monotonic() + GIT_LIMIT_S
        self._patience = time.monotonic() + PATIENCE_S

    def ask(self, command: Sequence[str], fine: Sequence[int] = (0,)) -> bytes | None:
        """Return what a command prints, much of it cut; `None` if it fails or takes too long."""
        try:
            process = subprocess.Popen(
                command,
                cwd=self._workspace,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return None
        with process:
            try:
                data = self._read(process.stdout.fileno()) if process.stdout is not None else None
                if data is None or len(data) > OUTPUT_BYTES_MAX:
                    return data
                return data if process.wait(max(0.0, self._deadline - time.monotonic())) in fine else None
            except subprocess.TimeoutExpired:
                return None
            finally:
                process.kill()

    def _read(self, stdout: int) -> bytes | None:
        """Read to the end, or as much as is wanted; `None` if the time is over before."""
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while len(data) <= OUTPUT_BYTES_MAX:
                if not self._wait(selector):
                    return None
                chunk = os.read(stdout, _CHUNK_BYTES)
                if not chunk:
                    break
                data += chunk
        return data

    def _wait(self, selector: selectors.BaseSelector) -> bool:
        """Wait until there is something to read; say whether there is before the time is over."""
        now = time.monotonic()
        if now < self._patience:
            if selector.select(self._patience - now):
                return True
            self._patience = 0.0
            self._say("git looks for uncommitted changes")
        return bool(selector.select(max(0.0, self._deadline - time.monotonic())))
