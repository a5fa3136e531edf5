"""What a tool works with, and what it gives back.

A `Desk` belongs to one session. A tool reads the state, does its work and returns a `ToolResult`; the events
in it are recorded by the session in one batch with the tool's result, directly after the tool returned, so
that ids taken from the state are still free. A tool that cannot do what it was asked raises `ToolError`;
one whose session or run ended meanwhile hears `SessionOver` as soon as it records anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orch.mission.events import Event, EvidenceId, FileChanged, ItemId, SessionId
from orch.mission.state import Item, MissionState, MissionStatus, Session, SessionStatus
from orch.tools.bystanders import Bystanders
from orch.tools.processes import Job, Processes


class SessionOver(Exception):
    """The mission ended this session, or its run, while it worked: nothing more of it counts."""


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
    """Record events of the mission; returns when they are durable."""

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
    bystanders: Bystanders
    keep: Callable[[bytes], str]
    holds: Callable[[ItemId, str], bool]
    write_context: Callable[[str], str]
    diagnostics: Mapping[str, str]
    site_packages: Callable[[], Awaitable[tuple[Path, ...]]]
    spawn: Callable[[Coroutine[object, object, None], str], None]


@dataclass(slots=True)
class BackgroundJob:
    """A job of a session; `noted` is set once its end is on record (as `evidence`), or will never be."""

    job: Job
    noted: asyncio.Event = field(default_factory=asyncio.Event)
    evidence: EvidenceId | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """One session's place at the shared bench, with the background jobs that end with it.

    `begun` are the ids of the calls that were asked for in this process: any other was cut off with its run.
    """

    place: Place
    session_id: SessionId
    sink: Record
    begun: set[str] = field(default_factory=set)
    jobs: dict[str, BackgroundJob] = field(default_factory=dict)

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

    @property
    def is_over(self) -> bool:
        """Whether the session, or the run, has ended."""
        return not self._runs or self.session.status is SessionStatus.ENDED

    @property
    def _runs(self) -> bool:
        return self.place.state().status is MissionStatus.RUNNING

    async def record(self, *events: Event) -> None:
        """Record events of this session as one batch.

        Raises:
            SessionOver: The session is over. What it did to files is recorded all the same: it happened.
        """
        if not self.is_over:
            await self.sink(*events)
            return
        written = [event for event in events if isinstance(event, FileChanged) and self._intended(event)]
        if written and self._runs:
            await self.sink(*written)
        raise SessionOver

    def _intended(self, change: FileChanged) -> bool:
        """Whether nobody else has meant to write the file since."""
        intent = self.place.state().intents.get(change.path)
        return intent is not None and intent.session == self.session_id

    async def close(self) -> None:
        """End the session's background jobs, all at once."""
        running = [background.job for background in self.jobs.values() if background.job.running]
        for job in running:
            job.ask_to_end()
        for job in running:
            await job.end()
