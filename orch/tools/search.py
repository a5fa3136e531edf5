"""`glob` and `grep`: find files by name and by content.

Both promise a bounded text within `SEARCH_TIMEOUT_S` and never block the event loop: the work is done by
`orch.tools.walk` in a child process, which is killed when it takes too long or the caller is cancelled. A
pattern that cannot be used, a path that does not exist, and a search that takes too long are a `ToolError`.
"""

import asyncio
import json
import stat
import sys
from pathlib import Path
from typing import Any

from orch.errors import ToolError
from orch.tools import walk
from orch.tools.paths import locate

SEARCH_TIMEOUT_S = 20.0
KILL_WAIT_S = 5.0  # a killed process is gone at once, unless it hangs in the kernel
GLOB_PATHS_MAX = 500
GREP_MATCHES_MAX = 200
_PATTERN_CHARS_MAX = 2000


async def glob(workspace: Path, pattern: str, path: str | None = None) -> str:
    """Return the files whose path below `path` fits `pattern`, one a line, in the order of their paths.

    A pattern without a slash fits names in every folder; `**` stands for any number of folders.

    Raises:
        ToolError: The pattern or the path cannot be used, or the search took too long.
    """
    start = await asyncio.to_thread(_start, workspace, path)
    query = walk.Query(str(workspace), start, _checked(pattern), None, GLOB_PATHS_MAX)
    found, more = await _ask(query)
    if not found:
        return f"No file matches {pattern} {_below(start)}."
    cut = f"(the first {GLOB_PATHS_MAX} paths; narrow the pattern to see others)"
    return "\n".join([*found, *([cut] if more else [])])


async def grep(workspace: Path, pattern: str, path: str | None = None, include: str | None = None) -> str:
    """Return the lines that the regular expression `pattern` fits, as `path:line: text`.

    `path` is a folder or a file; `include` is a glob that limits the files, as in `glob`.

    Raises:
        ToolError: An argument cannot be used, or the search took too long.
    """
    start = await asyncio.to_thread(_start, workspace, path, walk.GREP_FILE_BYTES_MAX)
    include = _checked(include) if include else None
    query = walk.Query(str(workspace), start, include, _checked(pattern), GREP_MATCHES_MAX)
    found, more = await _ask(query)
    if not found:
        files = f"in files like {include} " if include else ""
        return f"No line matches {pattern} {files}{_below(start)}."
    lines = [f"{name}:{number}: {text}" for name, number, text in found]
    cut = f"(the first {GREP_MATCHES_MAX} matches; narrow the pattern, path or include to see others)"
    return "\n".join([*lines, *([cut] if more else [])])


def _below(start: str) -> str:
    return "in the workspace" if start == "." else f"below {start}"


def _checked(pattern: str) -> str:
    if not pattern or len(pattern) > _PATTERN_CHARS_MAX:
        raise ToolError(f"The pattern must have 1 to {_PATTERN_CHARS_MAX} characters; it has {len(pattern)}.")
    return pattern


def _start(workspace: Path, path: str | None, limit_bytes: int | None = None) -> str:
    """Return where to search, relative to the workspace: a folder, or a file of at most `limit_bytes`."""
    start = locate(workspace, path or ".")
    try:
        info = (workspace / start).lstat()
    except OSError:
        raise ToolError(f"{start} does not exist; leave path out to search the whole workspace.") from None
    if not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
        raise ToolError(f"{start} is a link, pipe, socket or device, not a file.")
    if stat.S_ISREG(info.st_mode) and limit_bytes is not None and info.st_size > limit_bytes:
        raise ToolError(f"{start} has {info.st_size:,} bytes; only files up to {limit_bytes:,} are searched.")
    return start


async def _ask(query: walk.Query) -> tuple[list[Any], bool]:
    """Let a child process answer, for as long as `SEARCH_TIMEOUT_S`."""
    try:
        async with asyncio.timeout(SEARCH_TIMEOUT_S):
            output = await _run(json.dumps(query._asdict()).encode())
    except TimeoutError:
        raise ToolError(
            f"The search took longer than {SEARCH_TIMEOUT_S:.0f} s and was stopped; "
            "narrow path or include, or use a simpler pattern."
        ) from None
    reply = json.loads(output or b'{"error": "the search process died"}')
    if "error" in reply:
        raise ToolError(f"The pattern cannot be used: {reply['error']}. Patterns of grep are Python's re.")
    return reply["found"], reply["more"]


async def _run(request: bytes) -> bytes:
    """Run `walk.py` on one request; whatever happens, the child is gone afterwards."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-X", "utf8", walk.__file__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={},  # and in orch's own session: a stray in another one is taken for a command's orphan
    )
    try:
        output, _ = await child.communicate(request)
    finally:
        if child.returncode is None:
            child.kill()
            async with asyncio.timeout(KILL_WAIT_S):
                await child.wait()
    return output
