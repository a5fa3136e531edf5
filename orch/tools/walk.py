"""Lists and searches the files of a tree, as a library and as a script.

`walk` yields every regular file that git would not ignore; links, `.git/` and orch's own state are never
entered. Run as `python -I -S walk.py`, it answers one JSON request from stdin (`Query`) with one JSON
object on stdout: `found` and `more`, or `error`. The script exists because a hostile regular expression
cannot be interrupted: it holds the interpreter until its process is killed. For the same reason this
module needs nothing but the standard library. What cannot be read is skipped.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import NamedTuple

GREP_FILE_BYTES_MAX = 5_000_000
GREP_LINE_CHARS = 300
BINARY_PROBE_BYTES = 8192
_IGNORE_FILE_BYTES_MAX = 100_000
_IGNORE_LINE_CHARS_MAX = 4096
_BRACE_CHOICES_MAX = 256
_CONTEXT_CHARS = 100

_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".kube", ".gnupg"})
_SECRET_NAME = re.compile(
    r"\.env(?:\.(?!(?:example|sample|template|dist)\Z).*)?"
    r"|.*\.(?:pem|key|p12|pfx)"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?"
    r"|\.npmrc|\.pypirc|\.netrc|_netrc|\.git-credentials",
    re.DOTALL,
)


def is_secret(path: str) -> bool:
    """Say whether the name of a file (relative, `/` separated) promises a key or a password."""
    *folders, name = path.casefold().split("/")
    return bool(_SECRET_NAME.fullmatch(name)) or not _SECRET_FOLDERS.isdisjoint(folders)


def is_reserved(path: str) -> bool:
    """Say whether a path (relative, `/` separated) belongs to git or to orch's own state."""
    parts = path.casefold().split("/")
    return ".git" in parts or parts[:2] == [".opencode", "orch"]


# Patterns. Every `*` but the last of a name, and every `**/` but the last, becomes an atomic group that
# takes the first place where what follows it fits. What stands between two of them has a fixed length, so
# the first place is as good as any later one, and no pattern of a repository can make matching explode.
# Unlike git's, these patterns know characters, not bytes, and no `/` within brackets or behind a backslash.

_NEVER = r"(?!)"
_TOKEN = re.compile(
    r"(?P<star>\*+)|(?P<any>\?)|\\(?P<escaped>.)"
    r"|\[(?P<not>[!^]?)(?P<set>\]?(?:\[:[a-z]*:\]|\\.|[^\]\\])*)\]"
    r"|(?P<broken>[\[\\])|(?P<plain>.)",
    re.DOTALL,
)
_MEMBER = re.compile(r"\[:(?P<kind>[a-z]*):\]|\\?(?P<low>.)(?:-\\?(?P<high>.))?", re.DOTALL)
_KINDS = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def _set(body: str, *, negated: bool) -> str:
    """Translate what stands between the brackets of a pattern."""
    members = ""
    for member in _MEMBER.finditer(body):
        if member["kind"] is not None:
            if member["kind"] not in _KINDS:
                return _NEVER
            members += _KINDS[member["kind"]]
        elif member["high"] and member["low"] <= member["high"]:
            members += f"{re.escape(member['low'])}-{re.escape(member['high'])}"
        else:  # of a range the wrong way round git takes the first character
            members += re.escape(member["low"])
    if negated:
        return f"[^/{members}]"
    return f"(?!/)[{members}]" if members else _NEVER


def _segment(text: str) -> str:
    """Translate the pattern of one name, in which nothing matches a `/`."""
    parts = [""]
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "star":
                parts.append("")
            case "any":
                parts[-1] += "[^/]"
            case "set":
                parts[-1] += _set(token["set"], negated=bool(token["not"]))
            case "broken":
                return _NEVER
            case _:
                parts[-1] += re.escape(token["escaped"] or token["plain"])
    if len(parts) == 1:
        return parts[0]
    middle = "".join(f"(?>[^/]*?{part})" for part in parts[1:-1])
    return f"{parts[0]}{middle}[^/]*{parts[-1]}"


