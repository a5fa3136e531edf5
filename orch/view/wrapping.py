"""Text from outside as rows of a given width: defused, with all that it says."""

import textwrap
from collections.abc import Iterable, Iterator

from orch.view import defuse


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the lines of `text`, those that are too long in several rows; empty ends are left out.

    What is harmless in the middle of a line may not be so at the beginning of a row: each is defused again,
    which may take a column.
    """
    for line in defuse.block(text.strip("\n")).expandtabs(4).rstrip().split("\n"):
        for row in _rows(line.rstrip(), width - 1):
            yield defuse.block(row)


def _rows(line: str, width: int) -> Iterable[str]:
    if defuse.columns(line) <= width:
        return (line,)
    if line.isascii():
        return textwrap.wrap(line, width, replace_whitespace=False, break_on_hyphens=False)
    return _chopped(line, width)


def _chopped(line: str, width: int) -> Iterator[str]:
    """Yield pieces of a line whose characters take one column or two; it is cut at a blank where one is."""
    piece, taken = "", 0
    for character in line:
        taken += defuse.columns(character)
        if taken > width:
            end = len(piece) if character == " " else _last_blank(piece)
            yield piece[:end].rstrip()
            piece = f"{piece[end:]}{character}".lstrip()
            taken = defuse.columns(piece)
        else:
            piece += character
    yield piece


def _last_blank(piece: str) -> int:
    """Return where to cut: behind the last word that is whole, else at the end."""
    blank = piece.rfind(" ")
    return blank if piece[: max(0, blank)].strip() else len(piece)
