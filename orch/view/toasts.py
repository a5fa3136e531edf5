"""News for whoever watches: what matters is shown for some seconds, then it makes way.

Routine is silent; what fifty sessions hear of one provider is told once. The words are those of the log
(`orch.view.lines`); all of it is defused when it is shown.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from orch.mission import events as ev
from orch.mission.caps import Cap
from orch.mission.state import MissionState
from orch.view import lines
from orch.view.activity import moment

SHOWN_S = 12.0
"""How long news stands."""
KEPT_S = 45.0
"""How long something stands that is wrong: a person may look away for a moment."""
MOST = 3
"""So many at once; the newest push out the oldest."""


class Tone(StrEnum):
    """What news means for a person."""

    PROVEN = "proven"  # something is proven
    NEWS = "news"  # good to know
    WAITS = "waits"  # it takes longer, and goes on by itself
    WRONG = "wrong"  # something failed


@dataclass(frozen=True, slots=True)
class Toast:
    """One piece of news, not yet defused."""

    text: str
    tone: Tone
    at: datetime


_TONES: Final[Mapping[type[ev.Fact], Tone]] = {
    ev.MissionStarted: Tone.NEWS,
    ev.MissionResumed: Tone.NEWS,
    ev.MissionStopped: Tone.WAITS,
    ev.MissionSealed: Tone.PROVEN,
    ev.MissionAnswered: Tone.PROVEN,
    ev.MissionFailed: Tone.WRONG,
    ev.PlanAccepted: Tone.NEWS,
    ev.PlanRejected: Tone.WAITS,
    ev.ItemCompleted: Tone.PROVEN,
    ev.ItemRejected: Tone.WAITS,
    ev.ItemFailed: Tone.WRONG,
    ev.ItemBlocked: Tone.WRONG,
    ev.SessionEnded: Tone.WRONG,
    ev.Retry: Tone.WAITS,
    ev.ModelSwitched: Tone.WAITS,
    ev.ModelRestored: Tone.NEWS,
    ev.Heal: Tone.WAITS,
    ev.Compaction: Tone.NEWS,
    ev.Budget: Tone.WAITS,
    ev.PermissionDenied: Tone.WAITS,
    ev.IssueOpened: Tone.WAITS,
    ev.SealRefused: Tone.WAITS,
    ev.Stagnation: Tone.WAITS,
}


class Toasts:
    """Hears every event and keeps the few that are worth a look."""

    def __init__(self) -> None:
        self._echoes = lines.Echoes()
        self._kept: deque[Toast] = deque(maxlen=MOST)

    def hear(self, event: ev.Event, state: MissionState) -> None:
        """Keep what an event tells, if a person wants to know it now."""
        tone = _TONES.get(type(event))
        if tone is None:
            return
        text, at = lines.describe(event, state), moment(event.ts)
        if text is None or at is None or self._echoes.has(event, state):
            return
        self._kept.append(Toast(text, _louder(event, tone), at))

    def shown(self, now: datetime) -> tuple[Toast, ...]:
        """Return what stands at `now`, the newest last."""
        return tuple(toast for toast in self._kept if now - toast.at < _stands(toast))


def _louder(event: ev.Event, tone: Tone) -> Tone:
    """A cap that is reached is no mere warning."""
    is_over = isinstance(event, ev.Budget) and event.reached and event.limit is Cap.TIMEOUT
    return Tone.WRONG if is_over else tone


def _stands(toast: Toast) -> timedelta:
    return timedelta(seconds=KEPT_S if toast.tone is Tone.WRONG else SHOWN_S)
