"""Commands: each runs to its end, within its limits, and leaves no process behind.

Theory of operation. A command writes straight into its log, so its output costs orch nothing and whoever
keeps it open holds nobody up. A task in the group of `Processes` drives each command from spawn to the last
look and is never cancelled by a caller: who cancels a `run` asks for the end, waits till the command is
verified gone, and goes on with its cancellation then. What blocks happens in one thread, one after another,
because reaping and signalling must not overlap (see `process_tree`). Every wait has a limit; a process that
could not be ended in time is named in the output. `ToolError` says why a command did not start,
`DiskRefused` that its log cannot be written.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from orch.errors import OrchError, ToolError
from orch.mission.redaction import SHORTEST
from orch.tools.process_log import LOG_LIMIT_BYTES, last_lines, log_size, read_output
from orch.tools.process_table import SWEEP_LIMIT_S
from orch.tools.process_tree import Child, ProcessTree

GRACE_S = 1.0
"""Between asking a command to end and ending it."""
FLOOD_GRACE_S = 0.2
"""The same for one that floods its log: whatever it writes meanwhile takes space on the disk."""
REAP_LIMIT_S = 1.0
"""Until what was killed is gone; longer only in an uninterruptible wait of the kernel."""
ENDING_LIMIT_S = GRACE_S + REAP_LIMIT_S + 0.5
"""Until a command that is to end is gone and its output read; the rest is for the queue to the thread."""
CLOSE_LIMIT_S = ENDING_LIMIT_S + SWEEP_LIMIT_S
"""Until `Processes` is closed, whatever runs."""

_LOOK_S, _LOOK_MAX_S, _LOOK_GROWTH = 0.05, 0.25, 1.5
"""How often the size of a running command's log is looked at."""
_GONE_LOOK_S, _GONE_LOOK_MAX_S = 0.002, 0.05
"""How often it is looked whether what was signalled is gone."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished:
    """One command that ran to its end.

    `exit_code` is exact, 128 + the signal where one ended it. `output` is within `OUTPUT_LIMIT`, usable
    anywhere, and names `log` where it was cut; the log holds everything up to `LOG_LIMIT_BYTES`.
    `overflowed`: orch ended it because it wrote more than that. `log_start` is where its output begins in the
    log, `None` if it never ran; `notes` are orch's own words at the end of `output`.
    """

    exit_code: int
    duration_s: float
    output: str
    log: Path
    timed_out: bool
    overflowed: bool
    log_start: int | None = None
    notes: str = ""


class _Ending(StrEnum):
    """Why a command is over."""

    EXITED = "exited"
    KILLED = "killed"
    TIMED_OUT = "timed out"
    OVERFLOWED = "overflowed"


class _Keeper:
    """The thread that owns the process tree."""

    def __init__(self, marker: str, secrets: Collection[str]) -> None:
        self.tree = ProcessTree(marker)
        self.secrets = tuple(secret.encode() for secret in secrets if len(secret) >= SHORTEST)
        self.is_hurried = False
        self._thread = ThreadPoolExecutor(1, "orch-commands")

    def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Let the thread call `function`, after all it was asked for before."""
        return asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def dismiss(self) -> None:
        """Let the thread end once it has nothing left to do."""
        self._thread.shutdown(wait=False)


