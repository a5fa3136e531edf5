"""A session that takes too long, and one that only fails: told, then replaced, and the mission ends."""

from dataclasses import replace

from orch.mission import events as ev
from orch.mission import repetition, stumbles, worktime
from tests.endpoint import Step
from tests.play import Player, Scene, build, call, item, mission, say
from tests.runtime.house import House, Run

LIMIT_S = 0.5
DAWDLES_S = 0.3


def dawdles(scene: Scene) -> Step:
    """Worker: look here and there, slowly, for ever."""
    return replace(call("glob", pattern=f"{scene.turn.number}.*"), delay_s=DAWDLES_S)


def _workers(run: Run) -> list[ev.SessionEnded]:
    roles = {event.session: event.role for event in run.all(ev.SessionStarted)}
    return [event for event in run.all(ev.SessionEnded) if roles[event.session] is ev.Role.WORKER]


def test_a_worker_that_takes_too_long_is_told_then_replaced_then_its_item_fails(house: House) -> None:
    """Two sessions, each told once; the mission ends at its limit, and says which."""
    house.settings = {"session_timeout_s": LIMIT_S}
    run = house.begin(mission(item("a"), worker=dawdles))

    first, second = _workers(run)
    assert (run.result.exit_code, run.status("a")) == (4, "failed")
    assert (first.kind, first.reason) == (ev.BlockerKind.LIMIT, worktime.reason(LIMIT_S))
    assert second.reason == first.reason
    assert worktime.reason(LIMIT_S) in run.result.blockers[0].text
    for session in (first.session, second.session):
        results = [e for e in run.all(ev.ToolFinished) if e.session == session]
        late = [index for index, event in enumerate(results) if event.late]
        assert len(late) == 1
        assert "This session's time is over" in results[late[0]].text
        assert late[0] < len(results) - 1, "it had some time left to finish"


def test_a_fresh_worker_hears_why_the_one_before_did_not_finish(house: House) -> None:
    """And does it in time."""
    house.settings = {"session_timeout_s": LIMIT_S}
    run = house.begin(
        mission(item("a"), worker=lambda s: build(s) if "Another Worker" in s.brief else dawdles(s))
    )

    briefs = [e.text for e in run.all(ev.MessageSent) if e.reason is ev.MessageReason.BRIEF]
    assert run.result.exit_code == 0, run.result.result
    assert [worktime.reason(LIMIT_S) in text for text in briefs if "Your item:" in text] == [False, True]


def test_who_was_told_and_finishes_is_not_replaced(house: House) -> None:
    """What it was told is part of the conversation, also after a resume."""
    house.settings = {"session_timeout_s": LIMIT_S}

    def worker(scene: Scene) -> Step:
        """Dawdle until told; then write."""
        told = any("This session's time is over" in done.result for done in scene.done)
        return build(replace(scene, done=tuple(scene.results("write")))) if told else dawdles(scene)

    run = house.begin(mission(item("a"), worker=worker))
    house.cut(next(event for event in run.all(ev.ToolFinished) if event.late))
    (house.workspace / "a.txt").unlink()
    again = house.resume(mission(item("a"), worker=worker))

    assert run.result.exit_code == again.result.exit_code == 0, again.result.result
    assert len([event for event in again.all(ev.ToolFinished) if event.late]) == 1
    assert [event.outcome for event in _workers(again)] == [ev.SessionOutcome.DONE]


# ---- call after call that fails


def _prompts(run: Run) -> list[ev.ToolFinished]:
    return [event for event in run.all(ev.ToolFinished) if stumbles.MARK in event.text]


def _fails(*steps: Step) -> Player:
    """Return a Worker whose first turns are `steps`, who then does its work."""

    def player(scene: Scene) -> Step:
        done = scene.done[len(steps) :]
        return (
            steps[scene.turn.number] if scene.turn.number < len(steps) else build(replace(scene, done=done))
        )

    return player


def test_the_third_failing_call_in_a_row_brings_a_prompt_that_helps(house: House) -> None:
    """Whatever the tools: of no such name, with wrong arguments, not granted; then it does its work."""
    steps = (call("nonsense"), call("edit", path="a.txt"), call("write", where="a.txt"), call("bash"))
    run = house.begin(mission(item("a"), worker=_fails(*steps)))

    (prompt,) = _prompts(run)
    assert run.result.exit_code == 0, run.result.result
    assert prompt.tool == "write"
    assert not prompt.ok
    assert "write takes: path, content. You may call: delete, edit, glob, " in prompt.text


def test_one_who_repeats_a_failing_call_hears_one_thing_only(house: House) -> None:
    """That it goes round in circles; what is wrong with the call stands there already."""
    steps = (call("write", where="a.txt"),) * repetition.SAME
    run = house.begin(mission(item("a"), worker=_fails(*steps)))

    assert run.result.exit_code == 0, run.result.result
    assert _prompts(run) == []
    assert sum(text.endswith(repetition.NOTICE) for text in run.said("write")) == 1


def test_a_worker_that_tries_what_cannot_be_done_may_say_so(house: House) -> None:
    """It stops, is asked once whether it is done, and its item goes to the review as it is."""

    def worker(scene: Scene) -> Step:
        """Try others' files, one after the other, until told."""
        if any(stumbles.MARK in done.result for done in scene.done) or scene.woken:
            return say("I may not.")
        return call("write", path=f"other{len(scene.done)}.txt", content="x")

    run = house.begin(mission(item("a", check="test ! -e a.txt"), worker=worker))

    assert run.result.exit_code == 0, run.result.result
    assert len(_prompts(run)) == 1
