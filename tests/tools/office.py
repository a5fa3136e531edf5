"""What a tool needs around it: a workspace, the real parts, and a state that is kept in memory.

`opened` makes a mission with two items, `a` (a.txt) and `b` (b.txt), each with a Worker at its desk. `call`
does what a session does with a tool: run it, record what it says happened.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from orch.mission import events as ev
from orch.mission.decide import start
from orch.mission.reduce import reduce
from orch.mission.state import MissionState
from orch.mission.transcript import AssistantMessage, ToolCall
from orch.store import board
from orch.store.blobs import Blobs
from orch.store.folder import Folder
from orch.store.leases import Leases
from orch.tools import toolbox
from orch.tools.bystanders import Bystanders
from orch.tools.desk import Desk, Place, ToolResult
from orch.tools.hashes import Hashes
from orch.tools.processes import Processes

LIMIT_S = 20.0
Kind = TypeVar("Kind", bound=ev.Fact)
A, B = ev.ItemId("a"), ev.ItemId("b")


def spec(item: str, *files: str, check: str | None = None, after: Sequence[str] = ()) -> ev.ItemSpec:
    """Return an item whose check looks for its first file."""
    paths = files or (f"{item}.txt",)
    return ev.ItemSpec(
        id=ev.ItemId(item),
        title=f"title of {item}",
        files=paths,
        instructions=f"Make {item}.",
        depends_on=tuple(ev.ItemId(d) for d in after),
        check=check or f"test -f {paths[0]}",
    )


class Office:
    """A mission in memory whose tools are real."""

    def __init__(self, workspace: Path, processes: Processes, group: asyncio.TaskGroup) -> None:
        workspace = workspace.resolve()
        self.folder = Folder(workspace)
        self.folder.create()
        mission = self.folder.mission("m1")
        mission.create()
        self.blobs = Blobs(mission.blobs)
        self.leases = Leases(self.folder)
        self.state = MissionState()
        self.events: list[ev.Event] = []
        self.calls = 0
        self._group = group
        hashes = Hashes(workspace)
        self.place = Place(
            workspace=workspace,
            docs=self.folder.docs,
            logs=mission.jobs,
            processes=processes,
            state=lambda: self.state,
            hashes=hashes.of,
            bystanders=Bystanders(workspace),
            keep=self.blobs.keep,
            holds=self.leases.holds,
            write_context=lambda content: board.write_context(self.folder, content),
            diagnostics={},
            site_packages=self._no_packages,
            spawn=self._spawn,
        )

    async def _no_packages(self) -> tuple[Path, ...]:
        return ()

    def _spawn(self, job: Coroutine[object, object, None], name: str) -> None:
        self._group.create_task(job, name=name)

    async def record(self, *events: ev.Event) -> None:
        """Make events happen, as the runtime does."""
        self.apply(*events)

    def apply(self, *events: ev.Event) -> None:
        """Make events happen."""
        for event in events:
            fact = event.model_copy(update={"seq": self.state.seq + 1, "ts": "2030-01-01T00:00:00.000Z"})
            self.state = reduce(self.state, fact)
            self.events.append(fact)

    async def plan(self, *specs: ev.ItemSpec) -> None:
        """Start a mission with these items."""
        models = dict.fromkeys(ev.Role, "test/scripted")
        await self.record(
            ev.MissionStarted(goal="go", orch_version="0", models=models, max_parallel=4, max_turns=9)
        )
        await self.record(*start(self.state, ev.Role.COMMANDER, "command", "go"))
        paths = [path for item in specs for path in item.files]
        files = await self.place.hashes(paths)
        await self.record(ev.PlanAccepted(items=specs, verify=("true",), files=dict(files)))

    def desk(self, session: str) -> Desk:
        """Return the desk of a session."""
        return Desk(self.place, ev.SessionId(session), self.record)

    async def worker(self, item: ev.ItemId) -> Desk:
        """Give the item to a Worker that holds its lease."""
        files = self.state.items[item].files
        assert self.leases.acquire(item, files) is None
        session = ev.SessionId(f"S{len(self.state.sessions) + 1}")
        await self.record(
            ev.LeaseAcquired(item=item, files=files),
            *start(self.state, ev.Role.WORKER, "work", "go", item),
            ev.ItemStarted(item=item, session=session),
        )
        return self.desk(session)

    async def reviewer(self, item: ev.ItemId) -> Desk:
        """Have the item submitted, and give it to a Reviewer."""
        worker = self.state.items[item].worker
        assert worker is not None
        session = ev.SessionId(f"S{len(self.state.sessions) + 1}")
        await self.record(
            ev.SessionIdle(session=worker, item=item),
            ev.ItemSubmitted(item=item, session=worker),
            *start(self.state, ev.Role.REVIEWER, "review", "go", item),
        )
        return self.desk(session)

    async def call(self, desk: Desk, tool: str, **arguments: object) -> ToolResult:
        """Call a tool as the session does that sits at `desk`, and record what came of it."""
        call = self.asked(desk, tool, **arguments)
        desk.begun.add(call.id)
        return await self.answer(desk, call)

    def asked(self, desk: Desk, tool: str, **arguments: object) -> ToolCall:
        """Have the session's model ask for a call."""
        self.calls += 1
        call = ToolCall(id=f"c{self.calls}", name=tool, arguments=json.dumps(arguments))
        session = replace(
            desk.session,
            open_calls=(call,),
            messages=(*desk.session.messages, AssistantMessage(text="", tool_calls=(call,))),
        )
        self.state = replace(self.state, sessions={**self.state.sessions, session.id: session})
        return call

    async def answer(self, desk: Desk, call: ToolCall) -> ToolResult:
        """Run a call and record its result, as sessions do."""
        result = await toolbox.run(desk, call)
        finished = ev.ToolFinished(
            session=desk.session_id,
            item=desk.session.item,
            call_id=call.id,
            tool=call.name,
            ok=result.ok,
            text=result.text,
            duration_s=0.0,
            seen=dict(result.seen),
        )
        if result.ends_turn:
            await self.record(finished, *result.events)
        else:
            await self.record(*result.events, finished)
        return result

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[Kind]) -> Kind:
        """Return the last event of a kind."""
        return self.all(kind)[-1]


@asynccontextmanager
async def opened(workspace: Path, *specs: ev.ItemSpec) -> AsyncIterator[Office]:
    """Yield an office in which a mission has begun; everything in it ends within a limit."""
    async with asyncio.timeout(LIMIT_S):
        environment = {"PATH": "/usr/bin:/bin"}
        async with (
            Processes(environment, f"office-{token_hex(4)}") as processes,
            asyncio.TaskGroup() as group,
        ):
            office = await asyncio.to_thread(Office, workspace, processes, group)
            await office.plan(*(specs or (spec("a"), spec("b"))))
            yield office
            for background in processes._jobs:
                background.ask_to_end()
        office.leases.close()
