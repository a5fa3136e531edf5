"""The layout under `.opencode/`: the one home of every path, and how a file there comes to be.

Files are replaced as a whole (`atomic_write`): after a crash at any instant a reader finds the old bytes
or the new ones. orch's own part, `.opencode/orch/`, is private to the user and ignored by git. A place that
cannot hold it is refused before anything starts (`UsageError`); a disk that refuses later is `DiskRefused`.
"""

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orch.errors import DiskRefused, UsageError
from orch.mission.events import MissionId

_MISSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TEMPORARY = ".orch-tmp"
_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class MissionFolder:
    """What one mission leaves on disk, all of it beneath `path`."""

    path: Path

    @property
    def journal(self) -> Path:
        """The events, append-only; the only truth."""
        return self.path / "journal.jsonl"

    @property
    def checkpoint(self) -> Path:
        """What the mission had come to at some place of its journal: a cache for readers."""
        return self.path / "checkpoint.json"

    @property
    def result(self) -> Path:
        """The last result."""
        return self.path / "result.json"

    @property
    def patch(self) -> Path:
        """What the mission changed."""
        return self.path / "changes.patch"

    @property
    def blobs(self) -> Path:
        """Payloads too long for a line, and what files were before their first change."""
        return self.path / "blobs"

    @property
    def jobs(self) -> Path:
        """Output of background commands."""
        return self.path / "jobs"

    def create(self) -> None:
        """Make the folder and its sub-folders; what exists stays. Raises `DiskRefused`."""
        try:
            for folder in (self.path, self.blobs, self.jobs):
                folder.mkdir(_PRIVATE_FOLDER, exist_ok=True)
            sync_folder(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise disk_refused(self.path, error) from error


@dataclass(frozen=True, slots=True)
class Folder:
    """Everything orch keeps in a workspace. `workspace` is absolute, with links resolved."""

    workspace: Path

    @property
    def root(self) -> Path:
        """Shared with people: context, views, documentation, settings."""
        return self.workspace / ".opencode"

    @property
    def orch(self) -> Path:
        """What is orch's alone."""
        return self.root / "orch"

    @property
    def missions(self) -> Path:
        """One folder per mission."""
        return self.orch / "missions"

    @property
    def locks(self) -> Path:
        """File leases, and who holds the mission lock."""
        return self.orch / "locks"

    @property
    def context(self) -> Path:
        """What was discovered about the project."""
        return self.root / "context.md"

    @property
    def todo(self) -> Path:
        """The plan as a checklist."""
        return self.root / "todo.md"

    @property
    def issues(self) -> Path:
        """The open issues."""
        return self.root / "issues.md"

    @property
    def docs(self) -> Path:
        """Documentation fetched as evidence."""
        return self.root / "docs"

    @property
    def settings(self) -> Path:
        """A person's settings of this project."""
        return self.root / "orch.toml"

    def mission(self, mission: str) -> MissionFolder:
        """Return the folder of `mission`, which need not exist. Raises `UsageError` for what is no id."""
        if not _MISSION_ID.fullmatch(mission):
            raise UsageError(f"{mission!r} is no mission's id; `orch status --all` lists them")
        return MissionFolder(self.missions / MissionId(mission))

    def create(self) -> None:
        """Make orch's part of the folder and prove that it can be written. Raises `UsageError`."""
        if not self.workspace.is_dir():
            raise UsageError(f"{self.workspace} is no directory; name one with -C")
        for folder in (self.root, self.orch, self.missions, self.locks):
            self._refuse_unless_ours(folder)
        try:
            self.root.mkdir(exist_ok=True)
            for folder in (self.orch, self.missions, self.locks):
                folder.mkdir(_PRIVATE_FOLDER, exist_ok=True)
            self.orch.chmod(_PRIVATE_FOLDER)
            _prove_writable(self.orch)
            if not (ignore := self.orch / ".gitignore").exists():
                _write_whole(ignore, b"*\n", _PRIVATE_FILE)
            sync_folder(self.root)
        except OSError as error:
            raise UsageError(
                f"orch cannot keep its state in {self.orch}: {_reason(error)}; make that possible, or use -C"
            ) from error

    def sweep(self) -> None:
        """Remove what a killed process left of unfinished writes. Only for who holds the mission lock."""
        missions = (self.missions, *self.missions.glob("*"), *self.missions.glob("*/blobs"))
        for folder in (self.root, self.docs, self.orch, self.locks, *missions):
            for leftover in folder.glob(f".*{_TEMPORARY}"):
                with suppress(OSError):
                    leftover.unlink()

    def _refuse_unless_ours(self, folder: Path) -> None:
        if not leads_into(folder, self.workspace):
            raise UsageError(f"{folder} leads out of the workspace; orch does not follow it")
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is no folder, and orch keeps its state there; move it away")


def atomic_write(path: Path, data: bytes, *, mode: int = _PRIVATE_FILE) -> None:
    """Put `data` at `path`, durably and all at once; a file that exists keeps its mode.

    Raises:
        DiskRefused: the old file, if there was one, is untouched.
    """
    try:
        _write_whole(path, data, mode)
    except OSError as error:
        raise disk_refused(path, error) from error


def leads_into(path: Path, folder: Path) -> bool:
    """Say whether `path`, with all links followed, lies in `folder`. Never raises, also not on a loop."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # network file systems without the notion
            raise
    finally:
        os.close(descriptor)


def disk_refused(path: Path, error: OSError) -> DiskRefused:
    """Say which file the disk refused and why."""
    what = f"{path}: {_reason(error)}"
    text = f"{what}; nothing acknowledged is lost, `orch resume` goes on when the disk can"
    return DiskRefused(text, what=what)


def _write_whole(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        with os.fdopen(os.open(temporary, _NEW_FILE, mode), "wb") as file:
            _keep_mode(file.fileno(), path)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _keep_mode(descriptor: int, path: Path) -> None:
    with suppress(FileNotFoundError):
        os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))


def _prove_writable(folder: Path) -> None:
    probe = folder / f".{secrets.token_hex(8)}{_TEMPORARY}"
    descriptor = os.open(probe, _NEW_FILE, _PRIVATE_FILE)
    try:
        os.write(descriptor, b"probe")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        probe.unlink()


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
