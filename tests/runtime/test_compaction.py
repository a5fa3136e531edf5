"""Sessions that outgrow their model's window, or whose history is refused, and go on."""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from orch.config import ModelFacts
from orch.mission import compaction
from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.events import CompactionCause, CompactionStage
from orch.mission.reduce import replay
from orch.mission.transcript import AssistantMessage, ToolCall, UserMessage, check
from orch.runtime import launch
from orch.store.journal import Journal
from tests import play
from tests.anthropic_endpoint import BOUND_MODEL, anthropic_endpoint
from tests.endpoint import Fault, Script, Step, Turn
from tests.play import Player, Scene, call, item, mission, say
from tests.runtime.house import House, Run
from tests.runtime.house import check as check_journal

WINDOW = ModelFacts(context_tokens=8000, output_tokens=1000)
UNKNOWN = ModelFacts(assumed=True)
NOTED = "long.txt is made of lines; a.txt is still to be written."
OLD = "as it was, and as somebody left it"
LINES = "".join(f"line {number} of a file that is long\n" for number in range(3000))
SPEECH = " ".join(f"{number * number % 9973}." for number in range(1800))


@dataclass
class Small:
    """A model with a window: it counts four characters as a token, and refuses what does not fit.

    What has no tools is a request for a summary.
    """

    script: Script
    tokens: int
    summary: Step = field(default_factory=lambda: Step(text=NOTED))
    overflows: int = 0
    asked: list[Turn] = field(default_factory=list)

    def __call__(self, turn: Turn) -> Step:
        """Answer, or refuse as OpenAI does."""
        size = len(json.dumps(turn.request, ensure_ascii=False)) // 4
        if size + int(turn.request.get("max_tokens", 0)) > self.tokens:
            self.overflows += 1
            return refusal(
                f"This model's maximum context length is {self.tokens} tokens. However, your messages "
                f"resulted in {size} tokens. Please reduce the length of the messages.",
                "context_length_exceeded",
            )
        self.asked.append(turn)
        step = self.script(turn) if turn.tool_names else self.summary
        said = 20 + len(step.text + step.reasoning) // 4
        usage = {
            "prompt_tokens": size,
            "completion_tokens": said,
            "input_tokens": size,
            "output_tokens": said,
        }
        return replace(step, usage=usage)

    @property
    def summaries(self) -> list[Turn]:
        """The requests for summaries."""
        return [turn for turn in self.asked if not turn.tool_names]


def refusal(message: str, code: str | None = None) -> Step:
    """Refuse a request as invalid."""
    error = {"message": message, "type": "invalid_request_error", "code": code}
    return Step(fault=Fault.STATUS, status=400, body={"error": error})


def patient(turns: int, lines: int = 20, text: str = "") -> Player:
    """Worker: look at so many parts of a file, one after the other, then write the item's file."""
    numbers = itertools.count(1)

    def worker(scene: Scene) -> Step:
        number = next(numbers)
        if number < turns:
            return replace(call("read", path="long.txt", offset=number, limit=lines), text=text)
        return call("write", path="a.txt", content="made by a\n") if scene.told == scene.brief else say()

    def once(scene: Scene) -> Step:
        return say() if (scene.results("write")) else worker(scene)

    return once


def begun(house: House, script: Script, facts: ModelFacts, *, model: str = "scripted") -> Run:
    """Run a mission with a model of which `facts` are known; its journal says what its state is."""
    (house.workspace / "long.txt").write_text(LINES)
    started = ev.MissionStarted(
        goal="build it",
        orch_version="0",
        models=dict.fromkeys(ev.Role, f"test/{model}"),
        max_parallel=2,
        max_turns=300,
    )
    with house.launched(script) as told:
        state, result = launch.begin(replace(told, facts=lambda _: facts), started)
    run = Run(house.events(), state, result)
    check_journal(run)
    assert replay(run.events) == state
    return run


def compacted(run: Run, item_id: str = "a") -> list[ev.Compaction]:
    """Return the compactions of an item's sessions."""
    return [event for event in run.all(ev.Compaction) if event.item == item_id]


# ---- a history that is full


def test_a_session_of_two_hundred_turns_seals_in_a_small_window(house: House) -> None:
    """No request is too large for it; each new beginning is the brief, word for word."""
    endpoint = Small(mission(item("a"), worker=patient(200, lines=8)), WINDOW.context_tokens)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert len([turn for turn in run.all(ev.TurnFinished) if turn.item == "a"]) >= 200
    assert endpoint.overflows == 0
    assert len(compacted(run)) > 3
    assert len({event.session for event in compacted(run)}) == 1
    session = run.state.sessions[compacted(run)[0].session]
    check((*session.messages, UserMessage(text="go on")))
    for event in compacted(run):
        assert event.cause is CompactionCause.FULL
        assert event.before_tokens > 7000 * compaction.FULL
        assert event.after_tokens <= 7000 * compaction.ENOUGH
    begins = {turn.first_user for turn in endpoint.asked if "id: a" in turn.first_user and turn.number > 2}
    assert all(text.startswith(session.brief) for text in begins)


