"""HTML becomes text that keeps what a reader needs, and no page can hold the reader up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.tools.readable import html_to_text

BASE = "https://docs.example/guide/start.html"
MARKUP = st.lists(
    st.sampled_from(
        ["<p>", "</p>", "<a href='x'>", "</a>", "<pre>", "</pre>", "<svg>", "</svg>", "<!", "<h2>", "w "]
    )
    | st.text(max_size=8)
).map("".join)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h2>Use <em>it</em></h2><p>so</p>", "## Use it\n\nso"),
        ("<p>one\n  two</p><p>three</p>", "one two\n\nthree"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("<p>call <code>f(x)</code> now</p>", "call `f(x)` now"),
        ("<pre><code>def f():\n    return  1</code></pre>", "```\ndef f():\n    return  1\n```"),
        ("<tr><td>1</td><td>2</td></tr><tr><td>3</td></tr>", "1 | 2\n3"),
        ("a &amp; b &lt;c&gt;", "a & b <c>"),
        ("a<br>b", "a\nb"),
        ("<title>Guide</title><body>x", "# Guide\n\nx"),
    ],
)
def test_the_structure_of_a_page_stays_readable(html: str, text: str) -> None:
    """Headings, paragraphs, lists, code and tables can be told apart in the text."""
    assert html_to_text(html, BASE) == text


@pytest.mark.parametrize(
    "html",
    [
        "<script>if (a < b) { evil('<p>x</p>') }</script>kept",
        "<style>p { color: red }</style>kept",
        "<template><p>hidden</p></template>kept",
        "<svg><g><svg><text>drawn</text></svg></g></svg>kept",
        "<!-- a comment -->kept",
    ],
)
def test_what_nobody_reads_is_dropped(html: str) -> None:
    """Scripts, styles, templates, drawings and comments leave no trace."""
    assert html_to_text(html, BASE) == "kept"


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("/api?v=2", "link (https://docs.example/api?v=2)"),
        ("next.html", "link (https://docs.example/guide/next.html)"),
        ("http://other.example/", "link (http://other.example/)"),
        ("#part", "link"),
        ("mailto:a@b.example", "link"),
        ("javascript:alert(1)", "link"),
        ("http://[broken", "link"),
    ],
)
def test_a_link_keeps_its_address_if_it_leads_to_a_page(href: str, text: str) -> None:
    """Addresses are absolute; what is no page has none."""
    assert html_to_text(f"<a href='{href}'>link</a>", BASE) == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("broken", ["<!", "<!--", "<![CDATA[", "<?", "</a "])
def test_broken_markup_does_not_hold_the_reader_up(broken: str) -> None:
    """A page made to be slow ends within the limit; read in one piece it would take hours."""
    assert html_to_text("before<p>" + broken * 200_000, BASE).startswith("before")


@given(MARKUP)
def test_any_markup_gives_text(html: str) -> None:
    """Whatever a server sends, there is an answer without runs of empty lines."""
    assert "\n\n\n" not in html_to_text(html, BASE)


@settings(max_examples=20)  # each of them is 40 KB
@given(st.lists(st.sampled_from(["word", "&amp;", "a", "b<i>c</i>", "&#233;"]), min_size=1, max_size=40))
def test_pieces_leave_no_seam(words: list[str]) -> None:
    """A text longer than one piece reads like the same text in short lines."""
    line = " ".join(words)
    lines = 40_000 // len(line)
    assert html_to_text(f"{line}\n" * lines, BASE).split() == html_to_text(line, BASE).split() * lines
