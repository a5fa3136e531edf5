"""The JUnit report is XML that CI servers take, whatever the mission holds, and never green by mistake."""

import re
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from orch.mission import events as ev
from orch.mission.result import nothing_started, summarise
from orch.mission.state import ItemStatus, MissionState
from orch.view import junit
from tests.mission.casts import spec
from tests.mission.samples import I1, S2, A, B, a_mission, proven, verified

EVIL = "a\x00\x1b[31mb\x1b[0m\ud800 <x>&\"'\ufffe ]]> \u202e::error::y\r\nsecond\x0b line"
ATTRIBUTES = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, set()),
    "testsuite": ({"name", "tests", "failures", "errors"}, {"skipped", "time"}),
    "properties": (set(), set()),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name"}, {"classname", "time"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "skipped": (set(), {"type", "message"}),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped"},
}


def ended(state: MissionState, outcome: ev.Outcome, text: str = "") -> MissionState:
    """Return a mission whose run ended so."""
    return replace(state, outcome=outcome, ending=text)


def report(state: MissionState) -> Element:
    """Return the report of a mission, having looked at all of it."""
    document = junit.document(state, summarise(state, "orch resume m1"))
    root = fromstring(document.decode())  # noqa: S314 - our own
    check(root)
    return root


def check(element: Element) -> None:
    """Assert what junit-10.xsd (the xunit plugin of Jenkins) asks of an element and all below it."""
    required, optional = ATTRIBUTES[element.tag]
    assert required <= set(element.keys()) <= required | optional, element.tag
    assert all(re.fullmatch(r"\d+\.\d{3}", value) for name, value in element.items() if name == "time")
    for child in element:
        assert child.tag in CHILDREN.get(element.tag, set()), f"{child.tag} in {element.tag}"
        check(child)
    if element.tag == "testsuite":
        counted = {f"{kind}s": len(element.findall(f"testcase/{kind}")) for kind in ("failure", "error")}
        assert {name: int(element.attrib[name]) for name in counted} == counted
        assert int(element.attrib["skipped"]) == len(element.findall("testcase/skipped"))
        assert int(element.attrib["tests"]) == len(element.findall("testcase"))


def case(root: Element, name: str) -> Element:
    """Return the test case whose name begins so."""
    (found,) = [each for each in root.iter("testcase") if each.attrib["name"].startswith(name)]
    return found


def test_a_sealed_mission_is_green() -> None:
    """A case for the item and one for the command, with nothing in them; what it is stands in properties."""
    state = replace(proven(), verify=("verify",), verified=(verified("verify"),))
    root = report(ended(state, ev.Outcome.SEALED, "done"))

    assert [each.attrib["classname"] for each in root.iter("testcase")] == ["orch.items", "orch.verification"]
    assert all(len(each) == 0 for each in root.iter("testcase"))
    assert case(root, "a: ").attrib["name"] == f"a: {spec('a').title}"
    facts = {each.attrib["name"]: each.attrib["value"] for each in root.iter("property")}
    assert facts["goal"] == "goal"
    assert (facts["subtype"], facts["exit_code"], facts["mission"]) == ("sealed", "0", "m1")


def test_the_time_of_an_item_is_that_of_its_sessions() -> None:
    """Of the answers and tools of all who worked at it."""
    state = proven()
    worker = replace(state.sessions[S2], worked_s=12.5)
    state = ended(replace(state, sessions={**state.sessions, S2: worker}), ev.Outcome.SEALED)

    assert case(report(state), "a: ").attrib["time"] == "12.500"


def test_a_failed_item_fails_with_its_reason_and_its_issues() -> None:
    """And so does one that the run left with an open issue."""
    for status in (ItemStatus.FAILED, ItemStatus.REJECTED):
        failure = case(report(ended(a_mission(item=status), ev.Outcome.UNSEALED)), "a: ").find("failure")
        assert failure is not None
        assert failure.attrib["message"].startswith(f"{status}: ")
        assert failure.text is not None
        assert "I1 (review): wrong" in failure.text


@pytest.mark.parametrize("status", [ItemStatus.BLOCKED, ItemStatus.DROPPED, ItemStatus.PENDING])
def test_what_did_not_come_to_its_end_is_skipped(status: ItemStatus) -> None:
    """Blocked, dropped, not run."""
    state = replace(a_mission(item=status), issues={})
    skipped = case(report(ended(state, ev.Outcome.UNSEALED)), "a: ").find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"].startswith(f"{status}: ")


def test_a_red_command_fails_with_its_exit_code_and_the_end_of_its_output() -> None:
    """What would have had to run and did not is skipped."""
    red = verified("one", code=7).model_copy(update={"output": "x" * 50_000 + "the end"})
    state = replace(proven(), verified=(red,), verify=("one", "two"), issues={})
    root = report(ended(state, ev.Outcome.UNSEALED))
    failure = case(root, "one").find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "exit 7"
    assert failure.text is not None
    assert failure.text.endswith("the end")
    assert len(failure.text) == junit.TEXT_CHARS
    assert case(root, "two").find("skipped") is not None


@pytest.mark.parametrize("outcome", [o for o in ev.Outcome if o not in ("sealed", "answered", "planned")])
def test_no_other_end_is_green(outcome: ev.Outcome) -> None:
    """Where no item and no command failed, the run itself is an error."""
    state = ended(replace(a_mission(item=ItemStatus.PENDING), issues={}), outcome, "why it ended\nand more")
    error = case(report(state), "the mission").find("error")
    assert error is not None
    assert error.attrib["message"].startswith(f"{outcome}, exit ")
    assert "why it ended" in error.attrib["message"]


def test_a_run_that_did_not_start_is_an_error() -> None:
    """So a job whose command line is wrong has a report that says so."""
    result = nothing_started("g", ev.Outcome.ERROR, 2, "no model")
    root = fromstring(junit.document(MissionState(), result).decode())  # noqa: S314 - our own
    check(root)

    assert (root.attrib["tests"], root.attrib["errors"]) == ("1", "1")


def test_no_text_can_break_the_document() -> None:
    """Escape sequences, control characters, surrogates, markup: in a title, a reason, an issue, an output."""
    state = a_mission(item=ItemStatus.FAILED)
    item = replace(state.items[A], reason=EVIL, spec=spec("a").model_copy(update={"title": EVIL}))
    issue = replace(state.issues[I1], text=EVIL, path=EVIL)
    red = verified(EVIL, code=1).model_copy(update={"output": EVIL})
    state = replace(state, goal=EVIL, items={A: item, B: state.items[B]}, issues={I1: issue}, verified=(red,))
    root = report(ended(state, ev.Outcome.UNSEALED, EVIL))

    texts = [text for each in root.iter() for text in (*each.attrib.values(), each.text or "")]
    assert any("<x>&\"'" in text for text in texts)
    assert not [text for text in texts if set(text) & set("\x00\x1b\x0b\ufffe\u202e\r")]
