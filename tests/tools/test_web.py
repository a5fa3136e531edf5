"""Fetching: what may be asked, what comes back, and what is kept, with a real server on loopback."""

import asyncio
import gzip
import ipaddress
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from orch.errors import ToolError
from orch.tools import web

HEADERS_LIMIT_S = 30.0


def page(body: bytes, *headers: str, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    """Return a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def moved(location: str) -> bytes:
    """Return a redirect."""
    return page(b"", f"Location: {location}", status="302 Found")


class Site:
    """A web server on loopback: answers by path, remembers the requests."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        async with asyncio.timeout(HEADERS_LIMIT_S):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        writer.write(self.pages.get(request.split()[1], page(b"", status="404 Not Found")))
        writer.close()

    def url(self, path: str) -> str:
        """Return the address of a page under a name that only these tests know."""
        return f"http://docs.example:{self.port}{path}"

    async def fetch(self, path: str, docs: Path) -> str:
        """Fetch a page of this site."""
        return await web.fetch(self.url(path), docs, resolve=to_loopback, allow=anywhere)


async def to_loopback(_host: str, _port: int) -> Sequence[str]:
    """Resolve every name to this machine."""
    return ["127.0.0.1"]


async def never(host: str, _port: int) -> Sequence[str]:
    """Fail the test if a name is looked up at all."""
    raise AssertionError(f"{host} was looked up")


def anywhere(_address: web.Address) -> bool:
    """Allow every address."""
    return True


def copies(docs: Path) -> list[Path]:
    """Return the copies that were kept."""
    return sorted(docs.glob("*"))


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    """Run the site for as long as the block lasts."""
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """The folder of copies, which does not exist yet."""
    return tmp_path / ".opencode" / "docs"


@pytest.fixture
async def site(anyio_backend: str) -> AsyncIterator[Site]:
    """A running site without pages."""
    assert anyio_backend == "asyncio"
    async with running(Site()) as started:
        yield started


@pytest.mark.anyio
async def test_a_page_comes_back_as_text_with_its_source_and_a_copy(site: Site, docs: Path) -> None:
    """The first line names the copy; the copy starts with the source."""
    site.pages["/guide?v=2"] = page(
        b"<h1>Guide</h1><script>x</script><p>Use it.", kind="text/html; charset=utf-8"
    )
    answer = await site.fetch("/guide?v=2", docs)
    (copy,) = copies(docs)
    assert answer.startswith(f"[saved as .opencode/docs/{copy.name};")
    assert "# Guide\n\nUse it." in answer
    assert copy.name.startswith("docs-example-guide-")
    assert copy.read_text().splitlines()[0] == f"Source: {site.url('/guide?v=2')}"


@pytest.mark.anyio
async def test_the_very_address_that_was_checked_is_asked_with_the_hosts_name(site: Site, docs: Path) -> None:
    """One look-up; the Host header is the URL's; nothing of the environment goes along."""
    asked: list[tuple[str, int]] = []

    async def once(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    site.pages["/"] = page(b"hello")
    await web.fetch(site.url("/"), docs, resolve=once, allow=anywhere)
    assert asked == [("docs.example", site.port)]
    assert f"host: docs.example:{site.port}" in site.requests[0].lower()


@pytest.mark.anyio
async def test_tls_is_asked_for_the_hosts_name_not_the_address(docs: Path) -> None:
    """Certificates are checked against the name although the connection goes to an address."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"hello"))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await web.fetch("https://docs.example/a", docs, resolve=to_loopback, allow=anywhere, client=client)
    assert (seen[0].url.host, seen[0].extensions["sni_hostname"]) == ("127.0.0.1", "docs.example")
    assert seen[0].headers["host"] == "docs.example"


@pytest.mark.anyio
async def test_an_address_that_refuses_is_followed_by_the_next(site: Site, docs: Path) -> None:
    """A host with one dead address is still reachable."""

    async def two(_host: str, _port: int) -> Sequence[str]:
        return ["::1", "127.0.0.1"]

    site.pages["/"] = page(b"hello")
    assert "hello" in await web.fetch(site.url("/"), docs, resolve=two, allow=anywhere)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *(
            "0.0.0.0",  # noqa: S104 - an address to refuse
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
        ),
        *(
            "::",
            "::1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "fec0::1",
            "2001:db8::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    ],
)
@pytest.mark.anyio
async def test_an_address_inside_is_refused_before_any_connection(address: str, docs: Path) -> None:
    """Loopback, private, link-local, metadata, multicast, reserved, and what embeds another address."""

    async def inside(_host: str, _port: int) -> Sequence[str]:
        return ["93.184.215.14", address]

    with pytest.raises(ToolError, match="not on the public web"):
        await web.fetch("http://docs.example/", docs, resolve=inside)
    assert copies(docs) == []


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_allowed(address: str) -> None:
    """Also one behind a NAT64, where it stands for a public one."""
    assert web.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://2130706433/", "http://localhost/"]
)
@pytest.mark.anyio
async def test_the_systems_own_names_for_this_machine_are_refused(url: str, docs: Path) -> None:
    """However loopback is spelled, the resolved address decides."""
    with pytest.raises(ToolError, match="not on the public web"):
        await web.fetch(url, docs)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "http:// and https://"),
        ("ftp://docs.example/", "http:// and https://"),
        ("docs.example/page", "http:// and https://"),
        ("http:///page", "http:// and https://"),
        ("https://me:secret@docs.example/", "user name or password"),
        ("http://docs.example:port/", "no URL"),
    ],
)
@pytest.mark.anyio
async def test_an_unfit_url_is_refused_unseen(url: str, reason: str, docs: Path) -> None:
    """No name is looked up for a URL that is refused anyway, and no secret of it is repeated."""
    with pytest.raises(ToolError, match=reason) as refusal:
        await web.fetch(url, docs, resolve=never)
    assert "secret" not in str(refusal.value)


@pytest.mark.anyio
async def test_a_name_that_does_not_resolve_is_told(docs: Path) -> None:
    """The model reads which name it was."""

    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(ToolError, match=r"docs\.example cannot be resolved"):
        await web.fetch("http://docs.example/", docs, resolve=unknown)


@pytest.mark.anyio
async def test_redirects_are_followed_and_the_first_url_is_the_key(site: Site, docs: Path) -> None:
    """A relative redirect arrives; asking for the same URL again asks nobody."""
    site.pages |= {"/old": moved("/new"), "/new": page(b"moved here")}
    assert "moved here" in await site.fetch("/old", docs)
    assert "moved here" in await site.fetch("/old", docs)
    assert len(site.requests) == 2


@pytest.mark.anyio
async def test_a_redirect_is_checked_like_the_first_url(site: Site, docs: Path) -> None:
    """A public page cannot send orch inside, to another scheme, or with credentials."""
    site.pages |= {
        "/in": moved("http://169.254.169.254/latest/meta-data"),
        "/file": moved("file:///etc/passwd"),
        "/login": moved("http://a:b@docs.example/"),
    }

    async def by_name(host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1" if host == "docs.example" else host]

    def only_the_site(address: web.Address) -> bool:
        return str(address) == "127.0.0.1"

    for path, reason in (("/in", "not on the public web"), ("/file", "http://"), ("/login", "user name")):
        with pytest.raises(ToolError, match=reason):
            await web.fetch(site.url(path), docs, resolve=by_name, allow=only_the_site)


@pytest.mark.anyio
async def test_a_circle_of_redirects_ends(site: Site, docs: Path) -> None:
    """Five are followed, then it is told."""
    site.pages["/loop"] = moved("/loop")
    with pytest.raises(ToolError, match="more than 5 redirects"):
        await site.fetch("/loop", docs)
    assert len(site.requests) == 6


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "304 Not Modified"])
@pytest.mark.anyio
async def test_a_page_that_is_not_there_is_told_and_not_kept(status: str, site: Site, docs: Path) -> None:
    """The status reaches the model; no copy hides the page when it comes back."""
    site.pages["/gone"] = page(b"", status=status)
    with pytest.raises(ToolError, match=f"answered {status}"):
        await site.fetch("/gone", docs)
    assert copies(docs) == []


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/pdf", "video/mp4"])
@pytest.mark.anyio
async def test_what_is_no_text_is_refused(kind: str, site: Site, docs: Path) -> None:
    """A picture is nothing to read."""
    site.pages["/x"] = page(b"\x89PNG", kind=kind)
    with pytest.raises(ToolError, match="reads text only"):
        await site.fetch("/x", docs)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("application/json", b'{"a": 1}', '{"a": 1}'),
        ("application/problem+json", b'{"a": 1}', '{"a": 1}'),
        ("text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
        ("text/plain; charset=idna", b"plain", "plain"),
        ("text/plain; charset=no-such", b"caf\xc3\xa9", "café"),
        ("text/plain", b"a\x00b\xff", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
    ],
)
@pytest.mark.anyio
async def test_text_is_read_in_its_own_charset(
    kind: str, body: bytes, text: str, site: Site, docs: Path
) -> None:
    """An unknown charset is read as UTF-8, and nothing unprintable gets through."""
    site.pages["/x"] = page(body, kind=kind)
    assert (await site.fetch("/x", docs)).endswith(f"\n\n{text}\n")


@pytest.mark.anyio
async def test_a_long_page_is_cut_and_the_copy_has_the_rest(site: Site, docs: Path) -> None:
    """The model gets 20,000 characters and the way to more."""
    site.pages["/long"] = page(b"word " * 10_000 + b"end")
    answer = await site.fetch("/long", docs)
    (copy,) = copies(docs)
    assert len(answer) < web.MAX_ANSWER_CHARS + 500
    assert answer.endswith(f"read .opencode/docs/{copy.name} for the rest]")
    assert copy.read_text().endswith("end\n")


@pytest.mark.anyio
async def test_a_huge_page_is_read_up_to_the_limit(site: Site, docs: Path) -> None:
    """A body without end costs two megabytes, and its copy can still be read."""
    site.pages["/huge"] = page(b"x" * 5_000_000)
    await site.fetch("/huge", docs)
    (copy,) = copies(docs)
    assert copy.stat().st_size < 1_000_000
    assert "[cut: the copy keeps" in copy.read_text()


@pytest.mark.anyio
async def test_a_compressed_bomb_does_not_unfold(site: Site, docs: Path) -> None:
    """Compression that nobody asked for is undone up to the same limit."""
    site.pages["/bomb"] = page(
        gzip.compress(b"<p>" + b"\n" * 50_000_000), "Content-Encoding: gzip", kind="text/html"
    )
    site.pages["/br"] = page(b"?", "Content-Encoding: br")
    assert "larger than 2000000 bytes" in await site.fetch("/bomb", docs)
    assert len(web._unpacked(gzip.compress(b"x" * 50_000_000), "gzip", "")) == web.MAX_BODY_BYTES
    with pytest.raises(ToolError, match="encoding 'br'"):
        await site.fetch("/br", docs)


@pytest.mark.anyio
async def test_a_stale_copy_is_fetched_again(site: Site, docs: Path) -> None:
    """After a day the page is asked again, and the copy replaced."""
    site.pages["/x"] = page(b"old")
    await site.fetch("/x", docs)
    (copy,) = copies(docs)
    long_ago = copy.stat().st_mtime - web.MAX_AGE_S - 60
    os.utime(copy, (long_ago, long_ago))
    site.pages["/x"] = page(b"new")
    assert "new" in await site.fetch("/x", docs)
    assert "new" in copy.read_text()


@pytest.mark.anyio
async def test_pages_that_differ_in_their_query_have_their_own_copies(site: Site, docs: Path) -> None:
    """The full URL is the key."""
    site.pages |= {"/p?page=1": page(b"first"), "/p?page=2": page(b"second")}
    assert "first" in await site.fetch("/p?page=1", docs)
    assert "second" in await site.fetch("/p?page=2", docs)
    assert len(copies(docs)) == 2


@pytest.mark.anyio
async def test_a_link_in_place_of_a_copy_is_neither_read_nor_written_through(site: Site, docs: Path) -> None:
    """A repository cannot make a fetch read or overwrite a file of the user."""
    site.pages["/x"] = page(b"from the web")
    await site.fetch("/x", docs)
    (copy,) = copies(docs)
    secret = docs.parent / "secret"
    secret.write_text("the user's")
    copy.unlink()
    copy.symlink_to(secret)
    assert "the user's" not in await site.fetch("/x", docs)
    assert (secret.read_text(), copy.is_symlink()) == ("the user's", False)


@pytest.mark.anyio
async def test_a_linked_folder_of_copies_is_refused(site: Site, tmp_path: Path) -> None:
    """Copies stay in the workspace."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    linked = tmp_path / "docs"
    os.symlink(elsewhere, linked)  # noqa: PTH211 - pathlib's own counts as blocking here
    site.pages["/x"] = page(b"text")
    with pytest.raises(ToolError, match="is a link"):
        await site.fetch("/x", linked)
    assert copies(elsewhere) == []


@pytest.mark.anyio
async def test_a_server_that_says_nothing_is_given_up(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a fetch is limited, whatever the server does."""
    monkeypatch.setattr(web, "FETCH_LIMIT_S", 0.2)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"http://docs.example:{server.sockets[0].getsockname()[1]}/"
    async with server:
        with pytest.raises(ToolError, match=r"did not answer within|could not be fetched"):
            await web.fetch(url, docs, resolve=to_loopback, allow=anywhere)


@pytest.mark.anyio
async def test_a_server_that_hangs_up_is_told_in_one_line(site: Site, docs: Path) -> None:
    """A broken answer is a sentence for the model, not a traceback."""
    site.pages["/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"
    with pytest.raises(ToolError, match="could not be fetched") as failure:
        await site.fetch("/x", docs)
    assert "\n" not in str(failure.value)
