"""A mission without what only its sessions need: the conversations, the texts of plans, what commands said.

A gist is a `MissionState` of which all that `orch status` and a live view show is true; the rest is empty.
`gist` makes one, `follow` reduces an event into one: who follows a mission for a day holds a few hundred KB.
What a history would forbid, it allows: the journal's writer has checked that. Nothing is decided by a gist,
and no mission goes on from one.
"""

from orch.mission.events import Event, VerificationFinished
from orch.mission.evolve import evolve
from orch.mission.moves import with_session
from orch.mission.reduce import reduce
from orch.mission.state import MissionState, Session
from orch.mission.transcript import History, ToolMessage

_SOMETHING: History = (ToolMessage(call_id="…", text="…"),)
"""Stands for any history that is not empty: one behind which every event may come."""


def gist(state: MissionState) -> MissionState:
    """Return the mission without its histories and long texts."""
    run = state.verification
    return evolve(
        state,
        instructions=(),
        sessions={sid: _session(session) for sid, session in state.sessions.items()},
        items={
            iid: evolve(item, spec=item.spec.model_copy(update={"instructions": ""}))
            for iid, item in state.items.items()
        },
        evidence={
            eid: fact.model_copy(update={"files": {}, "log": ""}) for eid, fact in state.evidence.items()
        },
        verification=evolve(run, results=_silent(run.results)) if run is not None else None,
        verified=_silent(state.verified),
    )


def follow(state: MissionState, event: Event) -> MissionState:
    """Return the gist after `event`. Raises `IllegalTransition` like `reduce`."""
    state = reduce(state, event)
    session = state.sessions.get(event.session) if event.session is not None else None
    return with_session(state, _session(session)) if session is not None else state


def _session(session: Session) -> Session:
    return evolve(
        session,
        brief="",
        messages=_SOMETHING if session.messages else (),
        counted_messages=0,
        digest="",
        open_calls=tuple(
            call.model_copy(update={"arguments": "{}", "malformed": None}) for call in session.open_calls
        ),
        crashes=0,
        seen={},
    )


def _silent(results: tuple[VerificationFinished, ...]) -> tuple[VerificationFinished, ...]:
    return tuple(result.model_copy(update={"output": ""}) for result in results)