def test_a_summary_is_paid_for_and_never_alone(house: House) -> None:
    """The digest and the Worker's files stand behind it; it counts in usage, and on record."""
    endpoint = Small(mission(item("a"), worker=patient(40, lines=8)), WINDOW.context_tokens)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    (summary, *_) = [event for event in compacted(run) if event.stage is CompactionStage.SUMMARISED]
    assert NOTED in summary.text
    assert "- read long.txt" in summary.text
    assert "a.txt" in summary.text
    assert summary.usage is not None
    assert summary.usage.input_tokens > 1000
    turns = sum(event.usage.input_tokens for event in run.all(ev.TurnFinished))
    summaries = sum(event.usage.input_tokens for event in run.all(ev.Compaction) if event.usage)
    assert run.result.usage.input_tokens == turns + summaries
    assert "RESULT of" in endpoint.summaries[0].first_user
    assert "You are the Worker." in endpoint.summaries[0].system


def test_old_results_go_before_anything_is_summed_up(house: House) -> None:
    """Where they are long, nothing else has to go; what went says so."""
    endpoint = Small(mission(item("a"), worker=patient(25, lines=30)), WINDOW.context_tokens)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert endpoint.overflows == 0
    assert compacted(run)[0].stage is CompactionStage.DROPPED
    assert compacted(run)[0].usage is None
    assert any(compaction.DROPPED in str(turn.messages) for turn in endpoint.asked)


@pytest.mark.parametrize(
    "summary",
    [
        Step(text=""),
        Step(refusal="no"),
        refusal("Invalid value"),
        Step(tool_calls=[("read", {"path": "long.txt"})]),
    ],
    ids=["empty", "refused by the model", "refused by the endpoint", "a call"],
)
def test_where_no_summary_comes_the_digest_stands_alone(house: House, summary: Step) -> None:
    """The session goes on with what code can say of its turns."""
    endpoint = Small(mission(item("a"), worker=patient(40, lines=8)), WINDOW.context_tokens, summary)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert {event.stage for event in compacted(run)} == {CompactionStage.DIGESTED}
    assert all("- read long.txt" in event.text for event in compacted(run))


def test_a_model_of_unknown_window_has_thirty_two_thousand_tokens(house: House) -> None:
    """A quarter of them at most is kept for the answer."""
    endpoint = Small(mission(item("a"), worker=patient(60, lines=60)), 32_768)
    run = begun(house, endpoint, UNKNOWN)

    assert run.result.subtype == "sealed", run.result.result
    room = 32_768 * 3 // 4
    assert room * compaction.FULL < compacted(run)[0].before_tokens < room


def test_a_result_takes_no_more_than_its_share_of_the_window(house: House) -> None:
    """Head and tail are shown, with the advice to ask for a part."""
    endpoint = Small(mission(item("a"), worker=patient(3, lines=2000)), WINDOW.context_tokens)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    text = run.said("read")[0]
    assert "characters left out" in text
    assert len(text) < 7000 * compaction.SHARE * 3 + 250
    assert "of 3000; read on with" in text


def test_the_worker_knows_its_files_as_they_are_behind_a_summary(house: House) -> None:
    """What somebody changed meanwhile is shown, and may be edited without another look."""
    path = house.workspace / "a.txt"
    path.write_text("old\n")
    numbers = itertools.count()

    def worker(scene: Scene) -> Step:
        """Look around until the history was cut; then change what it says, without a look."""
        if scene.results("edit"):
            return say()
        if compaction.REMOVED in scene.brief:
            return call("edit", path="a.txt", old_string=OLD, new_string="made well")
        if next(numbers) == 0:
            path.write_text(f"{OLD}\n")
        return call("read", path="long.txt", offset=scene.turn.number + 1, limit=8)

    endpoint = Small(mission(item("a"), worker=worker), WINDOW.context_tokens)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert OLD in compacted(run)[0].text
    assert set(compacted(run)[0].seen) == {"a.txt"}
    assert path.read_text() == "made well\n"


