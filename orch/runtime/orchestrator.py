"""The mission loop: carry out what `decide` asks for, and keep `work` running.

Theory of operation. One task drives: it asks `decide` until nothing is due, then makes the running tasks
equal to `work`. Sessions, setups and verifications are tasks of one group; what they do comes back as events
(`orch.runtime.recorder`), which wake the driver. Leases are taken before `decide` is asked for the steps that
need them, for that takes time: between a decision and its record, nothing else can happen.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from orch.errors import DiskRefused, ModelError
from orch.mission import events as ev
from orch.mission.decide import Work, WorkKind, decide, is_planned, work
from orch.mission.state import MissionState, MissionStatus, SessionStatus
from orch.runtime import verification
from orch.runtime.asking import Voice
from orch.runtime.budget import Budget, failure
from orch.runtime.ending import Ending
from orch.runtime.failures import COOL_DOWN_S, Failures
from orch.runtime.holdings import Holdings
from orch.runtime.recorder import Recorder
from orch.runtime.session import Conversation
from orch.store.leases import Leases
from orch.tools.desk import Place, SessionOver

GRACE_S = 5.0
"""On a stop, turns under way may finish for this long: they are paid for."""
WATCH_S = 2.0
"""How often it is looked whether the journal is still where it belongs."""
LEASE_RETRY_S = 1.0
"""How long to wait before a file that another process holds is asked for again."""
LOOK_AGAIN_S = 30.0
"""The driver looks at the state at least this often, whatever it was told."""
CANCEL_LIMIT_S = 10.0
"""Cancelled work has this long to end its commands."""
JOURNAL_GONE = (
    "the mission's journal is gone (was .opencode/orch deleted?): the run cannot go on. "
    "Restore it and run `orch resume`, or start afresh."
)

_ROUTINE = (
    ev.TurnStarted,
    ev.TurnFinished,
    ev.ToolCalled,
    ev.ToolFinished,
    ev.FileIntended,
    ev.FileChanged,
    ev.EvidenceRecorded,
    ev.PermissionDenied,
    ev.ContextUpdated,
    ev.Retry,
    ev.Compaction,
)
"""Events after which nothing new can be due: the driver sleeps on."""


class Speak(Protocol):
    """Builds what a session asks with, for the model that the state says."""

    def __call__(self, owner: "Orchestrator", session_id: ev.SessionId, /) -> Voice:
        """Return a voice of the session's own."""
        ...


class Converse(Protocol):
    """Builds the conversation of a session that is to run in this process."""

    def __call__(self, owner: "Orchestrator", session_id: ev.SessionId, /) -> Conversation:
        """Return a conversation that has not started."""
        ...


