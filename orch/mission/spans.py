"""How the sessions of a mission spent their time, from its events. Pure.

A session is in at most one stretch at a time; what it does between two of them is orch's own work and takes
no time worth showing. A retry says how long it waits; that it then asks again is no event, so the rest of its
time counts as its turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orch.errors import RateLimited
from orch.mission import events as ev
from orch.mission.chronicle import Doing, SessionTale, Stretch
from orch.mission.state import MissionState, SessionStatus


@dataclass(slots=True)
class _Span:
    """One session's time so far; `since_s` is when what it is `doing` began."""

    id: ev.SessionId
    role: ev.Role
    began_s: float
    ended_s: float
    is_over: bool = False
    doing: Doing | None = None
    since_s: float = 0.0
    calls: int = 0
    stretches: list[Stretch] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    tools: int = 0
    failed_tools: int = 0

    def turn_to(self, doing: Doing | None, now_s: float) -> None:
        """End what it did, and begin something else."""
        if self.doing is not None and now_s > self.since_s:
            self.stretches.append(Stretch(self.doing, self.since_s, now_s))
        self.doing, self.since_s = doing, now_s

    def wait(self, doing: Doing, now_s: float, until_s: float) -> None:
        """Wait for a while, then go on with the turn."""
        self.turn_to(None, now_s)
        self.stretches.append(Stretch(doing, now_s, until_s))
        self.doing, self.since_s = Doing.TURN, until_s

    def cut(self, now_s: float) -> None:
        """End what was to go on for longer."""
        if self.stretches and self.stretches[-1].ended_s > now_s:
            self.stretches[-1] = replace(self.stretches[-1], ended_s=now_s)
            self.since_s = min(self.since_s, now_s)


@dataclass(slots=True)
class Spans:
    """The sessions' time so far."""

    _spans: dict[ev.SessionId, _Span] = field(default_factory=dict)

    def take(self, event: ev.Event, now_s: float) -> None:
        """Take one event into account."""
        if isinstance(event, ev.SessionStarted):
            self._spans[event.session] = _Span(event.session, event.role, now_s, now_s)
            return
        span = self._spans.get(event.session) if event.session is not None else None
        if span is not None:
            span.cut(now_s)
            span.ended_s = now_s
            _take(span, event, now_s)

    def pause(self, now_s: float) -> None:
        """End what everybody does: the run is over."""
        for span in self._spans.values():
            span.cut(now_s)
            span.turn_to(None, now_s)
            span.calls = 0

    def go_on(self, state: MissionState, now_s: float) -> None:
        """Begin another run: who waited for word waits on, who was never told anything is over."""
        for span in self._spans.values():
            status = state.sessions[span.id].status
            span.is_over = span.is_over or status is SessionStatus.ENDED
            if status is SessionStatus.IDLE:
                span.turn_to(Doing.IDLE, now_s)

    def tales(self) -> Mapping[ev.SessionId, SessionTale]:
        """Return every session's time, in the order in which they began."""
        return {
            span.id: SessionTale(
                id=span.id,
                role=span.role,
                began_s=span.began_s,
                ended_s=max([span.ended_s, *(s.ended_s for s in span.stretches[-1:])]),
                is_over=span.is_over,
                stretches=tuple(span.stretches),
                models=tuple(span.models),
                tools=span.tools,
                failed_tools=span.failed_tools,
            )
            for span in self._spans.values()
        }


def _take(span: _Span, event: ev.Event, now_s: float) -> None:
    match event:
        case ev.TurnStarted():
            span.turn_to(Doing.TURN, now_s)
            if event.model not in span.models:
                span.models.append(event.model)
        case ev.TurnFinished() | ev.TurnFailed() | ev.Compaction() | ev.MessageSent():
            span.turn_to(None, now_s)
        case ev.ToolCalled() | ev.ToolFinished():
            _call(span, event, now_s)
        case ev.Retry():
            doing = Doing.GATE if event.error == RateLimited.__name__ else Doing.BACKOFF
            span.wait(doing, now_s, now_s + event.delay_s)
        case ev.SessionIdle():
            span.turn_to(Doing.IDLE, now_s)
        case ev.SessionEnded():
            span.turn_to(None, now_s)
            span.is_over = True
        case _:
            return


def _call(span: _Span, event: ev.ToolCalled | ev.ToolFinished, now_s: float) -> None:
    """Several calls of one turn may run at the same time."""
    if isinstance(event, ev.ToolCalled):
        span.calls += 1
        span.tools += 1
        if span.calls == 1:
            span.turn_to(Doing.TOOL, now_s)
        return
    span.calls = max(0, span.calls - 1)
    span.failed_tools += not event.ok
    if span.calls == 0:
        span.turn_to(None, now_s)
