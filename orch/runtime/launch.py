"""A mission from its first event to its result: builds the parts of the house, and takes them down again.

`begin` and `resume` hold the mission lock for as long as anything of the mission lives, and leave
`result.json` and the generated views behind, whatever happened. Errors of the start are `UsageError`, or
`DiskRefused`, and leave nothing running.
"""

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from orch.agents import roles
from orch.config import ModelRef, Settings
from orch.errors import DiskRefused
from orch.mission import events as ev
from orch.mission import plan
from orch.mission.redaction import Redaction
from orch.mission.reduce import replay
from orch.mission.result import Result, summarise
from orch.mission.state import ItemStatus, MissionState, MissionStatus
from orch.models.interface import Model
from orch.runtime import shutdown
from orch.runtime.orchestrator import Orchestrator, View
from orch.runtime.session import Conversation, Voice
from orch.runtime.survey import resume_line
from orch.store import board
from orch.store.blobs import Blobs
from orch.store.folder import Folder, MissionFolder, atomic_write
from orch.store.journal import Journal
from orch.store.locks import Leases, MissionLock
from orch.tools import diagnostics
from orch.tools.child_environment import child_environment
from orch.tools.desk import Desk, Place
from orch.tools.hashes import Hashes
from orch.tools.processes import Processes

RETRY_BASE_S = 1.0
"""The first wait after a failed call; doubled with each try."""


class Connect(Protocol):
    """Makes the model that one session asks."""

    def __call__(self, ref: ModelRef) -> Model:
        """Return a model of its own for a session."""
        ...


@dataclass(frozen=True, slots=True)
class Launch:
    """What a run needs to be told."""

    folder: Folder
    mission: ev.MissionId
    settings: Settings
    connect: Connect
    views: Sequence[View]
    notice: Callable[[str], None]


def begin(launch: Launch, started: ev.MissionStarted) -> tuple[MissionState, Result]:
    """Start a mission and run it to its end. Blocks; raises `UsageError` if it cannot start."""
    with MissionLock.acquire(launch.folder, launch.mission):
        journal = Journal.create(launch.folder.mission(launch.mission))
        return _run(launch, journal, MissionState(), (started,))


def resume(launch: Launch, resumed: ev.MissionResumed) -> tuple[MissionState, Result]:
    """Take up a mission that is not closed, and run it to its end. Blocks."""
    with MissionLock.acquire(launch.folder, launch.mission):
        recovered = Journal.open(launch.folder.mission(launch.mission))
        state = replay(recovered.events)
        if state.status is MissionStatus.CLOSED:
            recovered.journal.close()
            return state, summarise(state, None)
        heal = (ev.Heal(text=recovered.healed),) if recovered.healed else ()
        return _run(launch, recovered.journal, state, (resumed, *heal, *_reopened(state)))


def _reopened(state: MissionState) -> tuple[ev.Event, ...]:
    """Give failed and blocked items another try."""
    lost = (ItemStatus.FAILED, ItemStatus.BLOCKED)
    return tuple(ev.ItemReopened(item=i.spec.id) for i in state.items.values() if i.status in lost)


def _run(
    launch: Launch, journal: Journal, state: MissionState, first: tuple[ev.Event, ...]
) -> tuple[MissionState, Result]:
    mission = launch.folder.mission(launch.mission)
    try:
        with asyncio.Runner() as runner:
            state = runner.run(_live(launch, journal, state, first))
    finally:
        journal.close()
    result = summarise(state, resume_line(launch.folder.workspace, launch.mission))
    with suppress(DiskRefused):  # the result is printed all the same
        atomic_write(mission.result, result.model_dump_json(indent=2).encode() + b"\n")
    return state, result


async def _live(
    launch: Launch, journal: Journal, state: MissionState, first: tuple[ev.Event, ...]
) -> MissionState:
    """Run the mission, and say how it ended, also where the journal could not be told."""
    environment = child_environment(launch.settings.environment, launch.settings.pass_env)
    leases = Leases(launch.folder)
    views = _Views(launch)
    async with AsyncExitStack() as stack:
        stack.callback(leases.close)
        processes = await stack.enter_async_context(
            Processes(environment, launch.mission, launch.settings.secrets())
        )
        orchestrator = _orchestrator(launch, journal, state, leases, processes, views)
        stack.enter_context(shutdown.heeded(orchestrator.stop, launch.notice))
        try:
            await _hold_again(orchestrator)
            await orchestrator.record(*first)
            async with asyncio.TaskGroup() as group:
                board_task = group.create_task(views.keep(), name="generated views")
                try:
                    await orchestrator.run()
                finally:
                    board_task.cancel()
            ended = orchestrator.state
        except* DiskRefused as refused:
            text = str(_leaf(refused))
            ended = replace(orchestrator.state, outcome=ev.Outcome.DISK, ending=text)
        except* Exception as bug:  # noqa: BLE001 - the boundary of the mission: nothing of it may be lost
            ended = await _crashed(orchestrator, launch.folder.mission(launch.mission), bug)
        with suppress(DiskRefused):
            await asyncio.to_thread(views.write, ended)
    return ended


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first


