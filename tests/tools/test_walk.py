"""The file list agrees with git about what is ignored, and the search script answers in one JSON object."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.tools import walk as walk_module
from orch.tools.walk import Query, answer, glob_regex, is_reserved, is_secret, walk

NAMES = ("a", "b", "ab", "aab", "x", "a*", "]", "abab", ".a", "a b")
TOKENS = (
    *("a", "b", "x", ".", "*", "?", "[ab]", "[!a]", "[^b]", "[a-b]", "[b-a]", "[]a]", "[[:alpha:]]"),
    *("\\a", "\\*", "a*", "*b", "[a", " "),
)
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")


def make(root: Path, *files: str, **texts: str) -> None:
    """Create files with a line each, or with a text."""
    for path, text in {**dict.fromkeys(files, "one line\n"), **texts}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with folders four deep, all of whose names are near to each other."""
    root = tmp_path_factory.mktemp("repository")
    for first in NAMES:
        make(root, f"{first}/a", f"{first}/b", f"{first}/ab/x/a", f"{first}/x/ab/aab/b", f"{first}.x")
    subprocess.run(["git", "init", "-q", root], check=True)  # noqa: S607 - git of the PATH
    return root


def listed_by_git(root: Path) -> list[str]:
    """Return git's own opinion."""
    command = ["git", "-C", str(root), "ls-files", "--others", "--exclude-standard", "-z"]
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(root)}
    listed = subprocess.run(command, env=environment, check=True, capture_output=True)
    return sorted(listed.stdout.decode().split("\0")[:-1])


segment = st.lists(st.sampled_from(TOKENS), min_size=1, max_size=3).map("".join)
segment = segment.filter(lambda text: "**" not in text) | st.just("**")
pattern = st.builds(
    lambda keep, anchor, segments, end: keep + anchor + "/".join(segments) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(segment, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " ", "\\ "]),
).filter(lambda line: not ("[a" in line.replace("[a-b]", "") and "]" in line))  # `[a/b]` is no set here


@needs_git
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(top=st.lists(pattern, max_size=5), nested=st.lists(pattern, max_size=3))
def test_any_gitignore_means_what_it_means_to_git(
    repository: Path, top: list[str], nested: list[str]
) -> None:
    """Whatever two nested .gitignore files say, the list is git's, in the order of its paths."""
    (repository / ".gitignore").write_text("\n".join(top), encoding="utf-8")
    (repository / "ab" / ".gitignore").write_text("\n".join(nested), encoding="utf-8")
    found = list(walk(repository))
    assert found == listed_by_git(repository)
    assert found == sorted(found)


@needs_git
@pytest.mark.parametrize(
    "rules",
    [
        "a/\n!a/b",  # nothing comes back from an ignored folder
        "a/*\n!a/b",
        "*\n!*/\n!ab",
        "/ab\n",
        "ab/x/",
        "**/ab",
        "ab/**",
        "a/**/b",
        "**",
        "# comment\n\\#x\n",
        "\ufeff*.x",
        "*.x\r\nab\r\n",
        "a\\ b\n",
        "a b   \n",
        "foo/bar/",
        "!",
        "/",
        "",
        "\\",
        "[",
        "[[:bogus:]]",
        "x\t",
    ],
)
def test_the_corners_of_the_format_are_gits(repository: Path, rules: str) -> None:
    """Anchors, negation, escapes, comments, BOM and CRLF are read as git reads them."""
    (repository / "ab" / ".gitignore").unlink(missing_ok=True)
    (repository / ".gitignore").write_bytes(rules.encode())
    assert list(walk(repository)) == listed_by_git(repository)


def test_what_belongs_to_git_and_orch_is_never_listed(tmp_path: Path) -> None:
    """`.git` at any depth and `.opencode/orch` are left out, the rest of `.opencode` is not."""
    make(tmp_path, ".git/config", "sub/.git/hooks/x", ".opencode/orch/journal", ".opencode/context.md", "a")
    assert list(walk(tmp_path)) == [".opencode/context.md", "a"]
    assert is_reserved(".GIT/config")
    assert not is_reserved("orch/.gitignore")


def test_links_and_special_files_are_left_out(tmp_path: Path) -> None:
    """A link to a folder outside is not entered, a pipe is not listed."""
    make(tmp_path, "outside/secret", "inside/a")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "file").symlink_to(tmp_path / "outside" / "secret")
    (tmp_path / "inside" / "loop").symlink_to(tmp_path / "inside")
    os.mkfifo(tmp_path / "inside" / "pipe")
    assert list(walk(tmp_path / "inside")) == ["a"]


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system refuses such names")
def test_a_name_that_is_not_utf8_is_left_out(tmp_path: Path) -> None:
    """No path leaves here that a journal or a model could not take."""
    (tmp_path / os.fsdecode(b"\xff")).touch()
    make(tmp_path, "tab\there", "é")
    assert list(walk(tmp_path)) == ["tab\there", "é"]


def test_a_start_below_the_root_keeps_the_rules_above_it(tmp_path: Path) -> None:
    """The rules between the root and the start hold, but the start itself is entered."""
    make(tmp_path, "a/b/keep.py", "a/b/drop.log", "a/b/build/x", **{".gitignore": "*.log\nbuild/\n"})
    assert list(walk(tmp_path, "a/b")) == ["a/b/keep.py"]
    assert list(walk(tmp_path, "a/b/build")) == ["a/b/build/x"]


