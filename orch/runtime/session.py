"""One isolated conversation: ask, act, repeat, until the model stops calling tools.

The session looks only at the mission's state to know what it owes next: results of open calls, then a turn.
So a resume needs nothing else: it is started again, and goes on. Two records a turn are durable before
anything acts on them: the answer with its calls, then the results with the next turn's start.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from orch.errors import ModelError, ToolError
from orch.mission import answers, compaction, repetition, stumbles, transcript, worktime
from orch.mission import events as ev
from orch.mission.brief import INTERRUPTED
from orch.mission.state import MissionState, Session, SessionStatus
from orch.mission.transcript import AssistantMessage, History, ToolCall, ToolMessage
from orch.models.calls import MAX_CALLS, SURPLUS
from orch.models.interface import Ask
from orch.runtime.asking import Asking, Voice
from orch.runtime.budget import Call, Forecast
from orch.runtime.compaction import Upkeep
from orch.tools import toolbox
from orch.tools.desk import Desk, ToolResult

NOT_RUN = "not run: the call before it ended this session's turn"


@dataclass(slots=True)
class Conversation:
    """A session at work. `run` may be called again whenever the state says that it owes a turn."""

    desk: Desk
    voice: Voice
    _pending: list[ev.Event] = field(default_factory=list)
    _checked: int = 0
    _asking: Asking = field(init=False)
    _forecast: Forecast = field(init=False)
    _upkeep: Upkeep = field(init=False)

    def __post_init__(self) -> None:
        self._asking = Asking(self.desk, self.voice)
        self._forecast = Forecast(self.voice.facts)
        self._upkeep = Upkeep(self.desk, self.voice, self._asking, self._forecast)

    @property
    def is_asking(self) -> bool:
        """Whether an answer is on its way, which is paid for."""
        return self._asking.is_under_way

    @property
    def _state(self) -> MissionState:
        return self.desk.place.state()

    @property
    def _session(self) -> Session:
        return self.desk.session

    async def run(self) -> None:
        """Go on until the session owes nothing, or the run is stopping.

        Raises:
            ModelError: No answer could be had; `recovery` says what it means.
            SessionOver: The mission ended the session meanwhile.
        """
        while self._session.status is SessionStatus.RUNNING and not self.voice.is_stopping():
            if owed := self._unanswered():
                await self._act(owed)
            elif not self._pending and isinstance(self._session.messages[-1], AssistantMessage):
                await self._record(self._idle())
            elif (over := self._limit_reached()) is not None:
                await self._record(self._failed(over, ev.BlockerKind.LIMIT))
            else:
                await self._turn()
        await self._settle()

    async def switch(self, voice: Voice) -> None:
        """Go on with another model; the history stays, and so do the background jobs."""
        former, self.voice = self.voice, voice
        self.__post_init__()
        await former.model.close()

    async def close(self) -> None:
        """Give up the background jobs and the connection, also when cancelled meanwhile."""
        try:
            await self.desk.close()
        finally:
            await self.voice.model.close()

    async def _record(self, *events: ev.Event) -> None:
        """Record what is pending and `events` as one batch."""
        batch, self._pending = [*self._pending, *events], []
        await self.desk.record(*batch)

    def _unanswered(self) -> tuple[ToolCall, ...]:
        """Return the open calls without a result, recorded or pending."""
        answered = {event.call_id for event in self._pending if isinstance(event, ev.ToolFinished)}
        return tuple(call for call in self._session.open_calls if call.id not in answered)

    def _limit_reached(self) -> str | None:
        """Return why the session may not go on; `None` if it may."""
        session = self._session
        spent = session.turns_since_wake if session.role is ev.Role.COMMANDER else session.turns
        if spent >= self.voice.max_turns:
            has_own = session.role in self._state.role_turns
            setting = f"[roles.{session.role}] max_turns" if has_own else "--max-turns"
            return f"it used up its {self.voice.max_turns} turns ({setting})"
        limit_s = self.voice.session_timeout_s
        return worktime.reason(limit_s) if worktime.is_over(session, self._worked_s(), limit_s) else None

    def _worked_s(self) -> float:
        """Return how long the session has worked, pending results included."""
        pending = (event.duration_s for event in self._pending if isinstance(event, ev.ToolFinished))
        return self._session.worked_s + sum(pending)

    def _failed(self, reason: str, kind: ev.BlockerKind | None = None) -> ev.SessionEnded:
        failed = ev.SessionOutcome.FAILED
        return ev.SessionEnded(
            session=self.desk.session_id, item=self._session.item, outcome=failed, kind=kind, reason=reason
        )

    def _idle(self) -> ev.SessionIdle:
        return ev.SessionIdle(session=self.desk.session_id, item=self._session.item)

    # ---- ask

    async def _turn(self) -> None:
        """Ask as soon as window and budget have room for it; what is pending does not wait for that."""
        if not self._forecast.is_open:
            await self._settle()
            self._forecast.open(await asyncio.to_thread(self.voice.system), self.voice.tools())
            await self._upkeep.mend_invalid()
            return
        if self._upkeep.is_due(self._said()):
            await self._settle()
            if await self._upkeep.make_room():
                self._checked = 0
                return
        estimate = self._forecast.next(self._session, self._said())
        if self._pending and not self.voice.budget.fits(estimate):
            await self._settle()
            return
        async with self.voice.budget.call(estimate) as call:
            await self._take_turn(call)

    def _said(self) -> tuple[str, ...]:
        """Return the results that are not on record yet."""
        return tuple(event.text for event in self._pending if isinstance(event, ev.ToolFinished))

    async def _take_turn(self, call: Call) -> None:
        session = self._session
        # First of all: ids in pending events were free when their tool returned, and nobody ran since.
        await self._record(
            ev.TurnStarted(
                session=session.id,
                item=session.item,
                turn=session.turns + 1,
                model=session.model,
                estimate=call.estimate,
            )
        )
        system = await asyncio.to_thread(self.voice.system)
        asked = self._session.messages
        self._check(asked)
        try:
            reply = await self._asking.answer(Ask(system, asked, self.voice.tools()), call)
        except ModelError as error:
            if not await self._upkeep.mend(error):
                raise
            self._checked = 0
            return
        message = reply.message
        if not message.text.strip() and not message.tool_calls:
            message = AssistantMessage(text=transcript.EMPTY_REPLY)
        self.desk.begun.update(call.id for call in message.tool_calls)
        found = answers.flaw(reply.message, reply.finish)
        await self._record(
            ev.TurnFinished(
                session=session.id,
                item=session.item,
                turn=session.turns + 1,
                model=session.model,
                message=message,
                finish=reply.finish,
                usage=reply.usage,
                duration_s=round(self._asking.answered_in_s, 3),
            ),
            *(self._called(call) for call in message.tool_calls[:MAX_CALLS]),
            *(self._healed(found) if found is not None else ()),
            *self.voice.budget.news(),
        )
        self._forecast.learn(reply.usage)

    def _healed(self, found: answers.Flaw) -> tuple[ev.Event, ...]:
        """Ask once more for an answer that nothing can be done with; then the session has failed."""
        session = self._session
        if not answers.is_asked_again(session.messages):
            text, reason = answers.ASK_AGAIN[found], ev.MessageReason.RECOVERY
            return (ev.MessageSent(session=session.id, item=session.item, reason=reason, text=text),)
        return () if answers.counts_as_stop(session, found) else (self._failed(answers.REASONS[found]),)

    def _called(self, call: ToolCall) -> ev.ToolCalled:
        return ev.ToolCalled(
            session=self.desk.session_id,
            item=self._session.item,
            call_id=call.id,
            tool=call.name,
            summary=toolbox.summary(call),
        )

    def _check(self, messages: History) -> None:
        """Check what is new: histories only grow, and a long one is not read again each turn."""
        transcript.check((messages[0], *messages[self._checked :]) if self._checked else messages)
        self._checked = len(messages)

    # ---- act

    async def _act(self, calls: Sequence[ToolCall]) -> None:
        """Run the calls: neighbouring reads side by side, everything else in order."""
        surplus = self._surplus()
        await self._take_up([call for call in calls if call.id not in surplus])
        for is_read, group in groupby((call for call in calls if call.id not in surplus), key=_is_read):
            if is_read:
                await self._settle()
                await self._run_together(tuple(group))
                continue
            for call in group:
                await self._settle()
                if await self._run_one(call):
                    return
        not_run = ToolResult(text=SURPLUS, ok=False)
        self._pending += [self._finished(call, not_run, 0.0) for call in calls if call.id in surplus]
        await self._look_back()

    def _surplus(self) -> frozenset[str]:
        """Return the ids of the calls of this turn that are too many."""
        return frozenset(call.id for call in self._turn_calls()[MAX_CALLS:])

    def _turn_calls(self) -> tuple[ToolCall, ...]:
        turn = next(m for m in reversed(self._session.messages) if isinstance(m, AssistantMessage))
        return turn.tool_calls

    async def _take_up(self, calls: Sequence[ToolCall]) -> None:
        """Put on record which calls of an earlier run run again: it must be seen if one ends each run."""
        again = [call for call in calls if call.id not in self.desk.begun and not _is_command(call)]
        if again:
            await self._record(*(self._called(call) for call in again))

    async def _look_back(self) -> None:
        """End a session that goes on in circles (the Commander only rests); say to others how it goes."""
        fresh = [event for event in self._pending if isinstance(event, ev.ToolFinished)]
        results = (ToolMessage(call_id=e.call_id, text=e.text, failed=not e.ok) for e in fresh)
        history = (*self._session.messages, *results)
        verdict = repetition.judge(history)
        if verdict is repetition.Verdict.END and self._session.role is ev.Role.COMMANDER:
            await self._record(self._idle())
        elif verdict is repetition.Verdict.END:
            await self._record(self._failed(repetition.REASON))
        elif fresh:
            where = self._pending.index(fresh[-1])
            self._pending[where] = self._remarked(fresh[-1], history, verdict)

    def _remarked(
        self, last: ev.ToolFinished, history: History, verdict: repetition.Verdict
    ) -> ev.ToolFinished:
        """Return a turn's last result with what orch has to say: nothing may come before the next turn."""
        text, limit_s = last.text, self.voice.session_timeout_s
        late = worktime.is_due(self._session, self._worked_s(), limit_s)
        if late:
            text = worktime.told(text, limit_s)
        if verdict is repetition.Verdict.TELL:
            text = repetition.told(text)
        elif stumbles.is_due(history):
            text = stumbles.told(text, toolbox.takes(last.tool), self.voice.grants)
        return last.model_copy(update={"text": text, "late": late}) if text != last.text else last

    async def _settle(self) -> None:
        """Record what is pending before anything else is waited for: its ids are free only now."""
        if self._pending:
            await self._record()

    async def _run_together(self, calls: Sequence[ToolCall]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._attempt(call), name=f"tool {call.id}") for call in calls]
        for call, task in zip(calls, tasks, strict=True):
            result = task.result()
            self._pending += [*result.events, self._finished(call, result, loop.time() - began)]

    async def _run_one(self, call: ToolCall) -> bool:
        """Run a call that has effects; say whether it ended the session's turn."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await self._attempt(call)
        finished = self._finished(call, result, loop.time() - began)
        if not result.ends_turn:
            self._pending += [*result.events, finished]
            return False
        left = [c for c in self._session.open_calls if c.id != call.id]
        refused = [self._finished(c, ToolResult(text=NOT_RUN, ok=False), 0.0) for c in left]
        ends = any(isinstance(event, ev.SessionEnded) for event in result.events)
        idle = [] if ends else [self._idle()]
        await self._record(finished, *refused, *idle, *result.events)
        return True

    def _finished(self, call: ToolCall, result: ToolResult, duration_s: float) -> ev.ToolFinished:
        return ev.ToolFinished(
            session=self.desk.session_id,
            item=self._session.item,
            call_id=call.id,
            tool=call.name,
            ok=result.ok,
            text=self._clipped(transcript.clean(result.text)) if result.text.strip() else "(no output)",
            duration_s=round(duration_s, 3),
            seen=dict(result.seen),
        )

    def _clipped(self, text: str) -> str:
        """Return a result that takes no more than its share of the window, with those beside it."""
        calls = len(self._turn_calls()[:MAX_CALLS])
        return compaction.clipped(text, self._upkeep.window.result_bytes(calls))

    async def _attempt(self, call: ToolCall) -> ToolResult:
        """Run a call if it is granted; whatever goes wrong becomes a result that says so."""
        tool = toolbox.TOOLS.get(call.name)
        granted = sorted(self.voice.grants)
        if tool is None:
            return ToolResult(text=f"no tool {call.name}; you have: {', '.join(granted)}", ok=False)
        if call.name not in self.voice.grants:
            reason = f"a {self._session.role} may not call {call.name}"
            denied = ev.PermissionDenied(
                session=self.desk.session_id, item=self._session.item, tool=call.name, reason=reason
            )
            return ToolResult(text=f"{reason}; you have: {', '.join(granted)}", ok=False, events=(denied,))
        if _is_command(call) and call.id not in self.desk.begun:
            return ToolResult(text=INTERRUPTED, ok=False)
        try:
            return await toolbox.run(self.desk, call)
        except ToolError as error:
            return ToolResult(text=f"error: {error}", ok=False)


def _is_read(call: ToolCall) -> bool:
    tool = toolbox.TOOLS.get(call.name)
    return tool is not None and tool.is_read


def _is_command(call: ToolCall) -> bool:
    tool = toolbox.TOOLS.get(call.name)
    return tool is not None and tool.is_command
