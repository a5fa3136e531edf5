"""HTTP/1.1 over a connection of a session's own, behind httpx's interface.

Theory of operation. The requests of one session follow one another, so a pool has nothing to do: a
`DirectTransport` keeps the connection of the last request for the next one. Its `_Connection` feeds a
`ResponseReader` (`orch.models.http1`) from the event loop and wakes the one task that waits. What arrived
between two reads is one chunk, and when too much is unread the connection is not read either. Only
connecting has a limit of its own: the caller watches the rest, and cancelling it closes the connection.

Failures are httpx's exceptions. `StaleConnection` is the one that costs nothing: ask again.
"""

import asyncio
import contextlib
import itertools
import socket
import ssl
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import httpx

from orch.models.http1 import Head, ResponseReader

CONNECT_LIMIT_S = 10.0
KEEPALIVE_S = 60.0  # most tools finish sooner; a connection that died meanwhile is replaced
EYEBALLS_DELAY_S = 0.25  # from one address to the next (RFC 8305, section 8)
MAX_UNREAD_BYTES = 256 * 1024  # of a body, then the server has to wait
MAX_JOINED_BYTES = 64 * 1024  # of a body that is copied behind its head; a larger one is written after it

_Address = tuple[int, int, int, str, Any]  # as `getaddrinfo` returns it

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


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
        secure, host, port = origin = _origin(url)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                sock = await _Race().run(_interleaved(await _addresses(host, port)))
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(origin),
                    sock=sock,
                    ssl=self._tls if secure else None,
                    server_hostname=host if secure else None,
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


class _Race:
    """Connects to the first of several addresses that answers (RFC 8305, section 5).

    The event loop has a race of its own; cancelled, that one can leave an open socket behind.
    """

    def __init__(self) -> None:
        self._winner: socket.socket | None = None
        self._failure = OSError("the name has no address")

    async def run(self, addresses: Sequence[_Address]) -> socket.socket:
        """Return a connected socket; raise the last `OSError` where there is none."""
        waiting = list(addresses)
        running: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.TaskGroup() as group:
                while self._winner is None and (waiting or running):
                    if waiting:
                        running.add(group.create_task(self._attempt(waiting.pop(0)), name="connect"))
                    delay_s = EYEBALLS_DELAY_S if waiting else CONNECT_LIMIT_S
                    first = asyncio.FIRST_COMPLETED
                    _, running = await asyncio.wait(running, timeout=delay_s, return_when=first)
                for attempt in running:
                    attempt.cancel()
        except asyncio.CancelledError:
            if self._winner is not None:
                self._winner.close()
            raise
        if self._winner is None:
            raise self._failure
        return self._winner

    async def _attempt(self, address: _Address) -> None:
        family, kind, protocol, _, where = address
        try:
            with contextlib.ExitStack() as stack:
                sock = stack.enter_context(socket.socket(family, kind, protocol))
                sock.settimeout(0.0)
                await asyncio.get_running_loop().sock_connect(sock, where)
                if self._winner is None:
                    self._winner = sock
                    stack.pop_all()
        except OSError as error:
            self._failure = error


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

    async def exchange(self, head: bytes, body: bytes) -> Head:
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


async def _addresses(host: str, port: int) -> Sequence[_Address]:
    kind = socket.SOCK_STREAM
    with contextlib.suppress(socket.gaierror):  # a number needs no look-up, so no thread
        return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)


def _interleaved(addresses: Sequence[_Address]) -> list[_Address]:
    """Return the addresses in their order, but IPv6 and IPv4 by turns (RFC 8305, section 4)."""
    same = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = itertools.zip_longest(same, other)
    return [address for pair in pairs for address in pair if address is not None]
