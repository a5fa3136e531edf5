"""The one place where a report's HTML is made: an element builder from which nothing leaves unescaped.

Every text is defused and escaped by `tag`, whoever it comes from; only what `tag` and its kin made is taken
as markup. `Html` is made nowhere else, so a title that says `</style><script>` is always only a title. Names
of elements and attributes are written in the code, never taken from outside.
"""

import html
from collections.abc import Iterable
from dataclasses import dataclass

from orch.view import defuse

_EMPTY = frozenset({"meta", "link", "br", "wbr", "col"})


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that may stand in a page as it is."""

    text: str


Child = Html | str | int | None
Value = str | int | float | bool | None
NOTHING = Html("")


def tag(name: str, /, *children: Child, **attributes: Value) -> Html:
    """Return an element.

    In the names of `attributes` a `_` stands for `-`, and one at the end for nothing (`class_`); `True` is an
    attribute without a value, `None` and `False` are left out.
    """
    head = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{head}>")
    return Html(f"<{name}{head}>{''.join(map(_markup, children))}</{name}>")


def joined(children: Iterable[Child], between: Child = None) -> Html:
    """Return `children` one after the other."""
    return Html(_markup(between).join(map(_markup, children)))


def style(css: str) -> Html:
    """Return a style element with a sheet of our own. Raises `ValueError` for one that would end it."""
    if "<" in css:
        raise ValueError("a style sheet with a <")
    return Html(f"<style>{css}</style>")


def page(note: str, *children: Child, lang: str) -> str:
    """Return a whole document; `note` says in a comment of plain words what made it."""
    words = "".join(c for c in note if c.isalnum() or c in " .:")
    root = tag("html", *children, lang=lang)
    return f"<!doctype html>\n<!-- {words} -->\n{root.text}\n"


def _attribute(key: str, value: Value) -> str:
    name = key.rstrip("_").replace("_", "-")
    match value:
        case None | False:
            return ""
        case True:
            return f" {name}"
        case float():
            return f' {name}="{value:g}"'
        case _:
            return f' {name}="{_escaped(str(value))}"'


def _markup(child: Child) -> str:
    match child:
        case None:
            return ""
        case Html():
            return child.text
        case _:
            return _escaped(str(child))


def _escaped(text: str) -> str:
    return html.escape(defuse.block(text))
