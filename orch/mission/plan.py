"""What a plan must be to be accepted, and the views of it: `todo.md` and `issues.md`.

A plan is refused with every reason at once, so that its author can mend all of them in one go. Paths come
normalised (relative to the workspace, links resolved); what cannot be normalised is refused by the caller.
"""

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from orch.mission import brief
from orch.mission import events as ev
from orch.mission.state import (
    LOST,
    OPEN,
    Item,
    ItemStatus,
    MissionState,
    issues_of,
    listed_items,
    live_sessions,
    open_issues,
    seal_commands,
)

ITEM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CANNOT_FAIL = re.compile(r"\s*((/usr)?/bin/true|true|:|exit\s+0|echo\b[^;&|<>`$()\n]*)?\s*(#.*)?")
_INTO_A_FILTER = re.compile(r".*[^|]\|\s*(tail|head|cat|tee|less|more|true|:|echo)\b[^|&;<>]*", re.DOTALL)
_IN_THE_BACKGROUND = re.compile(r".*[^&>]&\s*", re.DOTALL)
_ENDS_EARLY = re.compile(r"\bexit\b|\bset\s+-[a-z]*e|\berrexit\b|\bpipefail\b")
_MARKS = {
    ItemStatus.COMPLETED: "x",
    ItemStatus.FAILED: "!",
    ItemStatus.BLOCKED: "!",
    ItemStatus.PENDING: " ",
}


def cannot_fail(command: str) -> bool:
    """Say whether a command proves nothing: what a shell exits with is that of its last statement.

    That one is `true`, `:`, `exit 0`, `echo`, a chain with `|| true`, a pipe into `tail` and the like, or
    sent to the background. What is in doubt can fail: the words are split without a shell's knowledge of
    quotes and blocks, and `set -e` or an `exit` before it may end the command early.
    """
    statements = [s for s in re.split(r";|\n", command) if not re.fullmatch(r"\s*(#.*)?", s)]
    if _ENDS_EARLY.search(command):
        return all(_is_always_zero(statement) for statement in statements)
    return not statements or _is_always_zero(statements[-1])


def _is_always_zero(statement: str) -> bool:
    """Follow a chain of `&&` and `||` from left to right, as the shell does."""
    first, *rest = re.split(r"(&&|\|\|)", statement)
    zero = _is_trivial(first)
    for joint, part in zip(rest[::2], rest[1::2], strict=True):
        zero = (zero and _is_trivial(part)) if joint == "&&" else (zero or _is_trivial(part))
    return zero


def _is_trivial(part: str) -> bool:
    try:
        shlex.split(part, comments=True)
    except ValueError:
        return False  # the cut went through a quoted text
    return any(p.fullmatch(part) for p in (_CANNOT_FAIL, _INTO_A_FILTER, _IN_THE_BACKGROUND))


def refusals(state: MissionState, items: Sequence[ev.ItemSpec], verify: Sequence[str]) -> tuple[str, ...]:
    """Return every reason why the plan cannot be accepted; empty if it can."""
    reasons = [] if items else ["a plan needs at least one item"]
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            reasons.append(f"item id {item.id} is used twice")
        seen.add(item.id)
        reasons += _item_refusals(item)
    done = {key: i.spec for key, i in state.items.items() if i.status is ItemStatus.COMPLETED}
    known = {**{item.id: item for item in items}, **done}
    reasons += _command_refusals(known.values(), verify, state.settings_verify)
    entangled = _dependency_refusals(items, known)
    overlaps = [] if entangled else _overlap_refusals([i for i in items if i.id not in done], known)
    return (*reasons, *entangled, *overlaps)


def _item_refusals(item: ev.ItemSpec) -> list[str]:
    reasons = []
    if not ITEM_ID.fullmatch(item.id):
        reasons.append(f"item id {item.id[:80]!r}: use letters, digits, '.', '_', '-', at most 64")
    if not item.files:
        reasons.append(f"item {item.id} has no file")
    if len(set(item.files)) != len(item.files):
        reasons.append(f"item {item.id} names a file twice")
    if not item.instructions.strip():
        reasons.append(f"item {item.id} has no instructions")
    return reasons


def _command_refusals(
    items: Collection[ev.ItemSpec], verify: Sequence[str], from_settings: Sequence[str]
) -> list[str]:
    reasons = [
        f"the check of item {item.id} cannot fail: {item.check!r}"
        for item in items
        if item.check is not None and cannot_fail(item.check)
    ]
    reasons += [f"a verify command cannot fail: {command!r}" for command in verify if cannot_fail(command)]
    unchecked = [item.id for item in items if item.check is None]
    if not verify and not from_settings and unchecked:
        reasons.append(f"verify is empty, and these items have no check: {', '.join(unchecked)}")
    return reasons


