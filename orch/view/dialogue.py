"""`orch status --session`: what a session was told, said and did, to be read from top to bottom by a person.

One fact a row, with the time since the session began, and what was said beneath it. Long texts are cut unless
all is asked for, and it is said how much is missing. Every row fits the width and is defused last, when it
stands as it will be printed: what is harmless in the middle of a line may not be so at its beginning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import singledispatch

from orch.mission import events as ev
from orch.mission.state import MissionState
from orch.mission.status import SessionStory
from orch.view import defuse
from orch.view.lines import describe
from orch.view.wrapping import wrapped

_GUTTER = 8
"""Columns of the time before each fact; texts stand beneath the fact."""
_NARROWEST = 32
_BRIEF_ROWS, _TEXT_ROWS, _RESULT_ROWS, _FAILURE_ROWS = 12, 20, 3, 10

_REASONS = {
    ev.MessageReason.BRIEF: "briefed",
    ev.MessageReason.WAKE: "woken: there is something to decide",
    ev.MessageReason.REJECTION: "woken: its work was rejected",
    ev.MessageReason.ISSUES: "woken: others raised issues on its files",
    ev.MessageReason.NUDGE: "nudged: it ended without what it owes",
    ev.MessageReason.REPLY: "told a person's answer",
    ev.MessageReason.RECOVERY: "told by orch what went wrong",
}
_FINISHES = {
    ev.FinishReason.LENGTH: ", cut off at its output limit",
    ev.FinishReason.REFUSED: ", refused",
    ev.FinishReason.DEGENERATE: ", broken off: its text came apart",
}


@dataclass(frozen=True, slots=True)
class _Fact:
    """One row, and a text beneath it of which `rows` are shown."""

    head: str
    text: str = ""
    rows: int = _TEXT_ROWS


def render(story: SessionStory, state: MissionState, width: int, *, whole: bool) -> str:
    """Return the session as text; with `whole` nothing is cut."""
    width = max(width, _NARROWEST)
    rows = [*_heading(story, width), ""]
    is_cut = False
    for event in story.events:
        fact = _fact(event, state)
        if fact is None:
            continue
        rows += _hung(f"{_passed(story.session.since, event.ts):>6}  ", fact.head, width)
        beneath = [*wrapped(fact.text, width - _GUTTER)] if fact.text.strip() else []
        shown = beneath if whole or len(beneath) <= fact.rows + 1 else beneath[: fact.rows]
        rows += [" " * _GUTTER + row if row else "" for row in shown]
        if len(shown) < len(beneath):
            is_cut = True
            rows.append(" " * _GUTTER + f"[{len(beneath) - len(shown):,} more lines]")
    if is_cut:
        rows += ["", *wrapped("--full shows all of it, --json as it stands in the journal:", width)]
        rows.append(story.journal)
    return "\n".join(defuse.block(row) for row in rows)


def _heading(story: SessionStory, width: int) -> Iterator[str]:
    session = story.session
    about = f", item {session.item}" if session.item else ""
    yield defuse.line(f"{session.session}  {session.role}{about}: {story.title}", width)
    yield defuse.line(f"of {story.mission}, with {story.model}", width)
    cost = "" if story.usage.cost_usd is None else f", ${story.usage.cost_usd:.2f}"
    tokens = f"{story.usage.input_tokens:,} tokens in, {story.usage.output_tokens:,} out{cost}"
    turns = f"{session.turns} turn{'' if session.turns == 1 else 's'}"
    passed = _passed(session.since, session.last_activity)
    yield defuse.line(f"{session.state} after {passed}, {turns}, {tokens}", width)


def _passed(since: str, ts: str) -> str:
    seconds = int((datetime.fromisoformat(ts) - datetime.fromisoformat(since)).total_seconds())
    return f"{max(0, seconds) // 60}:{max(0, seconds) % 60:02d}"


# ---- one fact


@singledispatch
def _fact(event: ev.Fact, state: MissionState) -> _Fact | None:
    """Return what is shown of an event; what has no function of its own, as the progress lines say it."""
    text = describe(event, state)
    return _Fact(text) if text is not None else None


@_fact.register(ev.SessionStarted)
@_fact.register(ev.TurnStarted)
@_fact.register(ev.FileIntended)
@_fact.register(ev.PermissionDenied)  # the result of the call says it
def _(event: ev.Fact, state: MissionState) -> None:
    del event, state


@_fact.register
def _(event: ev.MessageSent, state: MissionState) -> _Fact:
    del state
    return _Fact(_REASONS[event.reason], event.text, _BRIEF_ROWS)


@_fact.register
def _(event: ev.TurnFinished, state: MissionState) -> _Fact:
    del state
    usage = event.usage
    took = f"{event.duration_s:.1f}s, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
    return _Fact(f"turn {event.turn}: {took}{_FINISHES.get(event.finish, '')}", event.message.text)


@_fact.register
def _(event: ev.TurnFailed, state: MissionState) -> _Fact:
    del state
    return _Fact(f"turn {event.turn} failed ({event.error})", event.text, _FAILURE_ROWS)


@_fact.register
def _(event: ev.ToolCalled, state: MissionState) -> _Fact:
    del state
    return _Fact(f"> {event.summary}")


@_fact.register
def _(event: ev.ToolFinished, state: MissionState) -> _Fact:
    del state
    size = f"{event.duration_s:.1f}s, {len(event.text):,} characters"
    rows = _RESULT_ROWS if event.ok else _FAILURE_ROWS
    return _Fact(f"< {event.tool} {'ok' if event.ok else 'failed'}, {size}", event.text, rows)


@_fact.register
def _(event: ev.FileChanged, state: MissionState) -> _Fact:
    del state
    what = "deleted" if event.after is None else "made" if event.before is None else "changed"
    return _Fact(f"{what} {event.path}{'' if event.by_tool else ', not by a tool of orch'}")


@_fact.register
def _(event: ev.EvidenceRecorded, state: MissionState) -> _Fact:
    del state
    void = ", void: the item's files changed" if event.void else ""
    return _Fact(f"evidence {event.evidence}: exit {event.exit_code}, {event.duration_s:.1f}s{void}")


@_fact.register
def _(event: ev.ReviewSubmitted, state: MissionState) -> _Fact:
    del state
    cited = f", citing {', '.join(event.evidence)}" if event.evidence else ""
    return _Fact(f"verdict: {event.verdict}{cited}")


@_fact.register
def _(event: ev.ReviewRefused, state: MissionState) -> _Fact:
    del state
    return _Fact("verdict refused", "\n".join(event.reasons))


@_fact.register
def _(event: ev.SessionIdle, state: MissionState) -> _Fact:
    del event, state
    return _Fact("stopped calling tools")


@_fact.register
def _(event: ev.SessionEnded, state: MissionState) -> _Fact:
    del state
    return _Fact(f"ended: {event.outcome}", event.reason)


@_fact.register
def _(event: ev.Compaction, state: MissionState) -> _Fact:
    return _Fact(describe(event, state) or event.type, event.text, _BRIEF_ROWS)


def _hung(mark: str, head: str, width: int) -> list[str]:
    rows = [*wrapped(" ".join(head.split()), width - _GUTTER)] or [""]
    return [mark + rows[0], *(" " * _GUTTER + row for row in rows[1:])]
