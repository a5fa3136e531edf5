"""What may go from a history that is too long, and what always stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission import compaction
from orch.mission.compaction import LASTING, Fit, Window
from orch.mission.size import BYTES_PER_TOKEN, AnyMessage, tokens_of
from orch.mission.transcript import (
    AssistantMessage,
    History,
    ToolCall,
    ToolMessage,
    UserMessage,
    check,
)

BRIEF = "Your item: a"


def a_call(number: int, name: str = "read", **arguments: str) -> ToolCall:
    """Return a call with an id of its own."""
    return ToolCall(id=f"c{number}", name=name, arguments=json.dumps(arguments))


def looks(*paths: str, chars: int = 3000) -> History:
    """Return a history that reads one file a turn."""
    messages: list[AnyMessage] = [UserMessage(text=BRIEF)]
    for number, path in enumerate(paths):
        messages.append(AssistantMessage(text="", tool_calls=(a_call(number, path=path),)))
        messages.append(ToolMessage(call_id=f"c{number}", text=path[0] * chars))
    return tuple(messages)


def test_the_oldest_results_go_first() -> None:
    """The results of the last two turns are not offered at all."""
    assert compaction.droppable(looks("a", "b", "c", "d"), ()) == ("c0", "c1")


def test_the_last_look_at_an_owned_file_stays() -> None:
    """An earlier look at the same file may go."""
    history = looks("mine.py", "mine.py", "other.py", "x", "y")
    assert compaction.droppable(history, ["mine.py"]) == ("c0", "c2")


def test_no_more_is_dropped_than_has_to_be() -> None:
    """Two results of a thousand tokens each are enough for an excess of 1,500."""
    history = looks(*"abcdefgh")
    calls = compaction.droppable(history, ())
    assert compaction.enough_of(history, calls, 1500) == ("c0", "c1")
    assert compaction.enough_of(history, calls, 10**9) == calls


def test_a_dropped_result_says_what_it_was_and_is_not_dropped_again() -> None:
    """The line that replaces it names the tool and the size."""
    history = compaction.without_results(looks("a", "b", "c"), ["c0"])
    assert history[2].text.startswith(compaction.DROPPED)
    assert "3000 characters of read" in history[2].text
    assert compaction.droppable(history, ()) == ()


def a_fit(history: History, enough: int, before: int = 0, fixed: int = 100) -> Fit:
    """Return a history that has to shrink; by its estimate, unless something else was counted."""
    return Fit(history, fixed, before or fixed + tokens_of(history), enough)


def test_results_are_dropped_for_longer_than_one_turn() -> None:
    """More go than have to: what the endpoint cached is lost each time."""
    history = looks(*"abcdefgh")
    calls = compaction.dropped(a_fit(history, 7000), ())
    assert calls == ("c0", "c1", "c2", "c3")
    assert a_fit(history, 7000).after(compaction.without_results(history, calls)) <= 7000 * LASTING + 100


def test_nothing_is_dropped_where_it_would_not_be_enough() -> None:
    """The next stage has it all to sum up."""
    assert compaction.dropped(a_fit(looks(*"abcd"), 1500), ()) == ()


def test_what_a_change_saves_is_in_the_endpoint_s_tokens() -> None:
    """Half of what it counted is left if half of the bytes are; no token is shorter than a byte."""
    history = looks(*"abcdefgh")
    half = history[:9]
    assert a_fit(history, 0, before=4000, fixed=0).after(half) == pytest.approx(2000, abs=10)
    assert a_fit(history, 0, before=16_000, fixed=0).after(half) == pytest.approx(8000, abs=40)
    assert a_fit(history, 0, before=10**9, fixed=0).after(half) == pytest.approx(12_000, abs=100)


def test_a_summary_stands_behind_the_brief_and_before_the_last_turns() -> None:
    """The new history begins with the brief, word for word."""
    history = looks("a", "b", "c", "d")
    cut = compaction.cut(a_fit(history, 5000), BRIEF, share_bytes=600)
    assert cut is not None
    assert cut.kept_from == 5
    new = compaction.with_summary(BRIEF, "a and b were read", history[cut.kept_from :])
    check(new)
    assert new[0].text.startswith(BRIEF)
    assert "a and b were read" in new[0].text
    assert new[1:] == history[5:]


def test_the_parts_behind_the_brief_take_what_is_spare() -> None:
    """Never more than their share, and never so much that the last turn had no room."""
    history = looks("a", "b", "c")
    wide = compaction.cut(a_fit(history, 10**6), BRIEF, share_bytes=600)
    narrow = compaction.cut(a_fit(history, 2000), BRIEF, share_bytes=10**6)
    assert wide is not None
    assert narrow is not None
    assert wide.part_bytes == 300
    assert 6 * narrow.part_bytes // BYTES_PER_TOKEN < 2000 - 1100


@pytest.mark.parametrize("history", [looks(), looks("a")])
def test_a_history_of_one_turn_has_nothing_to_summarise(history: History) -> None:
    """Only the last turn is there, and it stays."""
    assert compaction.is_young(history)
    assert compaction.cut(a_fit(history, 10**6), BRIEF, share_bytes=600) is None


def test_a_history_whose_last_turn_fills_the_window_cannot_be_cut() -> None:
    """There is no room for anything that would stand in place of the others."""
    assert compaction.cut(a_fit(looks("a", "b"), 1200), BRIEF, share_bytes=600) is None


def test_what_orch_said_last_is_found_among_the_turns_that_go() -> None:
    """A rejection must not be forgotten; the brief stands there anyway."""
    gone = (*looks("a"), UserMessage(text="rejected: x"), *looks("b")[1:])
    assert compaction.said_last(gone) == "rejected: x"
    assert compaction.said_last(looks("a", "b")) == ""


def test_what_stands_for_old_turns_has_no_empty_parts() -> None:
    """Without a summary the digest stands alone."""
    text = compaction.remainder("", "- read a", "", "now")
    assert text.startswith(compaction.REMOVED)
    assert "- read a" in text
    assert text.endswith("now")
    assert "in your own words" not in text


def test_the_digest_says_what_each_call_came_to() -> None:
    """A line a call, with its subject and the first line of its result."""
    history = (
        UserMessage(text=BRIEF),
        AssistantMessage(
            text="", tool_calls=(a_call(1, "bash", command="make test"), a_call(2, "write", path="a"))
        ),
        ToolMessage(call_id="c1", text="evidence E1 · exit 1 · 0.3s\nlong output"),
        ToolMessage(call_id="c2", text="wrote a"),
    )
    assert compaction.digest(history) == ("- bash make test: evidence E1 · exit 1 · 0.3s\n- write a: wrote a")


def test_a_digest_goes_on_with_that_of_the_turns_that_went_before() -> None:
    """And keeps the newest lines."""
    assert compaction.digest(looks("a"), "- read z: z").splitlines()[0] == "- read z: z"
    lines = compaction.digest(looks(*(["a"] * 100)), "- read z: z").splitlines()
    assert len(lines) == compaction.MAX_DIGEST_LINES
    assert "- read z: z" not in lines
    assert compaction.newest_lines("one\ntwo\nthree", 10) == "two\nthree"


def test_a_window_keeps_room_for_the_answer_but_not_all_of_it() -> None:
    """An output limit as large as the window leaves three quarters of it, as does one that is not known."""
    assert Window(8000, 1000).room_tokens == 7000
    assert Window(8000, 8000).room_tokens == 6000
    assert Window(8000).room_tokens == 6000


def test_results_of_one_turn_share_what_a_turn_may_take() -> None:
    """One alone has a share of its own, many have three together."""
    window = Window(32_768)
    assert window.result_bytes(1) == window.result_bytes(3) == window.share_bytes
    assert window.result_bytes(12) == window.share_bytes // 4
    assert window.result_bytes(10**6) == compaction.LEAST_DROPPED_CHARS


def test_a_clipped_text_is_measured_in_bytes() -> None:
    """A character of Chinese takes three."""
    assert len(compaction.clipped("\u4e2d" * 900, 900)) < 300 + 250
    assert compaction.clipped("a" * 900, 900) == "a" * 900


@pytest.mark.parametrize("length", [10, 999, 1000, 1001, 50_000])
def test_a_clipped_text_keeps_head_and_tail(length: int) -> None:
    """What is short enough stays as it is."""
    text = "h" * (length // 2) + "t" * (length - length // 2)
    short = compaction.clipped(text, 1000)
    assert (short == text) == (length <= 1000)
    assert short[0] == "h"
    assert short[-1] == "t"
    assert len(short) <= 1000 + 250


# ---- whatever the history

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(lambda text: text * 40)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Return a valid history that is about to be sent."""
    messages: list[AnyMessage] = [UserMessage(text=BRIEF)]
    number = 0
    for _ in range(draw(st.integers(0, 12))):
        calls = []
        for _ in range(draw(st.integers(0, 3))):
            number += 1
            calls.append(a_call(number, draw(st.sampled_from(["read", "write", "bash"])), path=draw(_TEXTS)))
        messages.append(AssistantMessage(text=draw(_TEXTS).strip() or "ok", tool_calls=tuple(calls)))
        messages += [ToolMessage(call_id=call.id, text=draw(_TEXTS).strip() or "done") for call in calls]
        if not calls:
            messages.append(UserMessage(text="go on"))
    return tuple(messages)


@given(histories(), st.integers(0, 20_000), st.lists(st.text(max_size=3)))
def test_what_is_left_is_valid_and_no_longer_and_keeps_the_newest(
    history: History, room: int, owned: list[str]
) -> None:
    """Both ways to shorten a history, on any history."""
    check(history)
    calls = compaction.droppable(history, owned)
    dropped = compaction.without_results(history, compaction.enough_of(history, calls, room))
    check(dropped)
    assert tokens_of(dropped) <= tokens_of(history)
    cut = compaction.cut(a_fit(dropped, room), BRIEF, share_bytes=3000)
    if cut is not None:
        begin = cut.kept_from
        summed = compaction.with_summary(BRIEF, compaction.digest(dropped[:begin]) or "-", dropped[begin:])
        check(summed)
        last = max(n for n, m in enumerate(history) if isinstance(m, AssistantMessage))
        assert summed[-(len(history) - last) :] == dropped[last:]
        assert dropped[last:] == history[last:]
