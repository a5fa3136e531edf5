"""What the platform shows of processes, and what it can be asked for: the one place that knows.

On Linux /proc shows parents, groups, sessions and environments, a subreaper adopts orphans and a pidfd tells
of an exit; elsewhere a process group is all there is, see `Sight`. A process that vanishes while it is
looked at, or is closed to us, is as if it were not there: nothing here raises for it. Everything blocks.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

MISSION_MARK = "ORCH_MISSION"
COMMAND_MARK = "ORCH_COMMAND"
"""Variables in the environment of every command: its mission, and the command itself."""

SWEEP_LIMIT_S = 0.5
"""How long it may take until all that was killed is gone."""
SWEEP_PAUSE_S = 0.005
FILES_WANTED = 8_192
"""Open files that are enough for any number of sessions; some programs close all that they might have."""

_READ_BYTES = 65_536
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 4, 36, 37  # linux/prctl.h
_EXEC_LOOKS, _EXEC_PAUSE_S = 5, 0.001
"""How often to look again at a process in the midst of an exec."""

Identity = tuple[int, int]
"""Pid and start: the pid alone may mean another process later."""


class Sight(StrEnum):
    """What this platform shows of the processes a command leaves behind."""

    GROUP = "group"
    """No /proc (macOS): only its process group; what left the group is out of reach."""
    MARKED = "marked"
    """/proc: also what carries its marker, or was seen beneath it before it was ended."""
    ADOPTED = "adopted"
    """/proc, and orphans become orch's own children (a subreaper, or pid 1): everything."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat; `start` in clock ticks since boot, `is_dead` until its parent reaps it."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    is_dead: bool

    @property
    def identity(self) -> Identity:
        """What tells this process from a later one with its number."""
        return (self.pid, self.start)


def sight() -> Sight:
    """Say what this platform shows."""
    if not Path("/proc/self/task").is_dir():
        return Sight.GROUP
    adopts = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)
    return Sight.ADOPTED if adopts.value or os.getpid() == 1 else Sight.MARKED


def harden_self() -> None:
    """Hide orch's own environment from its children, adopt their orphans, dump no core.

    To be called once, before the first command. What a platform does not have is left out.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def raise_file_limit() -> int:
    """Allow this process as many open files as it may need; return how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS has a lower limit of its own
        return soft
    return wanted


def survivors(marker: str, logs: Path | None = None) -> tuple[int, ...]:
    """Return the pids of the mission's children that live, but for the caller's; none without /proc.

    One that wiped its marks still has its output, if it did not close that too: with `logs`, what has a log
    of the mission open for writing counts as well.
    """
    folder = None if logs is None else f"{os.path.realpath(logs)}/"
    found = (pid for pid in _numbers("/proc") if _is_left(pid, marker, folder))
    return tuple(sorted(set(found) - {os.getpid()}))


def end_survivors(marker: str, logs: Path | None = None) -> tuple[int, ...]:
    """Kill what a crashed orch left of its mission, wait till it is gone, return the pids that resist."""
    folder = None if logs is None else f"{os.path.realpath(logs)}/"
    deadline = time.monotonic() + SWEEP_LIMIT_S
    while (living := survivors(marker, logs)) and time.monotonic() < deadline:
        for pid in living:
            send_if(pid, signal.SIGKILL, partial(_is_left, pid, marker, folder))
        time.sleep(SWEEP_PAUSE_S)
    return living


def _is_left(pid: int, marker: str, logs: str | None) -> bool:
    if _value(_environment(pid), MISSION_MARK) == marker:
        return True
    return logs is not None and any(_is_written(pid, number, logs) for number in _numbers(f"/proc/{pid}/fd"))


