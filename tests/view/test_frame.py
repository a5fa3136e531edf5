"""What a look at a mission shows fits the terminal and harms nobody, whatever the mission holds."""

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.evolve import evolve
from orch.mission.gist import gist
from orch.mission.reduce import replay
from orch.mission.state import MissionState, Spending
from orch.view.frame import Scene, frame
from orch.view.toasts import Toast, Tone
from tests.mission.casts import TROUPES, Troupe, cast
from tests.mission.simulation import Simulation
from tests.view.crowd import NOW, SESSIONS, SIZES, crowd, screen, screen_file

CROWD = crowd()
SEALED = Simulation(cast()).start().run()
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = (
    "\x1b]0;mine\x07\x1b[2J::error::x\r\n\u202egnp\u2066\u200b\x00[red]見出し\U0001f44d🏽 e\u0301\ud800" * 3
)
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
SIZE = st.tuples(st.integers(1, 250), st.integers(1, 80))


def fits(scene: Scene, columns: int, rows: int) -> None:
    """Assert that a frame is within its limits, and holds nothing that a terminal obeys."""
    lines = frame(scene, columns, rows)
    assert len(lines) <= rows
    for line in lines:
        assert cell_len(line.plain) <= columns, line.plain
        assert all(map(is_harmless, line.plain)), repr(line.plain)
        assert not line.plain.lstrip().startswith("::")
        assert all(0 <= span.start <= span.end <= len(line.plain) for span in line.spans)
        assert not scene.is_ascii or line.plain.isascii()


def is_harmless(character: str) -> bool:
    """Say whether a terminal shows a character, and does nothing else with it."""
    is_control = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
    return not is_control and unicodedata.bidirectional(character) not in _TURNS


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_fifty_sessions_look_as_they_are_kept(columns: int, rows: int) -> None:
    """The screens are made anew by `python -m tests.view.crowd`."""
    assert screen(CROWD, columns, rows) == screen_file(columns, rows).read_text(encoding="utf-8")


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_all_fifty_sessions_are_there_with_a_row_of_their_own_or_counted(columns: int, rows: int) -> None:
    """Nobody gets lost where rows are shared."""
    words = screen(CROWD, columns, rows).replace("round", "").split()
    own = words.count("worker") + words.count("reviewer")
    shared = [int(words[place - 1]) for place, word in enumerate(words) if word == "more"]
    assert own - len(shared) + sum(shared) == SESSIONS


@settings(max_examples=40)
@given(TROUPES, st.floats(0, 1), SIZE, st.integers(0, 10**6), st.booleans(), st.booleans())
def test_any_mission_fits_any_terminal(
    troupe: Troupe, where: float, size: tuple[int, int], later_s: int, is_alive: bool, is_ascii: bool
) -> None:
    """At any moment of it, whoever runs it or not."""
    events = troupe.simulation().start(max_parallel=troupe.max_parallel).run().events
    state = replay(events[: int(where * len(events))])
    toasts = (Toast(HOSTILE, Tone.WRONG, BEGAN), Toast("", Tone.NEWS, BEGAN))
    scene = Scene(state, BEGAN + timedelta(seconds=later_s), is_alive, toasts, HOSTILE, is_ascii)
    fits(scene, *size)
    assert frame(replace(scene, state=gist(state)), *size) == frame(scene, *size)


@settings(max_examples=60)
@given(SIZE, st.booleans(), st.booleans())
def test_fifty_sessions_fit_any_terminal(size: tuple[int, int], is_alive: bool, is_ascii: bool) -> None:
    """From one cell to a wall."""
    fits(replace(CROWD, is_alive=is_alive, is_ascii=is_ascii), *size)


@settings(max_examples=60)
@given(st.text(max_size=60) | st.just(HOSTILE), SIZE, st.booleans())
def test_no_text_from_outside_breaks_a_frame(text: str, size: tuple[int, int], is_ascii: bool) -> None:
    """Goals, titles, ids, paths, models, issues, reasons and news may hold anything."""
    fits(replace(hostile(text), is_ascii=is_ascii), *size)
    over = evolve(hostile(text).state, outcome=ev.Outcome.BLOCKED, ending=text)
    fits(replace(hostile(text), state=over, is_alive=False, is_ascii=is_ascii), *size)


