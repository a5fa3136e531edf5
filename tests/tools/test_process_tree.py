"""What a subreaper sees: every orphan. In processes of their own, so that pytest does not become one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no subreaper")

SCRIPT = """
import asyncio, json, os, resource, subprocess, sys
from pathlib import Path
from orch.errors import ToolError
from orch.tools.process_table import harden_self, own_children, read_table
from orch.tools.processes import Processes

# A process without marks, in a session of its own, that the command waits for.
ESCAPE = "env -i setsid sh -c 'echo $$ > {name}; exec sleep 100' & while [ ! -s {name} ]; do :; done; "

def lives(name):
    process = read_table().get(int(Path(name).read_text()))
    return process is not None and not process.is_dead

async def run(commands, command, timeout_s=10):
    return await commands.run(command, cwd=Path.cwd(), log=Path("run.log").absolute(), timeout_s=timeout_s)

async def start(commands, command):
    return await commands.start(command, cwd=Path.cwd(), log=Path("job.log").absolute(), timeout_s=60)

async def main():
    facts = {}
    async with asyncio.timeout(20), Processes({"PATH": os.environ["PATH"]}, f"t-{os.getpid()}") as commands:
BODY
    facts["children"] = sorted(own_children())
    return facts

harden_self()
print(json.dumps(asyncio.run(main())))
"""


def _facts(folder: Path, body: str) -> Any:
    """Run `body` in a hardened process that has `commands`; return its `facts`, and what it left."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("BODY", indent(dedent(body), " " * 8))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.fault(43)
def test_who_wiped_its_marks_and_left_is_gone_on_return(tmp_path: Path) -> None:
    """`env -i setsid` leaves neither mark nor group; alone on the scene, it can only be this command's."""
    facts = _facts(
        tmp_path,
        """
        finished = await run(commands, ESCAPE.format(name="a") + "exit 4")
        facts |= {"exit": finished.exit_code, "lives": lives("a"), "during": sorted(own_children())}
        """,
    )

    assert facts == {"exit": 4, "lives": False, "during": [], "children": []}


@pytest.mark.fault(43)
def test_orphans_with_families_are_ended_and_reaped(tmp_path: Path) -> None:
    """Double forks, families of escaped ones and many at once: no process and no zombie stays."""
    facts = _facts(
        tmp_path,
        """
        await run(commands, "(setsid sh -c 'sleep 9 & sleep 9 & wait' &); setsid sleep 9 & setsid sleep 9 &")
        facts["forked"] = sorted(own_children())
        family = "setsid sh -c 'env -i setsid sleep 100 & echo $! > b; wait' & "
        await run(commands, family + "while [ ! -s b ]; do :; done")
        facts |= {"family": sorted(own_children()), "lives": lives("b")}
        """,
    )

    assert facts == {"forked": [], "family": [], "lives": False, "children": []}


@pytest.mark.fault(46)
def test_a_hundred_jobs_at_once_end_each_with_its_own_status(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Half of them end by themselves and half are killed, all at the same time."""
    facts = _facts(
        tmp_path,
        """
        held = len(os.listdir("/dev/fd"))
        jobs = [await start(commands, "sleep 100" if n % 2 else f"exit {n}") for n in range(100)]
        async with asyncio.TaskGroup() as group:
            ends = [group.create_task(job.kill() if n % 2 else job.wait()) for n, job in enumerate(jobs)]
        facts["codes"] = [end.result().exit_code for end in ends]
        facts["held"] = [held, len(os.listdir("/dev/fd"))]
        """,
    )

    assert facts["codes"] == [143 if n % 2 else n for n in range(100)]
    assert facts["held"][0] == facts["held"][1]
    assert facts["children"] == []
    record_property("figure", f"descriptors: {facts['held'][0]} before, {facts['held'][1]} after")


def test_an_orphan_of_a_running_neighbour_is_left_alone(tmp_path: Path) -> None:
    """A daemon belongs to the command that started it, marked or not, until that one ends."""
    facts = _facts(
        tmp_path,
        """
        escape = "(setsid sh -c 'echo $$ > marked; exec sleep 100' &); while [ ! -s marked ]; do :; done; "
        neighbour = await start(commands, escape + f"({ESCAPE.format(name='bare')}); touch ready; sleep 100")
        await run(commands, "while [ ! -e ready ]; do :; done")
        facts["after another"] = [lives("marked"), lives("bare")]
        await neighbour.kill()
        facts["after its own"] = [lives("marked"), lives("bare")]
        """,
    )

    assert facts == {"after another": [True, True], "after its own": [False, False], "children": []}


def test_an_orphan_that_may_be_a_neighbours_ends_at_the_latest_with_it(tmp_path: Path) -> None:
    """Without marks an orphan is spared while an older command runs, not for the sake of a younger one."""
    facts = _facts(
        tmp_path,
        """
        older = await start(commands, "sleep 100")
        await run(commands, ESCAPE.format(name="a"))
        facts["older runs"] = lives("a")
        await older.kill()
        facts["older ended"] = lives("a")
        escaping = await start(commands, ESCAPE.format(name="b") + "while [ ! -e go ]; do :; done")
        await run(commands, "while [ ! -s b ]; do :; done; sleep 0.05")
        younger = await start(commands, "sleep 100")
        Path("go").touch()
        await escaping.wait()
        facts["younger runs"] = lives("b")
        await run(commands, ESCAPE.format(name="c"))
        """,
    )

    assert facts == {"older runs": True, "older ended": False, "younger runs": False, "children": []}
    pid = int((tmp_path / "c").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_other_children_of_orch_are_not_touched(tmp_path: Path) -> None:
    """A process that another part of orch started in orch's own session keeps its life and its status."""
    facts = _facts(
        tmp_path,
        """
        living, dead = subprocess.Popen(["sleep", "100"]), subprocess.Popen(["sh", "-c", "exit 9"])
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        await run(commands, ESCAPE.format(name="a"))
        facts |= {"escaped": lives("a"), "living": living.poll(), "dead": dead.wait()}
        living.kill()
        living.wait()
        """,
    )

    assert facts == {"escaped": False, "living": None, "dead": 9, "children": []}


def test_without_a_free_descriptor_a_command_can_be_tried_again(tmp_path: Path) -> None:
    """Too many open files are no fault of the disk; once some are closed the next command runs."""
    facts = _facts(
        tmp_path,
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await run(commands, "true")
        except ToolError as error:
            facts["error"] = str(error)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        facts["exit"] = (await run(commands, "exit 6")).exit_code
        """,
    )

    refusal = "the command did not start: too many files are open. Try again later."
    assert facts == {"error": refusal, "exit": 6, "children": []}
