"""The file through which processes tell each other of an endpoint: real files, real processes."""

import asyncio
import sys
from pathlib import Path

import pytest

from orch.config import Provider, ProviderKind, Secret
from orch.models.gate import PATIENCE_S, Known
from orch.models.gate_memory import REMEMBERED_S, GateMemory

OPENAI = Provider("openai", ProviderKind.OPENAI, "https://api.example/v1", Secret("sk-made-up"))


@pytest.mark.anyio
async def test_what_one_process_notes_another_recalls(tmp_path: Path) -> None:
    """Not before that time, and so many at once."""
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from orch.models.gate import Known; from orch.models.gate_memory import GateMemory\n"
        "asyncio.run(GateMemory(Path(sys.argv[1])).note(Known(wait_s=500.0, limit=7)))"
    )
    memory = GateMemory.of(tmp_path, OPENAI)
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(memory.path))
    assert await asyncio.wait_for(other.wait(), 60) == 0
    known = await memory.recall()
    assert 400 < known.wait_s <= 500
    assert known.limit == 7


@pytest.mark.anyio
async def test_of_two_waits_the_longer_one_stands(tmp_path: Path) -> None:
    """A short refusal does not shorten what another process was told."""
    now = [1000.0]
    memory = GateMemory(tmp_path / "gate.json", lambda: now[0])
    await memory.note(Known(60.0, 4))
    now[0] += 10
    await memory.note(Known(1.0, 2))
    assert await memory.recall() == Known(50.0, 2)
    now[0] += 51
    assert await memory.recall() == Known(0.0, 2)
    now[0] += REMEMBERED_S
    assert await memory.recall() == Known(0.0, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00" * 100,
        "[" * 100_000,
        '{"not_before": 1e999, "limit": 3, "noted": 1000}',
        '{"not_before": "soon", "limit": 3, "noted": 1000}',
    ],
)
@pytest.mark.anyio
async def test_a_file_that_makes_no_sense_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    """Whatever stands there, nobody waits for longer than the gate's patience."""
    memory = GateMemory(tmp_path / "gate.json", lambda: 1000.0)
    memory.path.write_text(text)
    assert (await memory.recall()).wait_s <= PATIENCE_S
    await memory.note(Known(2.0, 1))
    assert 2.0 <= (await memory.recall()).wait_s <= PATIENCE_S


@pytest.mark.anyio
async def test_a_clock_that_jumped_back_makes_nobody_wait(tmp_path: Path) -> None:
    """What was noted in the future is not believed."""
    now = [1_000_000.0]
    memory = GateMemory(tmp_path / "gate.json", lambda: now[0])
    await memory.note(Known(60.0, 4))
    now[0] -= 86_400
    assert await memory.recall() == Known()


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """The others learn nothing, and that is all."""
    (tmp_path / "gates").write_text("a file where the folder should be")
    memory = GateMemory.of(tmp_path, OPENAI)
    await memory.note(Known(60.0, 4))
    assert await memory.recall() == Known()


def test_the_file_names_neither_address_nor_key(tmp_path: Path) -> None:
    """Another key at the same address has a gate of its own."""
    paths = {
        GateMemory.of(tmp_path, provider).path
        for provider in (OPENAI, Provider("other", ProviderKind.OPENAI, OPENAI.base_url, Secret("sk-two")))
    }
    assert len(paths) == 2
    assert not any("example" in str(path) or "sk-" in str(path) for path in paths)
