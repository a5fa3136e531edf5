"""The timeline of a mission: one row a session, each an SVG that takes whatever width there is.

What a session does shows by form as well as by colour: a full bar is its model at work, a narrow one its
tools, a thin line that it waits for word, stripes that it waits for its provider. Marks stand where something
was retried, healed, made to fit, rejected, denied or failed. Each row has its facts in words as its title.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orch.mission.chronicle import Chronicle, Doing, Incident, Kind, Round, SessionTale, Stretch
from orch.mission.events import SessionId
from orch.view.report import words
from orch.view.report.markup import NOTHING, Html, joined, tag
from orch.view.report.scale import Scale, scale

MOST_ROWS = 250
"""Sessions in the timeline; the table below has their number."""
MOST_MARKS = 40
"""Marks in a row; those close to each other are one."""
FINEST = 2.0
"""Thousandths of the width that a stretch takes at least."""
NEAREST = 0.8
"""Stretches of a kind that are closer to each other are drawn as one."""
MARK_ROOM = 12.0
LAST_WORD = 950.0
"""A tick further right has no room for its time."""
MARKED: Mapping[Kind, str] = {
    Kind.RETRY: "retry",
    Kind.GATE: "retry",
    Kind.FAILED_TURN: "retry",
    Kind.HEAL: "heal",
    Kind.RECOVERY: "heal",
    Kind.COMPACTION: "fit",
    Kind.REJECTION: "reject",
    Kind.FAILED_SESSION: "fail",
    Kind.DENIAL: "deny",
}
SHAPES: Mapping[str, tuple[str, str]] = {
    "retry": ("retried", "M-4 3a5 5 0 1 1 8 0M4 -1v4h-4"),
    "heal": ("healed", "M-4 0h8M0 -4v8"),
    "fit": ("history made to fit", "M-4 -4l4 3l4 -3M-4 4l4 -3l4 3"),
    "reject": ("rejected", "M-4 -4l8 8M-4 4l8 -8"),
    "fail": ("failed", "M0 -5l5 9h-10z"),
    "deny": ("denied", "M-4 -4h8v8h-8z M-4 4l8 -8"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the timeline."""

    label: Html
    title: str
    role: str
    stretches: Sequence[Stretch]
    began_s: float
    ended_s: float
    marks: Sequence[Incident] = ()


def gantt(chronicle: Chronicle, anchors: Mapping[SessionId, str]) -> Html:
    """Return the timeline of all sessions, with what orch ran itself on top."""
    places = scale(chronicle.runs)
    marks: dict[SessionId, list[Incident]] = {}
    for incident in chronicle.incidents:
        if incident.kind in MARKED and incident.session is not None:
            marks.setdefault(incident.session, []).append(incident)
    tales = list(chronicle.sessions.values())
    rows = [_session_row(chronicle, tale, anchors, marks.get(tale.id, ())) for tale in tales[:MOST_ROWS]]
    if chronicle.rounds:
        rows.insert(0, _verification_row(chronicle.rounds))
    shown = tag("ol", *(_row(row, places) for row in rows), class_="rows")
    more = len(tales) - MOST_ROWS
    rest = tag("p", f"{more:,} later sessions are not drawn; the journal has them.") if more > 0 else NOTHING
    return joined((_defs(places), _legend(), _axis(chronicle, places), shown, rest))


def _session_row(
    chronicle: Chronicle,
    tale: SessionTale,
    anchors: Mapping[SessionId, str],
    marks: Sequence[Incident],
) -> Row:
    session = chronicle.state.sessions[tale.id]
    about = session.item or words.first_line(session.title, 40)
    label = joined(
        (
            tag("a", tale.id, href=f"#{anchors[tale.id]}"),
            " ",
            tag("span", tale.role.value, class_=f"role {tale.role}"),
            " ",
            tag("span", about, class_="about"),
        )
    )
    until = words.offset(tale.ended_s) if tale.is_over else "now"
    counts = f"{words.count(session.turns, 'turn')}, {words.count(tale.tools, 'tool call')}"
    marked = f"; {_tally(marks)}" if marks else ""
    title = (
        f"{tale.id}, {tale.role}, {about}: from {words.offset(tale.began_s)} to {until}, {counts}; "
        f"{waits(tale)}{marked}"
    )
    return Row(label, title, tale.role, tale.stretches, tale.began_s, tale.ended_s, marks)


def waits(tale: SessionTale) -> str:
    """Say how long a session worked and waited."""
    spent: dict[Doing, float] = dict.fromkeys(Doing, 0.0)
    for stretch in tale.stretches:
        spent[stretch.doing] += stretch.ended_s - stretch.began_s
    parts = [f"model {words.lasted(spent[Doing.TURN])}", f"tools {words.lasted(spent[Doing.TOOL])}"]
    names = {Doing.IDLE: "idle", Doing.GATE: "rate limit", Doing.BACKOFF: "back-off"}
    parts += [f"{name} {words.lasted(spent[doing])}" for doing, name in names.items() if spent[doing]]
    return ", ".join(parts)


def _verification_row(rounds: Sequence[Round]) -> Row:
    runs = [Stretch(Doing.TOOL, turn.began_s, turn.ended_s) for turn in rounds]
    label = joined((tag("a", "orch", href="#seal"), " ", tag("span", "verification", class_="about")))
    title = f"orch's own verification: {words.count(len(rounds), 'time')}"
    return Row(label, title, "orch", runs, runs[0].began_s, runs[-1].ended_s)


