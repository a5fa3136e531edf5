"""Differences as `git apply` takes them. Pure: bytes in, bytes out.

A patch is of bytes: line endings, a missing newline at the end, and what is no UTF-8 stay as they are. Text
differs in hunks with three lines of context, which `patch -p1` takes too; what git would call binary (a NUL
among the first bytes) is a git binary patch, in both directions. Names are quoted as git quotes them. A file
that differs in very many lines is replaced as one block: still a patch, only not the smallest.
"""

import base64
import hashlib
import re
import string
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

CONTEXT_LINES = 3
COMPARED_LINES_MAX = 4_000
"""Lines between the first and the last difference; beyond, comparing them takes seconds."""
BINARY_PROBE_BYTES = 8_000  # as git looks (xdiff-interface.c, FIRST_FEW_BYTES)
PLAIN_MODE = "100644"
_ABSENT = "0" * 40
_PLAIN_NAME = re.compile(rb"[ !#-\[\]-~]+")
_ESCAPES = {0x07: b"a", 0x08: b"b", 0x09: b"t", 0x0A: b"n", 0x0B: b"v", 0x0C: b"f", 0x0D: b"r"}
_ESCAPES |= {0x22: b'"', 0x5C: b"\\"}
_LINE_BYTES = 52  # of a git binary patch

_Opcode = tuple[str, int, int, int, int]
_Ranges = tuple[range, range]


@dataclass(frozen=True, slots=True)
class Difference:
    """One file before and after; `None` where there is none. `mode` is its mode as git writes it."""

    path: str
    before: bytes | None
    after: bytes | None
    mode: str = PLAIN_MODE


def render(difference: Difference) -> bytes:
    """Return the patch of one file; empty if nothing differs."""
    before, after = difference.before, difference.after
    if before == after:
        return b""
    body = _hunks(difference) if not (is_binary(before) or is_binary(after)) else _binary(difference)
    return b"".join([*_head(difference), *body])


def is_binary(data: bytes | None) -> bool:
    """Say whether git takes the content for binary."""
    return data is not None and b"\0" in data[:BINARY_PROBE_BYTES]


def _head(difference: Difference) -> Iterator[bytes]:
    name, mode = difference.path, difference.mode
    yield b"diff --git %s %s\n" % (_name("a/", name), _name("b/", name))
    ids = b"index %s..%s" % (_object_id(difference.before), _object_id(difference.after))
    if difference.before is None:
        yield b"new file mode %s\n%s\n" % (mode.encode(), ids)
    elif difference.after is None:
        yield b"deleted file mode %s\n%s\n" % (mode.encode(), ids)
    else:
        yield b"%s %s\n" % (ids, mode.encode())


def _object_id(data: bytes | None) -> bytes:
    """Return what git calls the content: without it, no binary patch applies."""
    if data is None:
        return _ABSENT.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest().encode()


def _name(prefix: str, path: str) -> bytes:
    """Return a name, in quotes and with escapes where git writes them (quote.c, `quote_c_style`)."""
    raw = (prefix + path).encode("utf-8", "surrogateescape")
    if _PLAIN_NAME.fullmatch(raw):
        return raw
    return b'"' + b"".join(_escaped(byte) for byte in raw) + b'"'


def _escaped(byte: int) -> bytes:
    if byte in _ESCAPES:
        return b"\\" + _ESCAPES[byte]
    return b"%c" % byte if _PLAIN_NAME.fullmatch(b"%c" % byte) else b"\\%03o" % byte


# ---- text


def _hunks(difference: Difference) -> Iterator[bytes]:
    old, new = _lines(difference.before), _lines(difference.after)
    if not old and not new:
        return  # an empty file came or went: the head says it
    tab = b"\t" if " " in difference.path else b""  # so that no reader takes the blank for its end
    absent = b"/dev/null"
    yield b"--- %s\n" % (absent if difference.before is None else _name("a/", difference.path) + tab)
    yield b"+++ %s\n" % (absent if difference.after is None else _name("b/", difference.path) + tab)
    for group in _groups(list(_opcodes(old, new))):
        yield from _hunk(group, old, new)


def _lines(data: bytes | None) -> Sequence[bytes]:
    """Split at newlines alone: a carriage return is part of its line."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data or b"")


def _opcodes(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[_Opcode]:
    """Compare what stands between the equal lines at the beginning and the end."""
    shortest = min(len(old), len(new))
    start = next((i for i in range(shortest) if old[i] != new[i]), shortest)
    rest = shortest - start
    end = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    if start:
        yield "equal", 0, start, 0, start
    if max(len(before), len(after)) > COMPARED_LINES_MAX:
        yield "replace", start, start + len(before), start, start + len(after)
    else:
        matcher = SequenceMatcher(None, before, after)
        for tag, i, j, k, m in matcher.get_opcodes():
            yield tag, i + start, j + start, k + start, m + start
    if end:
        yield "equal", len(old) - end, len(old), len(new) - end, len(new)


def _groups(opcodes: Sequence[_Opcode]) -> Iterator[Sequence[_Opcode]]:
    """Part the differences where more than twice the context lies between them, with context around each."""
    group: list[_Opcode] = []
    for number, (tag, i, j, k, m) in enumerate(opcodes):
        if tag != "equal":
            group.append((tag, i, j, k, m))
            continue
        is_first, is_last = number == 0, number == len(opcodes) - 1
        if not is_first and not is_last and j - i <= 2 * CONTEXT_LINES:
            group.append((tag, i, j, k, m))
            continue
        if not is_first:
            yield [*group, (tag, i, min(j, i + CONTEXT_LINES), k, min(m, k + CONTEXT_LINES))]
        group = [(tag, max(i, j - CONTEXT_LINES), j, max(k, m - CONTEXT_LINES), m)]
    if any(tag != "equal" for tag, *_ in group):
        yield group


def _hunk(group: Sequence[_Opcode], old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[bytes]:
    _, old_start, _, new_start, _ = group[0]
    _, _, old_end, _, new_end = group[-1]
    yield b"@@ -%s +%s @@\n" % (_span(old_start, old_end), _span(new_start, new_end))
    for tag, i, j, k, m in group:
        if tag == "equal":
            yield from _marked(b" ", old[i:j])
        else:
            yield from _marked(b"-", old[i:j])
            yield from _marked(b"+", new[k:m])


def _span(start: int, end: int) -> bytes:
    length = end - start
    if length == 1:
        return b"%d" % (start + 1)
    return b"%d,%d" % (start + 1 if length else start, length)


def _marked(mark: bytes, lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"


# ---- binary


def _binary(difference: Difference) -> Iterator[bytes]:
    """Tell both contents, so that the patch can be taken back (git's documentation: `diff --binary`)."""
    yield b"GIT binary patch\n"
    yield from _literal(difference.after or b"")
    yield from _literal(difference.before or b"")


def _literal(data: bytes) -> Iterator[bytes]:
    packed = zlib.compress(data, 9)
    yield b"literal %d\n" % len(data)
    for start, end in pairwise([*range(0, len(packed), _LINE_BYTES), len(packed)]):
        yield _length(end - start) + base64.b85encode(packed[start:end], pad=True) + b"\n"
    yield b"\n"


def _length(number: int) -> bytes:
    """Return how many bytes a line holds: `A` to `Z` are 1 to 26, `a` to `z` are 27 to 52."""
    return string.ascii_letters.swapcase().encode()[number - 1 : number]
