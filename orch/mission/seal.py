"""When a mission is sealed. A model can only ask; the state and the disk's hashes answer.

`blockers` says what stands between the mission and its final verification. `verdict` says what a complete
verification means: the seal, or what is wrong as events.
"""

from collections.abc import Mapping

from orch.mission import events as ev
from orch.mission.state import (
    LOST,
    Item,
    ItemStatus,
    MissionState,
    SessionStatus,
    Verification,
    known_tree,
    listed_items,
    live_sessions,
    open_issues,
    owner_of,
    tree_hash,
)


def blockers(state: MissionState) -> tuple[ev.Blocker, ...]:
    """Name everything that keeps orch from running the final verification now."""
    found = [*_plan_blockers(state), *_item_blockers(state), *_issue_blockers(state)]
    found += [
        ev.Blocker(kind=ev.BlockerKind.ITEM, item=s.item, text=f"session {s.id} is still running")
        for s in live_sessions(state)
        if s.role is not ev.Role.COMMANDER and s.status is SessionStatus.RUNNING
    ]
    return tuple(found)


def _plan_blockers(state: MissionState) -> list[ev.Blocker]:
    if listed_items(state):
        return []
    return [
        ev.Blocker(kind=ev.BlockerKind.PLAN, text="there is no item: nothing was done, nothing can be proven")
    ]


def _item_blockers(state: MissionState) -> list[ev.Blocker]:
    return [
        ev.Blocker(
            kind=item.kind if item.status in LOST else ev.BlockerKind.ITEM,
            item=item.spec.id,
            text=f"item {item.spec.id} is {item.status}{f': {item.reason}' if item.reason else ''}",
        )
        for item in listed_items(state)
        if item.status is not ItemStatus.COMPLETED
    ]


def _issue_blockers(state: MissionState) -> list[ev.Blocker]:
    """Open issues block; one that stands for a red command only while the tree has not moved since."""
    tree = known_tree(state)
    red_on = {result.command: result.tree for result in state.verified if result.exit_code}
    found = []
    for issue in open_issues(state):
        if issue.command is None:
            text = f"issue {issue.id} is open: {_first_line(issue.text)}"
            found.append(ev.Blocker(kind=ev.BlockerKind.ISSUE, item=issue.item, text=text))
        elif red_on.get(issue.command) == tree:
            text = f"`{issue.command}` is red on this tree, and nothing changed since"
            found.append(ev.Blocker(kind=ev.BlockerKind.VERIFICATION, item=issue.item, text=text))
    return found


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else ""


def stale_items(state: MissionState, files: Mapping[str, str | None]) -> tuple[tuple[Item, str], ...]:
    """Return (item, path) for each file that is not what the review of its last item saw.

    `files` are the hashes on disk now. A file that no evidence speaks of is stale too.
    """
    found = []
    for path in sorted({path for item in listed_items(state) for path in item.files}):
        item = owner_of(state, path)
        if item is None or item.status is not ItemStatus.COMPLETED:
            continue
        reviewed = [state.evidence[e].files for e in item.evidence]
        if not any(seen.get(path, "unseen") == files.get(path) for seen in reviewed):
            found.append((item, path))
    return tuple(found)


def verdict(
    state: MissionState, run: Verification, files: Mapping[str, str | None], first_issue: int
) -> tuple[ev.Event, ...]:
    """Say what a complete verification means: `mission.sealed` last, or the issues that it opens.

    `files` are the hashes on disk now; new issues are numbered from `first_issue`.
    """
    opened: list[ev.Event] = []
    events: list[ev.Event] = []
    for result in run.results:
        for issue in open_issues(state):
            if issue.command == result.command:
                reason = (
                    "superseded by a newer run" if result.exit_code else f"exit 0 on tree {result.tree[:12]}"
                )
                events.append(ev.IssueClosed(issue=issue.id, item=issue.item, reason=reason))
        if result.exit_code:
            opened.append(_red_issue(state, result, first_issue + len(opened)))
    for item, path in stale_items(state, files):
        text = f"{path} changed after its review: make sure that it is still what the item asks for"
        opened.append(
            ev.IssueOpened(
                issue=ev.IssueId(f"I{first_issue + len(opened)}"),
                item=item.spec.id,
                source=ev.IssueSource.STALE,
                path=path,
                text=text,
            )
        )
    tree = tree_hash(files)
    unsteady = next((result for result in run.results if result.tree != tree), None)
    if not opened and unsteady:
        opened.append(
            ev.IssueOpened(
                issue=ev.IssueId(f"I{first_issue}"),
                source=ev.IssueSource.STALE,
                command=unsteady.command,
                text=f"files changed during verification; does `{unsteady.command}` write into the tree?",
            )
        )
    if opened:
        reasons = tuple(
            ev.Blocker(kind=ev.BlockerKind.VERIFICATION, item=e.item, text=_first_line(e.text))
            for e in opened
            if isinstance(e, ev.IssueOpened)
        )
        return (*events, *opened, ev.SealRefused(blockers=reasons))
    return (*events, ev.MissionSealed(tree=tree, summary=state.seal_summary))


def _red_issue(state: MissionState, result: ev.VerificationFinished, number: int) -> ev.IssueOpened:
    owners = named_owners(state, result.output)
    owner = owners[0] if len(owners) == 1 else None
    return ev.IssueOpened(
        issue=ev.IssueId(f"I{number}"),
        item=owner.spec.id if owner else None,
        source=ev.IssueSource.VERIFICATION,
        command=result.command,
        text=f"`{result.command}` exited {result.exit_code}:\n{result.output}",
    )


def named_owners(state: MissionState, text: str) -> tuple[Item, ...]:
    """Return the items whose files `text` names, in the order in which they are named first."""
    places: dict[ev.ItemId, int] = {}
    items: dict[ev.ItemId, Item] = {}
    for path in {path for item in listed_items(state) for path in item.files}:
        at = text.find(path)
        owner = owner_of(state, path)
        if at >= 0 and owner is not None:
            items[owner.spec.id] = owner
            places[owner.spec.id] = min(at, places.get(owner.spec.id, at))
    return tuple(items[item_id] for item_id in sorted(places, key=places.__getitem__))
