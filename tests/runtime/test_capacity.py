"""How many sessions may work at once where few files may be open."""

import resource
from collections.abc import Iterator

import pytest

from orch.runtime import capacity
from orch.tools import process_table


@pytest.fixture(autouse=True)
def _limit_as_before() -> Iterator[None]:
    """Put the soft limit back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.fault(10)
@pytest.mark.parametrize(("files", "slots"), [(16, 1), (64, 5), (128, 16), (1024, 50), (8192, 50)])
def test_as_many_sessions_as_files_allow_and_always_one(
    monkeypatch: pytest.MonkeyPatch, files: int, slots: int
) -> None:
    """Never more than were asked for."""
    monkeypatch.setattr(capacity, "raise_file_limit", lambda: files)
    assert capacity.slots(50) == slots


@pytest.mark.fault(10)
def test_the_soft_limit_is_raised_as_far_as_it_may_be_useful() -> None:
    """A low soft limit says nothing about the machine; a higher one than is needed stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    files = process_table.raise_file_limit()
    assert files == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    assert process_table.raise_file_limit() == files
