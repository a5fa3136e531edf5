"""Commands run to their end, within their limits, and leave nothing behind: with real processes."""

import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orch.errors import DiskRefused, ToolError
from orch.tools import process_log, process_tree, processes
from orch.tools.process_log import OUTPUT_LIMIT
from orch.tools.process_table import Sight, read_table, survivors
from orch.tools.processes import Finished, Job, Processes

pytestmark = pytest.mark.anyio
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

MARKER = f"m-processes-{os.getpid()}"  # whoever carries it is ended: no other test run may
FOREVER = "while :; do sleep 1; done"
DEAF = """import os, signal
for n in range(1, 32):
    n in (signal.SIGKILL, signal.SIGSTOP) or signal.signal(n, lambda *_: None)
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""
LIMIT_S = 10.0
NUMBERS = itertools.count()

Run = Callable[..., Awaitable[Finished]]
Record = Callable[[str, object], None]


@pytest.fixture
async def commands() -> AsyncIterator[Processes]:
    """Return a place to run commands that closes with the test, and check that it left nothing."""
    async with Processes({"PATH": os.environ["PATH"]}, MARKER) as opened:
        yield opened
    assert await _survivors() == ()


@pytest.fixture
def run(commands: Processes, tmp_path: Path) -> Run:
    """Return a `run` that needs the command only."""

    async def _run(command: str, timeout_s: float = LIMIT_S) -> Finished:
        async with asyncio.timeout(2 * LIMIT_S):
            return await commands.run(
                command, cwd=tmp_path, log=tmp_path / "logs/run.log", timeout_s=timeout_s
            )

    return _run


@pytest.fixture
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less long for who will not listen anyway."""
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    monkeypatch.setattr(processes, "FLOOD_GRACE_S", 0.1)
    monkeypatch.setattr(processes, "REAP_LIMIT_S", 0.5)


async def _start(commands: Processes, folder: Path, command: str) -> Job:
    """Start `command` and return when it said that it is ready (by its first output)."""
    job = await commands.start(command, cwd=folder, log=folder / f"{next(NUMBERS)}.log", timeout_s=60)
    async with asyncio.timeout(LIMIT_S):
        while job.running and not await job.tail(1):
            pass
    return job


async def _lives(pid: int) -> bool:
    process = (await asyncio.to_thread(read_table)).get(pid)
    return process is not None and not process.is_dead


def _first_number(finished: Finished) -> int:
    return int(finished.output.split()[0])


async def _survivors() -> tuple[int, ...]:
    return await asyncio.to_thread(survivors, MARKER)


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("true", 0),
        ("exit 3", 3),
        ("no-such-command", 127),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("-x", 127),
    ],
)
async def test_the_exit_status_is_exact(run: Run, command: str, exit_code: int) -> None:
    """The status is what a shell would say, 128 + the signal where one ended the command."""
    finished = await run(command)

    assert finished.exit_code == exit_code
    assert (finished.timed_out, finished.overflowed) == (False, False)


async def test_output_and_errors_stand_in_the_log_in_order(run: Run, tmp_path: Path) -> None:
    """Both streams go into one log, which only its owner can read; its folder is made."""
    finished = await run("echo one; echo two >&2; echo three; pwd")

    assert finished.output == f"one\ntwo\nthree\n{tmp_path}\n"
    assert finished.log.read_text() == finished.output
    assert finished.log.stat().st_mode & 0o777 == 0o600


async def test_a_log_that_exists_is_added_to(run: Run) -> None:
    """What another command wrote into the same log stays there and is not taken for this one's output."""
    first, second = await run("echo one"), await run("echo two")

    assert (first.output, second.output) == ("one\n", "two\n")
    assert second.log.read_text() == "one\ntwo\n"


@pytest.mark.fault(45)
async def test_there_is_nothing_to_read_and_no_terminal(run: Run) -> None:
    """A command that reads gets an end of file at once."""
    finished = await run("cat; test -t 0 || echo no terminal")

    assert finished.output == "no terminal\n"


async def test_children_see_the_given_environment_and_their_marks(run: Run) -> None:
    """Nothing of orch's own environment passes by itself."""
    finished = await run("env")
    seen = dict(line.split("=", 1) for line in finished.output.splitlines())

    assert seen["ORCH_MISSION"] == MARKER
    assert seen.keys() - {"_", "SHLVL", "OLDPWD"} == {"PATH", "PWD", "ORCH_MISSION", "ORCH_COMMAND"}