def _anchored(pattern: str) -> str:
    """Translate a pattern of whole paths, in which `**` stands for any number of folders."""
    chunks: list[list[str]] = [[]]
    for name in pattern.split("/"):
        if len(name) > 1 and not name.strip("*"):
            chunks.append([])
        else:
            chunks[-1].append(_segment(name))
    first, *rest = ["/".join(chunk) for chunk in chunks]
    if not rest:
        return first
    middle = "".join(f"(?>(?:[^/]*/)*?{chunk}/)" for chunk in rest[:-1] if chunk)
    last = f"(?:[^/]*/)*{rest[-1]}" if rest[-1] else ".+"
    return (f"{first}/" if chunks[0] else "") + middle + last


def _translate(pattern: str) -> str:
    """Translate a pattern as .gitignore means it: one without a slash fits names in every folder."""
    if "/" in pattern:
        return _anchored(pattern.removeprefix("/"))
    return f"(?:.*/)?+{_segment(pattern)}"


def _choices(pattern: str) -> list[str]:
    """Spell out `{a,b}`, also nested.

    Raises:
        ValueError: There are too many combinations.
    """
    pending = [pattern]
    plain: list[str] = []
    while pending:
        if len(pending) + len(plain) > _BRACE_CHOICES_MAX:
            raise ValueError("too many {a,b} choices in the pattern")
        head = pending.pop()
        brace = re.search(r"\{([^{}]*,[^{}]*)\}", head)
        if brace is None:
            plain.append(head)
        else:
            before, after = head[: brace.start()], head[brace.end() :]
            pending.extend(f"{before}{choice}{after}" for choice in brace[1].split(","))
    return plain


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Compile a glob over relative paths: .gitignore's rules, `{a,b}`, and names that look like a set.

    Raises:
        ValueError: The pattern has too many choices.
    """
    forms = []
    for choice in _choices(pattern.removeprefix("./")):
        whole = f"{choice}**" if choice.endswith("/") else choice
        forms += [_translate(whole), re.escape(whole.removeprefix("/"))]
    return re.compile("|".join(forms), re.DOTALL)


class _Matcher(NamedTuple):
    """The rules of one .gitignore for one kind of entry; the first group that matches is the verdict."""

    regex: re.Pattern[str]
    ignored: tuple[bool, ...]

    @classmethod
    def of(cls, rules: list[tuple[str, bool]]) -> "_Matcher":
        """Join (regex, ignored) pairs, of which the last one counts."""
        latest = rules[::-1]
        regex = re.compile("|".join(f"({regex})" for regex, _ in latest) or _NEVER, re.DOTALL)
        return cls(regex, tuple(ignored for _, ignored in latest))


class _Rules(NamedTuple):
    """One .gitignore: where its paths start, and what it says about files and folders."""

    skip_chars: int
    files: _Matcher
    folders: _Matcher

    def verdict(self, path: str, *, folder: bool) -> bool | None:
        """Say whether `path` is ignored, or `None` if these rules do not speak of it."""
        matcher = self.folders if folder else self.files
        match = matcher.regex.fullmatch(path, self.skip_chars)
        return matcher.ignored[match.lastindex - 1] if match and match.lastindex else None


# A backslash keeps the blank behind it from being trimmed.
_RULE_LINE = re.compile(r"(?P<keep>!?)(?P<pattern>(?:\\.|.)*?)(?P<folder>/?) *", re.DOTALL)


def _parse_rules(text: str, folder: str) -> _Rules | None:
    files, folders = [], []
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.startswith("#") or len(line) > _IGNORE_LINE_CHARS_MAX:
            continue
        rule = _RULE_LINE.fullmatch(line.removesuffix("\r"))
        if rule is None or not rule["pattern"]:
            continue
        entry = (_translate(rule["pattern"]), not rule["keep"])
        folders.append(entry)
        if not rule["folder"]:
            files.append(entry)
    if not folders:
        return None
    return _Rules(0 if folder == "." else len(folder) + 1, _Matcher.of(files), _Matcher.of(folders))


def _read(path: str, limit_bytes: int) -> bytes | None:
    """Return a regular file's bytes; `None` for anything else, too large, or out of reach."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit_bytes:
            return None
        return os.read(fd, info.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)


def _rules_of(root: str, folder: str) -> tuple[_Rules, ...]:
    """Return the folder's own rules, if it has some."""
    data = _read(f"{root}/{folder}/.gitignore", _IGNORE_FILE_BYTES_MAX)
    rules = _parse_rules(data.decode(errors="surrogateescape"), folder) if data else None
    return (rules,) if rules else ()