def _row(row: Row, places: Scale) -> Html:
    left, right = places.at(row.began_s), places.at(row.ended_s)
    bars = [tag("path", class_="life", d=_line(left, max(right, left + FINEST)))]
    for doing in Doing:
        drawn = _path(row.stretches, doing, places)
        bars.append(tag("path", class_=doing.value, d=drawn) if drawn else NOTHING)
    strip = tag("svg", *bars, viewBox="0 0 1000 10", preserveAspectRatio="none")
    picture = tag(
        "svg",
        tag("title", row.title),
        tag("use", href="#grid"),
        strip,
        *_marks(row.marks, places),
        class_=f"track {row.role}",
        role="img",
    )
    return tag("li", tag("span", row.label, class_="who"), picture)


def _path(stretches: Iterable[Stretch], doing: Doing, places: Scale) -> str:
    """Return all stretches of one kind as one path; what is too short to be seen apart is one line."""
    pieces: list[list[float]] = []
    for stretch in stretches:
        if stretch.doing is not doing:
            continue
        left = places.at(stretch.began_s)
        right = max(places.at(stretch.ended_s), left + FINEST)
        if pieces and left - pieces[-1][1] < NEAREST:
            pieces[-1][1] = max(right, pieces[-1][1])
        else:
            pieces.append([left, right])
    return "".join(_line(left, right) for left, right in pieces)


def _line(left: float, right: float) -> str:
    return f"M{left:.5g} 5H{right:.5g}"


def _marks(incidents: Sequence[Incident], places: Scale) -> list[Html]:
    groups: list[tuple[str, float, list[str]]] = []
    for incident in incidents:
        shape, place = MARKED[incident.kind], places.at(incident.at_s)
        if groups and groups[-1][0] == shape and place - groups[-1][1] < MARK_ROOM:
            groups[-1][2].append(incident.text)
        else:
            groups.append((shape, place, [incident.text]))
    return [_mark(*group) for group in groups[:MOST_MARKS]]


def _mark(shape: str, place: float, texts: Sequence[str]) -> Html:
    times = f" {len(texts)} times" if len(texts) > 1 else ""
    title = f"{SHAPES[shape][0]}{times}: {words.first_line(texts[0], 160)}"
    use = tag("use", href=f"#mark-{shape}")
    return tag("svg", tag("title", title), use, x=f"{place / 10:.2f}%", y="50%", class_=f"mark {shape}")


def _tally(marks: Sequence[Incident]) -> str:
    tally: dict[str, int] = {}
    for mark in marks:
        word = SHAPES[MARKED[mark.kind]][0]
        tally[word] = tally.get(word, 0) + 1
    return ", ".join(f"{word} {number}x" for word, number in tally.items())


def _defs(places: Scale) -> Html:
    """Return what every row uses: the grid of round times and folds, and the forms of the marks."""
    lines = [
        tag("line", x1=f"{place / 10:.2f}%", x2=f"{place / 10:.2f}%", y1="0", y2="100%")
        for _, place in places.ticks()
    ]
    folds = [
        tag(
            "rect",
            x=f"{before.right / 10:.2f}%",
            width=f"{(after.left - before.right) / 10:.2f}%",
            height="100%",
        )
        for before, after in zip(places.parts, places.parts[1:], strict=False)
    ]
    shapes = [
        tag("g", tag("circle", r=8), tag("path", d=path), id=f"mark-{shape}")
        for shape, (_, path) in SHAPES.items()
    ]
    grid = tag("g", *lines, *folds, id="grid")
    return tag("svg", tag("defs", grid, *shapes), class_="defs", aria_hidden="true", width=0, height=0)


def _axis(chronicle: Chronicle, places: Scale) -> Html:
    ticks = [
        tag("span", words.offset(time_s), style=f"left:{place / 10:.2f}%")
        for time_s, place in places.ticks()
        if place < LAST_WORD
    ]
    folds = []
    for number, (before, after) in enumerate(zip(chronicle.runs, chronicle.runs[1:], strict=False)):
        gap = words.lasted(after.began_s - before.ended_s)
        title = f"{before.ending}; nothing ran for {gap}; then run {number + 2}"
        place = f"left:{(places.parts[number].right + places.parts[number + 1].left) / 20:.2f}%"
        folds.append(tag("span", "⋯", class_="fold", style=place, title=title))
    return tag("div", tag("div", *ticks, *folds), class_="axis", aria_hidden="true")


def _legend() -> Html:
    doings = (
        ("turn", "model answers"),
        ("tool", "tools run"),
        ("idle", "waits for word"),
        ("gate", "rate limit"),
        ("backoff", "back-off"),
    )
    bars = [
        tag("li", tag("svg", tag("path", class_=name, d="M0 10H36"), class_="track worker key"), text)
        for name, text in doings
    ]
    marks = [
        tag("li", tag("svg", tag("use", href=f"#mark-{shape}", x=10, y=10), class_=f"mark {shape} key"), text)
        for shape, (text, _) in SHAPES.items()
    ]
    return tag("ul", *bars, *marks, class_="legend")
