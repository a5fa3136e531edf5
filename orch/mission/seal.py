"""When a mission is sealed. A model can only ask; the state and the disk's hashes answer.

`blockers` says what stands between the mission and its final verification. `verdict` says what a complete
verification means: the seal, or what is wrong as events.
"""

import re
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
    seal_commands,
    tree_hash,
)

_UNNUMBERED = ev.IssueId("")


def blockers(state: MissionState) -> tuple[ev.Blocker, ...]:
    """Name everything that keeps orch from running the final verification now."""
    found = [
        *_plan_blockers(state),
        *_item_blockers(state),
        *_orphan_blockers(state),
        *_issue_blockers(state),
    ]
    found += [
        ev.Blocker(kind=ev.BlockerKind.ITEM, item=s.item, text=f"session {s.id} is still running")
        for s in live_sessions(state)
        if s.role is not ev.Role.COMMANDER and s.status is SessionStatus.RUNNING
    ]
    return tuple(found)


def _plan_blockers(state: MissionState) -> list[ev.Blocker]:
    if not listed_items(state):
        limits = [s for s in state.sessions.values() if s.role is ev.Role.PLANNER and s.kind]
        kind = (limits[-1].kind if limits else None) or ev.BlockerKind.PLAN
        return [ev.Blocker(kind=kind, text="there is no item: nothing was done, nothing can be proven")]
    if not seal_commands(state):
        text = "nothing would be verified: no item has a check, and there is no verify command"
        return [ev.Blocker(kind=ev.BlockerKind.VERIFICATION, text=text)]
    return []


def _orphan_blockers(state: MissionState) -> list[ev.Blocker]:
    """What was changed and belongs to no item any more was never approved by anybody."""
    return [
        ev.Blocker(
            kind=ev.BlockerKind.ITEM,
            text=f"{path} was changed, and no item has it any more: delegate it, to be finished or deleted",
        )
        for path in state.changed
        if owner_of(state, path) is None
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
    closed = _answered(state, run)
    opened = [*_red_issues(state, run), *_stale_issues(state, files)] or _unsteady_issues(run, files)
    numbered = [
        issue.model_copy(update={"issue": ev.IssueId(f"I{first_issue + number}")})
        for number, issue in enumerate(opened)
    ]
    standing = [b for b in blockers(state) if b.kind is not ev.BlockerKind.VERIFICATION]
    red = [
        ev.Blocker(kind=ev.BlockerKind.VERIFICATION, item=issue.item, text=_first_line(issue.text))
        for issue in numbered
    ]
    ran = {result.command for result in run.results}
    red += [
        ev.Blocker(
            kind=ev.BlockerKind.VERIFICATION, item=i.item, text=f"`{i.command}` was red and did not run"
        )
        for i in open_issues(state)
        if i.command is not None and i.command not in ran
    ]
    if standing or red:
        return (*closed, *numbered, ev.SealRefused(blockers=(*standing, *red)))
    return (*closed, ev.MissionSealed(tree=tree_hash(files), summary=state.seal_summary))


def _answered(state: MissionState, run: Verification) -> list[ev.IssueClosed]:
    """Close the issues of commands that ran: it exited 0 now, or is opened anew."""
    exit_codes = {result.command: result.exit_code for result in run.results}
    closed = []
    for issue in open_issues(state):
        if issue.command in exit_codes:
            reason = "superseded by a newer run" if exit_codes[issue.command] else "exit 0 on a later tree"
            closed.append(ev.IssueClosed(issue=issue.id, item=issue.item, reason=reason))
    return closed


def _red_issues(state: MissionState, run: Verification) -> list[ev.IssueOpened]:
    found = []
    for result in run.results:
        if not result.exit_code:
            continue
        owners = named_owners(state, result.output)
        issue = ev.IssueOpened(
            issue=_UNNUMBERED,
            item=owners[0].spec.id if len(owners) == 1 else None,
            source=ev.IssueSource.VERIFICATION,
            command=result.command,
            text=f"`{result.command}` exited {result.exit_code}:\n{result.output}",
        )
        found.append(issue)
    return found


def _stale_issues(state: MissionState, files: Mapping[str, str | None]) -> list[ev.IssueOpened]:
    return [
        ev.IssueOpened(
            issue=_UNNUMBERED,
            item=item.spec.id,
            source=ev.IssueSource.STALE,
            path=path,
            text=f"{path} changed after its review: make sure that it is still what the item asks for",
        )
        for item, path in stale_items(state, files)
    ]


def _unsteady_issues(run: Verification, files: Mapping[str, str | None]) -> list[ev.IssueOpened]:
    """Every command has to have run on the tree as it is now."""
    tree = tree_hash(files)
    return [
        ev.IssueOpened(
            issue=_UNNUMBERED,
            source=ev.IssueSource.STALE,
            command=result.command,
            text=f"files changed during verification; does `{result.command}` write into the tree?",
        )
        for result in run.results
        if result.tree != tree
    ][:1]


def named_owners(state: MissionState, text: str) -> tuple[Item, ...]:
    """Return the items whose files `text` names, in the order in which they are named first.

    A path counts as a whole (`app.py` is not named by `myapp.py`), also at the end of an absolute one.
    """
    paths = sorted({path for item in listed_items(state) for path in item.files}, key=len, reverse=True)
    if not paths:
        return ()
    named = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, paths))})(?![\w-]|\.\w)"
    owners = (owner_of(state, found[0]) for found in re.finditer(named, text))
    return tuple({owner.spec.id: owner for owner in owners if owner is not None}.values())
