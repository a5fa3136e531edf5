"""What was proven, and by what: orch's own verification, and the reviews with their evidence."""

from collections.abc import Sequence

from orch.mission.chronicle import Chronicle, Review, Round
from orch.mission.events import EvidenceRecorded, Outcome, Verdict, VerificationPhase
from orch.view.report import words
from orch.view.report.markup import NOTHING, Html, joined, tag
from orch.view.report.tables import (
    MOST_ROWS,
    Links,
    chip,
    code,
    exited,
    folded,
    folded_if_long,
    output,
    row,
    section,
    table,
)

MOST_ROUNDS = 20
NAMED_FILES = 3
_HEADS = ("Command", "Exit", "Took", "Tree", "Output")


def seal(chronicle: Chronicle) -> Html:
    """Return what orch ran itself: for the seal, before, and what was red before the first write."""
    rounds = [r for r in chronicle.rounds if r.phase is VerificationPhase.SEAL]
    last = rounds[-1] if rounds else None
    is_sealed = chronicle.state.outcome is Outcome.SEALED
    title = "The seal and its evidence" if is_sealed else "Verification by orch"
    parts = [_tree(chronicle)] if is_sealed else []
    if last is None:
        parts.append(tag("p", "orch has run no verification for a seal.", class_="none"))
    else:
        parts.append(_round(last, "orch's own verification, last time"))
    if is_sealed:
        parts.append(_summary(chronicle))
    earlier = [_round(r, f"At {words.offset(r.began_s)}") for r in rounds[:-1][-MOST_ROUNDS:]]
    if earlier:
        parts.append(folded(f"Earlier verifications ({len(rounds) - 1:,})", *earlier))
    return section("seal", title, *parts, _baseline(chronicle))


def _tree(chronicle: Chronicle) -> Html:
    tree = chronicle.state.verified[-1].tree if chronicle.state.verified else ""
    when = words.moment(chronicle.state.ts)
    return tag("p", f"Sealed on {when}. Tree ", tag("code", tree, class_="hash"))


def _round(round_: Round, caption: str) -> Html:
    rows = [
        row(code(r.command), exited(r.exit_code), words.lasted(r.duration_s), _hash(r.tree), output(r.output))
        for r in round_.results
    ]
    rows += [
        row(code(command), chip("did not run", "plain"), "", "", "")
        for command in round_.commands[len(round_.results) :]
    ]
    began, ended = words.offset(round_.began_s), words.offset(round_.ended_s)
    return table(f"{caption} (from {began} to {ended})", _HEADS, rows[:MOST_ROWS], len(rows))


def _hash(sha: str | None) -> Html:
    return tag("code", words.short(sha), title=sha, class_="sha")


def _baseline(chronicle: Chronicle) -> Html:
    """Return what was red already before the first write."""
    heading = tag("h3", "Before the first write")
    rounds = [r for r in chronicle.rounds if r.phase is VerificationPhase.BASELINE]
    if not rounds:
        return joined(
            (heading, tag("p", "orch did not run the commands before the first write.", class_="none"))
        )
    red = len(chronicle.state.red_before)
    said = f"{words.count(red, 'command')} red" if red else "nothing was red"
    return joined((heading, _round(rounds[-1], f"Before the first write: {said}")))


def _summary(chronicle: Chronicle) -> Html:
    text = chronicle.state.ending.strip()
    if not text:
        return NOTHING
    head = tag("h3", "What the Commander reports")
    note = tag("p", "A model's own words, kept for reading; they prove nothing.", class_="none")
    return joined((head, note, tag("p", words.cut(text, 4_000), class_="prose")))


def answer(chronicle: Chronicle) -> Html:
    """Return the answer, where the goal asked for no change."""
    if chronicle.state.outcome is not Outcome.ANSWERED:
        return NOTHING
    return section(
        "answer", "The answer", tag("p", words.cut(chronicle.state.ending, 20_000), class_="prose")
    )


def reviews(chronicle: Chronicle, links: Links) -> Html:
    """Return every verdict, and all that Reviewers ran."""
    rows = [_review(review, links) for review in chronicle.reviews[:MOST_ROWS]]
    heads = ("Item", "Verdict", "Reviewer", "Evidence", "Issues", "At")
    verdicts = table("Verdicts that orch accepted", heads, rows, len(chronicle.reviews))
    proof = list(chronicle.state.evidence.values())
    evidence = table(
        "Every command that a Reviewer ran",
        ("Evidence", "Command", "Exit", "Took", "Item", "By", "Files", "Output"),
        [_evidence(chronicle, one, links) for one in proof[:MOST_ROWS]],
        len(proof),
    )
    return section(
        "reviews",
        "Reviews",
        folded_if_long("Verdicts", len(rows), verdicts),
        tag("h3", "Evidence"),
        folded_if_long("Commands", len(proof), evidence),
    )


def _review(review: Review, links: Links) -> Html:
    approved = review.verdict is Verdict.APPROVE
    return row(
        links.item(review.item),
        chip("✓ approve" if approved else "✗ reject", "ok" if approved else "bad"),
        links.session(review.session),
        links.proof(review.evidence),
        links.issue_list(review.issues),
        words.offset(review.at_s),
    )


def _evidence(chronicle: Chronicle, proof: EvidenceRecorded, links: Links) -> Html:
    log = f".opencode/orch/missions/{chronicle.state.mission}/jobs/{proof.log}"
    void = chip("void", "warn", "its files changed while it ran") if proof.void else NOTHING
    return row(
        proof.evidence,
        code(proof.command),
        joined((exited(proof.exit_code), " ", void)),
        words.lasted(proof.duration_s),
        links.item(proof.item),
        links.session(proof.session),
        _files(list(proof.files.items())),
        output(chronicle.outputs.get(proof.evidence, ""), log),
        id_=links.evidence[proof.evidence],
    )


def _files(files: Sequence[tuple[str, str | None]]) -> Html:
    shown = [joined((code(path, 80), " ", _hash(sha))) for path, sha in files[:NAMED_FILES]]
    rest = len(files) - NAMED_FILES
    more = [tag("span", f"and {rest:,} more", class_="none")] if rest > 0 else []
    return joined((*shown, *more), tag("br"))
