"""Puts a report together, in a reviewer's order. The same journal gives the same bytes."""

from orch.mission.chronicle import Chronicle
from orch.view import defuse
from orch.view.report import proof, trouble, verdict, words, work
from orch.view.report.markup import NOTHING, Html, joined, page, style, tag
from orch.view.report.style import SHEET
from orch.view.report.tables import folded, links

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Nothing may be loaded, and nothing may run: also not what a bug would let in."""
LONGEST_TITLE = 140
LONGEST_GOAL = 20_000
PARTS = (
    ("next", "What to do next"),
    ("answer", "Answer"),
    ("seal", "Verification"),
    ("unverified", "Not verified"),
    ("timeline", "Timeline"),
    ("plan", "Plan"),
    ("files", "Files"),
    ("issues", "Issues"),
    ("reviews", "Reviews"),
    ("cost", "Cost"),
    ("trouble", "Retries, heals, refusals"),
    ("denials", "Denials"),
)


def render(chronicle: Chronicle, standing: verdict.Standing) -> str:
    """Return the page."""
    where = links(chronicle)
    sections = {
        "next": verdict.to_do(chronicle, standing, where),
        "answer": proof.answer(chronicle),
        "seal": proof.seal(chronicle),
        "unverified": verdict.unverified(chronicle, standing),
        "timeline": work.timeline(chronicle, where),
        "plan": work.plan(chronicle, where),
        "files": work.files(chronicle, where),
        "issues": trouble.issues(chronicle, where),
        "reviews": proof.reviews(chronicle, where),
        "cost": trouble.cost(chronicle),
        "trouble": trouble.incidents(chronicle, where),
        "denials": trouble.denials(chronicle, where),
    }
    shown = {name: part for name, part in sections.items() if part != NOTHING}
    body = tag(
        "body",
        tag("a", "To the report", href="#report", class_="skip"),
        _header(chronicle, standing),
        _contents(tuple(shown)),
        tag("main", *shown.values(), id="report"),
        _footer(chronicle),
    )
    return page("orch:report", _head(chronicle, standing), body, lang="en")


def _head(chronicle: Chronicle, standing: verdict.Standing) -> Html:
    goal = words.first_line(chronicle.state.goal, 80)
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"orch {', '.join(chronicle.orch_versions)}"),
        tag("title", defuse.line(f"{standing.status}: {goal}")),
        tag("link", rel="icon", href="data:,"),
        style(SHEET),
    )


def _header(chronicle: Chronicle, standing: verdict.Standing) -> Html:
    goal = chronicle.state.goal.strip()
    title = words.first_line(goal, LONGEST_TITLE)
    whole = folded("The whole goal", tag("p", words.cut(goal, LONGEST_GOAL), class_="prose"))
    return tag(
        "header",
        tag("p", "Mission report", class_="kicker"),
        tag("h1", title or "A mission without a goal"),
        whole if title != goal else NOTHING,
        verdict.banner(chronicle, standing),
        verdict.facts(chronicle),
    )


def _contents(shown: tuple[str, ...]) -> Html:
    entries = (tag("li", tag("a", name, href=f"#{key}")) for key, name in PARTS if key in shown)
    return tag("nav", tag("ul", *entries), aria_label="Sections of this report")


def _footer(chronicle: Chronicle) -> Html:
    state = chronicle.state
    journal = f".opencode/orch/missions/{state.mission}/journal.jsonl"
    last = words.moment(state.ts)
    return tag(
        "footer",
        tag(
            "p",
            joined((f"From {words.count(state.seq, 'event')} up to {last}, in ", tag("code", journal), ".")),
        ),
        tag(
            "p",
            "Times are UTC, or counted from the mission's beginning. What is too long is cut.",
        ),
    )
