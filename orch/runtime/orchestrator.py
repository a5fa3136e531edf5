"""The mission loop: carry out what `decide` asks for, keep `work` running, record everything.

Theory of operation. `record` is the one way in which anything happens. It stamps the events, reduces them
into the state (an illegal one is refused before a byte is written), and queues them for the journal in the
same instant; it returns, and the views hear of them, once they are durable. Whoever acts, acts after such a
return; and since the journal keeps the order of the calls, all that a decision rests on is then on disk too.

One task drives: it asks `decide` until nothing is due, then makes the running tasks equal to `work`.
Sessions, setups and verifications are tasks of one group; what they do comes back as events, which wake the
driver. Leases are taken before `decide` is asked for the steps that need them, for that takes time: between
a decision and its record, nothing else can happen.
"""

import asyncio
import time
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from orch.errors import DiskRefused, ModelError
from orch.mission import events as ev
from orch.mission.caps import Cap
from orch.mission.decide import Work, WorkKind, decide, work
from orch.mission.redaction import Redaction
from orch.mission.reduce import reduce
from orch.mission.state import OPEN, Item, MissionState, MissionStatus, SessionStatus
from orch.runtime import recovery, verification
from orch.runtime.budget import MUCH, Budget, failure
from orch.runtime.clock import Clock
from orch.runtime.session import Conversation
from orch.store.journal import Journal
from orch.store.locks import Leases
from orch.tools.desk import Place, SessionOver

GRACE_S = 5.0
"""On a stop, turns under way may finish for this long: they are paid for."""
WATCH_S = 2.0
"""How often it is looked whether the journal is still where it belongs."""
LEASE_RETRY_S = 1.0
"""How long to wait before a file that another process holds is asked for again."""
LEASE_LIMIT_S = 60.0
"""An item whose files another process holds for this long is given up."""
LOOK_AGAIN_S = 30.0
"""The driver looks at the state at least this often, whatever it was told."""
CANCEL_LIMIT_S = 10.0
"""Cancelled work has this long to end its commands."""

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
)
"""Events after which nothing new can be due: the driver sleeps on."""


