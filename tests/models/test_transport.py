"""The connection of a session, against servers on loopback that speak HTTP/1.1 well, badly and not at all."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httpx
import pytest

from orch.config import ModelFacts, Provider, ProviderKind, Secret
from orch.mission.transcript import UserMessage
from orch.models import transport as module
from orch.models.interface import Ask
from orch.models.openai import OpenAIModel
from orch.models.transport import (
    MAX_JOINED_BYTES,
    MAX_UNREAD_BYTES,
    DirectTransport,
    StaleConnection,
    transport_for,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT_S = 30.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# -- a server ------------------------------------------------------------------------------------------


@dataclass
class Served:
    """What a server saw."""

    url: str
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    talks: set["asyncio.Task[None]"] = field(default_factory=set)


@asynccontextmanager
async def _serving(*talks: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Serve each connection with the next of `talks`."""
    served = Served("")
    waiting = iter(talks)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        served.talks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await next(waiting)(_Tee(reader, served), writer)
        writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    served.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1/x?y=z"
    async with asyncio.timeout(LIMIT_S):
        try:
            yield served
        finally:
            listener.close()
        if served.talks:
            await asyncio.wait(served.talks)


class _Tee(asyncio.StreamReader):
    """Reads one request at a time and notes it."""

    def __init__(self, reader: asyncio.StreamReader, served: Served) -> None:
        super().__init__()
        self._reader = reader
        self._served = served

    async def request(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        request = head + await self._reader.readexactly(int(length or b"0"))
        self._served.requests.append(request)
        return request

    async def hang_up(self) -> None:
        await self._reader.read()


def _answers(*responses: bytes, hangs_up: bool = False) -> Talk:
    """Answer a request with each of `responses`, then wait for the client to hang up, or do so."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Tee)
        for response in responses:
            await reader.request()
            writer.write(response)
            await writer.drain()
        if hangs_up:
            writer.close()
            await writer.wait_closed()
        else:
            await reader.hang_up()

    return talk


@asynccontextmanager
async def _direct(tls: ssl.SSLContext = NO_TLS) -> AsyncIterator[DirectTransport]:
    transport = DirectTransport(tls)
    try:
        yield transport
    finally:
        await transport.aclose()


async def _ask(transport: DirectTransport, url: str, content: bytes = b"{}") -> httpx.Response:
    return await transport.handle_async_request(httpx.Request("POST", url, content=content))


async def _body(transport: DirectTransport, url: str) -> bytes:
    response = await _ask(transport, url)
    return await response.aread()


async def _until(true: Callable[[], bool]) -> None:
    """Let the loop go on until something is so."""
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110 - what is waited for is not made for waiting
            await asyncio.sleep(0)


# -- what goes well ------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("size", [0, 2, MAX_JOINED_BYTES + 1, 3_000_000])
async def test_a_request_is_sent_as_it_was_made(size: int) -> None:
    """Line, headers and body, of any size."""
    async with _serving(_answers(OK)) as served, _direct() as transport:
        request = httpx.Request("POST", served.url, headers={"X-Key": "k"}, content=b"x" * size)
        response = await transport.handle_async_request(request)

        assert (response.status_code, await response.aread()) == (200, b"ok")
    head, _, body = served.requests[0].partition(b"\r\n\r\n")
    host = served.url.removeprefix("http://").partition("/")[0]
    line, *fields = head.decode().split("\r\n")
    assert line == "POST /v1/x?y=z HTTP/1.1"
    assert sorted(fields) == [f"Content-Length: {size}", f"Host: {host}", "X-Key: k"]
    assert body == b"x" * size


@pytest.mark.anyio
async def test_headers_reach_the_caller() -> None:
    """Repeated ones too, without the blanks around them."""
    answer = OK.replace(b"OK\r\n", b"OK\r\nA: 1\r\nRetry-After: \t7 \r\na: 2\r\n", 1)
    async with _serving(_answers(answer)) as served, _direct() as transport:
        response = await _ask(transport, served.url)

        assert response.headers["retry-after"] == "7"
        assert response.headers.get_list("a") == ["1", "2"]


@pytest.mark.anyio
async def test_a_client_of_httpx_can_use_it() -> None:
    """It is a transport like any other."""
    async with (
        _serving(_answers(OK)) as served,
        httpx.AsyncClient(transport=DirectTransport(NO_TLS)) as client,
    ):
        assert (await client.get(served.url)).text == "ok"


@pytest.mark.anyio
async def test_one_connection_serves_one_request_after_another() -> None:
    """Also when the caller closes a complete response without reading it."""
    async with _serving(_answers(OK, CHUNKED + b"1\r\nx\r\n0\r\n\r\n", OK)) as served, _direct() as transport:
        assert await _body(transport, served.url) == b"ok"
        assert await _body(transport, served.url) == b"x"
        response = await _ask(transport, served.url)
        await response.aclose()
        await response.aclose()

        assert served.connections == 1


@pytest.mark.anyio
async def test_requests_at_the_same_time_have_connections_of_their_own_and_one_is_kept() -> None:
    """The other one is closed."""
    async with _serving(_answers(OK), _answers(OK)) as served, _direct() as transport:
        first, second = await _ask(transport, served.url), await _ask(transport, served.url)

        assert (await second.aread(), await first.aread()) == (b"ok", b"ok")
        assert served.connections == 2
        assert len(transport._open) == 1


@pytest.mark.anyio
async def test_a_body_may_end_with_the_connection() -> None:
    """And then there is none to keep."""
    talk = _answers(b"HTTP/1.1 200 OK\r\n\r\nup to the end", hangs_up=True)
    async with _serving(talk) as served, _direct() as transport:
        assert await _body(transport, served.url) == b"up to the end"
        assert not transport._open


@pytest.mark.anyio
async def test_a_server_waits_for_a_slow_reader() -> None:
    """What is unread is bounded; nothing is lost."""
    size = 20 * MAX_UNREAD_BYTES
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size)
    async with _serving(_answers(answer, OK)) as served, _direct() as transport:
        response = await _ask(transport, served.url)
        (connection,) = transport._open
        await _until(lambda: not connection._transport.is_reading())
        assert connection._reader is not None
        assert MAX_UNREAD_BYTES < sum(map(len, connection._reader.pieces)) <= 2 * MAX_UNREAD_BYTES

        assert await response.aread() == b"x" * size
        assert await _body(transport, served.url) == b"ok"
        assert served.connections == 1


# -- a connection that is not kept ----------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("last", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_a_connection_that_was_closed_meanwhile_is_replaced(last: bytes) -> None:
    """Nobody notices, also where the server says a last word."""
    async with _serving(_answers(OK + last, hangs_up=True), _answers(OK)) as served, _direct() as transport:
        assert await _body(transport, served.url) == b"ok"
        await _until(lambda: transport._kept is None or transport._kept._hung_up)

        assert await _body(transport, served.url) == b"ok"
        assert served.connections == 2


@pytest.mark.anyio
async def test_a_connection_that_rested_too_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody between may have forgotten it without a word."""
    monkeypatch.setattr(module, "KEEPALIVE_S", 0.0)
    async with _serving(_answers(OK), _answers(OK)) as served, _direct() as transport:
        await _body(transport, served.url)
        await _body(transport, served.url)

        assert served.connections == 2
        assert len(transport._open) == 1


@pytest.mark.anyio
async def test_another_server_is_not_asked_over_the_kept_connection() -> None:
    """The host is what counts, and the port."""
    async with _serving(_answers(OK)) as one, _serving(_answers(OK)) as other, _direct() as transport:
        await _body(transport, one.url)
        await _body(transport, other.url)

        assert (one.connections, other.connections) == (1, 1)


@pytest.mark.anyio
async def test_a_response_that_was_left_unread_closes_the_connection() -> None:
    """The rest of it would be taken for the next response."""
    partly = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"
    async with _serving(_answers(partly), _answers(OK)) as served, _direct() as transport:
        response = await _ask(transport, served.url)
        await response.aclose()

        assert await _body(transport, served.url) == b"ok"
        assert served.connections == 2


@pytest.mark.anyio
async def test_a_server_may_answer_before_it_has_read_the_request() -> None:
    """As it does when a request is too large; the connection is of no further use."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(OK.replace(b"200", b"413"))
        await release.wait()

    release = asyncio.Event()
    async with _serving(talk) as served, _direct() as transport:
        response = await _ask(transport, served.url, b"x" * 30_000_000)

        assert (response.status_code, await response.aread()) == (413, b"ok")
        assert not transport._open
        release.set()


# -- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_kept_connection_that_ends_before_a_byte_is_an_error_of_its_own() -> None:
    """Nothing was answered, so it costs nothing to ask again."""
    async with _serving(_answers(OK, b"", hangs_up=True), _answers(OK)) as served, _direct() as transport:
        await _body(transport, served.url)
        with pytest.raises(StaleConnection):
            await _ask(transport, served.url)

        assert await _body(transport, served.url) == b"ok"


@pytest.mark.anyio
@pytest.mark.parametrize("responses", [(b"",), (b"HTTP/1.1 2",), (OK, b"HTTP/1.1 2")])
async def test_a_server_that_hangs_up_before_its_response_is_no_stale_connection(
    responses: tuple[bytes, ...],
) -> None:
    """Not on a fresh connection, and not once a byte came."""
    async with _serving(_answers(*responses, hangs_up=True)) as served, _direct() as transport:
        for _ in responses[:-1]:
            await _body(transport, served.url)
        with pytest.raises(httpx.RemoteProtocolError, match="before its response") as caught:
            await _ask(transport, served.url)

        assert not isinstance(caught.value, StaleConnection)
        assert not transport._open


@pytest.mark.anyio
@pytest.mark.parametrize("start", [CHUNKED + b"3\r\nabc\r\n", OK.replace(b" 2", b" 9")])
async def test_a_body_that_is_cut_is_handed_on_and_then_an_error(start: bytes) -> None:
    """What came may hold the end of an answer."""
    async with _serving(_answers(start, hangs_up=True)) as served, _direct() as transport:
        body = (await _ask(transport, served.url)).aiter_raw()

        assert await anext(body) in (b"abc", b"ok")
        with pytest.raises(httpx.RemoteProtocolError, match="in the middle"):
            await anext(body)


@pytest.mark.anyio
async def test_a_malformed_response_is_an_error_and_ends_the_connection() -> None:
    """In its head and in its body."""
    talks = (_answers(b"nonsense\r\n\r\n"), _answers(CHUNKED + b"nonsense\r\n"))
    async with _serving(*talks) as served, _direct() as transport:
        with pytest.raises(httpx.RemoteProtocolError):
            await _ask(transport, served.url)
        with pytest.raises(httpx.RemoteProtocolError):
            await _body(transport, served.url)

        assert not any(not connection._hung_up for connection in transport._open)


@pytest.mark.anyio
async def test_a_reset_is_a_read_error() -> None:
    """As httpx calls it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Tee)
        await reader.request()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with _serving(talk) as served, _direct() as transport:
        with pytest.raises(httpx.ReadError):
            await _ask(transport, served.url)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "x" * 64 + ".invalid"])
