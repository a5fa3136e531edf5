"""What the sections of a report are built of: tables that scroll in their own box, folded lists, links."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orch.mission import events as ev
from orch.mission.chronicle import Chronicle
from orch.view.report import words
from orch.view.report.markup import NOTHING, Child, Html, joined, tag

MOST_ROWS = 300
"""Rows of one list; how many more there are is said, and the journal has them."""
MOST_NAMED = 6
"""Issues, or files, named in one cell."""
LONG = 12
"""A list of more rows is folded."""
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Links:
    """Where in the page things stand; what has no row of its own is named without a link."""

    sessions: Mapping[ev.SessionId, str]
    items: Mapping[ev.ItemId, str]
    issues: Mapping[ev.IssueId, str]
    evidence: Mapping[ev.EvidenceId, str]

    def session(self, session: ev.SessionId | None) -> Html:
        """Name a session."""
        return _link(self.sessions, session)

    def item(self, item: ev.ItemId | None) -> Html:
        """Name an item."""
        return _link(self.items, item)

    def issue_list(self, issues: Sequence[ev.IssueId]) -> Html:
        """Name issues, the first ones of many."""
        more = len(issues) - MOST_NAMED
        rest = [f"and {more} more"] if more > 0 else []
        return joined((*(_link(self.issues, issue) for issue in issues[:MOST_NAMED]), *rest), ", ")

    def proof(self, evidence: Iterable[ev.EvidenceId]) -> Html:
        """Name evidence."""
        return joined((_link(self.evidence, one) for one in evidence), ", ")


def links(chronicle: Chronicle) -> Links:
    """Return where everything of a mission stands in its report."""
    state = chronicle.state
    return Links(
        sessions=_anchors("session", chronicle.sessions),
        items=_anchors("item", state.items),
        issues=_anchors("issue", chronicle.issues),
        evidence=_anchors("evidence", state.evidence),
    )


def _anchors(kind: str, keys: Iterable[_Key]) -> Mapping[_Key, str]:
    return {key: f"{kind}-{number}" for number, key in enumerate(list(keys)[:MOST_ROWS], 1)}


def _link(anchors: Mapping[_Key, str], key: _Key | None) -> Html:
    if key is None:
        return NOTHING
    anchor = anchors.get(key)
    return tag("a", str(key), href=f"#{anchor}") if anchor else tag("span", str(key))


def boxed(label: str, *content: Child, class_: str = "") -> Html:
    """Return a box in which wide content scrolls by itself, also by keyboard."""
    return tag("div", *content, class_=f"box {class_}".strip(), role="region", aria_label=label, tabindex=0)


def row(*cells: Child, id_: str | None = None, class_: str | None = None) -> Html:
    """Return a row of a table; its first cell names it."""
    first, *rest = cells
    head = tag("th", first, scope="row")
    return tag("tr", head, *(tag("td", cell) for cell in rest), id=id_, class_=class_)


def table(caption: str, heads: Sequence[str], rows: Sequence[Html], total: int | None = None) -> Html:
    """Return a table in its box; `total` is how many rows there would be, where some are left out."""
    if not rows:
        return tag("p", "None.", class_="none")
    left_out = (total or len(rows)) - len(rows)
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    body = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *rows))
    more = tag("p", f"{left_out:,} more are in the journal.", class_="none") if left_out > 0 else NOTHING
    return joined((boxed(caption, body), more))


def folded(summary: Child, *content: Child, is_open: bool = False) -> Html:
    """Return content that a reader opens."""
    return tag("details", tag("summary", summary), *content, open=is_open)


def folded_if_long(summary: str, length: int, content: Html) -> Html:
    """Return content as it is, or folded where it is long."""
    return folded(f"{summary} ({length:,})", content) if length > LONG else content


def section(name: str, title: str, *content: Child) -> Html:
    """Return a part of the page with its heading."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def code(text: str, longest: int = words.LONGEST_TEXT) -> Html:
    """Return a command or path."""
    return tag("code", words.cut(text, longest))


def output(text: str, log: str = "") -> Html:
    """Return what a command printed, folded; `log` is where all of it is."""
    if not text.strip() or text.strip() == "(no output)":
        return tag("span", "no output", class_="none")
    where = tag("p", "All of it: ", code(log), class_="none") if log else NOTHING
    return folded("output", tag("pre", words.cut(text, 4_000), tabindex=0), where)


def chip(text: str, class_: str, title: str | None = None) -> Html:
    """Return a state as a word in a frame."""
    return tag("span", text, class_=f"chip {class_}", title=title)


def exited(exit_code: int) -> Html:
    """Return how a command ended."""
    return chip(
        f"✓ exit {exit_code}" if not exit_code else f"✗ exit {exit_code}", "ok" if not exit_code else "bad"
    )
