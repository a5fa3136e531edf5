"""The whole house in one process: a workspace, the real parts, and a scripted endpoint in a thread.

`House.begin` runs a mission to its end, `House.resume` takes it up again, and each run returns all that its
journal says. `cut` is a crash: it leaves the journal as it was after one of its events.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import pytest

from orch.config import Flags, ModelFacts, ModelRef, Provider, Settings, load
from orch.mission import events as ev
from orch.mission.reduce import replay
from orch.mission.result import Result
from orch.mission.state import MissionState
from orch.models import catalog
from orch.models.client import shared_tls
from orch.models.connect import CLIENTS
from orch.models.interface import Model
from orch.models.patience import Limits
from orch.runtime import launch
from orch.runtime.failures import COOL_DOWN_S
from orch.runtime.launch import Launch
from orch.runtime.recorder import View
from orch.store import journal
from orch.store.folder import Folder
from orch.tools.process_table import survivors
from tests.endpoint import Endpoint, Script
from tests.store.cuts import agrees_everywhere

GOAL = "build it"
Kind = TypeVar("Kind", bound=ev.Fact)


@dataclass(frozen=True)
class Run:
    """What a mission has become: every event of its journal, the state, the result."""

    events: tuple[ev.Event, ...]
    state: MissionState
    result: Result

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def said(self, tool: str) -> list[str]:
        """Return what the calls of a tool told the model."""
        return [event.text for event in self.all(ev.ToolFinished) if event.tool == tool]

    def status(self, item: str) -> str:
        """Return where an item is."""
        return self.state.items[ev.ItemId(item)].status


def a_mission() -> ev.MissionId:
    """Return an id that no other run of the tests has: what carries a mission's mark is ended with it."""
    return ev.MissionId(f"m-{token_hex(4)}")


@dataclass
class House:
    """A workspace, and how to run missions in it, with retries that cost no time."""

    workspace: Path
    mission: ev.MissionId = field(default_factory=a_mission)
    settings: Mapping[str, object] = field(default_factory=dict)
    views: Sequence[View] = ()
    notices: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    max_concurrent: int = 0
    retry_base_s: float = 0.001
    cool_down_s: float = COOL_DOWN_S
    others: Mapping[str, Endpoint] = field(default_factory=dict)  # more providers, by name
    facts: Mapping[str, object] = field(default_factory=dict)  # what the settings say of the scripted model
    serve: Callable[[Script], AbstractContextManager[Endpoint]] = Endpoint

    @property
    def folder(self) -> Folder:
        """Where orch keeps its own."""
        return Folder(self.workspace)

    def begin(self, script: Script, *, max_parallel: int = 4, **facts: object) -> Run:
        """Run a mission against `script`, from its start."""
        return self._run(self.launch(script, max_parallel=max_parallel, **facts))

    def launch(
        self, script: Script, *, max_parallel: int = 4, **facts: object
    ) -> tuple[MissionState, Result]:
        """Run a mission whose journal may be gone afterwards."""
        with self.launched(script) as told:
            started = ev.MissionStarted(
                goal=GOAL,
                orch_version="0",
                models=dict.fromkeys(ev.Role, "test/scripted"),
                max_parallel=max_parallel,
                max_turns=told.settings.max_turns,
                verify=told.settings.verify,
            ).model_copy(update=facts)
            return launch.begin(told, started)

    def resume(
        self, script: Script, *, max_parallel: int = 4, reply: str | None = None, **facts: object
    ) -> Run:
        """Take the mission up again."""
        with self.launched(script) as told:
            resumed = ev.MissionResumed(
                orch_version="0",
                models=dict.fromkeys(ev.Role, "test/scripted"),
                max_parallel=max_parallel,
                max_turns=told.settings.max_turns,
                reply=reply,
            ).model_copy(update=facts)
            return self._run(launch.resume(told, resumed))

    def events(self) -> tuple[ev.Event, ...]:
        """Return what the journal says."""
        return tuple(journal.read(self.folder.mission(self.mission)))

    def cut(self, after: ev.Event) -> None:
        """Leave the journal as a crash right after this event would have."""
        path = self.folder.mission(self.mission).journal
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: after.seq]))

    @contextmanager
    def launched(self, script: Script) -> Iterator[Launch]:
        """Serve `script`, and say with what a run is to be started."""
        with self.serve(script) as endpoint:
            yield self.told(endpoint)
            for each in (endpoint, *self.others.values()):
                assert not each.refusals, "orch sent what no endpoint takes"
            self.max_concurrent = endpoint.max_concurrent

    def told(self, endpoint: Endpoint) -> Launch:
        """Return what a run against `endpoint` is started with."""
        self.folder.root.mkdir(exist_ok=True)
        environ = {"TEST_API_KEY": "sk-made-up", "HOME": str(self.workspace.parent), "PATH": "/usr/bin:/bin"}
        config = self.workspace.parent / ".config" / "orch" / "config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        providers = {"test": endpoint, **self.others}
        tables = [_table(name, each) for name, each in providers.items()]
        facts_table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.facts.items())
        config.write_text("\n".join([*tables, f"[providers.test.models.scripted]\n{facts_table}"]))
        settings: Settings = replace(load(Flags(), self.workspace, environ), **self.settings)  # type: ignore[arg-type]
        tls = shared_tls(each.base_url for each in providers.values())
        patience = Limits(idle_s=settings.idle_timeout_s, call_s=settings.turn_timeout_s)

        def provider(ref: ModelRef) -> Provider:
            return settings.providers[ref.provider]

        def facts(ref: ModelRef) -> ModelFacts:
            return catalog.facts(ref, provider(ref))

        def connect(ref: ModelRef) -> Model:
            client = CLIENTS[provider(ref).kind]
            return client(provider(ref), ref.name, facts(ref), tls=tls, limits=patience)

        return Launch(
            self.folder,
            self.mission,
            settings,
            connect,
            provider,
            self.views,
            self.notices.append,
            facts=facts,
            retry_base_s=self.retry_base_s,
            cool_down_s=self.cool_down_s,
            complain=self.complaints.append,
        )

    def _run(self, ended: tuple[MissionState, Result]) -> Run:
        state, result = ended
        run = Run(self.events(), state, result)
        check(run)
        assert not survivors(self.mission), "a command lives on"
        return run


def _table(name: str, endpoint: Endpoint) -> str:
    """Return a provider as the user's settings name it."""
    return (
        f'[providers.{name}]\nkind = "{endpoint.provider}"\nbase_url = {json.dumps(endpoint.base_url)}\n'
        'api_key_env = "TEST_API_KEY"\n'
    )


def check(run: Run) -> None:
    """Assert what holds in every journal: no turn is paid twice, nothing is completed or answered twice."""
    assert replay(run.events).seq == run.state.seq
    agrees_everywhere(run.events, {0, len(run.events) // 3, len(run.events) * 2 // 3, len(run.events)})
    asked = [(e.session, e.turn) for e in run.all(ev.TurnFinished)]
    assert len(asked) == len(set(asked)), "a turn was asked twice"
    completed = [e.item for e in run.all(ev.ItemCompleted)]
    assert len(completed) == len(set(completed)), "an item was completed twice"
    called = [(e.session, e.call_id) for e in run.all(ev.ToolFinished)]
    assert len(called) == len(set(called)), "a call has two results"


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return an empty house."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return House(workspace)
