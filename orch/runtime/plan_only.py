"""How a dry run ends: its plan is put into words, with what it may cost.

Looks at the sizes of the plan's files and at the journals of earlier missions, and changes nothing. A journal
that cannot be read is no basis, and no reason to fail.
"""

import os
from collections.abc import Callable

from orch.config import ModelFacts, ModelRef
from orch.errors import OrchError
from orch.mission import events as ev
from orch.mission.estimate import Experience, Price, estimate, experience
from orch.mission.outline import outline
from orch.mission.state import MissionState, plan_files
from orch.runtime import survey
from orch.store.folder import Folder

MISSIONS_MAX = 5
"""The latest missions that an estimate rests on: older ones had other models and another project."""


def planned(
    folder: Folder, state: MissionState, facts: Callable[[ModelRef], ModelFacts]
) -> ev.MissionPlanned:
    """Return the end of a dry run. Blocks."""
    sizes = {path: _size(folder, path) for path in plan_files(state)}
    prices = {role: _price(ModelRef.parse(model), facts) for role, model in state.models.items()}
    cost = estimate(state, sizes, _experience(folder, state), prices)
    return ev.MissionPlanned(text=outline(state, cost), estimate=cost)


def _size(folder: Folder, path: str) -> int | None:
    try:
        return os.lstat(folder.workspace / path).st_size
    except OSError:
        return None


def _price(ref: ModelRef, facts: Callable[[ModelRef], ModelFacts]) -> Price:
    known = facts(ref)
    return Price(str(ref), known.input_usd_per_mtok, known.output_usd_per_mtok, known.cached_usd_per_mtok)


def _experience(folder: Folder, state: MissionState) -> Experience:
    """Return what the latest missions tell; one played by a script tells nothing of a model."""
    found = Experience()
    others = (mission for mission in survey.mission_ids(folder) if mission != state.mission)
    for mission, _ in zip(others, range(MISSIONS_MAX), strict=False):
        before = _read(folder, mission)
        if before is not None and before.demo == state.demo:
            found = found.plus(experience(before))
    return found


def _read(folder: Folder, mission: ev.MissionId) -> MissionState | None:
    try:
        return survey.Follower(folder, mission).catch_up()
    except OrchError:
        return None