def hostile(text: str) -> Scene:
    """Return the mission of fifty sessions with `text` wherever text comes from outside."""
    state = CROWD.state
    items = {
        key: evolve(
            item, spec=item.spec.model_copy(update={"id": ev.ItemId(text + key), "title": text}), reason=text
        )
        for key, item in state.items.items()
    }
    sessions = {
        key: evolve(
            session, doing=f"bash {text}", model=f"{text}/{text}", title=text, item=ev.ItemId(text + key)
        )
        for key, session in state.sessions.items()
    }
    issues = {key: evolve(issue, text=text, path=text) for key, issue in state.issues.items()}
    state = evolve(
        state,
        mission=ev.MissionId(text),
        goal=text,
        items=items,
        sessions=sessions,
        issues=issues,
        ending=text,
    )
    return replace(CROWD, state=state, toasts=(Toast(text, Tone.WRONG, NOW),), hint=text)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
def test_columns_stand_below_each_other(columns: int) -> None:
    """Wide characters take two of them."""
    lines = [line.plain for line in frame(CROWD, columns, 24)]
    head = next((line for line in lines if line.endswith("silent")), None)
    assert (head is None) == (columns < 34)
    rows = lines[lines.index(head) + 1 :] if head else []
    assert all(cell_len(line) == cell_len(head or "") for line in rows[:4])


def test_each_second_only_the_times_are_others() -> None:
    """Rows stay where they are while the clock goes on."""
    one, other = (
        [line.plain[:30] for line in frame(replace(CROWD, now=NOW + timedelta(seconds=s)), 80, 24)]
        for s in (0, 1)
    )
    assert one == other


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    """No cost that nobody told, and no estimate without anything to go by."""
    unknown = Spending({(ev.Role.WORKER, "m"): ev.Usage(input_tokens=5, output_tokens=1, cost_usd=None)})
    state = evolve(CROWD.state, spending=unknown, caps=Caps(max_budget_usd=3))
    assert "6 tokens · cost unknown of $3.00" in screen(replace(CROWD, state=state), 80, 24)

    planned = next(n for n, event in enumerate(SEALED.events) if isinstance(event, ev.PlanAccepted))
    before, after = (Scene(replay(SEALED.events[:n]), NOW) for n in (planned, planned + 1))
    assert "no estimate before there is a plan" in screen(before, 80, 24)
    assert "no estimate yet: no item is finished" in screen(after, 80, 24)
    assert "path    2 items, 4 sessions: a > b" in screen(after, 80, 24)


def test_a_cap_that_is_near_is_marked_without_a_colour() -> None:
    """Eighty per cent of the money is gone, of the tokens less than half."""
    assert "49.2M of 120M tokens · $71.30 of $80.00!" in screen(CROWD, 80, 24)


def test_who_is_silent_for_long_is_marked_and_shown_first() -> None:
    """Also where there is room for two sessions only; who waits for a provider is not meant."""
    row = next(line for line in screen(CROWD, 80, 24).splitlines() if line.startswith("! "))
    assert row.endswith("6m")
    assert any(line.startswith("! ") for line in screen(CROWD, 80, 12).splitlines())


def test_the_gate_says_how_long_it_is_closed_and_how_many_calls_are_in_flight() -> None:
    """Then it is open, to as many as the mission may ask at once."""
    assert "closed 35s · 10 of 12 calls in flight" in screen(CROWD, 200, 50)
    later = replace(CROWD, now=NOW + timedelta(seconds=60))
    assert f"open · 14 of {SESSIONS} calls in flight" in screen(later, 200, 50)


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (Scene(SEALED.state, NOW), ("✓ sealed", "3/3 done", "verify  exit 0", "all is well")),
        (replace(CROWD, is_alive=False), ("! interrupted", "orch resume m-20300101-port", "4 open")),
        (Scene(MissionState(), NOW), ("● starting", "0/0 done")),
    ],
)
def test_a_mission_that_does_not_run_says_how_it_stands(scene: Scene, words: tuple[str, ...]) -> None:
    """In place of the sessions."""
    shown = screen(scene, 80, 24)
    assert all(word in shown for word in words), shown
    assert "silent" not in shown


def test_the_last_words_of_a_mission_are_wrapped_where_wide_characters_need_it() -> None:
    """None of them is lost, and where they are too many that is said."""
    state = evolve(SEALED.state, ending="見" * 60)
    assert screen(Scene(state, NOW), 80, 24).count("見") == 60
    assert " …" in screen(Scene(evolve(state, ending="word " * 200), NOW), 80, 24)


@pytest.mark.parametrize(("columns", "rows"), [(0, 5), (5, 0), (-1, -1)])
def test_no_room_shows_nothing(columns: int, rows: int) -> None:
    """It is no error."""
    assert frame(CROWD, columns, rows) == ()
