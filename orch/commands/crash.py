"""A bug of orch that reached the command line: its traceback goes into a file, a person is told where."""

import importlib.metadata
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def told(bug: Exception) -> str:
    """Keep the traceback where the user can find it, and return what is said of the bug."""
    return f"a bug: {type(bug).__name__}: {bug}\norch: {_keep_log(bug)}"


@contextmanager
def contained(complain: Callable[[str], None]) -> Iterator[None]:
    """Let a bug in what only shows how a run ended be told, and change nothing."""
    try:
        yield
    except Exception as bug:  # noqa: BLE001 - a boundary: the run is over, and how it ended is known
        complain(told(bug))


def _keep_log(bug: Exception) -> str:
    text = "".join(traceback.format_exception(bug))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orch-crash-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
        ) as log:
            log.write(f"orch {importlib.metadata.version('orch')}, python {sys.version}\n{text}")
    except OSError as error:
        return f"its log cannot be written ({error.strerror or error}); it came up in:\n{text.strip()}"
    return f"the log is {log.name}"
