"""One line per fact that a person wants to know; routine is silent; nothing in a line steers anything."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orch.mission import events as ev
from orch.mission.caps import Amount, Cap, Caps
from orch.mission.state import MissionState
from orch.mission.transcript import AssistantMessage
from orch.view import lines
from tests.mission import casts
from tests.mission.simulation import Simulation

KINDS: list[type[ev.Fact]] = ev.Fact.__subclasses__()
ROUTINE = {
    "session.started",
    "message.sent",
    "session.idle",
    "turn.started",
    "turn.finished",
    "turn.failed",
    "tool.called",
    "tool.finished",
    "lease.acquired",
    "lease.released",
    "file.intended",
    "file.changed",
    "review.submitted",
    "review.refused",
    "item.reopened",
    "verification.started",
    "seal.requested",
}
SPECIAL = {
    "session.ended",
    "budget",
}  # only a failure is worth a line; the end of the run says what was reached
_OWN: dict[object, st.SearchStrategy[Any]] = {
    float: st.floats(0, 1e6),
    Amount: st.integers(1, 10**9) | st.floats(0.5, 1e6),
    ev.Usage: st.just(ev.Usage()),
    ev.Usage | None: st.none() | st.just(ev.Usage()),
    Caps: st.just(Caps()),
    AssistantMessage: st.just(AssistantMessage(text="hm")),
}
STATE = Simulation(casts.cast()).start().run().state
SESSION = next(iter(STATE.sessions))


def _events(kind: type[ev.Fact]) -> st.SearchStrategy[ev.Fact]:
    values = {
        name: _values(field.annotation)
        for name, field in kind.model_fields.items()
        if name not in {"v", "seq", "ts", "mission", "session"}
    }
    if "session" in kind.model_fields:
        values["session"] = st.just(SESSION)
    return st.fixed_dictionaries(values).map(lambda chosen: kind(**chosen))


def _values(annotation: object) -> st.SearchStrategy[Any]:
    own = _OWN.get(annotation)
    return st.from_type(cast("type[Any]", annotation)) if own is None else own


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_every_event_is_said_in_words_or_is_routine(kind: type[ev.Fact], data: st.DataObject) -> None:
    """No event is forgotten, none raises, whatever it holds."""
    event = data.draw(_events(kind))
    text = lines.describe(event, STATE)
    name = kind.model_fields["type"].default
    if name not in SPECIAL:
        assert (text is None) == (name in ROUTINE)
    assert text is None or text.strip()


def test_a_session_that_failed_is_named_and_others_are_not() -> None:
    """That a session ends well is no news."""
    failed = ev.SessionEnded(
        session=STATE.sessions[SESSION].id, outcome=ev.SessionOutcome.FAILED, reason="no luck"
    )
    assert "no luck" in str(lines.describe(failed, STATE))
    done = failed.model_copy(update={"outcome": ev.SessionOutcome.DONE})
    assert lines.describe(done, STATE) is None


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            ev.Budget(limit=Cap.TOKENS, cap=20_000, spent=16_113),
            "81% of --max-tokens 20000 used: 16,113 tokens",
        ),
        (ev.Budget(limit=Cap.USD, cap=2.5, spent=2.0), "80% of --max-budget-usd 2.5 used: $2.00"),
        (ev.Budget(limit=Cap.TIMEOUT, cap=5400.0, spent=4320.001), "80% of --timeout 1h30m used: 1h12m"),
        (
            ev.Budget(limit=Cap.TIMEOUT, cap=2.0, spent=2.001, reached=True),
            "--timeout 2s is over: stopping; turns under way may finish",
        ),
        (ev.Budget(limit=Cap.TOKENS, cap=9, spent=8, needed=2, reached=True), None),
    ],
)
def test_a_cap_is_named_as_it_is_typed(event: ev.Budget, text: str | None) -> None:
    """With how much of it is used; what was reached stands in the line of the run's end."""
    assert lines.describe(event, STATE) == text


def _shown(events: list[ev.Event], width: int) -> list[str]:
    out = io.StringIO()
    view = lines.Lines(Console(file=out, width=width), lambda: width)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for number, event in enumerate(events):
        stamp = (began + timedelta(seconds=61 * number)).isoformat()
        view.show(event.model_copy(update={"ts": stamp}), MissionState())
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_a_fact_takes_one_row_with_the_time_since_the_start(width: int) -> None:
    """Long, wide, marked-up and hostile texts are one row of the terminal each."""
    texts = ["[bold]x[/bold] " + "y" * 300, "漢字" * 150, "\x1b[2Ja\nb", "::error::z"]
    shown = _shown([ev.Heal(text=text) for text in texts], width)
    assert [row[:7] for row in shown] == ["  0:00 ", "  1:01 ", "  2:02 ", "  3:03 "]
    assert all(len(row) <= width for row in shown)
    assert "[bold]x[/bold]" in shown[0]
    assert shown[2].endswith("healed: a b")
    assert "\x1b" not in "".join(shown)


def _said_at(*events: tuple[float, ev.Event]) -> list[str]:
    """Return the lines for events at these seconds."""
    out = io.StringIO()
    view = lines.Lines(Console(file=out, width=200), lambda: 200)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for at, event in events:
        stamp = (began + timedelta(seconds=at)).isoformat()
        view.show(event.model_copy(update={"ts": stamp}), STATE)
    return out.getvalue().splitlines()


def test_a_provider_that_asks_to_wait_is_said_once_a_closing() -> None:
    """However many sessions hear it; short ones right behind each other are told of once in a while."""

    def refusal(delay_s: float) -> ev.Retry:
        return ev.Retry(
            session=SESSION, attempt=1, delay_s=delay_s, error="RateLimited", text="p: fewer, please"
        )

    wave = [(0.01 * n, refusal(5.0 - 0.01 * n)) for n in range(50)]
    probes = [(5.5, refusal(1.0)), (6.6, refusal(30.0)), (7.0, refusal(29.0)), (37.0, refusal(2.0))]

    assert [line[8:] for line in _said_at(*wave, *probes)] == [
        "the provider asks to wait, 5.0s: p: fewer, please",
        "the provider asks to wait, 30.0s: p: fewer, please",
        "the provider asks to wait, 2.0s: p: fewer, please",
    ]


def test_other_retries_are_said_each() -> None:
    """They are trouble of one session."""
    failed = ev.Retry(session=SESSION, attempt=1, delay_s=9.0, error="ServerFailed", text="p failed")
    assert len(_said_at((0.0, failed), (1.0, failed))) == 2


def test_a_role_that_goes_on_with_another_model_is_said_once() -> None:
    """Until its own is tried again."""
    worker, own, other = ev.Role.WORKER, "p/own", "p/other"
    switched = ev.ModelSwitched(session=SESSION, role=worker, model=other, before=own, reason="p is down")
    restored = ev.ModelRestored(role=worker, model=own)

    said = _said_at((0, switched), (1, switched), (2, restored), (3, switched))

    goes_on = "worker goes on with p/other: p is down"
    assert [line[8:] for line in said] == [goes_on, "the next worker begins with p/own again", goes_on]


def test_a_very_narrow_terminal_still_gets_words() -> None:
    """In ten columns lines wrap, but they say something."""
    (row,) = _shown([ev.Heal(text="the last line was torn and is cut")], 10)
    assert "torn" in row
