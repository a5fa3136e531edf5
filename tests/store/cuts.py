"""What holds of every journal: from a checkpoint anywhere in it a reader comes to what all of it comes to."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from orch.mission.events import Event
from orch.mission.gist import follow, gist
from orch.mission.reduce import reduce
from orch.mission.state import MissionState
from orch.runtime import survey
from orch.store.checkpoint import Checkpoint, dumped, loaded
from orch.store.folder import Folder
from orch.store.records import START

NOWHERE = Folder(Path("/nowhere"))


def agrees_everywhere(events: Sequence[Event], cuts: Iterable[int]) -> None:
    """Assert that a checkpoint behind each of `cuts` events, and the rest, show what all of it shows."""
    wanted, states = MissionState(), [MissionState()]
    for event in events:
        wanted = reduce(wanted, event)
        states.append(wanted)
    for cut in cuts:
        kept = loaded(dumped(Checkpoint(START, 0, states[cut])))
        assert kept is not None
        state = kept.state
        assert state == gist(states[cut])
        for event in events[cut:]:
            state = follow(state, event)
        assert survey.entry(NOWHERE, state, None) == survey.entry(NOWHERE, wanted, None)
        assert gist(state) == gist(wanted), f"from the checkpoint at {cut} of {len(events)}"