def test_what_orch_said_is_not_forgotten_with_the_turns_that_go(house: House) -> None:
    """A rejection stands behind the brief until it is solved."""
    reviews = itertools.count()

    def reviewer(scene: Scene) -> Step:
        return play.approve(scene) if next(reviews) else play.reject("it is made of the wrong wood")(scene)

    def worker(scene: Scene) -> Step:
        """Write at once; after the rejection look around until it is cut, then write again."""
        cut = compaction.REMOVED in scene.brief
        if not scene.woken and not cut:
            return say() if scene.results("write") else call("write", path="a.txt", content="made by a\n")
        if not cut:
            return call("read", path="long.txt", offset=len(scene.done) + 1, limit=8)
        return say() if scene.results("write") else call("write", path="a.txt", content="made again\n")

    endpoint = Small(mission(item("a"), worker=worker, reviewer=reviewer), WINDOW.context_tokens)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert "the wrong wood" in compacted(run)[0].text


@pytest.mark.parametrize(("lines", "said"), [(8, 3000), (80, 0)], ids=["summed up", "dropped"])
def test_thoughts_upon_what_went_are_left_out(house: House, lines: int, said: int) -> None:
    """Their endpoint would refuse them; those behind the new beginning go back again."""
    house.serve = anthropic_endpoint

    def thoughtful(player: Player) -> Player:
        return lambda scene: replace(player(scene), reasoning=f"What now, in turn {scene.turn.number}?")

    endpoint = Small(mission(item("a"), worker=thoughtful(patient(40, lines, SPEECH[:said]))), 32_768)
    run = begun(house, endpoint, UNKNOWN, model=BOUND_MODEL)

    assert run.result.subtype == "sealed", run.result.result
    assert compacted(run)
    assert run.all(ev.Heal) == []
    thoughts = [str(turn.request).count("'thinking':") for turn in endpoint.asked]
    cut = next(n for n, (before, after) in enumerate(itertools.pairwise(thoughts), 1) if before > after + 1)
    assert max(thoughts[cut:]) > thoughts[cut]


# ---- a window that is smaller than it was said to be


@pytest.mark.parametrize(
    ("lines", "stage"),
    [(8, CompactionStage.SUMMARISED), (20, CompactionStage.DROPPED)],
    ids=["short", "long"],
)
def test_a_refusal_as_too_large_is_met_by_making_room(
    house: House, lines: int, stage: CompactionStage
) -> None:
    """Half of what was refused may stay; no turn is lost, and the request for a summary fits."""
    endpoint = Small(mission(item("a"), worker=patient(60, lines=lines)), 8000)
    run = begun(house, endpoint, UNKNOWN)

    assert run.result.subtype == "sealed", run.result.result
    assert endpoint.overflows == len(run.all(ev.TurnFailed))
    assert {event.cause for event in compacted(run)} == {CompactionCause.OVERFLOW}
    assert stage in {event.stage for event in compacted(run)}
    assert all(event.after_tokens <= event.before_tokens * compaction.HALF for event in compacted(run))
    assert len({event.session for event in compacted(run)}) == 1


def test_a_request_that_is_refused_as_too_large_twice_is_the_end_of_its_session(house: House) -> None:
    """A fresh one starts from the journal, once; nothing goes on for ever."""
    endpoint = Small(mission(item("a"), worker=patient(60)), 8000)

    def script(turn: Turn) -> Step:
        if "id: a" in turn.first_user and turn.number > 2 and turn.tool_names:
            return refusal("too large", "context_length_exceeded")
        return endpoint(turn)

    run = begun(house, script, UNKNOWN)

    assert run.result.subtype == "unsealed"
    ended = [event for event in run.all(ev.SessionEnded) if event.item == "a"]
    assert [event.outcome for event in ended] == [ev.SessionOutcome.FAILED] * 2
    refused = [event for event in run.all(ev.TurnFailed) if event.item == "a"]
    assert all(len([event for event in refused if event.session == each.session]) <= 2 for each in ended)


@pytest.mark.parametrize("told", [True, False], ids=["known", "found out"])
def test_a_window_that_does_not_hold_the_brief_ends_the_run_and_is_named(house: House, told: bool) -> None:
    """Nothing of it can go, so nothing is tried again and again."""
    endpoint = Small(mission(item("a")), 900)
    run = begun(house, endpoint, ModelFacts(context_tokens=900) if told else UNKNOWN)

    assert run.result.exit_code == 1
    assert endpoint.asked == []
    assert len(run.all(ev.TurnFailed)) == (0 if told else endpoint.overflows)
    failed = [event for event in run.all(ev.SessionEnded) if event.outcome is ev.SessionOutcome.FAILED]
    assert failed
    assert all("does not fit into the window of test/scripted" in event.reason for event in failed)


