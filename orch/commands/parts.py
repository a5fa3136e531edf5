"""What `task` and `resume` share: they build the parts of a run, and end with its result in any case.

An error that keeps the run from starting becomes a result too: who asked for JSON gets one object, last,
with the exit code that the process ends with.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex

from orch import config
from orch.commands import demo as demo_mode
from orch.commands import exit_codes
from orch.commands.place import folder_of
from orch.commands.screen import Form, Screen, closing
from orch.config import Flags, ModelRef, Settings
from orch.errors import MissionHeld, OrchError, UsageError
from orch.mission import events as ev
from orch.mission.reduce import replay
from orch.mission.result import Result, nothing_started, summarise
from orch.mission.state import MissionState, MissionStatus
from orch.mission.transcript import clean
from orch.models import catalog, scripted
from orch.models.interface import Model
from orch.models.openai import Limits, OpenAIModel, known_models, shared_tls
from orch.runtime import launch, survey
from orch.runtime.launch import Launch
from orch.store import journal, locks
from orch.store.folder import Folder
from orch.tools.process_table import harden_self


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked for, whatever the command."""

    flags: Flags
    workspace: Path
    form: Form


def flags(
    model: str | None, by_role: Mapping[str, str | None], max_parallel: int | None, max_turns: int | None
) -> Flags:
    """Return the settings that the command line gave."""
    return Flags(
        model=model,
        role_models={ev.Role(role): name for role, name in by_role.items() if name is not None},
        max_parallel=max_parallel,
        max_turns=max_turns,
    )


def start(asked: Asked, goal: Callable[[], str], *, answer: bool, demo: bool) -> int:
    """Start a mission and run it; return the exit code."""

    def run(screen: Screen, goes: _Goes) -> Result:
        goes.goal = clean(demo_mode.goal(goal()) if demo else goal())
        folder = folder_of(asked.workspace, make=demo)
        if demo:
            demo_mode.refuse_foreign(folder.workspace)
        settings = config.load(asked.flags, folder.workspace)
        models = _models(settings, demo=demo)
        started = ev.MissionStarted(
            goal=goes.goal,
            orch_version=version("orch"),
            models={role: str(ref) for role, ref in models.items()},
            max_parallel=settings.max_parallel,
            max_turns=settings.max_turns,
            answer_only=answer,
            demo=demo,
            verify=settings.verify,
            baseline=settings.baseline,
        )
        _mention(screen, settings, models)
        return launch.begin(_launch(folder, _new_id(), settings, screen, demo=demo), started)[1]

    return _run(asked, run)


def go_on(asked: Asked, mission: str | None, reply: str | None) -> int:
    """Take a mission up again, or print the result of one that is closed; return the exit code."""

    def run(screen: Screen, goes: _Goes) -> Result:
        folder = folder_of(asked.workspace)
        chosen = _chosen(folder, mission)
        state = replay(journal.read(folder.mission(chosen)))
        goes.goal = state.goal
        if state.status is MissionStatus.CLOSED:
            return summarise(state, None).model_copy(update={"exit_code": 0})
        settings = config.load(asked.flags, folder.workspace)
        models = _models_again(asked.flags, settings, state)
        resumed = ev.MissionResumed(
            orch_version=version("orch"),
            models={role: str(ref) for role, ref in models.items()},
            max_parallel=settings.max_parallel,
            max_turns=settings.max_turns,
            reply=clean(reply) if reply else None,
        )
        _mention(screen, settings, models)
        return launch.resume(_launch(folder, chosen, settings, screen, demo=state.demo), resumed)[1]

    return _run(asked, run)


@dataclass(slots=True)
class _Goes:
    """What is known of a run so far, for the result of one that cannot start."""

    goal: str = ""


def _run(asked: Asked, run: Callable[[Screen, _Goes], Result]) -> int:
    """Do `run`, show its result, whatever it is, and return the exit code."""
    goes = _Goes()
    words: tuple[str, ...] = ()
    with Screen(asked.form) as screen:
        try:
            asked.form.check()
            result = run(screen, goes)
            words = closing(result)
        except OrchError as error:
            code, subtype = exit_codes.ending(error)
            screen.complain(str(error))
            result = nothing_started(goes.goal, ev.Outcome(subtype), code, clean(str(error)))
        except KeyboardInterrupt:
            result = nothing_started(goes.goal, ev.Outcome.STOPPED, exit_codes.INTERRUPTED, "interrupted")
        screen.end(result, words)
    return result.exit_code


def _new_id() -> ev.MissionId:
    """Return an id that sorts behind all earlier ones of the workspace."""
    now = datetime.now(UTC)
    return ev.MissionId(f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}{token_hex(1)}")


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


def _models_again(flags: Flags, settings: Settings, state: MissionState) -> Mapping[ev.Role, ModelRef]:
    """Return what the command line says now, else what the mission was started with."""
    if state.demo:
        return dict.fromkeys(ev.Role, demo_mode.MODEL)
    given = {role: flags.role_models.get(role) or flags.model for role in ev.Role}
    refs = {role: ModelRef.parse(given[role] or state.models[role]) for role in ev.Role}
    chosen = replace(settings, models=refs)
    return {role: config.model_for(chosen, role) for role in ev.Role}


def _offered(settings: Settings) -> tuple[str, ...]:
    tls = shared_tls(p.base_url for p in settings.providers.values())

    async def ask() -> tuple[str, ...]:
        names: list[str] = []
        for provider in settings.providers.values():
            names += [f"{provider.name}/{name}" for name in await known_models(provider, tls)]
        return tuple(names[:20])

    return asyncio.run(ask())


def _mention(screen: Screen, settings: Settings, models: Mapping[ev.Role, ModelRef]) -> None:
    """Say once what is assumed of a model that nothing is known of."""
    for ref in sorted({ref for ref in models.values() if ref != demo_mode.MODEL}, key=str):
        facts = catalog.facts(ref, settings.providers[ref.provider])
        if facts.assumed:
            screen.say(
                f"{ref}: window unknown, counted as {facts.context_tokens:,} tokens "
                f"([providers.{ref.provider}.models] in the user's config.toml says more)"
            )


def _launch(
    folder: Folder, mission: ev.MissionId, settings: Settings, screen: Screen, *, demo: bool
) -> Launch:
    harden_self()
    tls = shared_tls(p.base_url for p in settings.providers.values())
    limits = Limits(idle_s=settings.idle_timeout_s)

    def connect(ref: ModelRef) -> Model:
        provider = demo_mode.PROVIDER if demo else settings.providers[ref.provider]
        transport = scripted.ScriptedTransport() if demo else None
        facts = catalog.facts(ref, provider)
        return OpenAIModel(provider, ref.name, facts, tls=tls, limits=limits, transport=transport)

    return Launch(folder, mission, settings, connect, screen.views, screen.say)
