"""What the events of proof change: evidence, issues, orch's own verification, the wish for a seal.

Evidence and issues are recorded once and never rewritten; a result of a command that orch is not running,
or out of its order, raises `IllegalTransition`.
"""

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.state import Issue, MissionState, Verification


def evidence_recorded(state: MissionState, event: ev.EvidenceRecorded) -> MissionState:
    """Keep the evidence as it was recorded."""
    if event.evidence in state.evidence:
        raise IllegalTransition(f"evidence {event.evidence} exists already")
    return evolve(state, evidence={**state.evidence, event.evidence: event})


def issue_opened(state: MissionState, event: ev.IssueOpened) -> MissionState:
    """Open the issue; whoever asked for the seal did not know of it."""
    if event.issue in state.issues:
        raise IllegalTransition(f"issue {event.issue} exists already")
    issue = Issue(
        id=event.issue,
        source=event.source,
        text=event.text,
        path=event.path,
        item=event.item,
        command=event.command,
        opened_seq=event.seq,
    )
    return evolve(state, issues={**state.issues, event.issue: issue}, seal_asked=False)


def issue_closed(state: MissionState, event: ev.IssueClosed) -> MissionState:
    """Close the issue."""
    issue = evolve(open_issue(state, event.issue), is_open=False)
    return evolve(state, issues={**state.issues, event.issue: issue})


def open_issue(state: MissionState, issue: ev.IssueId) -> Issue:
    """Return an issue that is open."""
    present = state.issues.get(issue)
    if present is None or not present.is_open:
        raise IllegalTransition(f"issue {issue} is not open")
    return present


def seal_requested(state: MissionState, event: ev.SealRequested) -> MissionState:
    """Note that a seal is wanted, and the summary if there is one."""
    return evolve(state, seal_asked=True, seal_summary=event.summary or state.seal_summary)


def seal_refused(state: MissionState, _event: ev.SealRefused) -> MissionState:
    """Take the wish back, and the verification that was to prove it."""
    run = state.verification
    at_seal = run is not None and run.phase is ev.VerificationPhase.SEAL
    return evolve(state, seal_asked=False, verification=None if at_seal else run)


def verification_started(state: MissionState, event: ev.VerificationStarted) -> MissionState:
    """Begin a run of commands; the baseline is due once."""
    due = state.baseline_due and event.phase is not ev.VerificationPhase.BASELINE
    return evolve(
        state, verification=Verification(phase=event.phase, commands=event.commands), baseline_due=due
    )


def verification_finished(state: MissionState, event: ev.VerificationFinished) -> MissionState:
    """Take over a result: at the seal as proof, at the baseline as what was red before."""
    run = state.verification
    if run is None or run.is_complete or run.commands[len(run.results)] != event.command:
        raise IllegalTransition(f"a result of {event.command!r}, which is not being verified")
    run = evolve(run, results=(*run.results, event))
    if event.phase is ev.VerificationPhase.SEAL:
        return evolve(state, verification=run, verified=run.results)
    red = (*state.red_before, event.command) if event.exit_code else state.red_before
    return evolve(state, verification=None if run.is_complete else run, red_before=red)