def test_a_session_that_is_full_again_at_once_fails(house: House) -> None:
    """Each of its turns is as large as all that a summary saves."""
    endpoint = Small(mission(item("a"), worker=patient(60, text=SPEECH)), 8000)
    run = begun(house, endpoint, WINDOW)

    assert run.result.subtype == "unsealed"
    assert len(compacted(run)) <= 4
    reasons = [event.reason for event in run.all(ev.SessionEnded) if event.item == "a"]
    assert len(reasons) == 2
    assert all("does not fit into the window of test/scripted" in reason for reason in reasons)


# ---- a run that was killed


@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_crash_around_a_summary_costs_at_most_that_summary(house: House, where: str) -> None:
    """What was in flight counts with its estimate; what is on record is not asked for again."""
    script = mission(item("a"), worker=patient(40, lines=8))
    run = begun(house, Small(script, 8000), WINDOW)
    (first, *_) = compacted(run)
    house.cut(first if where == "behind" else run.events[first.seq - 2])
    house.facts = {"context_tokens": 8000, "output_tokens": 1000}
    endpoint = Small(mission(item("a"), worker=patient(10, lines=8)), 8000)
    again = house.resume(endpoint)

    assert again.result.subtype == "sealed", again.result.result
    assert len(compacted(again)) == 1
    assert len(endpoint.summaries) == (where == "before")
    assert replay(again.events) == again.state


def test_a_provider_that_is_down_when_a_summary_is_due_parks_the_run(house: House) -> None:
    """Nothing was lost for it: the resume has its summary, and the session goes on."""
    script = mission(item("a"), worker=patient(40, lines=8))
    run = begun(house, Small(script, 8000, play.refused(503)), WINDOW)
    assert (run.result.subtype, compacted(run)) == ("provider", [])

    house.facts = {"context_tokens": 8000, "output_tokens": 1000}
    again = house.resume(Small(mission(item("a"), worker=patient(10, lines=8)), 8000))

    assert again.result.subtype == "sealed", again.result.result
    assert [event.stage for event in compacted(again)] == [CompactionStage.SUMMARISED]


def test_a_summary_that_no_cap_leaves_room_for_is_not_asked_for(house: House) -> None:
    """The run is at its limit, as it would be with a turn."""
    full = begun(house, Small(mission(item("a"), worker=patient(40, lines=8)), 8000), WINDOW)
    (first, *_) = compacted(full)
    spent = replay(full.events[: first.seq - 2]).spending.total
    house.cut(full.events[first.seq - 3])
    house.facts = {"context_tokens": 8000, "output_tokens": 1000}
    endpoint = Small(mission(item("a"), worker=patient(10, lines=8)), 8000)
    caps = Caps(max_tokens=spent.input_tokens + spent.output_tokens + 2000)
    again = house.resume(endpoint, caps=caps)

    assert again.result.exit_code == 4
    assert endpoint.asked == []


def looking_around(turns: int, then: Player) -> Player:
    """Return a player that looks at so many parts of a file before it plays its part."""
    numbers = itertools.count(1)

    def player(scene: Scene) -> Step:
        number = next(numbers)
        return call("read", path="long.txt", offset=number, limit=8) if number <= turns else then(scene)

    return player


def test_a_reviewer_may_cite_what_it_ran_long_ago(house: House) -> None:
    """Its evidence stands behind the summary, however many calls came after."""
    look = looking_around(
        40, play.always(call("submit_review", verdict="approve", evidence=["E1"], issues=[]))
    )
    checks = itertools.count()

    def reviewer(scene: Scene) -> Step:
        return look(scene) if next(checks) else call("bash", command=scene.field("check"))

    run = begun(house, Small(mission(item("a"), reviewer=reviewer), 8000), WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert "- E1, exit 0: grep -q made a.txt" in compacted(run)[0].text


def test_the_commander_finds_its_plan_behind_a_summary(house: House) -> None:
    """As it stands, whatever became of it since it was made."""
    seal = looking_around(40, play.always(call("seal_mission", summary="done")))

    def commander(scene: Scene) -> Step:
        return seal(scene) if scene.woken or compaction.REMOVED in scene.brief else play.lead(scene)

    run = begun(house, Small(mission(item("a"), commander=commander), 8000), WINDOW)

    assert run.result.subtype == "sealed", run.result.result
    assert "- [x] **a** title of a" in run.all(ev.Compaction)[0].text


# ---- a history that is refused


PAIRING = refusal(
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: c1"
)
THINKING = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "messages.1.content.0: Invalid `signature` in block",
    },
}
UNSIGNED = Step(fault=Fault.STATUS, status=400, body=THINKING)


