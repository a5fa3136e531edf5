"""Events as JSON lines, for programs: `--output-format stream-json`.

One event is one line, flushed at once; the caller writes the `result` last. A reader that goes away does not
stop the mission: what cannot be written any more is dropped.
"""

from typing import TextIO

from orch.mission.events import Event
from orch.mission.state import MissionState
from orch.mission.transcript import Frozen


class Stream:
    """Writes every event to a stream."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_open = True

    def show(self, event: Event, state: MissionState) -> None:
        """Write an event."""
        del state
        self.write(event, absent={name for name in ("session", "item") if getattr(event, name) is None})

    def write(self, line: Frozen, absent: set[str] | None = None) -> None:
        """Write one value as a line of JSON, in ASCII: no terminal and no CI log can be steered by it."""
        if not self._is_open:
            return
        try:
            self._out.write(line.model_dump_json(ensure_ascii=True, exclude=absent) + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):  # the reader is gone, or the stream is closed
            self._is_open = False
