"""The layer contracts of pyproject.toml bite: an import planted against them is found.

That the tree itself keeps them is for `lint-imports` to say, which `.ci/run` calls.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = Path(sysconfig.get_path("scripts")) / "lint-imports"
LAYERS = "arrows point down only"
CYCLES = "no cycles"
PURE = "the core is pure"
PLANTS = [
    ("tools/search.py", "def later() -> None:\n    import orch.commands.task", LAYERS),
    ("runtime/survey.py", "from orch.main import main", LAYERS),
    ("config.py", "from orch.view import lines", LAYERS),
    ("store/board.py", "from orch.tools import walk", LAYERS),
    ("misc.py", "import json", LAYERS),
    ("mission/events.py", "from orch.mission import plan", CYCLES),
    ("mission/state.py", "import asyncio", PURE),
    ("mission/state.py", "from orch.store import journal", PURE),
    ("errors.py", "from secrets import token_hex", PURE),
]


@pytest.mark.parametrize(("module", "text", "contract"), PLANTS)
def test_a_planted_import_breaks_its_contract(module: str, text: str, contract: str, tmp_path: Path) -> None:
    """A module upward, sideways, unknown to the layers, in a circle, or impure where the core is pure."""
    shutil.copytree(ROOT / "orch", tmp_path / "orch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "orch" / module).open("a") as file:
        file.write(f"\n{text}\n")

    linted = subprocess.run(
        [LINT, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert linted.returncode == 1
    assert f"{contract} BROKEN" in linted.stdout
