"""A workspace and a HOME for each test that runs the program."""

from pathlib import Path

import pytest

from tests import program
from tests.program import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place to run the program in."""
    return program.bench(tmp_path)
