"""A mission as plain lines on stderr: one line per fact that a person wants to know.

Everything shown is defused first and never taken as markup. Routine (turns, tools, leases) is left out; what
was started, decided, refused, proven or broken is said, with the time since the run began.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import singledispatch
from typing import Final

from rich.console import Console
from rich.text import Text

from orch.errors import RateLimited
from orch.mission import caps
from orch.mission import events as ev
from orch.mission.caps import Cap
from orch.mission.estimate import amounts
from orch.mission.state import ItemStatus, MissionState, listed_items
from orch.view import defuse, heartbeat

NARROWEST = 40
"""Columns that a line takes at least: in less nothing could be said."""
QUIET_S = 10.0
"""Of a provider that asks for short waits again and again, so often is enough."""
REFUSED: Final = RateLimited.__name__
"""The error of a retry that its provider's gate waits out."""

_STYLES: Mapping[type[ev.Fact], str] = {
    ev.MissionSealed: "bold green",
    ev.MissionAnswered: "bold green",
    ev.MissionPlanned: "bold green",
    ev.MissionFailed: "bold red",
    ev.MissionStopped: "bold yellow",
    ev.ItemCompleted: "green",
    ev.ItemRejected: "yellow",
    ev.ItemFailed: "red",
    ev.ItemBlocked: "red",
    ev.PlanRejected: "yellow",
    ev.Retry: "yellow",
    ev.ModelSwitched: "yellow",
    ev.Budget: "yellow",
    ev.PermissionDenied: "yellow",
    ev.IssueOpened: "yellow",
    ev.SealRefused: "yellow",
    ev.Stagnation: "yellow",
    ev.LeaseDenied: "yellow",
}


@dataclass(slots=True)
class Echoes:
    """Knows what is said already: fifty sessions hear the same of a provider, and a person once is enough."""

    _open_again: dict[str, datetime] = field(default_factory=dict)
    _said: dict[str, datetime] = field(default_factory=dict)
    _models: dict[ev.Role, str] = field(default_factory=dict)

    def has(self, event: ev.Event, state: MissionState) -> bool:
        """Say whether an event tells nothing new, and keep what it tells."""
        match event:
            case ev.Retry() if event.error == REFUSED:
                return self._is_known_wait(event, state)
            case ev.ModelSwitched():
                before = self._models.get(event.role)
                self._models[event.role] = event.model
                return before == event.model
            case ev.ModelRestored():
                self._models.pop(event.role, None)
                return False
            case _:
                return False

    def _is_known_wait(self, event: ev.Retry, state: MissionState) -> bool:
        """Say whether the provider's gate is closed by a refusal that is said, or opens again soon."""
        session = state.sessions.get(event.session)
        provider = session.model.partition("/")[0] if session is not None else ""
        now = datetime.fromisoformat(event.ts)
        until = self._open_again.get(provider, now)
        self._open_again[provider] = max(until, now + timedelta(seconds=event.delay_s))
        said = self._said.get(provider)
        is_news = said is None or max((now - said).total_seconds(), event.delay_s) >= QUIET_S
        if now < until or not is_news:
            return True
        self._said[provider] = now
        return False


