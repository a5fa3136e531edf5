"""What a verdict needs to count. Pure: the caller brings the hashes of the item's files as they are now."""

from collections.abc import Mapping
from dataclasses import dataclass

from orch.mission import events as ev
from orch.mission.state import Item, MissionState, Session, issues_of, owner_of


@dataclass(frozen=True, slots=True)
class Finding:
    """One issue of a verdict, as the Reviewer named it."""

    path: str | None
    description: str


def refusals(
    state: MissionState,
    session: Session,
    verdict: ev.Verdict,
    cited: tuple[ev.EvidenceId, ...],
    findings: tuple[Finding, ...],
    files: Mapping[str, str | None],
) -> tuple[str, ...]:
    """Return every reason why the verdict does not count; empty if it does. `files` are hashes of now."""
    item = state.items[item_of(session)]
    if verdict is ev.Verdict.REJECT:
        if findings:
            return ()
        return ("a rejection names at least one issue: what is wrong, and what would be right",)
    reasons = []
    own = [f for f in findings if f.path is None or f.path in item.files]
    if own:
        reasons.append("an approval cannot carry issues on the item's own files: reject, or leave them out")
    reasons += [
        f"{issue.id}: {issue.text} Reject, so that the Worker looks at it"
        for issue in issues_of(state, item.spec.id)
        if issue.source is ev.IssueSource.INTRUSION and issue.opened_seq > session.started_seq
    ]
    reasons += _evidence_refusals(state, session, item, cited, files)
    return tuple(reasons)


def item_of(session: Session) -> ev.ItemId:
    """Return the item that a Worker or Reviewer has."""
    assert session.item is not None, f"session {session.id} has no item"  # noqa: S101 - true by construction
    return session.item


def _evidence_refusals(
    state: MissionState,
    session: Session,
    item: Item,
    cited: tuple[ev.EvidenceId, ...],
    files: Mapping[str, str | None],
) -> list[str]:
    """Say why the evidence is not enough; one that is no good does not spoil another that is."""
    unusable = {e: _unusable(state, session, e, files) for e in cited}
    fresh = [state.evidence[e] for e, reason in unusable.items() if reason is None]
    reasons = []
    if not fresh:
        reasons.append(
            "an approval cites at least one command of this session that exited 0: run it with bash first"
        )
    check = (item.spec.check or "").strip()
    if check and all(evidence.command.strip() != check for evidence in fresh):
        reasons.append(f"the item's check is not among the evidence; run exactly: {check}")
    return [*(reason for reason in unusable.values() if reason), *reasons] if reasons else []


def _unusable(
    state: MissionState, session: Session, cited: ev.EvidenceId, files: Mapping[str, str | None]
) -> str | None:
    evidence = state.evidence.get(cited)
    if evidence is None or evidence.session != session.id:
        return f"{cited} is no evidence of this session"
    if evidence.exit_code:
        return f"{evidence.evidence} exited {evidence.exit_code}"
    if evidence.void:
        return f"{evidence.evidence} is void: the command changed the item's files"
    own = state.items[item_of(session)].files
    if any(evidence.files.get(path, "unseen") != files.get(path) for path in own):
        return f"{evidence.evidence} is older than the last change to the item's files: run it again"
    return None


def accepted(
    state: MissionState,
    session: Session,
    verdict: ev.Verdict,
    cited: tuple[ev.EvidenceId, ...],
    findings: tuple[Finding, ...],
) -> tuple[ev.Event, ...]:
    """Return what an accepted verdict means, as events; the Reviewer's session ends with them."""
    item = state.items[item_of(session)]
    opened = opened_issues(state, item.spec.id, ev.IssueSource.REVIEW, findings)
    review = ev.ReviewSubmitted(session=session.id, item=item.spec.id, verdict=verdict, evidence=cited)
    end = ev.SessionEnded(session=session.id, item=item.spec.id, outcome=ev.SessionOutcome.DONE)
    if verdict is ev.Verdict.REJECT:
        reason = "; ".join(f.description for f in findings)
        return (review, *opened, rejected(item, reason), end)
    return (review, *opened, *completed(state, item, cited, session), end)


def rejected(item: Item, reason: str) -> ev.ItemRejected:
    """Return the event that sends an item back to work."""
    return ev.ItemRejected(item=item.spec.id, round=item.rejections + 1, reason=reason)


def completed(
    state: MissionState, item: Item, cited: tuple[ev.EvidenceId, ...], session: Session
) -> tuple[ev.Event, ...]:
    """Complete an item: close the issues that this review knew of, and free its files.

    An issue raised while the review ran was not judged by it; it stays open and becomes a fix.
    """
    closed = [
        ev.IssueClosed(issue=issue.id, item=item.spec.id, reason=f"approved by {session.id}")
        for issue in issues_of(state, item.spec.id)
        if issue.command is None and issue.opened_seq < session.started_seq
    ]
    proofs = tuple(dict.fromkeys(e for e in cited if _proves(state.evidence.get(e), session)))
    done = ev.ItemCompleted(item=item.spec.id, session=session.id, evidence=proofs)
    return (*closed, done)


def _proves(evidence: ev.EvidenceRecorded | None, session: Session) -> bool:
    if evidence is None or evidence.session != session.id:
        return False
    return evidence.exit_code == 0 and not evidence.void


def sent_back(state: MissionState, item: Item, source: ev.IssueSource, text: str) -> tuple[ev.Event, ...]:
    """Return the events that send an item back to work because of one issue."""
    return (*opened_issues(state, item.spec.id, source, (Finding(None, text),)), rejected(item, text))


def opened_issues(
    state: MissionState, item: ev.ItemId, source: ev.IssueSource, findings: tuple[Finding, ...]
) -> tuple[ev.IssueOpened, ...]:
    """Open an issue per finding; one on another item's file goes to that file's owner."""
    return tuple(
        ev.IssueOpened(
            issue=next_issue(state, number),
            item=_owner(state, item, finding.path),
            source=source,
            path=finding.path,
            text=finding.description,
        )
        for number, finding in enumerate(findings)
    )


def next_issue(state: MissionState, offset: int = 0) -> ev.IssueId:
    """Return an issue id that is free."""
    return ev.IssueId(f"I{len(state.issues) + 1 + offset}")


def _owner(state: MissionState, item: ev.ItemId, path: str | None) -> ev.ItemId | None:
    if path is None or path in state.items[item].files:
        return item
    owner = owner_of(state, path)
    return owner.spec.id if owner else None
