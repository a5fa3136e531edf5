"""A mission from its first event to its result: builds the parts of the house, and takes them down again.

`begin` and `resume` hold the mission lock for as long as anything of the mission lives, and leave
`result.json` and the generated views behind, whatever happened. Errors of the start are `UsageError`, or
`DiskRefused`, and leave nothing running.
"""

import asyncio
import functools
import time
import traceback
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from orch.agents import roles
from orch.config import ModelFacts, ModelRef, Provider, Settings
from orch.errors import DiskRefused, OrchError, UsageError
from orch.mission import events as ev
from orch.mission import plan
from orch.mission.redaction import Redaction
from orch.mission.reduce import replay
from orch.mission.result import Result, broken_off, summarise
from orch.mission.state import ItemStatus, MissionState, MissionStatus, turns_of
from orch.mission.transcript import clean
from orch.models.gate import Alone, Gates, Memory
from orch.models.interface import Model
from orch.runtime import changes, plan_only, shutdown, survey, watchdog
from orch.runtime.asking import Voice
from orch.runtime.budget import failure, spent, used_up
from orch.runtime.failures import COOL_DOWN_S
from orch.runtime.onlooker import Onlooker
from orch.runtime.orchestrator import JOURNAL_GONE, Orchestrator
from orch.runtime.recorder import Recorder, View
from orch.runtime.session import Conversation
from orch.store import board, records
from orch.store.blobs import Blobs
from orch.store.folder import Folder, MissionFolder, atomic_write
from orch.store.journal import Journal
from orch.store.leases import Leases
from orch.store.locks import MissionLock
from orch.tools import diagnostics
from orch.tools.bystanders import Bystanders
from orch.tools.child_environment import child_environment
from orch.tools.desk import Desk, Place
from orch.tools.hashes import Hashes
from orch.tools.process_table import end_survivors
from orch.tools.processes import Processes

RETRY_BASE_S = 1.0
"""The first wait after a failed call, unless the launch says otherwise."""


class Connect(Protocol):
    """Makes the model that one session asks."""

    def __call__(self, ref: ModelRef) -> Model:
        """Return a model of its own for a session."""
        ...


def unknown_facts(_ref: ModelRef) -> ModelFacts:
    """Know nothing of any model."""
    return ModelFacts()


def no_memory(_provider: Provider) -> Memory:
    """Share nothing with other processes."""
    return Alone()


