"""Commands that want somebody: nobody answers, no terminal is there, and they return all the same."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orch.tools.child_environment import child_environment
from orch.tools.processes import Processes
from tests.tools.office import A, Office, opened, spec

pytestmark = pytest.mark.anyio

HINT = "hint: it seems to have asked for input"
PYTHON = sys.executable


async def _said(office: Office, command: str, timeout_s: float = 10.0) -> str:
    return (await office.call(office.desk("S3"), "bash", command=command, timeout_s=timeout_s)).text


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    ("command", "exit_code", "is_hinted"),
    [
        ("cat", 0, False),
        ("read -p 'Go on? [y/n] ' x; echo \"<$x>\"", 0, False),
        (f"{PYTHON} -i", 0, False),
        (f"{PYTHON} -c 'input(\"Name: \")'", 1, True),
        (f"{PYTHON} -c 'import getpass; getpass.getpass()'", 1, True),
        ("echo 'Password: ' > /dev/tty", 1, True),
        ("exec 3<>/dev/tty && read -u 3 x", 1, True),
        (f"{PYTHON} -c 'import os; os.ctermid(); os.open(\"/dev/tty\", 2)'", 1, True),
        ("tty", 1, True),
        ("stty size", 1, True),
        ("test -t 0 || test -t 1 || test -t 2", 1, False),
        ("git init -q . && git add a.txt; git -c user.name=a -c user.email=a@b.c commit", 1, True),
        ("${EDITOR} a.txt && ${VISUAL} a.txt && echo a | ${PAGER}", 0, False),
        ("[ ! -e /proc/$$/stat ] || [ $(cut -d' ' -f7 /proc/$$/stat) = 0 ]", 0, False),
    ],
)
async def test_who_waits_for_a_person_returns_with_a_hint(
    tmp_path: Path, command: str, exit_code: int, is_hinted: bool
) -> None:
    """Input is at its end at once, `/dev/tty` leads nowhere, and the result says what to do instead."""
    (tmp_path / "a.txt").write_text("a\n")
    environment = child_environment({"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    async with (
        Processes(environment, f"unattended-{os.getpid()}") as processes,
        opened(tmp_path, spec("a")) as office,
    ):
        office.place = replace(office.place, processes=processes)
        await office.worker(A)
        await office.reviewer(A)

        said = await _said(office, command)

    assert f"exit {exit_code} " in said.splitlines()[0], said
    assert (HINT in said) == is_hinted, said


@pytest.mark.fault(45)
async def test_a_prompt_that_waits_for_ever_ends_at_its_limit(tmp_path: Path) -> None:
    """Whoever asks on a channel of its own is ended, with the hint that fits what it said last."""
    async with opened(tmp_path) as office:
        await office.worker(A)
        await office.reviewer(A)

        asked = await _said(office, 'mkfifo p; echo "root\'s password: "; cat < p', timeout_s=1.0)
        silent = await _said(office, "sleep 100", timeout_s=1.0)

    assert "ended by orch: it ran longer than 1 s" in asked
    assert HINT in asked
    assert "hint: what has to run for longer belongs into run_background" in silent
