"""Responses out of bytes: every framing, cut anywhere, and everything that is no response."""

import contextlib
import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.models.http1 import MAX_CHUNK_LINE_BYTES, MAX_HEAD_BYTES, ResponseReader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _read(*pieces: bytes, ended: bool = False) -> ResponseReader:
    reader = ResponseReader()
    for piece in pieces:
        reader.feed(piece)
    if ended:
        reader.end()
    return reader


def _framed(framing: str, chunks: list[bytes]) -> bytes:
    body = b"".join(chunks)
    if framing == "length":
        return b"HTTP/1.1 200 OK\r\ncontent-length:%d\r\n\r\n%b" % (len(body), body)
    if framing == "close":
        return b"HTTP/1.0 200\r\n\r\n" + body
    lines = [b'%X ;x="y"\r\n%b\r\n' % (len(chunk), chunk) for chunk in chunks if chunk]
    return b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + CHUNKED + b"".join(lines) + b"000\r\nSum: 1\r\n\r\n"


@given(
    framing=st.sampled_from(["length", "close", "chunked"]),
    chunks=st.lists(st.binary(max_size=40), max_size=5),
    cuts=st.lists(st.integers(0, 250), max_size=12),
)
def test_a_response_does_not_depend_on_how_it_was_cut(
    framing: str, chunks: list[bytes], cuts: list[int]
) -> None:
    """Not in a line, not in a chunk's size, not in a line end."""
    wire = _framed(framing, chunks)
    bounds = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(bounds)]
    reader = _read(*pieces, ended=framing == "close")

    assert reader.head is not None
    assert reader.head.status == 200
    assert reader.complete
    assert reader.take() == b"".join(chunks)
    assert reader.keep_alive is (framing != "close")


@given(st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", CHUNKED]))
def test_bytes_of_any_kind_are_a_response_or_one_kind_of_error(data: bytes, start: bytes) -> None:
    """Nothing that a server sends is a bug here."""
    with contextlib.suppress(httpx.RemoteProtocolError):
        _read(start, data, ended=True)


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nspace : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnul: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"2\n",
        CHUNKED + b"F" * 16 + b"\r\n",
        CHUNKED + b"2\r\nabc\r\n",
        CHUNKED + b"2;" + b"x" * MAX_CHUNK_LINE_BYTES,
        CHUNKED + b"0\r\n" + b"a: b\r\n" * (MAX_HEAD_BYTES // 6 + 1),
        b"HTTP/1.1 200 OK\r\nlong: " + b"x" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\nlong: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD_BYTES // 25 + 1),
    ],
)
def test_what_is_malformed_or_too_long_is_one_error(wire: bytes) -> None:
    """All at once or byte by byte."""
    with pytest.raises(httpx.RemoteProtocolError):
        _read(wire)
    with pytest.raises(httpx.RemoteProtocolError):
        _read(*(wire[at : at + 999] for at in range(0, len(wire), 999)))


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none_whatever_its_headers_say(status: int) -> None:
    """RFC 9112, section 6.3."""
    reader = _read(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" % status)

    assert reader.complete
    assert reader.keep_alive


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        (OK, True),
        (OK.replace(b"\r\n", b"\n"), True),
        (OK + b"more", False),
        (OK.replace(b"1.1", b"1.0"), False),
        (OK.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: Keep-Alive"), True),
        (OK.replace(b"200 OK", b"200 OK\r\nConnection: x, Close"), False),
        (OK.replace(b": 2", b": 2, 2"), True),
        (OK[:-1], False),
        (CHUNKED + b"0\r\n\r\nmore", False),
    ],
)
def test_a_connection_is_kept_where_both_sides_mean_to(wire: bytes, kept: bool) -> None:
    """And where nothing came that nobody asked for."""
    assert _read(wire).keep_alive is kept
