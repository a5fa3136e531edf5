"""HTTP/1.1 responses out of bytes that arrive cut anywhere (RFC 9112). No I/O.

`ResponseReader` is fed what came and gives a `Head` and the pieces of the body, by length, by chunks, or
until the end of the connection. What breaks the rules, or is larger than the limits here, is an
`httpx.RemoteProtocolError`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

MAX_HEAD_BYTES = 64 * 1024  # of status line and fields, interim responses included; of trailers again
MAX_CHUNK_LINE_BYTES = 4 * 1024  # of a chunk's size and its extensions
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\0]*)?\r?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\0]*)\r?")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r]*)?\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and fields of a response; `minor` is the digit behind `HTTP/1.`."""

    minor: int
    status: int
    fields: Sequence[tuple[bytes, bytes]]

    @classmethod
    def parse(cls, block: bytes) -> "Head":
        """Read the lines of a head. Raises `httpx.RemoteProtocolError` for what is none."""
        first, *lines = block.split(b"\n")
        status = _STATUS_LINE.fullmatch(first)
        if status is None:
            raise httpx.RemoteProtocolError("a response without a status line of HTTP/1.1")
        fields = []
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise httpx.RemoteProtocolError("a response with a malformed header")
            fields.append((field[1], field[2].strip(b" \t")))
        return cls(int(status[1]), int(status[2]), fields)

    def elements(self, name: bytes) -> list[bytes]:
        """Return the elements of the lists under `name`, which is in lower case, as they are."""
        values = (value for key, value in self.fields if key.lower() == name)
        return [element.strip().lower() for value in values for element in value.split(b",")]

    @property
    def keep_alive(self) -> bool:
        """Whether the server means to go on after this response."""
        options = self.elements(b"connection")
        return b"close" not in options and (self.minor > 0 or b"keep-alive" in options)

    def framing(self) -> "_Plain | _Chunked":
        """Return how the end of the body is told (RFC 9112, section 6.3)."""
        if self.status in (204, 304):
            return _Plain(0)
        codings = self.elements(b"transfer-encoding")
        if codings:
            if codings != [b"chunked"]:
                raise httpx.RemoteProtocolError("a response in a transfer coding that nobody asked for")
            return _Chunked()
        lengths = set(self.elements(b"content-length"))
        if not lengths:
            return _Plain(None)
        length = lengths.pop()
        if lengths or not _LENGTH.fullmatch(length):
            raise httpx.RemoteProtocolError("a response whose length is no number")
        return _Plain(int(length))


class ResponseReader:
    """One response, from bytes cut anywhere."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []  # of the body, not taken yet
        self.began = False
        self._received = bytearray()  # of a head that has not ended yet
        self._head_bytes = 0  # of interim responses
        self._framing: _Plain | _Chunked = _Plain(None)
        self._surplus = False  # bytes came that belong to nothing

    @property
    def complete(self) -> bool:
        """Whether the body has ended."""
        return self.head is not None and self._framing.done

    @property
    def keep_alive(self) -> bool:
        """Whether the response is complete and the connection good for another one."""
        return self.head is not None and self.complete and self.head.keep_alive and not self._surplus

    def feed(self, data: bytes) -> None:
        """Take what came.

        Raises:
            httpx.RemoteProtocolError: It is no response of HTTP/1.1, or its head is too long.
        """
        self.began = True
        if self.head is None:
            data = self._take_head(data)
        if data and self.head is not None:
            self._surplus = self._framing.feed(data, self.pieces) < len(data) or self._surplus

    def end(self) -> bool:
        """Say whether the end of the connection is the end of the body."""
        if self.head is not None and isinstance(self._framing, _Plain):
            self._framing.end()
        return self.complete

    def take(self) -> bytes:
        """Return what came of the body since it was last taken."""
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        return data

    def _take_head(self, data: bytes) -> bytes:
        """Return what follows the head, if it is complete."""
        searched = max(0, len(self._received) - 3)
        self._received += data
        while self.head is None and (end := _HEAD_END.search(self._received, searched)):
            head = Head.parse(bytes(self._received[: end.start()]))
            del self._received[: end.end()]
            self._head_bytes += end.end()
            searched = 0
            if head.status == httpx.codes.SWITCHING_PROTOCOLS:
                raise httpx.RemoteProtocolError("a change of protocols that nobody asked for")
            if head.status >= httpx.codes.OK:
                self._framing = head.framing()
                self.head = head
        pending = 0 if self.head else len(self._received)
        if self._head_bytes + pending > MAX_HEAD_BYTES:
            raise httpx.RemoteProtocolError(f"a response with more than {MAX_HEAD_BYTES} bytes of headers")
        return bytes(self._received)


class _Plain:
    """A body of a known size, or up to the end of the connection where that is `None`.

    As for `_Chunked`, `feed` adds what is of the body to `pieces` and returns how many bytes it used.
    """

    def __init__(self, size_bytes: int | None) -> None:
        self._left = size_bytes
        self.done = size_bytes == 0

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        """Take as much of `data` as the body still lacks."""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            self.done = not self._left
        if data:
            pieces.append(data)
        return len(data)

    def end(self) -> None:
        """End a body that ends with the connection."""
        self.done = self.done or self._left is None


class _Chunked:
    """A body in chunks, each behind its size, and trailers that are read over (RFC 9112, section 7.1)."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # of the chunk under way
        self._line = b""  # the beginning of a line that has not ended yet
        self._on_line = self._take_size
        self._trailer_bytes = 0

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        """Take `data` up to the end of the body."""
        position, end = 0, len(data)
        while position < end and not self.done:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                position += len(piece)
            else:
                line_end = data.find(b"\n", position) + 1 or end
                self._take(data[position:line_end])
                position = line_end
        return position

    def _take(self, part: bytes) -> None:
        line = self._line + part
        if len(line) > MAX_CHUNK_LINE_BYTES:
            raise httpx.RemoteProtocolError("a chunk without an end to its first line")
        ended = line.endswith(b"\n")
        self._line = b"" if ended else line
        if ended:
            self._on_line(line)

    def _take_size(self, line: bytes) -> None:
        size = _CHUNK_LINE.fullmatch(line)
        if size is None:
            raise httpx.RemoteProtocolError("a chunk without a size")
        self._left = int(size[1], 16)
        self._on_line = self._take_end if self._left else self._take_trailer

    def _take_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise httpx.RemoteProtocolError("a chunk that is longer than its size")
        self._on_line = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        self.done = line == b"\r\n"
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_HEAD_BYTES:
            raise httpx.RemoteProtocolError(f"a response with more than {MAX_HEAD_BYTES} bytes of trailers")
