"""What tells a person who looks elsewhere that a run is over: a bell, or a notification of the desktop.

A terminal that is known to notify is asked to (OSC 9); any other gets the plain bell. The desktop is told by
a program with the texts as arguments of their own: no shell and no script ever reads them. Nothing is run
here; the texts are harmless wherever they are shown.
"""

import html
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orch.mission.events import Outcome
from orch.mission.result import Result
from orch.view import defuse
from orch.view.heartbeat import counted

BELL: Final = "\a"
TITLE_COLUMNS, TEXT_COLUMNS = 60, 160
_TERMINALS = frozenset({"iTerm.app", "WezTerm", "ghostty"})
_TERMS = ("xterm-kitty", "xterm-ghostty", "wezterm", "foot")
_MULTIPLEXERS = ("TMUX", "STY")
_PLACES = re.compile(r"\{(title|text)\}")
_SCRIPT = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "end run",
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told, in harmless words. `text` begins with no hyphen, so that it never is an option."""

    title: str
    text: str


def notice(result: Result) -> Notice | None:
    """Return what to tell of a run's end; nothing of one that a person stopped."""
    if result.subtype is Outcome.STOPPED or result.mission is None:
        return None
    counts = f"{result.todo.done} of {result.todo.total} done"
    issues = f", {counted(result.issues.open, 'open issue')}" if result.issues.open else ""
    title = defuse.line(f"orch: {result.subtype}", TITLE_COLUMNS)
    return Notice(title, defuse.line(f"{counts}{issues}: {result.goal}", TEXT_COLUMNS))


def ring(told: Notice, environment: Mapping[str, str]) -> str:
    """Return what makes the terminal call for attention; nothing over SSH, unless it is known to notify."""
    is_known = environment.get("TERM_PROGRAM") in _TERMINALS or environment.get("TERM", "").startswith(_TERMS)
    if not is_known or any(environment.get(name) for name in _MULTIPLEXERS):
        return "" if _is_remote(environment) else BELL
    return f"\x1b]9;{told.title}, {told.text}{BELL}"


def command(
    told: Notice,
    configured: Sequence[str],
    environment: Mapping[str, str],
    find: Callable[[str], str | None],
) -> tuple[str, ...]:
    """Return the program to run and its arguments; empty if there is none.

    What a person `configured` runs wherever it was configured; what the system has (`find` looks for it)
    only where its desktop is in front of the person: not over SSH.
    """
    if configured:
        words = {"title": told.title, "text": told.text}
        return tuple(_PLACES.sub(lambda place: words[place[1]], part) for part in configured)
    if _is_remote(environment):
        return ()
    if sys.platform == "darwin":
        program = find("osascript")
        script = tuple(word for line in _SCRIPT for word in ("-e", line))
        return (program, *script, told.title, told.text) if program else ()
    has_desktop = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    program = find("notify-send") if has_desktop else None
    body = html.escape(told.text, quote=False)  # a notification's body is markup (freedesktop.org)
    return (program, "--app-name=orch", "--", told.title, body) if program else ()


def _is_remote(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))
