"""What `task` and `resume` share: they build the parts of a run out of the command line and the settings."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

from orch import config
from orch.commands import demo as demo_mode
from orch.commands import limits, start_lines
from orch.commands.place import folder_of
from orch.commands.run import Goes, carry_out
from orch.commands.screen import Form, Screen
from orch.config import Flags, ModelRef, Provider, Settings
from orch.errors import MissionHeld, UsageError
from orch.mission import events as ev
from orch.mission.caps import Caps
from orch.mission.reduce import replay
from orch.mission.result import Result
from orch.mission.state import MissionState, MissionStatus
from orch.mission.transcript import clean
from orch.models import catalog, scripted
from orch.models.client import shared_tls
from orch.models.connect import CLIENTS, known_models
from orch.models.gate_memory import GateMemory
from orch.models.interface import Model
from orch.models.patience import Limits
from orch.runtime import capacity, launch, survey
from orch.runtime.launch import Launch
from orch.store import journal, locks
from orch.store.folder import Folder
from orch.tools.child_environment import child_environment
from orch.tools.process_table import harden_self

_STAMP = "%Y%m%d-%H%M%S-%f"
_STAMP_CHARS = len("20260101-000000-000")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked for, whatever the command."""

    flags: Flags
    workspace: Path
    form: Form


def flags(
    model: str | None, by_role: Mapping[str, str | None], others: Mapping[str, str | float | None]
) -> Flags:
    """Return the settings that the command line gave; `others` are those of `Flags`, by name."""
    return Flags(
        model=model,
        role_models={ev.Role(role): name for role, name in by_role.items() if name is not None},
        **cast("dict[str, Any]", others),
    )


@dataclass(frozen=True, slots=True)
class Mode:
    """What kind of a mission: a question, one that only plans, one that a script plays."""

    answer: bool = False
    dry_run: bool = False
    demo: bool = False

    def check(self) -> None:
        """Raise `UsageError` for what excludes each other."""
        if self.answer and self.dry_run:
            raise UsageError("--answer changes nothing as it is, and has no plan: leave out --dry-run")


def start(asked: Asked, goal: Callable[[], str], mode: Mode) -> int:
    """Start a mission and run it; return the exit code."""
    demo = mode.demo

    def run(screen: Screen, goes: Goes) -> Result:
        mode.check()
        goes.goal = clean(demo_mode.goal(goal()) if demo else goal())
        if demo and (asked.flags.model or asked.flags.role_models or asked.flags.fallback_models):
            raise UsageError("--demo is played by a scripted model: leave out --demo, or the models")
        folder = folder_of(asked.workspace, make=demo)
        if demo:
            demo_mode.refuse_foreign(folder.workspace)
        settings = config.load(asked.flags, folder.workspace)
        models = _models(settings, demo=demo)
        fallback = _fallback(settings, settings.fallback_models, demo=demo)
        caps = limits.chosen(settings, Caps(), screen.say)
        asked_of = (*models.values(), *fallback)
        limits.check_prices(caps, asked_of, {}, limits.facts_of(settings, demo=demo))
        started = ev.MissionStarted(
            goal=goes.goal,
            orch_version=version("orch"),
            models={role: str(ref) for role, ref in models.items()},
            max_parallel=_slots(screen, settings),
            max_turns=settings.max_turns,
            role_turns=dict(settings.role_turns),
            instructions=settings.instructions,
            answer_only=mode.answer,
            dry_run=mode.dry_run,
            demo=demo,
            verify=settings.verify,
            baseline=settings.baseline,
            caps=caps,
            fallback=tuple(str(ref) for ref in fallback),
        )
        _mention(screen, settings, asked_of)
        if not asked.form.is_quiet:
            start_lines.tell(folder, child_environment(settings.environment), screen.say)
        begun = _launch(folder, _new_id(folder), settings, screen, demo=demo)
        goes.state, result = launch.begin(begun, started)
        return result

    return carry_out(asked.form, asked.workspace, run)


