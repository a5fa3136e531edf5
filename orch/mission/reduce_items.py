"""What the events of the plan and its items change.

An item moves as `ITEM_MOVES` says. A plan over items that are still open, an id that is taken, or a
dependency that is no item raises `IllegalTransition`.
"""

from collections.abc import Mapping

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.moves import moved_item, with_item
from orch.mission.reduce_files import with_change, with_known
from orch.mission.reduce_proof import open_issue
from orch.mission.state import Item, ItemStatus, MissionState


def plan_accepted(state: MissionState, event: ev.PlanAccepted) -> MissionState:
    """Put the plan's items on the list; what is completed stays as it is."""
    items = dict(state.items)
    for spec in event.items:
        present = items.get(spec.id)
        if present is not None and present.status is ItemStatus.COMPLETED:
            continue
        if present is not None and present.status is not ItemStatus.DROPPED:
            raise IllegalTransition(
                f"item {spec.id} is {present.status} and was not dropped before its new plan"
            )
        items.pop(spec.id, None)
        items[spec.id] = Item(spec=spec, origin=ev.ItemOrigin.PLANNED, moved_seq=event.seq)
    for spec in event.items:
        _check_dependencies(spec, items)
    return evolve(
        with_known(state, event.files),
        items=items,
        verify=event.verify or state.settings_verify,
        seal_asked=False,
    )


def item_added(state: MissionState, event: ev.ItemAdded) -> MissionState:
    """Put one more item on the list, and move the issues that it is for to it."""
    if event.item in state.items:
        raise IllegalTransition(f"item {event.item} is on the list already")
    _check_dependencies(event.spec, state.items)
    item = Item(spec=event.spec, origin=event.origin, moved_seq=event.seq)
    issues = dict(state.issues)
    for issue in event.issues:
        issues[issue] = evolve(open_issue(state, issue), item=event.item)
    return evolve(
        with_known(state, event.files),
        items={**state.items, event.item: item},
        issues=issues,
        seal_asked=False,
    )


def _check_dependencies(spec: ev.ItemSpec, items: Mapping[ev.ItemId, Item]) -> None:
    if unknown := [d for d in spec.depends_on if d not in items]:
        raise IllegalTransition(f"item {spec.id} depends on {', '.join(unknown)}, which is no item")


def item_started(state: MissionState, event: ev.ItemStarted) -> MissionState:
    """Give the item to a Worker; another one than before is a restart, or its last chance."""
    item = moved_item(state, event.item, event.type, event.seq)
    same = item.worker in (None, event.session)
    was_rejected = state.items[event.item].status is ItemStatus.REJECTED
    item = evolve(
        item,
        worker=event.session,
        reviewer=None,
        restarts=item.restarts + (not same and not was_rejected),
        rejections=item.rejections if same else 0,
        last_chance=item.last_chance or (was_rejected and not same),
    )
    return with_item(state, item)


def item_submitted(state: MissionState, event: ev.ItemSubmitted) -> MissionState:
    """Begin a round of review, with the setup first."""
    item = moved_item(state, event.item, event.type, event.seq)
    return with_item(state, evolve(item, setup_done=item.spec.setup is None, reviewer=None, reviewers=0))


def setup_finished(state: MissionState, event: ev.SetupFinished) -> MissionState:
    """Give the item the files that its setup made; a setup that failed is still due."""
    item = moved_item(state, event.item, event.type, event.seq)
    extra = tuple(dict.fromkeys((*item.extra_files, *event.files)))
    state = with_item(state, evolve(item, setup_done=event.exit_code == 0, extra_files=extra))
    for path, sha in event.files.items():
        state = with_change(state, path, state.files.get(path), sha)
    return state


def item_completed(state: MissionState, event: ev.ItemCompleted) -> MissionState:
    """Keep the evidence that it was completed with."""
    item = moved_item(state, event.item, event.type, event.seq)
    return with_item(state, evolve(item, evidence=event.evidence))


def item_rejected(state: MissionState, event: ev.ItemRejected) -> MissionState:
    """Count the rejection."""
    item = moved_item(state, event.item, event.type, event.seq)
    return with_item(state, evolve(item, rejections=item.rejections + 1, reason=event.reason))


def item_lost(state: MissionState, event: ev.ItemFailed | ev.ItemBlocked) -> MissionState:
    """Keep why it will not come."""
    item = moved_item(state, event.item, event.type, event.seq)
    return with_item(state, evolve(item, kind=event.kind, reason=event.reason))


def item_dropped(state: MissionState, event: ev.ItemDropped) -> MissionState:
    """Keep why it is off the list."""
    item = moved_item(state, event.item, event.type, event.seq)
    return with_item(state, evolve(item, reason=event.reason))


def item_reopened(state: MissionState, event: ev.ItemReopened) -> MissionState:
    """Start from nothing but its spec, and the files that it owns."""
    item = moved_item(state, event.item, event.type, event.seq)
    fresh = Item(
        spec=item.spec,
        origin=item.origin,
        status=item.status,
        extra_files=item.extra_files,
        moved_seq=item.moved_seq,
    )
    return with_item(state, fresh)
