"""What a turn without an answer leads to, as the table in `orch.runtime.recovery` says.

A session that cannot go on is over, and a fresh one may do better; a model that is down is followed by the
next one of the fallback models, and gets its role back when it has had time to recover; what nobody can help
ends the run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from orch.errors import ModelError, UnknownModel
from orch.mission import events as ev
from orch.mission import substitutes
from orch.mission.state import Session, SessionStatus
from orch.runtime import recovery
from orch.runtime.recorder import Recorder

COOL_DOWN_S = 300.0
"""How long after a switch to another model new sessions of the role begin with the role's own again."""


@dataclass(slots=True, eq=False)
class Failures:
    """The failures of one run. `switched` makes a session's conversation speak with its new model."""

    recorder: Recorder
    switched: Callable[[ev.SessionId], Awaitable[None]]
    cool_down_s: float = COOL_DOWN_S
    _switched_at: dict[ev.Role, float] = field(default_factory=dict)

    async def meet(self, session_id: ev.SessionId, error: ModelError) -> None:
        """Do what the table says about a turn of a session that got no answer."""
        if not self.recorder.is_running:
            return
        session = self.recorder.state.sessions[session_id]
        row = recovery.action_for(error)
        if row is None or row.action in recovery.OF_ITS_SESSION:
            await self._fail_session(session, str(error))
        elif row.action is recovery.Action.SWITCH and self._may_switch(session, error):
            await self._switch(session, str(error))
        else:
            await self._fail_run(row.outcome, str(error), is_usage=row.outcome is ev.Outcome.ERROR)

    async def restore_models(self) -> None:
        """Let new sessions begin with the models of their roles that have had time to come back."""
        now = asyncio.get_running_loop().time()
        state = self.recorder.state
        rested = [role for role in state.substitutes if now - self._switched_at[role] >= self.cool_down_s]
        await self.recorder.record(
            *(ev.ModelRestored(role=role, model=state.models[role]) for role in rested)
        )

    def _may_switch(self, session: Session, error: ModelError) -> bool:
        """Whether another model can help; a name that never was one is for the person to put right."""
        state = self.recorder.state
        if not state.fallback or session.status is not SessionStatus.RUNNING:
            return False
        is_slip = isinstance(error, UnknownModel) and substitutes.is_own(state, session)
        return not is_slip or session.model in state.spending.by_model

    async def _switch(self, session: Session, reason: str) -> None:
        """Have the session go on with the next model; without one the run parks."""
        state = self.recorder.state
        model = substitutes.following(state, session)
        if model is None:
            models = ", ".join(state.fallback)
            text = f"{reason}; the fallback models ({models}) are used up"
            await self._fail_run(ev.Outcome.PROVIDER, text, is_usage=False)
            return
        self._switched_at[session.role] = asyncio.get_running_loop().time()
        await self.recorder.record(
            ev.ModelSwitched(
                session=session.id,
                item=session.item,
                role=session.role,
                model=model,
                before=session.model,
                reason=reason,
            )
        )
        await self.switched(session.id)

    async def _fail_session(self, session: Session, reason: str) -> None:
        if session.status is SessionStatus.RUNNING:
            failed = ev.SessionOutcome.FAILED
            await self.recorder.record(
                ev.SessionEnded(session=session.id, item=session.item, outcome=failed, reason=reason)
            )

    async def _fail_run(self, outcome: ev.Outcome, text: str, *, is_usage: bool) -> None:
        await self.recorder.record(ev.MissionFailed(outcome=outcome, text=text, is_usage=is_usage))
