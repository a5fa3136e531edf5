"""One isolated conversation: ask, act, repeat, until the model stops calling tools.

The session looks only at the mission's state to know what it owes next: results of open calls, then a turn.
So a resume needs nothing else: it is started again, and goes on. Two records a turn are durable before
anything acts on them: the answer with its calls, then the results with the next turn's start.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from orch.errors import ModelError, ProviderUnavailable, ToolError
from orch.mission import events as ev
from orch.mission import transcript
from orch.mission.state import MissionState, Session, SessionStatus
from orch.mission.transcript import AssistantMessage, History, ToolCall, UserMessage
from orch.models.interface import Ask, Model, Reply, ToolSpec
from orch.runtime import recovery
from orch.tools import toolbox
from orch.tools.desk import Desk, ToolResult

NOT_RUN = "not run: the call before it ended this session's turn"
CUT_OFF = (
    "[orch] Your answer was cut off at the output limit. Go on, in smaller steps: call one tool at a time, "
    "and write long files in parts."
)
MAX_CUTS = 2
"""Answers in a row that are asked to go on; one more and the session counts as stopped."""
INTERRUPTED = (
    "interrupted: orch stopped before this command's end was on record; its outcome is unknown. It was not "
    "run again: look at the files, then run what you need."
)


@dataclass(frozen=True, slots=True)
class Voice:
    """What a session asks with: its model, its system prompt (context included), its tools and limits."""

    model: Model
    system: Callable[[], str]
    grants: frozenset[str]
    max_turns: int
    retry_base_s: float
    is_stopping: Callable[[], bool]

    def tools(self) -> tuple[ToolSpec, ...]:
        """Return the granted tools, always in the same order: the prefix stays the same bytes."""
        return _specs(self.grants)


_SPECS: dict[frozenset[str], tuple[ToolSpec, ...]] = {}


def _specs(grants: frozenset[str]) -> tuple[ToolSpec, ...]:
    if grants not in _SPECS:
        _SPECS[grants] = tuple(
            ToolSpec(name, tool.description, tool.parameters())
            for name, tool in toolbox.TOOLS.items()
            if name in grants
        )
    return _SPECS[grants]


@dataclass(slots=True)
class Conversation:
    """A session at work. `run` may be called again whenever the state says that it owes a turn."""

    desk: Desk
    voice: Voice
    _pending: list[ev.Event] = field(default_factory=list)
    _checked: int = 0

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
                await self._record(ev.SessionIdle(session=self.desk.session_id, item=self._session.item))
            elif self._turns_left() <= 0:
                await self._end_at_limit()
            else:
                await self._turn()
        await self._settle()

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

    def _turns_left(self) -> int:
        session = self._session
        spent = session.turns_since_wake if session.role is ev.Role.COMMANDER else session.turns
        return self.voice.max_turns - spent

    async def _end_at_limit(self) -> None:
        await self._record(
            ev.SessionEnded(
                session=self.desk.session_id,
                item=self._session.item,
                outcome=ev.SessionOutcome.FAILED,
                kind=ev.BlockerKind.LIMIT,
                reason=f"it used up its {self.voice.max_turns} turns (--max-turns)",
            )
        )

    # ---- ask

    async def _turn(self) -> None:
        session = self._session
        loop = asyncio.get_running_loop()
        # First of all: ids in pending events were free when their tool returned, and nobody ran since.
        await self._record(
            ev.TurnStarted(session=session.id, item=session.item, turn=session.turns + 1, model=session.model)
        )
        system = await asyncio.to_thread(self.voice.system)
        began = loop.time()
        reply = await self._ask(Ask(system, self._session.messages, self.voice.tools()))
        message = reply.message
        if not message.text.strip() and not message.tool_calls:
            message = AssistantMessage(text=transcript.EMPTY_REPLY)
        self.desk.begun.update(call.id for call in message.tool_calls)
        cut = reply.finish is ev.FinishReason.LENGTH and not message.tool_calls
        await self._record(
            ev.TurnFinished(
                session=session.id,
                item=session.item,
                turn=session.turns + 1,
                model=session.model,
                message=message,
                finish=reply.finish,
                usage=reply.usage,
                duration_s=round(loop.time() - began, 3),
            ),
            *(self._called(call) for call in message.tool_calls),
            *((self._go_on(),) if cut and self._cuts() < MAX_CUTS else ()),
        )

    def _go_on(self) -> ev.MessageSent:
        """Ask for the rest of an answer that its output limit cut off."""
        return ev.MessageSent(
            session=self.desk.session_id,
            item=self._session.item,
            reason=ev.MessageReason.RECOVERY,
            text=CUT_OFF,
        )

    def _cuts(self) -> int:
        """Return how many answers in a row were cut off before this one."""
        recent = self._session.messages[-2 * MAX_CUTS :]
        return sum(1 for message in recent if isinstance(message, UserMessage) and message.text == CUT_OFF)

    def _called(self, call: ToolCall) -> ev.ToolCalled:
        return ev.ToolCalled(
            session=self.desk.session_id,
            item=self._session.item,
            call_id=call.id,
            tool=call.name,
            summary=toolbox.summary(call),
        )

    async def _ask(self, ask: Ask) -> Reply:
        self._check(self._session.messages)
        tries = AsyncRetrying(
            stop=stop_after_attempt(recovery.TRIES),
            wait=recovery.backoff(self.voice.retry_base_s),
            retry=retry_if_exception(recovery.is_retried),
            before_sleep=self._note_retry,
            reraise=True,
        )
        try:
            return await tries(self.voice.model.ask, ask)
        except ModelError as error:
            row = recovery.action_for(error)
            if row is not None and row.action is recovery.Action.RETRY:
                raise ProviderUnavailable(
                    f"{error} (given up after {tries.statistics['attempt_number']} tries)"
                ) from error
            raise

    def _check(self, messages: History) -> None:
        """Check what is new: histories only grow, and a long one is not read again each turn."""
        transcript.check((messages[0], *messages[self._checked :]) if self._checked else messages)
        self._checked = len(messages)

    async def _note_retry(self, retry: RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        await self._record(
            ev.Retry(
                session=self.desk.session_id,
                item=self._session.item,
                attempt=retry.attempt_number,
                delay_s=round(retry.next_action.sleep if retry.next_action else 0.0, 3),
                error=type(error).__name__,
                text=str(error),
            )
        )

    # ---- act

    async def _act(self, calls: Sequence[ToolCall]) -> None:
        """Run the calls: neighbouring reads side by side, everything else in order."""
        for is_read, group in groupby(calls, key=_is_read):
            if is_read:
                await self._settle()
                await self._run_together(tuple(group))
                continue
            for call in group:
                await self._settle()
                if await self._run_one(call):
                    return

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
        idle = [] if ends else [ev.SessionIdle(session=self.desk.session_id, item=self._session.item)]
        await self._record(finished, *refused, *idle, *result.events)
        return True

    def _finished(self, call: ToolCall, result: ToolResult, duration_s: float) -> ev.ToolFinished:
        return ev.ToolFinished(
            session=self.desk.session_id,
            item=self._session.item,
            call_id=call.id,
            tool=call.name,
            ok=result.ok,
            text=transcript.clean(result.text) if result.text.strip() else "(no output)",
            duration_s=round(duration_s, 3),
            seen=dict(result.seen),
        )

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
        if tool.is_command and call.id not in self.desk.begun:
            return ToolResult(text=INTERRUPTED, ok=False)
        try:
            return await toolbox.run(self.desk, call)
        except ToolError as error:
            return ToolResult(text=f"error: {error}", ok=False)


def _is_read(call: ToolCall) -> bool:
    tool = toolbox.TOOLS.get(call.name)
    return tool is not None and tool.is_read
