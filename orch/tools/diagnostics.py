"""Says what is wrong with a text, without running any of the project's code.

`diagnose` looks at a file that was just written: syntax, and imports that resolve to nothing. `near_miss`
says why an edit did not fit. Both are bounded: large files are not looked at, findings are cut at
`FINDINGS_MAX`, and no input makes them raise. `site_packages` asks the machine's Python, never one from
the workspace, where it would look for imports; without an answer in time it returns nothing.
"""

import ast
import asyncio
import difflib
import json
import os
import re
import shutil
import sys
import threading
import tomllib
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SOURCE_BYTES_MAX = 256 * 1024
FINDINGS_MAX = 10
SITE_PACKAGES_TIMEOUT_S = 10.0
KILL_WAIT_S = 5.0  # a killed process is gone at once, unless it hangs in the kernel

_TEXT_CHARS = 120
_NOTHING = "resolves to nothing: not in the workspace, the plan, or the installed packages"
_JSON_WITH_COMMENTS = re.compile(r"(ts|js)config.*\.json|devcontainer\.json|\.eslintrc\.json|\.swcrc")
_PRINT_PATH = "import json, sys; json.dump(sys.path, sys.stdout)"
_CONDITIONS = frozenset({"TYPE_CHECKING", "version_info", "platform"})
_IMPORT_FAILURES = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_COMPARED_STARTS_MAX = 1000
_COMPARED_LINES_MAX = 100
_COMPARED_CHARS_MAX = 200
_COMPARED_CANDIDATES_MAX = 50

# The filters of `warnings` belong to the process; without the lock two threads could leave them changed.
_warning_filters = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Place:
    """What imports of one file are looked up in; `planned` are files that other Workers will write."""

    workspace: Path
    path: PurePosixPath
    planned: Collection[str]
    installed: Collection[Path]

    def has(self, folder: PurePosixPath, parts: list[str]) -> bool:
        """Say whether the workspace or the plan has the module `parts` in `folder`."""
        module = folder.joinpath(*parts)
        if self._is_planned(str(module)):
            return True
        here = self.workspace / module
        return here.is_dir() or _has_module(here.parent, here.name)

    def _is_planned(self, module: str) -> bool:
        files = (f"{module}.py", f"{module}.pyi")
        return any(path in files or path.startswith(f"{module}/") for path in self.planned)

    def has_top(self, parts: list[str]) -> bool:
        """Say whether an absolute import finds its module."""
        name = parts[0]
        if name in sys.stdlib_module_names:
            return True
        roots = [root for parent in self.path.parents for root in (parent, parent / "src")]
        owners = [root for root in roots if self.has(root, [name])]
        if any(self.has(root, parts) for root in owners):
            return True
        return any(_is_installed(folder, name) for folder in self.installed)


def diagnose(
    workspace: Path, path: str, data: bytes, planned: Collection[str], installed: Collection[Path]
) -> str | None:
    """Return what is wrong with a file's new bytes, one finding a line; `None` if nothing is known.

    `path` is canonical, `planned` are paths that will exist, `installed` the folders of `site_packages`.
    """
    place = _Place(workspace, PurePosixPath(path), planned, installed)
    if len(data) > SOURCE_BYTES_MAX:
        return None
    match place.path.suffix:
        case ".py" | ".pyi":
            findings = _python(data, place)
        case ".json" if not _JSON_WITH_COMMENTS.fullmatch(place.path.name):
            findings = _json(data)
        case ".toml":
            findings = _toml(data)
        case _:
            findings = []
    if len(findings) > FINDINGS_MAX:
        cut = len(findings) - FINDINGS_MAX + 1
        findings = [*findings[: FINDINGS_MAX - 1], f"and {cut} more findings"]
    return "\n".join(findings) or None


def _python(data: bytes, place: _Place) -> list[str]:
    try:
        with _warning_filters, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except SyntaxError as error:
        text = f": {error.text.strip()[:_TEXT_CHARS]}" if error.text else ""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return [f"line {error.lineno}: syntax error (Python {version}): {error.msg}{text}"]
    except (RecursionError, MemoryError):
        return ["the code is nested too deeply to be parsed"]
    except ValueError as error:
        return [f"the code cannot be parsed: {error}"]
    nodes = sorted(_imports(tree), key=lambda node: node.lineno)
    return [finding for node in nodes for finding in _unresolved(node, place)]


