"""What was done: the timeline, the plan, the files with who changed them and why, every session."""

from collections.abc import Iterator, Sequence

from orch.mission.chronicle import Chronicle, Edit, Review, Run, SessionTale
from orch.mission.events import ItemId, Verdict
from orch.mission.state import Item, ItemStatus, MissionState
from orch.view.report import words
from orch.view.report.gantt import gantt, waits
from orch.view.report.graph import GLYPHS, graph, origin_of
from orch.view.report.markup import NOTHING, Html, joined, tag
from orch.view.report.tables import (
    LONG,
    MOST_NAMED,
    MOST_ROWS,
    Links,
    boxed,
    chip,
    code,
    folded,
    output,
    row,
    section,
    table,
)

MOST_FILES = 400
TONES = {
    ItemStatus.COMPLETED: "ok",
    ItemStatus.FAILED: "bad",
    ItemStatus.BLOCKED: "bad",
    ItemStatus.REJECTED: "warn",
}


def timeline(chronicle: Chronicle, links: Links) -> Html:
    """Return the timeline, the runs, and every session in words."""
    if not chronicle.sessions:
        return section("timeline", "Timeline", tag("p", "No session has begun.", class_="none"))
    rows = [_session(chronicle, tale, links) for tale in list(chronicle.sessions.values())[:MOST_ROWS]]
    heads = ("Session", "Role", "Item", "From", "To", "Turns", "Tools", "Tokens", "Cost", "Time", "Ended")
    sessions = table("Every session of the mission", heads, rows, len(chronicle.sessions))
    total = f"The same as a table: every session ({len(chronicle.sessions):,})"
    return section(
        "timeline",
        "Timeline",
        tag("figure", gantt(chronicle, links.sessions), class_="timeline"),
        _runs(chronicle.runs),
        folded(total, sessions, is_open=len(rows) <= LONG),
    )


def _session(chronicle: Chronicle, tale: SessionTale, links: Links) -> Html:
    session = chronicle.state.sessions[tale.id]
    tokens = session.usage.input_tokens + session.usage.output_tokens
    ended = session.outcome.value if session.outcome else session.status.value
    reason = f": {words.cut(session.reason, 200)}" if session.reason else ""
    failed = f", {tale.failed_tools} failed" if tale.failed_tools else ""
    return row(
        tale.id,
        joined((tag("span", tale.role.value, class_=f"role {tale.role}"), " ", code(", ".join(tale.models)))),
        links.item(session.item) if session.item else words.first_line(session.title, 60),
        words.offset(tale.began_s),
        words.offset(tale.ended_s) if tale.is_over else "",
        f"{session.turns:,}",
        f"{tale.tools:,}{failed}",
        f"{tokens:,}",
        words.dollars(session.usage.cost_usd),
        waits(tale),
        f"{ended}{reason}",
        id_=links.sessions[tale.id],
    )


def _runs(runs: Sequence[Run]) -> Html:
    if not runs[1:]:  # one run is the mission
        return NOTHING
    rows = [
        row(
            str(number),
            words.offset(run.began_s),
            words.offset(run.ended_s),
            words.lasted(run.ended_s - run.began_s),
            joined((run.ending or "running", ": " if run.text else "", words.cut(run.text, 200))),
            words.cut(run.reply, 200) if run.reply else "",
        )
        for number, run in enumerate(runs[:MOST_ROWS], 1)
    ]
    heads = ("Run", "From", "To", "Took", "Ended", "A person's reply")
    return table("Runs: it was stopped or killed, and resumed", heads, rows, len(runs))


def plan(chronicle: Chronicle, links: Links) -> Html:
    """Return the plan as a graph and as a table."""
    state = chronicle.state
    if not state.items:
        return section("plan", "The plan", tag("p", "There is no plan yet.", class_="none"))
    by_item: dict[ItemId, list[Review]] = {}
    for review in chronicle.reviews:
        by_item.setdefault(review.item, []).append(review)
    items = list(state.items.values())
    rows = [_item(item, state, by_item.get(item.spec.id, []), links) for item in items[:MOST_ROWS]]
    heads = ("Item", "State", "Files", "After", "Check", "Evidence", "Rejected", "Worker")
    listed = table("Every item of the plan", heads, rows, len(items))
    again = f" It is plan number {chronicle.plans}." if chronicle.plans > 1 else ""
    summary = f"The same as a table: every item ({len(items):,})"
    return section(
        "plan",
        "The plan",
        tag("p", f"{_tally(items)}.{again}"),
        boxed("The plan as a graph", graph(state.items, links.items), class_="picture"),
        folded(summary, listed, is_open=len(items) <= LONG),
        *_setups(chronicle, links),
    )


