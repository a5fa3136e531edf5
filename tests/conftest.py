"""What holds for every test: no blocking call on the loop, no network but loopback, a HOME of its own.

`pytest --faults` runs the tests that inject a fault (`tests.faults`) and prints the table of them.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from tests.faults import FAULTS, Table

TABLE = Table()
"""Of this session; filled by the process that hears of all tests."""
_FAULTS = "faults"
_FIGURE = "figure"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--faults`."""
    parser.addoption(
        "--faults", action="store_true", help="run the tests that inject a fault; show the table"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers", "fault(number, ...): the faults of tests/faults.py that a test injects"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note what each test injects; with `--faults`, leave the others out."""
    for item in items:
        faults = tuple(fault for mark in item.iter_markers("fault") for fault in mark.args)
        assert FAULTS.keys() >= set(faults), f"{item.nodeid} names a fault that is not in the list"
        item.user_properties += [(_FAULTS, faults)] if faults else []
    if config.getoption("--faults"):
        left_out = [item for item in items if not _injected(item.user_properties)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _injected(item.user_properties)]


def _injected(properties: list[tuple[str, object]]) -> tuple[int, ...]:
    """Return the faults of a test; between processes a tuple becomes a list."""
    found = next((value for name, value in properties if name == _FAULTS), None)
    return tuple(found) if isinstance(found, list | tuple) else ()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take a test's outcome and figure into the table, in whichever process it ran."""
    faults = _injected(report.user_properties)
    if faults and (report.when == "call" or not report.passed):
        figure = "; ".join(str(value) for name, value in report.user_properties if name == _FIGURE)
        TABLE.add(faults, report.nodeid.partition("[")[0], report.outcome, figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    if config.getoption("--faults"):
        for line in TABLE.lines():
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A fault without a test fails a run of the table."""
    whole = session.config.getoption("--faults") and session.config.args_source.name != "ARGS"
    if whole and TABLE.missing and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
