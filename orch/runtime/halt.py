"""`orch stop` from outside: ask the holder to stop, insist, and look that nothing of it lives.

The holder is asked with SIGTERM, through its verified identity (a pid alone may have been given to somebody
else since), and continued, in case it was stopped. What does not end within its limit is killed, and so is
whatever carries the mission's mark or writes to one of its logs. All of it takes less than ten seconds.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from orch.runtime import survey
from orch.store import locks
from orch.store.folder import Folder
from orch.tools.process_table import end_survivors, send_if

NAME_LIMIT_S = 1.0
"""From taking the lock until its holder has written down who it is."""
GRACEFUL_LIMIT_S = 8.0
"""More than a graceful stop takes: the turns' grace, then the end of jobs that will not listen."""
NOW_LIMIT_S = 5.0
"""More than the commands' end takes."""
KILL_LIMIT_S = 1.0
"""Killed, only an uninterruptible wait of the kernel keeps a process."""
SECOND_S = 0.3
"""Between the two signals of `--now`: sent together, the system may deliver them as one."""
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Halted:
    """What lives on in spite of the stop: `pids`, and whether the workspace is still held by the mission.

    `mission` is the one that ran and was stopped, if one did.
    """

    pids: tuple[int, ...]
    is_held: bool
    mission: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing of the mission lives."""
        return not self.pids and not self.is_held


def halt(folder: Folder, mission: str | None, *, now: bool) -> Halted:
    """Stop the mission, or what runs here, and look.

    Raises:
        UsageError: No such mission.
    """
    holder = _named(folder)
    if mission is not None and (holder is None or holder.mission != mission):
        survey.known(folder, mission)
        holder = None
    if holder is not None:
        _end(folder, holder, now=now)
        if not _is_gone(folder, holder):
            pid = locks.verified_pid(holder)
            return Halted((pid,) if pid else (), is_held=_holds(folder, holder))
    marks = (mission,) if mission is not None else survey.mission_ids(folder)
    left = (pid for mark in marks for pid in end_survivors(mark, folder.mission(mark).jobs))
    return Halted(tuple(left), is_held=False, mission=holder.mission if holder is not None else None)


def _named(folder: Folder) -> locks.Holder | None:
    """Return who runs a mission here; one that has just begun may still be about to say who it is."""
    deadline = time.monotonic() + NAME_LIMIT_S
    while (holder := locks.probe(folder.workspace)) is not None:
        if locks.verified_pid(holder) is not None or time.monotonic() > deadline:
            return holder
        time.sleep(LOOK_S)
    return None


def _end(folder: Folder, holder: locks.Holder, *, now: bool) -> None:
    """Ask, insist, kill; each only if the one before did not do."""

    def is_gone() -> bool:
        return _is_gone(folder, holder)

    _signal(holder, signal.SIGTERM)
    _signal(holder, signal.SIGCONT)  # one that was stopped hears nothing else
    if now and not _until(is_gone, SECOND_S):
        _signal(holder, signal.SIGTERM)
    if not _until(is_gone, NOW_LIMIT_S if now else GRACEFUL_LIMIT_S):
        _signal(holder, signal.SIGKILL)
        _until(is_gone, KILL_LIMIT_S)


def _is_gone(folder: Folder, holder: locks.Holder) -> bool:
    return locks.verified_pid(holder) is None and not _holds(folder, holder)


def _holds(folder: Folder, holder: locks.Holder) -> bool:
    """Whether the workspace is still held by that holder: another one may have come since."""
    present = locks.probe(folder.workspace)
    return present is not None and (present.pid, present.mission) == (holder.pid, holder.mission)


def _signal(holder: locks.Holder, number: signal.Signals) -> None:
    """Signal the holder if it still is who it said it is; that it may not be is seen afterwards."""
    if holder.pid is not None:
        send_if(holder.pid, number, lambda: locks.verified_pid(holder) is not None)


def _until(is_so: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