def _tally(items: Sequence[Item]) -> str:
    counts = {status: sum(1 for item in items if item.status is status) for status in ItemStatus}
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number)


def _item(item: Item, state: MissionState, reviews: Sequence[Review], links: Links) -> Html:
    spec = item.spec
    rejected = sum(1 for review in reviews if review.verdict is Verdict.REJECT)
    origin = origin_of(item, state.items)
    after = (*((origin,) if origin else ()), *(d for d in spec.depends_on if d != origin))
    is_done = item.status is ItemStatus.COMPLETED
    reason = tag("p", words.cut(item.reason, 200), class_="none") if item.reason and not is_done else NOTHING
    return row(
        joined((tag("strong", spec.id), tag("br"), words.cut(spec.title, 200))),
        joined((chip(f"{GLYPHS[item.status]} {item.status}", TONES.get(item.status, "plain")), reason)),
        _listed(item.files),
        joined((links.item(one) for one in after), ", "),
        code(spec.check) if spec.check else "",
        links.proof(item.evidence),
        str(rejected) if rejected else "",
        links.session(item.worker),
        id_=links.items[spec.id],
    )


def _listed(paths: Sequence[str]) -> Html:
    shown = [code(path, 120) for path in paths[:MOST_NAMED]]
    rest = len(paths) - MOST_NAMED
    more = [tag("span", f"and {rest:,} more", class_="none")] if rest > 0 else []
    return joined((*shown, *more), tag("br"))


def _setups(chronicle: Chronicle, links: Links) -> Iterator[Html]:
    if chronicle.setups:
        rows = [
            row(
                links.item(one.done.item),
                code(one.done.command),
                chip(f"exit {one.done.exit_code}", "bad" if one.done.exit_code else "ok"),
                words.lasted(one.done.duration_s),
                words.count(len(one.done.files), "file"),
                output(one.done.output),
            )
            for one in chronicle.setups[:MOST_ROWS]
        ]
        heads = ("Item", "Command", "Exit", "Took", "Made", "Output")
        yield tag("h3", "Setup commands")
        yield table("Setup commands that orch ran", heads, rows, len(chronicle.setups))


def files(chronicle: Chronicle, links: Links) -> Html:
    """Return who changed which file, from what to what, and why."""
    by_path: dict[str, list[Edit]] = {}
    for edit in chronicle.edits:
        by_path.setdefault(edit.path, []).append(edit)
    paths = sorted(by_path)
    rows = [line for path in paths[:MOST_FILES] for line in _file(by_path[path], links)]
    heads = ("File", "By", "Item", "Why", "Before", "After", "At")
    strangers = [edit for edit in chronicle.edits if not edit.by_tool]
    lead = _strangers(strangers, links)
    listed = table("Who changed which file, and why", heads, rows[:MOST_FILES])
    more = len(paths) - MOST_FILES
    rest = tag("p", f"{more:,} more files are in the journal.", class_="none") if more > 0 else NOTHING
    return section("files", "Files", lead, listed, rest)


def _strangers(edits: Sequence[Edit], links: Links) -> Html:
    if not edits:
        return NOTHING
    lines = [
        tag("li", code(edit.path, 200), f": {words.cut(edit.reason, 200)} ", links.session(edit.session))
        for edit in edits[:MOST_ROWS]
    ]
    head = f"{words.count(len(edits), 'change')} not made by a file tool of orch"
    return tag("div", tag("p", tag("strong", head)), tag("ul", *lines), class_="note warn")


def _file(edits: Sequence[Edit], links: Links) -> Iterator[Html]:
    first, last = edits[0], edits[-1]
    for edit in edits:
        head = (
            joined((code(edit.path, 200), " ", _net(first, last))) if edit is first else code(edit.path, 200)
        )
        times = f" ({edit.times} times)" if edit.times > 1 else ""
        by = links.session(edit.session) if edit.session else tag("span", "no session")
        flag = NOTHING if edit.by_tool else chip("not a tool of orch", "warn")
        issues = joined((" for ", links.issue_list(edit.issues))) if edit.issues else NOTHING
        yield row(
            head,
            joined((by, " ", flag)),
            links.item(edit.item),
            joined((words.cut(edit.reason, 200), issues, times)),
            tag("code", words.short(edit.before), title=edit.before, class_="sha"),
            tag("code", words.short(edit.after), title=edit.after, class_="sha"),
            words.offset(edit.at_s),
            class_=None if edit is first else "again",
        )


def _net(first: Edit, last: Edit) -> Html:
    if first.before == last.after:
        return chip("as it was", "plain")
    if first.before is None:
        return chip("created", "ok")
    return chip("deleted", "bad") if last.after is None else chip("changed", "plain")
