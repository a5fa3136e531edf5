"""The part of a red command's output that somebody who has to mend it needs. Pure.

A long output is mostly what went well. What is kept are the lines that speak of something wrong, with what
stands around them, the first ones before later ones, since later errors often only follow; and the end, where
most programs say what it came to. Lines stay in their order, gaps are marked, and a line that comes again
and again counts once.
"""

import re
from collections.abc import Iterator, Sequence

BEFORE, AFTER = 2, 8
"""Lines kept around one that speaks of something wrong: what follows says more than what stands before."""
END_PART = 0.4
"""How much of the excerpt the end may take."""
LONGEST_LINE_CHARS = 500
GAP = "[...]"

_WRONG = re.compile(
    r"\b(?:error|errors|fail|fails|failed|failure|failures|exception|traceback|panic|panicked|fatal|aborted"
    r"|undefined|unresolved|unexpected|mismatch|denied|missing|assertionerror|segmentation)\b"
    r"|cannot |not found|no such |^E  |^\w*(?:Error|Exception|Warning)\b|^--- FAIL|✗|✕|✘",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\b(?:0|no) (?:errors?|failures?|failed|warnings?)\b|\bfail(?:ures|ed)?[:=] ?0\b", re.IGNORECASE
)


def relevant(output: str, limit_chars: int) -> str:
    """Return `output`, or what matters of it in at most `limit_chars` characters."""
    if len(output) <= limit_chars:
        return output
    lines = [line[:LONGEST_LINE_CHARS] for line in output.splitlines()]
    kept = _end(lines, int(limit_chars * END_PART))
    left = limit_chars - sum(len(lines[number]) + 1 + len(GAP) for number in kept)
    for block in _blocks(lines):
        new = [number for number in block if number not in kept]
        size = sum(len(lines[number]) + 1 for number in new) + len(GAP) + 1
        if size > left:
            continue
        kept.update(new)
        left -= size
    return "\n".join(_joined(lines, sorted(kept)))[-limit_chars:]


def _end(lines: Sequence[str], limit_chars: int) -> set[int]:
    kept: set[int] = set()
    for number in range(len(lines) - 1, -1, -1):
        limit_chars -= len(lines[number]) + 1 + len(GAP)
        if limit_chars < 0:
            break
        kept.add(number)
    return kept


def _blocks(lines: Sequence[str]) -> Iterator[range]:
    """Yield the surroundings of each line that speaks of something wrong, the first ones first."""
    said: set[str] = set()
    for number, line in enumerate(lines):
        text = line.strip()
        if text in said or not _WRONG.search(line) or _NOTHING.search(line):
            continue
        said.add(text)
        yield range(max(0, number - BEFORE), min(len(lines), number + AFTER + 1))


def _joined(lines: Sequence[str], numbers: Sequence[int]) -> Iterator[str]:
    before = -1
    for number in numbers:
        if number > before + 1:
            yield GAP
        yield lines[number]
        before = number
