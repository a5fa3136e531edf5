"""What `--demo` takes: its own goal, and a place that holds nothing of anybody.

A directory is the demo's if every file in it is one of its files, word for word; `.opencode/` and Python's
caches aside. Anything else is refused before anything is touched.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from orch.config import ModelFacts, ModelRef, Provider, ProviderKind
from orch.errors import UsageError
from orch.models import demo_script, scripted
from orch.models.demo_script import DEFECT, DEMO_GOAL
from orch.view import defuse

MODEL = ModelRef("demo", scripted.DEMO_MODEL)
_FREE = ModelFacts(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)
PROVIDER = Provider("demo", ProviderKind.OPENAI, "http://demo.invalid/v1", None, {MODEL.name: _FREE})


def goal(given: str) -> str:
    """Return the goal. Raises `UsageError` for any other."""
    if given and given != DEMO_GOAL:
        raise UsageError(f'--demo plays one goal only, "{DEMO_GOAL}"; leave the goal out')
    return DEMO_GOAL


def refuse_foreign(workspace: Path) -> None:
    """Refuse a directory that holds anything but the demo."""
    foreign = next(_foreign(workspace), None)
    if foreign is not None:
        raise UsageError(
            f"--demo builds in an empty directory, and {workspace} holds {defuse.line(foreign)}; "
            "try: orch task --demo -C demo"
        )


def _foreign(workspace: Path) -> Iterator[str]:
    for root, folders, names in os.walk(workspace):
        here = Path(root)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name != "__pycache__" and name not in links]
        if here == workspace and ".opencode" in folders:
            folders.remove(".opencode")
        for name in (*links, *names):
            path = (here / name).relative_to(workspace).as_posix()
            if not _is_ours(here / name, path):
                yield path


def _is_ours(file: Path, path: str) -> bool:
    text = demo_script.demo().files.get(path)
    if text is None or file.is_symlink():
        return False
    try:
        found = file.read_bytes()
    except OSError:
        return False
    return found in (text.encode(), text.replace(DEFECT.right, DEFECT.wrong).encode())
