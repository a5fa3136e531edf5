"""Who does the same again and again is noticed; who only looks so is let alone."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.mission import repetition
from orch.mission.repetition import CYCLES, LONGEST, SAME, WAITS, Verdict, judge, told
from orch.mission.transcript import AssistantMessage, History, ToolCall, ToolMessage, UserMessage

Done = tuple[str, str]  # a call, and its result; the call is `tool argument`
GO_ON, TELL, END = Verdict.GO_ON, Verdict.TELL, Verdict.END


def turn(number: int, *done: Done) -> History:
    """Return one turn with its results."""
    calls = []
    for index, (asked, _) in enumerate(done):
        name, _, argument = asked.partition(" ")
        malformed = "no JSON" if argument == "?" else None
        calls.append(
            ToolCall(
                id=f"c{number}-{index}",
                name=name,
                arguments=json.dumps({"x": argument}) if malformed is None else "{}",
                malformed=malformed,
            )
        )
    results = [ToolMessage(call_id=c.id, text=text) for c, (_, text) in zip(calls, done, strict=True)]
    return (AssistantMessage(text="", tool_calls=tuple(calls)), *results)


def history(*turns: Sequence[Done] | str) -> History:
    """Return a history: turns, and words of orch between them."""
    messages: list[UserMessage | AssistantMessage | ToolMessage] = [UserMessage(text="go")]
    for number, each in enumerate(turns):
        messages += [UserMessage(text=each)] if isinstance(each, str) else turn(number, *each)
    return tuple(messages)


def verdicts(turns: Sequence[Sequence[Done]]) -> list[Verdict]:
    """Return what is said after each turn, by an orch that says what it has to."""
    found: list[Verdict] = []
    said: list[Sequence[Done]] = []
    for each in turns:
        said.append(each)
        found.append(judge(history(*said)))
        if found[-1] is TELL:
            *others, (asked, result) = each
            said[-1] = [*others, (asked, told(result))]
    return found


READ, GREP = ("read a", "1: x"), ("grep x", "a:1: x")
RUN = [("bash t", f"evidence E{n} · exit 1 · 0.{n}s\n1 failed in 0.{n} s") for n in range(30)]
BROKEN = [("write ?", f"error: column {n}") for n in range(30)]


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("cycle", "tells"),
    [
        ([[READ]], SAME),
        ([[READ, GREP]], SAME),
        ([[READ], [GREP]], 2 * CYCLES),
        ([[READ], [GREP], [("glob *", "a")]], 3 * CYCLES),
        ([[READ], [GREP], [("glob *", "a")], [("glob a", "a")]], 4 * CYCLES),
        ([[("check_background j", "running")]], WAITS),
        ([[("list_background", "running")], [("bash sleep", "evidence E1 · exit 0 · 5.0s")]], 2 * WAITS),
        ([[("get_task_result a", "working")]], SAME),
    ],
)
def test_who_goes_round_in_circles_is_told_once_and_then_ended(cycle: list[list[Done]], tells: int) -> None:
    """After three times the same, or five times the same cycle; the next turn of it is the last."""
    turns = [cycle[n % len(cycle)] for n in range(tells + 1)]

    assert verdicts(turns) == [GO_ON] * (tells - 1) + [TELL, END]


@pytest.mark.fault(29)
@pytest.mark.parametrize("turns", [RUN, BROKEN])
def test_what_differs_in_every_run_is_read_over(turns: list[Done]) -> None:
    """The number of the evidence and the seconds of a command, the place where arguments break."""
    assert verdicts([[each] for each in turns[:4]]) == [GO_ON, GO_ON, TELL, END]


@pytest.mark.fault(29)
def test_who_was_told_may_do_something_else_and_is_ended_when_it_starts_again() -> None:
    """It is said once; the next circle is the end, whatever it consists of."""
    turns = [[READ]] * 3 + [[GREP], [READ]] + [[GREP]] * 3

    assert verdicts(turns) == [GO_ON, GO_ON, TELL, GO_ON, GO_ON, GO_ON, GO_ON, END]


@pytest.mark.parametrize(
    "turns",
    [
        [[("check_background j", f"{n} %")] for n in range(40)],
        [[("list_tasks", f"{n} done")] for n in range(40)],
        [[("get_task_result a", f"round {n}")] for n in range(40)],
        [
            each
            for n in range(20)
            for each in ([(f"edit {n}", "ok")], [("bash t", "evidence E1 · exit 1 · 1s")])
        ],
        [each for n in range(20) for each in ([(f"edit {n}", "ok")], [("read a", f"1: {n}")])],
        [[(f"read {n % 5}", "x")] for n in range(40)],
        [[(f"read {n // 2}", "x")] for n in range(40)],
        [[("bash t", f"evidence E{n} · exit 1 · 1s\n{n} failed")] for n in range(40)],
        [[("read a", "1: took 1s")], [("read a", "1: took 2s")], [("read a", "1: took 3s")]],
    ],
)
def test_what_only_looks_like_it_is_let_alone(turns: list[list[Done]]) -> None:
    """Polls that show something new, tests between changes, a file read again after an edit, a long walk."""
    assert set(verdicts(turns)) == {GO_ON}


def test_a_word_of_orch_begins_afresh() -> None:
    """What was done before it is not held against the session, nor what it was told."""
    before = [[READ]] * 2 + [[("read a", told("1: x"))]]

    assert judge(history(*before, "woken", [READ], [READ])) is GO_ON
    assert judge(history(*before, "woken", [READ], [READ], [READ])) is TELL


def test_several_calls_in_one_turn_are_one_thing() -> None:
    """Whoever asks three times in one breath has not seen an answer yet; their order does not matter."""
    assert judge(history([READ] * 9)) is GO_ON
    assert judge(history([READ, GREP], [GREP, READ], [READ, GREP])) is TELL


DONE = st.tuples(st.sampled_from(["read a", "read b", "bash t", "write ?"]), st.sampled_from(["x", "y", "z"]))
TURNS = st.lists(st.lists(DONE, min_size=1, max_size=3), max_size=30)


@pytest.mark.fault(29)
@settings(deadline=None)
@given(TURNS, st.lists(st.lists(DONE, min_size=1, max_size=2), min_size=1, max_size=LONGEST))
def test_every_circle_ends_whatever_came_before_it(before: list[list[Done]], cycle: list[list[Done]]) -> None:
    """Within the turns that the longest cycle takes, and one more."""
    turns = [*before, *(cycle[n % len(cycle)] for n in range(LONGEST * CYCLES + 1))]

    assert END in verdicts(turns)


@settings(deadline=None)
@given(TURNS)
def test_nobody_is_ended_that_was_not_told(turns: list[list[Done]]) -> None:
    """And what is said does not count as another result."""
    found = verdicts(turns)

    assert END not in found[: found.index(TELL)] if TELL in found else END not in found


@settings(deadline=None)
@given(st.lists(st.lists(DONE, min_size=1, max_size=3, unique=True), max_size=8, unique_by=repr))
def test_who_never_does_the_same_thing_twice_is_never_disturbed(turns: list[list[Done]]) -> None:
    """Numbered results make every turn different."""
    numbered = [[(asked, f"{result}{n}") for asked, result in each] for n, each in enumerate(turns)]
    well = [[(asked.replace("?", "a"), result) for asked, result in each] for each in numbered]

    assert set(verdicts(well)) <= {GO_ON}


def test_the_notice_says_what_to_do() -> None:
    """It is orch's own word, and it stands behind the result."""
    assert repetition.NOTICE.startswith("[orch] ")
    assert told("1: x") == f"1: x\n{repetition.NOTICE}"
