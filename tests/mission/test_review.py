"""Tests of the judge of verdicts."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.review import Finding, accepted, next_issue, opened_issues, refusals, sent_back
from orch.mission.state import Issue, Item, ItemStatus, MissionState, Session, SessionStatus
from tests.mission.casts import spec

A, B = ev.ItemId("a"), ev.ItemId("b")
REVIEWER = Session(
    ev.SessionId("S4"),
    ev.Role.REVIEWER,
    "m",
    "review",
    "",
    started_seq=20,
    item=A,
    status=SessionStatus.RUNNING,
)
NOW = {"a.py": "sha1"}
E1 = ev.EvidenceRecorded(
    session=ev.SessionId("S4"),
    item=A,
    evidence=ev.EvidenceId("E1"),
    command="  check ",
    exit_code=0,
    duration_s=1,
    tree="t",
    files={"a.py": "sha1"},
    log="l",
)
APPROVE, REJECT = ev.Verdict.APPROVE, ev.Verdict.REJECT


def a_review(
    *evidence: ev.EvidenceRecorded, check: str | None = "check", issues: tuple[Issue, ...] = ()
) -> MissionState:
    """Return a mission with item `a` under review, and `b` beside it."""
    return MissionState(
        items={
            A: Item(
                spec("a", check=check), ev.ItemOrigin.PLANNED, ItemStatus.REVIEWING, reviewer=REVIEWER.id
            ),
            B: Item(spec("b"), ev.ItemOrigin.PLANNED, ItemStatus.COMPLETED),
        },
        sessions={REVIEWER.id: REVIEWER},
        evidence={e.evidence: e for e in evidence},
        issues={i.id: i for i in issues},
    )


def an_issue(
    number: int, seq: int, source: ev.IssueSource = ev.IssueSource.REVIEW, command: str | None = None
) -> Issue:
    """Return an open issue on item `a`."""
    return Issue(ev.IssueId(f"I{number}"), source, "wrong", None, A, command, seq)


def approval(state: MissionState, *cited: str, findings: tuple[Finding, ...] = ()) -> tuple[str, ...]:
    """Return why an approval does not count."""
    ids = tuple(ev.EvidenceId(e) for e in cited)
    return refusals(state, REVIEWER, APPROVE, ids, findings, NOW)


def test_an_approval_with_the_fresh_check_counts() -> None:
    """Blanks around the command do not matter."""
    assert approval(a_review(E1), "E1") == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session": "S9"}, "E1 is no evidence of this session"),
        ({"exit_code": 1}, "E1 exited 1"),
        ({"void": True}, "E1 is void"),
        ({"files": {"a.py": "old"}}, "E1 is older than the last change"),
        ({"files": {}}, "E1 is older than the last change"),
        ({"evidence": "E2"}, "E1 is no evidence of this session"),
        ({"command": "check --fast"}, "the item's check is not among the evidence; run exactly: check"),
    ],
)
def test_evidence_that_is_no_good_is_refused_with_its_reason(change: dict[str, object], reason: str) -> None:
    """Foreign, red, void, stale, unknown, or of another command."""
    reasons = approval(a_review(E1.model_copy(update=change)), "E1")

    assert any(r.startswith(reason) for r in reasons)


def test_an_approval_that_cites_nothing_is_refused() -> None:
    """Both for the missing evidence and for the missing check."""
    assert len(approval(a_review(E1))) == 2


def test_an_item_without_a_check_needs_any_command_that_exited_0() -> None:
    """Which one is the Reviewer's choice."""
    look = E1.model_copy(update={"command": "python -m app"})

    assert approval(a_review(look, check=None), "E1") == ()
    assert approval(a_review(check=None)) != ()


def test_a_red_command_beside_a_good_one_does_not_spoil_the_approval() -> None:
    """At least one fresh one, and the check among those: more is not asked. Only the good are proof."""
    red = E1.model_copy(update={"evidence": ev.EvidenceId("E2"), "exit_code": 1, "command": "app --bad"})
    state = a_review(E1, red)
    cited = (ev.EvidenceId("E2"), ev.EvidenceId("E1"), ev.EvidenceId("E1"), ev.EvidenceId("E7"))

    done = next(e for e in accepted(state, REVIEWER, APPROVE, cited, ()) if isinstance(e, ev.ItemCompleted))

    assert approval(state, *cited) == ()
    assert done.evidence == ("E1",)


