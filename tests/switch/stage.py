"""Where orch runs under the switch: a process that has imported everything, and forks for each run.

A line of JSON on stdin asks for a run (`Run`), a line on stdout says how it ended. There is no thread here
when it forks, and a run has its own process, so nothing of one is seen by the next.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.switch.switch import SWITCH, Death, Failure, Plan, When, install, install_wire

install()


def main() -> None:
    """Serve runs until stdin ends."""
    install_wire()
    from orch.commands import parts, screen  # noqa: F401, PLC0415 - what a run needs is here before the fork
    from orch.main import main as orch  # noqa: PLC0415

    for line in sys.stdin:
        run = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(run, orch)
        sys.stdout.write(json.dumps(_outlast(child, run["limit_s"])) + "\n")
        sys.stdout.flush()


def _run(run: Mapping[str, Any], orch: Any) -> None:
    """Be orch, and never come back."""
    for number, name in ((0, os.devnull), (1, run["out"]), (2, run["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(run["cwd"])
    os.environ.clear()
    os.environ.update(run["env"])
    sys.argv = ["orch", *run["argv"]]
    code: object = 70
    SWITCH.arm(Path(run["cwd"]), plan_of(run["plan"]))
    try:
        orch()
    except SystemExit as end:
        code = end.code
    finally:
        SWITCH.armed = False
        sys.stdout.flush()
        sys.stderr.flush()
        Path(run["trace"]).write_text(json.dumps({"points": SWITCH.points, "failed": SWITCH.failed}))
        os._exit(code if isinstance(code, int) else 70)


def plan_of(facts: Mapping[str, Any] | None) -> Plan:
    """Read a plan."""
    if facts is None:
        return None
    if "when" in facts:
        return Death(facts["point"], facts["nth"], When(facts["when"]))
    return Failure(facts["kinds"], facts["nth"], facts["errno"], facts["lasting"])


def _outlast(child: int, limit_s: float) -> Mapping[str, Any]:
    """Wait for a run; one that does not end is killed, and that is said."""
    descriptor = os.pidfd_open(child)
    ended, _, _ = select.select([descriptor], [], [], limit_s)
    os.close(descriptor)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "hung": not ended}


if __name__ == "__main__":
    main()
