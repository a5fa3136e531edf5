"""The faults that a mission is healed of: how each is played, on which wire, and what has to come of it.

Every case is a whole mission of one item. `Case.script` plays it with its fault; without, the same mission
says what it takes anyway.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Endpoint, Fault, Script, Step
from tests.play import SILENCE, Player, Scene, approve, call, item, lead, mission, plan, say

LINES = "".join(f"line {number} of a file that is long\n" for number in range(3000))
LONG = "long.txt"
"""A file of the workspace, made of `LINES`."""
LOOKS = 9
"""Pages that a Worker reads which outgrows its window."""
SMALL = {"context_tokens": 8_000, "output_tokens": 1_000}
LIMIT_S = 0.3
IDLE_S = 0.3
RED = "a.txt:1: error: it is not right"  # what a red command says


class Wire(StrEnum):
    """What is spoken between orch and the endpoint."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"

    def serve(self, script: Script) -> Endpoint:
        """Return an endpoint that speaks it."""
        return Endpoint(script) if self is Wire.OPENAI else anthropic_endpoint(script)

    def refusal(
        self, status: int, kind: str, message: str = "no", code: str | None = None, **headers: str
    ) -> Step:
        """Return an error as the endpoints of this wire word it; in the names of `headers`, `_` is `-`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return Step(fault=Fault.STATUS, status=status, headers=fields, body=self.error(kind, message, code))

    def error(self, kind: str, message: str, code: str | None = None) -> Mapping[str, Any]:
        """Return the body of an error."""
        if self is Wire.OPENAI:
            return {"error": {"message": message, "type": kind, "param": None, "code": code}}
        return {"type": "error", "error": {"type": kind, "message": message}}


Cast = Callable[[Wire], Mapping[str, Player]]
"""The players of a case, by role, that are not the usual ones."""


def _nobody(_wire: Wire) -> Mapping[str, Player]:
    return {}


@dataclass(frozen=True)
class Case:
    """One fault. `healed` is what the account of its healing has to name, `code` how the mission ends.

    `usual` are the players of the mission without the fault, where they are others than those of all; `facts`
    are known of the model with and without it, `narrow` only with it.
    """

    name: str
    cast: Cast
    healed: str
    code: int = 0
    wires: Sequence[Wire] = tuple(Wire)
    settings: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    narrow: Mapping[str, object] = field(default_factory=dict)
    usual: Cast = _nobody
    model: str = "scripted"
    check: str | None = None
    verify: Sequence[str] = ()
    has_fallback: bool = False

    def script(self, wire: Wire) -> Script:
        """Return the mission with the fault."""
        return self._mission({**self.usual(wire), **self.cast(wire)})

    def undisturbed(self, wire: Wire) -> Script:
        """Return the mission without it."""
        return self._mission(self.usual(wire))

    def _mission(self, players: Mapping[str, Player]) -> Script:
        return mission(item("a", check=self.check), verify=self.verify, **{"worker": steady, **players})


# ---- players


def steady(scene: Scene) -> Step:
    """Worker: write the file once in a conversation, whatever else is said; read first what another left."""
    calls = [call for message in scene.turn.messages for call in message.get("tool_calls") or ()]
    done = {each["function"]["name"] for each in calls if "a.txt" in each["function"]["arguments"]}
    if "Another Worker" in scene.brief and "read" not in done:
        return call("read", path="a.txt")
    return say() if "write" in done else call("write", path="a.txt", content="made by a\n")


def writes(scene: Scene) -> Step:
    """Worker: write the file, which is not there yet."""
    return say() if scene.results("write") else call("write", path="a.txt", content="made by a\n")


def disturbed(player: Player, *steps: Step, at: int = 1) -> Player:
    """Return `player`, whose requests from number `at` on are answered by `steps` instead."""
    numbers = itertools.count()

    def answers(scene: Scene) -> Step:
        number = next(numbers) - at
        return steps[number] if 0 <= number < len(steps) else player(scene)

    return answers


def worker(*steps: Step, at: int = 1) -> Cast:
    """Disturb the Worker, the same way on every wire."""
    return lambda _wire: {"worker": disturbed(steady, *steps, at=at)}


def refused(status: int, kind: str, message: str = "no", code: str | None = None, **headers: str) -> Cast:
    """Disturb the Worker by an error of HTTP."""
    return lambda wire: {"worker": disturbed(steady, wire.refusal(status, kind, message, code, **headers))}


def thoughtful(player: Player) -> Player:
    """Return `player`, who thinks before each answer."""
    return lambda scene: replace(player(scene), reasoning=f"What is due in turn {scene.turn.number}?")


def reads(pages: int) -> Player:
    """Worker: read so many pages of a long file, then write its own."""
    numbers = itertools.count()

    def player(scene: Scene) -> Step:
        if scene.results("write"):
            return say()
        number = next(numbers)
        if number < pages:
            return call("read", path=LONG, offset=1 + 60 * number, limit=60)
        return call("write", path="a.txt", content="made by a\n")

    return player


def _overflows(wire: Wire) -> Mapping[str, Player]:
    """Have the endpoint refuse a request as too long that orch held for short enough."""
    if wire is Wire.OPENAI:
        text = "This model's maximum context length is 9000 tokens. However, you requested 9400 tokens."
        step = wire.refusal(400, "invalid_request_error", text, "context_length_exceeded")
    else:
        step = wire.refusal(400, "invalid_request_error", "prompt is too long: 9400 tokens > 9000 maximum")
    return {"worker": disturbed(reads(LOOKS), step, at=LOOKS - 1)}


def _dawdles(scene: Scene) -> Step:
    """Worker: take a fresh one to get anything done."""
    if "Another Worker" in scene.brief:
        return writes(scene)
    return replace(call("glob", pattern=f"{scene.turn.number}.*"), delay_s=0.6 * LIMIT_S)


def _always(step: Step) -> Cast:
    return lambda _wire: {"worker": lambda _scene: step}


def _second(player: Player, otherwise: Step) -> Cast:
    """Have only the second Worker do its work."""
    return lambda _wire: {
        "worker": lambda scene: player(scene) if "Another Worker" in scene.brief else otherwise
    }


def _right_when_told(scene: Scene) -> Step:
    """Worker: do it right as soon as somebody says what is wrong."""
    if RED not in scene.told + scene.brief:
        return steady(scene)
    if not scene.results("read"):
        return call("read", path="a.txt")
    return say() if scene.results("write") else call("write", path="a.txt", content="made right\n")


def _right(_wire: Wire) -> Mapping[str, Player]:
    """Do it right at once."""

    def player(scene: Scene) -> Step:
        return say() if scene.done else call("write", path="a.txt", content="made right\n")

    return {"worker": player}


def _readers(_wire: Wire) -> Mapping[str, Player]:
    return {"worker": reads(LOOKS)}


def _unknown(wire: Wire) -> Mapping[str, Player]:
    step = wire.refusal(404, "not_found_error", "no such model", "model_not_found")
    return {"commander": lambda _scene: step}


def _hurried(scene: Scene) -> Step:
    """Reviewer: wait too long for a command first."""
    if not scene.results("bash"):
        return call("bash", command="sleep 60", timeout_s=1)
    return approve(replace(scene, done=tuple(d for d in scene.done if d.arguments.get("timeout_s") is None)))


DOWN = Step(fault=Fault.STATUS, status=503, body={"error": {"message": "down"}})
LOOP = Step(text="No, wait. " * 2_000)
OVERLOADED = Step(
    text="x y z " * 300,
    fault=Fault.ERROR_MIDWAY,
    body={"type": "overloaded_error", "message": "Overloaded", "code": "overloaded_error"},
)
CHECK = "grep -q right a.txt || { echo 'a.txt:1: error: it is not' right; exit 3; }"
THINKERS: Mapping[str, Player] = {
    "commander": thoughtful(lead),
    "planner": thoughtful(plan(item("a"))),
    "worker": thoughtful(steady),
    "reviewer": thoughtful(approve),
}
THINKING: Mapping[str, object] = {"thinking": 1024, "output_tokens": 8_000, "context_tokens": 100_000}


def _thoughts_refused(wire: Wire) -> Mapping[str, Player]:
    text = "messages.1.content.0: `thinking` blocks in the latest assistant message cannot be modified."
    step = wire.refusal(400, "invalid_request_error", text)
    return {"worker": disturbed(thoughtful(steady), step)}


TOLD, RETRIED, WAITED = "told in the result", "tried again", "waited"
ASKED, FRESH, COMPACTED = "asked again", "a fresh worker", "compacted"

CASES: Sequence[Case] = (
    Case("a tool fails", worker(call("read", path=".")), TOLD),
    Case("a command over its time", lambda _: {"reviewer": _hurried}, "a command was ended"),
    Case("arguments that are no JSON", worker(Step(tool_calls=[("edit", '{"path": "a')])), TOLD),
    Case("arguments of another tool", worker(call("write", where="a.txt")), TOLD),
    Case("a tool that does not exist", worker(call("nonsense")), TOLD),
    Case(
        "three failing calls in a row",
        worker(call("nonsense"), call("edit", path="a.txt"), call("read", path=".")),
        "a recovery prompt",
    ),
    Case("429 with retry-after", refused(429, "rate_limit_error", retry_after="0.01"), WAITED),
    Case("529 overloaded", refused(529, "overloaded_error"), WAITED),
    Case("overloaded in the stream", worker(OVERLOADED), WAITED),
    Case("500", refused(500, "api_error"), RETRIED),
    Case("a stream that is cut", worker(Step(text="x y z " * 300, fault=Fault.CUT)), RETRIED),
    Case(
        "a stream that stalls",
        worker(Step(text="x y z " * 300, fault=Fault.STALLED)),
        RETRIED,
        settings={"idle_timeout_s": IDLE_S},
    ),
    Case("an answer that never comes", worker(SILENCE), RETRIED, settings={"idle_timeout_s": IDLE_S}),
    Case("an event that is no JSON", worker(Step(text="x y z " * 300, fault=Fault.BROKEN_EVENT)), RETRIED),
    Case("no event stream at all", worker(Step(fault=Fault.GARBAGE)), RETRIED),
    Case("a window that fills", lambda _: {}, COMPACTED, narrow=SMALL, usual=_readers),
    Case("a request refused as too long", _overflows, COMPACTED, usual=_readers),
    Case(
        "none, but with thinking on",
        lambda _: {},
        "",
        wires=(Wire.ANTHROPIC,),
        facts=THINKING,
        usual=lambda _: THINKERS,
    ),
    Case(
        "thinking blocks refused",
        _thoughts_refused,
        "its thoughts left out",
        wires=(Wire.ANTHROPIC,),
        facts=THINKING,
        usual=lambda _: THINKERS,
    ),
    Case(
        "calls and results refused",
        refused(400, "invalid_request_error", "messages with role 'tool' must be a response to a call"),
        FRESH,
    ),
    Case(
        "a session over its time",
        lambda _: {"worker": _dawdles},
        FRESH,
        settings={"session_timeout_s": LIMIT_S},
    ),
    Case(
        "text that comes apart",
        worker(LOOP),
        ASKED,
    ),
    Case("text that always comes apart", _second(writes, LOOP), FRESH),
    Case("a flood of blanks", worker(Step(text=" \n" * 8_000)), ASKED),
    Case("an empty answer", worker(Step(), at=0), ASKED),
    Case("only empty answers", _second(writes, Step()), FRESH),
    Case(
        "a red check", lambda _: {"worker": _right_when_told}, "back to its worker", check=CHECK, usual=_right
    ),
    Case(
        "a red verification",
        lambda _: {"worker": _right_when_told},
        "a fix item",
        verify=(CHECK,),
        usual=_right,
    ),
    Case("401", refused(401, "authentication_error"), "", code=77),
    Case("a model that does not exist", _unknown, "", code=2, model="nonsense"),
    Case("a provider that is down", _always(DOWN), RETRIED, code=75),
    Case("... with a fallback model", _always(DOWN), "another model", has_fallback=True),
)


def rows() -> Sequence[tuple[Case, Wire]]:
    """Return each case with each of its wires."""
    return [(case, wire) for case in CASES for wire in case.wires]
