"""`orch status` for people fits 80 columns and uses 200, and is plain text whatever the mission holds."""

import pytest

from orch.mission import events as ev
from orch.mission.result import Count, IssueCount, UsageReport
from orch.mission.state import SessionStatus
from orch.mission.status import MissionEntry, Missions, SessionEntry
from orch.view import defuse, table

STAMP = "2026-01-01T00:00:00.000Z"


def session(number: int, state: SessionStatus = SessionStatus.RUNNING, item: str = "auth") -> SessionEntry:
    """Return a session that does something long."""
    return SessionEntry(
        session=ev.SessionId(f"S{number}"),
        role=ev.Role.WORKER,
        item=ev.ItemId(item),
        state=state,
        turns=12,
        tokens=1_234_567,
        doing="write src/" + "very/" * 60 + "long.py",
        since=STAMP,
        last_activity=STAMP,
    )


def entry(*sessions: SessionEntry, goal: str = "build it", next_line: str | None = None) -> MissionEntry:
    """Return a mission in the middle of its work."""
    return MissionEntry(
        mission=ev.MissionId("20260101-000000-00000"),
        goal=goal,
        status="running",
        pid=4321,
        alive=True,
        started=STAMP,
        updated=STAMP,
        duration_s=3_725.0,
        todo=Count(done=3, total=8),
        issues=IssueCount(open=1, closed=2),
        sessions=sessions,
        usage=UsageReport(
            input_tokens=9_876_543,
            output_tokens=1_234,
            cached_tokens=5,
            cost_usd=1.5,
            by_model={},
            by_role={},
        ),
        resume=None,
        next=next_line,
    )


@pytest.mark.parametrize("width", [80, 200])
def test_a_mission_fits_the_width(width: int) -> None:
    """Every row fits; the room there is is used by what a session does."""
    items = ("auth", "漢字" * 20, "a\x1b[2Jb")
    sessions = [session(n, item=item) for n, item in enumerate(items)]
    rows = table.render(Missions(missions=(entry(*sessions, goal="x" * 500),)), width).splitlines()
    assert max(map(defuse.columns, rows)) == width
    assert "\x1b" not in "".join(rows)
    starts = {defuse.columns(row[: row.index("write")]) for row in rows if "write" in row}
    assert len(starts) == 1


def test_what_matters_is_said() -> None:
    """State, process, time, progress, issues, tokens, cost."""
    text = table.render(Missions(missions=(entry(session(1)),)), 80)
    for words in ("running, pid 4321, 1:02:05", "3/8", "1 open, 2 closed", "9,876,543", "$1.50", "worker"):
        assert words in text
    assert "[#######.............]" in text


def test_sessions_that_are_over_give_way_to_those_at_work() -> None:
    """Many are folded to the last ones, and it is said how many there are."""
    ended = [session(n, SessionStatus.ENDED) for n in range(30)]
    running = [session(n) for n in range(30, 32)]
    text = table.render(Missions(missions=(entry(*ended, *running),)), 80)
    assert "2 of 32 sessions shown" in text
    assert "12 of 30 sessions shown" in table.render(Missions(missions=(entry(*ended),)), 80)


def test_the_line_to_go_on_is_never_cut() -> None:
    """It is for pasting."""
    line = f"orch resume m -C /{'deep/' * 40}"
    assert f"next: {line}" in table.render(Missions(missions=(entry(next_line=line),)), 80)


def test_many_missions_are_a_list() -> None:
    """One row each, in the order given."""
    two = (entry(goal="first " + "x" * 200), entry(goal="second"))
    rows = table.render(Missions(missions=two), 80).splitlines()
    assert [row.split()[3] for row in rows] == ["first", "second"]
    assert max(map(len, rows)) <= 80


def test_without_a_mission_it_says_how_to_begin() -> None:
    """No traceback, no empty screen."""
    assert "orch task" in table.render(Missions(missions=()), 80)
