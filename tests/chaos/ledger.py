"""The scripted endpoint with books: who asked what, was it answered to the last byte, what had it been told.

It lives in the harness, so it survives every kill of orch. Each answer has a number, which stands in its text
and in its commands, and so in the journal; a request is known by the answer that it goes on from.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos.story import NUMBER
from tests.endpoint import Connection, Endpoint, Entry, Script, Server, Step, Turn

PACE_S = 0.002
"""Between two parts of an answer that comes in parts."""
SETTLE_LIMIT_S = 60.0
LOOK_S = 0.002
_ANSWER = re.compile(r"\[n(\d+)\]")

Key = tuple[str, str]
"""What tells a call: ("answer", the answer before it), or ("brief", the hash of what opened its session)."""


@dataclass
class Note:
    """One request."""

    number: int
    key: Key
    history: tuple[int, ...]
    results: tuple[str, ...]
    is_faulty: bool = False  # the endpoint itself spoilt the answer
    is_cut: bool = False  # whoever asked went away before the last byte
    is_delivered: bool = False
    entry: Entry | None = field(default=None, repr=False)


def key_of(brief: str, history: tuple[int, ...]) -> Key:
    """Return the key of the call that goes on from `history`."""
    if history:
        return ("answer", str(history[-1]))
    return ("brief", hashlib.sha256(brief.encode()).hexdigest())


def numbers_in(text: str | None) -> tuple[int, ...]:
    """Return the numbers of the answers that a text holds."""
    return tuple(int(found) for found in _ANSWER.findall(text or ""))


class Books(Server):
    """Notes every request and numbers every answer."""

    def __init__(self, script: Script) -> None:
        super().__init__(self._numbered)
        self.notes: list[Note] = []
        self.open = 0
        self.is_mute = False
        self._inner = script
        self._numbers = itertools.count(1)

    def turn(self, request: Mapping[str, Any], entry: Entry) -> Turn:
        """Note what is asked."""
        turn = super().turn(request, entry)
        said = [m for m in turn.messages if m["role"] == "assistant"]
        history = tuple(number for message in said for number in numbers_in(message.get("content")))
        results = tuple(m["tool_call_id"] for m in turn.messages if m["role"] == "tool")
        note = Note(next(self._numbers), key_of(turn.first_user, history), history, results, entry=entry)
        self.notes.append(note)
        return turn

    def ended(self, entry: Entry) -> None:
        """Note that an answer was sent to its last byte."""
        super().ended(entry)
        for note in reversed(self.notes):
            if note.entry is entry:
                note.is_delivered = not (note.is_faulty or note.is_cut)
                break

    def lost(self, entry: Entry) -> None:
        """Note that whoever asked went away before the last byte."""
        for note in reversed(self.notes):
            if note.entry is entry:
                note.is_cut = True
                break

    def _numbered(self, turn: Turn) -> Step:
        note = self.notes[-1]
        step = self._inner(turn)
        note.is_faulty = step.fault is not None
        number = str(note.number)
        calls = [(name, _filled(arguments, number)) for name, arguments in step.tool_calls]
        delay_s = 3600.0 if self.is_mute else step.delay_s
        return replace(step, text=step.text.replace(NUMBER, number), tool_calls=calls, delay_s=delay_s)


def _filled(arguments: Mapping[str, Any] | str, number: str) -> Mapping[str, Any]:
    assert not isinstance(arguments, str)
    return {k: v.replace(NUMBER, number) if isinstance(v, str) else v for k, v in arguments.items()}


class _Wire(Connection):
    """A connection whose answers come in parts, with a pause between them."""

    def __init__(self, books: Books) -> None:
        super().__init__(books)
        self._books = books
        books.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Note what was cut off."""
        if self._entry is not None:
            self._books.lost(self._entry)
        super().connection_lost(exc)
        self._books.open -= 1

    def _write(self, chunks: list[bytes], step: Step) -> None:
        if chunks and step.fault is None and self._transport is not None:
            self._transport.write(chunks[0])
            self._timer = self._loop.call_later(PACE_S, self._write, chunks[1:], step)
        else:
            super()._write(chunks, step)


class Ledger(Endpoint):
    """The endpoint, for the length of a `with`."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.books = self._server = Books(script)

    def _connection(self) -> Connection:
        connection = _Wire(self.books)
        self._transports.append(connection)
        return connection

    @property
    def notes(self) -> list[Note]:
        """Every request so far."""
        return self.books.notes

    def mute(self, *, on: bool) -> None:
        """Take requests and answer none of them, or answer again those that come from now on."""
        self.books.is_mute = on

    def settle(self) -> None:
        """Wait until all that a killed program had sent is read, and its connections are gone."""
        until(lambda: self.books.open == 0, "connections to the endpoint outlive the program")


def until(is_so: Callable[[], bool], otherwise: str, *, pause_s: float = LOOK_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + SETTLE_LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(pause_s)
