"""`changes.patch`: at each end of a run, what the mission changed, as git takes it back."""

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from orch.runtime import changes
from tests.endpoint import Step
from tests.play import Scene, build, call, item, mission, reject
from tests.runtime.house import House, Run

BEFORE = b"one\r\ntwo, no newline"


def rewrite(scene: Scene) -> Step:
    """Worker: read each file, then write it."""
    return build(scene) if scene.results("read") else call("read", path=scene.files[0])


SCRIPT = mission(item("new"), item("old", "sub/old é.txt", check="grep -rq made sub"), worker=rewrite)


@pytest.fixture
def old(house: House) -> Path:
    """Return a file that is there before the mission."""
    path = house.workspace / "sub/old é.txt"
    path.parent.mkdir()
    path.write_bytes(BEFORE)
    return path


def take_back(house: House, run: Run) -> None:
    """Have git take the patch of a run back."""
    assert run.result.patch is not None
    home = str(house.workspace.parent)
    environment = {"PATH": os.environ["PATH"], "HOME": home, "GIT_CEILING_DIRECTORIES": home}
    command = ["git", "apply", "-R", "--whitespace=nowarn", run.result.patch]
    subprocess.run(command, cwd=house.workspace, env=environment, check=True, timeout=30)


def again(house: House, run: Run, secrets: Collection[str] = ()) -> bytes:
    """Write the patch once more, and return it."""
    path = changes.keep(house.folder, run.state, secrets, house.notices.append)
    assert path is not None
    return (house.workspace / path).read_bytes()


def test_git_takes_back_what_a_mission_changed(house: House, old: Path) -> None:
    """Byte for byte, and what was new is gone."""
    run = house.begin(SCRIPT)
    assert old.read_bytes() != BEFORE, run.result.result
    take_back(house, run)
    assert old.read_bytes() == BEFORE
    assert not (house.workspace / "new.txt").exists()


def test_an_end_without_a_seal_has_its_patch_too(house: House) -> None:
    """What is there to look at is not only what is proven."""
    run = house.begin(mission(item("a"), reviewer=reject("no")))
    assert run.result.exit_code == 1
    take_back(house, run)
    assert not (house.workspace / "a.txt").exists()


def test_a_beginning_that_nobody_kept_is_said_and_the_rest_still_applies(house: House, old: Path) -> None:
    """A line on top names the file; git reads over it."""
    run = house.begin(SCRIPT)
    shutil.rmtree(house.folder.mission(house.mission).blobs)
    data = again(house, run)
    assert data.startswith(b"# not in this patch: 'sub/old \\xe9.txt': what it was before is not known")
    take_back(house, run)
    assert not (house.workspace / "new.txt").exists()
    assert old.read_text().startswith("made by old")


@pytest.mark.parametrize("kind", ["directory", "link", "large"])
def test_what_is_no_small_file_any_more_is_said(house: House, old: Path, kind: str) -> None:
    """A link is not followed, and nothing is read without end."""
    run = house.begin(SCRIPT)
    new = house.workspace / "new.txt"
    new.unlink()
    if kind == "directory":
        new.mkdir()
    elif kind == "link":
        new.symlink_to(old)
    else:
        with new.open("wb") as file:
            file.truncate(changes.FILE_BYTES_MAX + 1)
    data = again(house, run)
    assert data.startswith(b"# not in this patch: 'new.txt': ")
    assert data.count(b"diff --git ") == 1


def test_a_key_is_never_written_down(house: House, old: Path) -> None:
    """Neither what was there before, nor what is there now."""
    old.write_bytes(b"key = sk-secret-0123456789\n")
    data = again(house, house.begin(SCRIPT), ["sk-secret-0123456789"])
    assert b"sk-secret" not in data
    assert b"a provider's key stands in it" in data
    assert b"+made by new" in data


def test_a_deleted_file_is_deleted_and_what_is_as_before_has_no_patch(house: House, old: Path) -> None:
    """What an earlier end has left does not stay."""
    run = house.begin(SCRIPT)
    (house.workspace / "new.txt").unlink()
    old.unlink()
    data = again(house, run)
    assert data.count(b"diff --git ") == data.count(b"\ndeleted file mode ") == 1
    old.write_bytes(BEFORE)
    assert changes.keep(house.folder, run.state, (), house.notices.append) is None
    assert not house.folder.mission(house.mission).patch.exists()


def test_a_disk_that_refuses_is_said_and_changes_nothing_else(house: House) -> None:
    """A mission that is proven stays so."""
    run = house.begin(mission(item("a")))
    path = house.folder.mission(house.mission).patch
    path.unlink()
    path.mkdir()
    (path / "in the way").touch()
    assert changes.keep(house.folder, run.state, (), house.notices.append) is None
    assert house.notices[-1].startswith("changes.patch is not written: ")
