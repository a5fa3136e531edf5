"""A disk that refuses at any call ends the run in words, loses nothing, and lets it go on once it can.

A part of the cases of `python -m tests.switch`, and disks that are really full or read-only where such can be
made.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.endpoint import Endpoint
from tests.play import item, mission
from tests.program import bench, check_result
from tests.switch.cases import Case, counted, play, refusals, refuse
from tests.switch.voyage import Stage, Voyage, audit_cut, audit_sealed, refused_in, script

SPREAD = 6
MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")
Note = Callable[[str, object], None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are named by /proc")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Return the points of the mission."""
    return counted(tmp_path_factory.mktemp("switch") / "counted")


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(errno.ENOSPC, marks=pytest.mark.fault(7, 40)),
        pytest.param(errno.EIO, marks=pytest.mark.fault(8)),
        pytest.param(errno.EROFS, marks=pytest.mark.fault(9)),
    ],
)
def test_a_disk_that_refuses_loses_nothing(
    points: Sequence[str], tmp_path: Path, record_property: Note, number: int
) -> None:
    """Exit 74 in one clear line, or 2 before anything was paid; with the disk back the mission seals."""
    every = [failure for failure in refusals(points) if failure.errno == number]
    chosen = [every[0], *every[:: len(every) // SPREAD], every[-1]]

    verdicts = play([Case(failure) for failure in dict.fromkeys(chosen)], tmp_path, refuse, print)

    assert [verdict for verdict in verdicts if verdict.wrong] == []
    reached = sum(verdict.reached for verdict in verdicts)
    record_property("figure", f"{reached} refusals, 0 violations; {len(every)} cases in all")
    assert reached > len(verdicts) // 2


@contextmanager
def _mounted(place: Path, options: str) -> Iterator[None]:
    """Mount a small disk there; a test that cannot is skipped."""
    place.mkdir(parents=True)
    if MOUNT is None or UMOUNT is None or os.geteuid() != 0:
        pytest.skip("only root mounts a disk")
    mount = [MOUNT, "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        yield
    finally:
        subprocess.run([UMOUNT, "-l", str(place)], check=True)


def _remount(place: Path, options: str) -> None:
    assert MOUNT is not None
    subprocess.run([MOUNT, "-o", f"remount,{options}", str(place)], check=True)


@pytest.mark.fault(7)
@pytest.mark.parametrize("size_kb", [96, 160])
def test_a_mission_on_a_disk_that_is_really_full_goes_on_once_there_is_space(
    tmp_path: Path, size_kb: int
) -> None:
    """The kernel cuts writes short where it likes; the run says so and ends, the resume seals."""
    with (
        _mounted(tmp_path / "place/work", f"size={size_kb}k"),
        Stage() as stage,
        Endpoint(script()) as endpoint,
    ):
        v = Voyage(tmp_path / "place", stage, endpoint)
        v.prepare()

        full = v.task()
        wrong = audit_cut(v)
        _remount(v.workspace, "size=16m")
        v.resume()

        assert (full.code, full.result["subtype"]) == (74, "disk")
        assert full.result["retryable"]
        assert refused_in(full)
        assert wrong == []
        assert audit_sealed(v) == []


@pytest.mark.fault(7)
def test_a_limit_on_the_size_of_files_is_told_as_what_it_is(tmp_path: Path) -> None:
    """The journal may not grow any more: exit 74, and without the limit the mission goes on."""
    place = bench(tmp_path)
    with place.served(mission(item("a"))) as endpoint:
        limited = place.task("--json", file_limit_bytes=12_000)
        paid = len(endpoint.ledger)
        again = place.run("resume", "--json")

        assert limited.code == check_result(limited, "disk", "stream-json")["exit_code"] == 74
        assert "File too large" in limited.err + str(limited.lines[-1]["result"])
        assert "Traceback" not in limited.err
        assert (again.code, paid > 0) == (0, True), again.err


@pytest.mark.fault(9)
def test_nothing_starts_on_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """Exit 2 in one line, and no model was asked."""
    with _mounted(tmp_path / "place/work", "size=1m"), Stage() as stage, Endpoint(script()) as endpoint:
        v = Voyage(tmp_path / "place", stage, endpoint)
        v.prepare()
        _remount(v.workspace, "ro")

        refused = v.task()

        assert (refused.code, refused.result["exit_code"]) == (2, 2)
        assert "Read-only file system; make that possible, or use -C" in refused.err
        assert endpoint.ledger == []


@pytest.mark.fault(9)
@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_nothing_starts_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Exit 2 in one line, and no model was asked."""
    with Stage() as stage, Endpoint(script()) as endpoint:
        v = Voyage(tmp_path / "place", stage, endpoint)
        v.prepare()
        v.workspace.chmod(0o500)

        refused = v.task()

        assert (refused.code, refused.result["exit_code"]) == (2, 2)
        assert "Permission denied; make that possible, or use -C" in refused.err
        assert endpoint.ledger == []
