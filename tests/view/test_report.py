"""The report: one page that needs nothing else, honest, bounded, and harmless whatever a mission holds."""

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.mission.chronicler import chronicle
from orch.mission.events import Outcome
from orch.mission.status import Liveness
from orch.view.report import markup
from orch.view.report.markup import Html, style, tag
from orch.view.report.page import POLICY, render
from orch.view.report.scale import WIDTH, scale
from orch.view.report.style import DARK, LIGHT
from orch.view.report.verdict import MEANINGS, Standing
from tests.mission import tales
from tests.mission.casts import spec
from tests.mission.tales import LEAD, WORKER, A, Teller

HOSTILE = "</style></title><script>fetch('//x')</script>\x1b[2J\u202egnp.exe\"'><img src=x onerror=y>"
EMPTY = {"meta", "link", "br"}
MOST_BYTES = 1_500_000
TEXT, GRAPHIC = 4.5, 3.0
"""What WCAG AA asks of text, and of what a picture is made of."""
GROUNDS = ("paper", "panel")
INKS = ("ink", "quiet", "link", "commander", "planner", "worker", "reviewer", "bad")
STATES = ("ok", "bad", "warn", "info")
DRAWN = ("commander", "planner", "worker", "reviewer", "orch", "wait", "stripe", "ok", "bad", "link")


class Page(HTMLParser):
    """What a page is made of, read strictly: every element that begins has to end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """End the one that is open."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep what is read, but for the style sheet."""
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """All that is read."""
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        """Return every value of an attribute."""
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]

    def all(self, *names: str) -> list[str]:
        """Return the elements of some names, in order."""
        return [element for element, _ in self.elements if element in names]


def shown(events: list[ev.Event], status: str, next_line: str | None = None) -> Page:
    """Return the page of a mission."""
    return Page(render(chronicle(events), Standing(status, next_line)))


def moments() -> Iterator[tuple[str, list[ev.Event]]]:
    """Yield missions at very different moments."""
    began = Teller().begin()
    yield Liveness.RUNNING, list(began.events)
    yield Liveness.INTERRUPTED, began.plan().work().events
    yield Outcome.SEALED, tales.sealed()
    yield Outcome.ANSWERED, Teller().begin().turn(LEAD).tell(ev.MissionAnswered(text="42")).events
    planned = ev.MissionPlanned(text="one item", estimate=ev.Estimate(tokens_least=10, tokens_most=2_000))
    yield Outcome.PLANNED, Teller().begin(dry_run=True).plan().tell(planned).events
    yield Outcome.STOPPED, Teller().begin().tell(ev.MissionStopped(signal=ev.StopSignal.INTERRUPT)).events


@pytest.mark.parametrize(("status", "events"), tuple(moments()))
def test_any_mission_has_a_sound_page(status: str, events: list[ev.Event]) -> None:
    """Every element is closed, ids are unique, links lead somewhere, headings follow each other."""
    page = shown(events, status)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert all(
        href.startswith("#") and href[1:] in ids for href in page.attributes("href") if href != "data:,"
    )
    levels = [int(name[1]) for name in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "nav", "main", "footer"} <= set(page.all("header", "nav", "main", "footer"))
    assert status.capitalize() in page.text
    assert MEANINGS[status] in page.text


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    """No script, no address of anything; and the policy forbids both."""
    page = shown(tales.sealed(), Outcome.SEALED)
    assert not page.all("script", "img", "iframe", "object", "form")
    assert not page.attributes("src")
    assert POLICY in page.attributes("content")
    assert "default-src 'none'" in POLICY
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_what_comes_from_outside_is_only_ever_text() -> None:
    """A goal and a title that try: the page has the same elements as with tame ones."""
    tame, hostile = (
        shown(tales.sealed(words, words), Outcome.SEALED, words).elements for words in ("tame", HOSTILE)
    )
    assert [name for name, _ in hostile] == [name for name, _ in tame]
    text = render(chronicle(tales.sealed(HOSTILE, HOSTILE)), Standing(Outcome.SEALED))
    assert "&lt;script&gt;" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", text)


