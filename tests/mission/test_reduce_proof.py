"""Tests of what the events of proof change."""

from orch.mission.reduce import reduce
from tests.mission.samples import EVIDENCE, a_mission, refused, stamped


def test_evidence_cannot_be_recorded_twice() -> None:
    """An evidence id stands for one command."""
    state = reduce(a_mission(), stamped(EVIDENCE, 10))

    refused(state, EVIDENCE)
