"""Which model a session asks: its role's own one, or a substitute from the mission's fallback models.

A role's models stand in an order: its own, then the fallback models. A session whose model gives no answer
goes on with the next one, and the sessions of its role that start later begin with it. It never goes back by
itself; new sessions do when `model.restored` says so, and a resume begins with each role's own model again.
"""

from collections.abc import Mapping

from orch.errors import IllegalTransition
from orch.mission import events as ev
from orch.mission.evolve import evolve
from orch.mission.moves import session_move, with_session
from orch.mission.state import MissionState, Session, SessionStatus, distinct


def order(state: MissionState, role: ev.Role) -> tuple[str, ...]:
    """Return the models of a role, its own one first."""
    return distinct((state.models[role], *state.fallback))


def present(state: MissionState, role: ev.Role) -> str:
    """Return the model with which a new session of the role starts."""
    return state.substitutes.get(role, state.models[role])


def following(state: MissionState, session: Session) -> str | None:
    """Return the model to go on with when the session's gives no answer; `None` if all are used up.

    What another session of the role has found out meanwhile is not tried again.
    """
    models = order(state, session.role)
    tried = models.index(session.model) + 1 if session.model in models else 0
    at = max(tried, models.index(present(state, session.role)))
    return models[at] if at < len(models) else None


def is_own(state: MissionState, session: Session) -> bool:
    """Whether the session asks its role's own model."""
    return session.model == state.models[session.role]


def with_own_model(session: Session, models: Mapping[ev.Role, str]) -> Session:
    """Return a session as another run takes it up: with the model that its role has there."""
    return session if session.status is SessionStatus.ENDED else evolve(session, model=models[session.role])


def model_switched(state: MissionState, event: ev.ModelSwitched) -> MissionState:
    """Let the session, and new ones of its role, ask another model."""
    session, status = session_move(state, event)
    if session.open_turn or event.role is not session.role or event.before != session.model:
        raise IllegalTransition(f"{event.type} in session {session.id}, which asks {session.model}")
    session = evolve(session, status=status, model=event.model, last_activity=event.ts)
    return evolve(with_session(state, session), substitutes={**state.substitutes, session.role: event.model})


def model_restored(state: MissionState, event: ev.ModelRestored) -> MissionState:
    """Let new sessions of the role ask its own model."""
    left = {role: model for role, model in state.substitutes.items() if role is not event.role}
    return evolve(state, substitutes=left)
