"""`orch status --report FILE.html`: a mission as one page, put where a person asked for it.

A file that is there already is replaced, all at once: that is what naming it means. What is no file (a
folder, a device) is refused, and so is a folder that does not exist, before the journal is read.
"""

from pathlib import Path

from orch.errors import DiskRefused, UsageError
from orch.mission.chronicler import chronicle
from orch.mission.status import MissionEntry
from orch.store import records
from orch.store.folder import Folder, atomic_write
from orch.view.report.page import render
from orch.view.report.verdict import Standing

_SHARED_FILE = 0o666  # less what the umask takes: a page is for showing around


def check(file: Path) -> None:
    """Raise `UsageError` if no page can stand at `file`."""
    if file.is_dir() or (file.exists() and not file.is_file()):
        raise UsageError(f"--report {file} is no file; name one, such as report.html")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--report {file}: its folder does not exist; make it, or name another")


def write(folder: Folder, entry: MissionEntry, file: Path) -> Path:
    """Write the page of a mission and return where it is.

    Raises:
        DiskRefused: It cannot be written; what was there before is untouched.
        UsageError: Its journal cannot be read.
    """
    told = chronicle(records.read(folder.mission(entry.mission)))
    page = render(told, Standing(entry.status, entry.next))
    target = file.resolve()  # a link stays one
    try:
        atomic_write(target, page.encode("utf-8"), mode=_SHARED_FILE)
    except DiskRefused as refused:
        what = refused.what or str(target)
        raise DiskRefused(
            f"--report cannot be written: {what}; name a file elsewhere", what=what
        ) from refused
    return target
