"""What `task` and `resume` share: the parts that a mission is built of, and how its result is shown.

stdout carries data only: the closing report, the result, or the events. Everything for people goes to stderr.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex

from rich.console import Console

from orch import config
from orch.commands.options import OutputFormat
from orch.config import Flags, ModelRef, Provider, ProviderKind, Settings
from orch.errors import MissionHeld, UsageError
from orch.mission import events as ev
from orch.mission.reduce import replay
from orch.mission.result import Result, nothing_started, summarise
from orch.mission.state import MissionState, MissionStatus
from orch.models import catalog, scripted
from orch.models.interface import Model
from orch.models.openai import Limits, OpenAIModel, known_models, shared_tls
from orch.runtime import launch, survey
from orch.runtime.launch import Launch
from orch.store import journal, locks
from orch.store.folder import Folder
from orch.tools.process_table import harden_self
from orch.view import defuse
from orch.view.lines import Lines
from orch.view.stream import Stream

USAGE = 2
DEMO = ModelRef("demo", scripted.DEMO_MODEL)
_DEMO_PROVIDER = Provider("demo", ProviderKind.OPENAI, "http://demo.invalid/v1", None, {})


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked for, whatever the command."""

    flags: Flags
    workspace: Path
    form: OutputFormat
    last_message: Path | None
    is_quiet: bool


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


def folder_of(workspace: Path, *, make: bool = False) -> Folder:
    """Return the workspace's folder. Raises `UsageError` if there is no such directory."""
    try:
        if make:
            workspace.mkdir(parents=True, exist_ok=True)
        resolved = workspace.resolve(strict=True)
    except OSError as error:
        raise UsageError(f"{workspace}: {error.strerror or error}; name a directory with -C") from error
    if not resolved.is_dir():
        raise UsageError(f"{workspace} is no directory; name one with -C")
    return Folder(resolved)


def width() -> int:
    """Return how many columns a table may use."""
    return shutil.get_terminal_size((80, 24)).columns


def start(asked: Asked, goal: Callable[[], str], *, answer: bool, demo: bool) -> int:
    """Start a mission and run it; return the exit code."""
    text = ""
    try:
        text = goal()
        if demo:
            text = _demo_goal(text)
        folder = folder_of(asked.workspace, make=demo)
        if demo:
            _refuse_foreign(folder.workspace)
        settings = config.load(asked.flags, folder.workspace)
        models = _models(settings, demo=demo)
        started = ev.MissionStarted(
            goal=text,
            orch_version=version("orch"),
            models={role: str(ref) for role, ref in models.items()},
            max_parallel=settings.max_parallel,
            max_turns=settings.max_turns,
            answer_only=answer,
            demo=demo,
            verify=settings.verify,
            baseline=settings.baseline,
        )
        mission = ev.MissionId(f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}")
        _mention(asked, settings, models)
        _, result = launch.begin(_launch(folder, mission, settings, _Screen(asked), demo=demo), started)
    except UsageError as error:
        return _not_started(asked, text, error)
    return _show(asked, result)


def go_on(asked: Asked, mission: str | None, reply: str | None) -> int:
    """Take a mission up again, or print the result of one that is closed; return the exit code."""
    goal = ""
    try:
        folder = folder_of(asked.workspace)
        chosen = _chosen(folder, mission)
        state = replay(journal.read(folder.mission(chosen)))
        goal = state.goal
        if state.status is MissionStatus.CLOSED:
            return _show(asked, summarise(state, None))
        settings = config.load(asked.flags, folder.workspace)
        models = _models_again(asked.flags, settings, state)
        resumed = ev.MissionResumed(
            orch_version=version("orch"),
            models={role: str(ref) for role, ref in models.items()},
            max_parallel=settings.max_parallel,
            max_turns=settings.max_turns,
            reply=reply,
        )
        _, result = launch.resume(_launch(folder, chosen, settings, _Screen(asked), demo=state.demo), resumed)
    except UsageError as error:
        return _not_started(asked, goal, error)
    return _show(asked, result)


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
        return dict.fromkeys(ev.Role, DEMO)
    missing = any(role not in settings.models for role in ev.Role)
    offered = _offered(settings) if missing and config.has_provider(settings) else ()
    return {role: config.model_for(settings, role, offered) for role in ev.Role}


def _models_again(flags: Flags, settings: Settings, state: MissionState) -> Mapping[ev.Role, ModelRef]:
    """Return what the command line says now, else what the mission was started with."""
    given = {role: flags.role_models.get(role) or flags.model for role in ev.Role}
    refs = {role: ModelRef.parse(given[role] or state.models[role]) for role in ev.Role}
    if state.demo:
        return refs
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


