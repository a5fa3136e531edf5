"""HTTP/1.1 over a connection of a session's own, behind httpx's interface.

Theory of operation. The requests of one session follow one another, so a pool has nothing to do: a
`DirectTransport` keeps the connection of the last request for the next one. `ResponseReader` turns bytes,
cut anywhere, into a head and the pieces of a body (RFC 9112) and does no I/O; `_Connection` feeds it from
the event loop and wakes the one task that waits. What arrived between two reads is one chunk, and when too
much is unread the connection is not read either. Only connecting has a limit of its own: the caller watches
the rest, and cancelling it closes the connection.

Failures are httpx's exceptions. `StaleConnection` is the one that costs nothing: ask again.
"""

import asyncio
import re
import ssl
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast

import httpx

CONNECT_LIMIT_S = 10.0
KEEPALIVE_S = 60.0  # most tools finish sooner; a connection that died meanwhile is replaced
EYEBALLS_DELAY_S = 0.25  # from one address to the next (RFC 8305, section 8)
MAX_HEAD_BYTES = 64 * 1024  # of status line and fields, interim responses included; of trailers again
MAX_CHUNK_LINE_BYTES = 4 * 1024  # of a chunk's size and its extensions
MAX_UNREAD_BYTES = 256 * 1024  # of a body, then the server has to wait
MAX_JOINED_BYTES = 64 * 1024  # of a body that is copied behind its head; a larger one is written after it

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\0]*)?\r?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\0]*)\r?")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r]*)?\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection turned out to be closed before a byte of the response came."""