@dataclass(slots=True, eq=False)
class Orchestrator:
    """One run of one mission. `planned` says how a dry run ends, and blocks.

    `began_s` is the time of `time.monotonic` from which its timeout counts; `culprit` the session in whose
    task a bug of orch came up.
    """

    recorder: Recorder
    leases: Leases
    place: Place
    converse: Converse
    speak: Speak
    planned: Callable[[MissionState], ev.MissionPlanned]
    command_timeout_s: float
    budget: Budget = field(default_factory=Budget)
    cool_down_s: float = COOL_DOWN_S
    began_s: float = field(default_factory=time.monotonic)
    culprit: ev.SessionId | None = None
    ending: Ending = field(init=False)
    _holdings: Holdings = field(init=False)
    _failures: Failures = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _group: asyncio.TaskGroup = field(init=False)
    _tasks: dict[Work, asyncio.Task[None]] = field(default_factory=dict)
    _helpers: set[asyncio.Task[None]] = field(default_factory=set)
    _conversations: dict[ev.SessionId, Conversation] = field(default_factory=dict)
    _closing: set[ev.SessionId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.budget.changed = self._changed.set
        hurry = self.place.processes.hurry
        self.ending = Ending(self.recorder, self.budget, self._changed.set, hurry, self.began_s)
        self._holdings = Holdings(self.leases, self.recorder)
        self._failures = Failures(self.recorder, self._speak_anew, self.cool_down_s)
        self.recorder.tell(self)

    @property
    def state(self) -> MissionState:
        """What the journal says."""
        return self.recorder.state

    def show(self, event: ev.Event, _state: MissionState) -> None:
        """Wake the driver if something may be due."""
        if not isinstance(event, _ROUTINE):
            self._changed.set()

    # ---- the run

    async def run(self) -> None:
        """Run until the mission's run is over, whatever that means; the state says.

        Raises:
            DiskRefused: The journal could not be written, or is gone.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                watch = self._group.create_task(self._watch(), name="watch the journal")
                timeout = self._group.create_task(self.ending.time_out(), name="timeout")
                try:
                    await self._drive()
                finally:
                    watch.cancel()
                    timeout.cancel()
                    await self._end_all()
        except* DiskRefused as refused:
            raise _first(refused) from None

    def spawn(self, job: Coroutine[object, object, None], name: str) -> None:
        """Run the watcher of a background job, or what ends one, for as long as the run lasts."""
        helper = self._group.create_task(job, name=name)
        self._helpers.add(helper)
        helper.add_done_callback(self._helper_done)

    def _helper_done(self, helper: asyncio.Task[None]) -> None:
        self._helpers.discard(helper)
        self._changed.set()

    async def _drive(self) -> None:
        while self.recorder.is_running:
            if self.ending.is_asked():
                await self._park()
                return
            self._changed.clear()
            waits = await self._carry_out_all()
            self._reconcile()
            if await self._ended_at_limit():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(LEASE_RETRY_S if waits else LOOK_AGAIN_S):
                    await self._changed.wait()

    async def _carry_out_all(self) -> bool:
        """Carry out steps until none is due; say whether an item waits for a file of another process."""
        await self._holdings.hold_again()
        await self._failures.restore_models()
        denied: set[ev.ItemId] = set()
        while not self.ending.is_asked():
            steps = decide(self.state, denied)
            leases = {step.lease for step in steps if step.lease is not None}
            refused = await self._holdings.take(leases)
            if refused is not None:
                denied.update(refused)
                continue
            if not steps:
                break
            self._holdings.hand_over(leases)
            await self.recorder.record(*(event for step in steps for event in step.events))
        return bool(denied) or self._holdings.is_waiting

    def _reconcile(self) -> None:
        """Make the running tasks equal to what has to run."""
        needed = work(self.state)
        for present, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[present]
            elif present not in needed and not task.cancelling():
                task.cancel()
        for session in [s for s in self._conversations if self._is_over(s)]:
            if Work(WorkKind.SESSION, session) not in self._tasks and session not in self._closing:
                self._closing.add(session)
                self.spawn(self._close(session), f"close {session}")
        for wanted in needed:
            if wanted not in self._tasks and self._has_slot(wanted):
                self._tasks[wanted] = self._group.create_task(
                    self._guarded(wanted), name=f"{wanted.kind} {wanted.subject}"
                )

    async def _close(self, session: ev.SessionId) -> None:
        """Close a conversation; cut off before that, it is left to the end of the run."""
        await self._conversations[session].close()
        self._conversations.pop(session, None)

    def _is_over(self, session: ev.SessionId) -> bool:
        return self.state.sessions[session].status is SessionStatus.ENDED

    def _has_slot(self, wanted: Work) -> bool:
        """Whether a job can start now.

        Sessions left running by an earlier run may be more than this run's slots; they take turns. Nothing is
        verified while a session that is over, or a job of it, still comes to its end.
        """
        if wanted.kind is WorkKind.VERIFICATION:
            return not self._helpers and not any(self._is_over(s) for s in self._conversations)
        if wanted.kind is WorkKind.SETUP:
            return self._holdings.may_work(ev.ItemId(wanted.subject))
        if wanted.kind is WorkKind.ESTIMATE:
            return True
        session = self.state.sessions[ev.SessionId(wanted.subject)]
        if not self._holdings.may_work(session.item):
            return False
        if session.role is ev.Role.COMMANDER:
            return True
        at_work = [w.subject for w in self._tasks if w.kind is WorkKind.SESSION]
        return len(at_work) - (self.state.commander in at_work) < self.state.max_parallel

    # ---- a job

    async def _guarded(self, work: Work) -> None:
        """Do some work. A bug in it ends the run; it is kept in whose session it came up."""
        try:
            with suppress(SessionOver):  # the mission took its turn away: what it did since is not recorded
                await self._job(work)
        except ModelError as error:
            await self._failures.meet(ev.SessionId(work.subject), error)
        except Exception as error:
            if work.kind is WorkKind.SESSION and not isinstance(error, DiskRefused):
                self.culprit = self.culprit or ev.SessionId(work.subject)
            raise
        finally:
            self._changed.set()

    def _job(self, wanted: Work) -> Coroutine[object, object, None]:
        record = self.recorder.record
        match wanted.kind:
            case WorkKind.SESSION:
                return self._conversation(ev.SessionId(wanted.subject)).run()
            case WorkKind.SETUP:
                return self._set_up(ev.ItemId(wanted.subject))
            case WorkKind.VERIFICATION:
                return verification.verify(self.place, record, self.command_timeout_s)
            case WorkKind.ESTIMATE:
                return self._estimate()

    async def _estimate(self) -> None:
        """End a dry run with its plan, unless there is something left to do for it."""
        state = self.state
        planned = await asyncio.to_thread(self.planned, state)
        if self.state is state and is_planned(state) and not decide(state):
            await self.recorder.record(planned)

    def _conversation(self, session: ev.SessionId) -> Conversation:
        if session not in self._conversations:
            self._conversations[session] = self.converse(self, session)
        return self._conversations[session]

    async def _speak_anew(self, session: ev.SessionId) -> None:
        await self._conversations[session].switch(self.speak(self, session))

    async def _set_up(self, item: ev.ItemId) -> None:
        await verification.set_up(self.place, self.recorder.record, item, self.command_timeout_s)
        await self._holdings.extend(item)

    # ---- the end

    async def _ended_at_limit(self) -> bool:
        """End the run if all that it does is to wait for the budget; say whether it did."""
        busy = sum(1 for task in self._tasks.values() if not task.done())
        fact = self.budget.reached() if busy and self.budget.waiting == busy else None
        if fact is None or not self.recorder.is_running:
            return False
        await self.recorder.record(fact, failure(fact))
        return True

    async def _park(self) -> None:
        """Let turns under way finish within the grace, end all else at once, and say that it stopped."""
        paid = [task for wanted, task in self._tasks.items() if self._is_asking(wanted) and not task.done()]
        for task in self._tasks.values():
            if task not in paid:
                task.cancel()
        hurry = self._group.create_task(self._hurry(paid), name="second signal")
        if paid:
            await asyncio.wait(paid, timeout=GRACE_S)
        hurry.cancel()
        await self._end_all()
        if self.state.status is MissionStatus.RUNNING:
            await self.recorder.record(self.ending.last_word())

    def _is_asking(self, wanted: Work) -> bool:
        if wanted.kind is not WorkKind.SESSION:
            return False
        conversation = self._conversations.get(ev.SessionId(wanted.subject))
        return conversation is not None and conversation.is_asking

    async def _hurry(self, sessions: Sequence[asyncio.Task[None]]) -> None:
        await self.ending.at_once.wait()
        for session in sessions:
            session.cancel()

    async def _end_all(self) -> None:
        tasks = {*self._tasks.values(), *self._helpers}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_LIMIT_S)
        self._tasks.clear()
        async with asyncio.TaskGroup() as group:
            for session, conversation in self._conversations.items():
                group.create_task(conversation.close(), name=f"close {session}")
        self._conversations.clear()

    async def _watch(self) -> None:
        """End the run when its journal is no longer where it is looked for."""
        while True:
            await asyncio.sleep(WATCH_S)
            if not await asyncio.to_thread(self.recorder.journal.alive):
                raise DiskRefused(JOURNAL_GONE)
            if not await asyncio.to_thread(self.leases.intact):
                raise DiskRefused(
                    "lock files of this mission are gone from .opencode/orch/locks, so they bind nobody else "
                    "any more: the run stopped. `orch resume` takes them anew."
                )


def _first(group: BaseExceptionGroup[DiskRefused]) -> DiskRefused:
    """Return one of the errors of a group: all tasks were told the same."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