async def test_a_command_is_ended_at_its_limit(run: Run) -> None:
    """At its limit a command gets TERM, and is said to have timed out."""
    finished = await run(FOREVER, timeout_s=0.2)

    assert (finished.exit_code, finished.timed_out, finished.overflowed) == (143, True, False)


async def test_a_command_may_clean_up_before_it_is_killed(commands: Processes, tmp_path: Path) -> None:
    """A command that is to end is asked first; what it then says and how it exits counts."""
    job = await _start(commands, tmp_path, "trap 'echo bye; exit 7' TERM; echo ready; sleep 100 & wait")

    finished = await job.kill()

    assert (finished.exit_code, finished.output) == (7, "ready\nbye\n")


@pytest.mark.fault(42)
@pytest.mark.usefixtures("_short_grace")
@pytest.mark.parametrize(
    "stubborn",
    [
        "trap '' TERM INT HUP QUIT; sleep 100 & echo $!; wait",
        f"trap 'echo no' TERM INT HUP QUIT; echo $$; {FOREVER}",
        f"trap '' TERM INT HUP; (trap '' TERM; echo $BASHPID; {FOREVER}) & {FOREVER}",
        f"exec python3 -c '{DEAF}'",
    ],
)
async def test_a_command_that_ignores_signals_is_killed(
    commands: Processes, tmp_path: Path, record_property: Record, stubborn: str
) -> None:
    """After the grace nothing is asked any more, also not what the command waits for."""
    job = await _start(commands, tmp_path, stubborn)
    asked = time.monotonic()

    finished = await job.kill()

    record_property("figure", f"dead {time.monotonic() - asked - processes.GRACE_S:.2f} s after the grace")
    assert (finished.exit_code, finished.timed_out) == (137, False)
    assert not await _lives(_first_number(finished))


@needs_proc
@pytest.mark.fault(43)
@pytest.mark.parametrize(
    "leave",
    [
        "sleep 100 & echo $!",
        "nohup sleep 100 & echo $!",
        "sleep 100 & echo $!; disown",
        "setsid sh -c 'echo $$; exec sleep 100' & while [ ! -s /dev/stdout ]; do :; done",
        "(setsid sh -c 'echo $$; exec sleep 100' &) & while [ ! -s /dev/stdout ]; do :; done",
        f"setsid sh -c 'trap : TERM HUP; echo $$; {FOREVER}' & while [ ! -s /dev/stdout ]; do :; done",
        "mkfifo p; (sleep 100 > p) & echo $!",
        "(while :; do echo $BASHPID; done) & while [ ! -s /dev/stdout ]; do :; done",
    ],
)
async def test_what_a_command_leaves_behind_is_gone_when_it_returns(
    run: Run, record_property: Record, leave: str
) -> None:
    """Whoever holds the output, left the group or forked twice ends with its command, and holds nobody up."""
    began = time.monotonic()

    finished = await run(f"{leave}; exit 5")

    after_s = time.monotonic() - began - finished.duration_s
    record_property("figure", f"returns {after_s * 1000:.0f} ms after the command's exit")
    assert finished.exit_code == 5
    assert not await _lives(_first_number(finished))
    assert await _survivors() == ()


@needs_proc
@pytest.mark.usefixtures("_short_grace")
async def test_who_left_unmarked_is_found_in_the_tree(commands: Processes, tmp_path: Path) -> None:
    """A process that wiped its marks and left the group still hangs from the command when that is ended."""
    job = await _start(commands, tmp_path, f"env -i setsid sh -c 'trap : TERM; echo $$; {FOREVER}' & wait")

    finished = await job.kill()

    assert finished.exit_code == 143
    assert not await _lives(_first_number(finished))


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("flood", "exit_code"),
    [
        ("yes", 143),
        ("tr '\\0' x < /dev/zero", 143),  # no line ends
        ("cat /dev/urandom", 143),
        ("yes & wait", 143),
        ("trap '' TERM; yes", 137),
        ("trap '' TERM; setsid yes & wait", 137),
    ],
)
async def test_a_flood_of_output_ends_the_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, flood: str, exit_code: int
) -> None:
    """At the limit of the log the command is ended; log and output are bounded and say so."""
    for module in (process_log, processes):
        monkeypatch.setattr(module, "LOG_LIMIT_BYTES", 1 << 20)

    finished = await run(flood)

    assert (finished.overflowed, finished.exit_code) == (True, exit_code)
    assert finished.log.stat().st_size == 1 << 20
    assert len(finished.output) == OUTPUT_LIMIT
    assert finished.output.endswith("[orch ended this command: it wrote over 1 MiB]")


