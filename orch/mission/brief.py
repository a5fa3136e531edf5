"""What orch says to a session, as text. Pure functions of the state.

A Worker's or Reviewer's first message states its item verbatim (id, title, files, instructions, check) before
anything about other items, which appear by id, title and files alone.
"""

from orch.mission.events import ItemSpec, Role, SessionOutcome, StagnationStage
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    issues_of,
    listed_items,
    open_issues,
)

OUTPUT_EXCERPT_CHARS = 4_000

PLANNER_NUDGE = (
    "[orch] You stopped without an accepted plan. Call submit_plan(items, verify) now, with what you know."
)
WORKER_NUDGE = (
    "[orch] You stopped, but nothing was written since your brief. If the item needs a change, make it now "
    "with write or edit. If its files are right as they are, say so in one line and stop."
)
REVIEWER_NUDGE = (
    "[orch] You stopped without an accepted verdict. Run the item's check with bash, then call "
    "submit_review: approve with the evidence ids that exited 0, or reject with the issues. "
    "Without a verdict the item is rejected."
)
NO_VERDICT = "The review ended without an accepted verdict."
INTERRUPTED = (
    "interrupted: orch stopped before this command's end was on record; its outcome is unknown. It was not "
    "run again: look at the files, then run what you need."
)


def item_text(spec: ItemSpec) -> str:
    """State an item verbatim."""
    lines = [f"id: {spec.id}", f"title: {spec.title}", f"files: {', '.join(spec.files)}"]
    if spec.check:
        lines.append(f"check: {spec.check}")
    if spec.setup:
        lines.append(f"setup: {spec.setup} (orch runs it after you are done)")
    return "\n".join([*lines, "instructions:", spec.instructions])


def worker_brief(state: MissionState, item: Item) -> str:
    """Return the first message of a Worker."""
    parts = ["Your item:", item_text(item.spec)]
    issues = issues_text(state, item)
    if issues:
        parts.append(f"Open issues on this item, to be solved with it:\n{issues}")
    if item.worker is not None:
        parts.append(
            "Another Worker had this item before you and did not get it approved. Its files are as it left "
            "them: read them first, and do not repeat what the issues say is wrong."
        )
        if dead_end := _dead_end(state, item):
            parts.append(dead_end)
    parts += _surroundings(state, item)
    parts.append(
        "Read before you write. When the item is done, stop calling tools and say in two lines what you did."
    )
    return "\n\n".join(parts)


def _dead_end(state: MissionState, item: Item) -> str:
    """Say why the Worker before did not finish, where it was not the review that stopped it."""
    before = state.sessions.get(item.worker) if item.worker else None
    if before is None or before.outcome is not SessionOutcome.FAILED or not before.reason:
        return ""
    return f"Its session ended without a result: {before.reason}. Take another way, in small steps."


def reviewer_brief(state: MissionState, item: Item) -> str:
    """Return the first message of a Reviewer."""
    parts = ["The item under review:", item_text(item.spec)]
    if item.extra_files:
        parts.append(f"Its setup made these files, which belong to it: {', '.join(item.extra_files)}")
    issues = issues_text(state, item)
    if issues:
        parts.append(f"Issues that this round had to solve; approve only if they are solved:\n{issues}")
    if item.spec.check:
        parts.append(f"Run the check exactly as it stands, and cite its evidence: {item.spec.check}")
    parts += _surroundings(state, item)
    return "\n\n".join(parts)


def _surroundings(state: MissionState, item: Item) -> list[str]:
    others = [other for other in listed_items(state) if other.spec.id != item.spec.id]
    parts = []
    if item.spec.depends_on:
        parts.append(f"It builds on these items, which are done: {', '.join(item.spec.depends_on)}")
    if others:
        lines = [f"- {o.spec.id}: {o.spec.title} ({', '.join(o.spec.files)})" for o in others]
        parts.append("\n".join(["Other items; their files belong to others:", *lines]))
    parts.append(f"The mission's goal, which other items serve too:\n{state.goal}")
    return parts


def issues_text(state: MissionState, item: Item) -> str:
    """List the open issues of an item, one paragraph each."""
    return "\n".join(
        f"- {issue.id}{f' ({issue.path})' if issue.path else ''}: {issue.text}"
        for issue in issues_of(state, item.spec.id)
    )


def rejection(state: MissionState, item: Item) -> str:
    """Tell a Worker what the review found."""
    return (
        f"[orch] The review rejected item {item.spec.id} (round {item.rejections}).\n"
        f"{issues_text(state, item) or item.reason}\n"
        "Read the files as they are now, solve every issue, then stop."
    )


def new_issues(state: MissionState, item: Item) -> str:
    """Tell a Worker what others raised on its files."""
    return (
        f"[orch] Before item {item.spec.id} goes to review: others raised issues on its files.\n"
        f"{issues_text(state, item)}\nSolve them, then stop."
    )


def fix_instructions(texts: tuple[str, ...], origin: ItemSpec) -> str:
    """Return the instructions of a fix item."""
    listed = "\n".join(f"- {text}" for text in texts)
    return (
        f"Solve, in the files of this item only:\n{listed}\n\n"
        "The files were made for this, and what it asks for still holds:\n"
        f"{origin.title}\n{origin.instructions}"
    )


def wake(state: MissionState, since: int, stage: StagnationStage | None) -> str:
    """Tell the Commander what happened since the event `since`, in one message."""
    lines = ["[orch] There is something to decide."]
    lines += [_item_line(item) for item in listed_items(state) if item.moved_seq > since and _settled(item)]
    left = [item.spec.id for item in listed_items(state) if not _settled(item)]
    if left:
        lines.append(f"Still under way: {', '.join(left)}.")
    lines += [
        f"- planner session {s.id} ended without a plan: {s.reason}"
        for s in state.sessions.values()
        if s.ended_seq > since and s.role is Role.PLANNER and s.outcome is SessionOutcome.FAILED
    ]
    issues = open_issues(state)
    if issues:
        lines.append("Open issues:")
        lines += [
            f"- {i.id} {f'on item {i.item}' if i.item else '(nobody owns it: delegate a fix to its file)'}: "
            f"{i.text[:OUTPUT_EXCERPT_CHARS]}"
            for i in issues
        ]
    if red := red_before_line(state):
        lines.append(red)
    if stage is StagnationStage.INTERVENE:
        lines.append("Nothing moved since you last decided. Do something else than before.")
    if stage is StagnationStage.REPLAN:
        lines.append(
            "Still nothing moved. Delegate a new plan to the planner, or block_mission with a question."
        )
    lines.append(
        "Delegate what is missing, or call seal_mission(summary) if all is done. Then stop calling tools."
    )
    return "\n".join(lines)


def reply(text: str) -> str:
    """Tell the Commander what a person answered to its question."""
    return f"[orch] A person answers:\n{text}"


def red_before_line(state: MissionState) -> str:
    """Tell which verification commands were red before anything was changed; empty if none was."""
    if not state.red_before:
        return ""
    return f"Red before the first change: {', '.join(f'`{c}`' for c in state.red_before)}"


def _settled(item: Item) -> bool:
    return item.status in (ItemStatus.COMPLETED, ItemStatus.FAILED, ItemStatus.BLOCKED)


def _item_line(item: Item) -> str:
    reason = f": {item.reason}" if item.reason and item.status is not ItemStatus.COMPLETED else ""
    return f"- {item.spec.id} ({item.spec.title}) {item.status}{reason}"
