"""What the user's processes have learnt of an endpoint: one small file a gate, in the user's state folder.

It holds the time before which nobody should ask, and how many calls at once were borne last. The file is
named by a hash of the address and key, holds neither, and is read and written under a lock of its own for a
moment. It is advice: a file that is missing, torn, or of a clock that jumped is as good as none, and a folder
that cannot be written costs the others a refusal and nothing else.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from orch.config import Provider
from orch.models.gate import PATIENCE_S, Known

LOCK_LIMIT_S = 0.5
"""Whoever holds the lock for longer than this is not waited for."""
REMEMBERED_S = 600.0
"""For how long it counts how many calls an endpoint bore."""


@dataclass(frozen=True, slots=True)
class GateMemory:
    """The memory of the gate whose file is `path`; `now_s` is the wall clock, which processes share."""

    path: Path
    now_s: Callable[[], float] = time.time

    @classmethod
    def of(cls, folder: Path, provider: Provider) -> "GateMemory":
        """Return the memory of `provider`'s gate in the state folder."""
        key = provider.api_key.reveal() if provider.api_key else ""
        name = hashlib.sha256(f"{provider.base_url}\0{key}".encode()).hexdigest()[:16]
        return cls(folder / "gates" / f"{name}.json")

    async def recall(self) -> Known:
        """Return what is known now."""
        return await asyncio.to_thread(self._recall)

    async def note(self, known: Known) -> None:
        """Tell the others; a longer wait that stands there already stays."""
        await asyncio.to_thread(self._note, known)

    def _recall(self) -> Known:
        try:
            facts = json.loads(self.path.read_bytes())
            not_before, limit, noted = float(facts["not_before"]), int(facts["limit"]), float(facts["noted"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return Known()
        now = self.now_s()
        if not now - PATIENCE_S <= noted <= now + LOCK_LIMIT_S:
            return Known()
        wait_s = min(max(0.0, not_before - now), PATIENCE_S)
        return Known(wait_s, limit if now - noted < REMEMBERED_S and limit > 0 else None)

    def _note(self, known: Known) -> None:
        with suppress(OSError, Timeout):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_LIMIT_S):
                now = self.now_s()
                wait_s = max(known.wait_s, self._recall().wait_s)
                facts = {"not_before": now + wait_s, "limit": known.limit, "noted": now}
                self.path.write_text(json.dumps(facts))