def go_on(asked: Asked, mission: str | None, reply: str | None) -> int:
    """Take a mission up again, or print the result of one that is closed; return the exit code."""

    def run(screen: Screen, goes: Goes) -> Result:
        if reply is not None and not reply.strip():
            raise UsageError("--reply is empty: say what the mission asked for, or leave it out")
        folder = folder_of(asked.workspace)
        chosen = _chosen(folder, mission)
        state = replay(journal.read(folder.mission(chosen)))
        goes.goal, goes.state = state.goal, state
        if state.status is MissionStatus.CLOSED:
            screen.say(f"mission {chosen} is {state.outcome} already, nothing was left to do; its result:")

            def secrets() -> frozenset[str]:
                return config.load(asked.flags, folder.workspace).secrets()

            return launch.closed(folder, state, secrets).model_copy(update={"exit_code": 0})
        settings = _settings_again(asked, folder, state)
        models = _models_again(asked.flags, settings, state)
        fallback = _fallback_again(asked.flags, settings, state)
        caps = limits.chosen(settings, state.caps, screen.say)
        facts = limits.facts_of(settings, demo=state.demo)
        asked_of = (*models.values(), *fallback)
        limits.check_prices(caps, asked_of, state.spending.by_model, facts)
        resumed = ev.MissionResumed(
            orch_version=version("orch"),
            models={role: str(ref) for role, ref in models.items()},
            max_parallel=_slots(screen, settings),
            max_turns=settings.max_turns,
            role_turns=dict(settings.role_turns),
            instructions=settings.instructions,
            caps=caps,
            fallback=tuple(str(ref) for ref in fallback),
            reply=clean(reply) if reply else None,
        )
        _mention(screen, settings, asked_of)
        again = _launch(folder, chosen, settings, screen, demo=state.demo)
        goes.state, result = launch.resume(again, resumed)
        return result

    return carry_out(asked.form, asked.workspace, run)


def _new_id(folder: Folder) -> ev.MissionId:
    """Return an id that sorts behind all earlier ones of the workspace, also if the clock was set back."""
    now = datetime.now(UTC)
    for path in folder.missions.iterdir() if folder.missions.is_dir() else ():
        with suppress(ValueError):  # something else lies there
            other = datetime.strptime(path.name[:_STAMP_CHARS], _STAMP).replace(tzinfo=UTC)
            now = max(now, other + timedelta(milliseconds=1))
    return ev.MissionId(f"{now:{_STAMP}}"[:_STAMP_CHARS] + token_hex(1))


def _chosen(folder: Folder, mission: str | None) -> ev.MissionId:
    if mission is not None:
        chosen = survey.known(folder, mission)
    else:
        ids = survey.mission_ids(folder)
        if not ids:
            raise UsageError(f"there is no mission in {folder.workspace} to resume")
        chosen = ids[0]
    holder = locks.probe(folder.workspace)
    if holder is not None and holder.mission == chosen:
        raise MissionHeld(
            f"mission {chosen} is running (pid {holder.pid}); `orch status` shows it",
            mission=chosen,
            pid=holder.pid,
        )
    return chosen


# ---- models


def _models(settings: Settings, *, demo: bool) -> Mapping[ev.Role, ModelRef]:
    """Return the model of each role; without any, ask the endpoints what they have and say so."""
    if demo:
        return dict.fromkeys(ev.Role, demo_mode.MODEL)
    missing = any(role not in settings.models for role in ev.Role)
    offered = _offered(settings) if missing and config.has_provider(settings) else ()
    return {role: config.model_for(settings, role, offered) for role in ev.Role}


def _settings_again(asked: Asked, folder: Folder, state: MissionState) -> Settings:
    """Return the settings; what the mission was started with counts where nothing is said now."""
    settings = config.load(asked.flags, folder.workspace)
    given = settings.given
    return replace(
        settings,
        max_parallel=settings.max_parallel if "max_parallel" in given else state.max_parallel,
        max_turns=settings.max_turns if "max_turns" in given else state.max_turns,
    )