class Job:
    """A command that runs, or ran. `started` is a time of `time.monotonic`."""

    def __init__(self, command: str, *, log: Path, timeout_s: float, keeper: _Keeper) -> None:
        self.command = command
        self.log = log
        self.timeout_s = timeout_s
        self.started = time.monotonic()
        self.finished: Finished | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing of it lives any more, however it ended."""
        self._keeper = keeper
        self._spawned = asyncio.Event()
        self._woken = asyncio.Event()
        self._refused: OrchError | None = None
        self._exited_at: float | None = None
        self._is_to_end = False

    @property
    def running(self) -> bool:
        """Whether it, or anything that it left behind, may still live."""
        return not self.over.done()

    async def wait(self) -> Finished:
        """Return how it ended, once it has. To cancel this leaves the job alone: it has its own limits."""
        await asyncio.wait({self.over})
        return self._outcome()

    async def kill(self) -> Finished:
        """End it with all it started and return when that is gone, also when cancelled meanwhile."""
        await self.end()
        return self._outcome()

    async def tail(self, lines: int) -> str:
        """Return the last lines of its output so far, within `OUTPUT_LIMIT`."""
        return await asyncio.to_thread(last_lines, self.log, lines)

    def ask_to_end(self) -> None:
        """Have it ended by its driver, soon."""
        self._is_to_end = True
        self._woken.set()

    async def end(self) -> None:
        """Have it ended and wait for that, also when cancelled meanwhile; say nothing of how."""
        self.ask_to_end()
        await _outlast({self.over}, ENDING_LIMIT_S)

    async def launched(self) -> None:
        """Wait until it runs, or raise why it does not."""
        await self._spawned.wait()
        if self._refused is not None:
            raise self._refused

    async def drive(self, argv: list[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        """See it through from its spawn to the last look. Exactly one task does this."""
        keeper, tree = self._keeper, self._keeper.tree
        try:
            child = await keeper.do(tree.spawn, argv, cwd=cwd, environment=environment, log=self.log)
            self._spawned.set()
            with self._exit_noticed(child):
                ending = await self._watch(child)
                resisting = await self._clear(child, ending)
            await self._conclude(child, ending, resisting)
        except OrchError as error:
            self._refused = error
        finally:
            self._spawned.set()
            self.over.set_result(None)

    def _outcome(self) -> Finished:
        if self._refused is not None:
            raise self._refused
        if self.finished is None:
            raise ToolError(f"the command could not be ended in time and may still run: {self.command}")
        return self.finished

    @contextlib.contextmanager
    def _exit_noticed(self, child: Child) -> Iterator[None]:
        """Have the exit of `child` wake the driver."""
        loop, descriptor = asyncio.get_running_loop(), child.exit_fd
        if descriptor is None:
            threading.Thread(target=self._wait_in_thread, args=(child, loop), daemon=True).start()
            yield
            return
        loop.add_reader(descriptor, self._note_exit, descriptor)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _wait_in_thread(self, child: Child, loop: asyncio.AbstractEventLoop) -> None:
        child.popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._note_exit)

    def _note_exit(self, descriptor: int | None = None) -> None:
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
        self._exited_at = time.monotonic()
        self._woken.set()

    async def _watch(self, child: Child) -> _Ending:
        """Wait until `child` exits or has to be ended."""
        deadline = self.started + self.timeout_s
        pause_s = _LOOK_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause_s, deadline - time.monotonic())):
                    await self._woken.wait()
            if self._exited_at is not None:
                return _Ending.EXITED
            if self._is_to_end:
                return _Ending.KILLED
            if time.monotonic() >= deadline:
                return _Ending.TIMED_OUT
            if await self._keeper.do(log_size, self.log, child.log_start) > LOG_LIMIT_BYTES:
                return _Ending.OVERFLOWED
            pause_s = min(pause_s * _LOOK_GROWTH, _LOOK_MAX_S)

    async def _clear(self, child: Child, ending: _Ending) -> frozenset[int]:
        """End what is left of `child`, asking first if it did not exit by itself; return what resists."""
        if ending is not _Ending.EXITED:
            grace_s = FLOOD_GRACE_S if ending is _Ending.OVERFLOWED else GRACE_S
            await self._strike(child, signal.SIGTERM, grace_s)
        return await self._strike(child, signal.SIGKILL, REAP_LIMIT_S)

    async def _strike(self, child: Child, signum: int, limit_s: float) -> frozenset[int]:
        strike = self._keeper.tree.strike
        deadline = time.monotonic() + limit_s
        pause_s = _GONE_LOOK_S
        living = await self._keeper.do(strike, child, signum)
        while living and time.monotonic() < deadline:
            if self._keeper.is_hurried and signum == signal.SIGTERM:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _GONE_LOOK_MAX_S)
            # Killing again is harmless and meets the newly born; asking again would be understood as "now".
            living = await self._keeper.do(strike, child, signum if signum == signal.SIGKILL else 0)
        return living

    async def _conclude(self, child: Child, ending: _Ending, resisting: frozenset[int]) -> None:
        overflowed = ending is _Ending.OVERFLOWED
        notes = (
            f"\n[orch ended this command: it wrote over {LOG_LIMIT_BYTES >> 20} MiB]" if overflowed else ""
        )
        if resisting:
            notes += f"\n[orch could not end all of its processes: {', '.join(map(str, sorted(resisting)))}]"
        output = await self._keeper.do(self._let_go, child, notes)
        exited_at = time.monotonic() if self._exited_at is None else self._exited_at
        self.finished = Finished(
            exit_code=child.exit_code,
            duration_s=exited_at - self.started,
            output=output,
            log=self.log,
            timed_out=ending is _Ending.TIMED_OUT,
            overflowed=overflowed,
            log_start=child.log_start,
            notes=notes,
        )

    def _let_go(self, child: Child, notes: str) -> str:
        """Forget `child` and return its output. In the keeper's thread."""
        self._keeper.tree.forget(child)
        return read_output(self.log, child.log_start, notes, self._keeper.secrets)