def unsaid(_text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a run needs to be told. `began_s` is when it began, on the clock of `time.monotonic`.

    `provider` says who answers for a model, `memory` what the user's processes know of a provider. `notice`
    tells a person something, `complain` also one who wants to hear nothing but what is wrong.
    `retry_base_s` is the first wait after a failed or refused call, doubled with each one in a row,
    `cool_down_s` the time that a role's own model gets to come back.
    """

    folder: Folder
    mission: ev.MissionId
    settings: Settings
    connect: Connect
    provider: Callable[[ModelRef], Provider]
    views: Sequence[View]
    notice: Callable[[str], None]
    facts: Callable[[ModelRef], ModelFacts] = unknown_facts
    memory: Callable[[Provider], Memory] = no_memory
    complain: Callable[[str], None] = unsaid
    retry_base_s: float = RETRY_BASE_S
    cool_down_s: float = COOL_DOWN_S
    began_s: float = field(default_factory=time.monotonic)


def begin(launch: Launch, started: ev.MissionStarted) -> tuple[MissionState, Result]:
    """Start a mission and run it to its end. Blocks; raises `UsageError` if it cannot start."""
    with shutdown.settled(), _proven(), MissionLock.acquire(launch.folder, launch.mission):
        for latest in survey.mission_ids(launch.folder)[:1]:  # its run may have been killed
            end_survivors(latest, launch.folder.mission(latest).jobs)
        journal = Journal.create(launch.folder.mission(launch.mission))
        return _run(launch, journal, MissionState(), (started,))


@contextmanager
def _proven() -> Iterator[None]:
    """Turn a refusal of the disk into one of the start: what is on disk is no mission that could go on."""
    try:
        yield
    except DiskRefused as refused:
        text = f"{refused.what}; nothing was started: make room there, or use -C, and run `orch task` again"
        raise UsageError(text) from refused


def resume(launch: Launch, resumed: ev.MissionResumed) -> tuple[MissionState, Result]:
    """Take up a mission that is not closed, and run it to its end. Blocks."""
    folder = launch.folder.mission(launch.mission)
    with shutdown.settled(), MissionLock.acquire(launch.folder, launch.mission):
        end_survivors(launch.mission, folder.jobs)  # commands of a run that was killed
        recovered = Journal.open(folder)
        state = replay(recovered.events)
        if state.status is MissionStatus.CLOSED:
            recovered.journal.close()
            result = _closed(launch.folder, state)
            _keep(folder, result)
            return state, result
        heal = (ev.Heal(text=recovered.healed),) if recovered.healed else ()
        return _run(launch, recovered.journal, state, (resumed, *heal))


def _reopened(state: MissionState) -> tuple[ev.Event, ...]:
    """Give failed and blocked items another try."""
    lost = (ItemStatus.FAILED, ItemStatus.BLOCKED)
    return tuple(ev.ItemReopened(item=i.spec.id) for i in state.items.values() if i.status in lost)


async def _admit(launch: Launch, orchestrator: Orchestrator) -> None:
    """Give the run its budget; where a cap is used up already, that is its end."""
    state = orchestrator.state
    orchestrator.budget.open(state.caps, spent(state.spending, launch.facts))
    fact = used_up(orchestrator.budget, state.exhausted)
    await orchestrator.recorder.record(*((fact, failure(fact)) if fact is not None else _reopened(state)))


def _run(
    launch: Launch, journal: Journal, state: MissionState, first: tuple[ev.Event, ...]
) -> tuple[MissionState, Result]:
    """Run the mission; whatever breaks, also after its end, it has a result."""
    try:
        return _ended(launch, journal, state, first)
    except OrchError:
        raise
    except Exception as bug:  # noqa: BLE001 - the outer boundary of the mission: the house itself came down
        return _broken(launch, bug)


def _ended(
    launch: Launch, journal: Journal, state: MissionState, first: tuple[ev.Event, ...]
) -> tuple[MissionState, Result]:
    try:
        with asyncio.Runner() as runner:
            state = runner.run(_live(launch, journal, state, first))
    finally:
        goes_on = journal.alive()
        journal.close()
    result = summarise(
        state, survey.resume_line(launch.folder.workspace, launch.mission) if goes_on else None
    )
    if goes_on:
        patch = changes.keep(launch.folder, state, launch.settings.secrets(), launch.notice)
        result = result.model_copy(update={"patch": patch})
    _keep(launch.folder.mission(launch.mission), result)
    return state, result


def _broken(launch: Launch, bug: Exception) -> tuple[MissionState, Result]:
    """Return what is known of a mission whose run broke where nothing of it could be put on record."""
    mission = launch.folder.mission(launch.mission)
    line = survey.resume_line(launch.folder.workspace, launch.mission)
    text, report = _crash(mission, bug)
    try:
        known = replay(records.read(mission))
        state = replace(known, outcome=ev.Outcome.ERROR, ending=text)
        result = summarise(state, line)
    except Exception:  # noqa: BLE001 - what broke the run may break this too; the first bug is what is told
        state, result = MissionState(), broken_off(launch.mission, line, text)
    else:
        if not known.seq:
            raise bug  # there never was a mission
    with suppress(DiskRefused):
        atomic_write(_crash_log(mission), report)
    _keep(mission, result)
    return state, result


def closed(folder: Folder, state: MissionState, secrets: Callable[[], Collection[str]]) -> Result:
    """Return the result of a mission that is over; what its run was killed before writing is made up for."""
    kept = folder.mission(state.mission)
    if not kept.result.exists():
        with suppress(DiskRefused, UsageError), MissionLock.acquire(folder, state.mission):
            end_survivors(state.mission, kept.jobs)
            _Views(folder, lambda _: None).write(state)
            changes.keep(folder, state, secrets(), lambda _: None)
            _keep(kept, _closed(folder, state))
    return _closed(folder, state)


def _closed(folder: Folder, state: MissionState) -> Result:
    return summarise(state, None).model_copy(update={"patch": changes.kept(folder, state.mission)})


def _keep(mission: MissionFolder, result: Result) -> None:
    with suppress(DiskRefused):  # the result is printed all the same
        atomic_write(mission.result, result.model_dump_json(indent=2).encode() + b"\n")


async def _live(
    launch: Launch, journal: Journal, state: MissionState, first: tuple[ev.Event, ...]
) -> MissionState:
    """Run the mission, and say how it ended, also where the journal could not be told.

    Raises:
        DiskRefused: Not even the beginning could be written.
    """
    refusal: BaseException | None = None
    environment = child_environment(launch.settings.environment, launch.settings.pass_env)
    leases = Leases(launch.folder)
    views = _Views(launch.folder, launch.notice)
    processes = Processes(environment, launch.mission, launch.settings.secrets())
    orchestrator = _orchestrator(launch, journal, state, leases, processes, views)
    async with AsyncExitStack() as stack:
        stack.callback(leases.close)
        stack.enter_context(shutdown.heeded(orchestrator.ending.stop, launch.notice))
        await stack.enter_async_context(processes)
        try:
            await orchestrator.recorder.record(*first)
            await _admit(launch, orchestrator)
            await _attended(orchestrator, views)
            ended = orchestrator.state
        except* DiskRefused as refused:
            refusal = _leaf(refused)
            is_there = await asyncio.to_thread(journal.alive)
            ended = await _cut_off(orchestrator, str(refusal) if is_there else JOURNAL_GONE)
        except* Exception as bug:  # noqa: BLE001 - the boundary of the mission: nothing of it may be lost
            ended = await _crashed(orchestrator, launch.folder.mission(launch.mission), bug)
        with suppress(DiskRefused):
            await asyncio.to_thread(views.write, ended)
    if refusal is not None and not ended.seq:
        raise refusal
    return ended


async def _attended(orchestrator: Orchestrator, views: "_Views") -> None:
    """Run the mission with the views kept beside it, and the loop watched."""
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(views.keep(), name="generated views"),
            group.create_task(_watched(orchestrator), name="watchdog"),
        ]
        try:
            await orchestrator.run()
        finally:
            for task in beside:
                task.cancel()


async def _cut_off(orchestrator: Orchestrator, text: str) -> MissionState:
    """Return how a run stands that the disk ended; put it on record if the journal's disk is not the one."""
    with suppress(DiskRefused):
        if orchestrator.recorder.is_running:
            await orchestrator.recorder.record(ev.MissionFailed(outcome=ev.Outcome.DISK, text=text))
    known = orchestrator.recorder.durable
    if known.status is MissionStatus.CLOSED:
        return known  # only what is generated from the journal could not be written
    return replace(known, outcome=ev.Outcome.DISK, ending=text)


async def _watched(orchestrator: Orchestrator) -> None:
    """Put on record when the loop stood still, and what held it."""

    async def report(stall: watchdog.Stall) -> None:
        if orchestrator.recorder.is_running:
            await orchestrator.recorder.record(ev.Heal(text=stall.text))

    await watchdog.watch(report)


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first


async def _crashed(
    orchestrator: Orchestrator, mission: MissionFolder, bug: BaseExceptionGroup[Exception]
) -> MissionState:
    """Keep what is known of a bug in orch, and end the run with it."""
    text, report = _crash(mission, _leaf(bug))
    with suppress(DiskRefused):
        await asyncio.to_thread(atomic_write, _crash_log(mission), report)
        if orchestrator.recorder.is_running:
            await orchestrator.recorder.record(
                ev.MissionFailed(session=orchestrator.culprit, outcome=ev.Outcome.ERROR, text=text)
            )
    return replace(orchestrator.state, outcome=ev.Outcome.ERROR, ending=text)


def _crash(mission: MissionFolder, error: BaseException) -> tuple[str, bytes]:
    """Return what is said of a bug, and what its log holds."""
    text = f"orch has a bug: {type(error).__name__}: {error}. The log is {_crash_log(mission)}"
    return clean(text), "".join(traceback.format_exception(error)).encode(errors="replace")


def _crash_log(mission: MissionFolder) -> Path:
    return mission.path / "crash.log"


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

    recorder = Recorder(
        state=state,
        mission=launch.mission,
        journal=journal,
        redact=Redaction(launch.settings.secrets()),
        views=(*(Onlooker(view, mission.path / "view.log", launch.complain) for view in launch.views), views),
    )

    def now() -> MissionState:
        return recorder.state

    def spawn(job: Coroutine[object, object, None], name: str) -> None:
        orchestrator.spawn(job, name)

    place = Place(
        workspace=folder.workspace,
        docs=folder.docs,
        logs=mission.jobs,
        processes=processes,
        state=now,
        hashes=Hashes(folder.workspace).of,
        bystanders=Bystanders(folder.workspace),
        keep=blobs.keep,
        holds=leases.holds,
        write_context=lambda content: board.write_context(folder, content),
        diagnostics=launch.settings.diagnostics,
        site_packages=imports.folders,
        spawn=spawn,
    )

    gates = Gates(launch.settings.max_parallel, launch.retry_base_s, launch.memory, launch.notice)

    def speak(owner: Orchestrator, session_id: ev.SessionId) -> Voice:
        session = owner.state.sessions[session_id]
        grants = roles.grants(session.role, answer_only=owner.state.answer_only)
        model = ModelRef.parse(session.model)
        return Voice(
            model=launch.connect(model),
            system=_system(owner, session_id, context, folder.workspace),
            grants=frozenset(str(name) for name in grants),
            max_turns=turns_of(owner.state, session.role),
            session_timeout_s=launch.settings.session_timeout_of(session.role),
            retry_base_s=launch.retry_base_s,
            is_stopping=owner.ending.is_asked,
            gate=gates.of(launch.provider(model)),
            facts=launch.facts(model),
            budget=owner.budget,
        )

    def converse(owner: Orchestrator, session_id: ev.SessionId) -> Conversation:
        return Conversation(Desk(place, session_id, owner.recorder.record), speak(owner, session_id))

    orchestrator = Orchestrator(
        recorder=recorder,
        leases=leases,
        place=place,
        converse=converse,
        speak=speak,
        planned=lambda at: plan_only.planned(folder, at, launch.facts),
        command_timeout_s=launch.settings.command_timeout_s,
        cool_down_s=launch.cool_down_s,
        began_s=launch.began_s,
    )
    return orchestrator


def _system(
    owner: Orchestrator, session_id: ev.SessionId, context: board.Context, workspace: Path
) -> Callable[[], str]:
    """Return what makes a session's system prompt: what is the same for its whole role comes first.

    The project's advice is read once, when the session is briefed or taken up again; so its words stay the
    same for a session, whatever becomes of the files meanwhile.
    """
    state = owner.state
    session = state.sessions[session_id]
    item = state.items.get(session.item) if session.item is not None else None
    advice = functools.cache(functools.partial(board.advice, workspace, item.files if item else ()))

    def system() -> str:
        told = roles.instructed(session.role, state.instructions)
        return "\n".join(part for part in (told, context.text(), advice()) if part)

    return system


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

    def __init__(self, folder: Folder, notice: Callable[[str], None]) -> None:
        self._folder = folder
        self._notice = notice
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
