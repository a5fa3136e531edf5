"""`orch status` for people fits 80 columns and uses 200, and is plain text whatever the mission holds."""

from datetime import UTC, datetime, timedelta

import pytest

from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.result import Count, IssueCount, UsageReport
from orch.mission.state import SessionStatus
from orch.mission.status import Liveness, MissionEntry, Missions, SessionEntry
from orch.view import defuse, table

STAMP = "2026-01-01T00:00:00.000Z"
NOW = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=42)


def session(
    number: int, state: SessionStatus | Liveness = SessionStatus.RUNNING, item: str = "auth"
) -> SessionEntry:
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


def entry(*sessions: SessionEntry, **facts: object) -> MissionEntry:
    """Return a mission in the middle of its work."""
    running = MissionEntry(
        mission=ev.MissionId("20260101-000000-00000"),
        goal="build it",
        status=Liveness.RUNNING,
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
        next=None,
    )
    return running.model_copy(update=facts)


def over(*sessions: SessionEntry, **facts: object) -> MissionEntry:
    """Return a mission that nobody runs."""
    return entry(*sessions, **({"alive": False, "pid": None} | facts))


def shown(*entries: MissionEntry, width: int = 80) -> str:
    """Return what is printed."""
    return table.render(Missions(missions=entries), width, NOW)


@pytest.mark.parametrize("width", [80, 200])
def test_a_mission_fits_the_width(width: int) -> None:
    """Every row fits; the room there is is used by what a session does."""
    items = ("auth", "漢字" * 20, "a\x1b[2Jb")
    sessions = [session(n, item=item) for n, item in enumerate(items)]
    rows = shown(entry(*sessions, goal="x" * 500), width=width).splitlines()
    assert max(map(defuse.columns, rows)) == width
    assert "\x1b" not in "".join(rows)
    starts = {defuse.columns(row[: row.index("write")]) for row in rows if "write" in row}
    assert len(starts) == 1


def test_what_matters_is_said() -> None:
    """State, process, time, progress, issues, tokens, cost."""
    text = shown(entry(session(1)))
    for words in ("running, pid 4321, 1:02:05", "3/8", "1 open, 2 closed", "9,876,543", "$1.50", "worker"):
        assert words in text
    assert "[#######.............]" in text


def test_sessions_that_are_over_give_way_to_those_at_work() -> None:
    """Many are folded to the last ones, and it is said how many there are."""
    ended = [session(n, SessionStatus.ENDED) for n in range(30)]
    running = [session(n) for n in range(30, 32)]
    text = shown(entry(*ended, *running))
    assert "2 of 32 sessions shown" in text
    assert "12 of 30 sessions shown" in shown(entry(*ended))


def test_the_line_to_go_on_is_never_cut() -> None:
    """It is for pasting."""
    line = f"orch resume m -C /{'deep/' * 40}"
    assert f"next: {line}" in shown(entry(next=line))


def test_many_missions_are_a_list() -> None:
    """One row each, in the order given."""
    two = (entry(goal="first " + "x" * 200), entry(goal="second"))
    rows = shown(*two).splitlines()
    assert [row.split()[3] for row in rows] == ["first", "second"]
    assert max(map(len, rows)) <= 80


def test_without_a_mission_it_says_how_to_begin() -> None:
    """No traceback, no empty screen."""
    assert "orch task" in shown()


def test_who_was_heard_of_when_is_said_of_a_running_mission() -> None:
    """Of sessions that owe a turn; nobody waits for the others."""
    running, idle = session(1), session(2, SessionStatus.IDLE)
    late = session(3).model_copy(update={"last_activity": "2025-12-31T23:00:00.000Z"})
    head, *rows = shown(entry(running, idle, late)).splitlines()[5:8]
    assert head.split() == ["role", "item", "state", "turns", "tokens", "last", "doing"]
    assert [row.split()[6] for row in shown(entry(running, idle, late)).splitlines()[6:9]] == [
        "42s",
        "-",
        "1:00:42",
    ]
    assert rows
    assert "last" not in shown(over(running, idle, late))


def test_a_mission_that_was_killed_says_so() -> None:
    """Its sessions were cut off; those that waited are over like the mission."""
    text = shown(
        over(session(1, Liveness.INTERRUPTED), session(2, SessionStatus.IDLE), status=Liveness.INTERRUPTED)
    )
    assert "interrupted: its process is gone, 1:02:05" in text
    assert "pid" not in text
    assert "1 of 2 sessions shown; --session S1 tells what one did" in text


def test_the_question_of_a_blocked_mission_is_shown_whole() -> None:
    """It is for reading, and the line below for answering."""
    question = "Which database? " * 20 + "\x1b[2J漢字" * 30
    asked = ev.Blocker(kind=ev.BlockerKind.DECISION, text=question)
    text = shown(over(status=ev.Outcome.BLOCKED, blockers=(asked,), next="orch resume m --reply TEXT"))
    assert " ".join(text.split()).count("Which database?") == 20
    assert "".join(text.split()).count("漢字") == 30
    assert "\x1b" not in text
    assert max(map(defuse.columns, text.splitlines())) <= 80
    assert text.endswith("next: orch resume m --reply TEXT")


def test_why_a_run_ended_is_said_in_a_few_lines() -> None:
    """The result has all of it."""
    reasons = tuple(
        ev.Blocker(kind=ev.BlockerKind.ITEM, item=ev.ItemId(f"i{n}"), text="gave up " * 50) for n in range(9)
    )
    rows = shown(over(status=ev.Outcome.UNSEALED, blockers=reasons)).splitlines()
    assert [row[:8] for row in rows[-4:]] == ["why: i0:", "why: i1:", "why: i2:", "     and"]
    assert rows[-1] == "     and 6 more"
    assert max(map(len, rows)) <= 80


def test_what_was_spent_stands_against_the_caps() -> None:
    """Of those that there are; the time only while it runs."""
    caps = Caps(timeout_s=7_200, max_tokens=10_000_000, max_budget_usd=2.0)
    text = shown(entry(caps=caps, run_s=3_600.0))
    assert "caps   50% of 2h, 99% of 10,000,000 tokens, 75% of $2.00" in text
    assert "2h" not in shown(over(caps=caps))
    assert "caps" not in shown(entry())