def _imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run on every machine: not those that a `try` or a condition guards."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try | ast.TryStar) and _expects_failure(node):
            pending.extend([*node.orelse, *node.finalbody])
        elif isinstance(node, ast.With) and any(_names(item) & _IMPORT_FAILURES for item in node.items):
            continue
        elif not (isinstance(node, ast.If) and _names(node.test) & _CONDITIONS):
            pending.extend(ast.iter_child_nodes(node))


def _expects_failure(node: ast.Try | ast.TryStar) -> bool:
    return any(handler.type is None or _names(handler.type) & _IMPORT_FAILURES for handler in node.handlers)


def _names(node: ast.AST) -> set[str]:
    """Return every name and attribute in an expression."""
    inner = list(ast.walk(node))
    names = {part.id for part in inner if isinstance(part, ast.Name)}
    return names | {part.attr for part in inner if isinstance(part, ast.Attribute)}


def _unresolved(node: ast.Import | ast.ImportFrom, place: _Place) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for name in node.names:
            if not place.has_top(name.name.split(".")):
                yield f"line {node.lineno}: import {name.name} {_NOTHING}"
    elif node.level:
        yield from _unresolved_relative(node, place)
    elif node.module and not place.has_top(node.module.split(".")):
        yield f"line {node.lineno}: from {node.module} import … {_NOTHING}"


def _unresolved_relative(node: ast.ImportFrom, place: _Place) -> Iterator[str]:
    """Look beside the file; what a package's `__init__` may define is taken to be there."""
    dots = "." * node.level
    folders = place.path.parents
    if node.level > len(folders):
        yield f"line {node.lineno}: from {dots}{node.module or ''} import … leaves the workspace"
        return
    folder = folders[node.level - 1]
    if node.module:
        if not place.has(folder, node.module.split(".")):
            yield f"line {node.lineno}: from {dots}{node.module} import … {_NOTHING}"
    elif not place.has(folder, ["__init__"]):
        for name in node.names:
            if name.name != "*" and not place.has(folder, [name.name]):
                yield f"line {node.lineno}: from {dots} import {name.name} {_NOTHING}"


def _has_module(folder: Path, name: str) -> bool:
    """Say whether a folder holds the source or the compiled form of a module."""
    if any((folder / f"{name}{suffix}").is_file() for suffix in (".py", ".pyi", ".so", ".pyd")):
        return True
    return any(folder.glob(f"{name}.*.so")) or any(folder.glob(f"{name}.*.pyd"))


def _is_installed(folder: Path, name: str) -> bool:
    """Say whether an import folder has a module, also by the names that a distribution lists."""
    if (folder / name).is_dir() or _has_module(folder, name):
        return True
    for listing in folder.glob("*.*-info/top_level.txt"):
        with suppress(OSError, UnicodeDecodeError):
            if name in listing.read_text(encoding="utf-8").split():
                return True
    return False


def _json(data: bytes) -> list[str]:
    repeated: list[str] = []

    def note_repeated(pairs: list[tuple[str, object]]) -> None:
        counts = Counter(key for key, _ in pairs)
        repeated.extend(key for key, count in counts.items() if count > 1)

    try:
        json.loads(data.decode("utf-8-sig"), object_pairs_hook=note_repeated, parse_int=len)
    except json.JSONDecodeError as error:
        return [f"line {error.lineno}, column {error.colno}: no valid JSON: {error.msg}"]
    except UnicodeDecodeError:
        return ["no valid JSON: not UTF-8"]
    except RecursionError:
        return ["the JSON is nested too deeply to be parsed"]
    return [f"the key {key[:_TEXT_CHARS]!r} occurs twice in one object" for key in repeated]


def _toml(data: bytes) -> list[str]:
    try:
        tomllib.loads(data.decode())
    except UnicodeDecodeError:
        return ["no valid TOML: not UTF-8"]
    except RecursionError:
        return ["the TOML is nested too deeply to be parsed"]
    except ValueError as error:
        return [f"no valid TOML: {error}"]
    return []


