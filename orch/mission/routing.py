"""Issues find their owners, and items that cannot come are said to be blocked.

Pure. An issue that nobody owns goes to the item that its path belongs to. One on a completed item, which
never reopens, becomes a fix item, unless one of its files had its fixes: then the Commander decides.
"""

from orch.mission import brief, seal
from orch.mission import events as ev
from orch.mission.review import next_issue
from orch.mission.state import (
    LOST,
    Issue,
    Item,
    ItemStatus,
    MissionState,
    issues_of,
    open_issues,
    open_items,
    owner_of,
)
from orch.mission.steps import Step, at_once

MAX_FIXES_PER_FILE = 3
"""Fix items that orch makes for one file by itself; then the Commander decides."""


def route(state: MissionState) -> tuple[Step, ...]:
    """Block what cannot come; else send the first issue that is not where it belongs there."""
    blocked = [
        ev.ItemBlocked(
            item=item.spec.id,
            kind=lost.kind,
            reason=f"it depends on {lost.spec.id}, which is {lost.status}",
        )
        for item in open_items(state)
        if item.status is ItemStatus.PENDING and (lost := _lost_dependency(state, item))
    ]
    if blocked:
        return at_once(*blocked)
    for issue in open_issues(state):
        if issue.item is None and issue.path and (owner := owner_of(state, issue.path)):
            return at_once(*hand_over(state, issue, owner))
        if issue.item is not None and _wants_fix(state, issue):
            return at_once(_fix(state, state.items[issue.item]))
    return ()


def hand_over(state: MissionState, issue: Issue, owner: Item) -> tuple[ev.Event, ...]:
    """Move an issue that nobody owns to an item."""
    return (
        ev.IssueOpened(
            issue=next_issue(state),
            item=owner.spec.id,
            source=issue.source,
            path=issue.path,
            command=issue.command,
            text=issue.text,
        ),
        ev.IssueClosed(issue=issue.id, reason=f"goes to {owner.spec.id}"),
    )


def _lost_dependency(state: MissionState, item: Item) -> Item | None:
    dependencies = (state.items.get(d) for d in item.spec.depends_on)
    return next((d for d in dependencies if d is not None and d.status in LOST), None)


def _wants_fix(state: MissionState, issue: Issue) -> bool:
    """Whether orch itself sends the issue back to work."""
    return is_unfixed(state, issue) and not at_cap(state, issue)


def is_unfixed(state: MissionState, issue: Issue) -> bool:
    """Whether the issue is on a completed item that was not completed to solve it.

    The issue of a red command stays open after its fix, until the command exits 0.
    """
    if issue.item is None or state.items[issue.item].status is not ItemStatus.COMPLETED:
        return False
    return issue.command is None or issue.opened_seq > state.items[issue.item].moved_seq


def at_cap(state: MissionState, issue: Issue) -> bool:
    """Whether a file of the issue had all the fixes that orch makes by itself."""
    return any(_fixes_of(state, path) >= MAX_FIXES_PER_FILE for path in _fix_files(state, issue))


def _fixes_of(state: MissionState, path: str) -> int:
    return sum(1 for i in state.items.values() if i.origin is ev.ItemOrigin.FIX and path in i.spec.files)


def _fix_files(state: MissionState, issue: Issue) -> tuple[str, ...]:
    files = state.items[issue.item].files if issue.item else ()
    return (issue.path,) if issue.path in files and issue.path is not None else files


def _fix(state: MissionState, origin: Item) -> ev.Event:
    """Make the fix item for all issues that a completed item has on the same files."""
    issues = [i for i in issues_of(state, origin.spec.id) if _wants_fix(state, i)]
    files = _fix_files(state, issues[0])
    together = [i for i in issues if _fix_files(state, i) == files]
    root = _root(state, origin)
    spec = ev.ItemSpec(
        id=_fix_id(state, root.spec.id),
        title=f"fix {', '.join(files)}",
        files=files,
        instructions=brief.fix_instructions(tuple(i.text for i in together), root.spec),
        check=origin.spec.check,
    )
    return ev.ItemAdded(
        item=spec.id,
        spec=spec,
        origin=ev.ItemOrigin.FIX,
        issues=tuple(i.id for i in together),
        files={path: state.files.get(path) for path in files},
    )


def _root(state: MissionState, item: Item) -> Item:
    """Return the item that a fix, or a fix of a fix, was made for."""
    if item.origin is not ev.ItemOrigin.FIX:
        return item
    return state.items.get(ev.ItemId(item.spec.id.rpartition(".fix")[0]), item)


def _fix_id(state: MissionState, root: ev.ItemId) -> ev.ItemId:
    number = 1
    while f"{root}.fix{number}" in state.items:
        number += 1
    return ev.ItemId(f"{root}.fix{number}")


def named_owner(state: MissionState, issue: Issue) -> Item | None:
    """Return the completed item whose file the issue names first and that may still be fixed."""
    for item in seal.named_owners(state, issue.text):
        capped = any(_fixes_of(state, path) >= MAX_FIXES_PER_FILE for path in item.files)
        if item.status is ItemStatus.COMPLETED and not capped:
            return item
    return None