def transport_for(base_url: str, tls: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """Return the way to an endpoint: a connection of its own, or httpx's where there may be a proxy.

    The environment speaks of proxies as httpx reads it; they are for the world outside this machine.
    """
    url = httpx.URL(base_url)
    proxies = urllib.request.getproxies()
    if url.host in _LOOPBACK or not (proxies.get(url.scheme) or proxies.get("all")):
        return DirectTransport(tls)
    return _HttpxTransport(tls)


class DirectTransport(httpx.AsyncBaseTransport):
    """The connection of one session; `tls` serves for `https` and has to offer `http/1.1` alone.

    A request while another is under way gets a connection of its own; one of the two is kept.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._open: set[_Connection] = set()
        self._kept: _Connection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return its response as soon as the head is there.

        Raises:
            StaleConnection: On a kept connection, before a byte came back.
            httpx.TransportError: Any other failure; see the subclasses.
        """
        head, body = _head_of(request), await request.aread()
        connection = self._take_kept(request.url) or await self._connect(request.url)
        try:
            response = await connection.exchange(head, body)
        except BaseException:
            self._drop(connection)
            raise
        stream = _Body(connection, self._give_back)
        return httpx.Response(response.status, headers=response.fields, stream=stream)

    async def aclose(self) -> None:
        """Close every connection. May be called more than once."""
        for connection in tuple(self._open):
            self._drop(connection)
        await asyncio.sleep(0)  # the loop closes sockets in its next round

    def _take_kept(self, url: httpx.URL) -> "_Connection | None":
        connection, self._kept = self._kept, None
        if connection is None or connection.is_ready_for(_origin(url)):
            return connection
        self._drop(connection)
        return None

    async def _connect(self, url: httpx.URL) -> "_Connection":
        secure, host, port = _origin(url)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection((secure, host, port)),
                    host,
                    port,
                    ssl=self._tls if secure else None,
                    server_hostname=host if secure else None,
                    happy_eyeballs_delay=None if host in _LOOPBACK else EYEBALLS_DELAY_S,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {CONNECT_LIMIT_S:g} s") from None
        except (OSError, UnicodeError) as error:  # the latter for names that cannot be looked up
            raise httpx.ConnectError(str(error)) from error
        self._open.add(connection)
        return connection

    def _give_back(self, connection: "_Connection") -> None:
        if self._kept is None and connection in self._open and connection.rest():
            self._kept = connection
        else:
            self._drop(connection)

    def _drop(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if self._kept is connection:
            self._kept = None
        connection.abort()


class _HttpxTransport(httpx.AsyncBaseTransport):
    """httpx's own connections, through the proxy that the environment names for an address, if any."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._client = httpx.AsyncClient(
            verify=tls,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S),
            timeout=httpx.Timeout(None, connect=CONNECT_LIMIT_S),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return its response as soon as the head is there."""
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close every connection. May be called more than once."""
        await self._client.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response; at its end, or when closed, the connection is given back."""

    def __init__(self, connection: "_Connection", give_back: "Callable[[_Connection], None]") -> None:
        self._connection = connection
        self._give_back = give_back
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._closed:
            data = await self._connection.read()
            if data:
                return data
            await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give the connection back; it is closed unless the response was complete."""
        if not self._closed:
            self._closed = True
            self._give_back(self._connection)


class _Connection(asyncio.Protocol):
    """One connection, for one exchange at a time."""

    def __init__(self, origin: tuple[bool, str, int]) -> None:
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._reader: ResponseReader | None = None  # of the exchange under way
        self._waiter: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self._exchanges = 0
        self._rested_at = 0.0
        self._hung_up = False
        self._unread_bytes = 0

    async def exchange(self, head: bytes, body: bytes) -> "Head":
        """Send a request and return the head of its response."""
        self._reader = reader = ResponseReader()
        self._exchanges += 1
        if len(body) > MAX_JOINED_BYTES:
            self._transport.write(head)
            self._transport.write(body)
        else:
            self._transport.write(head + body)
        while reader.head is None:
            await self._arrival()
        return reader.head

    async def read(self) -> bytes:
        """Return what has come of the body; nothing at its end."""
        reader = cast("ResponseReader", self._reader)
        while not reader.pieces and not reader.complete:
            await self._arrival()
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._transport.resume_reading()
        self._unread_bytes = 0
        return reader.take()

    def rest(self) -> bool:
        """End the exchange; say whether the connection may serve another one."""
        reader, self._reader = self._reader, None
        self._rested_at = self._loop.time()
        if reader is None or not reader.keep_alive or self._transport.get_write_buffer_size():
            return False
        self._unread_bytes = 0
        self._transport.resume_reading()  # or nobody would see the server hang up
        return not self._hung_up

    def is_ready_for(self, origin: tuple[bool, str, int]) -> bool:
        """Say whether an exchange with `origin` may begin."""
        is_fresh = self._loop.time() - self._rested_at < KEEPALIVE_S
        return is_fresh and origin == self._origin and not self._hung_up

    def abort(self) -> None:
        """Close the connection at once."""
        self._fail(httpx.ReadError("the connection was closed on this side"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on in the response; what comes without a request ends the connection."""
        reader = self._reader
        if reader is None:
            self.abort()
            return
        try:
            reader.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """End the response; the loop closes the connection."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response."""
        self._end(exc)

    def _end(self, cause: Exception | None) -> None:
        self._hung_up = True
        reader = self._reader
        if reader is None or reader.complete:
            return
        if cause is None and reader.end():
            self._wake()
        elif self._exchanges > 1 and not reader.began:
            self._fail(StaleConnection("the server had closed the kept connection"))
        elif cause is None:
            where = "before its response" if reader.head is None else "in the middle of its response"
            self._fail(httpx.RemoteProtocolError(f"the server hung up {where}"))
        else:
            kind = httpx.WriteError if isinstance(cause, BrokenPipeError) else httpx.ReadError
            self._fail(kind(str(cause)))

    def _fail(self, error: httpx.TransportError) -> None:
        self._error = self._error or error
        self._hung_up = True
        self._transport.abort()
        self._wake()

    async def _arrival(self) -> None:
        """Wait until something happens that is not a failure."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


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


def _head_of(request: httpx.Request) -> bytes:
    if "transfer-encoding" in request.headers:
        raise httpx.LocalProtocolError("a body is sent with its length, not in chunks")
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % field for field in request.headers.raw]
    head = b"\r\n".join(lines)
    if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1:
        raise httpx.LocalProtocolError("a header to send holds a line break")
    return head + b"\r\n\r\n"


def _origin(url: httpx.URL) -> tuple[bool, str, int]:
    secure = url.scheme == "https"
    return secure, url.raw_host.decode("ascii"), url.port or (443 if secure else 80)