class Processes:
    """Runs the commands of one mission. One per process; leaving its context ends everything.

    `environment` is all that the children get, but for `marker` (as `ORCH_MISSION`) and a mark of their own.
    `secrets` are struck out of the logs when their commands are over.
    """

    def __init__(self, environment: Mapping[str, str], marker: str, secrets: Collection[str] = ()) -> None:
        self._environment = dict(environment)
        self._keeper = _Keeper(marker, secrets)
        self._drivers = asyncio.TaskGroup()
        self._jobs: set[Job] = set()
        self._shell = "sh"
        self._is_closing = False

    async def __aenter__(self) -> Self:
        self._shell = await self._keeper.do(_find_shell, self._environment.get("PATH"))
        await self._drivers.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all commands at once, then whatever is left of any; bounded by `CLOSE_LIMIT_S`."""
        self._is_closing = True
        for job in self._jobs:
            job.ask_to_end()
        try:
            await _outlast({job.over for job in self._jobs}, ENDING_LIMIT_S)
        finally:
            try:
                await _outlast({self._keeper.do(self._keeper.tree.end_all)}, SWEEP_LIMIT_S)
            finally:
                # Without the body's error: all drivers are done, and it goes on by itself.
                await self._drivers.__aexit__(None, None, None)
                self._keeper.dismiss()

    def hurry(self) -> None:
        """Give no command any time to end by itself, from now on."""
        self._keeper.is_hurried = True

    async def run(self, command: str, *, cwd: Path, log: Path, timeout_s: float) -> Finished:
        """Run `command` to its end. Cancelled, it is ended and gone before the cancellation goes on.

        Raises:
            ToolError: it did not start.
            DiskRefused: its log cannot be written.
        """
        job = await self.start(command, cwd=cwd, log=log, timeout_s=timeout_s)
        try:
            return await job.wait()
        except asyncio.CancelledError:
            await job.end()
            raise

    async def start(self, command: str, *, cwd: Path, log: Path, timeout_s: float) -> Job:
        """Start `command` and return once it runs; its limits hold whether or not anybody waits for it.

        Raises:
            ToolError: it did not start.
            DiskRefused: its log cannot be written.
        """
        if self._is_closing:
            raise ToolError("orch is stopping: no more commands are started.")
        job = Job(command, log=log, timeout_s=timeout_s, keeper=self._keeper)
        argv = [self._shell, "-c", "--", command]
        self._drivers.create_task(
            job.drive(argv, cwd=cwd, environment=self._environment), name=f"job {log.name}"
        )
        self._jobs.add(job)
        job.over.add_done_callback(lambda _: self._jobs.discard(job))
        try:
            await job.launched()
        except asyncio.CancelledError:
            await job.end()
            raise
        return job


def _find_shell(path: str | None) -> str:
    """Return bash where the commands' own PATH has it; never one that a relative PATH would pick up."""
    bash = shutil.which("bash", path=path)
    return bash if bash is not None and Path(bash).is_absolute() else "/bin/sh"


async def _outlast(futures: set[asyncio.Future[Any]], limit_s: float) -> None:
    """Wait for `futures` through any cancellation, which is raised at the end; for `limit_s` at most."""
    deadline = time.monotonic() + limit_s
    interruption: asyncio.CancelledError | None = None
    pending = {future for future in futures if not future.done()}
    while pending and (left_s := deadline - time.monotonic()) > 0:
        try:
            _, pending = await asyncio.wait(pending, timeout=left_s)
        except asyncio.CancelledError as error:
            interruption = error
            pending = {future for future in pending if not future.done()}
    if interruption is not None:
        raise interruption
