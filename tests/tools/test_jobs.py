"""Background jobs, again and again: each ends as it should, has its own id, and leaves nothing behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.errors import ToolError
from orch.mission import events as ev
from orch.tools import shell
from orch.tools.process_table import own_children
from orch.tools.processes import Processes
from tests.tools.office import A, opened

pytestmark = pytest.mark.anyio

CYCLES = 100
LIMIT_S = 30.0
Record = Callable[[str, object], None]


def _held() -> tuple[int, int, int]:
    """Return what this process has: open descriptors, children, threads."""
    return len(os.listdir("/dev/fd")), len(own_children()), len(os.listdir("/proc/self/task"))  # noqa: PTH208


@pytest.fixture
async def commands() -> AsyncIterator[Processes]:
    """Return a place to run commands that closes with the test."""
    async with (
        asyncio.timeout(LIMIT_S),
        Processes({"PATH": os.environ["PATH"]}, f"m-jobs-{os.getpid()}") as opened_,
    ):
        yield opened_


@pytest.mark.fault(46)
async def test_descriptors_and_processes_stay_flat(
    commands: Processes, tmp_path: Path, record_property: Record
) -> None:
    """Ended, killed, flooding or fathers of daemons: a hundred cycles hold no more than ten did."""
    kinds = ("exit 3", "sleep 100", "yes x | head -c 100000", "setsid sleep 100 & exit 0")
    seen = []
    for cycle in range(CYCLES):
        log = tmp_path / f"{cycle}.log"
        job = await commands.start(kinds[cycle % 4], cwd=tmp_path, log=log, timeout_s=LIMIT_S)
        finished = await (job.kill() if cycle % 4 == 1 else job.wait())
        assert finished.exit_code == (3, 143, 0, 0)[cycle % 4]
        if cycle % 10 == 9:
            seen.append(await asyncio.to_thread(_held))

    assert commands._jobs == set()
    assert seen[-1] <= max(seen[:2])
    record_property("figure", f"{CYCLES} cycles: {seen[0][0]} descriptors, then {seen[-1][0]}")


acts = st.sampled_from(
    ["start", "start a long one", "kill", "kill again", "check", "list", "kill a stranger"]
)


@pytest.mark.fault(46)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(acts, min_size=4, max_size=14))
async def test_whatever_a_reviewer_does_with_its_jobs_each_is_recorded_once(
    tmp_path_factory: pytest.TempPathFactory, what: list[str]
) -> None:
    """Ids never repeat, a job that has ended is evidence exactly once, and nothing lives afterwards."""
    async with opened(tmp_path_factory.mktemp("office")) as office:
        await office.worker(A)
        desk = await office.reviewer(A)
        running: list[str] = []
        started: list[str] = []
        for act in what:
            if act.startswith("start"):
                command = "sleep 100" if "long" in act else "true"
                said = (await office.call(desk, "run_background", command=command)).text
                started.append(said.split()[1])
                running += [started[-1]] if "long" in act else []
            elif act == "list":
                listed = (await office.call(desk, "list_background")).text
                assert all(job in listed for job in started)
            elif act == "kill a stranger":
                with pytest.raises(ToolError, match="no job"):
                    await office.call(desk, "kill_background", job_id="S9-job1")
            elif started:
                job = running.pop() if act == "kill" and running else started[-1]
                tool = "check_background" if act == "check" else "kill_background"
                said = (await office.call(desk, tool, job_id=job)).text
                if tool == "kill_background":
                    assert said.startswith("evidence E")
                    running = [other for other in running if other != job]
        for job in started:
            await office.call(desk, "kill_background", job_id=job)

        assert len(set(started)) == len(started)
        proofs = office.all(ev.EvidenceRecorded)
        assert sorted(proof.log.removesuffix(".log") for proof in proofs) == sorted(started)
        assert len({proof.evidence for proof in proofs}) == len(proofs)
    assert len(started) <= shell.MAX_JOBS
