"""`orch status --report FILE`: one page at the place that was named, or a word on why not."""

import os
from pathlib import Path

import pytest

from orch.commands import report
from orch.errors import UsageError
from tests import play
from tests.program import Bench


def test_a_mission_becomes_one_page_where_a_person_asked_for_it(bench: Bench, tmp_path: Path) -> None:
    """Relative to the current directory, not to -C; a file that was there is replaced; stdout stays empty."""
    with bench.served(play.mission(play.item("a"), verify=["grep -q made a.txt"])):
        assert bench.task("-q").code == 0
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "mission.html").write_text("something else")
    ended = bench.run("status", "-C", str(bench.workspace), "--report", "mission.html", cwd=place)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.splitlines() == [
        f"orch: the report of {bench.missions[0].name} is {place / 'mission.html'}"
    ]
    page = (place / "mission.html").read_text()
    assert page.startswith("<!doctype html>\n<!-- orch:report -->")
    assert "✓" in page
    assert "grep -q made a.txt" in page
    assert sorted(place.iterdir()) == [place / "mission.html"]


def test_without_a_mission_there_is_nothing_to_report(bench: Bench) -> None:
    """Exit 2, and no file."""
    ended = bench.run("status", "--report", "mission.html")
    assert ended.code == 2
    assert "no mission" in ended.err
    assert not list(bench.workspace.iterdir())


def test_a_place_that_cannot_hold_a_page_is_refused(tmp_path: Path) -> None:
    """A folder, a device, a folder that does not exist: named, before anything is read."""
    for file in (tmp_path, Path(os.devnull), tmp_path / "missing" / "mission.html"):
        with pytest.raises(UsageError, match=str(file)):
            report.check(file)
    report.check(tmp_path / "mission.html")
