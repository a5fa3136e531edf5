"""A view with a bug is left out, and said once; the mission and the other views go on."""

from pathlib import Path

from orch.mission import events as ev
from orch.mission.state import MissionState
from tests.play import item, mission
from tests.runtime.house import House


class Broken:
    """A view that does not survive its third event."""

    def __init__(self) -> None:
        self.seen = 0

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Count."""
        del event, state
        self.seen += 1
        if self.seen == 3:
            raise RecursionError("too deep")


class Whole:
    """A view that hears everything."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Note the event."""
        del state
        self.seen.append(event.seq)


def test_a_view_with_a_bug_costs_only_itself(house: House) -> None:
    """The mission seals, who stands behind it in the row hears all, and the traceback is kept."""
    broken, whole = Broken(), Whole()
    house.views = (broken, whole)
    run = house.begin(mission(item("a")))

    assert run.result.exit_code == 0, run.result.result
    assert broken.seen == 3
    assert whole.seen == [event.seq for event in run.events]
    (said,) = [text for text in house.complaints if "RecursionError: too deep" in text]
    log = Path(said.rpartition("log: ")[2].rstrip(")"))
    assert "in show" in log.read_text()
