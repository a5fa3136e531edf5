"""The plan as a picture: items in layers, each to the right of all that it depends on.

A fix hangs on the item that it fixes, by a dashed line. An item's state is a word and a form of border as
well as a colour. A layer of many items goes on in further columns, so that two hundred can be scrolled over.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orch.mission.events import ItemId, ItemOrigin
from orch.mission.state import Item, ItemStatus
from orch.view import defuse
from orch.view.report import words
from orch.view.report.markup import Html, tag

MOST_ITEMS = 400
"""Items in the picture; all are in the table, as far as it goes."""
TALLEST = 24
"""Items above each other; a layer of more has several columns."""
NODE_WIDTH, NODE_HEIGHT = 196, 52
GAP_X, GAP_Y = 64, 16
COLUMN_GAP = 24
MARGIN = 12
TEXT_COLUMNS = 28
GLYPHS: Mapping[ItemStatus, str] = {
    ItemStatus.PENDING: "○",
    ItemStatus.WORKING: "▶",
    ItemStatus.SUBMITTED: "◐",
    ItemStatus.REVIEWING: "◑",
    ItemStatus.REJECTED: "↺",
    ItemStatus.COMPLETED: "✓",
    ItemStatus.FAILED: "✗",
    ItemStatus.BLOCKED: "■",
    ItemStatus.DROPPED: "-",
}
_FIX = re.compile(r"(.+)\.fix\d+")


@dataclass(frozen=True, slots=True)
class Place:
    """The left upper corner of an item."""

    x: float
    y: float


def origin_of(item: Item, known: Iterable[ItemId]) -> ItemId | None:
    """Return the item that a fix was made for."""
    found = _FIX.fullmatch(item.spec.id) if item.origin is ItemOrigin.FIX else None
    origin = ItemId(found[1]) if found else None
    return origin if origin in set(known) else None


def graph(items: Mapping[ItemId, Item], anchors: Mapping[ItemId, str]) -> Html:
    """Return the picture of a plan; its items link to their rows."""
    drawn = dict(list(items.items())[:MOST_ITEMS])
    before = {key: _before(item, drawn) for key, item in drawn.items()}
    places = _places(layers(before))
    width = max((p.x for p in places.values()), default=0) + NODE_WIDTH + MARGIN
    height = max((p.y for p in places.values()), default=0) + NODE_HEIGHT + MARGIN
    edges = [
        _edge(places[one], places[key], is_fix=origin_of(drawn[key], drawn) == one)
        for key, ones in direct(before).items()
        for one in ones
    ]
    nodes = [_node(drawn[key], place, anchors.get(key)) for key, place in places.items()]
    shown = words.count(len(drawn), "item")
    cut = f" of {len(items)}" if len(drawn) < len(items) else ""
    return tag(
        "svg",
        tag("title", "The plan as a graph", id="graph-title"),
        tag("desc", f"{shown}{cut}, left to right by dependency; the table below has all.", id="graph-desc"),
        tag("g", *edges, class_="edges"),
        *nodes,
        class_="graph",
        role="group",
        aria_labelledby="graph-title graph-desc",
        width=width,
        height=height,
        viewBox=f"0 0 {width:g} {height:g}",
    )


def layers(before: Mapping[ItemId, Sequence[ItemId]]) -> list[list[ItemId]]:
    """Return the items by how long the longest way to them is; near what they depend on."""
    depth: dict[ItemId, int] = {}
    left = list(before)
    while left:
        ready = [key for key in left if all(one in depth for one in before[key])]
        for key in ready or left:  # a circle is never accepted as a plan; it would end here
            depth[key] = max((depth.get(one, 0) + 1 for one in before[key]), default=0)
        left = [key for key in left if key not in depth]
    found: list[list[ItemId]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key, level in depth.items():
        found[level].append(key)
    for upper, lower in pairwise(found):
        rank = {key: number for number, key in enumerate(upper)}
        lower.sort(key=lambda key: _middle([rank[one] for one in before[key] if one in rank]))
    return found


def direct(before: Mapping[ItemId, Sequence[ItemId]]) -> Mapping[ItemId, Sequence[ItemId]]:
    """Leave out what follows from the rest: who waits for a parser need not be seen to wait for its lexer."""
    all_before: dict[ItemId, set[ItemId]] = {}
    for layer in layers(before):
        for key in layer:
            known = (all_before.get(one, set()) for one in before[key])
            all_before[key] = set(before[key]).union(*known)
    return {
        key: [one for one in ones if not any(one in all_before[other] for other in ones if other != one)]
        for key, ones in before.items()
    }


def _middle(ranks: Sequence[int]) -> float:
    return sum(ranks) / len(ranks) if ranks else 0.0


def _before(item: Item, drawn: Mapping[ItemId, Item]) -> tuple[ItemId, ...]:
    origin = origin_of(item, drawn)
    depends = (d for d in (*item.spec.depends_on, *([origin] if origin else ())) if d in drawn)
    return tuple(dict.fromkeys(d for d in depends if d != item.spec.id))


def _places(found: Sequence[Sequence[ItemId]]) -> dict[ItemId, Place]:
    tallest = max((min(len(layer), TALLEST) for layer in found), default=0)
    places: dict[ItemId, Place] = {}
    x = float(MARGIN)
    for layer in found:
        columns = -(-len(layer) // TALLEST)
        rows = -(-len(layer) // columns)
        top = MARGIN + (tallest - rows) * (NODE_HEIGHT + GAP_Y) / 2
        for number, key in enumerate(layer):
            column, row = divmod(number, rows)
            places[key] = Place(x + column * (NODE_WIDTH + COLUMN_GAP), top + row * (NODE_HEIGHT + GAP_Y))
        x += columns * NODE_WIDTH + (columns - 1) * COLUMN_GAP + GAP_X
    return places


def _edge(one: Place, other: Place, *, is_fix: bool) -> Html:
    x1, y1 = one.x + NODE_WIDTH, one.y + NODE_HEIGHT / 2
    x2, y2 = other.x, other.y + NODE_HEIGHT / 2
    bend = max(24.0, (x2 - x1) / 2)
    path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return tag("path", d=path, class_="fix" if is_fix else None)


def _node(item: Item, place: Place, anchor: str | None) -> Html:
    spec = item.spec
    box = tag("rect", width=NODE_WIDTH, height=NODE_HEIGHT, rx=6)
    name = defuse.line(spec.id, TEXT_COLUMNS - 4)
    title = defuse.line(spec.title, TEXT_COLUMNS)
    node = tag(
        "g",
        tag("title", f"{spec.id}: {defuse.line(spec.title)}; {item.status}"),
        box,
        tag("text", f"{GLYPHS[item.status]} {name}", x=10, y=17, class_="name"),
        tag("text", title, x=10, y=32),
        tag("text", item.status.value, x=10, y=46, class_="state"),
        class_=f"node {item.status}",
        transform=f"translate({place.x:g} {place.y:g})",
    )
    return tag("a", node, href=f"#{anchor}") if anchor else node
