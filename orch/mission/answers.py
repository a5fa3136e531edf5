"""What is wrong with an answer that nothing can be done with, and what follows. Pure.

An answer without a call that says nothing, was cut off at its output limit, was refused, or came apart is
asked for once more, with words that say what is wrong. If that does not help, the session has failed; a fresh
one may do better. Where saying nothing may mean that nothing is left to say, it counts as having stopped: the
Commander's empty answer, and any answer of a Worker that has written since it was told what to do.
"""

from collections.abc import Mapping
from enum import StrEnum

from orch.mission.events import FinishReason, Role
from orch.mission.state import Session
from orch.mission.transcript import AssistantMessage, History, UserMessage


class Flaw(StrEnum):
    """What is wrong with an answer."""

    EMPTY = "empty"  # neither a word nor a call
    CUT = "cut"  # it ran into its output limit before it called anything
    REFUSED = "refused"  # the model, or a filter before it, refused
    DEGENERATE = "degenerate"  # it said the same over and over, or nothing that can be read


ASK_AGAIN: Mapping[Flaw, str] = {
    Flaw.EMPTY: (
        "[orch] Your answer was empty: no text, and no tool call. Go on with your task: call a tool, or, if "
        "nothing is left to do, say so in one line."
    ),
    Flaw.CUT: (
        "[orch] Your answer was cut off at the output limit. Go on, in smaller steps: call one tool at a "
        "time, and write long files in parts."
    ),
    Flaw.REFUSED: (
        "[orch] Your answer was refused, by you or by a content filter, and nothing of it was done. Go on "
        "with your task in other words, and leave out what was objected to."
    ),
    Flaw.DEGENERATE: (
        "[orch] Your answer was stopped: it said the same over and over, or nothing that can be read, and "
        "nothing of it was done. Go on with your task in small steps: one sentence, then one tool call."
    ),
}
REASONS: Mapping[Flaw, str] = {
    Flaw.EMPTY: "the model's answer was empty, also when asked again",
    Flaw.CUT: "the model's answer was cut off at its output limit, also when asked again",
    Flaw.REFUSED: "the model refused to answer (or a content filter did), also when asked again",
    Flaw.DEGENERATE: "the model's answer came apart (repetition, or no readable text), also when asked again",
}


def flaw(message: AssistantMessage, finish: FinishReason) -> Flaw | None:
    """Return what is wrong with an answer; `None` if something can be done with it."""
    if message.tool_calls:
        return None
    if finish is FinishReason.DEGENERATE:
        return Flaw.DEGENERATE
    if finish is FinishReason.REFUSED:
        return Flaw.REFUSED
    if finish is FinishReason.LENGTH:
        return Flaw.CUT
    return None if message.text.strip() else Flaw.EMPTY


def is_asked_again(history: History) -> bool:
    """Whether the answer that is due is one that was asked for once more."""
    last = history[-1]
    return isinstance(last, UserMessage) and last.text in ASK_AGAIN.values()


def counts_as_stop(session: Session, found: Flaw) -> bool:
    """Whether a session that was asked once more has just nothing left to say."""
    if session.role is Role.COMMANDER:
        return found is Flaw.EMPTY
    return session.role is Role.WORKER and session.wrote
