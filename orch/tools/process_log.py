"""What is handed on of a command's log: its head and its tail, without reading what lies between.

The text is usable anywhere (JSON, a terminal's log, a model's request): what is no UTF-8 is replaced, NUL
and surrogates are gone. A log that cannot be read yields a line that says so; nothing here raises. Blocks.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from orch.mission.redaction import MASK
from orch.mission.transcript import clean

OUTPUT_LIMIT = 12_000
"""Characters of a command's output that are handed on; the log has the rest."""
LOG_LIMIT_BYTES = 64 * 1024 * 1024
"""What a log may hold of one command."""

_HEAD_SHARE = 3
"""A third of a cut output is its head: its end says how it ended."""
_BYTES_PER_CHAR = 4


def log_size(log: Path, start: int) -> int:
    """Return how many bytes stand in `log` from `start` on; 0 if it is gone."""
    try:
        return max(0, log.stat().st_size - start)
    except OSError:
        return 0


def read_output(log: Path, start: int, notes: str = "") -> str:
    """Cut `log` at the limit; return what stands in it from `start` on, and `notes` behind it.

    All of it together is within `OUTPUT_LIMIT`.
    """
    try:
        if log_size(log, start) > LOG_LIMIT_BYTES:
            os.truncate(log, start + LOG_LIMIT_BYTES)
            notes = f"\n[the log was cut at {LOG_LIMIT_BYTES >> 20} MiB]{notes}"
        return excerpt(log, start, OUTPUT_LIMIT - len(notes)) + notes
    except OSError as error:
        return f"[the output cannot be read: {error}]{notes}"


def scrub(log: Path, secrets: Sequence[bytes]) -> None:
    """Strike `secrets` out of a log that nobody writes any more."""
    try:
        data = log.read_bytes() if secrets else b""
        if any(secret in data for secret in secrets):
            for secret in secrets:
                data = data.replace(secret, MASK.encode())
            log.write_bytes(data)
    except OSError:
        return  # what cannot be read here is said by whoever reads it next


def last_lines(log: Path, lines: int) -> str:
    """Return the last `lines` lines of `log`, within `OUTPUT_LIMIT`."""
    try:
        size = log.stat().st_size
        text = _decode(_read(log, max(0, size - OUTPUT_LIMIT * _BYTES_PER_CHAR), size))
    except OSError as error:
        return f"[the output cannot be read: {error}]"
    kept = text.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return "".join(kept)[-OUTPUT_LIMIT:]


def excerpt(log: Path, start: int, limit: int) -> str:
    """Return at most `limit` characters of `log` from `start` on: all, or head and tail around a mark."""
    size = log.stat().st_size
    start = min(start, size)
    reach = limit * _BYTES_PER_CHAR
    if size - start <= reach:
        text = _decode(_read(log, start, size))
        if len(text) <= limit:
            return text
    mark = f"\n[... cut: {size - start} bytes in all, the whole output is in {clean(str(log))} ...]\n"
    head_chars = limit // _HEAD_SHARE
    tail_chars = max(1, limit - head_chars - len(mark))
    head = _decode(_read(log, start, min(size, start + reach)))[:head_chars]
    tail = _decode(_read(log, max(start, size - reach), size))[-tail_chars:]
    return head + mark + tail


def _read(log: Path, start: int, end: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _decode(data: bytes) -> str:
    return clean(data.decode(errors="replace"))