def _dependency_refusals(items: Sequence[ev.ItemSpec], known: Mapping[ev.ItemId, ev.ItemSpec]) -> list[str]:
    reasons = [
        f"item {item.id} depends on {dependency}, which is no item"
        for item in items
        for dependency in item.depends_on
        if dependency not in known
    ]
    try:
        TopologicalSorter({item.id: item.depends_on for item in items}).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        reasons.append(f"items depend on each other in a circle: {' -> '.join(circle)}")
    return reasons


def _overlap_refusals(items: Sequence[ev.ItemSpec], known: Mapping[ev.ItemId, ev.ItemSpec]) -> list[str]:
    """Two items may share a path only if one depends on the other, directly or not."""
    before: dict[ev.ItemId, set[ev.ItemId]] = {}
    graph = {item.id: [d for d in item.depends_on if d in known] for item in known.values()}
    for item_id in TopologicalSorter(graph).static_order():
        before[item_id] = {d for direct in graph[item_id] for d in (direct, *before[direct])}
    holders: dict[str, list[ev.ItemSpec]] = {}
    for item in items:
        for path in item.files:
            holders.setdefault(path, []).append(item)
    return [
        f"items {one.id} and {other.id} may run at the same time and share {path}: "
        "give each file to one item, or make one depend on the other"
        for path, sharing in sorted(holders.items())
        for number, one in enumerate(sharing)
        for other in sharing[number + 1 :]
        if one.id not in before[other.id] and other.id not in before[one.id]
    ]


def replaced(state: MissionState, items: Iterable[ev.ItemSpec]) -> tuple[ev.Event, ...]:
    """Return the events that make room for a new plan: what is not completed leaves the list."""
    named = {item.id for item in items}
    events: list[ev.Event] = []
    for item in state.items.values():
        if item.status in OPEN or item.status in LOST - {ItemStatus.DROPPED}:
            reason = "replaced by a new plan" if item.spec.id in named else "not in the new plan"
            events += leave(state, item, reason)
    return tuple(events)


def leave(state: MissionState, item: Item, reason: str) -> list[ev.Event]:
    """Return the events that take an item off the list: its sessions end, its files are free."""
    events: list[ev.Event] = [
        ev.IssueClosed(issue=issue.id, item=item.spec.id, reason=f"its item left the list: {reason}")
        for issue in issues_of(state, item.spec.id)
    ]
    events.append(ev.ItemDropped(item=item.spec.id, reason=reason))
    events += [
        ev.SessionEnded(session=s.id, item=s.item, outcome=ev.SessionOutcome.CANCELLED, reason=reason)
        for s in live_sessions(state)
        if s.item == item.spec.id
    ]
    if item.leased:
        events.append(ev.LeaseReleased(item=item.spec.id, files=item.files))
    return events


def todo_md(state: MissionState) -> str:
    """Render the plan as a checklist."""
    done = sum(1 for item in listed_items(state) if item.status is ItemStatus.COMPLETED)
    lines = [f"# TODO {done}/{len(listed_items(state))}", "", f"Goal: {_line(state.goal)}", ""]
    for item in listed_items(state):
        mark = _MARKS.get(item.status, "/")
        after = f" (after {', '.join(item.spec.depends_on)})" if item.spec.depends_on else ""
        lines.append(f"- [{mark}] **{item.spec.id}** {_line(item.spec.title)} - {item.status}{after}")
        lines += [f"  - `{path}`" for path in item.files]
        lines += [f"  - issue {issue.id}: {_line(issue.text)}" for issue in issues_of(state, item.spec.id)]
        if item.reason and item.status in LOST:
            lines.append(f"  - {_line(item.reason)}")
    commands = seal_commands(state)
    if commands:
        lines += ["", "Verified at the seal by:", "", *(f"- `{_line(command)}`" for command in commands)]
    red = brief.red_before_line(state)
    return "\n".join([*lines, *(["", red] if red else []), ""])


def issues_md(state: MissionState) -> str:
    """Render the open issues."""
    issues = open_issues(state)
    lines = [f"# Issues: {len(issues)} open", ""]
    for issue in issues:
        where = f" `{issue.path}`" if issue.path else ""
        lines.append(
            f"- **{issue.id}**{where} on {issue.item or 'no item'} ({issue.source}): {_line(issue.text)}"
        )
    return "\n".join([*lines, ""])


def _line(text: str) -> str:
    """Fold a text into one line of a list."""
    return " ".join(text.split())[:300]
