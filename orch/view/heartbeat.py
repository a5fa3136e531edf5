"""A sign of life for logs: what a mission is doing, in one line, when nothing else was said for a while."""

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from orch.mission.state import (
    ItemStatus,
    MissionState,
    MissionStatus,
    Session,
    listed_items,
    running_sessions,
)

SILENCE_S: Final = 30.0
"""So long a log may be silent."""
LOOK_S: Final = 1.0
LIMIT_S: Final = 5.0
"""For the last look to come to its end."""
ROUNDED_TOKENS: Final = 10_000
"""From here on tokens are told in thousands."""


def sentence(state: MissionState, now: datetime) -> str:
    """Return what a mission is doing; not defused."""
    items = listed_items(state)
    done = sum(1 for item in items if item.status is ItemStatus.COMPLETED)
    running = running_sessions(state)
    usage = state.spending.total
    facts = [
        f"{counted(len(running), 'session')} at work",
        f"{done} of {len(items)} done",
        f"{tokens(usage.input_tokens + usage.output_tokens)} tokens",
    ]
    if state.verification is not None and not state.verification.is_complete:
        facts.insert(0, "verifying")
    longest = min(running, key=_heard, default=None)
    if longest is not None:
        facts.append(_silent(longest, now))
    return f"still here: {', '.join(facts)}"


def is_due(state: MissionState, said: datetime, now: datetime) -> bool:
    """Say whether a mission is running and was silent for long enough."""
    return state.status is MissionStatus.RUNNING and (now - said).total_seconds() >= SILENCE_S


def counted(number: int, word: str) -> str:
    """Return a number of things."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def tokens(number: int) -> str:
    """Return a number of tokens, rounded where it is large."""
    return f"{number / 1000:.0f}k" if number >= ROUNDED_TOKENS else str(number)


def _heard(session: Session) -> str:
    return session.last_activity or session.started


def _silent(session: Session, now: datetime) -> str:
    silent_s = max(0, int((now - datetime.fromisoformat(_heard(session))).total_seconds()))
    item = f" on {session.item}" if session.item else ""
    doing = f" ({session.doing})" if session.doing else ""
    return f"longest silent: {session.role} {session.id}{item}, {silent_s} s{doing}"


class Pulse:
    """Calls `beat` every second in a thread of its own, while inside."""

    def __init__(self, beat: Callable[[], None], every_s: float = LOOK_S) -> None:
        self._beat = beat
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Beat no more."""
        self._over.set()
        self._thread.join(LIMIT_S)

    def _work(self) -> None:
        while not self._over.wait(self._every_s):
            self._beat()
