"""The commands of a mission and whatever they started in turn: spawn, look, signal, reap.

Theory of operation. Every command leads a session and a group of its own and carries `ORCH_MISSION` and
`ORCH_COMMAND` in its environment. What leaves the group (`setsid`, a double fork) is found again by what
the platform shows, see `process_table.Sight`. Where orch is a subreaper, the kernel hands every orphan to
orch: a child that orch did not start is one, and "no such child" proves that nothing is left. An orphan is
told from those of other commands by its group, its marker, its place in the tree when that was last seen,
or, with all of that gone, by its age: no command has left what started before it. What may be of a command
that still runs is spared until that one ends.

Everything here blocks, and a `ProcessTree` belongs to one thread: no process is reaped (its number free to
mean another) between a look at it and a signal to it. Nothing raises but `spawn`; a process that resists is
among the pids returned.
"""

import errno
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from orch.errors import DiskRefused, ToolError
from orch.tools.process_table import (
    COMMAND_MARK,
    MISSION_MARK,
    SWEEP_LIMIT_S,
    SWEEP_PAUSE_S,
    Identity,
    Process,
    Sight,
    command_of,
    descendants,
    open_exit_fd,
    own_children,
    read_table,
    send,
    send_group,
    sight,
    survivors,
    ticks_now,
)

TREE_AGE_S, ORPHANS_AGE_S = 0.01, 0.05
"""How old a table of processes may be, so that fifty commands that end together share one.

The tree beneath a command is lost once it is signalled; what an orphan has beneath it comes to orch later.
"""


@dataclass(slots=True, eq=False)
class Child:
    """A command that was started.

    `log_start` is where its output begins in its log; `exit_fd` turns readable when it exits (`None`: wait
    in a thread); `start` and `end` (once it was reaped) are in clock ticks since boot; `seen` is what lived
    beneath it.
    """

    mark: str
    popen: subprocess.Popen[bytes]
    start: int
    log_start: int
    exit_fd: int | None
    end: int | None = None
    seen: set[Identity] = field(default_factory=set)

    @property
    def pid(self) -> int:
        """Its number, and that of its group and its session."""
        return self.popen.pid

    @property
    def exit_code(self) -> int:
        """Its status as a shell says it; as killed while it has none."""
        status = self.popen.returncode
        if status is None:
            return 128 + signal.SIGKILL
        return status if status >= 0 else 128 - status


