"""Missions among accidents: commands whose output is no text, and people who meddle with what orch shows."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from orch.mission import events as ev
from orch.store.board import GENERATED
from tests.endpoint import Step
from tests.play import Player, Scene, approve, build, item, lead, mission, plan, run
from tests.runtime.house import House

NOISE = (
    r"printf 'a\0b\001\033]0;title\007\033[31mred\377\376\355\240\200\302\205\357\277\277"
    r"\342\200\256\360\220\200 \\u0000 \\ud800 \"\\'; head -c 20000 /dev/urandom; printf '\342\202'"
)


@pytest.mark.fault(32)
def test_output_that_is_no_text_reaches_the_model_as_text(house: House) -> None:
    """NUL, escapes, halves of characters, random bytes: each request is valid, and the mission seals."""
    seen: list[str] = []

    def reviewer(scene: Scene) -> Step:
        """Look at the noise first; the endpoint refuses a request that is not valid JSON in UTF-8."""
        seen.extend(done.result for done in scene.results("bash")[:1])
        return run(NOISE)(scene)

    ended = house.begin(mission(item("a", setup=NOISE), reviewer=reviewer, verify=[NOISE]))

    assert ended.result.subtype == "sealed"
    assert seen[0].startswith("evidence E1 · exit 0")
    assert "a" in seen[0]
    text = "".join(ended.said("bash")) + ended.result.model_dump_json()
    assert "\0" not in text
    assert text.encode().decode() == text
    journal = house.folder.mission(house.mission).journal.read_bytes()
    assert b"\0" not in journal
    assert journal.isascii()


def _accidents(folder: Path) -> list[Callable[[], object]]:
    """Return what may happen to the views, for each of them."""

    def away(path: Path) -> None:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)

    def folders(path: Path) -> None:
        away(path)
        path.mkdir()

    def links(path: Path) -> None:
        away(path)
        path.symlink_to("/dev/zero")

    def holds(data: bytes) -> Callable[[Path], None]:
        def put(path: Path) -> None:
            away(path)
            path.write_bytes(data)

        return put

    merge = b"<<<<<<< HEAD\n- [x] a\n=======\n- [ ] a\n>>>>>>> theirs\n"
    kinds = (
        away,
        holds(b""),
        holds(GENERATED + b"\n" + merge),
        holds(GENERATED + b"\n- [x] a\n- [x] b\n- [x] zzz\n"),
        holds(GENERATED + b"\n" + b"x" * 10_000_000),
        holds(bytes(range(256)) * 10),
        folders,
        links,
    )
    views = (folder / "todo.md", folder / "issues.md")
    return [lambda kind=kind: [kind(view) for view in views] for kind in kinds]  # type: ignore[misc]


@pytest.mark.fault(38)
def test_whatever_becomes_of_the_views_the_mission_is_the_same(house: House) -> None:
    """At each turn something else happens to both; the state is the journal's, and both stand somewhere."""
    accidents = itertools.cycle(_accidents(house.folder.root))

    def shaken(player: Player) -> Player:
        def shakes(scene: Scene) -> Step:
            next(accidents)()
            return player(scene)

        return shakes

    items = [item("a"), item("b", after=["a"]), item("c", after=["a"])]
    ended = house.begin(
        mission(
            commander=shaken(lead),
            planner=shaken(plan(*items)),
            worker=shaken(build),
            reviewer=shaken(approve),
        )
    )

    assert ended.result.subtype == "sealed"
    assert ended.result.todo.done == ended.result.todo.total == 3
    assert ended.all(ev.FileChanged) == [event for event in ended.all(ev.FileChanged) if event.by_tool]
    for name in ("todo.md", "issues.md"):
        places = [place for place in (house.folder.root / name, house.folder.orch / name) if place.is_file()]
        assert any(place.read_bytes().startswith(GENERATED) for place in places if not place.is_symlink())
