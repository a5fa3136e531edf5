"""`orch stop` from outside: ask the holder to stop, insist, and look that nothing of it lives.

The holder is asked with SIGTERM, through its verified identity (a pid alone may have been given to somebody
else since). What does not end within its limit is killed, and so is whatever carries the mission's mark.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from orch.runtime import survey
from orch.store import locks
from orch.store.folder import Folder
from orch.tools.process_table import survivors

GRACEFUL_LIMIT_S = 20.0
"""More than a graceful stop takes: the turns' grace, and the commands' end."""
NOW_LIMIT_S = 5.0
KILL_LIMIT_S = 3.0
LOOK_S = 0.05


def halt(folder: Folder, mission: str | None, *, now: bool) -> tuple[int, ...]:
    """Stop the mission and return the pids that live on in spite of it: none, if all is well.

    Raises:
        UsageError: No such mission.
    """
    if mission is not None:
        survey.known(folder, mission)
    holder = locks.probe(folder.workspace)
    if holder is not None and mission in (None, holder.mission):
        _end(folder, holder, now=now)
    ids = [mission] if mission is not None else [str(i) for i in survey.mission_ids(folder)]
    left = tuple(pid for marker in ids for pid in survivors(marker))
    running = locks.probe(folder.workspace)
    alive = running.pid if running is not None and mission in (None, running.mission) else None
    if alive is not None:
        return (alive, *left)
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    _until(lambda: not any(survivors(marker) for marker in ids), KILL_LIMIT_S)
    return tuple(pid for marker in ids for pid in survivors(marker))


def _end(folder: Folder, holder: locks.Holder, *, now: bool) -> None:
    """Ask, insist, kill; each only if the one before did not do."""
    limit_s = NOW_LIMIT_S if now else GRACEFUL_LIMIT_S
    _signal(holder, signal.SIGTERM)
    if now:
        _signal(holder, signal.SIGTERM)
    if _until(lambda: locks.probe(folder.workspace) is None, limit_s):
        return
    _signal(holder, signal.SIGKILL)
    _until(lambda: locks.probe(folder.workspace) is None, KILL_LIMIT_S)


def _signal(holder: locks.Holder, number: signal.Signals) -> None:
    """Signal the holder if it still is who it said it is."""
    pid = locks.verified_pid(holder)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(is_so: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
