"""The clock of a run counts what passes, whatever the wall clock shows meanwhile."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.runtime.clock import Clock

DAY_S = 86_400.0
BEGAN = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
_JUMPS = st.lists(st.sampled_from([0.0, 1.0, -1.0, 3600.0, -3600.0, DAY_S, -DAY_S]), min_size=2, max_size=20)
_STEPS = st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000)


@pytest.mark.fault(47)
@given(jumps=_JUMPS, data=st.data())
def test_between_two_looks_lies_what_passed(jumps: Sequence[float], data: st.DataObject) -> None:
    """The wall clock jumps a second, an hour or a day at any look, or stands still."""
    steps = data.draw(st.lists(_STEPS, min_size=len(jumps), max_size=len(jumps)))
    passed = [1000.0, *accumulate(steps, initial=1000.0)]
    wall = (BEGAN + timedelta(seconds=jump) for jump in accumulate(jumps))
    passing = iter(passed)
    clock = Clock(lambda: next(wall), lambda: next(passing))

    told = [datetime.fromisoformat(clock.now()) for _ in passed[1:]]

    assert told[0] == BEGAN + timedelta(seconds=jumps[0])
    for (one, other), step in zip(pairwise(told), steps, strict=True):
        assert abs((other - one).total_seconds() - step) <= 0.002
        assert one <= other


def test_it_tells_the_time_of_day() -> None:
    """In UTC, to the millisecond."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    told = datetime.fromisoformat(Clock().now())
    assert before <= told <= datetime.now(UTC) + timedelta(milliseconds=1)