def test_the_builder_escapes_whatever_is_not_markup() -> None:
    """Children and values alike; a sheet that would end its element is refused."""
    assert tag("p", "<b>", Html("<i>"), 1, title='"&', aria_label=None, hidden=True).text == (
        '<p title="&quot;&amp;" hidden>&lt;b&gt;<i>1</p>'
    )
    with pytest.raises(ValueError, match="style"):
        style("a{}</style><script>")


def test_the_same_journal_gives_the_same_bytes() -> None:
    """No time but the mission's own."""
    one, other = (render(chronicle(tales.sealed()), Standing(Outcome.SEALED)) for _ in range(2))
    assert one == other


def test_a_reviewer_finds_what_the_seal_rests_on() -> None:
    """Commands with exit codes, the tree, evidence, who changed what and why, how an issue was closed."""
    text = shown(tales.sealed(), Outcome.SEALED).text
    for words in (
        "✓ Sealed",
        "Exit code 0",
        tales.TREE,
        "make test",
        "5 passed",
        "All is built.",
        "1 of 1 done",
        "0 open, 1 closed",
        "what it printed",
        "approved by S4 at 0:14, with E2",
        ".opencode/orch/missions/m1/jobs/S4.log",
        "title of a for I1",
        "without a sandbox",
        "Cost $3.00",
    ):
        assert words in text, words


def test_who_has_to_go_on_is_told_how() -> None:
    """The line to paste, and what is in the way; a mission at work asks for nothing."""
    stopped = Teller().begin().plan().tell(ev.MissionStopped(signal=ev.StopSignal.INTERRUPT)).events
    text = shown(stopped, Outcome.STOPPED, "orch resume m1 -C /x").text
    assert "orch resume m1 -C /x" in text
    assert "is pending" in text
    assert "Exit code 130" in text
    assert "it is at work" in shown(Teller().begin().events, Liveness.RUNNING).text
    assert "What to do next" not in shown(tales.sealed(), Outcome.SEALED).text


def test_what_was_not_verified_is_said() -> None:
    """Dropped items, changes by nobody's tool, unknown cost, items without a check."""
    items = (spec("a", check=None), spec("b"))
    teller = Teller().begin().plan(items).tell(ev.ItemDropped(item=ev.ItemId("b"), reason="too much"))
    teller.tell(ev.FileChanged(path="a.py", before=None, after="3", by_tool=False))
    teller.tell(ev.TurnStarted(session=LEAD, turn=1, model="m"))
    failed = ev.TurnFailed(
        session=LEAD, turn=1, model="m", error="E", text="x", usage=ev.Usage(input_tokens=5)
    )
    text = shown(teller.tell(failed).events, Liveness.INTERRUPTED).text
    assert "Dropped from the plan, nothing of it is proven: b (title of b): too much" in text
    assert "1 file changed by no tool of orch (a person, or a command): a.py" in text
    assert "What it cost is unknown" in text
    assert "Without a check of their own: a" in text


def test_fifty_sessions_with_many_turns_stay_a_page() -> None:
    """It does not grow with the turns: what cannot be seen apart is drawn as one."""
    teller = Teller().begin().plan([spec(f"i{n}") for n in range(50)])
    sessions = [ev.SessionId(f"W{n}") for n in range(50)]
    for number, session in enumerate(sessions):
        teller.session(session, ev.Role.WORKER, ev.ItemId(f"i{number}"))
    for _ in range(60):
        for session in sessions:
            teller.turn(session, 0.01, tool="read").result(session)
    page = render(chronicle(teller.events), Standing(Liveness.RUNNING))
    assert len(page.encode()) < MOST_BYTES
    assert page.count('class="track worker"') == 50


