"""What holds for every test: no blocking call on the loop, no network but loopback, a HOME of its own."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    """The tests run on asyncio, as orch does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _loop_never_blocks() -> Iterator[BlockBuster]:
    """Fail a test whose coroutine makes a blocking call in orch's own code."""
    with blockbuster_ctx("orch") as blockbuster:
        yield blockbuster


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point HOME at an empty folder and take every provider's key out of the environment."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "CI", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for provider in ("OPENAI", "ANTHROPIC", "OPENROUTER"):
        monkeypatch.delenv(f"{provider}_API_KEY", raising=False)
        monkeypatch.delenv(f"{provider}_BASE_URL", raising=False)
    return home


@pytest.fixture(autouse=True)
def _only_loopback(_loop_never_blocks: BlockBuster) -> Iterator[None]:
    """Refuse every connection that would leave this machine.

    Undone before blockbuster's own patch of the same method is: the other way round each test would leave
    one more layer behind.
    """
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