class View(Protocol):
    """Somebody who looks: hears every event once it is durable, with the state after it."""

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Show an event. Must not block and must not raise."""
        ...


class Converse(Protocol):
    """Builds the conversation of a session that is to run in this process."""

    def __call__(self, owner: "Orchestrator", session_id: ev.SessionId, /) -> Conversation:
        """Return a conversation that has not started."""
        ...


@dataclass(slots=True, eq=False)
class Orchestrator:
    """One run of one mission. `state` is what the journal says; only `record` changes it.

    `durable` is the part of it that is on disk.
    `began_s` is the time of `time.monotonic` from which its timeout counts; `culprit` the session in whose
    task a bug of orch came up.
    """

    state: MissionState
    mission: ev.MissionId
    journal: Journal
    leases: Leases
    place: Place
    converse: Converse
    views: Sequence[View]
    command_timeout_s: float
    redact: Redaction
    budget: Budget = field(default_factory=Budget)
    clock: Clock = field(default_factory=Clock)
    began_s: float = field(default_factory=time.monotonic)
    culprit: ev.SessionId | None = None
    durable: MissionState = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stop_now: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped_by: ev.StopSignal | None = None
    _timed_out: ev.Budget | None = None
    _group: asyncio.TaskGroup = field(init=False)
    _tasks: dict[Work, asyncio.Task[None]] = field(default_factory=dict)
    _helpers: set[asyncio.Task[None]] = field(default_factory=set)
    _conversations: dict[ev.SessionId, Conversation] = field(default_factory=dict)
    _closing: set[ev.SessionId] = field(default_factory=set)
    _taken: dict[ev.ItemId, tuple[str, ...]] = field(default_factory=dict)
    _denied_since: dict[ev.ItemId, float] = field(default_factory=dict)
    _unheld: set[ev.ItemId] = field(init=False)
    _durable: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.durable = self.state
        self._unheld = {item.spec.id for item in self.state.items.values() if item.leased}

    # ---- what happens

    async def record(self, *events: ev.Event) -> None:
        """Make `events` happen, as one batch; returns when they are durable.

        Raises:
            IllegalTransition: The state does not allow one of them; none of them happened.
            DiskRefused: They could not be written; the run is over.
        """
        if not events:
            return
        now = self.clock.now()
        state = self.state
        stamped: list[ev.Event] = []
        after: list[MissionState] = []
        for event in events:
            fact = self.redact(event)
            fact = fact.model_copy(update={"seq": state.seq + 1, "ts": now, "mission": self.mission})
            state = reduce(state, fact)
            stamped.append(fact)
            after.append(state)
        durable = self._durable = self.journal.append(stamped)
        self.state = state
        durable.add_done_callback(lambda done: self._publish(done, stamped, after))
        await asyncio.shield(durable)

    def _publish(
        self, done: asyncio.Future[None], events: list[ev.Event], states: list[MissionState]
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self.durable = states[-1]
        for event, state in zip(events, states, strict=True):
            if isinstance(event, ev.LeaseReleased):
                self.leases.release(event.item)
            for view in self.views:
                view.show(event, state)
        if any(not isinstance(event, _ROUTINE) for event in events):
            self._changed.set()

    # ---- the run

    async def run(self) -> None:
        """Run until the mission's run is over, whatever that means; the state says.

        Raises:
            DiskRefused: The journal could not be written, or is gone.
        """
        self.budget.changed = self._changed.set
        try:
            async with asyncio.TaskGroup() as self._group:
                watch = self._group.create_task(self._watch(), name="watch the journal")
                timeout = self._group.create_task(self._time_out(), name="timeout")
                try:
                    await self._drive()
                finally:
                    watch.cancel()
                    timeout.cancel()
                    await self._end_all()
        except* DiskRefused as refused:
            raise _first(refused) from None

    def stop(self, signal: ev.StopSignal, *, now: bool = False) -> None:
        """Ask the run to stop: gracefully, and with `now` (or asked again) at once."""
        if now or self._stopped_by is not None:
            self._stop_now.set()
            self.place.processes.hurry()
        self._stopped_by = self._stopped_by or signal
        self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        self._stop.set()
        self.budget.close()
        self._changed.set()

    def is_stopping(self) -> bool:
        """Whether no new turn may start."""
        return self._stop.is_set()

    def spawn(self, job: Coroutine[object, object, None], name: str) -> None:
        """Run the watcher of a background job, or what ends one, for as long as the run lasts."""
        helper = self._group.create_task(job, name=name)
        self._helpers.add(helper)
        helper.add_done_callback(self._helper_done)

    def _helper_done(self, helper: asyncio.Task[None]) -> None:
        self._helpers.discard(helper)
        self._changed.set()

    async def _drive(self) -> None:
        while self.state.status is MissionStatus.RUNNING:
            if self._stop.is_set():
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
        await self._hold_again()
        denied: set[ev.ItemId] = set()
        while not self._stop.is_set():
            steps = decide(self.state, denied)
            leases = {step.lease for step in steps if step.lease is not None}
            self._give_back(leases)
            missing = [item for item in leases if self._taken.get(item) != self.state.items[item].files]
            denied.update([item for item in missing if not await self._take(item)])
            if missing:
                continue
            if not steps:
                break
            for item in leases:
                del self._taken[item]
            await self.record(*(event for step in steps for event in step.events))
        return bool(denied or self._unheld)

    async def _hold_again(self) -> None:
        """Take the leases that an earlier run held; until they are taken, nobody works on their items."""
        for item_id in tuple(self._unheld):
            item = self.state.items[item_id]
            reason = None
            if item.leased:
                reason = await asyncio.to_thread(self.leases.acquire, item_id, item.files)
            if reason is not None:
                await self._note_denial(item, reason)
                continue
            self._unheld.discard(item_id)
            self._denied_since.pop(item_id, None)

    async def _take(self, item_id: ev.ItemId) -> bool:
        """Take the leases of an item that is about to start; say whether it has them."""
        item = self.state.items[item_id]
        if self._durable is not None:
            await asyncio.shield(self._durable)  # what the state calls free is released when that is durable
        reason = await asyncio.to_thread(self.leases.acquire, item_id, item.files)
        if reason is not None:
            await self._note_denial(item, reason)
            return False
        self._taken[item_id] = item.files
        self._denied_since.pop(item_id, None)
        return True

    async def _note_denial(self, item: Item, reason: str) -> None:
        """Say once that another process holds a file of an item; give the item up in the end."""
        now = asyncio.get_running_loop().time()
        since = self._denied_since.get(item.spec.id)
        if since is None:
            self._denied_since[item.spec.id] = now
            await self.record(ev.LeaseDenied(item=item.spec.id, files=item.files, reason=reason))
        elif now - since >= LEASE_LIMIT_S and self.state.items[item.spec.id].status in OPEN:
            await self.record(ev.ItemFailed(item=item.spec.id, kind=ev.BlockerKind.ITEM, reason=reason))

    def _give_back(self, wanted: Collection[ev.ItemId]) -> None:
        """Release what was taken for items that do not start after all, or have other files by now."""
        for item in list(self._taken):
            if item not in wanted or self._taken[item] != self.state.items[item].files:
                del self._taken[item]
                self.leases.release(item)

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
            return wanted.subject not in self._unheld
        session = self.state.sessions[ev.SessionId(wanted.subject)]
        if session.item in self._unheld:
            return False
        if session.role is ev.Role.COMMANDER:
            return True
        at_work = [w.subject for w in self._tasks if w.kind is WorkKind.SESSION]
        return len(at_work) - (self.state.commander in at_work) < self.state.max_parallel

    def _job(self, wanted: Work) -> Coroutine[object, object, None]:
        match wanted.kind:
            case WorkKind.SESSION:
                return self._conversation(ev.SessionId(wanted.subject)).run()
            case WorkKind.SETUP:
                item = ev.ItemId(wanted.subject)
                return self._set_up(item)
            case WorkKind.VERIFICATION:
                return verification.verify(self.place, self.record, self.command_timeout_s)

    def _conversation(self, session: ev.SessionId) -> Conversation:
        if session not in self._conversations:
            self._conversations[session] = self.converse(self, session)
        return self._conversations[session]

    async def _set_up(self, item: ev.ItemId) -> None:
        await verification.set_up(self.place, self.record, item, self.command_timeout_s)
        extra = self.state.items[item].extra_files
        if extra and self.state.items[item].leased:
            await asyncio.to_thread(self.leases.extend, item, extra)

    async def _guarded(self, work: Work) -> None:
        """Do some work; an error of a model ends the run or the session, as the table says.

        Anything else ends the run; it is kept in whose session it came up.
        """
        try:
            await self._carried_out(work)
        except Exception as error:
            if work.kind is WorkKind.SESSION and not isinstance(error, DiskRefused):
                self.culprit = self.culprit or ev.SessionId(work.subject)
            raise
        finally:
            self._changed.set()

    async def _carried_out(self, work: Work) -> None:
        try:
            with suppress(SessionOver):  # the mission took its turn away: what it did since is not recorded
                await self._job(work)
        except ModelError as error:
            row = recovery.action_for(error)
            if row is None or row.action is recovery.Action.FAIL_SESSION:
                await self._fail_session(work, str(error))
            else:
                await self._fail_run(row.outcome, str(error), usage=row.outcome is ev.Outcome.ERROR)

    async def _fail_session(self, work: Work, reason: str) -> None:
        session = self.state.sessions.get(ev.SessionId(work.subject))
        if session is not None and session.status is SessionStatus.RUNNING:
            await self.record(
                ev.SessionEnded(
                    session=session.id, item=session.item, outcome=ev.SessionOutcome.FAILED, reason=reason
                )
            )

    async def _ended_at_limit(self) -> bool:
        """End the run if all that it does is to wait for the budget; say whether it did."""
        busy = sum(1 for task in self._tasks.values() if not task.done())
        fact = self.budget.reached() if busy and self.budget.waiting == busy else None
        if fact is None or self.state.status is not MissionStatus.RUNNING:
            return False
        await self.record(fact, failure(fact))
        return True

    async def _fail_run(self, outcome: ev.Outcome, text: str, *, usage: bool) -> None:
        if self.state.status is MissionStatus.RUNNING:
            await self.record(ev.MissionFailed(outcome=outcome, text=text, is_usage=usage))

    # ---- the end

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
            await self.record(self._last_word())

    def _last_word(self) -> ev.Event:
        """Return why the run stopped: what came first."""
        if self._timed_out is not None:
            return failure(self._timed_out)
        return ev.MissionStopped(signal=self._stopped_by or ev.StopSignal.TERMINATE)

    async def _time_out(self) -> None:
        """Stop the run when its time is over; say before that much of it is."""
        timeout_s = self.state.caps.timeout_s
        if timeout_s is None:
            return
        for part in (MUCH, 1.0):
            await asyncio.sleep(self.began_s + part * timeout_s - time.monotonic())
            if self.state.status is not MissionStatus.RUNNING or self._stop.is_set():
                return
            spent_s = round(time.monotonic() - self.began_s, 3)
            fact = ev.Budget(limit=Cap.TIMEOUT, cap=timeout_s, spent=spent_s, reached=part == 1.0)
            if fact.reached:
                self._timed_out = fact
                self._begin_to_stop()
            await self.record(fact)

    def _is_asking(self, wanted: Work) -> bool:
        if wanted.kind is not WorkKind.SESSION:
            return False
        conversation = self._conversations.get(ev.SessionId(wanted.subject))
        return conversation is not None and conversation.is_asking

    async def _hurry(self, sessions: Sequence[asyncio.Task[None]]) -> None:
        await self._stop_now.wait()
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
            if not await asyncio.to_thread(self.journal.alive):
                raise DiskRefused(
                    "the mission's journal is gone (was .opencode/orch deleted?): the run cannot go on. "
                    "Restore it and run `orch resume`, or start afresh."
                )
            if not await asyncio.to_thread(self.leases.intact):
                raise DiskRefused(
                    "lock files of this mission are gone from .opencode/orch/locks, so they bind nobody else "
                    "any more: the run stopped. `orch resume` takes them anew."
                )


def _first(group: BaseExceptionGroup[DiskRefused]) -> DiskRefused:
    """Return one of the errors of a group: all tasks were told the same."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
