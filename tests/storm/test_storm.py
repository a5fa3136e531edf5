"""Fifty sessions at an endpoint that refuses 95 of 100 requests: all finish, and it is not asked in vain."""

from collections.abc import Callable
from pathlib import Path

from tests.program import bench
from tests.storm import storm

LASTS_S = 3.0


def test_in_a_storm_every_session_finishes_on_few_requests(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The mission is sealed; nobody asks before the time it was told, and a person is told in a few lines."""
    figures = storm.run(bench(tmp_path), LASTS_S, "a storm")

    assert figures.ended.code == 0, figures.ended.err
    assert figures.sealed
    assert figures.early_of_session == 0, figures.text()
    assert figures.early_of_any < storm.ON_ITS_WAY, figures.text()
    assert figures.requests <= 3 * figures.useful, figures.text()
    assert figures.lines == 1, figures.ended.err
    record_property("figure", figures.text())