def _models_again(flags: Flags, settings: Settings, state: MissionState) -> Mapping[ev.Role, ModelRef]:
    """Return what the command line says now, else what the mission was started with."""
    if state.demo:
        return dict.fromkeys(ev.Role, demo_mode.MODEL)
    given = {role: flags.role_models.get(role) or flags.model for role in ev.Role}
    refs = {role: ModelRef.parse(given[role] or state.models[role]) for role in ev.Role}
    chosen = replace(settings, models=refs)
    return {role: config.model_for(chosen, role) for role in ev.Role}


def _fallback(settings: Settings, refs: Iterable[ModelRef], *, demo: bool) -> tuple[ModelRef, ...]:
    """Return the models to go on with when one is down."""
    if demo:
        return ()
    chosen = tuple(dict.fromkeys(refs))
    for ref in chosen:
        config.check_provider(settings, ref)
    return chosen


def _fallback_again(flags: Flags, settings: Settings, state: MissionState) -> tuple[ModelRef, ...]:
    """Return what the command line says now, else what the mission was started with, else the settings'."""
    refs: Iterable[ModelRef] = settings.fallback_models
    if flags.fallback_models is None and state.fallback:
        refs = (ModelRef.parse(name) for name in state.fallback)
    return _fallback(settings, refs, demo=state.demo)


def _offered(settings: Settings) -> tuple[str, ...]:
    tls = shared_tls(p.base_url for p in settings.providers.values())

    async def ask() -> tuple[str, ...]:
        names: list[str] = []
        for provider in settings.providers.values():
            names += [f"{provider.name}/{name}" for name in await known_models(provider, tls)]
        return tuple(names[:20])

    return asyncio.run(ask())


def _mention(screen: Screen, settings: Settings, models: Iterable[ModelRef]) -> None:
    """Say once what is assumed of a model that nothing is known of."""
    for ref in sorted({ref for ref in models if ref != demo_mode.MODEL}, key=str):
        facts = catalog.facts(ref, settings.providers[ref.provider])
        if facts.assumed:
            screen.say(
                f"{ref}: window unknown, counted as {facts.context_tokens:,} tokens "
                f"([providers.{ref.provider}.models] in the user's config.toml says more)"
            )


def _slots(screen: Screen, settings: Settings) -> int:
    """Return how many sessions may work at once, and say so if it is fewer than was asked for."""
    slots = capacity.slots(settings.max_parallel)
    if slots < settings.max_parallel:
        screen.say(
            f"{slots} sessions at once instead of {settings.max_parallel}: the system allows this process "
            "no more open files (ulimit -Hn); the others take turns"
        )
    return slots


def _launch(
    folder: Folder, mission: ev.MissionId, settings: Settings, screen: Screen, *, demo: bool
) -> Launch:
    harden_self()
    screen.heed(settings)
    tls = shared_tls(p.base_url for p in settings.providers.values())
    patience = Limits(idle_s=settings.idle_timeout_s, call_s=settings.turn_timeout_s)
    facts = limits.facts_of(settings, demo=demo)

    def provider(ref: ModelRef) -> Provider:
        return demo_mode.PROVIDER if demo else settings.providers[ref.provider]

    def connect(ref: ModelRef) -> Model:
        transport = scripted.ScriptedTransport() if demo else None
        client = CLIENTS[provider(ref).kind]
        return client(provider(ref), ref.name, facts(ref), tls=tls, limits=patience, transport=transport)

    memory = launch.no_memory if demo else partial(GateMemory.of, settings.state_folder)
    views, say, complain = screen.views, screen.say, screen.complain
    return Launch(
        folder, mission, settings, connect, provider, views, say, facts, memory=memory, complain=complain
    )
