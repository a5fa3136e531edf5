"""Who is at work has a row, or is counted in one; rows stand still, and those that need a look come first."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.state import MissionState, Verification, running_sessions
from orch.view import rows
from orch.view.activity import Activity
from orch.view.rows import Columns, Row, folded, table
from tests.view.crowd import NOW, SESSIONS, crowd

STATE = crowd().state
EVERYBODY = rows.rows(STATE, NOW)
ROWS = st.lists(
    st.builds(
        Row,
        role=st.sampled_from([*ev.Role, "orch"]),
        item=st.sampled_from(["a", "b", "-"]),
        doing=st.builds(
            Activity, st.sampled_from(["reading", "thinking"]), st.text(max_size=40), st.booleans()
        ),
        rejections=st.integers(0, 2),
        turns=st.integers(0, 9),
        tokens=st.integers(0, 10**7),
        silent_s=st.none() | st.floats(0, 1e5),
    ),
    max_size=70,
)


def test_everybody_has_a_row_in_the_order_of_their_start() -> None:
    """Whatever they do."""
    assert [row.session for row in EVERYBODY] == [session.id for session in running_sessions(STATE)]
    assert len(EVERYBODY) == SESSIONS


@given(ROWS, st.integers(1, 80))
def test_folded_rows_fit_and_nobody_is_lost(some: list[Row], room: int) -> None:
    """Turns and tokens add up to the same; the rows that stay keep their order."""
    kept = folded(some, room)

    assert len(kept) <= room
    assert sum(row.turns for row in kept) == sum(row.turns for row in some)
    assert sum(row.tokens for row in kept) == sum(row.tokens for row in some)
    places = {id(row): place for place, row in enumerate(some)}
    own = [places[id(row)] for row in kept if id(row) in places]
    assert own == sorted(own)
    assert len(own) == len(some) or len(some) > room
    assert all(row.is_shared for row in kept if id(row) not in places)


@given(st.integers(4, 49))
def test_who_was_silent_for_long_keeps_a_row(room: int) -> None:
    """In a table with room for four and more."""
    silent = [row for row in EVERYBODY if row.is_silent]
    assert len(silent) == 1
    assert set(silent) <= set(folded(EVERYBODY, room))


def test_who_waits_for_a_provider_is_not_silent() -> None:
    """However long it is."""
    waits = replace(EVERYBODY[0], silent_s=1e4, doing=Activity("waiting", "waiting 9m", is_waiting=True))
    assert not waits.is_silent
    assert replace(waits, doing=Activity("reading", "reading")).is_silent


@given(ROWS, st.integers(20, 250), st.integers(1, 60), st.booleans())
def test_a_table_is_as_wide_as_it_says(some: list[Row], width: int, room: int, is_ascii: bool) -> None:
    """Every line of it, whatever the cells hold."""
    columns = Columns.of(width, [row.item for row in some])
    lines = table(some, columns, room, is_ascii=is_ascii)
    assert len(lines) <= max(room, 1)
    widths = {cell_len("".join(piece.text for piece in line)) for line in lines}
    assert widths <= {width}, widths


def test_orch_runs_commands_of_its_own() -> None:
    """They stand before the sessions."""
    run = Verification(ev.VerificationPhase.SEAL, ("make test", "make lint"))
    first = rows.rows(evolve(STATE, verification=run), NOW)[0]
    assert (first.role, first.item, first.doing.words) == ("orch", "seal", "running 1 of 2: make test")


def test_the_clock_alone_changes_no_order() -> None:
    """Who waited goes on when the gate opens, in the same place."""
    later = rows.rows(STATE, NOW + timedelta(seconds=50))
    assert [row.session for row in later] == [row.session for row in EVERYBODY]
    assert any(row.doing.is_waiting for row in EVERYBODY)
    assert not any(row.doing.is_waiting for row in later)


def test_nobody_works_in_a_mission_that_has_not_begun() -> None:
    """There are no rows."""
    assert rows.rows(MissionState(), NOW) == ()
