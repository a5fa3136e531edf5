"""Patches, as git itself takes them and takes them back."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.mission.patch import COMPARED_LINES_MAX, Difference, is_binary, render

Tree = Mapping[str, bytes | None]

NAMES = st.text(st.sampled_from('ab."\\ \t\n\x01é😀-'), max_size=6)
PATHS = st.one_of(NAMES.map("f{}".format), NAMES.map("folder x/_{}".format))
LINES = st.sampled_from([b"one\n", b"two\n", b"\n", b"crlf\r\n", b"\xff\xfe\n", b"-- a\n", b"\\ no\n"])
TEXTS = st.builds(
    lambda lines, end: b"".join(lines) + end,
    st.lists(LINES, max_size=24),
    st.sampled_from([b"", b"no newline", b"\r"]),
)
CONTENTS = st.one_of(st.none(), TEXTS, st.binary(max_size=200), st.just(b"\0" + bytes(range(256)) * 3))
TREES = st.dictionaries(PATHS, st.tuples(CONTENTS, CONTENTS), max_size=4)


def put(folder: Path, tree: Tree) -> None:
    """Make a tree."""
    for path, data in tree.items():
        if data is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


def seen(folder: Path) -> dict[str, bytes]:
    """Return the tree that is there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def apply(folder: Path, patch: bytes, *options: str) -> None:
    """Have git apply a patch, without anybody's settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    command = ["git", "apply", "--whitespace=nowarn", *options, "-"]
    ended = subprocess.run(
        command, cwd=folder, env=environment, input=patch, capture_output=True, check=False, timeout=30
    )
    assert ended.returncode == 0, (ended.stderr, patch)


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_git_applies_every_patch_and_takes_it_back(
    trees: Mapping[str, tuple[bytes | None, bytes | None]],
) -> None:
    """New, deleted, changed; any bytes, any line ends, any names: byte for byte in both directions."""
    before = {path: one for path, (one, _) in trees.items() if one is not None}
    after = {path: other for path, (_, other) in trees.items() if other is not None}
    patch = b"".join(render(Difference(path, one, other)) for path, (one, other) in trees.items())
    if not patch:
        assert before == after
        return
    with TemporaryDirectory() as place:
        folder = Path(place)
        put(folder, before)
        apply(folder, patch)
        assert seen(folder) == after
        apply(folder, patch, "-R")
        assert seen(folder) == before


def test_a_program_that_is_new_may_be_executed(tmp_path: Path) -> None:
    """The mode is in the patch."""
    apply(tmp_path, render(Difference("run", None, b"#!/bin/sh\n", "100755")))
    assert os.access(tmp_path / "run", os.X_OK)


def test_a_file_that_differs_everywhere_is_replaced_as_one_block(tmp_path: Path) -> None:
    """Comparing so many lines would take long; the patch still applies."""
    lines = range(COMPARED_LINES_MAX + 1)
    before, after = (b"".join(b"%s %d\n" % (word, i) for i in lines) for word in (b"old", b"new"))
    put(tmp_path, {"a": before})
    patch = render(Difference("a", before, after))
    assert patch.count(b"\n@@ ") == 1
    apply(tmp_path, patch)
    assert seen(tmp_path) == {"a": after}


def test_far_differences_have_hunks_of_their_own_with_three_lines_around() -> None:
    """A person reads what changed, and no more."""
    lines = [b"%d\n" % i for i in range(40)]
    changed = [*lines[:10], b"x\n", *lines[11:30], b"y\n", *lines[31:]]
    patch = render(Difference("a", b"".join(lines), b"".join(changed)))
    assert patch.count(b"\n@@ ") == 2
    assert b"@@ -8,7 +8,7 @@\n 7\n 8\n 9\n-10\n+x\n 11\n 12\n 13\n@@ " in patch


@pytest.mark.parametrize(
    ("data", "expected"), [(None, False), (b"", False), (b"\xff\r\n", False), (b"a\0b", True)]
)
def test_binary_is_what_git_takes_for_it(data: bytes | None, expected: bool) -> None:
    """A NUL decides, not the encoding."""
    assert is_binary(data) is expected


def test_what_does_not_differ_has_no_patch() -> None:
    """Also where there is nothing, before and after."""
    assert render(Difference("a", b"x", b"x")) == render(Difference("a", None, None)) == b""
