"""Keeps a session's history such that its model takes it: short enough, and in order.

Theory of operation. Between two turns the next request is compared with the window; one that would fill it is
compacted first (`orch.mission.compaction` says how), and so is one that the endpoint refused as too large,
to half of that. The summary of old turns is the model's own, asked for like a turn: within the budget,
through the gate, on record before it is made. Where none comes, what code can say of the turns stands alone.
A history that is refused for another reason is repaired, and its thoughts are left out. Each is done once a
turn; what did not help is the session's end, with `ContextOverflow` or the refusal itself.
"""

from dataclasses import dataclass

from orch.errors import ContextOverflow, InvalidHistory, ModelError, ToolError
from orch.mission import compaction, plan, repair, size, transcript
from orch.mission import events as ev
from orch.mission.compaction import Cut, Fit, Window
from orch.mission.state import Session
from orch.mission.transcript import UserMessage
from orch.models.interface import Ask
from orch.models.wire import Counts
from orch.runtime import recovery
from orch.runtime.asking import Asking, Voice
from orch.runtime.budget import Forecast, priced
from orch.tools import edits, files
from orch.tools.desk import Desk

BYTES_PER_WORD = 7
"""Of a summary: what its model is told to write at most, in words."""
_PRESENT_FILES = "[orch] The files of your item as they are now (each line behind its number):"
_PRESENT_EVIDENCE = "[orch] Your evidence, fresh as long as the item's files stay as they were:"
_PRESENT_PLAN = "[orch] The plan as it stands now:"

Present = tuple[str, dict[str, str | None]]
"""What a session is shown of its work as it is now, and the hashes of the files in it."""


