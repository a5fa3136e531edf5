"""Killed at any call that changes the world, a mission goes on as if nothing had happened.

A part of the cases of `python -m tests.switch`: some that are spread evenly, and the first and the last point
of each kind.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.switch.cases import Case, counted, crash, deaths, play
from tests.switch.switch import Death, When

SPREAD, TWICE = 16, 5
Note = Callable[[str, object], None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are named by /proc")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Return the points of the mission."""
    return counted(tmp_path_factory.mktemp("switch") / "counted")


def _ends(points: Sequence[str]) -> Iterator[Death]:
    """Yield a death after the first point of each kind and one before the last."""
    kinds = dict.fromkeys(point.partition(" ")[0] for point in points)
    for kind in kinds:
        numbered = [death for death in deaths(points) if death.point.startswith(f"{kind} ")]
        yield next(death for death in numbered if death.when is When.AFTER)
        yield [death for death in numbered if death.when is When.BEFORE][-1]


@pytest.mark.fault(2, 40)
@pytest.mark.timeout(240)  # some thirty missions, two runs each
def test_a_mission_survives_a_crash_at_any_point(
    points: Sequence[str], tmp_path: Path, record_property: Note
) -> None:
    """It seals; nothing acknowledged is lost, done twice or mixed, nothing is left behind."""
    every = list(deaths(points))
    chosen = dict.fromkeys([*_ends(points), *every[:: len(every) // SPREAD]])

    verdicts = play([Case(death) for death in chosen], tmp_path, crash, print)

    assert [verdict for verdict in verdicts if verdict.wrong] == []
    reached = sum(verdict.reached for verdict in verdicts)
    record_property(
        "figure", f"{reached} kills, 0 violations; {len(every)} cases at {len(points)} points in all"
    )
    assert reached > len(verdicts) // 2


@pytest.mark.fault(3)
def test_a_mission_survives_a_crash_in_the_resume_after_a_crash(
    points: Sequence[str], tmp_path: Path, record_property: Note
) -> None:
    """At the first things a resume does, and later."""
    every = list(deaths(points))
    step = len(every) // TWICE
    cases = [
        Case(death, Death("", 1 + 9 * number, (When.BEFORE, When.AFTER)[number % 2]))
        for number, death in enumerate(every[step // 2 :: step])
    ]

    verdicts = play(cases, tmp_path, crash, print)

    assert [verdict for verdict in verdicts if verdict.wrong] == []
    record_property("figure", f"{sum(verdict.reached for verdict in verdicts)} times two kills, 0 violations")
