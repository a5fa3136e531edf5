"""`orch status --watch`: a mission as it goes on, from another terminal or after the fact.

On a terminal it is the live frame, which stays until `q`; elsewhere it is plain lines, which end with the
mission. It shows the mission that it began with, also when another one starts. It never touches the mission,
but for `s`, which stops it as `orch stop` does, once that was confirmed.
"""

import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from orch import config
from orch.commands import stop
from orch.commands.screen import STDIN, STDOUT, STOPPED_LIMIT_S, columns_of, console, is_ascii
from orch.errors import OrchError, Terminated
from orch.mission import events as ev
from orch.mission.status import Liveness, MissionEntry
from orch.runtime import halt, shutdown, survey
from orch.store.folder import Folder
from orch.view import defuse, live
from orch.view.heartbeat import counted
from orch.view.keys import Keys, Question
from orch.view.lines import Lines
from orch.view.outlet import Outlet

LOOK_S: Final = 0.25
"""Between two looks at the journal."""
PROBE_S: Final = 1.0
"""Between two looks at the lock."""
GONE: Final = 2
"""Nobody held the lock so often in a row: nobody runs the mission. Once may be between two holders."""
_LONGEST_COMMAND: Final = 10_000
_LEAVE = "q leaves the watch"


def watch(folder: Folder, mission: str | None) -> None:
    """Watch the named mission, or the running one, else the latest; without any, wait for one to start.

    Raises:
        OrchError: No such mission, or a journal that cannot be read.
    """
    out = Outlet(STDOUT)
    with shutdown.raised():
        try:
            _watch(folder, mission, out)
        except Terminated:
            raise
        except KeyboardInterrupt:  # Ctrl-C is one way to leave
            pass
        finally:
            out.finish(STOPPED_LIMIT_S)


def _watch(folder: Folder, mission: str | None, out: Outlet) -> None:
    with ExitStack() as stack:
        if not live.suits(STDOUT, config.environment()):
            keys = None
            stack.enter_context(live.stoppable(out))
        else:
            keys = stack.enter_context(Keys(STDIN))
            stack.enter_context(live.stoppable(out, keys.give_back))
        found = _found(folder, mission, out, keys)
        if found is None:
            return
        watched = _Watched(survey.Follower(folder, found), out)
        if keys is None:
            watched.print_all()
        else:
            _Sight(watched, folder, keys).show()


def _found(folder: Folder, mission: str | None, out: Outlet, keys: Keys | None) -> ev.MissionId | None:
    """Return the mission to show; on a terminal the first one is waited for, until the person leaves."""
    entries = survey.missions(folder, mission, every=False).missions
    if not entries:
        out.write("orch: no mission here yet" + (f": waiting for one; {_LEAVE}\n" if keys else "\n"))
    while not entries:
        if keys is None or keys.wait(PROBE_S) == "q":
            return None
        entries = survey.missions(folder, mission, every=False).missions
    return entries[0].mission


class _Watched:
    """A mission whose journal is read as it grows, and printed as lines."""

    def __init__(self, follower: survey.Follower, out: Outlet) -> None:
        self.follower = follower
        self.out = out
        self.lines = Lines(console(out), partial(columns_of, out))
        self.lines.take_up(follower.catch_up())
        self._probed_s = time.monotonic()
        self._missing = 0 if follower.holder is not None else GONE

    @property
    def is_alive(self) -> bool:
        """Whether somebody runs the mission."""
        return self._missing < GONE

    def look(self) -> tuple[ev.Event, ...]:
        """Look at the journal, and now and then at the lock; print what is new, and return it."""
        now_s = time.monotonic()
        if now_s - self._probed_s >= PROBE_S:
            self._probed_s = now_s
            self._missing = 0 if self.follower.holder is not None else self._missing + 1
        events = self.follower.advance()
        for event in events:
            self.lines.show(event, self.follower.state)
        return events

    def say(self, text: str) -> None:
        """Print a line of orch's own."""
        self.lines.say(f"orch: {defuse.line(text, _LONGEST_COMMAND)}")

    def conclude(self) -> None:
        """Say how the mission stands, and what goes on with it."""
        entry = self.follower.entry()
        self.say(_standing(entry))
        if entry.next:
            self.say(f"go on with: {entry.next}")

    def print_all(self) -> None:
        """Print lines until nobody runs the mission any more, or nobody reads them."""
        if self.is_alive:
            self.say(_standing(self.follower.entry()))
        while self.is_alive and self.out.refusal is None:
            self.lines.beat()
            time.sleep(LOOK_S)
            self.look()
        self.conclude()
        self.out.finish()


def _standing(entry: MissionEntry) -> str:
    done = f"{entry.todo.done}/{entry.todo.total} done, {counted(entry.issues.open, 'issue')} open"
    status = "is still running" if entry.status == Liveness.RUNNING else entry.status
    return f"{entry.mission} {status}: {done}"


class _Sight:
    """The frame of a watched mission, and its keys."""

    def __init__(self, watched: _Watched, folder: Folder, keys: Keys) -> None:
        self._watched = watched
        self._folder = folder
        self._keys = keys
        self._picture = live.Picture(is_ascii=is_ascii())
        self._picture.show_state(watched.follower.state)
        self._question: Question | None = None
        self._halt: threading.Thread | None = None

    def show(self) -> None:
        """Show the mission until the person leaves."""
        out = self._watched.out
        self._tell()
        out.stand_on(live.Pane(console(out), STDOUT, self._picture.rows))
        try:
            self._until_left()
        except Terminated:
            raise
        except KeyboardInterrupt:  # Ctrl-C is one way to leave
            pass
        finally:
            out.finish(STOPPED_LIMIT_S)
        self._watched.conclude()

    def _until_left(self) -> None:
        key = ""
        while key not in ("q", "Q") and self._watched.out.refusal is None:
            for event in self._watched.look():
                self._picture.show(event, self._watched.follower.state)
            self._press(key)
            self._tell()
            key = self._keys.wait(LOOK_S)

    def _tell(self) -> None:
        """Have the frame say whether the mission lives, and what a key does now."""
        self._picture.is_alive = self._watched.is_alive
        self._picture.hint = self._hint(is_alive=self._watched.is_alive)

    def _hint(self, *, is_alive: bool) -> str:
        if not self._keys.is_open:
            return "Ctrl-C leaves the watch"
        if self._question is not None:
            return "stop the mission? y/n"
        if self._halt is not None:
            return f"stopping the mission; {_LEAVE}"
        return f"{_LEAVE}, s stops the mission" if is_alive else _LEAVE

    def _press(self, key: str) -> None:
        """Do what a key asks for, but for leaving."""
        now_s = time.monotonic()
        if self._question is not None:
            answer = self._question.answer(key, now_s)
            if answer is not None:
                self._question = None
            if answer:
                self._halt = threading.Thread(target=self._stop, name="stop", daemon=True)
                self._halt.start()
        elif key in ("s", "S") and self._watched.is_alive and self._halt is None:
            self._question = Question(now_s)

    def _stop(self) -> None:
        """Stop the mission, and say how that went."""
        try:
            halted = halt.halt(self._folder, self._watched.follower.state.mission, now=False)
            self._watched.say(stop.words(halted))
        except OrchError as error:
            self._watched.say(str(error))
        self._halt = None
