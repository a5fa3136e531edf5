"""A view that may have a bug, made one that has none for the run: it is left out from then on, and said once.

What only shows a mission must not cost it. The bug's traceback goes into a file beside the journal.
"""

import asyncio
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orch.errors import DiskRefused
from orch.mission import events as ev
from orch.mission.state import MissionState
from orch.runtime.recorder import View
from orch.store.folder import atomic_write


@dataclass(slots=True, eq=False)
class Onlooker:
    """Shows to `view` what happens, as long as it can take it; `complain` tells a person that it cannot."""

    view: View
    log: Path
    complain: Callable[[str], None]
    is_broken: bool = False

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Show an event."""
        if self.is_broken:
            return
        try:
            self.view.show(event, state)
        except Exception as bug:  # noqa: BLE001 - the boundary of a view: it may cost itself, not the mission
            self.is_broken = True
            report = "".join(traceback.format_exception(bug))
            asyncio.get_running_loop().run_in_executor(None, self._keep, report)
            self.complain(
                f"what shows the mission has a bug and shows no more of it; the mission goes on: "
                f"{type(bug).__name__}: {bug} (its log: {self.log})"
            )

    def _keep(self, report: str) -> None:
        with suppress(DiskRefused):
            atomic_write(self.log, report.encode(errors="replace"))
