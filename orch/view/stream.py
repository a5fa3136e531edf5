"""Events as JSON lines, for programs: `--output-format stream-json`.

One event is one line, handed on at once; the caller writes the `result` last. The lines are ASCII, and what
a CI runner would take for a command is escaped: no terminal and no log can be steered by them.
"""

from collections.abc import Callable

from orch.mission.events import Event
from orch.mission.state import MissionState
from orch.mission.transcript import Frozen


class Stream:
    """Writes every event; `write` is told one line at a time and must not block."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def show(self, event: Event, state: MissionState) -> None:
        """Write an event."""
        del state
        self._write(event_text(event) + "\n")


def event_text(event: Event) -> str:
    """Return an event as a line of the stream has it."""
    return json_text(event, absent={name for name in ("session", "item") if getattr(event, name) is None})


def json_text(value: Frozen, *, indent: int | None = None, absent: set[str] | None = None) -> str:
    """Return `value` as JSON in ASCII, without the fields `absent`."""
    text = value.model_dump_json(indent=indent, ensure_ascii=True, exclude=absent)
    return text.replace("##", "#\\u0023")  # it stands in strings only