def _is_written(pid: int, number: int, logs: str) -> bool:
    """Say whether a descriptor of a process writes to a file beneath `logs`: who only reads one is nobody."""
    try:
        if not str(Path(f"/proc/{pid}/fd/{number}").readlink()).startswith(logs):
            return False
    except OSError:
        return False
    flags = _read(f"/proc/{pid}/fdinfo/{number}").partition(b"flags:")[2].split()[:1]
    return bool(flags) and int(flags[0], 8) & os.O_ACCMODE != os.O_RDONLY


def command_of(pid: int) -> str | None:
    """Return which command marked `pid`; `None` where its environment was wiped or is closed to us."""
    for _ in range(_EXEC_LOOKS):
        environment = _environment(pid)
        if environment or not _is_in_exec(pid):
            return _value(environment, COMMAND_MARK)
        time.sleep(_EXEC_PAUSE_S)
    return None


def read_table(pids: Iterable[int] | None = None) -> dict[int, Process]:
    """Return what can be seen of `pids`, or of all processes."""
    lines = (_read(f"/proc/{pid}/stat") for pid in (_numbers("/proc") if pids is None else pids))
    return {process.pid: process for process in map(parse_stat, filter(None, lines))}


def parse_stat(line: bytes) -> Process:
    """Read one /proc/PID/stat; the name in it may hold anything, also blanks and brackets."""
    pid = line.partition(b" ")[0]
    fields = [pid, b"", *line.rpartition(b") ")[2].split()]
    parent, group, session, start = (int(fields[i]) for i in (3, 4, 5, 21))  # proc(5) counts from 1
    return Process(int(pid), parent, group, session, start, is_dead=fields[2] in b"ZX")


def descendants(table: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """Return the pids beneath `roots` in `table`, the roots themselves left out."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    known = set(roots)
    level = found = known.copy()
    while level:
        level = {pid for parent in level for pid in children.get(parent, ())} - found
        found = found | level
    return found - known


def own_children() -> set[int]:
    """Return the pids of this process's children, adopted ones and dead ones included."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():  # a kernel without CONFIG_PROC_CHILDREN
        return {process.pid for process in read_table().values() if process.parent == os.getpid()}
    tasks = _numbers("/proc/self/task")
    return {int(pid) for task in tasks for pid in _read(f"/proc/self/task/{task}/children").split()}


def ticks_now() -> int:
    """Return the time since boot in the unit of `Process.start`; 0 where no process has one."""
    if sys.platform != "linux":
        return 0
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 1_000_000_000


def open_exit_fd(pid: int) -> int | None:
    """Return a descriptor that turns readable when `pid` exits; `None` where there is none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an older kernel, a sandbox, or no descriptor left
        return None


def send(pid: int, signum: int) -> None:
    """Signal a process, if it is still there and may be signalled."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def send_if(pid: int, signum: int, is_it: Callable[[], bool]) -> None:
    """Signal a process that `is_it` still says is the right one, and never a later one with its number."""
    descriptor = open_exit_fd(pid)
    if descriptor is None:
        if is_it():
            send(pid, signum)
        return
    try:
        if is_it() and sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, signum)
    finally:
        os.close(descriptor)


def send_group(group: int, signum: int) -> bool:
    """Signal a group; say whether it has a member to reach (macOS refuses a group of the dead)."""
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _numbers(folder: str) -> list[int]:
    try:
        with os.scandir(folder) as entries:
            return [int(entry.name) for entry in entries if entry.name.isdigit()]
    except OSError:
        return []


def _is_in_exec(pid: int) -> bool:
    """Say whether the end of its environment (field 51) is not set: so it is for some microseconds."""
    return _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()[48:49] == [b"0"]


def _environment(pid: int) -> bytes:
    return _read(f"/proc/{pid}/environ")


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(descriptor, _READ_BYTES), b""))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _value(environment: bytes, name: str) -> str | None:
    wanted = f"{name}=".encode()
    values = (entry[len(wanted) :] for entry in environment.split(b"\0") if entry.startswith(wanted))
    return next((os.fsdecode(value) for value in values), None)
