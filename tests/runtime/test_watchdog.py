"""A loop that stands still is noticed from outside, the culprit is named, and nobody's stream is given up."""

import asyncio
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orch.config import ModelFacts, Provider, ProviderKind
from orch.errors import ConnectionLost
from orch.mission import events as ev
from orch.mission.state import MissionState
from orch.mission.transcript import UserMessage
from orch.models import patience
from orch.models.client import shared_tls
from orch.models.interface import Ask
from orch.models.openai import OpenAIModel
from orch.models.patience import Limits
from orch.runtime import watchdog
from orch.runtime.watchdog import Spot, Stall
from tests import play
from tests.endpoint import Endpoint, Script, Step, Turn
from tests.program import ROOT, until
from tests.runtime.house import House

LIMIT_S = 20.0
HELD_S = 0.5
Record = Callable[[str, object], None]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a shorter standstill a stall."""
    monkeypatch.setattr(watchdog, "STALL_S", 0.1)
    monkeypatch.setattr(watchdog, "PULSE_S", 0.05)
    monkeypatch.setattr(patience, "LATE_S", 0.1)


def _hold_the_loop() -> None:
    select.select([], [], [], HELD_S)


@pytest.mark.anyio
@pytest.mark.fault(51)
@pytest.mark.usefixtures("_impatient")
async def test_what_blocks_the_loop_is_named(record_property: Record) -> None:
    """Function, file, line, and for how long: looked at while it blocks, told when the loop moves again."""
    stalls: asyncio.Queue[Stall] = asyncio.Queue()
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        watching = group.create_task(watchdog.watch(stalls.put))
        stall = Stall(0.0)
        while stall.spot is None:  # a watcher that is starved itself looks too late, and blames nobody
            asyncio.get_running_loop().call_soon(_hold_the_loop)
            stall = await stalls.get()
        watching.cancel()

    assert stall.spot is not None
    assert (stall.spot.function, stall.spot.file) == ("_hold_the_loop", "runtime/test_watchdog.py")
    assert re.search(r"stood still for \d+\.\d s in _hold_the_loop \(runtime/test_watchdog\.py:", stall.text)
    assert stall.duration_s >= watchdog.STALL_S
    record_property("figure", f"a stall of {HELD_S} s seen as one of {stall.duration_s:.2f} s")


def test_a_stall_is_told_in_one_line() -> None:
    """With the place in a library and who in orch called it, or with nobody to blame."""
    spot, caller = Spot("decode", "json/decoder.py", 337), Spot("read", "orch/store/journal.py", 9)

    assert Stall(2.04, spot, caller).text == (
        "the event loop stood still for 2.0 s in decode (json/decoder.py:337), "
        "called by read (orch/store/journal.py:9); it goes on"
    )
    assert Stall(61.0).text == "orch was stopped or starved for 61.0 s; it goes on"


WATCHED = """
import asyncio
from orch.runtime import watchdog

watchdog.STALL_S, watchdog.PULSE_S = 0.1, 0.05

async def tell(stall):
    print(f"{stall.duration_s} {stall.text}", flush=True)

async def main():
    asyncio.get_running_loop().call_soon(lambda: print("watching", flush=True))  # after the watcher's start
    await watchdog.watch(tell)

asyncio.run(main())
"""


@pytest.mark.fault(48, 51)
def test_a_process_that_was_stopped_blames_nobody() -> None:
    """Stopped and continued, it says how long it was away; the stack shows nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        child.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{child.pid}/stat")
        until(lambda: status.read_text().rpartition(") ")[2].startswith("T"))
        _hold_the_loop()
        child.send_signal(signal.SIGCONT)

        duration_s, text = 0.0, ""
        while duration_s < HELD_S / 2:  # on a busy machine there are shorter ones before
            number, _, text = child.stdout.readline().partition(" ")
            duration_s = float(number)
            assert text.startswith("orch was stopped or starved for ")
        child.kill()


async def _asked(script: Script, limits: Limits, moves_again: Callable[[], object] = bool) -> str:
    """Return the answer to an ask during which the loop stands still, from its request on."""
    with Endpoint(script) as endpoint:
        provider = Provider("small", ProviderKind.OPENAI, endpoint.base_url)
        tls = shared_tls([endpoint.base_url])
        client = OpenAIModel(provider, "scripted", ModelFacts(), tls=tls, limits=limits)
        try:
            async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
                asking = group.create_task(client.ask(Ask("be good", (UserMessage(text="go"),), ())))
                await asyncio.to_thread(until, lambda: endpoint.ledger)
                _hold_the_loop()
                for _ in range(5):
                    await asyncio.sleep(0)
                moves_again()
            assert len(endpoint.ledger) == 1
            return asking.result().message.text
        finally:
            await client.close()


@pytest.mark.anyio
@pytest.mark.fault(51)
@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("limits", [Limits(idle_s=0.2), Limits(call_s=0.2)])
async def test_an_answer_that_came_while_the_loop_stood_still_is_read(limits: Limits) -> None:
    """Both limits were over long before anybody looked; the endpoint was in time and is paid once."""
    assert await _asked(lambda _: Step(text="here", delay_s=0.05), limits) == "here"


@pytest.mark.anyio
@pytest.mark.fault(48, 51)
@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("limits", [Limits(idle_s=0.3), Limits(call_s=0.3)])
async def test_an_answer_that_comes_soon_after_a_standstill_is_waited_for(limits: Limits) -> None:
    """The endpoint, or its network, may have slept as well: a limit that was late begins anew."""
    awake = threading.Event()

    def script(_: Turn) -> Step:
        assert awake.wait(LIMIT_S)
        return Step(text="here")

    assert await _asked(script, limits, awake.set) == "here"


@pytest.mark.anyio
@pytest.mark.usefixtures("_impatient")
async def test_an_endpoint_that_is_silent_all_the_same_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that was late begins anew, but not for ever."""
    with pytest.raises(BaseExceptionGroup) as caught:
        await _asked(lambda _: play.SILENCE, Limits(idle_s=0.2))
    assert caught.group_contains(ConnectionLost)

    monkeypatch.setattr(patience, "LATE_S", -1.0)  # each one is late
    with pytest.raises(BaseExceptionGroup) as caught:
        await _asked(lambda _: play.SILENCE, Limits(idle_s=0.05))
    assert caught.group_contains(ConnectionLost)


class _Holding:
    """A view that holds the loop when the plan is accepted."""

    def show(self, event: ev.Event, state: MissionState) -> None:
        """Compute for a while."""
        del state
        end = time.monotonic() + (1.0 if isinstance(event, ev.PlanAccepted) else 0.0)
        while time.monotonic() < end:
            continue


@pytest.mark.fault(51)
def test_a_mission_goes_on_after_a_standstill_and_has_it_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It seals without a retry, and its journal names function, file and line."""
    monkeypatch.setattr(watchdog, "STALL_S", 0.3)
    monkeypatch.setattr(watchdog, "PULSE_S", 0.1)
    workspace = tmp_path / "work"
    workspace.mkdir()

    run = House(workspace, views=[_Holding()]).begin(play.mission(play.item("a")))

    assert run.result.subtype == "sealed"
    assert any("_Holding.show (runtime/test_watchdog.py:" in heal.text for heal in run.all(ev.Heal))
    assert run.all(ev.Retry) == []
