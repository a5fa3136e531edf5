"""The chronicle of a mission: what its report tells, from the events alone."""

from orch.mission import events as ev
from orch.mission.chronicle import KILLED, LIVING, Doing, Kind, Stretch
from orch.mission.chronicler import chronicle
from orch.mission.reduce import replay
from tests.mission import tales
from tests.mission.tales import LEAD, REVIEWER, WORKER, A, Teller


def retry(error: str) -> ev.Retry:
    """Return a retry of the Worker's turn in five seconds."""
    return ev.Retry(session=WORKER, item=A, attempt=1, delay_s=5.0, error=error, text="503")


def test_a_session_is_told_as_stretches_of_work_and_waiting() -> None:
    """Turns, tools, the rest after it, each from when to when."""
    told = chronicle(Teller().begin().plan().work().events)
    assert told.sessions[WORKER].stretches == (
        Stretch(Doing.TURN, 0.0, 1.0),
        Stretch(Doing.TOOL, 1.0, 3.0),
        Stretch(Doing.TURN, 3.0, 4.0),
    )
    assert (told.sessions[WORKER].tools, told.sessions[WORKER].is_over) == (1, False)


def test_waiting_for_the_provider_is_no_work() -> None:
    """A refusal is a wait at the gate, a failure one before the next try; both end when the answer comes."""
    teller = Teller().begin().plan().session(WORKER, ev.Role.WORKER, A)
    teller.tell(ev.TurnStarted(session=WORKER, item=A, turn=1, model="fake/model"))
    teller.tell(retry("RateLimited"), after_s=1.0).tell(retry("ServerFailed"), after_s=7.0)
    failed = ev.TurnFailed(session=WORKER, item=A, turn=1, model="fake/model", error="ServerFailed", text="x")
    told = chronicle(teller.tell(failed, after_s=2.0).events)
    assert told.sessions[WORKER].stretches == (
        Stretch(Doing.TURN, 0.0, 1.0),
        Stretch(Doing.GATE, 1.0, 6.0),
        Stretch(Doing.TURN, 6.0, 8.0),
        Stretch(Doing.BACKOFF, 8.0, 10.0),
    )
    assert [incident.kind for incident in told.incidents] == [Kind.GATE, Kind.RETRY, Kind.FAILED_TURN]


def test_a_run_that_was_killed_ends_with_its_last_event() -> None:
    """What was under way is cut there, and who waited for word waits on in the next run."""
    teller = Teller().begin().turn(LEAD).tell(ev.SessionIdle(session=LEAD))
    teller.plan().session(WORKER, ev.Role.WORKER, A).tell(
        ev.TurnStarted(session=WORKER, item=A, turn=1, model="fake/model"), after_s=1.0
    )
    teller.tell(tales.resumed("yes"), after_s=60.0)
    told = chronicle(teller.tell(ev.MissionStopped(signal=ev.StopSignal.TERMINATE), after_s=4.0).events)
    assert [(run.began_s, run.ended_s, run.ending) for run in told.runs] == [
        (0.0, 2.0, KILLED),
        (62.0, 66.0, ev.Outcome.STOPPED),
    ]
    assert told.runs[1].reply == "yes"
    assert told.orch_versions == ("1.0", "1.1")
    idle = [s for s in told.sessions[LEAD].stretches if s.doing is Doing.IDLE]
    assert idle == [Stretch(Doing.IDLE, 1.0, 2.0), Stretch(Doing.IDLE, 62.0, 66.0)]
    assert all(s.ended_s <= 2.0 for s in told.sessions[WORKER].stretches)


def test_a_run_without_an_end_is_one_that_lives_as_far_as_its_events_know() -> None:
    """Only who looks at the lock knows more."""
    told = chronicle(Teller().begin().turn(LEAD, 3.0).events)
    assert (told.runs[0].ending, told.runs[0].ended_s, told.is_over) == (LIVING, 3.0, False)


def test_a_change_says_who_made_it_and_why() -> None:
    """First for the item's sake, then for the issue's; what one hand does in a row is one."""
    told = chronicle(tales.sealed())
    assert [(e.before, e.after, e.session, e.reason, e.issues) for e in told.edits] == [
        (None, "1" * 64, WORKER, "title of a", ()),
        ("1" * 64, "2" * 64, WORKER, "title of a", (ev.IssueId("I1"),)),
    ]
    twice = Teller().begin().plan().session(WORKER, ev.Role.WORKER, A)
    twice.tell(ev.ItemStarted(item=A, session=WORKER)).write(None, "1" * 64).write("1" * 64, "2" * 64)
    (edit,) = chronicle(twice.events).edits
    assert (edit.before, edit.after, edit.times) == (None, "2" * 64, 2)


def test_a_change_by_no_tool_is_told_as_such() -> None:
    """A command's with what it was; one that nobody saw without a session."""
    teller = Teller().begin().plan().work().session(REVIEWER, ev.Role.REVIEWER, A)
    by_command = ev.FileChanged(session=REVIEWER, path="a.py", before="1" * 64, after="3", by_tool=False)
    issue = ev.IssueOpened(
        issue=ev.IssueId("I1"), session=REVIEWER, source=ev.IssueSource.INTRUSION, path="a.py", text="`fmt`"
    )
    by_nobody = ev.FileChanged(path="a.py", before="3", after="4", by_tool=False)
    told = chronicle(teller.tell(by_command, issue, by_nobody).events)
    assert [(e.by_tool, e.session, e.reason, e.issues) for e in told.edits[1:]] == [
        (False, REVIEWER, "`fmt`", (ev.IssueId("I1"),)),
        (False, None, "found changed before the seal", ()),
    ]


def test_an_issue_is_told_from_its_review_to_the_approval_that_closed_it() -> None:
    """Who opened it, what it was closed with; and each verdict with its issues."""
    told = chronicle(tales.sealed())
    tale = told.issues[ev.IssueId("I1")]
    assert (tale.session, tale.reason, tale.evidence) == (REVIEWER, "approved by S4", (ev.EvidenceId("E2"),))
    assert [(r.session, r.verdict, r.issues) for r in told.reviews] == [
        (REVIEWER, ev.Verdict.REJECT, (ev.IssueId("I1"),)),
        (ev.SessionId("S4"), ev.Verdict.APPROVE, ()),
    ]
    assert set(told.outputs.values()) == {"what it printed"}
    (rejection,) = [i for i in told.incidents if i.kind is Kind.REJECTION]
    assert rejection.session == WORKER


def test_the_chronicle_ends_in_the_state_of_a_replay() -> None:
    """It is the same mission; and half of it can be told too."""
    events = tales.sealed()
    told = chronicle(events)
    assert told.state == replay(events)
    assert (told.runs[0].ending, [r.results[0].exit_code for r in told.rounds]) == (ev.Outcome.SEALED, [0])
    for number in range(len(events)):
        assert chronicle(events[:number]).state == replay(events[:number])