async def site_packages(workspace: Path) -> tuple[Path, ...]:
    """Return the folders in which the project's Python would look for imports.

    These are a virtual environment's in the workspace, and those of the `python3` on the `PATH` unless it
    lies in the workspace.
    """
    own = await asyncio.to_thread(_own_environments, workspace)
    python = await asyncio.to_thread(_outside_python, workspace)
    if python is None:
        return own
    try:
        async with asyncio.timeout(SITE_PACKAGES_TIMEOUT_S):
            output = await _ask_python(python)
        entries = json.loads(output)
    except (TimeoutError, OSError, RuntimeError, ValueError):  # no answer, no home folder, not a list
        return own
    return (*own, *(Path(entry) for entry in entries if entry))


def _own_environments(workspace: Path) -> tuple[Path, ...]:
    """Return the import folders of `.venv` and `venv`, with what their `.pth` files add."""
    folders = [
        folder
        for name in (".venv", "venv")
        for folder in sorted((workspace / name).glob("lib*/python3*/site-packages"))
    ]
    added: list[Path] = []
    for folder in folders:
        for listing in sorted(folder.glob("*.pth")):
            with suppress(OSError, UnicodeDecodeError, ValueError):
                lines = listing.read_text(encoding="utf-8").splitlines()
                added += [folder / line for line in lines if line and (folder / line).is_dir()]
    return (*folders, *added)


def _outside_python(workspace: Path) -> str | None:
    python = shutil.which("python3")
    if python is None or Path(python).absolute().is_relative_to(workspace.resolve()):
        return None
    return python


async def _ask_python(python: str) -> bytes:
    child = await asyncio.create_subprocess_exec(
        *(python, "-I", "-c", _PRINT_PATH),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.pathsep.join(os.get_exec_path()), "HOME": str(Path.home())},
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            async with asyncio.timeout(KILL_WAIT_S):
                await child.wait()
    return output


def near_miss(text: str, old: str) -> str:
    """Say what in `text` comes closest to `old`, which does not occur in it."""
    lines, wanted = text.split("\n"), old.strip("\n").split("\n")[:_COMPARED_LINES_MAX]
    if all(re.match(r" *\d+\t", line) for line in wanted):
        return "Leave out the line numbers that read puts before each line."
    start, fit = _best_start(lines, wanted)
    if not fit:
        return _closest_lines(lines, max(wanted, key=len))
    differing = [nth for nth in range(fit) if lines[start + nth] != wanted[nth]]
    if not differing and fit == len(wanted):
        return f"Lines {start + 1}-{start + fit} are the same, but not what is before or after them."
    nth = differing[0] if differing else fit
    kind = "differs in blanks" if differing else "differs"
    found = (
        repr(lines[start + nth][:_COMPARED_CHARS_MAX]) if start + nth < len(lines) else "the end of the file"
    )
    return f"Line {start + nth + 1} {kind}: it is {found}, yours is {wanted[nth][:_COMPARED_CHARS_MAX]!r}."


def _best_start(lines: list[str], wanted: list[str]) -> tuple[int, int]:
    """Return where most of the first wanted lines are found, blanks aside, and how many."""
    keys = [" ".join(line.split()) for line in wanted]
    starts = [nth for nth, line in enumerate(lines) if keys[0] and " ".join(line.split()) == keys[0]]
    best = (0, 0)
    for start in starts[:_COMPARED_STARTS_MAX]:
        window = lines[start : start + len(keys)]
        fits = [" ".join(line.split()) == key for line, key in zip(window, keys, strict=False)]
        fit = fits.index(False) if False in fits else len(fits)
        best = max(best, (start, fit), key=lambda found: found[1])
    return best


def _closest_lines(lines: list[str], wanted: str) -> str:
    """Compare the lines that share most words with the wanted one."""
    words = set(re.findall(r"\w+", wanted))
    shared = [(len(words & set(re.findall(r"\w+", line))), number) for number, line in enumerate(lines, 1)]
    likely = sorted(shared, key=lambda pair: (-pair[0], pair[1]))[:_COMPARED_CANDIDATES_MAX]
    candidates = {
        lines[number - 1].strip()[:_COMPARED_CHARS_MAX]: number for count, number in likely if count
    }
    close = difflib.get_close_matches(wanted.strip()[:_COMPARED_CHARS_MAX], candidates, n=3, cutoff=0.5)
    if not close:
        return "Nothing like it is there; read the file again."
    return "The closest lines: " + "; ".join(f"{candidates[line]}: {line!r}" for line in close) + "."
