"""Whatever a model writes as a call becomes one that can be stored, sent back and run."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage, check, clean
from orch.models.calls import MAX_ARGUMENTS_CHARS, MAX_CALLS, SURPLUS, RawCall, tidy


def _raw(arguments: str = "{}", call_id: str = "", name: str = "f") -> RawCall:
    call = RawCall(id=call_id, name=name)
    call.add(arguments)
    return call


def _tidied(arguments: str, *, cut: bool = False) -> tuple[str, str | None]:
    (call,) = tidy([_raw(arguments)], set(), 1, cut=cut)
    return call.arguments, call.malformed


@pytest.mark.parametrize(
    "arguments",
    ['{"path": "a",\n "n": 1.50}', "{}", '{"a": [{"b": null}], "c": "\\ud83d\\ude00"}', '{"n": 1e300}'],
)
def test_valid_arguments_are_kept_as_they_were_sent(arguments: str) -> None:
    """Also their blanks, the order of their keys and their numbers."""
    if "\\ud83d" in arguments:
        assert json.loads(_tidied(arguments)[0]) == json.loads(arguments)
    else:
        assert _tidied(arguments) == (arguments, None)


@pytest.mark.parametrize("arguments", ["", "  \n"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    """Tools without parameters are called so."""
    assert _tidied(arguments) == ("{}", None)


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"path": "a', "Unterminated"),
        ('{"path": "a",}', "not the JSON"),
        ('{"text": "a\nb"}', "control character"),
        ('{"n": NaN}', "NaN is no JSON"),
        ('{"n": -Infinity}', "Infinity is no JSON"),
        ('{"n": 1e999}', "too large"),
        ('{"n": ' + "9" * 5000 + "}", "too large"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a":' * 90_000 + "1" + "}" * 90_000, "nested deeper"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper"),
        ("null", "another kind"),
        ("[1]", "another kind"),
        ('"{}"', "another kind"),
        ("<tool_call>", "Expecting value"),
        ('{"a": 1} {"a": 2}', "Extra data"),
        ('{"text": "' + "x" * MAX_ARGUMENTS_CHARS + '"}', "longer than"),
    ],
)
def test_hostile_arguments_become_an_empty_object_that_says_why(arguments: str, why: str) -> None:
    """They must not reach a tool, nor the next request."""
    kept, malformed = _tidied(arguments)

    assert kept == "{}"
    assert malformed is not None
    assert why in malformed
    assert "\n" not in malformed


@pytest.mark.fault(26, 27)
@pytest.mark.parametrize("arguments", ["", "{", '{"content": "half'])
def test_arguments_that_the_output_limit_cut_say_so(arguments: str) -> None:
    """The model can do better next time only if it knows."""
    kept, malformed = _tidied(arguments, cut=True)

    assert kept == "{}"
    assert malformed is not None
    assert "output limit" in malformed


@pytest.mark.fault(27)
def test_text_that_no_log_can_hold_is_cleaned_inside_valid_arguments() -> None:
    """NUL and lone surrogates, escaped or not, in keys and values."""
    kept, malformed = _tidied('{"k\\u0000": ["a\\ud800b", {"x": "\\u0000"}], "n": 1}')

    assert malformed is None
    assert json.loads(kept) == {"k\ufffd": ["a\ufffdb", {"x": "\ufffd"}], "n": 1}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("read", "read"),
        (" read ", "read"),
        ("functions.read", "functions_read"),
        ("", "unknown"),
        ("x" * 99, "x" * 64),
    ],
)
def test_a_name_is_cut_to_what_endpoints_take(name: str, kept: str) -> None:
    """It comes back with the next request."""
    assert tidy([_raw(name=name)], set(), 1, cut=False)[0].name == kept


@pytest.mark.fault(28)
def test_a_usable_id_is_kept_and_an_unusable_one_is_replaced_the_same_way_each_time() -> None:
    """Too long, used before, used twice in one turn, missing."""
    sent = [_raw(call_id=each) for each in ("good-1", "old", "good-1", "x" * 41, "", "a b")]
    ids = [call.id for call in tidy(sent, {"old"}, 7, cut=False)]

    assert ids[0] == "good-1"
    assert len(set(ids) | {"old"}) == 7
    assert all(len(each) == 9 and each.isalnum() for each in ids[1:])
    assert ids == [call.id for call in tidy(sent, {"old"}, 7, cut=False)]


def test_a_new_id_avoids_one_that_history_holds_by_chance() -> None:
    """A made-up id may have been made up before."""
    (first,) = tidy([_raw()], set(), 3, cut=False)
    (second,) = tidy([_raw()], {first.id}, 3, cut=False)

    assert first.id != second.id


@pytest.mark.fault(28)
def test_calls_behind_the_first_thirty_two_are_kept_without_their_arguments() -> None:
    """Each says that it is not run, and what to do; the ids stay unique."""
    kept = tidy([_raw('{"a": 1}', "same") for _ in range(200)], set(), 1, cut=True)

    assert len({call.id for call in kept}) == 200
    assert {(call.arguments, call.malformed) for call in kept[:MAX_CALLS]} == {('{"a": 1}', None)}
    assert {(call.arguments, call.malformed) for call in kept[MAX_CALLS:]} == {("{}", SURPLUS)}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.fault(27)
@settings(deadline=None)
@given(JSON, st.integers(0, 200), st.sampled_from(["", ",", "}", "{", '"', "\x00", "\ud800", "\n"]))
def test_arguments_that_were_damaged_anywhere_are_kept_whole_or_not_at_all(
    value: object, where: int, damage: str
) -> None:
    """What is kept is what the model wrote, cleaned; else it is told why not."""
    text = json.dumps({"x": value})
    text = text[:where] + damage + text[where:]
    kept, malformed = _tidied(text)

    assert isinstance(json.loads(kept), dict)
    assert kept.encode()
    assert kept == "{}" if malformed else kept.strip()
    if not malformed and clean(text) == text and "\\u" not in text:
        assert kept == text.strip()


@pytest.mark.fault(27, 28)
@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=5), st.booleans())
def test_what_comes_out_is_always_a_valid_history(calls: list[tuple[str, str, str]], cut: bool) -> None:
    """Whatever came in, the next request will not be refused for it."""
    kept = tidy([_raw(text, call_id, name) for text, call_id, name in calls], {"old"}, 1, cut=cut)
    results = [ToolMessage(call_id=call.id, text="ok") for call in kept]

    check([UserMessage(text="go"), AssistantMessage(text="", tool_calls=kept), *results])
    json.dumps([call.model_dump() for call in kept]).encode()