@pytest.mark.parametrize("rule", ["*a*a*a*a*a*a*a*a*a*a*b", "**/*a/**/*a/**/*a/**/*a/**/*a/**/b"])
def test_a_hostile_pattern_does_not_explode(tmp_path: Path, rule: str) -> None:
    """A .gitignore cannot hold the process: many stars take no more time than few."""
    deep = "/".join(["aaaa"] * 60)
    make(tmp_path, "a" * 200, f"{deep}/a", **{".gitignore": rule})
    assert list(walk(tmp_path)) == [".gitignore", f"{deep}/a", "a" * 200]


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("*.py", "a/b/c.py", True),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/b/a.py", False),
        ("./src/**/*.py", "src/b/c/a.py", True),
        ("/a.py", "b/a.py", False),
        ("**/*.{ts,tsx}", "a/b.tsx", True),
        ("{a,b{c,d}}.txt", "bd.txt", True),
        ("{a,b}.txt", "c.txt", False),
        ("src/", "src/deep/a.py", True),
        ("app/[id]/page.tsx", "app/[id]/page.tsx", True),
        ("app/[id]/page.tsx", "app/i/page.tsx", True),
        ("**", "a/b", True),
        ("{}", "{}", True),
        ("a\nb", "a\nb", True),
    ],
)
def test_a_glob_means_what_models_expect(glob: str, path: str, fits: bool) -> None:
    """Choices, plain names in brackets and folders work on top of .gitignore's rules."""
    assert bool(glob_regex(glob).fullmatch(path)) is fits


def test_too_many_choices_are_refused() -> None:
    """Choices multiply, so their number has a limit."""
    assert "error" in answer(Query("/", ".", "{a,b}" * 30, None, 1))


@pytest.mark.parametrize(
    "path",
    [
        *(".env", "x/.env", ".env.local", ".ENV", "a.pem", "tls/server.key", "id_rsa", "id_ed25519"),
        *(".npmrc", ".pypirc", ".netrc", ".ssh/config", "home/.aws/credentials"),
    ],
)
def test_a_secret_is_known_by_its_name(path: str) -> None:
    """The names of section 'secrets' are recognised in any folder and case."""
    assert is_secret(path)


@pytest.mark.parametrize(
    "path", [".env.example", ".environment", "id_mapper.py", "key", "id_rsa.pub", "a.pem.md"]
)
def test_a_harmless_name_is_no_secret(path: str) -> None:
    """Examples and names that only look alike can be read."""
    assert not is_secret(path)


def grep(root: Path, regex: str, *, start: str = ".", limit: int = 100) -> object:
    """Ask for lines."""
    return answer(Query(str(root), start, None, regex, limit)).get("found")


def test_grep_skips_what_it_must_not_show(tmp_path: Path) -> None:
    """Secrets, binary files and very large ones have no lines; also when they are named."""
    make(tmp_path, a="needle\n", **{".env": "needle\n", "bin": "\0needle\n"})
    (tmp_path / "large").write_bytes(b"needle\n" * 800_000)
    assert grep(tmp_path, "needle") == [("a", 1, "needle")]
    assert grep(tmp_path, "needle", start=".env") == []
    assert grep(tmp_path, "needle", start="a") == [("a", 1, "needle")]


def test_grep_finds_text_in_any_encoding_and_ending(tmp_path: Path) -> None:
    """CRLF is no part of a line, and bytes that are no UTF-8 do not end a search."""
    (tmp_path / "a").write_bytes(b"one\r\nt\xffwo\r\n\r\n")
    assert grep(tmp_path, "^one$") == [("a", 1, "one")]
    assert grep(tmp_path, "wo$") == [("a", 2, "t\ufffdwo")]


def test_a_long_line_is_cut_around_its_match(tmp_path: Path) -> None:
    """The match is in the excerpt wherever it stands."""
    make(tmp_path, a="x" * 5000 + "needle" + "y" * 5000)
    found = grep(tmp_path, "needle")
    assert isinstance(found, list)
    assert "needle" in found[0][2]
    assert len(found[0][2]) <= walk_module.GREP_LINE_CHARS + 2


def test_more_is_said_only_when_there_is_more(tmp_path: Path) -> None:
    """The limit cuts, and an exact fit is not called a cut."""
    make(tmp_path, "a", "b", "c")
    assert answer(Query(str(tmp_path), ".", "*", None, 3)) == {"found": ["a", "b", "c"], "more": False}
    assert answer(Query(str(tmp_path), ".", "*", None, 2)) == {"found": ["a", "b"], "more": True}


@pytest.mark.parametrize("regex", ["(", "[z-a]", "a{99999999999}", "(?<=a+)b", "(" * 5000])
def test_a_bad_expression_is_an_error_and_not_a_crash(tmp_path: Path, regex: str) -> None:
    """Whatever `re` says about an expression becomes the answer's `error`."""
    make(tmp_path, "a")
    assert answer(Query(str(tmp_path), ".", None, regex, 1)).keys() == {"error"}


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[Query], dict[str, object]]:
    """Ask the script, in an interpreter that has nothing but the standard library."""

    def run(query: Query) -> dict[str, object]:
        command = [sys.executable, "-I", "-S", walk_module.__file__]
        request = json.dumps(query._asdict()).encode()
        reply = subprocess.run(command, input=request, capture_output=True, check=True, cwd=tmp_path)
        answered: dict[str, object] = json.loads(reply.stdout)
        return answered

    return run


def test_the_script_answers_on_its_own(tmp_path: Path, ask: Callable[[Query], dict[str, object]]) -> None:
    """One request in, one object out."""
    make(tmp_path, "a.py", "b/c.py", "d.txt")
    found = ask(Query(str(tmp_path), ".", "*.py", None, 10))
    assert found == {"found": ["a.py", "b/c.py"], "more": False}
    assert ask(Query(str(tmp_path), "b", None, "line", 10))["found"] == [["b/c.py", 1, "one line"]]
