"""Every fault, on every wire, is healed as promised, and the mission ends as it should."""

import pytest

from tests.heals.faults import Case, Wire, rows
from tests.heals.table import play


@pytest.mark.parametrize(("case", "wire"), rows(), ids=[f"{case.name}, {wire}" for case, wire in rows()])
def test_a_fault_is_healed(case: Case, wire: Wire) -> None:
    """The journal names what healed it; a fault costs requests, never the end of the mission."""
    line = play(case, wire)

    assert line.is_as_promised, str(line)
