"""What went wrong and how it was put right: issues, retries, heals, denials; and what all of it cost."""

from collections.abc import Mapping

from orch.mission.chronicle import Chronicle, Incident, IssueTale, Kind
from orch.mission.events import Usage
from orch.view.report import words
from orch.view.report.markup import Html, joined, tag
from orch.view.report.tables import (
    LONG,
    MOST_ROWS,
    Links,
    chip,
    code,
    folded,
    folded_if_long,
    row,
    section,
    table,
)

_DENIED = "Calls that a role is not granted"


def issues(chronicle: Chronicle, links: Links) -> Html:
    """Return every issue, the open ones first, and how it was closed."""
    tales = sorted(chronicle.issues.values(), key=lambda tale: tale.closed_s is not None)
    rows = [_issue(tale, chronicle, links) for tale in tales[:MOST_ROWS]]
    heads = ("Issue", "State", "What is wrong", "Where", "From", "How it was closed")
    listed = table("Issues, the open ones first", heads, rows, len(tales))
    return section("issues", "Issues", folded_if_long("All issues", len(tales), listed))


def _issue(tale: IssueTale, chronicle: Chronicle, links: Links) -> Html:
    opened = tale.opened
    known = chronicle.state.issues[opened.issue]
    is_open = tale.closed_s is None
    first = words.first_line(opened.text, 200)
    text = (
        words.cut(opened.text)
        if len(opened.text) <= words.LONGEST_TEXT
        else folded(first, tag("pre", words.cut(opened.text, 4_000), tabindex=0))
    )
    where = [code(opened.path, 200)] if opened.path else []
    where += [code(opened.command)] if opened.command else []
    where += [joined(("item ", links.item(known.item)))] if known.item else [tag("span", "nobody's")]
    cited = joined((", with ", links.proof(tale.evidence))) if tale.evidence else ""
    closed = f"{tale.reason} at {words.offset(tale.closed_s)}" if tale.closed_s is not None else ""
    return row(
        opened.issue,
        chip("✗ open", "bad") if is_open else chip("✓ closed", "ok"),
        text,
        joined(where, tag("br")),
        joined((opened.source.value, " ", links.session(tale.session), f" at {words.offset(tale.opened_s)}")),
        joined((closed, cited)),
        id_=links.issues.get(opened.issue),
    )


def incidents(chronicle: Chronicle, links: Links) -> Html:
    """Return what went wrong and was put right, by its kind."""
    by_kind: dict[Kind, list[Incident]] = {}
    for incident in chronicle.incidents:
        if incident.kind is not Kind.DENIAL:
            by_kind.setdefault(incident.kind, []).append(incident)
    if not by_kind:
        return section("trouble", "Retries, heals, refusals", tag("p", "None.", class_="none"))
    tally = ", ".join(f"{kind} {len(many):,}x" for kind, many in by_kind.items())
    shown = sorted((i for many in by_kind.values() for i in many[:MOST_ROWS]), key=lambda i: i.at_s)
    total = sum(map(len, by_kind.values()))
    rows = [_incident(incident, links) for incident in shown[:MOST_ROWS]]
    listed = table("In the order they happened", ("At", "Kind", "Session", "Item", "What"), rows, total)
    parts = folded_if_long("All of them", total, listed)
    return section("trouble", "Retries, heals, refusals", tag("p", f"{tally}."), parts)


def _incident(incident: Incident, links: Links) -> Html:
    return row(
        words.offset(incident.at_s),
        incident.kind.value,
        links.session(incident.session),
        links.item(incident.item),
        words.cut(incident.text, 400),
    )


def denials(chronicle: Chronicle, links: Links) -> Html:
    """Return every call that was refused because the role may not make it."""
    denied = [incident for incident in chronicle.incidents if incident.kind is Kind.DENIAL]
    rows = [
        row(
            words.offset(one.at_s), links.session(one.session), links.item(one.item), words.cut(one.text, 400)
        )
        for one in denied[:MOST_ROWS]
    ]
    listed = table(_DENIED, ("At", "Session", "Item", "What"), rows, len(denied))
    return section("denials", "Denials", folded_if_long("All denials", len(denied), listed))


def cost(chronicle: Chronicle) -> Html:
    """Return what was spent, by role and by model."""
    spending = chronicle.state.spending
    if not spending.ledger:
        return section("cost", "Cost", tag("p", "Nothing was spent.", class_="none"))
    return section(
        "cost",
        "Cost",
        _spent("By role", spending.by_role, spending.total),
        _spent("By model", spending.by_model, spending.total),
    )


def _spent(caption: str, sums: Mapping[str, Usage], total: Usage) -> Html:
    rows = [_usage(name, usage) for name, usage in list(sums.items())[: LONG * 2]]
    heads = (caption.removeprefix("By ").capitalize(), "Input", "of it cached", "Output", "Dollars")
    return tag("div", table(caption, heads, [*rows, _usage("total", total)]), class_="sums")


def _usage(name: str, usage: Usage) -> Html:
    return row(
        name,
        f"{usage.input_tokens:,}",
        f"{usage.cached_tokens:,}",
        f"{usage.output_tokens:,}",
        words.dollars(usage.cost_usd),
        class_="total" if name == "total" else None,
    )