async def test_a_long_output_keeps_head_and_tail(run: Run) -> None:
    """What is handed on is bounded, names the log, and the log has everything."""
    finished = await run("seq 100000")

    assert len(finished.output) == OUTPUT_LIMIT
    assert finished.output.startswith("1\n2\n3\n")
    assert finished.output.endswith("99999\n100000\n")
    assert str(finished.log) in finished.output
    assert finished.log.read_text().splitlines() == [str(n) for n in range(1, 100_001)]


def _peak_kb() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def _fresh_peak_kb() -> int:
    """Count the peak of this process's memory from now on (proc(5), clear_refs); return it."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_kb()


@needs_proc
@pytest.mark.fault(31)
async def test_a_hundred_megabytes_end_the_command_and_stay_out_of_memory(
    run: Run, record_property: Record
) -> None:
    """The real limit: the log keeps what it may, the output its head and its tail, orch next to nothing."""
    before_kb = await asyncio.to_thread(_fresh_peak_kb)

    finished = await run("echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo last")

    grown_kb = await asyncio.to_thread(_peak_kb) - before_kb
    record_property("figure", f"100 MB of output: {grown_kb / 1024:.1f} MB more memory")
    assert grown_kb < 64 * 1024
    assert finished.log.stat().st_size == process_log.LOG_LIMIT_BYTES
    assert finished.output.startswith("first\nxxx")
    assert "[the log was cut at 64 MiB]" in finished.output
    assert len(finished.output) <= OUTPUT_LIMIT


@pytest.mark.fault(32)
async def test_binary_output_becomes_text(run: Run) -> None:
    """Random bytes, NUL and surrogates in UTF-8 come out as text that fits into a request."""
    finished = await run(r"printf 'a\0b\377\355\240\200'; head -c 5000 /dev/urandom")

    assert finished.output.startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}")
    assert json.loads(json.dumps(finished.output).encode()) == finished.output


async def test_fifty_at_once_keep_their_own_output_and_status(commands: Processes, tmp_path: Path) -> None:
    """Fifty commands side by side do not mix, and no descriptor is left open."""

    async def one(number: int) -> tuple[int, str]:
        log = tmp_path / f"{number}.log"
        finished = await commands.run(
            f"echo {number}; exit {number}", cwd=tmp_path, log=log, timeout_s=LIMIT_S
        )
        return finished.exit_code, finished.output

    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - counted, not walked
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(50)]

    assert [task.result() for task in tasks] == [(number, f"{number}\n") for number in range(50)]
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


@needs_proc
async def test_a_cancelled_run_leaves_nothing_wherever_it_is_cut(commands: Processes, tmp_path: Path) -> None:
    """Forty cuts at random instants, spawn included: the cancellation arrives and nothing lives on."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for number in range(40):
        log = tmp_path / f"{number}.log"
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0, 0.03)):
                await commands.run("setsid sleep 100 & sleep 100", cwd=tmp_path, log=log, timeout_s=60)
                pytest.fail("it cannot have ended")

        assert await _survivors() == ()


@pytest.mark.parametrize("command", ["echo \0", "x" * 3_000_000])
async def test_a_command_that_cannot_start_says_why(run: Run, command: str) -> None:
    """What the system refuses to start is an error for the model, and the next command runs."""
    with pytest.raises(ToolError, match="did not start"):
        await run(command)

    assert (await run("echo on")).output == "on\n"


async def test_a_folder_that_is_gone_is_named(commands: Processes, tmp_path: Path) -> None:
    """A command cannot run in a place that does not exist."""
    with pytest.raises(ToolError, match="gone"):
        await commands.run("true", cwd=tmp_path / "gone", log=tmp_path / "x.log", timeout_s=1)


