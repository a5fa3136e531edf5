"""Tests of what orch says to a session."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orch.mission import brief
from orch.mission import events as ev
from orch.mission.state import Issue, Item, ItemStatus, MissionState, Session, SessionStatus
from tests.mission.casts import spec

A = ev.ItemId("a")
NAMES = st.text("abcdefgh", min_size=1, max_size=8)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1)


def with_items(*items: ev.ItemSpec) -> MissionState:
    """Return a mission with these items."""
    return MissionState(goal="the goal", items={s.id: Item(s, ev.ItemOrigin.PLANNED) for s in items})


def with_issue(state: MissionState, text: str = "line 3 is wrong") -> MissionState:
    """Return the mission with an issue on item `a`."""
    issue = Issue(ev.IssueId("I1"), ev.IssueSource.REVIEW, text, "a.py", A, None, 3)
    return replace(state, issues={issue.id: issue})


@given(title=TEXTS, instructions=TEXTS, check=TEXTS, other=NAMES)
def test_an_item_is_stated_verbatim_before_anything_about_other_items(
    title: str, instructions: str, check: str, other: str
) -> None:
    """For its Worker and its Reviewer: id, title, files, instructions and check."""
    item = ev.ItemSpec(
        id=A,
        title=title,
        files=("a.py", "b.py"),
        instructions=instructions,
        depends_on=(ev.ItemId(f"other-{other}"),),
        check=check,
    )
    state = with_items(spec(f"other-{other}"), item)

    for text in (brief.worker_brief(state, state.items[A]), brief.reviewer_brief(state, state.items[A])):
        own = text[: text.index("It builds on these items")]
        assert f"\nid: a\ntitle: {title}\nfiles: a.py, b.py\ncheck: {check}\n" in own
        assert f"\ninstructions:\n{instructions}" in own
        assert f"- other-{other}: title of other-{other} (other-{other}.py)" in text[len(own) :]
        assert f"make other-{other}" not in text


def test_a_brief_ends_with_the_goal_that_others_serve_too() -> None:
    """It comes after the item, so that nobody does more than theirs."""
    state = with_items(spec("a"))

    for text in (brief.worker_brief(state, state.items[A]), brief.reviewer_brief(state, state.items[A])):
        assert text.index("make a") < text.index("the goal")
        assert "Other items" not in text


def test_open_issues_are_told_with_the_item() -> None:
    """To a fresh Worker, to the Reviewer of the next round, and to the Worker in its conversation."""
    state = with_issue(with_items(spec("a")))
    item = replace(state.items[A], rejections=2)

    texts = (
        brief.worker_brief(state, item),
        brief.reviewer_brief(state, item),
        brief.rejection(state, item),
        brief.new_issues(state, item),
    )

    assert all("- I1 (a.py): line 3 is wrong" in text for text in texts)
    assert "(round 2)" in texts[2]


def test_a_rejection_without_an_issue_of_its_own_gives_the_reason() -> None:
    """A Worker is never told nothing."""
    state = with_items(spec("a"))

    assert "see b.py" in brief.rejection(state, replace(state.items[A], reason="see b.py"))


def test_a_reviewer_is_told_the_check_and_what_the_setup_made() -> None:
    """Exactly as it stands."""
    state = with_items(spec("a", check="pytest -q tests/a", setup="npm install"))
    item = replace(state.items[A], extra_files=("package-lock.json",))

    text = brief.reviewer_brief(state, item)

    assert "cite its evidence: pytest -q tests/a" in text
    assert "package-lock.json" in text
    assert "setup: npm install (orch runs it after you are done)" in brief.worker_brief(state, item)


def test_an_item_without_a_check_is_told_of_none() -> None:
    """No empty line stands for it."""
    state = with_items(spec("a", check=None))

    assert "check" not in brief.item_text(state.items[A].spec)
    assert "Run the check" not in brief.reviewer_brief(state, state.items[A])


def test_a_wake_tells_what_settled_since_and_what_is_under_way() -> None:
    """In one message; what was told before is not told again."""
    state = with_items(spec("a"), spec("b"), spec("c"))
    items = dict(state.items)
    items[A] = replace(items[A], status=ItemStatus.COMPLETED, moved_seq=5)
    items[ev.ItemId("b")] = replace(
        items[ev.ItemId("b")], status=ItemStatus.FAILED, moved_seq=9, reason="too hard"
    )
    state = replace(state, items=items)

    text = brief.wake(state, 7, None)

    assert "- b (title of b) failed: too hard" in text
    assert "- a (" not in text
    assert "Still under way: c." in text
    assert text.count("[orch]") == 1


def test_a_wake_names_planners_that_failed_and_no_other_session() -> None:
    """A Commander that broke before is no Planner."""
    sessions = [
        Session(
            ev.SessionId(f"S{n}"),
            role,
            "m",
            "t",
            "",
            2,
            status=SessionStatus.ENDED,
            outcome=outcome,
            reason=f"why {n}",
            ended_seq=8,
        )
        for n, (role, outcome) in enumerate(
            (
                (ev.Role.COMMANDER, ev.SessionOutcome.FAILED),
                (ev.Role.PLANNER, ev.SessionOutcome.FAILED),
                (ev.Role.PLANNER, ev.SessionOutcome.DONE),
            )
        )
    ]

    text = brief.wake(MissionState(sessions={s.id: s for s in sessions}), 7, None)

    assert "planner session S1 ended without a plan: why 1" in text
    assert "S0" not in text
    assert "S2" not in text


def test_a_wake_shows_open_issues_with_their_owner_and_not_without_end() -> None:
    """Long output is cut; who owns it is said."""
    state = with_issue(with_items(spec("a")), "x" * 9_000)
    orphan = Issue(ev.IssueId("I2"), ev.IssueSource.REQUEST, "please", None, None, None, 4)

    text = brief.wake(replace(state, issues={**state.issues, orphan.id: orphan}), 0, None)

    assert f"- I1 on item a: {'x' * brief.OUTPUT_EXCERPT_CHARS}\n" in text
    assert "- I2 (nobody owns it: delegate a fix to its file): please" in text


def test_the_ladder_is_told_rung_by_rung() -> None:
    """First that nothing moved, then what is left to try; and what was red before is said."""
    state = MissionState(red_before=("make test",))

    assert "Nothing moved since" in brief.wake(state, 0, ev.StagnationStage.INTERVENE)
    assert "Delegate a new plan" in brief.wake(state, 0, ev.StagnationStage.REPLAN)
    assert "Red before the first change: `make test`" in brief.wake(state, 0, None)
    assert brief.red_before_line(MissionState()) == ""
