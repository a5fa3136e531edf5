"""What is no ordinary file keeps nobody waiting: every file tool refuses it or shows a page, at once."""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orch.errors import ToolError
from tests.tools.office import A, Office, opened, spec

pytestmark = pytest.mark.anyio

ODD = ("pipe", "socket", "folder", "huge", "zero", "environ", "device")
"""`zero` and `environ` are links out of the workspace; `device` is there only where one may be made."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with one ordinary file and every odd one."""
    with ExitStack() as stack:
        monkeypatch.chdir(tmp_path)  # the address of a socket is short
        os.mkfifo("pipe")
        stack.enter_context(socket.socket(socket.AF_UNIX)).bind("socket")
        Path("folder").mkdir()
        Path("huge").touch()
        os.truncate("huge", 5 << 30)
        Path("zero").symlink_to("/dev/zero")
        Path("environ").symlink_to("/proc/self/environ")
        Path("a.txt").write_text("needle\n")
        if os.geteuid() == 0:
            os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        yield tmp_path


async def _answer(office: Office, tool: str, **arguments: object) -> str:
    """Return what the model is told."""
    desk = office.desk("S2")
    try:
        return (await office.call(desk, tool, **arguments)).text
    except ToolError as error:
        return f"error: {error}"


@pytest.mark.fault(34)
async def test_no_tool_waits_for_what_is_no_file(
    workspace: Path, record_property: Callable[[str, object], None]
) -> None:
    """Read, written, edited, deleted or searched: a refusal in words, and not a byte of it comes through."""
    slowest_s = 0.0
    names = os.listdir(workspace)  # noqa: PTH208 - of the names alone
    names.remove("a.txt")
    async with opened(workspace, spec("a", "a.txt", *(name for name in ODD if name != "huge"))) as office:
        await office.worker(A)
        for name in names:
            for tool, arguments in (
                ("read", {}),
                ("write", {"content": "x\n"}),
                ("edit", {"old_string": "", "new_string": "x"}),
                ("edit", {"old_string": "\0", "new_string": "x"}),
                ("delete", {}),
                ("grep", {"pattern": "."}),
            ):
                began = time.monotonic()
                said = await _answer(office, tool, path=name, **arguments)
                slowest_s = max(slowest_s, time.monotonic() - began)

                assert said.startswith("error: ") or (name, tool) == ("folder", "grep"), (name, tool, said)
                assert "PATH=" not in said
        everything = await _answer(office, "grep", pattern=".*")
        listed = await _answer(office, "glob", pattern="**")

        assert everything.splitlines() == ["a.txt:1: needle", "a.txt:2: "]
        assert listed.splitlines()[-2:] == ["a.txt", "huge"]
        assert (workspace / "a.txt").read_text() == "needle\n"
        record_property("figure", f"slowest of {6 * len(ODD)} calls: {slowest_s * 1000:.0f} ms")


@pytest.mark.fault(34)
async def test_a_file_that_turns_odd_under_its_worker_is_refused(workspace: Path) -> None:
    """It was read as a file, then it is a pipe, a link, a folder: the Worker is told, nothing is written."""
    file = workspace / "a.txt"
    async with opened(workspace) as office:
        desk = await office.worker(A)
        for turn in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")):
            file.write_text("needle\n")
            await office.call(desk, "read", path="a.txt")
            file.unlink()
            turn(file)

            for tool, arguments in (
                ("read", {}),
                ("write", {"content": "x\n"}),
                ("edit", {"old_string": "needle", "new_string": "x"}),
                ("delete", {}),
            ):
                assert (await _answer(office, tool, path="a.txt", **arguments)).startswith("error: ")
            assert not file.is_file()
            remove = file.rmdir if file.is_dir() else file.unlink
            remove()
