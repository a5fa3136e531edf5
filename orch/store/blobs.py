"""Bytes kept under their own sha256, and the references that stand for them in a journal line.

A blob is durable before its name is returned, written once and never changed. Reading checks the content
against the name; a blob that is missing or altered is a `LookupError`, never other bytes. In JSON a blob is
referred to by the string `blob:sha256:<hex>`. Every string that begins like one is itself kept as a
blob, so a reference is never mistaken for text, nor text for a reference.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from orch.store.folder import atomic_write

REFERENCE = "blob:sha256:"

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Blobs:
    """The blobs of one mission, in `folder`. Safe to use from several threads."""

    folder: Path

    def keep(self, data: bytes) -> str:
        """Store `data` durably and return its sha256; what is there already is not written again.

        Raises:
            DiskRefused: nothing was stored.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if self._read(sha256) != data:
            atomic_write(self.folder / sha256, data)
        return sha256

    def load(self, sha256: str) -> bytes:
        """Return the bytes of that hash.

        Raises:
            LookupError: they are missing or altered.
        """
        data = self._read(sha256)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            state = "missing" if data is None else "altered"
            raise LookupError(f"blob {sha256} is {state}")
        return data

    def detach(self, value: JSON, longest: int) -> JSON:
        """Return `value` with each string of more than `longest` characters replaced by a reference."""
        match value:
            case str():
                if len(value) <= longest and not value.startswith(REFERENCE):
                    return value
                return REFERENCE + self.keep(value.encode())
            case list():
                return [self.detach(member, longest) for member in value]
            case dict():
                return {key: self.detach(member, longest) for key, member in value.items()}
            case _:
                return value

    def attach(self, value: JSON) -> JSON:
        """Return `value` as it was before `detach`. Raises `LookupError` like `load`."""
        match value:
            case str():
                return (
                    self.load(value.removeprefix(REFERENCE)).decode()
                    if value.startswith(REFERENCE)
                    else value
                )
            case list():
                return [self.attach(member) for member in value]
            case dict():
                return {key: self.attach(member) for key, member in value.items()}
            case _:
                return value

    def _read(self, sha256: str) -> bytes | None:
        try:
            return (self.folder / sha256).read_bytes()
        except OSError:
            return None
