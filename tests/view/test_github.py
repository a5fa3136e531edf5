"""What GitHub Actions is told: few annotations, escaped as its runner reads them; a summary of plain text."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from orch.mission import events as ev
from orch.mission.result import nothing_started, summarise
from orch.mission.state import Issue, ItemStatus, MissionState
from orch.view import github
from tests.mission.samples import I1, A, B, a_mission, proven, verified

HERE = PurePosixPath()
EVIL = (
    "| a | b |\n::error::x\n##[error]y <img src=x onerror=1> ![i](http://e.x/i.png) [l](javascript:1) "
    "https://e.x www.e.x a@e.x @team #12 `c` \\| <!-- <details> $x$ \x1b[31m\u202e 100% 50%25"
)


def ended(state: MissionState, outcome: ev.Outcome = ev.Outcome.UNSEALED) -> MissionState:
    """Return a mission whose run ended so."""
    return replace(state, outcome=outcome, ending="why it ended\nand more")


def lines(state: MissionState, folder: PurePosixPath = HERE) -> list[str]:
    """Return the annotations of a mission."""
    return github.annotations(state, summarise(state, "orch resume m1"), folder)


def read(line: str) -> tuple[dict[str, str], str]:
    """Read a command as the runner does (actions/runner, ActionCommand.TryParseV2)."""
    assert line.startswith("::error ")
    end = line.index("::", 2)
    pairs = (pair.partition("=") for pair in line[len("::error ") : end].split(","))
    codes = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}

    def plain(text: str, names: list[str]) -> str:
        for code in names:
            text = text.replace(code, codes[code])
        return text

    properties = {name: plain(value, list(codes)) for name, _, value in pairs}
    return properties, plain(line[end + 2 :], ["%0D", "%0A", "%25"])


def with_issues(count: int, text: str = "wrong", path: str | None = "src/a.py") -> MissionState:
    """Return a mission that ended with open issues."""
    names = [ev.IssueId(f"I{number + 1}") for number in range(count)]
    issues = {n: Issue(n, ev.IssueSource.REVIEW, text, path, A, None, 3) for n in names}
    return ended(replace(a_mission(item=ItemStatus.FAILED), issues=issues))


def test_an_open_issue_is_an_error_at_its_file() -> None:
    """The path is relative to the repository, of which the workspace may be a folder."""
    (line,) = lines(with_issues(1), PurePosixPath("packages/api"))

    assert line == "::error file=packages/api/src/a.py,title=issue I1 on a::wrong"


def test_a_lost_item_and_a_red_command_are_errors_too() -> None:
    """At the item's first file; what an issue says already is not said again."""
    state = replace(a_mission(item=ItemStatus.FAILED), issues={}, verified=(verified("make", code=2),))
    state = replace(state, items={**state.items, A: replace(state.items[A], reason="it went wrong")})
    item, command = map(read, lines(ended(state)))

    assert item == ({"file": state.items[A].files[0], "title": "item a is failed"}, "it went wrong")
    assert command[0] == {"title": "verification: exit 2"}
    assert command[1].startswith("make")
    issue = replace(with_issues(1).issues[I1], command="make")
    assert len(lines(ended(replace(state, issues={I1: issue})))) == 1


def test_a_run_that_ended_otherwise_is_one_error_with_its_reason() -> None:
    """A timeout, a provider that is down, a command line that is wrong."""
    state = ended(replace(a_mission(), issues={}), ev.Outcome.TIMEOUT)
    assert lines(state) == ["::error title=orch%3A timeout::exit 124: why it ended"]
    nothing = nothing_started("g", ev.Outcome.ERROR, 2, "no model")
    assert github.annotations(MissionState(), nothing, HERE) == [
        "::error title=orch%3A error::exit 2: no model"
    ]


