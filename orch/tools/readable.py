"""HTML as text that a model can read: headings, lists, links with their address, code as it stands.

`html_to_text` takes whatever a server sent: broken markup gives odd text, never an error. Scripts, styles,
drawings and hidden templates are dropped. Links are made absolute.

Python's parser takes quadratic time over some broken markup (such as `<!` a million times, CVE-2025-6069),
so it is fed in small pieces, stopped when its time is over, and never asked to make sense of a large rest.
"""

import re
import time
from html.parser import HTMLParser
from urllib.parse import urljoin

_DROPPED = frozenset({"script", "style", "template", "svg"})
_HEADINGS = {"title": 1, "h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|header"
    "|hr|html|main|nav|ol|p|section|summary|table|ul"
)
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_PIECE_CHARS = 16_384
_MAX_REST_CHARS = 4_096  # of an unfinished tag at the end; a larger one is dropped
_READ_LIMIT_S = 5.0


def html_to_text(html: str, base_url: str) -> str:
    """Return the readable text of a page; `base_url` is where it came from."""
    reader = _Reader(base_url)
    deadline = time.monotonic() + _READ_LIMIT_S
    for start in range(0, len(html), _PIECE_CHARS):
        if time.monotonic() > deadline:
            break
        reader.feed(html[start : start + _PIECE_CHARS])
    if len(reader.rawdata) <= _MAX_REST_CHARS:
        reader.close()
    return re.sub(r"\n{3,}", "\n\n", reader.text()).strip()


class _Reader(HTMLParser):
    """Writes down what is readable while the parser walks over the page."""

    def __init__(self, base_url: str) -> None:
        super().__init__(convert_charrefs=True)
        self._base_url = base_url
        self._parts: list[str] = []
        self._dropping: str | None = None
        self._dropped_depth = 0
        self._in_code_block = False
        self._link = ""

    def text(self) -> str:
        return "".join(self._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropping:
            self._dropped_depth += tag == self._dropping
        elif tag in _DROPPED:
            self._dropping, self._dropped_depth = tag, 1
        elif tag == "a":
            self._link = self._address(dict(attrs).get("href"))
        elif tag == "pre":
            self._in_code_block = True
            self._parts.append("\n\n```\n")
        elif tag in _HEADINGS:
            self._parts.append("\n\n" + "#" * _HEADINGS[tag] + " ")
        else:
            self._open_plain(tag)

    def _open_plain(self, tag: str) -> None:
        if tag == "code" and not self._in_code_block:
            self._parts.append("`")
        elif tag == "li":
            self._parts.append("\n- ")
        elif tag in {"br", "tr"}:
            self._parts.append("\n")
        elif tag in {"td", "th"}:
            self._parts.append("" if self._at_line_start() else " | ")
        elif _BLOCKS.fullmatch(tag):
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if self._dropping:
            self._dropped_depth -= tag == self._dropping
            self._dropping = self._dropping if self._dropped_depth else None
        elif tag == "a" and self._link:
            self._parts.append(f" ({self._link})")
            self._link = ""
        elif tag == "pre" and self._in_code_block:
            self._in_code_block = False
            self._parts.append("\n```\n\n")
        elif tag == "code" and not self._in_code_block:
            self._parts.append("`")
        elif tag in _HEADINGS or _BLOCKS.fullmatch(tag):
            self._break()

    def handle_data(self, data: str) -> None:
        if self._dropping:
            return
        if self._in_code_block:
            self._parts.append(data)
            return
        words = _BLANKS.sub(" ", data)
        self._parts.append(words.lstrip() if self._at_line_start() else words)

    def _at_line_start(self) -> bool:
        return not self._parts or self._parts[-1].endswith(("\n", " "))

    def _break(self) -> None:
        if not self._in_code_block:
            self._parts.append("\n\n" if not self._at_line_start() else "\n")

    def _address(self, href: str | None) -> str:
        """Return the absolute address of a link; empty for one within the page or to no page."""
        if not href or href.startswith("#"):
            return ""
        try:
            address = urljoin(self._base_url, href.strip())
        except ValueError:
            return ""
        return address if address.startswith(("http://", "https://")) else ""
