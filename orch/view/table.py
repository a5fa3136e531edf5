"""`orch status` for people: a mission as a few lines and a table of its sessions, many as a list.

Plain text that fits the width; every word from outside is defused.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from orch.mission import caps
from orch.mission.caps import Cap
from orch.mission.events import Outcome
from orch.mission.state import SessionStatus
from orch.mission.status import Liveness, MissionEntry, Missions, SessionEntry
from orch.view import defuse
from orch.view.wrapping import wrapped

_BAR_CELLS = 20
_LONGEST_COMMAND = 10_000  # a command is for pasting: it is never cut
_FEWEST_ITEM_COLUMNS, _ITEM_COLUMNS = 8, 24
_OTHER_COLUMNS = 62
"""What a session's row needs besides its item, with a few words of what it does."""
_MINUTE_S = 60
_FEW = 3
"""Reasons why a run ended that are told; the result has them all."""
_MANY = 12
"""Sessions shown at most, the latest; those that are over only where none goes on."""


def render(missions: Missions, width: int, now: datetime) -> str:
    """Return what `orch status` prints; `now` is aware, and says how long ago a session was heard of."""
    entries = missions.missions
    if not entries:
        return 'no mission here yet: orch task "…", or orch task --demo'
    if len(entries) > 1:
        return "\n".join(_row(entry, width) for entry in entries)
    return "\n".join(_lines(entries[0], width, now))


def _row(entry: MissionEntry, width: int) -> str:
    head = f"{entry.mission}  {entry.status:<11}  {entry.todo.done:>3}/{entry.todo.total:<3}  "
    return head + defuse.line(entry.goal, max(20, width - len(head)))


def _lines(entry: MissionEntry, width: int, now: datetime) -> list[str]:
    todo, issues = entry.todo, entry.issues
    bar = f"{_bar(todo.done, todo.total)} {todo.done}/{todo.total}"
    lines = [
        defuse.fit(f"{entry.mission}  {_standing(entry)}", width),
        defuse.line(entry.goal, width),
        f"TODO   {bar}   issues {issues.open} open, {issues.closed} closed",
        *_spent(entry, width),
    ]
    if entry.sessions:
        lines += ["", *_sessions(entry, width, now)]
    if why := list(_why(entry, width)):
        lines += ["", *why]
    if entry.next:
        lines += ["", f"next: {defuse.line(entry.next, _LONGEST_COMMAND)}"]
    return lines


def _standing(entry: MissionEntry) -> str:
    """Say whether it runs, and for how long."""
    clock = _clock(entry.duration_s)
    if entry.alive:
        return f"{entry.status}, pid {entry.pid}, {clock}" if entry.pid else f"{entry.status}, {clock}"
    cut_off = ": its process is gone" if entry.status is Liveness.INTERRUPTED else ""
    return f"{entry.status}{cut_off}, {clock}"


def _spent(entry: MissionEntry, width: int) -> list[str]:
    """Return what was spent, and what of that is capped."""
    usage, limits = entry.usage, entry.caps
    tokens = usage.input_tokens + usage.output_tokens
    cost = "" if usage.cost_usd is None else f", ${usage.cost_usd:.2f}"
    split = f"{usage.input_tokens:,} in ({usage.cached_tokens:,} cached), {usage.output_tokens:,} out"
    amounts = ((Cap.TIMEOUT, entry.run_s), (Cap.TOKENS, tokens), (Cap.USD, usage.cost_usd))
    used = [
        f"{amount / cap:.0%} of {caps.shown(name, cap)}"
        for name, amount in amounts
        if amount is not None and (cap := limits.of(name)) is not None
    ]
    lines = [f"tokens {split}{cost}"]
    if used:
        lines.append(f"caps   {', '.join(used)}")
    return [defuse.fit(line, width) for line in lines]


def _why(entry: MissionEntry, width: int) -> Iterator[str]:
    """Yield why a run ended as it did: of a blocked mission the whole question."""
    is_asked = entry.status == Outcome.BLOCKED
    for blocker in entry.blockers if is_asked else entry.blockers[:_FEW]:
        about = f"{blocker.item}: " if blocker.item else ""
        text = f"{'asks' if is_asked else 'why'}: {about}{blocker.text}"
        yield from wrapped(text, width) if is_asked else [defuse.line(text, width)]
    if not is_asked and len(entry.blockers) > _FEW:
        yield f"     and {len(entry.blockers) - _FEW} more"


def _sessions(entry: MissionEntry, width: int, now: datetime) -> Iterator[str]:
    """Yield the sessions that go on, or were cut off; where there are none, those that are over."""
    over = {SessionStatus.ENDED} if entry.alive else {SessionStatus.ENDED, SessionStatus.IDLE}
    shown = [s for s in entry.sessions if s.state not in over] or list(entry.sessions)
    few = shown[-_MANY:]
    yield from _table(few, width, now if entry.alive else None)
    if len(few) < len(entry.sessions):
        named = f"--session {few[-1].session} tells what one did"
        yield defuse.fit(f"{len(few)} of {len(entry.sessions)} sessions shown; {named}", width)


def _table(sessions: Sequence[SessionEntry], width: int, now: datetime | None) -> list[str]:
    """Return the rows; with `now`, how long ago each session was heard of."""
    room = max(_FEWEST_ITEM_COLUMNS, min(_ITEM_COLUMNS, width - _OTHER_COLUMNS))
    items = [defuse.line(s.item or "-", room) for s in sessions]
    item_width = max(len("item"), *map(defuse.columns, items))
    last = f"{'last':>5} " if now else ""
    lines = [
        f"{'':<5} {'role':<9} {'item':<{item_width}} {'state':<11} {'turns':>5} {'tokens':>8} {last} doing"
    ]
    for s, item in zip(sessions, items, strict=True):
        padding = " " * (item_width - defuse.columns(item))
        ago = f"{_ago(s, now):>5} " if now else ""
        head = f"{s.session:<5} {s.role:<9} {item}{padding} {s.state:<11} {s.turns:>5} {s.tokens:>8,} {ago} "
        lines.append((head + defuse.line(s.doing, max(10, width - defuse.columns(head)))).rstrip())
    return lines


def _ago(session: SessionEntry, now: datetime) -> str:
    """Return how long ago a session gave a sign of life; one that waits to be told something owes none."""
    if session.state is not SessionStatus.RUNNING:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(session.last_activity)).total_seconds()))
    return f"{seconds}s" if seconds < _MINUTE_S else _clock(seconds)


def _bar(done: int, total: int) -> str:
    full = _BAR_CELLS * done // total if total else 0
    return f"[{'#' * full}{'.' * (_BAR_CELLS - full)}]"


def _clock(duration_s: float) -> str:
    minutes, seconds = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