class Lines:
    """Prints facts as they happen, each on a line of at most as many columns as `width` says then."""

    def __init__(
        self,
        console: Console,
        width: Callable[[], int],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._console = console
        self._width = width
        self._now = now
        self._said = now()
        self._began: datetime | None = None
        self._state = MissionState()
        self._echoes = Echoes()

    def take_up(self, state: MissionState) -> None:
        """Go on with a mission that has begun: times count from the beginning of its run."""
        self._state = state
        self._began = datetime.fromisoformat(state.run_started or state.started)

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Print an event, if a person wants to know it."""
        self._state = state
        at = datetime.fromisoformat(event.ts)
        self._began = self._began or at
        text = describe(event, state)
        if text is not None and not self._echoes.has(event, state):
            self._print(at, text, _STYLES.get(type(event), ""))

    def beat(self) -> None:
        """Print what the mission is doing, if nothing was printed for a while."""
        now, state = self._now(), self._state
        if heartbeat.is_due(state, self._said, now):
            self._print(now, heartbeat.sentence(state, now), "dim")

    def say(self, text: Text | str) -> None:
        """Print a line as it is: not wrapped by us, never read as markup."""
        self._said = self._now()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _print(self, at: datetime, text: str, style: str) -> None:
        passed_s = max(0, int((at - (self._began or at)).total_seconds()))
        mark = f"{passed_s // 60:3d}:{passed_s % 60:02d}  "
        line = Text(mark, style="dim")
        line.append(defuse.line(text, max(NARROWEST, self._width()) - len(mark)), style=style)
        self.say(line)


def _title(state: MissionState, item: ev.ItemId | None) -> str:
    known = state.items.get(item) if item else None
    return f"{item}: {known.spec.title}" if known else str(item)


@singledispatch
def describe(event: ev.Fact, state: MissionState) -> str | None:
    """Say an event in one line; `None` for routine."""
    del event, state
    return None


@describe.register
def _(event: ev.MissionStarted, state: MissionState) -> str:
    del state
    return f"mission {event.mission}: {event.goal}"


@describe.register
def _(event: ev.MissionResumed, state: MissionState) -> str:
    return f"mission {event.mission} goes on: {state.goal}"


@describe.register
def _(event: ev.MissionStopped, state: MissionState) -> str:
    del state
    return f"stopped by {event.signal}"


@describe.register
def _(event: ev.MissionSealed, state: MissionState) -> str:
    del state
    return f"sealed, tree {event.tree[:12]}"


@describe.register
def _(event: ev.MissionAnswered, state: MissionState) -> str:
    del event, state
    return "answered"


@describe.register
def _(event: ev.MissionPlanned, state: MissionState) -> str:
    cost = f", {amounts(event.estimate)}" if event.estimate is not None else ""
    return f"planned: {len(listed_items(state))} items{cost}; nothing was changed"


@describe.register
def _(event: ev.MissionFailed, state: MissionState) -> str:
    del state
    return f"{event.outcome}: {event.text}"


@describe.register
def _(event: ev.ContextUpdated, state: MissionState) -> str:
    del event, state
    return "context.md written"


@describe.register
def _(event: ev.PlanAccepted, state: MissionState) -> str:
    del state
    items = heartbeat.counted(len(event.items), "item")
    return f"plan: {items}, verified by {', '.join(event.verify) or 'their checks'}"


@describe.register
def _(event: ev.PlanRejected, state: MissionState) -> str:
    del state
    return f"plan refused: {'; '.join(event.reasons)}"


@describe.register
def _(event: ev.ItemAdded, state: MissionState) -> str:
    del state
    return f"added {event.item}: {event.spec.title}"


@describe.register
def _(event: ev.ItemDropped, state: MissionState) -> str:
    del state
    return f"dropped {event.item}: {event.reason}"


@describe.register
def _(event: ev.ItemStarted, state: MissionState) -> str:
    return f"started {_title(state, event.item)}"


@describe.register
def _(event: ev.ItemSubmitted, state: MissionState) -> str:
    del state
    return f"submitted {event.item}"


@describe.register
def _(event: ev.SetupFinished, state: MissionState) -> str:
    del state
    return f"setup of {event.item} exited {event.exit_code}: {event.command}"


@describe.register
def _(event: ev.ItemCompleted, state: MissionState) -> str:
    items = listed_items(state)
    done = sum(1 for item in items if item.status is ItemStatus.COMPLETED)
    return f"completed {event.item}, {done} of {len(items)} done ({', '.join(event.evidence)})"


@describe.register
def _(event: ev.ItemRejected, state: MissionState) -> str:
    del state
    return f"rejected {event.item} (round {event.round}): {event.reason}"


@describe.register(ev.ItemFailed)
@describe.register(ev.ItemBlocked)
def _(event: ev.ItemFailed | ev.ItemBlocked, state: MissionState) -> str:
    return f"{event.type.partition('.')[2]} {_title(state, event.item)}: {event.reason}"


@describe.register
def _(event: ev.SessionEnded, state: MissionState) -> str | None:
    if event.outcome is not ev.SessionOutcome.FAILED:
        return None
    role = state.sessions[event.session].role
    return f"{role} {event.session} failed: {event.reason}"


@describe.register
def _(event: ev.Retry, state: MissionState) -> str:
    del state
    if event.error == REFUSED:
        return f"the provider asks to wait, {event.delay_s:.1f}s: {event.text}"
    return f"retry {event.attempt} in {event.delay_s:.1f}s: {event.text}"


@describe.register
def _(event: ev.ModelSwitched, state: MissionState) -> str:
    del state
    return f"{event.role} goes on with {event.model}: {event.reason}"


@describe.register
def _(event: ev.ModelRestored, state: MissionState) -> str:
    del state
    return f"the next {event.role} begins with {event.model} again"


@describe.register
def _(event: ev.Budget, state: MissionState) -> str | None:
    del state
    setting = caps.setting(event.limit, event.cap)
    if not event.reached:
        return f"{event.spent / event.cap:.0%} of {setting} used: {caps.shown(event.limit, event.spent)}"
    if event.limit is Cap.TIMEOUT:
        return f"{setting} is over: stopping; turns under way may finish"
    return None  # the end of the run says it, right behind


@describe.register
def _(event: ev.Heal, state: MissionState) -> str:
    del state
    return f"healed: {event.text}"


@describe.register
def _(event: ev.Compaction, state: MissionState) -> str:
    del state
    what = {
        ev.CompactionStage.DROPPED: f"{heartbeat.counted(len(event.dropped), 'old result')} dropped",
        ev.CompactionStage.SUMMARISED: "old turns summed up",
        ev.CompactionStage.DIGESTED: "old turns dropped",
    }[event.stage]
    return f"{event.session} compacted, {event.before_tokens:,} -> {event.after_tokens:,} tokens: {what}"


@describe.register
def _(event: ev.PermissionDenied, state: MissionState) -> str:
    del state
    return f"denied: {event.reason}"


@describe.register
def _(event: ev.LeaseDenied, state: MissionState) -> str:
    del state
    return f"{event.item} waits: {event.reason}"


@describe.register
def _(event: ev.EvidenceRecorded, state: MissionState) -> str:
    del state
    return f"{event.evidence} exit {event.exit_code}, {event.duration_s:.1f}s: {event.command}"


@describe.register
def _(event: ev.IssueOpened, state: MissionState) -> str:
    del state
    return f"issue {event.issue} on {event.item or 'nobody'}: {event.text}"


@describe.register
def _(event: ev.IssueClosed, state: MissionState) -> str:
    del state
    return f"closed {event.issue}: {event.reason}"


@describe.register
def _(event: ev.VerificationFinished, state: MissionState) -> str:
    del state
    when = "before the first write" if event.phase is ev.VerificationPhase.BASELINE else "for the seal"
    return f"verified {when}: exit {event.exit_code}, {event.duration_s:.1f}s: {event.command}"


@describe.register
def _(event: ev.SealRefused, state: MissionState) -> str:
    del state
    return f"not sealed yet: {'; '.join(blocker.text for blocker in event.blockers)}"


@describe.register
def _(event: ev.Stagnation, state: MissionState) -> str:
    del state
    return f"nothing moved: {event.stage}"
