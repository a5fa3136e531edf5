"""A switch at every call with which orch changes the world: it counts them, dies at one, or has some fail.

`install` wraps the calls of this process before anything of orch is imported; what they do is unchanged until
`arm` says otherwise. A point is one call, named by its kind and what it was made on ("write journal"), and
counted under that name: with one session at work at a time, the same mission comes to the same points. Only
what happens beneath the workspace, spawns, and the bytes of model calls are points.
"""

import asyncio.selector_events
import io
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class When(StrEnum):
    """Where at a point the process dies."""

    BEFORE = "before"
    MIDDLE = "middle"  # of a write: half of it happened
    AFTER = "after"


@dataclass(frozen=True)
class Death:
    """Die at the `nth` point (from 1) of this name; an empty name counts all points."""

    point: str
    nth: int
    when: When


@dataclass(frozen=True)
class Failure:
    """Fail with `errno` at the `nth` point of these kinds, and `lasting` from then on."""

    kinds: Sequence[str]
    nth: int
    errno: int
    lasting: bool


Plan = Death | Failure | None


@dataclass
class Switch:
    """The points of one process, what is to happen at them, and which of them failed."""

    workspace: str = ""
    plan: Plan = None
    armed: bool = False
    points: list[str] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, workspace: Path, plan: Plan) -> None:
        """Count from now on, and carry out `plan`."""
        self.workspace, self.plan, self.armed = str(workspace), plan, True

    def at(self, kind: str, place: str | None, do: Callable[[], T], half: Callable[[], T] | None = None) -> T:
        """Come to a point: do what is to be done there, `half` being what a short write would do."""
        if not self.armed or place is None:
            return do()
        point = f"{kind} {place}"
        with self._lock:
            self.points.append(point)
            self._counts.update((point, kind, ""))
            when = self._death(point)
            self._fail(kind, point)
        if when is When.BEFORE:
            _die()
        if when is When.MIDDLE and half is not None:
            half()
            _die()
        done = do()
        if when is not None:
            _die()
        return done

    def _death(self, point: str) -> When | None:
        plan = self.plan
        if not isinstance(plan, Death) or plan.point not in ("", point):
            return None
        return plan.when if self._counts[plan.point] == plan.nth else None

    def _fail(self, kind: str, point: str) -> None:
        plan = self.plan
        if not isinstance(plan, Failure) or kind not in plan.kinds:
            return
        number = sum(self._counts[each] for each in plan.kinds)
        if number == plan.nth or (plan.lasting and number > plan.nth):
            self.failed.append(len(self.points) - 1)
            raise OSError(plan.errno, os.strerror(plan.errno), point)

    # ---- names

    def place(self, path: str | bytes | Path | int, folder: int | None = None) -> str | None:
        """Name what a path or a descriptor stands for; `None` outside of the workspace."""
        if not self.armed:
            return None
        if isinstance(path, int):
            full = _of_descriptor(path)
        else:
            base = _of_descriptor(folder) if folder is not None else str(Path.cwd())
            full = os.path.normpath(os.path.join(base, os.fsdecode(path)))  # noqa: PTH118 - a text, not a place
        if full != self.workspace and not full.startswith(f"{self.workspace}/"):
            return None
        return _named(full[len(self.workspace) + 1 :])


_NAMES: Mapping[str, str] = {"journal.jsonl": "journal", "result.json": "result", "holder.json": "holder"}
_FOLDERS: Mapping[str, str] = {"blobs": "blob", "jobs": "log", "locks": "lock", "docs": "page"}


def _of_descriptor(number: int) -> str:
    return str(Path(f"/proc/self/fd/{number}").readlink()).removesuffix(" (deleted)")


def _named(path: str) -> str:
    """Return the same name for the same thing in every run: ids and temporary names are left out."""
    folder, _, name = path.rpartition("/")
    if not path.startswith(".opencode"):
        return f"file {folder}/(temporary)" if name.endswith(".tmp") else f"file {path}"
    if name.endswith(".orch-tmp"):
        inside = folder.rpartition("/")[2]
        return f"temporary {'mission' if '/missions/' in folder and inside != 'blobs' else inside}"
    if name in _NAMES:
        return _NAMES[name]
    within = folder.rpartition("/")[2]
    if within in _FOLDERS:
        return _FOLDERS[within]
    return "mission" if within == "missions" else name


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