def _thinker(refused: Callable[[Turn], Step | None]) -> Player:
    """Worker: think before each answer; `refused` says what is refused instead."""

    def worker(scene: Scene) -> Step:
        step = refused(scene.turn) if "'thinking':" in str(scene.turn.request) else None
        return step or replace(play.build(scene), reasoning="What now?")

    return worker


def test_thoughts_that_are_refused_are_taken_out_for_good(house: House) -> None:
    """One more request, and no session is lost; a later run does not send them either."""
    house.serve = anthropic_endpoint
    run = house.begin(mission(item("a"), worker=_thinker(lambda _: UNSIGNED)))

    assert run.result.subtype == "sealed", run.result.result
    (heal,) = run.all(ev.Heal)
    assert heal.history
    assert [event.error for event in run.all(ev.TurnFailed)] == ["RequestRefused"]
    messages = run.state.sessions[heal.session].messages if heal.session else ()
    assert not [m for m in messages[:2] if isinstance(m, AssistantMessage) and m.thinking]


def test_a_history_that_is_refused_again_is_the_end_of_its_session(house: House) -> None:
    """A fresh one starts from the journal, and gets on."""
    house.serve = anthropic_endpoint
    sick: set[str] = set()

    def script(scene: Scene) -> Step:
        if not sick and scene.turn.number == 1:
            sick.add(scene.turn.first_user)
        if scene.turn.number and scene.turn.first_user in sick:
            return UNSIGNED
        return replace(play.build(scene), reasoning="What now?")

    run = house.begin(mission(item("a"), worker=script))

    assert run.result.subtype == "sealed", run.result.result
    assert len(run.all(ev.Heal)) == 1
    failed = [event for event in run.all(ev.SessionEnded) if event.outcome is ev.SessionOutcome.FAILED]
    assert [event.item for event in failed] == ["a"]
    assert len([e for e in run.all(ev.TurnFailed) if e.session == failed[0].session]) == 2


def test_a_history_that_is_in_order_is_not_sent_again(house: House) -> None:
    """Unchanged it would be refused again: a fresh session starts."""
    refusals = itertools.count()

    def worker(scene: Scene) -> Step:
        return PAIRING if scene.turn.number == 1 and next(refusals) == 0 else play.build(scene)

    run = house.begin(mission(item("a"), worker=worker))

    assert run.result.subtype == "sealed", run.result.result
    assert run.all(ev.Heal) == []
    assert len([e for e in run.all(ev.SessionEnded) if e.outcome is ev.SessionOutcome.FAILED]) == 1


MUTILATED: Mapping[str, ToolCall] = {
    "an id that endpoints refuse": ToolCall(id="no id at all!", name="read", arguments='{"path":"a.txt"}'),
    "arguments that are no JSON": ToolCall(id="c1", name="read", arguments='{"path":'),
}


@pytest.mark.parametrize("bad", MUTILATED.values(), ids=MUTILATED.keys())
def test_a_history_that_an_earlier_run_left_in_disorder_is_repaired(house: House, bad: ToolCall) -> None:
    """Before anything is sent: the strict endpoint refuses nothing."""
    script = mission(item("a"))
    run = house.begin(script)
    write = next(event for event in run.all(ev.ToolFinished) if event.tool == "write")
    house.cut(run.events[write.seq])  # the start of the next turn, which is on record with it
    _append(
        house,
        ev.TurnFinished(
            session=write.session,
            item=write.item,
            turn=2,
            model="test/scripted",
            message=AssistantMessage(text="", tool_calls=(bad,)),
            finish=ev.FinishReason.TOOL_CALLS,
            usage=ev.Usage(),
            duration_s=0.0,
        ),
        ev.ToolFinished(
            session=write.session,
            item=write.item,
            call_id=bad.id,
            tool="read",
            ok=True,
            text="x",
            duration_s=0.0,
        ),
    )
    again = house.resume(script)

    assert again.result.subtype == "sealed", again.result.result
    (heal,) = again.all(ev.Heal)
    assert heal.session == write.session


def _append(house: House, *events: ev.Event) -> None:
    """Write to the journal what an orch with a bug might have written."""
    folder = house.folder.mission(house.mission)

    async def write() -> None:
        recovered = await asyncio.to_thread(Journal.open, folder)
        last = recovered.events[-1]
        stamps = {"ts": last.ts, "mission": last.mission}
        await recovered.journal.append(
            [event.model_copy(update=stamps | {"seq": last.seq + n}) for n, event in enumerate(events, 1)]
        )
        await asyncio.to_thread(recovered.journal.close)

    asyncio.run(write())
