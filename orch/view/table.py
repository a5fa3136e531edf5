"""`orch status` for people: a mission as a few lines and a table of its sessions, many as a list.

Plain text that fits the width; every word from outside is defused.
"""

from collections.abc import Sequence

from orch.mission.state import SessionStatus
from orch.mission.status import MissionEntry, Missions, SessionEntry
from orch.view import defuse

_BAR_CELLS = 20
_LONGEST_COMMAND = 10_000  # a command is for pasting: it is never cut
_ITEM_COLUMNS = 24
_MANY = 12
"""Sessions shown at most, the latest; those that are over only where none goes on."""


def render(missions: Missions, width: int) -> str:
    """Return what `orch status` prints."""
    entries = missions.missions
    if not entries:
        return 'no mission here yet: orch task "…", or orch task --demo'
    if len(entries) > 1:
        return "\n".join(_row(entry, width) for entry in entries)
    return "\n".join(_lines(entries[0], width))


def _row(entry: MissionEntry, width: int) -> str:
    head = f"{entry.mission}  {entry.status:<11}  {entry.todo.done:>3}/{entry.todo.total:<3}  "
    return head + defuse.line(entry.goal, max(20, width - len(head)))


def _lines(entry: MissionEntry, width: int) -> list[str]:
    pid = f", pid {entry.pid}" if entry.pid else ""
    todo, issues, usage = entry.todo, entry.issues, entry.usage
    bar = f"{_bar(todo.done, todo.total)} {todo.done}/{todo.total}"
    spent = f"{usage.input_tokens:,} in ({usage.cached_tokens:,} cached), {usage.output_tokens:,} out"
    lines = [
        f"{entry.mission}  {entry.status}{pid}, {_clock(entry.duration_s)}",
        defuse.line(entry.goal, width),
        f"TODO   {bar}   issues {issues.open} open, {issues.closed} closed",
        f"tokens {spent}{_cost(usage.cost_usd)}",
    ]
    shown = [s for s in entry.sessions if s.state is not SessionStatus.ENDED] or list(entry.sessions)
    if shown:
        lines += ["", *_table(shown[-_MANY:], width)]
        if len(shown) < len(entry.sessions) or len(shown) > _MANY:
            lines.append(f"{min(len(shown), _MANY)} of {len(entry.sessions)} sessions shown")
    if entry.next:
        lines += ["", f"next: {defuse.line(entry.next, _LONGEST_COMMAND)}"]
    return lines


def _table(sessions: Sequence[SessionEntry], width: int) -> list[str]:
    items = [defuse.line(s.item or "-", _ITEM_COLUMNS) for s in sessions]
    item_width = max(len("item"), *map(defuse.columns, items))
    lines = [f"{'':<5} {'role':<9} {'item':<{item_width}} {'state':<11} {'turns':>5} {'tokens':>8}  doing"]
    for s, item in zip(sessions, items, strict=True):
        padding = " " * (item_width - defuse.columns(item))
        counts = f"{s.state:<11} {s.turns:>5} {s.tokens:>8,}  "
        head = f"{s.session:<5} {s.role:<9} {item}{padding} {counts}"
        lines.append((head + defuse.line(s.doing, max(10, width - defuse.columns(head)))).rstrip())
    return lines


def _bar(done: int, total: int) -> str:
    full = _BAR_CELLS * done // total if total else 0
    return f"[{'#' * full}{'.' * (_BAR_CELLS - full)}]"


def _clock(duration_s: float) -> str:
    minutes, seconds = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _cost(cost_usd: float | None) -> str:
    return "" if cost_usd is None else f", ${cost_usd:.2f}"