def _mention(asked: Asked, settings: Settings, models: Mapping[ev.Role, ModelRef]) -> None:
    """Say once what is assumed of a model that nothing is known of."""
    for ref in sorted({str(ref) for ref in models.values() if ref != DEMO}):
        parsed = ModelRef.parse(ref)
        facts = catalog.facts(parsed, settings.providers[parsed.provider])
        if facts.assumed and not asked.is_quiet:
            print(  # noqa: T201 - progress goes to stderr
                f"orch: {defuse.line(ref)}: window unknown, counted as {facts.context_tokens:,} tokens "
                f"([providers.{parsed.provider}.models] in the user's config.toml says more)",
                file=sys.stderr,
            )


def _launch(
    folder: Folder, mission: ev.MissionId, settings: Settings, screen: "_Screen", *, demo: bool
) -> Launch:
    harden_self()
    tls = shared_tls(p.base_url for p in settings.providers.values())
    limits = Limits(idle_s=settings.idle_timeout_s)

    def connect(ref: ModelRef) -> Model:
        provider = _DEMO_PROVIDER if demo else settings.providers[ref.provider]
        transport = scripted.ScriptedTransport() if demo else None
        facts = catalog.facts(ref, provider)
        return OpenAIModel(provider, ref.name, facts, tls=tls, limits=limits, transport=transport)

    return Launch(folder, mission, settings, connect, screen.views, screen.say)


# ---- the demo


def _demo_goal(goal: str) -> str:
    if goal and goal != scripted.DEMO_GOAL:
        raise UsageError(f'--demo plays one goal only, "{scripted.DEMO_GOAL}"; leave the goal out')
    return scripted.DEMO_GOAL


def _refuse_foreign(workspace: Path) -> None:
    """Refuse a directory that holds anything but the demo, so that nothing of anybody is touched."""
    ours = set(scripted.DEMO_FILES)
    for root, folders, names in os.walk(workspace):
        folders[:] = [name for name in folders if name not in (".opencode", "__pycache__")]
        for name in names:
            path = (Path(root) / name).relative_to(workspace).as_posix()
            if path not in ours:
                raise UsageError(
                    f"--demo builds in an empty directory, and {workspace} holds {defuse.line(path)}; "
                    "try: orch task --demo -C demo"
                )


# ---- what is shown


class _Screen:
    """Who looks at the run, and where notices go."""

    def __init__(self, asked: Asked) -> None:
        self.lines = None if asked.is_quiet else Lines(Console(stderr=True))
        stream = Stream(sys.stdout) if asked.form is OutputFormat.STREAM_JSON else None
        self.views = tuple(view for view in (stream, self.lines) if view is not None)

    def say(self, text: str) -> None:
        if self.lines is not None:
            self.lines.say(f"orch: {defuse.line(text)}")


def _not_started(asked: Asked, goal: str, error: UsageError) -> int:
    """Say why nothing started; a program that reads JSON gets its result all the same."""
    print(f"orch: {defuse.block(str(error))}", file=sys.stderr)  # noqa: T201 - for people
    if asked.form is not OutputFormat.TEXT:
        _print_result(asked, nothing_started(goal, ev.Outcome.ERROR, USAGE, str(error)))
    return USAGE


def _show(asked: Asked, result: Result) -> int:
    """Show how the run ended; return the exit code."""
    if asked.last_message is not None:
        try:
            asked.last_message.write_text(result.result + "\n", encoding="utf-8")
        except OSError as error:
            print(f"orch: {asked.last_message}: {error.strerror}", file=sys.stderr)  # noqa: T201
    if asked.form is OutputFormat.TEXT:
        _print(defuse.block(result.result))
    else:
        _print_result(asked, result)
    if not asked.is_quiet:
        print(_closing(result), file=sys.stderr)  # noqa: T201 - for people
    return result.exit_code


def _print_result(asked: Asked, result: Result) -> None:
    indent = 2 if asked.form is OutputFormat.JSON else None
    _print(result.model_dump_json(indent=indent, ensure_ascii=True))


def _print(text: str) -> None:
    """Write data to stdout; a reader that is gone changes nothing about the mission."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the exit flushes it


def _closing(result: Result) -> str:
    usage = result.usage
    cost = f", ${usage.cost_usd:.2f}" if usage.cost_usd is not None else ""
    done = f"{result.todo.done}/{result.todo.total} done, {result.issues.open} issues open"
    spent = f"{result.num_turns} turns, {usage.input_tokens + usage.output_tokens:,} tokens{cost}"
    line = (
        f"orch: {result.subtype}: {done}; {result.num_sessions} sessions, {spent}, {result.duration_s:.1f}s"
    )
    return f"{line}\norch: go on with: {result.resume}" if result.resume else line
