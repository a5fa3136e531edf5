"""The workspace that a command is about, and how wide what it prints may be.

Light: `orch status` and `orch stop` need no more of what a mission is built of.
"""

import shutil
from pathlib import Path

from orch.errors import UsageError
from orch.mission.transcript import clean
from orch.store.folder import Folder

FEWEST_COLUMNS = 20
"""What a stated width is at least: some terminals say 0 or 1."""


def folder_of(workspace: Path, *, make: bool = False) -> Folder:
    """Return the workspace's folder. Raises `UsageError` if there is no such directory."""
    try:
        if make:
            workspace.mkdir(parents=True, exist_ok=True)
        resolved = workspace.resolve(strict=True)
    except OSError as error:
        raise UsageError(f"{workspace}: {error.strerror or error}; name a directory with -C") from error
    if not resolved.is_dir():
        raise UsageError(f"{workspace} is no directory; name one with -C")
    if clean(str(resolved)) != str(resolved):
        raise UsageError(f"{str(resolved)!r} is no UTF-8, so no journal can name it; use another place")
    return Folder(resolved)


def columns(default: int) -> int:
    """Return how many columns to use: `COLUMNS`, else the terminal's, else `default`."""
    return max(shutil.get_terminal_size((default, 24)).columns, FEWEST_COLUMNS)
