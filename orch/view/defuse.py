"""Makes text from outside harmless to a terminal and to a CI log.

Model text, tool output, file and branch names can hold escape sequences, bidirectional overrides, characters
that nobody sees, and commands to the CI runner that reads the log: GitHub's obeys `::…` after leading blanks
(actions/runner, ActionCommand.TryParseV2) and `##[` anywhere in a line (TryParse), Azure's `##vso[`. `line`
returns one printable line, `block` many; they never raise, and twice is as once.
"""

import re
from itertools import accumulate

from rich.cells import get_character_cell_size

_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor moves
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\Z)"  # OSC, DCS, SOS, PM, APC: titles, clipboard
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff\ud800-\udfff]"
)
_RUNNER_LINE = re.compile(r"^(\s*):(?=:)")
_RUNNER_WORD = re.compile(r"##(?=\[|vso\[)")


def line(text: str, longest: int = 200) -> str:
    """Fold `text` into one harmless line that takes at most `longest` columns of a terminal."""
    folded = _HIDDEN.sub("", " ".join(_SEQUENCES.sub("", text).split()))
    return fit(_disarmed(" ".join(folded.split())), longest)


def block(text: str) -> str:
    """Return `text` with its lines and tabs, and nothing in it that a terminal would obey."""
    rows = _SEQUENCES.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(_disarmed("\t".join(_HIDDEN.sub("", cell) for cell in row.split("\t"))) for row in rows)


def columns(text: str) -> int:
    """Return how many columns a terminal gives to `text`."""
    return len(text) if _is_plain(text) else sum(map(get_character_cell_size, text))


def fit(text: str, longest: int) -> str:
    """Cut `text` to at most `longest` columns, and show that it was cut."""
    if len(text) <= longest and _is_plain(text):
        return text
    ends = list(accumulate(map(get_character_cell_size, text)))
    if not ends or ends[-1] <= longest:
        return text
    return text[: sum(1 for end in ends if end < longest)].rstrip() + "…"


def _is_plain(text: str) -> bool:
    """Whether each character takes one column."""
    return text.isascii() and text.isprintable()


def _disarmed(row: str) -> str:
    """Take apart what a CI runner would read as a command."""
    return _RUNNER_WORD.sub("## ", _RUNNER_LINE.sub(r"\1: ", row))
