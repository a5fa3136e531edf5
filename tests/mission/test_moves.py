"""Tests of the three tables, over every pair of status and event."""

from dataclasses import replace
from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.mission.moves import ITEM_MOVES, MISSION_MOVES, SESSION_MOVES
from orch.mission.reduce import reduce
from orch.mission.state import (
    ItemStatus,
    MissionStatus,
    SessionStatus,
    distinct,
)
from tests.mission.samples import (
    OPEN_CALL,
    RUNNING_TURN,
    S2,
    SAMPLES,
    A,
    a_mission,
    proven,
    refused,
    sample,
    stamped,
)

README = Path(__file__).resolve().parents[2] / "orch" / "README.md"
ITEM_EVENTS = distinct(name for moves in ITEM_MOVES.values() for name in moves)
MISSION_EVENTS = distinct(name for moves in MISSION_MOVES.values() for name in moves)
SESSION_EVENTS = distinct(name for moves in SESSION_MOVES.values() for name in moves)


@pytest.mark.parametrize("status", ItemStatus)
@pytest.mark.parametrize("event_type", ITEM_EVENTS)
def test_an_item_moves_as_its_table_says_and_no_other_way(status: ItemStatus, event_type: str) -> None:
    """Every pair of status and event is a move of the table or is refused."""
    state = a_mission(item=status)
    expected = ITEM_MOVES[status].get(event_type)

    if expected is None:
        refused(state, sample(event_type))
    else:
        assert reduce(state, stamped(sample(event_type), 10)).items[A].status is expected


@pytest.mark.parametrize("status", SessionStatus)
@pytest.mark.parametrize("event_type", SESSION_EVENTS)
def test_a_session_moves_as_its_table_says_and_no_other_way(status: SessionStatus, event_type: str) -> None:
    """Every pair of status and event is a move of the table or is refused."""
    middle = {"turn.finished": RUNNING_TURN, "turn.failed": RUNNING_TURN}
    state = (middle | {"tool.called": OPEN_CALL, "tool.finished": OPEN_CALL}).get(event_type, a_mission())
    moved = replace(state.sessions[S2], status=status)
    state = replace(state, sessions={**state.sessions, S2: moved})
    expected = SESSION_MOVES[status].get(event_type)

    if expected is None:
        refused(state, sample(event_type))
    else:
        assert reduce(state, stamped(sample(event_type), 10)).sessions[S2].status is expected


@pytest.mark.parametrize("status", MissionStatus)
@pytest.mark.parametrize("event_type", MISSION_EVENTS)
def test_a_mission_moves_as_its_table_says_and_no_other_way(status: MissionStatus, event_type: str) -> None:
    """Every pair of status and event is a move of the table or is refused."""
    middle = {"mission.planned": replace(a_mission(), dry_run=True)}
    state = replace(middle.get(event_type, proven()), status=status)
    expected = MISSION_MOVES[status].get(event_type)

    if expected is None:
        refused(state, sample(event_type))
    else:
        assert reduce(state, stamped(sample(event_type), 10)).status is expected


@pytest.mark.parametrize("status", [MissionStatus.NEW, MissionStatus.ENDED, MissionStatus.CLOSED])
@pytest.mark.parametrize(
    "event", [e for e, _ in SAMPLES if e.type not in MISSION_EVENTS], ids=lambda e: e.type
)
def test_nothing_happens_in_a_mission_that_does_not_run(status: MissionStatus, event: ev.Event) -> None:
    """Before the start and after the end every event is refused."""
    refused(a_mission(mission=status), event)


def test_what_is_final_is_final() -> None:
    """The tables have no way out of what the contract calls absorbing."""
    assert not ITEM_MOVES[ItemStatus.COMPLETED]
    assert not ITEM_MOVES[ItemStatus.DROPPED]
    assert not SESSION_MOVES[SessionStatus.ENDED]
    assert not MISSION_MOVES[MissionStatus.CLOSED]


def test_every_status_can_be_reached() -> None:
    """No status stands in a table that nothing leads to."""
    reached = {status for moves in ITEM_MOVES.values() for status in moves.values()}
    assert reached | {ItemStatus.PENDING} == set(ItemStatus)
    assert set(ITEM_MOVES) == set(ItemStatus)
    assert set(SESSION_MOVES) == set(SessionStatus)
    assert set(MISSION_MOVES) == set(MissionStatus)


def diagram() -> str:
    """Render the table of an item's moves."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    for status, moves in ITEM_MOVES.items():
        for event, after in moves.items():
            lines.append(f"    {status} --> {after}: {event.partition('.')[2]}")
        if not moves:
            lines.append(f"    {status} --> [*]")
    return "\n".join([*lines, "```"])


def test_the_diagram_in_the_readme_is_the_table() -> None:
    """Print the new diagram where they differ: paste it between the two marks."""
    shown = README.read_text().partition("<!-- states -->\n")[2].partition("\n<!-- /states -->")[0]

    assert shown == diagram(), diagram()
