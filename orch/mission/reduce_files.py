"""What the events of leases and files change: who holds what, and which content orch knows.

Two items never hold one file: a lease over another's raises `IllegalTransition`.
"""

from collections.abc import Mapping

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.moves import known_item, known_session, with_item, with_session
from orch.mission.state import MissionState


def lease_acquired(state: MissionState, event: ev.LeaseAcquired) -> MissionState:
    """Give the item its files; what was red before the first write can no longer be found out."""
    item = known_item(state, event.item, event.type)
    for other in state.items.values():
        if other.leased and other.spec.id != event.item and set(other.files) & set(event.files):
            raise IllegalTransition(f"item {other.spec.id} holds a file of item {event.item}")
    return evolve(with_item(state, evolve(item, leased=True)), baseline_due=False)


def lease_released(state: MissionState, event: ev.LeaseReleased) -> MissionState:
    """Free the item's files."""
    return with_item(state, evolve(known_item(state, event.item, event.type), leased=False))


def file_intended(state: MissionState, event: ev.FileIntended) -> MissionState:
    """Remember the write until the file is seen to have changed."""
    return evolve(state, intents={**state.intents, event.path: event})


def file_changed(state: MissionState, event: ev.FileChanged) -> MissionState:
    """Take over the file's content; a session knows what it wrote itself."""
    state = with_change(state, event.path, event.before, event.after)
    if event.session is None or not event.by_tool:
        return state
    session = known_session(state, event)
    seen = {**session.seen, event.path: event.after}
    session = evolve(session, last_activity=event.ts, wrote=True, seen=seen)
    return with_session(state, session)


def with_change(state: MissionState, path: str, before: str | None, after: str | None) -> MissionState:
    """Take over a file's new hash; a file that is again what it was first is no longer changed."""
    first = {path: before, **state.first_seen}
    others = tuple(p for p in state.changed if p != path)
    return evolve(
        state,
        files={**state.files, path: after},
        first_seen=first,
        changed=others if first[path] == after else tuple(sorted((*others, path))),
        intents={p: intent for p, intent in state.intents.items() if p != path},
    )


def with_known(state: MissionState, files: Mapping[str, str | None]) -> MissionState:
    """Take over what `files` are, where orch does not know them yet."""
    return evolve(state, files={**files, **state.files})