@pytest.mark.parametrize("outcome", [ev.Outcome.SEALED, ev.Outcome.ANSWERED, ev.Outcome.PLANNED])
def test_a_run_that_did_what_it_was_for_is_no_error(outcome: ev.Outcome) -> None:
    """Not a line."""
    assert lines(ended(proven(), outcome)) == []


@pytest.mark.parametrize(("count", "shown"), [(10, 10), (11, 10), (500, 10)])
def test_there_are_never_more_than_github_shows(count: int, shown: int) -> None:
    """The last of them says how many there are besides."""
    told = lines(with_issues(count))
    assert len(told) == shown
    assert (f"{count - 9} more" in told[-1]) == (count > 10)


def test_no_text_can_be_another_command_or_another_property() -> None:
    """The runner reads back what was meant, in one line, without what a terminal would obey."""
    (line,) = lines(with_issues(1, EVIL, "a,b:c%\n::d.py"))
    properties, text = read(line)

    assert properties.keys() == {"file", "title"}
    assert properties["file"] == "a,b:c% ::d.py"
    assert "100% 50%25" in text
    assert "##[" not in line
    assert line.isprintable()
    assert not [row for row in text.splitlines() if row.startswith("::")]


# ---- the summary


def summary(state: MissionState) -> str:
    """Return the summary of a mission."""
    return github.summary(state, summarise(state, "orch resume m1"))


def test_the_summary_has_the_verdict_and_what_it_rests_on() -> None:
    """Items, verification, open issues, cost, and how to go on."""
    state = replace(with_issues(2), verified=(verified("make", code=2),))
    spent = state.spending.with_turn(ev.Role.WORKER, "m", ev.Usage(input_tokens=12_000, cost_usd=1.5))
    text = summary(replace(state, spending=spent))

    assert text.startswith("## orch: unsealed (exit 1)\n")
    heads = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert heads == ["Items", "Verification", "Open issues", "Cost"]
    assert "| <code>make</code> | 2 | 1.0 |" in text
    assert "| worker | 12,000 | 0 | $1.50 |" in text
    assert "Go on with <code>orch resume m1</code>" in text


def test_no_text_can_break_the_tables_or_be_more_than_text() -> None:
    """No row more, and not a character of HTML or markdown that the summary does not write itself."""
    state = with_issues(1, EVIL, EVIL)
    items = {
        key: replace(item, reason=EVIL, spec=item.spec.model_copy(update={"title": EVIL}))
        for key, item in state.items.items()
    }
    plain, wild = with_issues(1), replace(state, goal=EVIL, items=items, ending=EVIL)
    text = summary(replace(wild, verified=(verified(EVIL, code=1),)))
    expected = summary(replace(plain, verified=(verified("make", code=1),)))

    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len([line for line in expected.splitlines() if line.startswith("|")])
    assert {row.count("|") for row in rows} <= {4, 5}
    assert set(re.findall(r"<[^>]*>", text)) == {"<code>", "</code>"}
    bare = re.sub(
        r"^(#+ .*|\|[-|]+\||> )", "", text.replace("<code>", "").replace("</code>", ""), flags=re.MULTILINE
    )
    assert not set(re.sub(r"&#\d+;", "", bare)) & set("<>[]`*_!@$\\~\x1b\u202e")
    assert "www." not in re.sub("www.&#8203;", "", text)


def test_the_summary_fits_where_it_goes() -> None:
    """However much there is to say, and however much stands there already."""
    state = with_issues(8000, "long " * 50)
    result = summarise(state, None)
    for room in (github.SUMMARY_BYTES, 5000, 60, 0, -5):
        text = github.summary(state, result, room)
        assert len(text.encode()) <= max(0, room)
    assert "did not fit" in github.summary(state, result)


def test_who_is_blocked_is_named() -> None:
    """An item that waits for what will not come."""
    items = {B: replace(a_mission().items[B], status=ItemStatus.BLOCKED, reason="a is failed")}
    state = ended(replace(a_mission(), issues={}, items=items))
    assert read(lines(state)[0])[0]["title"] == "item b is blocked"
