"""Tests of what the events of files change."""

from orch.mission import events as ev
from orch.mission.reduce import reduce
from tests.mission.samples import S2, a_mission, stamped


def test_a_file_that_is_again_what_it_was_is_not_changed() -> None:
    """`files_changed` names what the mission changed in the end."""
    there = ev.FileChanged(session=S2, path="a.py", before="0", after="1")
    back = ev.FileChanged(session=S2, path="a.py", before="1", after="0")

    changed = reduce(a_mission(), stamped(there, 10))
    restored = reduce(changed, stamped(back, 11))

    assert (changed.changed, restored.changed) == (("a.py",), ())
    assert changed.sessions[S2].wrote
