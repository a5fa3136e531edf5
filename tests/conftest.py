"""What holds for every test: no blocking call on the loop, no network but loopback, a HOME of its own.

`pytest --faults` and `pytest --exit-codes` run the tests of one table and print it (`tests.tables`).
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.tables import TABLES

_FIGURE = "figure"

# The same examples in every run, and no clock: how fast a machine draws or runs them is nobody's fault.
# `--hypothesis-profile=default` draws others.
settings.register_profile(
    "orch",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("orch")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--faults` and `--exit-codes`."""
    for mark in TABLES:
        parser.addoption(
            _option(mark), action="store_true", help=f"run the tests marked `{mark}`; show their table"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    for mark in TABLES:
        config.addinivalue_line("markers", f"{mark}(number, ...): the rows of a table in tests/tables.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the rows of each test; if tables are asked for, leave tests out that are in none of them."""
    for item in items:
        for mark, table in TABLES.items():
            rows = tuple(number for found in item.iter_markers(mark) for number in found.args)
            assert table.names.keys() >= set(rows), f"{item.nodeid} names a {mark} that is not in the table"
            item.user_properties += [(mark, rows)] if rows else []
    asked = [mark for mark in TABLES if config.getoption(_option(mark))]
    if asked:
        left_out = [item for item in items if not any(_rows(item.user_properties, mark) for mark in asked)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _option(mark: str) -> str:
    return f"--{mark.replace('_', '-')}s"


def _rows(properties: list[tuple[str, object]], mark: str) -> tuple[int, ...]:
    """Return the rows of a test; between processes a tuple becomes a list."""
    found = next((value for name, value in properties if name == mark), None)
    return tuple(found) if isinstance(found, list | tuple) else ()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take a test's outcome and figure into its tables, in whichever process it ran."""
    for mark, table in TABLES.items():
        rows = _rows(report.user_properties, mark)
        if rows and (report.when == "call" or not report.passed):
            figure = "; ".join(str(value) for name, value in report.user_properties if name == _FIGURE)
            table.add(rows, report.nodeid.partition("[")[0], report.outcome, figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables that were asked for."""
    for mark, table in TABLES.items():
        for line in table.lines() if config.getoption(_option(mark)) else ():
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A row without a test fails a run of its table."""
    whole = session.config.args_source.name != "ARGS"
    missing = any(table.missing for mark, table in TABLES.items() if session.config.getoption(_option(mark)))
    if whole and missing and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def anyio_backend() -> str:
    """The tests run on asyncio, as orch does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _loop_never_blocks() -> Iterator[BlockBuster]:
    """Fail a test whose coroutine makes a blocking call in orch's own code."""
    with blockbuster_ctx("orch") as blockbuster:
        for function in blockbuster.functions.values():
            # It interrupts a test wherever it is; refused its report, it would not say that it was a timeout.
            function.can_block_in("pytest_timeout.py", {"timeout_sigalrm"})
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
