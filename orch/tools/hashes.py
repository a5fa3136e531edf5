"""Hashes of the workspace's files, cheap to ask for again and again.

A hash is kept with the file's stat and taken from there while nothing in it changed, and while the path
still leads through no link: what a file outside of the workspace is, nobody here is told. A file that
changed less than `SETTLED_NS` before it was hashed is always hashed again: its clock may not have ticked
between two writes of the same size.
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

_Signature = tuple[int, int, int, int, int]


class Hashes:
    """The hashes of one workspace, whose path is absolute and has no links in it."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._root = str(workspace)
        self._known: dict[str, tuple[_Signature, int, str]] = {}

    async def of(self, paths: Iterable[str]) -> Mapping[str, str | None]:
        """Return path -> sha256 of what is on disk now (`None`: no file that can be read)."""
        return await asyncio.to_thread(self._all, tuple(paths))

    def _all(self, paths: tuple[str, ...]) -> Mapping[str, str | None]:
        return {path: self._one(path) for path in paths}

    def _one(self, path: str) -> str | None:
        try:
            status = os.lstat(f"{self._root}/{path}")
        except (OSError, ValueError):
            return None
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
        known = self._known.get(path)
        if known is not None and self._is_settled(path, signature, known):
            return known[2]
        hashed_at_ns = time.time_ns()
        try:
            sha256 = files.fingerprint(self._workspace, path)
        except ToolError:
            return None
        if sha256 is not None:
            self._known[path] = (signature, hashed_at_ns, sha256)
        return sha256

    def _is_settled(self, path: str, signature: _Signature, known: tuple[_Signature, int, str]) -> bool:
        if known[0] != signature or known[1] - signature[1] <= SETTLED_NS:
            return False
        # A folder may have been swapped for a link to where it was moved, outside.
        return os.path.realpath(f"{self._root}/{path}") == f"{self._root}/{path}"
