"""Makes text from outside harmless to a terminal and to a CI log.

Model text, tool output, file and branch names can hold escape sequences, bidirectional overrides and
characters that nobody sees. `line` returns one printable line; it never raises, and twice is as once.
"""

import re

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


def line(text: str, longest: int = 200) -> str:
    """Fold `text` into one harmless line of at most `longest` characters."""
    folded = _HIDDEN.sub("", " ".join(_SEQUENCES.sub("", text).split()))
    folded = " ".join(folded.split())
    if len(folded) > longest:
        folded = folded[: longest - 1] + "…"
    return f" {folded}" if folded.startswith("::") else folded


def block(text: str) -> str:
    """Return `text` with its lines and tabs, and nothing in it that a terminal would obey."""
    kept = (
        "".join("\t" if c == "\t" else _HIDDEN.sub("", c) for c in row)
        for row in _SEQUENCES.sub("", text).replace("\r\n", "\n").split("\n")
    )
    return "\n".join(f" {row}" if row.startswith("::") else row for row in kept)
