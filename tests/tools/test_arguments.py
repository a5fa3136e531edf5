"""Arguments are read leniently, because small models write them; what cannot be read is explained."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import ToolError
from orch.mission import events as ev
from orch.mission.transcript import ToolCall
from orch.tools.arguments import Arguments, Delegate, Plan, Read, Review
from orch.tools.toolbox import TOOLS


def parsed(tool: str, arguments: object) -> Arguments:
    """Return a call's arguments as its tool reads them."""
    return TOOLS[tool].parse(ToolCall(id="c", name=tool, arguments=json.dumps(arguments)))


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("read", {"path": "a", "offset": "3", "limit": 2.0}, Read(path="a", offset=3, limit=2)),
        ("read", {"path": 7, "offset": None, "limit": None, "why": "?"}, Read(path="7")),
        (
            "submit_review",
            {"verdict": " Approve ", "evidence": "E1", "issues": None},
            Review(verdict=ev.Verdict.APPROVE, evidence=["E1"]),
        ),
        (
            "submit_review",
            {"verdict": "reject", "evidence": '["E1", "E2"]', "issues": "bad"},
            Review.model_validate(
                {"verdict": "reject", "evidence": ["E1", "E2"], "issues": [{"description": "bad"}]}
            ),
        ),
        (
            "delegate_task",
            {"agent": "Worker", "description": "d", "prompt": "p", "files": "a.py", "background": True},
            Delegate(agent=ev.Role.WORKER, description="d", prompt="p", files=["a.py"]),
        ),
    ],
)
def test_arguments_are_read_leniently(tool: str, arguments: object, expected: object) -> None:
    """Numbers in quotes, `null` for left out, one thing where a list is wanted, keys that nobody knows."""
    assert parsed(tool, arguments) == expected


def test_a_plan_as_text_is_a_plan() -> None:
    """Some models send a list as the text of one, and blanks around a check."""
    item = {"id": 1, "title": "t", "files": "a.py", "instructions": "i", "check": " pytest ", "setup": " "}

    plan = parsed("submit_plan", {"items": json.dumps([item]), "verify": "pytest"})

    assert isinstance(plan, Plan)
    (spec,) = [item.spec() for item in plan.items]
    assert (spec.id, spec.files, spec.check, spec.setup) == ("1", ("a.py",), "pytest", None)
    assert plan.verify == ["pytest"]


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("read", {}, r"wrong arguments for read: path: Field required\. read takes: path, offset\?, limit\?"),
        ("bash", {"command": "x", "timeout_s": "soon"}, "timeout_s: Input should be a valid number"),
        ("bash", {"command": "x", "timeout_s": "nan"}, "timeout_s: Input should be a finite number"),
        ("submit_review", {"verdict": "maybe"}, "'approve' or 'reject'"),
        ("list_background", [], "list_background takes: nothing"),
    ],
)
def test_what_cannot_be_read_is_explained(tool: str, arguments: object, words: str) -> None:
    """With the name of what is wrong, and of what the tool takes."""
    with pytest.raises(ToolError, match=words):
        parsed(tool, arguments)


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[" * 100_000, ["[" * 100_000]),
        ("[" * 100_000 + "]" * 100_000, None),
        ('["\\ud800", "a\\u0000b"]', ["\ufffd", "a\ufffdb"]),
        ("[NaN, 1e999, 7]", ["nan", "inf", "7"]),
        ("[" + "9" * 5000 + "]", None),
    ],
)
def test_a_list_that_hides_in_a_text_is_read_as_carefully_as_the_rest(
    text: str, read: list[str] | None
) -> None:
    """It was no JSON when the call was checked: depth, numbers and characters are met here first."""
    plan = parsed("submit_plan", {"items": [], "verify": text})

    assert isinstance(plan, Plan)
    assert plan.verify == (read or [text])
    json.dumps(plan.verify, ensure_ascii=False).encode()


@pytest.mark.fault(27)
def test_characters_that_no_log_can_hold_are_cleaned_wherever_a_list_holds_them() -> None:
    """In the issues of a verdict, and in the items of a plan."""
    review = parsed("submit_review", {"verdict": "reject", "issues": '[{"description": "\\ud800"}]'})
    item = '{"id": "a", "title": "\\u0000", "files": ["\\udfff"], "instructions": "i"}'
    plan = parsed("submit_plan", {"items": f"[{item}]"})

    assert isinstance(review, Review)
    assert isinstance(plan, Plan)
    assert [issue.description for issue in review.issues] == ["\ufffd"]
    assert (plan.items[0].title, plan.items[0].files) == ("\ufffd", ["\ufffd"])


@pytest.mark.fault(27)
@settings(deadline=None)
@given(
    st.sampled_from(sorted(TOOLS)),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists),
)
def test_no_arguments_make_a_tool_raise_anything_else(tool: str, value: object) -> None:
    """Whatever a model writes where."""
    names = list(TOOLS[tool].arguments.model_fields)
    for arguments in (value, dict.fromkeys(names, value)):
        with suppress(ToolError):
            parsed(tool, arguments)
