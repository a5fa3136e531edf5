"""The settings files, read: a text, its tables, and the instructions they give. All functions block.

A file that does not exist says nothing; whatever else keeps one from being read is an error. The workspace's
file is read only where it lies inside the workspace, links followed: it is not the user's.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from orch.config import complaints
from orch.config.complaints import Source
from orch.config.tables import ProjectFile, RoleTable
from orch.errors import ConfigError
from orch.mission.events import Instructions, Role

LARGEST_FILE_BYTES = 1024 * 1024
MOST_INSTRUCTIONS_BYTES = 32 * 1024
"""What one role may be told in all: it is sent with every turn."""
_AT = re.compile(r" \(at line (\d+), column (\d+)\)$")
_OPENED = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

Content = TypeVar("Content", bound=ProjectFile)


@dataclass(frozen=True)
class Document(Generic[Content]):
    """A settings file. `within` is the folder that it and what it names must not lead out of, if any."""

    path: Path
    content: Content
    source: Source
    folder: Path
    within: Path | None

    def instructions(self) -> Iterator[Instructions]:
        """Return what it tells the agents, files included. Raises `ConfigError`."""
        yield from self._told(self.content, None, ())
        for role in Role:
            yield from self._told(getattr(self.content.roles, role), role, ("roles", role.value))

    def _told(
        self, table: ProjectFile | RoleTable, role: Role | None, path: complaints.Path
    ) -> Iterator[Instructions]:
        whose = ".opencode/" if self.within else "the user's "
        if table.instructions is not None:
            yield Instructions(role=role, source=f"{whose}{self.path.name}", text=table.instructions.strip())
        if table.instructions_file is not None:
            text = self._read_beside(table.instructions_file, (*path, "instructions_file"))
            whose = "" if self.within else "the user's "
            yield Instructions(role=role, source=f"{whose}{table.instructions_file}", text=text)

    def _read_beside(self, name: str, key: complaints.Path) -> str:
        try:
            data = contents(self.folder / Path(name).expanduser(), self.within)
            text = None if data is None else data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise self.source.refusal(key, f"cannot be used: {name} is no UTF-8") from None
        except _Unreadable as error:
            raise self.source.refusal(key, f"cannot be used: {name} {error}") from None
        if text is None or not text.strip():
            state = "does not exist" if text is None else "is empty"
            raise self.source.refusal(key, f"cannot be used: {name} {state}, looked for in {self.folder}")
        return text.strip()


class _Unreadable(Exception):
    """Why a file cannot be read, as the rest of a sentence that begins with its name."""


def read(path: Path, schema: type[Content], folder: Path, within: Path | None = None) -> Document[Content]:
    """Read a settings file; what it names is looked for in `folder`.

    Raises:
        ConfigError: It cannot be read, or says what it may not.
    """
    try:
        text = _text(path, contents(path, within) or b"")
    except _Unreadable as error:
        raise ConfigError(f"{path} {error}", source=str(path)) from None
    source = Source(str(path), text)
    return Document(path, checked(_table(path, text), schema, source), source, folder, within)


def checked(table: Mapping[str, object], schema: type[Content], source: Source) -> Content:
    """Return the settings that a table holds. Raises `ConfigError` with all that is wrong in it."""
    try:
        return schema.model_validate(table, strict=True)
    except ValidationError as error:
        found = complaints.complaints(error, schema, table, is_typed=not source.names)
        raise source.refusals(found) from None


def check_size(instructions: Sequence[Instructions]) -> None:
    """Raise `ConfigError` if a role is told more than fits beside its work."""
    for role in Role:
        told = [each for each in instructions if each.role in (None, role)]
        size = sum(len(each.text.encode()) for each in told)
        if size > MOST_INSTRUCTIONS_BYTES:
            largest = max(told, key=lambda each: len(each.text))
            raise ConfigError(
                f"the instructions for the {role} have {size:,} bytes, and {MOST_INSTRUCTIONS_BYTES:,} are "
                f"the most: shorten {largest.source}",
                source=largest.source,
                key="instructions",
            )


def contents(path: Path, within: Path | None) -> bytes | None:
    """Return the bytes of a regular file, `None` if there is none.

    Raises:
        _Unreadable: It is something else, too large, refused, or leads out of `within`.
    """
    real = os.path.realpath(path)
    if within is not None and not Path(real).is_relative_to(os.path.realpath(within)):
        raise _Unreadable("leads out of the workspace: put a file of the workspace there")
    try:
        descriptor = os.open(path, _OPENED)
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return None
        raise _Unreadable(f"is a link to {real}, which does not exist: mend or remove it") from None
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror}") from None
    try:
        return _bounded(descriptor)
    finally:
        os.close(descriptor)


def _bounded(descriptor: int) -> bytes:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise _Unreadable(f"cannot be read: it is {what}; move it away, or put a file there")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(LARGEST_FILE_BYTES + 1)
    if len(data) > LARGEST_FILE_BYTES:
        raise _Unreadable(f"is larger than {LARGEST_FILE_BYTES:,} bytes: that is no settings file")
    return data


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: is no UTF-8: save the file in that encoding", source=str(path)
        ) from None


def _table(path: Path, text: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        at = _AT.search(reason)
        where = f":{at[1]}:{at[2]}" if at else f":{len(text.splitlines())}"
        words = _AT.sub("", reason).removesuffix(" (at end of document)")
        raise ConfigError(
            f"{path}{where}: is no TOML: {words[:1].lower()}{words[1:]}; correct the line "
            '(KEY = VALUE, with texts in "quotes"), or move the file away',
            source=str(path),
        ) from None
