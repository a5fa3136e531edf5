"""A run as its caller sees it: whatever happens, it ends with one result, and with the exit code in it.

An error that keeps the run from starting becomes a result too, and so does a bug of orch. What only shows how
a run ended may break without changing it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orch import config
from orch.commands import ci, crash, exit_codes
from orch.commands.screen import Form, Screen, closing
from orch.errors import OrchError
from orch.mission.events import Outcome
from orch.mission.result import Result, nothing_started
from orch.mission.state import MissionState
from orch.mission.transcript import clean
from orch.runtime import shutdown


@dataclass(slots=True)
class Goes:
    """What is known of a run: its goal, for the result of one that cannot start; then its mission."""

    goal: str = ""
    state: MissionState = field(default_factory=MissionState)


Run = Callable[[Screen, Goes], Result]
"""Does what was asked for, and says how it goes."""


def carry_out(form: Form, workspace: Path, run: Run) -> int:
    """Do `run`, show its result, whatever it is, and return the exit code."""
    goes = Goes()
    with Screen(form) as screen, shutdown.raised():
        result = _come_to(form, run, screen, goes)
        state = goes.state if result.mission is not None else MissionState()
        _show(form, workspace, screen, state, result)
    return result.exit_code


def _come_to(form: Form, run: Run, screen: Screen, goes: Goes) -> Result:
    """Do `run` and return its result, or that of what kept it from having one."""
    try:
        form.check()
        return run(screen, goes)
    except OrchError as error:
        code, subtype = exit_codes.ending(error)
        screen.complain(str(error))
        return nothing_started(goes.goal, Outcome(subtype), code, clean(str(error)))
    except KeyboardInterrupt as signal:
        return nothing_started(goes.goal, Outcome.STOPPED, exit_codes.cut_short(signal), "interrupted")
    except Exception as bug:  # noqa: BLE001 - the boundary of a command that owes its caller a result
        text = crash.told(bug)
        screen.complain(text)
        return nothing_started(goes.goal, Outcome.ERROR, exit_codes.BUG, clean(text))


def _show(form: Form, workspace: Path, screen: Screen, state: MissionState, result: Result) -> None:
    """Show the result, once; what breaks beside it or after it changes nothing any more."""
    environment = config.environment()
    words: tuple[str, ...] = ()
    with crash.contained(screen.complain):
        if form.junit is not None:
            ci.write_junit(form.junit, state, result, screen.complain)
    with crash.contained(screen.complain):
        ci.append_summary(environment, state, result, screen.complain)
    with crash.contained(screen.complain):
        words = closing(result, workspace) if result.mission is not None else ()
    _tell(screen, result, words)
    with crash.contained(screen.complain):
        screen.annotate(ci.annotations(environment, state, result, workspace))


def _tell(screen: Screen, result: Result, words: tuple[str, ...]) -> None:
    try:
        screen.end(result, words)
    except (Exception, KeyboardInterrupt) as error:
        if not screen.is_told:
            raise
        if isinstance(error, Exception):
            screen.complain(crash.told(error))
