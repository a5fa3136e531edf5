"""The ids of missions: what is the latest does not depend on a clock that goes forward."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orch.commands import parts
from orch.store.folder import Folder


@pytest.mark.fault(47)
@pytest.mark.parametrize("latest", ["20991231-235959-99912", "20260101-000000-000ff", "notes", None])
def test_a_new_mission_sorts_behind_all_others(tmp_path: Path, latest: str | None) -> None:
    """Also after the clock was set back, twice in the same moment, or beside something that is no mission."""
    folder = Folder(tmp_path)
    if latest is not None:
        (folder.missions / latest).mkdir(parents=True)

    ids = []
    for _ in range(5):
        ids.append(parts._new_id(folder))
        (folder.missions / ids[-1]).mkdir(parents=True)

    assert ids == sorted(ids)
    assert len({len(name) for name in ids}) == 1
    if latest is not None and latest.startswith("2099"):
        assert ids[0] > latest
        assert ids[0].startswith("21000101-000000-000")
    else:
        assert ids[0].startswith(f"{datetime.now(UTC):%Y%m%d-}")