def _is_ignored(rules: tuple[_Rules, ...], path: str, *, folder: bool) -> bool:
    """Ask the rules, nearest first."""
    for level in rules:
        verdict = level.verdict(path, folder=folder)
        if verdict is not None:
            return verdict
    return False


def _entries(root: str, folder: str, rules: tuple[_Rules, ...]) -> list[tuple[str, bool]]:
    """List a folder's (path, is a folder), last first; what is ignored, reserved or no file is left out."""
    kept = []
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                path = entry.name if folder == "." else f"{folder}/{entry.name}"
                if not (is_folder or entry.is_file(follow_symlinks=False)) or is_reserved(path):
                    continue
                if path.isprintable() or _is_utf8(path):
                    kept.append((path, is_folder))
    except OSError:
        return []
    kept = [(path, is_folder) for path, is_folder in kept if not _is_ignored(rules, path, folder=is_folder)]
    return sorted(kept, key=lambda entry: f"{entry[0]}/" if entry[1] else entry[0], reverse=True)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def walk(root: str | os.PathLike[str], start: str = ".") -> Iterator[str]:
    """Yield the files below `start`, as paths relative to `root`, in the order of their paths.

    Left out: what a `.gitignore` between `root` and the file ignores, `.git`, `.opencode/orch`, links,
    special files, and names that are not UTF-8. `start` itself is entered even where it is ignored.
    """
    root = os.fspath(root)
    rules: tuple[_Rules, ...] = ()
    for depth in range(start.count("/") + 1 if start != "." else 0):
        rules = (*_rules_of(root, "/".join(start.split("/")[:depth]) or "."), *rules)
    pending = [(start, True, rules)]
    while pending:
        path, is_folder, rules = pending.pop()
        if not is_folder:
            yield path
            continue
        rules = (*_rules_of(root, path), *rules)
        pending.extend((*entry, rules) for entry in _entries(root, path, rules))


class Query(NamedTuple):
    """A request: `regex` is `None` for a list of paths; `include` is a glob that the paths must fit."""

    root: str
    start: str
    include: str | None
    regex: str | None
    limit: int


def _paths(query: Query) -> Iterator[str]:
    """Yield the files that a query may see."""
    fits = glob_regex(query.include).fullmatch if query.include else None
    skip_chars = 0 if query.start == "." else len(query.start) + 1
    if os.path.isfile(f"{query.root}/{query.start}"):  # noqa: PTH113 - pathlib doubles the start-up time
        names, skip_chars = iter([query.start]), 0
    else:
        names = walk(query.root, query.start)
    for path in names:
        if (fits is None or fits(path, skip_chars)) and not is_secret(path):
            yield path


def _excerpt(line: str, match: re.Match[str]) -> str:
    if len(line) <= GREP_LINE_CHARS:
        return line
    start = max(0, min(match.start() - _CONTEXT_CHARS, len(line) - GREP_LINE_CHARS))
    return ("…" if start else "") + line[start : start + GREP_LINE_CHARS] + "…"


def _matches(query: Query) -> Iterator[tuple[str, int, str]]:
    """Yield (path, line number, line) for every line that the expression fits."""
    pattern = query.regex or ""
    search = re.compile(pattern).search
    needle = b"" if set(pattern) & set(r"\.^$*+?{}[]|()") else pattern.encode(errors="surrogateescape")
    for path in _paths(query):
        data = _read(f"{query.root}/{path}", GREP_FILE_BYTES_MAX)
        if not data or needle not in data or b"\0" in data[:BINARY_PROBE_BYTES]:
            continue
        for number, line in enumerate(data.decode(errors="replace").replace("\r\n", "\n").split("\n"), 1):
            match = search(line)
            if match:
                yield path, number, _excerpt(line, match)


def answer(query: Query) -> dict[str, object]:
    """Answer one query with `found` (at most `limit`) and `more`, or with `error`."""
    found: list[object] = []
    try:
        for hit in _paths(query) if query.regex is None else _matches(query):
            if len(found) == query.limit:
                return {"found": found, "more": True}
            found.append(hit)
    except (re.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return {"error": str(error) or type(error).__name__}
    return {"found": found, "more": False}


if __name__ == "__main__":
    json.dump(answer(Query(**json.load(sys.stdin))), sys.stdout)
