"""What a CI job gets of a run besides stdout: a JUnit report; in GitHub Actions, annotations and a summary.

None of it changes how the run ends: what cannot be written is said, and the exit code stays what it is.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from orch.errors import DiskRefused, UsageError
from orch.mission.result import Result
from orch.mission.state import MissionState
from orch.store.folder import atomic_write
from orch.view import github, junit

_SHARED_FILE = 0o666  # less what the umask takes: a report is for others


def check(file: Path) -> None:
    """Raise `UsageError` if no report can stand at `file`."""
    if file.exists() and not file.is_file():
        raise UsageError(f"--junit {file} is no file; name one, such as junit.xml")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--junit {file} cannot be written: name a file in a folder that exists")


def write_junit(file: Path, state: MissionState, result: Result, complain: Callable[[str], None]) -> None:
    """Write the JUnit report of a run that is over; `complain` if it cannot be written."""
    try:
        check(file)
        atomic_write(file.resolve(), junit.document(state, result), mode=_SHARED_FILE)
    except DiskRefused as refused:
        complain(f"--junit cannot be written: {refused.what}")
    except UsageError as error:
        if result.mission is not None:  # else it kept the run from starting, and was said
            complain(str(error))


def append_summary(
    environment: Mapping[str, str], state: MissionState, result: Result, complain: Callable[[str], None]
) -> None:
    """Add to the summary of a step of GitHub Actions, if this is one."""
    file = Path(environment.get("GITHUB_STEP_SUMMARY") or "")
    if not is_github(environment) or not file.name:
        return
    try:
        with file.open("ab") as summary:
            text = github.summary(state, result, github.SUMMARY_BYTES - summary.tell())
            summary.write(text.encode())
    except OSError as error:
        complain(f"the step's summary cannot be written: {file}: {error.strerror or error}")


def annotations(
    environment: Mapping[str, str], state: MissionState, result: Result, workspace: Path
) -> list[str]:
    """Return what the runner of GitHub Actions is told in the log; nothing anywhere else."""
    if not is_github(environment):
        return []
    folder = PurePosixPath()
    with suppress(ValueError):  # the workspace lies elsewhere
        root = Path(environment.get("GITHUB_WORKSPACE") or workspace).resolve()
        folder = PurePosixPath(workspace.resolve().relative_to(root))
    return github.annotations(state, result, folder)


def is_github(environment: Mapping[str, str]) -> bool:
    """Say whether this is a job of GitHub Actions."""
    return environment.get("GITHUB_ACTIONS") == "true"
