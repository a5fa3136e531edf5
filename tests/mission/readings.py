"""Small plans, and what a test reads off a mission that was played."""

from collections import Counter

from orch.mission import events as ev
from tests.mission.casts import (
    spec,
)
from tests.mission.simulation import (
    Outcomes,
    Plan,
    Simulation,
)

ONE = Plan((spec("a"),), ("verify",))
TWO = Plan((spec("a"), spec("b")), ("verify",))
LIMIT = ev.BlockerKind.LIMIT


def roles(mission: Simulation) -> Counter[ev.Role]:
    """Count the sessions by role."""
    return Counter(s.role for s in mission.state.sessions.values())


def types(mission: Simulation) -> list[str]:
    """Name what happened, in order."""
    return [event.type for event in mission.events]


def statuses(mission: Simulation) -> dict[str, str]:
    """Name each item's status."""
    return {key: item.status.value for key, item in mission.state.items.items()}


def told(mission: Simulation, reason: ev.MessageReason) -> list[ev.MessageSent]:
    """Return the messages that were sent for a reason."""
    return [e for e in mission.events if isinstance(e, ev.MessageSent) and e.reason is reason]


def red(times: int, output: str) -> Outcomes:
    """Return outcomes of orch's own commands: red so many times at the seal, green before and after."""
    left = [times]

    def outcome(simulation: Simulation, _command: str) -> tuple[int, str]:
        run = simulation.state.verification
        if run is None or run.phase is not ev.VerificationPhase.SEAL or not left[0]:
            return 0, ""
        left[0] -= 1
        return 1, output

    return outcome