SWITCH = Switch()
"""That of this process."""


# ---- the wrapped calls


def install() -> None:
    """Wrap the calls. Once, before orch is imported: some of its modules keep what they find."""
    for name in ("fsync", "fdatasync", "ftruncate", "fchmod", "fchown"):
        _wrap_first(name, "fsync" if name == "fdatasync" else name)
    for name in ("unlink", "remove", "mkdir", "rmdir", "chmod", "truncate"):
        _wrap_first(name, "unlink" if name == "remove" else name)
    for name in ("rename", "replace", "link"):
        _wrap_rename(name)
    _wrap_write("write")
    _wrap_write("pwrite")
    _wrap_open()
    _wrap_file()
    _wrap_spawn()


def _wrap_first(name: str, kind: str) -> None:
    original = getattr(os, name)

    def wrapped(first: Any, *rest: Any, **named: Any) -> Any:
        place = SWITCH.place(first, named.get("dir_fd"))
        return SWITCH.at(kind, place, lambda: original(first, *rest, **named))

    setattr(os, name, wrapped)


def _wrap_rename(name: str) -> None:
    original = getattr(os, name)

    def wrapped(source: Any, target: Any, **named: Any) -> Any:
        place = SWITCH.place(target, named.get("dst_dir_fd"))
        return SWITCH.at("rename", place, lambda: original(source, target, **named))

    setattr(os, name, wrapped)


def _wrap_write(name: str) -> None:
    original = getattr(os, name)

    def wrapped(number: int, data: Any, *rest: Any) -> Any:
        part = memoryview(data)[: len(data) // 2]
        return SWITCH.at(
            "write",
            SWITCH.place(number),
            lambda: original(number, data, *rest),
            lambda: original(number, part, *rest),
        )

    setattr(os, name, wrapped)


def _wrap_open() -> None:
    original = os.open

    def wrapped(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = SWITCH.place(path, dir_fd) if flags & os.O_CREAT else None
        return SWITCH.at("create", place, lambda: original(path, flags, mode, dir_fd=dir_fd))

    os.open = wrapped


class _File(io.FileIO):
    """A file whose writes are points; what a buffer holds back comes here in the end."""

    def write(self, data: Any, /) -> int:
        """Write, at a point."""
        part = memoryview(data)[: len(data) // 2]
        write = super().write
        place = SWITCH.place(self.fileno())
        return SWITCH.at("write", place, lambda: write(data), lambda: write(part))


def _wrap_file() -> None:
    original = io.open

    def wrapped(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if not SWITCH.armed or not set(mode) & set("wax"):
            return original(file, mode, *rest, **named)
        create = SWITCH.place(file) if not isinstance(file, int) else None
        raw = SWITCH.at("create", create, lambda: _File(file, mode.replace("b", "").replace("t", "")))
        binary = io.BufferedWriter(raw)
        if "b" in mode:
            return binary
        named |= dict(zip(("buffering", "encoding", "errors", "newline"), rest, strict=False))
        return io.TextIOWrapper(binary, named.get("encoding"), named.get("errors"), named.get("newline"))

    io.open = wrapped


def _wrap_spawn() -> None:
    original = subprocess._fork_exec  # type: ignore[attr-defined] # where all spawns pass

    def wrapped(argv: Any, *rest: Any) -> Any:
        words = os.fsdecode(argv[-1])[:30]
        return SWITCH.at("spawn", words, lambda: original(argv, *rest))

    subprocess._fork_exec = wrapped  # type: ignore[attr-defined]


def install_wire() -> None:
    """Wrap what sends and receives the bytes of model calls; imports orch."""
    from orch.models import transport  # noqa: PLC0415 - after `install`

    connection = transport._Connection
    received = connection.data_received
    socket_transport = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    sent = socket_transport.write

    def receive(self: Any, data: bytes) -> None:
        SWITCH.at("answer", "bytes", lambda: received(self, data))

    def send(self: Any, data: bytes) -> None:
        SWITCH.at("request", "bytes", lambda: sent(self, data))

    connection.data_received = receive  # type: ignore[method-assign]
    socket_transport.write = send