def test_a_plan_of_two_hundred_items_is_drawn_and_listed() -> None:
    """Layer by layer, without what follows from the rest; a fix hangs on what it fixes."""
    items = [spec(f"i{n}", after=[f"i{n // 3}"] if n >= 3 else []) for n in range(200)]
    events = Teller().begin().plan(items).events
    page = shown(events, Liveness.RUNNING)
    assert sum(value.startswith("node ") for value in page.attributes("class")) == 200
    assert len([href for href in page.attributes("href") if href.startswith("#item-")]) >= 200
    chain = [spec("a"), spec("b", after=["a"]), spec("c", after=["a", "b"])]
    text = render(chronicle(Teller().begin().plan(chain).events), Standing(Liveness.RUNNING))
    (edges,) = re.findall('<g class="edges">(.*?)</g>', text)
    assert edges.count("<path") == 2


def test_a_fix_hangs_on_the_item_that_it_fixes() -> None:
    """By a dashed line, and in the table."""
    fix = ev.ItemId("a.fix1")
    added = ev.ItemAdded(item=fix, spec=spec(fix), origin=ev.ItemOrigin.FIX, files={})
    text = render(chronicle(Teller().begin().plan().tell(added).events), Standing(Liveness.RUNNING))
    assert text.count('class="fix"') == 1


def test_long_texts_are_cut_and_say_so() -> None:
    """A novel for a goal, a book for an issue."""
    long = "word " * 40_000
    teller = Teller(goal=long).begin().plan().work()
    issue = ev.IssueOpened(issue=ev.IssueId("I1"), item=A, source=ev.IssueSource.REQUEST, text=long)
    page = render(chronicle(teller.tell(issue).events), Standing(Liveness.RUNNING))
    assert "more characters" in page
    assert len(page) < len(long)


def test_nothing_is_drawn_for_the_time_between_runs() -> None:
    """A night costs as much room as a second; places follow the time."""
    teller = Teller().begin().turn(LEAD, 10.0).tell(tales.resumed(), after_s=40_000.0).turn(LEAD, 10.0)
    places = scale(chronicle(teller.events).runs)
    first, second = places.parts
    assert second.left - first.right < WIDTH / 20
    assert first.right - first.left == pytest.approx(second.right - second.left)
    times = [0.0, 5.0, 10.0, 20_000.0, 40_010.0, 40_020.0]
    found = [places.at(time_s) for time_s in times]
    assert found == sorted(found)
    assert [found[0], found[-1]] == pytest.approx([0.0, WIDTH])


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG has it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_can_be_told_from_its_ground(colours: Mapping[str, str]) -> None:
    """Text by 4.5 to 1, drawings by 3 to 1."""
    assert set(LIGHT) == set(DARK)
    texts = [(ink, ground) for ink in INKS for ground in GROUNDS]
    texts += [(state, f"{state}-ground") for state in STATES] + [("ink", f"{s}-ground") for s in STATES]
    texts += [("link", f"{state}-ground") for state in STATES]
    weak = [pair for pair in texts if contrast(colours[pair[0]], colours[pair[1]]) < TEXT]
    pairs = [(drawn, ground) for drawn in DRAWN for ground in GROUNDS]
    assert not weak
    assert not [pair for pair in pairs if contrast(colours[pair[0]], colours[pair[1]]) < GRAPHIC]


def test_markup_is_made_in_one_place() -> None:
    """Only the builder's file makes `Html`; all others have to ask it."""
    folder = Path(markup.__file__).parent
    makers = [file.name for file in folder.glob("*.py") if re.search(r"\bHtml\(", file.read_text())]
    assert makers == ["markup.py"]


def test_a_session_says_that_it_waits_in_words_too() -> None:
    """What the bars show stands in the row's title."""
    teller = Teller().begin().plan().session(WORKER, ev.Role.WORKER, A)
    teller.tell(ev.TurnStarted(session=WORKER, item=A, turn=1, model="m"))
    wait = ev.Retry(session=WORKER, item=A, attempt=1, delay_s=30.0, error="RateLimited", text="slow down")
    teller.tell(wait).tell(ev.MissionStopped(signal=ev.StopSignal.INTERRUPT), after_s=30.0)
    text = shown(teller.events, Outcome.STOPPED).text
    assert "S2, worker, a: from 0:00 to now" in text
    assert "rate limit 30 s; retried 1x" in text