class ProcessTree:
    """All commands of one mission with what they left behind. One per process, used from one thread."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._running: dict[str, Child] = {}
        self._owners: dict[Identity, str | None] = {}
        self._table: dict[int, Process] = {}
        self._table_taken = 0.0

    @cached_property
    def _sight(self) -> Sight:
        return sight()

    def spawn(self, argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path) -> Child:
        """Start `argv` with its output going straight to the end of `log`, and nothing to read.

        Raises:
            ToolError: the command cannot be started (too long, no such folder, no more processes).
            DiskRefused: the log cannot be written.
        """
        output = _open_log(log)
        mark = secrets.token_hex(8)
        marks = {MISSION_MARK: self._marker, COMMAND_MARK: mark, "PWD": str(cwd)}
        start, log_start = ticks_now(), os.fstat(output).st_size
        try:
            popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**environment, **marks},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ToolError(f"the command did not start in {cwd}: {error}. Nothing ran.") from error
        finally:
            os.close(output)
        child = Child(mark, popen, start, log_start, open_exit_fd(popen.pid))
        self._running[mark] = child
        return child

    def strike(self, child: Child, signum: int) -> frozenset[int]:
        """Send `signum` to all that is left of `child` (0: to none), reap, and return who still lived."""
        if signum == signal.SIGTERM:
            self._end_tree(child, signum)
        # Until its leader is reaped, the number of a group cannot come to mean another one.
        if child.popen.returncode is None or self._sight is Sight.GROUP:
            send_group(child.pid, signum)
        living = {child.pid} if child.popen.poll() is None else set()
        if not living and child.end is None:
            child.end = ticks_now()
        if self._sight is Sight.GROUP and send_group(child.pid, 0):
            living.add(child.pid)
        for process in self._left_behind(child):
            send(process.pid, signum)
            living.add(process.pid)
        return frozenset(living)

    def forget(self, child: Child) -> None:
        """Count `child` among the running no longer: it is gone, or resists."""
        self._running.pop(child.mark, None)
        if not self._running:
            self._owners.clear()

    def end_all(self) -> tuple[int, ...]:
        """Kill all that is left of every command, wait till it is gone, return the pids that resist."""
        deadline = time.monotonic() + SWEEP_LIMIT_S
        while (living := self._kill_all()) and time.monotonic() < deadline:
            time.sleep(SWEEP_PAUSE_S)
        return tuple(sorted(living))

    def _kill_all(self) -> set[int]:
        living: set[int] = set()
        for child in tuple(self._running.values()):
            left = self.strike(child, signal.SIGKILL)
            living |= left
            if not left:
                self.forget(child)
        strays = self._strays() - living
        for pid in strays:
            send(pid, signal.SIGKILL)
        return living | strays

    def _strays(self) -> set[int]:
        """Return what is left of the whole mission, apart from its running commands themselves."""
        if self._sight is Sight.ADOPTED:
            return set(self._orphans())
        return set(survivors(self._marker))

    def _end_tree(self, child: Child, signum: int) -> None:
        """Signal what left the group, and note all beneath `child` while the chain of parents still tells."""
        if self._sight is Sight.GROUP:
            return
        table = self._table_of({child.pid}, TREE_AGE_S)
        beneath = [table[pid] for pid in descendants(table, [child.pid])]
        child.seen |= {process.identity for process in beneath}
        for process in beneath:
            if process.group != child.pid:
                send(process.pid, signum)

    def _left_behind(self, child: Child) -> list[Process]:
        if self._sight is Sight.GROUP:
            return []
        if self._sight is Sight.ADOPTED:
            candidates = self._orphans()
        else:
            later = (process for process in read_table().values() if process.start >= child.start)
            candidates = {p.pid: p for p in later if p.pid != child.pid and not p.is_dead}
        roots = [process.pid for process in candidates.values() if self._belongs(process, child)]
        mine = [candidates[pid] for pid in {*roots, *descendants(candidates, roots)}]
        child.seen |= {process.identity for process in mine}
        return mine

    def _orphans(self) -> dict[int, Process]:
        """Reap the dead that were left to orch; return the living, with all that lives beneath them.

        What is of orch's own session was started by another part of orch and is none of ours: a command
        leads a session of its own, from which there is no way back.
        """
        started = {child.pid for child in self._running.values() if child.popen.returncode is None}
        adopted = own_children() - started
        if not adopted:
            return {}
        table = self._table_of(adopted, ORPHANS_AGE_S)
        session = os.getsid(0)
        strays = [pid for pid in adopted if pid in table and table[pid].session != session]
        living = [pid for pid in strays if not _reap(pid)]
        return {pid: table[pid] for pid in {*living, *descendants(table, living)}}

    def _belongs(self, process: Process, child: Child) -> bool:
        if _is_kin(process, child):
            return True
        owner = self._owner(process)
        if owner == child.mark or self._sight is not Sight.ADOPTED:
            return owner == child.mark
        others = [other for other in self._running.values() if other is not child]
        if others and child.end is not None and process.start > child.end:
            return False
        return not any(_may_own(other, process, owner) for other in others)

    def _owner(self, process: Process) -> str | None:
        """Return the command that marked `process`: what it once was holds, though an exec may wipe it."""
        if process.identity not in self._owners:
            self._owners[process.identity] = command_of(process.pid)
        return self._owners[process.identity]

    def _table_of(self, needed: set[int], age_s: float) -> dict[int, Process]:
        """Return a table that is no older than `age_s`, and has what is `needed` if that still exists."""
        if time.monotonic() - self._table_taken > age_s:
            self._table_taken = time.monotonic()
            self._table = read_table()
        else:
            self._table |= read_table(needed - self._table.keys())
        return self._table


def _is_kin(process: Process, child: Child) -> bool:
    return child.pid in (process.group, process.session) or process.identity in child.seen


def _may_own(other: Child, process: Process, owner: str | None) -> bool:
    if _is_kin(process, other) or owner == other.mark:
        return True
    return owner is None and other.end is None and other.start <= process.start


def _open_log(log: Path) -> int:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise ToolError("the command did not start: too many files are open. Try again later.") from error
        raise DiskRefused(f"the command's log cannot be written: {error}") from error


def _reap(pid: int) -> bool:
    """Reap an adopted process if it is dead; say whether it is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
