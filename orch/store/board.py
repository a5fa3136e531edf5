"""What people and agents read under `.opencode/`: generated views, and the context of the project.

orch changes only what it made. A view starts with `<!-- orch:generated -->`; where a file of that name lacks
that line, and is not just empty, it is a person's, and the view goes to `.opencode/orch/`. In `context.md`
orch owns what stands between `<!-- orch -->` and `<!-- /orch -->`, and nothing else. An `AGENTS.md` is only
read. All functions block.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orch.errors import ToolError
from orch.mission.transcript import clean
from orch.store.folder import Folder, atomic_write, leads_into

GENERATED = b"<!-- orch:generated -->"
LONGEST_SOURCE_BYTES = 32 * 1024

_BEGIN = b"<!-- orch -->"
_END = b"<!-- /orch -->"
_SHARED_FILE = 0o666  # less the umask: people commit these
_ADVICE = "AGENTS.md"  # the open convention for advice to agents
_NEAREST = "Several AGENTS.md stand here: where they contradict each other, the one nearest to a file counts."
_CHECKED_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

_Signature = tuple[int, int, int, int] | None


def write_view(folder: Folder, name: str, text: str) -> str | None:
    """Put the view `name` in place; return one line if it had to go elsewhere.

    Raises:
        DiskRefused: the old view is untouched.
    """
    data = GENERATED + b"\n" + clean(text).encode()
    path, notice = folder.root / name, None
    if not _may_generate(path):
        path = folder.orch / name
        notice = f"{folder.root / name} is not orch's and was left alone; the generated one is {path}"
    if path.is_dir():
        return f"{path} is a directory: the generated one of that name is nowhere"
    if _regular_bytes(path, len(data) + 1) != data:
        atomic_write(path, data, mode=_SHARED_FILE)
    return notice


def write_context(folder: Folder, content: str) -> str:
    """Put `content` into orch's part of `context.md`; return the sha256 of the whole file.

    Raises:
        ToolError: `context.md` is a link or no regular file.
        DiskRefused: the old file is untouched.
    """
    path = folder.context
    old = _regular_bytes(path)
    if old is None and os.path.lexists(path):
        raise ToolError(
            f"{path} is no regular file, and orch does not write through links; leave it as it is"
        )
    new = _with_block(old or b"", clean(content))
    if new != old:
        atomic_write(path, new, mode=_SHARED_FILE)
    return hashlib.sha256(new).hexdigest()


@dataclass(frozen=True, slots=True)
class _Cached:
    signature: _Signature
    text: str


class Context:
    """What goes before every agent: `context.md`, as it is now.

    The same bytes as long as the file does not change, for one `stat` per call; safe to use from several
    threads.
    """

    def __init__(self, folder: Folder) -> None:
        self._workspace = folder.workspace
        self._context = folder.context
        self._cached = _Cached(None, "")

    def text(self) -> str:
        """Return the context under its name; empty where there is none."""
        signature = _signature(self._context)
        if signature != self._cached.signature:
            self._cached = _Cached(signature, _section(self._context, self._workspace, LONGEST_SOURCE_BYTES))
        return self._cached.text


def advice(workspace: Path, files: Iterable[str]) -> str:
    """Return the project's own advice to agents: `AGENTS.md` of the workspace and of the folders of `files`.

    The nearest to the files stand last, and are the last to be cut: all of them together are bounded.
    """
    folders = {PurePosixPath(), *(parent for file in files for parent in PurePosixPath(file).parents)}
    sections: list[str] = []
    left = LONGEST_SOURCE_BYTES
    for folder in sorted(folders, key=lambda each: (-len(each.parts), each)):
        section = _section(workspace / folder / _ADVICE, workspace, left)
        sections += [section] if section else []
        left = max(0, left - len(section.encode()))
    head = [_NEAREST + "\n"] if len(sections) > 1 else []
    return "\n".join([*head, *reversed(sections)])


def _section(path: Path, workspace: Path, longest_bytes: int) -> str:
    """Return a file under its name, cut where it is too long."""
    # A repository may plant a link to a secret: what leads out of the workspace is not read.
    if not leads_into(path, workspace):
        return ""
    data = _regular_bytes(Path(os.path.realpath(path)), longest_bytes + 1)
    if not data or not data.strip():
        return ""
    name = path.relative_to(workspace).as_posix()
    text = data[:longest_bytes].decode(errors="replace")
    if len(data) > longest_bytes:
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")
        text += f"\n[cut: only the first {longest_bytes} bytes of {name} stand here]"
    return f"# {name}\n\n{clean(text).strip()}\n"


def _may_generate(path: Path) -> bool:
    if not os.path.lexists(path):
        return True
    head = _regular_bytes(path, len(GENERATED) + 2)
    return head is not None and head.splitlines()[:1] in ([GENERATED], [])


def _regular_bytes(path: Path, limit_bytes: int = -1) -> bytes | None:
    """Return the start of a file, `None` for whatever is no regular file (a link, a pipe, nothing)."""
    try:
        descriptor = os.open(path, _CHECKED_OPEN | os.O_NOFOLLOW)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # `fdopen` raises for a directory
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit_bytes)


def _signature(path: Path) -> _Signature:
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _with_block(data: bytes, content: str) -> bytes:
    inner = content.strip().encode()
    for marker in (_BEGIN, _END):
        inner = inner.replace(marker, marker.replace(b"<", b"&lt;"))
    block = _BEGIN + b"\n" + inner + b"\n" + _END
    end = data.find(_END)
    while end >= 0:
        begin = data.rfind(_BEGIN, 0, end)
        if begin >= 0:
            return data[:begin] + block + data[end + len(_END) :]
        end = data.find(_END, end + 1)
    gap = b"" if not data else b"\n" if data.endswith(b"\n") else b"\n\n"
    return data + gap + block + b"\n"
