"""What GitHub Actions is told of a run: annotations in the log, and the summary of the step.

An annotation is a workflow command (`::error file=…::…`), which the runner reads from either stream; the
caller writes them as they are. The summary is markdown that the caller appends to `$GITHUB_STEP_SUMMARY`.
Nothing from outside can become a command, an element, a link, an image or a mention: every character that
means something is written as an entity.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from orch.mission.result import Result
from orch.mission.state import Item, ItemStatus, MissionState, open_issues
from orch.view import defuse

MOST_ANNOTATIONS = 10
"""Of one kind, GitHub shows so many of a step."""
SUMMARY_BYTES = 1024 * 1024
"""GitHub shows no summary that is longer."""
_MESSAGE_CHARS = 2000
_CELL_COLUMNS = 300
_TELLING = "\\`*_{}[]<>()#+!|~@:&$\"'=^/-"
_LOST = frozenset({ItemStatus.FAILED, ItemStatus.BLOCKED})
_NOTHING_WIDE = "&#8203;"
_TOO_LONG = "\n\nThe rest did not fit: `orch status` shows it.\n"


@dataclass(frozen=True, slots=True)
class _Fault:
    """One thing that keeps a run from its seal, and where in the workspace it is."""

    title: str
    text: str
    path: str = ""


# ---- annotations


def annotations(state: MissionState, result: Result, folder: PurePosixPath) -> list[str]:
    """Return the lines for the log, none for a run that did what it was for.

    `folder` is where the workspace lies in the repository: a path is shown if it is relative to that.
    """
    if not result.is_error:
        return []
    faults = list(_faults(state)) or [_Fault(f"orch: {result.subtype}", _verdict(result))]
    shown = faults if len(faults) <= MOST_ANNOTATIONS else faults[: MOST_ANNOTATIONS - 1]
    lines = [_command(fault, folder) for fault in shown]
    if len(shown) < len(faults):
        rest = f"{len(faults) - len(shown)} more are in the summary of this step, and in `orch status`"
        lines.append(_command(_Fault(f"orch: {result.subtype}", rest), folder))
    return lines


def _faults(state: MissionState) -> Iterator[_Fault]:
    issues = open_issues(state)
    for issue in issues:
        owner = f" on {issue.item}" if issue.item else ""
        yield _Fault(f"issue {issue.id}{owner}", issue.text, issue.path or "")
    known = {issue.item for issue in issues}
    for item in state.items.values():
        if item.status in _LOST and item.spec.id not in known:
            yield _Fault(f"item {item.spec.id} is {item.status}", item.reason, _first(item))
    told = {issue.command for issue in issues}
    for proof in state.verified:
        if proof.exit_code and proof.command not in told:
            yield _Fault(f"verification: exit {proof.exit_code}", f"{proof.command}\n{_tail(proof.output)}")


def _first(item: Item) -> str:
    return next(iter(item.spec.files), "")


def _tail(output: str) -> str:
    return output[-_MESSAGE_CHARS // 2 :]


def _verdict(result: Result) -> str:
    told = result.result.strip() or "; ".join(blocker.text for blocker in result.blockers)
    return f"exit {result.exit_code}: {told.partition(chr(10))[0]}"


def _command(fault: _Fault, folder: PurePosixPath) -> str:
    path = defuse.line(str(folder / fault.path), _MESSAGE_CHARS) if fault.path else ""
    place = f"file={_property(path)}," if path else ""
    text = defuse.block(fault.text[:_MESSAGE_CHARS]).strip() or fault.title
    return f"::error {place}title={_property(defuse.line(fault.title))}::{_data(text)}"


def _data(text: str) -> str:
    """Escape as the runner unescapes (actions/runner, ActionCommand)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# ---- the summary


def summary(state: MissionState, result: Result, room_bytes: int = SUMMARY_BYTES) -> str:
    """Return the markdown of a run that is over, in at most `room_bytes`."""
    parts = (_head(result), _items(state), _verification(result), _issues(state), _cost(result))
    return _fitted("\n\n".join(part for part in parts if part) + "\n", room_bytes)


def _head(result: Result) -> str:
    todo, issues = result.todo, result.issues
    facts = f"{todo.done} of {todo.total} items done, {issues.open} issues open, {result.duration_s:.0f} s"
    lines = [f"## orch: {result.subtype} (exit {result.exit_code})", "", _text(result.goal), "", facts]
    if result.result:
        lines += ["", *(f"> {_text(line)}  " for line in result.result.splitlines()[:40])]
    if result.next:
        lines += ["", f"Go on with {_code(result.next, 10_000)}"]
    return "\n".join(lines)


def _items(state: MissionState) -> str:
    rows = [(_text(i.spec.id), _text(i.spec.title), i.status, _text(i.reason)) for i in state.items.values()]
    return _table("Items", ("item", "title", "status", "why"), rows)


def _verification(result: Result) -> str:
    rows = [(_code(v.command), str(v.exit_code), f"{v.duration_s:.1f}") for v in result.verification]
    return _table("Verification", ("command", "exit", "seconds"), rows)


def _issues(state: MissionState) -> str:
    rows = [
        (_text(i.id), _text(i.item or ""), _code(i.path) if i.path else "", _text(i.text))
        for i in open_issues(state)
    ]
    return _table("Open issues", ("issue", "item", "file", "text"), rows)


def _cost(result: Result) -> str:
    usage = {**result.usage.by_role, "all": result.usage} if result.usage.by_role else {}
    rows = [
        (
            _text(name),
            f"{used.input_tokens:,}",
            f"{used.output_tokens:,}",
            "" if used.cost_usd is None else f"${used.cost_usd:.2f}",
        )
        for name, used in usage.items()
    ]
    return _table("Cost", ("role", "tokens in", "out", "cost"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join((f"### {title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines))


def _code(text: str, longest: int = _CELL_COLUMNS) -> str:
    return f"<code>{_text(text, longest)}</code>"


def _text(text: str, longest: int = _CELL_COLUMNS) -> str:
    """Return one line that markdown shows as it is; nothing wide parts what GitHub would link by its look."""
    escaped = "".join(f"&#{ord(c)};" if c in _TELLING else c for c in defuse.line(text, longest))
    for mark in ("&#64;", "&#35;", "&#58;", "www."):
        escaped = escaped.replace(mark, f"{mark}{_NOTHING_WIDE}")
    return escaped


def _fitted(text: str, room_bytes: int) -> str:
    """Cut at the end of a line, and say so."""
    data = text.encode()
    if len(data) <= room_bytes:
        return text
    room = room_bytes - len(_TOO_LONG.encode())
    return data[: max(0, room)].rpartition(b"\n")[0].decode() + _TOO_LONG if room > 0 else ""