@dataclass(slots=True)
class Upkeep:
    """Makes the history of one session fit and valid; each change is an event of it."""

    desk: Desk
    voice: Voice
    asking: Asking
    forecast: Forecast

    @property
    def _session(self) -> Session:
        return self.desk.session

    @property
    def window(self) -> Window:
        """What the session's model can hold."""
        facts = self.voice.facts
        thinking = facts.thinking if isinstance(facts.thinking, int) else 0
        return Window(facts.context_tokens, facts.output_tokens, thinking)

    def is_due(self, said: tuple[str, ...]) -> bool:
        """Whether the next request, with what was `said` behind the history, would fill the window."""
        return self.forecast.tokens(self._session, said) > self.window.full_tokens

    async def make_room(self) -> bool:
        """Make the history fit; say whether there was anything that could go.

        Raises:
            ContextOverflow: It cannot be made to fit.
        """
        before = self.forecast.tokens(self._session, ())
        if compaction.is_young(self._session.messages) and before <= self.window.room_tokens:
            return False
        await self._compact(before, self.window.enough_tokens, ev.CompactionCause.FULL)
        return True

    async def mend(self, error: ModelError) -> bool:
        """Do what helps against a refusal of the history, once a turn; say whether it is worth asking again.

        Raises:
            ContextOverflow: It cannot be made to fit.
        """
        row = recovery.action_for(error)
        turns = self._session.turns
        if row is None or turns in (self._session.overflowed_turn, self._session.repaired_turn):
            return False
        if row.action is recovery.Action.COMPACT:
            before = self.forecast.tokens(self._session, ())
            enough = min(self.window.enough_tokens, int(before * compaction.HALF))
            await self._compact(before, enough, ev.CompactionCause.OVERFLOW)
            return True
        return row.action is recovery.Action.REPAIR and await self._repair("refused by its endpoint")

    async def mend_invalid(self) -> None:
        """Repair a history that an earlier run left in disorder: no endpoint would take it."""
        try:
            transcript.check(self._session.messages)
        except InvalidHistory as error:
            await self._repair(str(error))

    async def _repair(self, why: str) -> bool:
        messages = self._session.messages
        if repair.without_thinking(repair.repair(messages)) == messages:
            return False
        text = f"the history of {self.desk.session_id} was put right, and its thoughts left out ({why})"
        await self.desk.record(
            ev.Heal(session=self.desk.session_id, item=self._session.item, text=text, history=True)
        )
        return True

    # ---- making it fit

    async def _compact(self, before: int, enough: int, cause: ev.CompactionCause) -> None:
        fit = Fit(self._session.messages, self.forecast.fixed_tokens, before, enough)
        dropped = compaction.dropped(fit, self._owned())
        if not dropped:
            await self._summarise(fit, cause)
            return
        after = fit.after(compaction.without_results(fit.messages, dropped))
        await self.desk.record(
            ev.Compaction(
                session=self.desk.session_id,
                item=self._session.item,
                stage=ev.CompactionStage.DROPPED,
                cause=cause,
                before_tokens=before,
                after_tokens=after,
                dropped=dropped,
            )
        )

    async def _summarise(self, fit: Fit, cause: ev.CompactionCause) -> None:
        session = self._session
        cut = compaction.cut(fit, session.brief, self.window.share_bytes)
        if cut is None or self._was_summarised_just_now():
            raise self._does_not_fit()
        gone = fit.messages[: cut.kept_from]
        present, seen = await self._present(2 * cut.part_bytes)
        told_bytes = fit.estimated(fit.enough_tokens) * size.BYTES_PER_TOKEN
        summary, usage = await self._summary(compaction.as_text(gone, told_bytes), cut)
        digest = compaction.newest_lines(compaction.digest(gone, session.digest), cut.part_bytes)
        said = compaction.clipped(compaction.said_last(gone), cut.part_bytes)
        text = compaction.remainder(compaction.clipped(summary, 2 * cut.part_bytes), digest, said, present)
        kept = fit.messages[cut.kept_from :]
        await self.desk.record(
            ev.Compaction(
                session=session.id,
                item=session.item,
                stage=ev.CompactionStage.SUMMARISED if summary else ev.CompactionStage.DIGESTED,
                cause=cause,
                before_tokens=fit.before_tokens,
                after_tokens=fit.after(compaction.with_summary(session.brief, text, kept)),
                kept_from=cut.kept_from,
                text=text,
                digest=digest,
                seen=seen,
                usage=usage,
            ),
            *self.voice.budget.news(),
        )
        if self._session.counted_tokens > fit.enough_tokens:
            raise self._does_not_fit()

    def _was_summarised_just_now(self) -> bool:
        last = self._session.summarised_turn
        return last is not None and self._session.turns - last < compaction.LASTING_TURNS

    def _does_not_fit(self) -> ContextOverflow:
        tokens = self.voice.facts.context_tokens
        return ContextOverflow(
            f"its history does not fit into the window of {self._session.model} ({tokens:,} tokens), and "
            "nothing more of it can go; a model with a larger window, or smaller items, may help"
        )

    def _owned(self) -> tuple[str, ...]:
        return self.desk.item.files if self._session.role is ev.Role.WORKER else ()

    # ---- what stands in the place of old turns

    async def _summary(self, told: str, cut: Cut) -> tuple[str, ev.Usage | None]:
        """Have the model sum up the turns that go, of which it is `told`; an empty text if it does not.

        Raises:
            ModelError: It gives no answer to anything now.
        """
        session = self._session
        words = 2 * cut.part_bytes // BYTES_PER_WORD
        system = compaction.SUMMARISER.format(role=session.role.capitalize(), words=words)
        ask = Ask(system, (UserMessage(text=told),), ())
        counts = Counts(size.tokens_in((system, told)), 2 * cut.part_bytes // size.BYTES_PER_TOKEN)
        async with self.voice.budget.call(priced(counts, self.voice.facts)) as call:
            await self.desk.record(
                ev.TurnStarted(
                    session=session.id,
                    item=session.item,
                    turn=session.turns + 1,
                    model=session.model,
                    estimate=call.estimate,
                )
            )
            try:
                reply = await self.asking.answer(ask, call)
            except ModelError as error:
                row = recovery.action_for(error)
                if row is None or row.action not in recovery.OF_ITS_SESSION:
                    raise
                return "", None
        usable = reply.finish in (ev.FinishReason.STOP, ev.FinishReason.LENGTH)
        return reply.message.text.strip() if usable else "", reply.usage

    async def _present(self, limit_bytes: int) -> Present:
        """Return what the session works with, as it is now: its files, its evidence, or the plan."""
        match self._session.role:
            case ev.Role.WORKER:
                return await self._files(limit_bytes)
            case ev.Role.REVIEWER:
                return self._evidence(limit_bytes), {}
            case ev.Role.COMMANDER | ev.Role.PLANNER:
                return self._plan(limit_bytes), {}

    def _plan(self, limit_bytes: int) -> str:
        """Return the plan as a checklist, if there is one."""
        state = self.desk.place.state()
        return (
            compaction.clipped(f"{_PRESENT_PLAN}\n{plan.todo_md(state)}", limit_bytes) if state.items else ""
        )

    def _evidence(self, limit_bytes: int) -> str:
        """Return what a Reviewer may cite."""
        lines = [
            f"- {evidence.evidence}, exit {evidence.exit_code}: {evidence.command}"
            for evidence in self.desk.place.state().evidence.values()
            if evidence.session == self.desk.session_id and not evidence.void
        ]
        newest = compaction.newest_lines("\n".join(lines), limit_bytes)
        return f"{_PRESENT_EVIDENCE}\n{newest}" if newest else ""

    async def _files(self, limit_bytes: int) -> Present:
        """Return the text of the item's files, as many as can be shown."""
        paths = self.desk.item.files
        shown = paths[: max(1, limit_bytes // compaction.LEAST_DROPPED_CHARS)]
        parts, seen = [_PRESENT_FILES], dict[str, str | None]()
        for path in shown:
            try:
                result = await edits.read(self.desk, path, 1, files.PAGE_LINES)
            except ToolError as error:
                parts.append(f"{path}: {error}")
                continue
            parts.append(f"{path}:\n{compaction.clipped(result.text, limit_bytes // len(shown))}")
            seen |= result.seen
        if len(shown) < len(paths):
            parts.append(f"Not shown: {', '.join(paths[len(shown) :])}")
        return "\n\n".join(parts), seen