async def test_a_server_that_is_not_there_is_a_connect_error(host: str) -> None:
    """Nobody listens, or the name is none."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with _direct() as transport:
            with pytest.raises(httpx.ConnectError):
                await _ask(transport, f"http://{host}:{unused.getsockname()[1]}/")


@pytest.mark.anyio
async def test_an_address_that_fails_or_is_silent_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that is announced under IPv6 and cannot be reached there is reached all the same."""
    monkeypatch.setattr(module, "EYEBALLS_DELAY_S", 0.01)
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def reach(sock: socket.socket, address: tuple[str, int]) -> None:
        await (connect(sock, address) if address[1] != 1 else asyncio.Event().wait())

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with _serving(_answers(OK)) as served, _direct() as transport:
            ports = (1, unused.getsockname()[1], httpx.URL(served.url).port)

            async def known(*_: object, **__: object) -> object:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

            monkeypatch.setattr(loop, "getaddrinfo", known)
            monkeypatch.setattr(loop, "sock_connect", reach)

            assert await _body(transport, served.url.replace("127.0.0.1", "some.invalid")) == b"ok"


@pytest.mark.anyio
async def test_connecting_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handshake included."""
    monkeypatch.setattr(module, "CONNECT_LIMIT_S", 0.05)
    async with _serving(_answers(OK)) as served, _direct() as transport:
        with pytest.raises(httpx.ConnectTimeout, match=r"0\.05 s"):
            await _ask(transport, served.url.replace("http:", "https:"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers", [{"x": "a\r\nHost: b"}, {"x": "a\nb"}, {"x\r": "a"}, {"Transfer-Encoding": "chunked"}]
)
async def test_a_request_that_would_be_two_is_not_sent(headers: dict[str, str]) -> None:
    """Nor one whose length is not told."""
    async with _direct() as transport:
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(httpx.Request("GET", "http://127.0.0.1:1/", headers=headers))


# -- the end -------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scheme", "response"), [("https", b""), ("http", b""), ("http", b"HTTP/1.1 2"), ("http", CHUNKED)]
)
async def test_a_cancelled_wait_closes_the_connection_and_leaves_no_task(
    scheme: str, response: bytes
) -> None:
    """In the handshake, before the head, in it, and in the body."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Tee)
        if scheme == "http":
            await reader.request()
        writer.write(response)
        waiting.set()
        await reader.hang_up()

    waiting = asyncio.Event()
    async with _serving(talk) as served, _direct() as transport:
        before = asyncio.all_tasks()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(_body(transport, served.url.replace("http:", f"{scheme}:")))
            await waiting.wait()
            asked.cancel()
        await _until(lambda: all(task.done() for task in served.talks))

        assert asked.cancelled()
        assert asyncio.all_tasks() == before
        assert all(connection._hung_up for connection in transport._open)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("turns", range(14))