async def test_a_log_that_cannot_be_written_is_the_disks_refusal(commands: Processes, tmp_path: Path) -> None:
    """Without a log there is no evidence: nothing is run."""
    (tmp_path / "file").touch()

    with pytest.raises(DiskRefused, match="log"):
        await commands.start("touch ran", cwd=tmp_path, log=tmp_path / "file/x.log", timeout_s=1)

    assert not (tmp_path / "ran").exists()


async def test_a_job_runs_until_it_is_killed(commands: Processes, tmp_path: Path) -> None:
    """A job shows its tail while it runs; killed, it has a status, and being killed again changes nothing."""
    job = await _start(commands, tmp_path, f"echo one; echo two; {FOREVER}")
    assert (job.running, job.finished) == (True, None)
    assert (await job.tail(1)) in ("one\n", "two\n")

    finished = await job.kill()

    assert (finished.exit_code, finished.output) == (143, "one\ntwo\n")
    assert (job.running, job.finished) == (False, finished)
    assert await job.kill() is await job.wait() is finished


async def test_a_jobs_limit_holds_though_nobody_waits(commands: Processes, tmp_path: Path) -> None:
    """A job is ended at its limit by itself; several may wait for it, and who stops waiting ends nothing."""
    job = await commands.start(FOREVER, cwd=tmp_path, log=tmp_path / "x.log", timeout_s=0.3)
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await job.wait()
    assert job.running

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        waiting = [group.create_task(job.wait()) for _ in range(2)]

    assert [task.result().timed_out for task in waiting] == [True, True]


@needs_proc
async def test_closing_ends_all_jobs(tmp_path: Path) -> None:
    """Whoever runs when it closes, stubborn or escaped, is gone afterwards; nothing starts any more."""
    async with Processes({"PATH": os.environ["PATH"]}, MARKER) as commands:
        jobs = [
            await _start(commands, tmp_path, command)
            for command in (
                f"echo; {FOREVER}",
                f"trap '' TERM; echo; {FOREVER}",
                "setsid sleep 100 & echo; wait",
            )
        ]

    codes = [job.finished.exit_code if job.finished else None for job in jobs]
    assert codes[:2] == [143, 137]
    assert codes[2] in (0, 143), "it waits for one that may be ended before it"
    assert await _survivors() == ()
    with pytest.raises(ToolError, match="stopping"):
        await commands.start("true", cwd=tmp_path, log=tmp_path / "x.log", timeout_s=1)


@needs_proc
async def test_closing_withstands_cancellation(tmp_path: Path) -> None:
    """Cancelled in its body and twice more while it closes, it still ends everything, then is cancelled."""
    running = asyncio.Event()

    async def body() -> None:
        async with Processes({"PATH": os.environ["PATH"]}, MARKER) as commands:
            await _start(commands, tmp_path, f"trap '' TERM; echo; {FOREVER}")
            running.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        task = group.create_task(body())
        await running.wait()
        for _ in range(3):
            task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            assert not task.done()

    assert task.cancelled()
    assert await _survivors() == ()


async def test_an_error_of_the_body_goes_on_as_it_is() -> None:
    """What the body raises is not wrapped."""
    with pytest.raises(ValueError, match=r"^mine$"):
        async with Processes({}, MARKER):
            raise ValueError("mine")


async def test_without_a_pidfd_a_thread_waits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no pidfd, or no descriptor is left, exits and limits are noticed all the same."""
    monkeypatch.setattr(process_tree, "open_exit_fd", lambda _: None)

    assert (await run("echo hi; exit 3")).exit_code == 3
    assert (await run(FOREVER, timeout_s=0.2)).exit_code == 143


@pytest.mark.usefixtures("_short_grace")
async def test_without_proc_the_group_is_ended(
    commands: Processes, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only groups can be seen (macOS), whoever stays in the group ends with its command."""
    monkeypatch.setattr(process_tree, "sight", lambda: Sight.GROUP)
    monkeypatch.setattr(process_tree, "open_exit_fd", lambda _: None)
    job = await _start(commands, tmp_path, "trap '' TERM; sleep 100 & echo $!; wait")

    left = await run("nohup sleep 100 & echo $!")
    ended = await job.kill()

    assert (left.exit_code, ended.exit_code) == (0, 137)
    assert not await _lives(_first_number(left))
    assert not await _lives(_first_number(ended))
