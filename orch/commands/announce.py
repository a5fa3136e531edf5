"""Tells a person that a run is over, who has looked elsewhere meanwhile.

Only where somebody sits there: at a terminal and in no CI job, and if the run took as long as nobody keeps
looking. The desktop's program gets no secrets, and two seconds; whether it worked changes nothing.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from orch.commands import limits
from orch.config import Settings
from orch.mission.result import Result
from orch.tools.child_environment import child_environment
from orch.view import notify

LONG_S: Final = 60.0
"""Who waits for less is still looking: a sound would only startle."""
PROGRAM_LIMIT_S: Final = 2.0
_SESSION: Final = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")
"""How a program finds the desktop."""


@dataclass(frozen=True, slots=True)
class Announcer:
    """Announces the end of a run that these settings are of; `ring` writes to the person's terminal."""

    settings: Settings
    ring: Callable[[str], object]

    def announce(self, result: Result, took_s: float) -> None:
        """Tell of the end of a run, if that is wanted."""
        environment = self.settings.environment
        is_wanted = self.settings.notify and took_s >= LONG_S and limits.is_interactive(environment)
        told = notify.notice(result) if is_wanted else None
        if told is None:
            return
        self.ring(notify.ring(told, environment))
        program = notify.command(told, self.settings.notify_command, environment, shutil.which)
        if program:
            run(program, self.settings)


def run(program: Sequence[str], settings: Settings, limit_s: float = PROGRAM_LIMIT_S) -> None:
    """Run a program that notifies, and all that it starts, for no longer than `limit_s`."""
    with suppress(OSError, ValueError):  # it is not there, or takes no such argument: the run's end is said
        process = subprocess.Popen(
            program,
            cwd="/",
            env=child_environment(settings.environment, _SESSION),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