async def test_a_request_that_is_cancelled_at_any_turn_of_the_loop_leaves_no_socket(
    turns: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sees every connection end, and no task is left; `localhost` may have two addresses."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    async with _serving(_answers(OK)) as served, _direct() as transport:
        port = httpx.URL(served.url).port

        async def known(*_: object, **__: object) -> object:
            return [(*each[:4], (each[4][0], port, *each[4][2:])) for each in addresses]

        monkeypatch.setattr(loop, "getaddrinfo", known)
        before = asyncio.all_tasks()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(_ask(transport, served.url.replace("127.0.0.1", host)))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
        assert asyncio.all_tasks() - served.talks <= before
        if not asked.cancelled():
            await asked.result().aclose()
            await transport.aclose()

        assert not transport._open


@pytest.mark.anyio
async def test_closing_twice_is_once_and_ends_a_response_under_way() -> None:
    """Whoever reads it is told."""
    async with _serving(_answers(CHUNKED)) as served, _direct() as transport:
        response = await _ask(transport, served.url)
        await transport.aclose()
        await transport.aclose()

        with pytest.raises(httpx.ReadError, match="this side"):
            await response.aread()
        assert not transport._open


# -- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not there to make a certificate")
    both = tmp_path_factory.mktemp("tls") / "both.pem"
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(both)]
    made = [openssl, "req", "-x509", *key, *name, "-days", "2", "-out", f"{both}.crt"]
    subprocess.run(made, check=True, capture_output=True)
    both.write_text(both.read_text() + Path(f"{both}.crt").read_text())
    return both


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    """What a server needs."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    return tls


@pytest.mark.anyio
async def test_tls_is_spoken_with_who_is_trusted(certificate: Path, server_tls: ssl.SSLContext) -> None:
    """One connection for all requests, large ones too, and HTTP/1.1 is agreed on."""
    tls = ssl.create_default_context(cafile=str(certificate))
    tls.set_alpn_protocols(["http/1.1"])
    large = b"x" * 3 * MAX_UNREAD_BYTES
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(large), large)
    async with _serving(_answers(OK, answer, OK), tls=server_tls) as served, _direct(tls) as transport:
        for expected in (b"ok", large, b"ok"):
            response = await _ask(transport, served.url, large)
            assert await response.aread() == expected

        (connection,) = transport._open
        agreed = connection._transport.get_extra_info("ssl_object").selected_alpn_protocol()
        assert (agreed, served.connections) == ("http/1.1", 1)


@pytest.mark.anyio
async def test_tls_with_a_stranger_is_a_connect_error(server_tls: ssl.SSLContext) -> None:
    """Nothing is sent to a server that cannot prove its name."""
    async with _serving(_answers(OK), tls=server_tls) as served, _direct() as transport:
        with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
            await _ask(transport, served.url)

    assert served.requests == []


# -- who asks, and through whom ----------------------------------------------------------------------


@pytest.mark.anyio
async def test_credentials_in_an_address_are_sent_to_the_gate_before_the_endpoint() -> None:
    """As httpx does, and with its octets decoded."""
    completion = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        completion
    )
    async with _serving(_answers(head + completion)) as served:
        url = served.url.partition("/v1")[0].replace("//", "//me:p%40ss@")
        provider = Provider("small", ProviderKind.OPENAI, url, Secret("sk-key"))
        model = OpenAIModel(provider, "m", ModelFacts(), tls=NO_TLS)
        reply = await model.ask(Ask(system="", messages=(UserMessage(text="go"),), tools=()))
        await model.close()

    assert reply.message.text == "hi"
    assert b"authorization: Basic bWU6cEBzcw==\r\n" in served.requests[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("environment", "url", "is_direct"),
    [
        ({}, "https://api.example/v1", True),
        ({"HTTPS_PROXY": "http://p.invalid:1"}, "https://api.example/v1", False),
        ({"https_proxy": "http://p.invalid:1"}, "https://api.example/v1", False),
        ({"ALL_PROXY": "http://p.invalid:1"}, "http://api.example/v1", False),
        ({"HTTP_PROXY": "http://p.invalid:1"}, "https://api.example/v1", True),
        ({"ALL_PROXY": "http://p.invalid:1"}, "http://127.0.0.1:8080/v1", True),
        ({"ALL_PROXY": "http://p.invalid:1"}, "http://localhost:8080/v1", True),
    ],
)
async def test_httpx_speaks_where_there_may_be_a_proxy(
    environment: dict[str, str], url: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only there; this machine needs none."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    transport = transport_for(url, NO_TLS)
    await transport.aclose()

    assert isinstance(transport, DirectTransport) is is_direct


@pytest.mark.anyio
async def test_a_proxy_is_asked_for_what_is_outside_and_not_for_what_is_excepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rules are httpx's."""
    async with _serving(_answers(OK)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.partition("/v1")[0])
        monkeypatch.setenv("NO_PROXY", "excepted.invalid")
        transport = transport_for("http://outside.invalid/v1", NO_TLS)
        response = await transport.handle_async_request(httpx.Request("GET", "http://outside.invalid/v1"))
        assert await response.aread() == b"ok"
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(httpx.Request("GET", "http://excepted.invalid/v1"))
        await transport.aclose()

    assert proxy.requests[0].startswith(b"GET http://outside.invalid/v1 HTTP/1.1")
