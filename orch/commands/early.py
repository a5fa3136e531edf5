"""A `result` for who asked `task` or `resume` for JSON, where the command itself never ran, or broke."""

import os
from collections.abc import Sequence
from contextlib import suppress

STDOUT = 1


def print_result(arguments: Sequence[str], code: int, subtype: str, text: str) -> None:
    """Print the result of nothing, if the command line asks for one."""
    if not _wants_result(arguments):
        return
    from orch.mission.events import Outcome
    from orch.mission.result import nothing_started
    from orch.view.stream import json_text

    data = (json_text(nothing_started("", Outcome(subtype), code, text)) + "\n").encode()
    with suppress(OSError):  # nobody reads it any more
        while data:
            data = data[os.write(STDOUT, data) :]


def _wants_result(arguments: Sequence[str]) -> bool:
    """Whether the command line, readable or not, asks for a `result`."""
    if not arguments or arguments[0] not in ("task", "resume"):
        return False
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    formats = {after for name, after in pairs if name == "--output-format"}
    formats |= {name.partition("=")[2] for name in arguments if name.startswith("--output-format=")}
    return "--json" in arguments or bool(formats & {"json", "stream-json"})
