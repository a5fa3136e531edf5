"""What the wires share: bodies written once, events read however they are cut, an answer that adds up.

Theory of operation. Nothing here does I/O. A `RequestBody` keeps the bytes of every message it has sent, so
that a turn costs what is new. `EventReader` turns chunks of bytes into the data of server-sent events,
wherever the network cut them. An `Answer` adds up the events of one turn and says nothing until asked. What
is no event stream or no event raises `BadStream`; everything a model can get wrong inside a well-formed
stream is put right here or in `orch.models.calls`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json

from orch.config import ModelFacts
from orch.errors import BadStream
from orch.mission.degeneration import LEAST_CHARS, WINDOW_CHARS, degeneration
from orch.mission.events import FinishReason, Usage
from orch.mission.transcript import AssistantMessage, ToolMessage, UserMessage, clean
from orch.models.calls import MAX_ARGUMENTS_CHARS, MAX_KEPT_CALLS, RawCall, tidy

MAX_LINE_BYTES = 10 * 1024 * 1024  # no event of any server comes near; more is no stream
MAX_TEXT_CHARS = 1_000_000  # of an answer; what comes after is dropped
KEPT_CHARS = 1_000  # of a text that came apart: what stands behind its beginning would only mislead
CHARS_PER_TOKEN = 4  # the rule of thumb for a usage that the endpoint did not report
MAX_COUNT = 10**12  # of tokens; a larger number was not counted by anybody
CACHE_WRITE_SURCHARGE = 0.25  # on the input price, for tokens written to a cache of five minutes (Anthropic)
_OTHER_FIELDS = (b":", b"event", b"id", b"retry")

AnyMessage = UserMessage | AssistantMessage | ToolMessage


class RequestBody(ABC):
    """The JSON of one session's requests, of which only what is new is written at each turn.

    A message is known by its identity: a history that was compacted or repaired holds other objects from
    the first change on, and from there on is written anew.
    """

    def __init__(self) -> None:
        self._messages: list[AnyMessage] = []
        self._pieces: list[bytes] = []  # one for each message, so that one join makes the body
        self.call_ids: set[str] = set()  # of every message written
        self.size_bytes = 0  # of the body built last

    @abstractmethod
    def _write(self, message: AnyMessage) -> bytes:
        """Return the bytes of a message that stands behind those written."""

    def _cut(self, length: int) -> None:
        """Forget all but the first `length` messages."""
        del self._messages[length:], self._pieces[length:]
        self.call_ids = {call_id for message in self._messages for call_id in _ids(message)}

    def _write_messages(self, messages: Sequence[AnyMessage]) -> None:
        same = 0
        for known, message in zip(self._messages, messages, strict=False):
            if known is not message:
                break
            same += 1
        if same < len(self._messages):
            self._cut(same)
        for message in messages[same:]:
            self._pieces.append(self._write(message))
            self._messages.append(message)
            self.call_ids.update(_ids(message))

    def _joined(self, *parts: bytes) -> bytes:
        body = b"".join(parts)
        self.size_bytes = len(body)
        return body


def _ids(message: AnyMessage) -> Sequence[str]:
    return [call.id for call in message.tool_calls] if isinstance(message, AssistantMessage) else ()


class EventReader:
    """The data of server-sent events, from chunks cut anywhere (WHATWG HTML, section 9.2.6).

    Lines may end in LF, CR or CRLF; comments and other fields are read over; several data lines make one
    event. Unlike a browser it also takes an event that the end of the stream cut off from its empty line.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of a line that has not ended yet
        self._data: list[bytes] = []  # data lines of an event that has not ended yet
        self._size_bytes = 0
        self._started = False
        self._after_cr = False
        self.strayed = False  # lines came that no event stream has

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that `chunk` completes.

        Raises:
            BadStream: An event grows beyond every measure.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_plain_newlines(chunk)
        self._size_bytes += len(chunk)
        self._line.append(chunk)
        events: list[bytes] = []
        if b"\n" in chunk:
            *lines, rest = b"".join(self._line).split(b"\n")
            self._line = [rest]
            events = self._take(lines)
            self._size_bytes = len(rest) + sum(map(len, self._data))
        if self._size_bytes > MAX_LINE_BYTES:
            raise BadStream(f"an event of more than {MAX_LINE_BYTES // 1024**2} MB")
        return events

    def end(self) -> list[bytes]:
        """Return the event that the end of the stream completes, if any."""
        return self._take([b"".join(self._line), b""])

    def _with_plain_newlines(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        elif not chunk:
            return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events = []
        if not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
            elif line and not line.startswith(_OTHER_FIELDS):
                self.strayed = True
        return events


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens as an endpoint counted them: `cached` and `written` (to its cache) are part of `input`."""

    input: int
    output: int
    cached: int = 0
    written: int = 0


class Coherence:
    """Whether what streams in still says something: `defect` is what is wrong with it, `chars` its length.

    A piece costs next to nothing; only every `LEAST_CHARS` characters the newest are judged.
    """

    def __init__(self) -> None:
        self.chars = 0
        self.defect: str | None = None
        self._newest: list[str] = []
        self._judged_chars = 0

    def hear(self, piece: str) -> None:
        """Take note of a piece of the text."""
        self.chars += len(piece)
        self._newest.append(piece)
        if self.chars - self._judged_chars >= LEAST_CHARS and self.defect is None:
            newest = "".join(self._newest)[-WINDOW_CHARS:]
            self._judged_chars = self.chars
            self._newest = [newest]
            self.defect = degeneration(newest)


class Answer(ABC):
    """One turn of a model, added up from its events; a complete answer is one event.

    Of more than `MAX_KEPT_CALLS` tool calls the first are kept and the text says how many were dropped. An
    answer that was refused has no calls, nor has one that came apart, whose end is worth nothing.
    """

    def __init__(self) -> None:
        self.done = False  # the end mark was seen
        self.finish: str | None = None
        self.events = 0  # that were more than a sign of life
        self._text: list[str] = []
        self._text_chars = 0
        self._said = Coherence()
        self._thought = Coherence()
        self._blank_chars = 0  # at the end of the arguments so far
        self._calls: list[RawCall] = []
        self._dropped = 0

    @property
    def complete(self) -> bool:
        """Whether the model has ended its turn, or has to be ended; usage may still come."""
        return self.done or self.finish is not None or self.defect is not None

    @property
    def defect(self) -> str | None:
        """How the answer came apart; `None` if it did not. What arguments say is judged by nobody."""
        if self._blank_chars > WINDOW_CHARS:
            return "a call's arguments are nothing but blanks"
        return self._said.defect or self._thought.defect

    @abstractmethod
    def feed(self, data: bytes) -> object:
        """Add the data of one event; return the error object if that is what came, else `None`.

        Raises:
            BadStream: The data is no event of this wire.
        """

    def reason(self) -> FinishReason:
        """Return why the turn ended, in agreement with what came."""
        return FinishReason.DEGENERATE if self.defect is not None else self._reason()

    @abstractmethod
    def _reason(self) -> FinishReason:
        """Return why the model ended its turn."""

    @abstractmethod
    def _counts(self) -> Counts | None:
        """Return what the endpoint counted, `None` if it did not say."""

    def message(self, taken: AbstractSet[str], history_messages: int) -> AssistantMessage:
        """Return the turn, cleaned; `taken` are the call ids of the history."""
        reason = self.reason()
        text = clean("".join(self._text))[:MAX_TEXT_CHARS]
        if reason is FinishReason.DEGENERATE:
            return AssistantMessage(text=f"{text[:KEPT_CHARS]}\n[cut here: {self.defect}]".lstrip())
        if reason is FinishReason.REFUSED:
            return AssistantMessage(text=text)
        calls = tidy(self._calls, taken, history_messages, cut=reason is FinishReason.LENGTH)
        if self._dropped:
            note = f"[{self._dropped} more tool calls were dropped: at most {MAX_KEPT_CALLS} in one turn]"
            text = f"{text}\n{note}".lstrip()
        return AssistantMessage(text=text, tool_calls=calls)

    def usage(self, request_bytes: int, facts: ModelFacts) -> Usage:
        """Return what the endpoint counted, else an estimate from the sizes of request and answer.

        What was cut off is counted by its size, where the endpoint had not come to count it.
        """
        counts = self._counts()
        sent = self._text_chars + sum(call.size_chars for call in self._calls)
        if counts is None:
            counts = Counts(request_bytes // CHARS_PER_TOKEN, sent // CHARS_PER_TOKEN)
        if self.defect is not None:
            sent += self._thought.chars
            counts = replace(counts, output=max(counts.output, sent // CHARS_PER_TOKEN))
        return Usage(
            input_tokens=counts.input,
            output_tokens=counts.output,
            cached_tokens=counts.cached,
            cost_usd=cost_usd(counts, facts),
        )

    def _add_text(self, text: str) -> None:
        if self._text_chars < MAX_TEXT_CHARS:
            self._text.append(text)
        self._text_chars += len(text)
        self._said.hear(text)

    def _add_arguments(self, call: RawCall, piece: str) -> None:
        call.add(piece)
        self._blank_chars = self._blank_chars + len(piece) if piece.isspace() else 0

    def _add_call(self, call: RawCall) -> None:
        if len(self._calls) < MAX_KEPT_CALLS:
            self._calls.append(call)
        else:
            call.size_chars = MAX_ARGUMENTS_CHARS + 1  # so that it keeps nothing
            self._dropped += 1


def parsed(data: bytes) -> Mapping[str, Any]:
    """Return the JSON object that an event carries.

    Raises:
        BadStream: It carries something else.
    """
    try:
        try:
            event = from_json(data)
        except ValueError:  # lone surrogates are JSON to the standard library alone
            event = json.loads(data)
    except (ValueError, RecursionError):
        raise BadStream("an event that is no JSON") from None
    if not isinstance(event, dict):
        raise BadStream("an event that is no JSON object")
    return event


def text_of(value: object) -> str:
    """Return `value` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def table_of(value: object) -> Mapping[str, Any]:
    """Return `value` if it is an object of JSON, else an empty one."""
    return value if isinstance(value, dict) else {}


def count_of(value: object) -> int:
    """Return `value` if it is a number that counts something, else 0."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MAX_COUNT else 0


def cost_usd(counts: Counts, facts: ModelFacts) -> float | None:
    """Return what the tokens cost, `None` where a price is unknown."""
    if facts.input_usd_per_mtok is None or facts.output_usd_per_mtok is None:
        return None
    cached_price = facts.cached_usd_per_mtok
    cached_price = facts.input_usd_per_mtok if cached_price is None else cached_price
    fresh_usd = (counts.input - counts.cached) * facts.input_usd_per_mtok
    surcharge_usd = counts.written * facts.input_usd_per_mtok * CACHE_WRITE_SURCHARGE
    read_usd = counts.cached * cached_price
    return (fresh_usd + surcharge_usd + read_usd + counts.output * facts.output_usd_per_mtok) / 1e6
