"""The search tools answer in bounded text, and a search that must end is killed."""

import asyncio
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio.lowlevel
import pytest

from orch.errors import ToolError
from orch.tools import search, walk
from orch.tools.search import glob, grep

pytestmark = pytest.mark.anyio
ENDLESS = "(a+)+b"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A small project with a file that no backtracking expression survives."""
    for path, text in {
        "src/app.py": "import os\n\ndef main():\n    pass\n",
        "src/web/page.tsx": "export const Page = 1\n",
        "README.md": "# main\n",
        "aaa.txt": "a" * 60 + "\n",
        ".env": "KEY=main\n",
        "build/out.py": "def main(): 1\n",
        ".gitignore": "build/\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Every child that the search started."""
    started: list[Process] = []
    spawn: Callable[..., Awaitable[Process]] = asyncio.create_subprocess_exec

    async def spawn_and_note(*command: str, **options: object) -> Process:
        child = await spawn(*command, **options)
        started.append(child)
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn_and_note)
    return started


async def test_glob_lists_paths_in_order(workspace: Path) -> None:
    """Ignored files and secrets are not there."""
    assert await glob(workspace, "*.py") == "src/app.py"
    assert await glob(workspace, "**/*.{md,tsx}") == "README.md\nsrc/web/page.tsx"
    assert await glob(workspace, "*.tsx", "src") == "src/web/page.tsx"
    assert await glob(workspace, "web/*", str(workspace / "src")) == "src/web/page.tsx"
    assert await glob(workspace, "*.py", "build") == "build/out.py"


async def test_grep_shows_path_line_and_text(workspace: Path) -> None:
    """One line a match; path may be a folder or a file, include limits the names."""
    assert await grep(workspace, r"\bmain\b") == "README.md:1: # main\nsrc/app.py:3: def main():"
    assert await grep(workspace, "main", include="*.py") == "src/app.py:3: def main():"
    assert await grep(workspace, "main", path="README.md") == "README.md:1: # main"
    assert await grep(workspace, "export", path="src") == "src/web/page.tsx:1: export const Page = 1"


async def test_nothing_found_is_said(workspace: Path) -> None:
    """A search without a hit is an answer."""
    assert await glob(workspace, "*.rs") == "No file matches *.rs in the workspace."
    assert await grep(workspace, "zzz", "src", "*.py") == "No line matches zzz in files like *.py below src."


async def test_long_results_are_cut_and_say_so(workspace: Path) -> None:
    """The model is told that there is more, and what to do."""
    for nth in range(search.GLOB_PATHS_MAX + 1):
        (workspace / f"{nth:04}.log").write_text("hit\n")
    paths = (await glob(workspace, "*.log")).split("\n")
    assert paths[: search.GLOB_PATHS_MAX] == [f"{nth:04}.log" for nth in range(search.GLOB_PATHS_MAX)]
    assert paths[search.GLOB_PATHS_MAX :] == ["(the first 500 paths; narrow the pattern to see others)"]
    lines = (await grep(workspace, "hit")).split("\n")
    assert len(lines) == search.GREP_MATCHES_MAX + 1
    assert lines[-1].startswith("(the first 200 matches; narrow")


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "", "x" * 3000])
async def test_a_bad_pattern_is_a_tool_error(workspace: Path, pattern: str) -> None:
    """The text is what the expression's compiler said, or the limit."""
    with pytest.raises(ToolError, match=r"The pattern (cannot be used: .*position|must have)"):
        await grep(workspace, pattern)


@pytest.mark.parametrize("path", ["../", "/etc", ".git", ".opencode/orch", "nowhere"])
async def test_a_search_stays_in_the_workspace(workspace: Path, path: str) -> None:
    """The start is confined as every path is."""
    with pytest.raises(ToolError):
        await glob(workspace, "*", path)
    with pytest.raises(ToolError):
        await grep(workspace, "x", path)


async def test_an_endless_expression_is_killed(
    workspace: Path, children: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time is over, the child is gone and the model is told."""
    monkeypatch.setattr(search, "SEARCH_TIMEOUT_S", 0.3)
    with pytest.raises(ToolError, match="took longer than"):
        await grep(workspace, ENDLESS)
    assert [child.returncode for child in children] == [-9]


async def test_a_cancelled_search_leaves_no_child(workspace: Path, children: list[Process]) -> None:
    """Cancellation passes, and the child does not outlive it."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        searching = group.create_task(grep(workspace, ENDLESS), name="search")
        while not children:
            await anyio.lowlevel.checkpoint()
        searching.cancel()
    assert searching.cancelled()
    assert [child.returncode for child in children] == [-9]


async def test_a_child_that_dies_is_a_tool_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that never came is said as such."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ToolError, match="the search process died"):
        await glob(workspace, "*")


async def test_the_child_gets_no_environment(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key reaches the process that reads the project's files."""
    script = workspace / "show.py"
    script.write_text("import json, os; print(json.dumps({'found': list(os.environ), 'more': False}))")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setattr(walk, "__file__", str(script))
    assert "OPENAI_API_KEY" not in await glob(workspace, "*")
