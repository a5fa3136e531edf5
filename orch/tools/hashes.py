"""Hashes of the workspace's files, cheap to ask for again and again.

A hash is kept with the file's stat and taken from there while nothing in it changed. A file that changed less
than `SETTLED_NS` before it was hashed is always hashed again: its clock may not have ticked between two
writes of the same size.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from orch.errors import ToolError
from orch.tools import files

SETTLED_NS = 50_000_000
"""Longer than the tick of every common file system's clock (ext4: 4 ms)."""

_Signature = tuple[int, int, int, int]


class Hashes:
    """The hashes of one workspace."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._known: dict[str, tuple[_Signature, int, str]] = {}

    async def of(self, paths: Iterable[str]) -> Mapping[str, str | None]:
        """Return path -> sha256 of what is on disk now (`None`: no file that can be read)."""
        return await asyncio.to_thread(self._all, tuple(paths))

    def _all(self, paths: tuple[str, ...]) -> Mapping[str, str | None]:
        return {path: self._one(path) for path in paths}

    def _one(self, path: str) -> str | None:
        try:
            status = os.stat(self._workspace / path)  # noqa: PTH116 - os.stat is a tenth of the cost
        except (OSError, ValueError):
            return None
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        known = self._known.get(path)
        if known is not None and known[0] == signature and known[1] - status.st_ctime_ns > SETTLED_NS:
            return known[2]
        hashed_at_ns = time.time_ns()
        try:
            sha256 = files.fingerprint(self._workspace, path)
        except ToolError:
            return None
        if sha256 is not None:
            self._known[path] = (signature, hashed_at_ns, sha256)
        return sha256
