"""Slots: who may work now. Reviews first, then rejections, then new items.

Pure. An item starts when its dependencies are completed and nobody holds one of its files; its step names the
lease that it needs. Nothing starts while orch verifies: neither before the first write, where the baseline is
due, nor at the seal.
"""

from collections.abc import Collection, Iterable

from orch.mission import brief
from orch.mission import events as ev
from orch.mission.state import (
    Item,
    ItemStatus,
    MissionState,
    SessionStatus,
    distinct,
    free_slots,
    held_files,
    open_items,
)
from orch.mission.steps import Step, at_once, message, session_id, start

MAX_REJECTIONS = 3
"""Rejections that go back to the same conversation; the next one gets a fresh Worker, once."""


def dispatch(state: MissionState, denied: Collection[ev.ItemId]) -> tuple[Step, ...]:
    """Fill the free slots: reviews, rejections, new items, in this order."""
    if baseline := _baseline(state):
        return baseline
    if state.verification is not None:
        return ()
    slots = free_slots(state)
    waiting = [i for i in open_items(state) if i.status is ItemStatus.SUBMITTED and i.setup_done]
    steps = [Step(tuple(start_review(state, item))) for item in waiting]
    steps += [Step(tuple(_rework(state, i))) for i in open_items(state) if i.status is ItemStatus.REJECTED]
    ready = [item for item in _ready(state) if item.spec.id not in denied]
    steps += [Step(tuple(_begin(state, item)), lease=item.spec.id) for item in ready]
    return _numbered(state, steps[:slots])


def _baseline(state: MissionState) -> tuple[Step, ...]:
    """Run the verification once before the first write, if there is anything to run."""
    if not state.baseline_due or not open_items(state) or state.verification is not None or not state.verify:
        return ()
    return at_once(
        ev.VerificationStarted(phase=ev.VerificationPhase.BASELINE, commands=distinct(state.verify))
    )


def _ready(state: MissionState) -> list[Item]:
    """Items that can start now: dependencies completed, files free, also of each other."""
    holders = dict(held_files(state))
    ready = []
    for item in open_items(state):
        done = all(state.items[d].status is ItemStatus.COMPLETED for d in item.spec.depends_on)
        free = all(holders.get(path, item.spec.id) == item.spec.id for path in item.files)
        if item.status is ItemStatus.PENDING and done and free:
            holders |= dict.fromkeys(item.files, item.spec.id)
            ready.append(item)
    return ready


def _numbered(state: MissionState, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Give the sessions that several steps start ids that do not collide."""
    numbered = []
    number = len(state.sessions)
    placeholder = session_id(number)
    for step in steps:
        starts = any(isinstance(event, ev.SessionStarted) for event in step.events)
        events = tuple(_renamed(event, placeholder, session_id(number)) for event in step.events)
        numbered.append(Step(events, step.lease))
        number += 1 if starts else 0
    return tuple(numbered)


def _renamed(event: ev.Event, old: ev.SessionId, new: ev.SessionId) -> ev.Event:
    return event.model_copy(update={"session": new}) if event.session == old else event


def start_review(state: MissionState, item: Item) -> list[ev.Event]:
    """Give the item to a Reviewer."""
    title = f"review {item.spec.title}"
    return start(state, ev.Role.REVIEWER, title, brief.reviewer_brief(state, item), item.spec.id)


def start_worker(state: MissionState, item: Item) -> list[ev.Event]:
    """Give the item to a fresh Worker."""
    started = start(state, ev.Role.WORKER, item.spec.title, brief.worker_brief(state, item), item.spec.id)
    session = session_id(len(state.sessions))
    return [*started, ev.ItemStarted(item=item.spec.id, session=session)]


def _begin(state: MissionState, item: Item) -> list[ev.Event]:
    return [ev.LeaseAcquired(item=item.spec.id, files=item.files), *start_worker(state, item)]


def _rework(state: MissionState, item: Item) -> list[ev.Event]:
    """Send a rejected item to its Worker, then to a fresh one once, then give it up."""
    worker = state.sessions.get(item.worker) if item.worker else None
    if item.last_chance:
        reason = f"rejected again after a fresh Worker: {item.reason}"
        return [ev.ItemFailed(item=item.spec.id, kind=ev.BlockerKind.ITEM, reason=reason)]
    if worker and worker.status is SessionStatus.IDLE and item.rejections <= MAX_REJECTIONS:
        return [
            ev.ItemStarted(item=item.spec.id, session=worker.id),
            message(worker, ev.MessageReason.REJECTION, brief.rejection(state, item)),
        ]
    return start_worker(state, item)
