"""Hashes are of what is on disk now, inside the workspace, and cost little where nothing changed."""

import hashlib
import os
from pathlib import Path

import pytest

from orch.tools import files
from orch.tools.hashes import SETTLED_NS, Hashes

pytestmark = pytest.mark.anyio
LONG_AGO_NS = 10**18


def sha256(text: str) -> str:
    """Return the hash as orch writes it."""
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a workspace with one file in a folder."""
    root = tmp_path.resolve() / "workspace"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("one")
    return root


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that were really read, as they are."""
    read: list[str] = []
    fingerprint = files.fingerprint

    def noted(workspace: Path, path: str) -> str | None:
        read.append(path)
        return fingerprint(workspace, path)

    monkeypatch.setattr(files, "fingerprint", noted)
    return read


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as older than the clock's tick."""
    monkeypatch.setattr("orch.tools.hashes.SETTLED_NS", -(10**20))


async def test_what_is_no_file_has_no_hash(workspace: Path) -> None:
    """Absent, a folder, malformed, or outside: nothing that a plan could be proven with."""
    (workspace / "out").symlink_to("/etc/hostname")
    hashes = Hashes(workspace)

    seen = dict(await hashes.of(["sub/a.txt", "none", "sub", "a\0b", "sub/a.txt/x", "out", "../x"]))

    assert seen.pop("sub/a.txt") == sha256("one")
    assert set(seen.values()) == {None}


async def test_a_file_that_did_not_change_is_not_read_again(
    workspace: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that did, is."""
    settle(monkeypatch)
    hashes = Hashes(workspace)

    for _ in range(3):
        assert await hashes.of(["sub/a.txt"]) == {"sub/a.txt": sha256("one")}
    (workspace / "sub" / "a.txt").write_text("three")

    assert await hashes.of(["sub/a.txt"]) == {"sub/a.txt": sha256("three")}
    assert hashed == ["sub/a.txt"] * 2


async def test_a_file_that_changed_just_now_is_always_read(workspace: Path, hashed: list[str]) -> None:
    """Two writes of one size may fall into one tick of the file system's clock."""
    hashes = Hashes(workspace)
    await hashes.of(["sub/a.txt"])
    signature, hashed_at_ns, _ = hashes._known["sub/a.txt"]
    hashes._known["sub/a.txt"] = (signature, signature[1] + SETTLED_NS, "stale")

    assert await hashes.of(["sub/a.txt"]) == {"sub/a.txt": sha256("one")}
    assert hashed == ["sub/a.txt"] * 2
    assert hashed_at_ns >= signature[1] - SETTLED_NS


@pytest.mark.parametrize("how", ["folder", "file"])
async def test_a_known_file_that_became_a_link_outwards_has_no_hash(
    workspace: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it leads to the very same bytes, with the very same times."""
    settle(monkeypatch)
    hashes = Hashes(workspace)
    assert (await hashes.of(["sub/a.txt"]))["sub/a.txt"] == sha256("one")
    outside = workspace.parent / "outside"
    moved = workspace / "sub" if how == "folder" else workspace / "sub" / "a.txt"
    moved.rename(outside)
    moved.symlink_to(outside)

    assert await hashes.of(["sub/a.txt"]) == {"sub/a.txt": None}


async def test_times_that_were_set_back_hide_no_change(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the last change of a file's facts cannot be set by anybody."""
    settle(monkeypatch)
    path = workspace / "sub" / "a.txt"
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    hashes = Hashes(workspace)
    await hashes.of(["sub/a.txt"])
    path.write_text("two")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))

    assert await hashes.of(["sub/a.txt"]) == {"sub/a.txt": sha256("two")}