def test_files_that_the_setup_made_have_to_be_fresh_too() -> None:
    """They belong to the item."""
    state = a_review(E1)
    item = replace(state.items[A], extra_files=("lock",))

    reasons = refusals(
        replace(state, items={A: item}), REVIEWER, APPROVE, (E1.evidence,), (), {**NOW, "lock": "1"}
    )

    assert any("older than the last change" in r for r in reasons)


@pytest.mark.parametrize(("path", "counts"), [(None, False), ("a.py", False), ("b.py", True), ("c.py", True)])
def test_an_approval_carries_issues_only_on_other_files(path: str | None, counts: bool) -> None:
    """An issue on the item's own files is a rejection."""
    assert (approval(a_review(E1), "E1", findings=(Finding(path, "x"),)) == ()) is counts


def test_a_file_that_changed_behind_the_worker_needs_a_rejection() -> None:
    """An intrusion during this review is looked at by the owner; one before it was."""
    intrusion = ev.IssueSource.INTRUSION

    assert approval(a_review(E1, issues=(an_issue(1, 21, intrusion),)), "E1") != ()
    assert approval(a_review(E1, issues=(an_issue(1, 19, intrusion),)), "E1") == ()
    assert approval(a_review(E1, issues=(an_issue(1, 21),)), "E1") == ()


def test_a_rejection_needs_an_issue_and_nothing_else() -> None:
    """Who says no says what is wrong."""
    assert refusals(a_review(), REVIEWER, REJECT, (), (Finding(None, "x"),), NOW) == ()
    assert refusals(a_review(), REVIEWER, REJECT, (), (), NOW) != ()


def test_an_approval_closes_the_issues_that_the_review_knew_and_only_those() -> None:
    """A red command's issue waits for the command, a late one for its fix."""
    issues = (an_issue(1, 10), an_issue(2, 30), an_issue(3, 10, command="verify"))

    events = accepted(a_review(E1, issues=issues), REVIEWER, APPROVE, (E1.evidence,), ())

    assert [e.type for e in events] == ["review.submitted", "issue.closed", "item.completed", "session.ended"]
    assert [e.issue for e in events if isinstance(e, ev.IssueClosed)] == ["I1"]


def test_a_rejection_opens_its_issues_with_their_owners() -> None:
    """The item's own, another item's, and nobody's."""
    findings = (
        Finding(None, "one"),
        Finding("b.py", "two"),
        Finding("c.py", "three"),
        Finding("a.py", "four"),
    )

    events = accepted(a_review(issues=(an_issue(1, 3),)), REVIEWER, REJECT, (), findings)
    opened = [(e.issue, e.item, e.text) for e in events if isinstance(e, ev.IssueOpened)]

    assert opened == [("I2", "a", "one"), ("I3", "b", "two"), ("I4", None, "three"), ("I5", "a", "four")]
    assert isinstance(events[-2], ev.ItemRejected)
    assert events[-2].reason == "one; two; three; four"
    assert isinstance(events[-1], ev.SessionEnded)


def test_an_item_is_sent_back_with_its_issue_and_round() -> None:
    """A failed setup and a missing verdict use the same way back."""
    item = replace(a_review().items[A], rejections=2)

    opened, rejected = sent_back(a_review(), item, ev.IssueSource.SETUP, "no")

    assert isinstance(opened, ev.IssueOpened)
    assert isinstance(rejected, ev.ItemRejected)
    assert (opened.source, opened.text, rejected.round) == ("setup", "no", 3)


def test_issue_ids_go_on_where_the_last_ended() -> None:
    """No id is used twice, as no issue is ever forgotten."""
    state = a_review(issues=(an_issue(1, 3),))

    assert next_issue(state, 1) == "I3"
    assert [e.issue for e in opened_issues(state, A, ev.IssueSource.REVIEW, (Finding(None, "x"),))] == ["I2"]
