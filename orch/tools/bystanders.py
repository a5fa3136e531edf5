"""Files of the workspace that stand by while a command runs: no item's, and not for a Reviewer to change.

Hashing all of them around each command would cost too much, so their stat tells: who puts it back to the
nanosecond is not noticed. Watched is what was there when somebody first looked, up to `WATCHED_MAX` files:
neither what .gitignore names nor what tools usually leave behind, both of which change with every command.
A look at 2,000 files takes some 5 ms of CPU, in a thread; who asks while one waits for its turn shares it.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from orch.tools import walk
from orch.tools.paths import is_orchs

WATCHED_MAX = 20_000
FRESH_S = 0.02
"""Before a command, a look that is no older serves again: commands come and go by the dozen."""

_LEFT_BEHIND = frozenset(
    (
        *(
            "__pycache__",
            ".mypy_cache",
            ".pytest_cache",
            ".ruff_cache",
            ".hypothesis",
            ".tox",
            ".venv",
            "venv",
        ),
        *("node_modules", "build", "coverage", "dist", "htmlcov", "out", "target", ".coverage", ".cache"),
    )
)

Look = Mapping[str, tuple[int, ...] | None]
"""What was seen of each watched file; `None` where it is gone."""


class Bystanders:
    """The watched files of one workspace."""

    def __init__(self, workspace: Path) -> None:
        self._root = str(workspace)
        self._paths: Sequence[str] | None = None
        self._latest: Look = {}
        self._taken = 0.0
        self._turn = asyncio.Lock()

    async def look(self, max_age_s: float = 0.0) -> Look:
        """Look at all watched files, or return a look so young; the first one decides which these are."""
        asked = time.monotonic()
        async with self._turn:
            if self._paths is None or self._taken < asked - max_age_s:
                self._latest = await asyncio.to_thread(self._look)
            return self._latest

    def _look(self) -> Look:
        began = time.monotonic()
        if self._paths is None:
            watched = (path for path in walk.walk(self._root) if _is_watched(path))
            self._paths = tuple(islice(watched, WATCHED_MAX))
        look = {path: _seen(f"{self._root}/{path}") for path in self._paths}
        self._taken = began
        return look


def changed(before: Look, after: Look, owned: Sequence[str]) -> list[str]:
    """Return the watched files that are not what they were; `owned` are other people's business."""
    moved = {path for path, seen in after.items() if before.get(path, seen) != seen}
    return sorted(moved.difference(owned))


def _is_watched(path: str) -> bool:
    return not is_orchs(path) and _LEFT_BEHIND.isdisjoint(path.split("/"))


def _seen(path: str) -> tuple[int, ...] | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return (info.st_mtime_ns, info.st_size, info.st_ino, info.st_mode)