async def _crashed(
    orchestrator: Orchestrator, mission: MissionFolder, bug: BaseExceptionGroup[Exception]
) -> MissionState:
    """Keep what is known of a bug in orch, and end the run with it."""
    error = _leaf(bug)
    log = mission.path / "crash.log"
    report = "".join(traceback.format_exception(error))
    text = f"orch has a bug: {type(error).__name__}: {error}. The log is {log}"
    with suppress(DiskRefused):
        await asyncio.to_thread(atomic_write, log, report.encode(errors="replace"))
        if orchestrator.state.status is MissionStatus.RUNNING:
            await orchestrator.record(ev.MissionFailed(outcome=ev.Outcome.ERROR, text=text))
    return replace(orchestrator.state, outcome=ev.Outcome.ERROR, ending=text)


async def _hold_again(orchestrator: Orchestrator) -> None:
    """Take the leases that the state says are held: their holder may have been killed."""
    for item in orchestrator.state.items.values():
        if item.leased:
            reason = await asyncio.to_thread(orchestrator.leases.acquire, item.spec.id, item.files)
            if reason is not None:
                raise DiskRefused(f"item {item.spec.id} cannot go on: {reason}")


def _orchestrator(
    launch: Launch,
    journal: Journal,
    state: MissionState,
    leases: Leases,
    processes: Processes,
    views: "_Views",
) -> Orchestrator:
    folder = launch.folder
    mission = folder.mission(launch.mission)
    blobs = Blobs(mission.blobs)
    imports = _Imports(folder.workspace)
    context = board.Context(folder)

    def now() -> MissionState:
        return orchestrator.state

    def spawn(job: Coroutine[object, object, None], name: str) -> None:
        orchestrator.spawn(job, name)

    place = Place(
        workspace=folder.workspace,
        docs=folder.docs,
        logs=mission.jobs,
        processes=processes,
        state=now,
        hashes=Hashes(folder.workspace).of,
        keep=blobs.keep,
        holds=leases.holds,
        write_context=lambda content: board.write_context(folder, content),
        diagnostics=launch.settings.diagnostics,
        site_packages=imports.folders,
        spawn=spawn,
    )

    def converse(owner: Orchestrator, session_id: ev.SessionId) -> Conversation:
        session = owner.state.sessions[session_id]
        grants = roles.grants(session.role, answer_only=owner.state.answer_only)
        voice = Voice(
            model=launch.connect(ModelRef.parse(session.model)),
            system=lambda: f"{roles.prompt(session.role)}\n{context.text()}",
            grants=frozenset(str(name) for name in grants),
            max_turns=owner.state.max_turns,
            retry_base_s=RETRY_BASE_S,
            is_stopping=owner.is_stopping,
        )
        return Conversation(Desk(place, session_id, owner.record), voice)

    orchestrator = Orchestrator(
        state=state,
        mission=launch.mission,
        journal=journal,
        leases=leases,
        place=place,
        converse=converse,
        views=(*launch.views, views),
        command_timeout_s=launch.settings.command_timeout_s,
        redact=Redaction(launch.settings.secrets()),
    )
    return orchestrator


class _Imports:
    """Where installed packages lie; asked of the project's interpreter once."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._found: tuple[Path, ...] | None = None

    async def folders(self) -> tuple[Path, ...]:
        if self._found is None:
            self._found = await diagnostics.site_packages(self._workspace)
        return self._found


class _Views:
    """Keeps `todo.md` and `issues.md` as the journal says, written anew after changes that show in them."""

    def __init__(self, launch: Launch) -> None:
        self._folder = launch.folder
        self._notice = launch.notice
        self._said: set[str] = set()
        self._state = MissionState()
        self._due = asyncio.Event()

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Note that the views are behind."""
        self._state = state
        if event.type.startswith(("item.", "plan.", "issue.", "setup.", "verification.", "mission.")):
            self._due.set()

    async def keep(self) -> None:
        """Write the views whenever they are behind, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            await asyncio.to_thread(self.write, self._state)

    def write(self, state: MissionState) -> None:
        """Write both views. Raises `DiskRefused`."""
        texts: Mapping[str, str] = {"todo.md": plan.todo_md(state), "issues.md": plan.issues_md(state)}
        for name, text in texts.items():
            notice = board.write_view(self._folder, name, text)
            if notice and notice not in self._said:
                self._said.add(notice)
                self._notice(notice)
