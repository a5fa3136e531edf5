"""A gist is followed to the same as the whole state, whatever happens in a mission."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.mission.gist import follow, gist
from orch.mission.reduce import reduce, replay
from orch.mission.state import MissionState
from tests.bench.bench_reduce import busy_mission
from tests.mission.casts import TROUPES, Troupe
from tests.mission.samples import SAMPLES, stamped
from tests.store.cuts import agrees_everywhere

MOST_BYTES = 1_000
"""A few times of what is left of a session."""


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(TROUPES, st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 1))
def test_any_mission_cut_anywhere_is_followed_to_the_same(
    troupe: Troupe, where: list[float], crash: float
) -> None:
    """Also one that crashed, anywhere, and was taken up again."""
    mission = troupe.simulation().start(max_parallel=troupe.max_parallel).run()
    again = mission.crashed_after(1 + int(crash * (len(mission.events) - 1)))
    if again.state.outcome is None:
        again.resume().run()

    for played in (mission, again):
        agrees_everywhere(played.events, {int(at * len(played.events)) for at in where})


def test_every_event_is_followed_to_the_same() -> None:
    """One by one, from a mission in the middle of its work."""
    for event, before in SAMPLES:
        fact = stamped(event, before.seq + 1)
        assert gist(follow(gist(before), fact)) == gist(reduce(before, fact)), event.type


def test_a_gist_holds_nothing_that_only_a_session_needs() -> None:
    """No conversation, no arguments, no instructions; twice is as once."""
    events = busy_mission(2_000)
    whole = replay(events)
    short = gist(whole)

    assert all(len(session.messages) <= 1 for session in short.sessions.values())
    assert all(call.arguments == "{}" for s in short.sessions.values() for call in s.open_calls)
    assert not any(item.spec.instructions for item in short.items.values())
    assert gist(short) == short
    assert len(repr(short.sessions)) / len(short.sessions) < MOST_BYTES


def test_who_follows_holds_no_histories() -> None:
    """However long the mission is."""
    state = MissionState()
    for event in busy_mission(2_000):
        state = follow(state, event)
    assert max(len(session.messages) for session in state.sessions.values()) == 1
