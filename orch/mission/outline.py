"""A plan as people read it before it is run: its items in waves, how it is proven, what it may cost.

Pure. The text is data for stdout: nothing in it is cut but long instructions, and what a model wrote stays on
the line that it belongs to.
"""

from collections.abc import Sequence

from orch.mission import estimate
from orch.mission.events import Estimate, ItemId
from orch.mission.forecast import forecast
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    listed_items,
    open_items,
    seal_commands,
)

INSTRUCTION_CHARS = 120
"""What is shown of an item's instructions."""


def outline(state: MissionState, cost: Estimate) -> str:
    """Return the plan of a dry run."""
    waves = _waves(state)
    items = sum(len(wave) for wave in waves)
    parts = [f"Plan: {_count(items, 'item')} in {_count(len(waves), 'wave')}. {_untouched(state)}"]
    for number, wave in enumerate(waves, 1):
        turns = f", {state.max_parallel} at a time" if len(wave) > state.max_parallel else ""
        head = f"Wave {number} ({_count(len(wave), 'item')}{turns})"
        parts.append("\n".join([head, *(line for item in wave for line in _item(item))]))
    parts.append("\n".join(_proof(state)))
    chain = forecast(state).chain
    parts.append(f"Critical path: {' > '.join(chain)} ({len(chain)} of {_count(items, 'item')})")
    words = [f"  {line}" for line in cost.text.splitlines()]
    parts.append("\n".join([f"Still to pay: {estimate.amounts(cost)}", *words]))
    return "\n\n".join(parts)


def _untouched(state: MissionState) -> str:
    lost = [item for item in listed_items(state) if item.status is ItemStatus.BLOCKED]
    names = ", ".join(item.spec.id for item in lost)
    missing = f" {_count(len(lost), 'item')} cannot start: {names}." if lost else ""
    return f"Nothing was changed, no command was run.{missing}"


def _waves(state: MissionState) -> Sequence[Sequence[Item]]:
    """Return the open items by when they can start: behind what they wait for, and who has their file."""
    levels: dict[ItemId, int] = {}
    holders: dict[str, int] = {}
    left = list(open_items(state))
    while left:
        ready = [i for i in left if not any(d == o.spec.id for d in i.spec.depends_on for o in left)]
        for item in ready or left[:1]:
            after = [levels[d] + 1 for d in item.spec.depends_on if d in levels]
            after += [holders[path] + 1 for path in item.files if path in holders]
            levels[item.spec.id] = level = max(after, default=0)
            holders |= dict.fromkeys(item.files, level)
            left.remove(item)
    items = open_items(state)
    depth = max(levels.values(), default=-1) + 1
    waves = [[item for item in items if levels[item.spec.id] == level] for level in range(depth)]
    return [wave for wave in waves if wave]


def _item(item: Item) -> list[str]:
    spec = item.spec
    after = f" (after {', '.join(spec.depends_on)})" if spec.depends_on else ""
    lines = [f"  {spec.id}  {_line(spec.title)}{after}", f"    files: {', '.join(map(_line, item.files))}"]
    lines += [f"    check: {_line(spec.check)}"] if spec.check else []
    lines += [f"    setup: {_line(spec.setup)}"] if spec.setup else []
    return [*lines, f"    does:  {_first_line(spec.instructions)}"]


def _proof(state: MissionState) -> list[str]:
    """Say what has to exit 0 in the end, and that it was not tried."""
    commands = [f"  {_line(command)}" for command in seal_commands(state)]
    when = "before the first change, when the plan is run, and at the seal"
    if not (state.baseline_due and state.verify):
        when = "at the seal"
    return [f"Verified {when}, by:", *commands]


def _line(text: str) -> str:
    return " ".join(text.split())


def _first_line(text: str) -> str:
    rows = [row for row in map(_line, text.splitlines()) if row]
    first = rows[0] if rows else ""
    is_cut = len(first) > INSTRUCTION_CHARS
    return f"{first[:INSTRUCTION_CHARS].rstrip()}…" if is_cut else first + (" …" if rows[1:] else "")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
