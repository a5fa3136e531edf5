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
_PIECE_BYTES = 1 << 20


def log_size(log: Path, start: int) -> int:
    """Return how many bytes stand in `log` from `start` on; 0 if it is gone."""
    try:
        return max(0, log.stat().st_size - start)
    except OSError:
        return 0


def read_output(log: Path, start: int, notes: str = "", secrets: Sequence[bytes] = ()) -> str:
    """Cut `log` at the limit and scrub it; return what stands in it from `start` on, `notes` behind it.

    All of it together is within `OUTPUT_LIMIT`.
    """
    try:
        is_too_long = log_size(log, start) > LOG_LIMIT_BYTES
        if is_too_long:
            notes = f"\n[the log was cut at {LOG_LIMIT_BYTES >> 20} MiB]{notes}"
        text = excerpt(log, start, OUTPUT_LIMIT - len(notes), secrets)  # its end says how the command ended
        if is_too_long:
            os.truncate(log, start + LOG_LIMIT_BYTES)
        scrub(log, secrets, start)
        return text + notes
    except OSError as error:
        return f"[the output cannot be read: {error}]{notes}"


def scrub(log: Path, secrets: Sequence[bytes], start: int = 0) -> None:
    """Strike `secrets` out of what stands in a log from `start` on, and nobody writes any more.

    In place and piece by piece: a log may be as large as `LOG_LIMIT_BYTES`, and many end at once.
    """
    if not secrets:
        return
    overlap = max(map(len, secrets)) - 1
    try:
        with log.open("r+b") as file:
            while True:
                file.seek(start)
                piece = file.read(_PIECE_BYTES + overlap)
                masked = _masked(piece, secrets)
                if masked != piece:
                    file.seek(start)
                    file.write(masked)
                if len(piece) <= _PIECE_BYTES:
                    return
                start += _PIECE_BYTES
    except OSError:
        return  # what cannot be read here is said by whoever reads it next


def _masked(data: bytes, secrets: Sequence[bytes]) -> bytes:
    for secret in secrets:
        data = data.replace(secret, MASK[:1].encode() * len(secret))
    return data


def last_lines(log: Path, lines: int) -> str:
    """Return the last `lines` lines of `log`, within `OUTPUT_LIMIT`."""
    try:
        size = log.stat().st_size
        text = _decode(_read(log, max(0, size - OUTPUT_LIMIT * _BYTES_PER_CHAR), size))
    except OSError as error:
        return f"[the output cannot be read: {error}]"
    kept = text.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return "".join(kept)[-OUTPUT_LIMIT:]


def excerpt(log: Path, start: int, limit: int, secrets: Sequence[bytes] = ()) -> str:
    """Return at most `limit` characters of `log` from `start` on: all, or head and tail around a mark."""

    def part(begin: int, end: int) -> str:
        return _decode(_masked(_read(log, begin, end), secrets))

    size = log.stat().st_size
    start = min(start, size)
    reach = limit * _BYTES_PER_CHAR
    if size - start <= reach:
        text = part(start, size)
        if len(text) <= limit:
            return text
    mark = f"\n[... cut: {size - start} bytes in all, the whole output is in {clean(str(log))} ...]\n"
    head_chars = limit // _HEAD_SHARE
    tail_chars = max(1, limit - head_chars - len(mark))
    head = part(start, min(size, start + reach))[:head_chars]
    tail = part(max(start, size - reach), size)[-tail_chars:]
    return head + mark + tail


def _read(log: Path, start: int, end: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _decode(data: bytes) -> str:
    return clean(data.decode(errors="replace"))
