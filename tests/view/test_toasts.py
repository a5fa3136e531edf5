"""News stands for a while, what is wrong for longer, and three pieces at most."""

from datetime import datetime, timedelta

import pytest

from orch.mission import events as ev
from orch.mission.caps import Cap
from orch.mission.reduce import reduce
from orch.mission.state import MissionState
from orch.view.toasts import KEPT_S, MOST, SHOWN_S, Toast, Toasts, Tone
from tests.mission.casts import cast, rejecting_reviewer
from tests.mission.samples import SAMPLES, stamped
from tests.mission.simulation import Simulation

EVENTS = Simulation(cast(reviewer=rejecting_reviewer(1))).start().run().events
REFUSED = ev.Retry(session=ev.SessionId("S1"), attempt=1, delay_s=30, error="RateLimited", text="429")


def heard(*events: ev.Event) -> tuple[list[Toast], datetime]:
    """Return every piece of news that came, and when the last event was."""
    toasts, state, news = Toasts(), MissionState(), list[Toast]()
    for event in events:
        state = reduce(state, event)
        toasts.hear(event, state)
        news += [toast for toast in toasts.shown(datetime.fromisoformat(event.ts)) if toast not in news]
    return news, datetime.fromisoformat(events[-1].ts)


def test_a_mission_tells_what_matters_and_not_its_routine() -> None:
    """The start, the plan, rejections, what is proven, and the seal."""
    news, _ = heard(*EVENTS)
    words = "\n".join(toast.text for toast in news)

    for word in ("make it so", "plan", "rejected", "completed", "sealed"):
        assert word in words, word
    assert len(news) < len(EVENTS) / 4
    assert news[-1].tone is Tone.PROVEN


def test_news_makes_way_and_what_is_wrong_stands_longer() -> None:
    """A person may look away for a moment."""
    toasts, end = Toasts(), EVENTS[-1]
    state = Simulation(cast()).start().run().state
    at = datetime.fromisoformat(end.ts)
    toasts.hear(end, state)
    lost = ev.ItemFailed(item=ev.ItemId("a"), kind=ev.BlockerKind.ITEM, reason="three rounds")
    toasts.hear(lost.model_copy(update={"ts": end.ts}), state)

    assert [toast.tone for toast in toasts.shown(at)] == [Tone.PROVEN, Tone.WRONG]
    assert [toast.tone for toast in toasts.shown(at + timedelta(seconds=SHOWN_S))] == [Tone.WRONG]
    assert toasts.shown(at + timedelta(seconds=KEPT_S)) == ()


def test_the_newest_push_out_the_oldest() -> None:
    """Never more than fit."""
    toasts, state = Toasts(), MissionState()
    for event in EVENTS:
        state = reduce(state, event)
        toasts.hear(event, state)
        shown = toasts.shown(datetime.fromisoformat(event.ts))
        assert len(shown) <= MOST
        assert [toast.at for toast in shown] == sorted(toast.at for toast in shown)


def test_what_many_sessions_hear_of_one_provider_is_told_once() -> None:
    """Fifty refusals are one piece of news."""
    toasts = Toasts()
    state = Simulation(cast()).start().run().state
    for seq in range(50):
        toasts.hear(stamped(REFUSED, seq), state)
    assert len(toasts.shown(datetime.fromisoformat(stamped(REFUSED, 1).ts))) == 1


@pytest.mark.parametrize(("event", "before"), SAMPLES)
def test_any_event_can_be_heard(event: ev.Event, before: MissionState) -> None:
    """Also one that nobody stamped: it is no news, as nobody knows how old it is."""
    toasts = Toasts()
    toasts.hear(event.model_copy(update={"ts": ""}), before)
    fact = stamped(event, before.seq + 1)
    now = datetime.fromisoformat(fact.ts)
    assert toasts.shown(now) == ()
    toasts.hear(fact, reduce(before, fact))
    assert all(toast.text and toast.at == now for toast in toasts.shown(now))


def test_time_that_ran_out_is_wrong_and_a_warning_only_waits() -> None:
    """The cap is the same."""
    state = Simulation(cast()).start().run().state
    tones = []
    for is_reached in (False, True):
        toasts = Toasts()
        event = ev.Budget(limit=Cap.TIMEOUT, spent=60, cap=60, reached=is_reached)
        toasts.hear(stamped(event, 1), state)
        tones += [toast.tone for toast in toasts.shown(datetime.fromisoformat(stamped(event, 1).ts))]
    assert tones == [Tone.WAITS, Tone.WRONG]
