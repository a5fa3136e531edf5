"""What a tool works with, and what it gives back.

A `Desk` belongs to one session. A tool reads the state, does its work and returns a `ToolResult`; the events
in it are recorded by the session in one batch with the tool's result, directly after the tool returned, so
that ids taken from the state are still free. A tool that cannot do what it was asked raises `ToolError`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orch.mission.events import Event, ItemId, SessionId
from orch.mission.state import Item, MissionState, Session
from orch.tools.processes import Job, Processes


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told, and what happened.

    `seen` are files whose content the session knows from now on; `ends_turn` says that no further turn of
    this session is due.
    """

    text: str
    ok: bool = True
    events: tuple[Event, ...] = ()
    seen: Mapping[str, str | None] = field(default_factory=dict)
    ends_turn: bool = False


class Record(Protocol):
    """Record events of this session; returns when they are durable."""

    def __call__(self, *events: Event) -> Awaitable[None]:
        """Record `events` as one batch."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """What the desks of all sessions share: the workspace and what orch does there."""

    workspace: Path
    docs: Path
    logs: Path
    processes: Processes
    state: Callable[[], MissionState]
    hashes: Callable[[Iterable[str]], Awaitable[Mapping[str, str | None]]]
    keep: Callable[[bytes], str]
    holds: Callable[[ItemId, str], bool]
    write_context: Callable[[str], str]
    diagnostics: Mapping[str, str]
    site_packages: Callable[[], Awaitable[tuple[Path, ...]]]
    spawn: Callable[[Coroutine[object, object, None], str], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """One session's place at the shared bench, with the background jobs that end with it."""

    place: Place
    session_id: SessionId
    record: Record
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        """The session as it is now."""
        return self.place.state().sessions[self.session_id]

    @property
    def item(self) -> Item:
        """The session's item as it is now; Workers and Reviewers have one."""
        item = self.session.item
        assert item is not None, f"session {self.session_id} has no item"  # noqa: S101 - true by construction
        return self.place.state().items[item]

    async def close(self) -> None:
        """End the session's background jobs."""
        for job in self.jobs.values():
            if job.finished is None:
                await job.kill()
