"""Tests of the changed copy: whatever it copies, it does what `dataclasses.replace` does."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission import state
from orch.mission.evolve import evolve
from orch.mission.state import Item, MissionState, Session, Spending
from tests.mission.samples import S2, A, a_mission

NAMES = st.sets(st.sampled_from([field.name for field in fields(MissionState)]))


@given(NAMES)
def test_it_is_what_replace_would_make(names: set[str]) -> None:
    """Over any fields; the one that was copied stays as it was."""
    before, twin = a_mission(), a_mission()
    changes = dict.fromkeys(names, 7)

    after = evolve(before, **changes)  # type: ignore[arg-type]

    assert after == replace(before, **changes)  # type: ignore[arg-type]
    assert before == twin


def test_a_copy_is_frozen_and_shares_nothing_that_can_change() -> None:
    """A copy of a copy is one more value, whose fields nobody can set."""
    first = a_mission().sessions[S2]

    second = evolve(evolve(first, turns=1), turns=2)

    assert (first.turns, second.turns) == (0, 2)
    assert type(second) is Session
    with pytest.raises(FrozenInstanceError):
        second.turns = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        evolve(a_mission().items[A], rejections=1).rejections = 2  # type: ignore[misc]


def test_every_class_of_the_state_is_plain_enough_for_it() -> None:
    """No slots, no `__post_init__`, no field that `__init__` does not take."""
    classes = [c for c in vars(state).values() if isinstance(c, type) and is_dataclass(c)]

    assert {MissionState, Session, Item, Spending} <= set(classes)
    for each in classes:
        assert not hasattr(each, "__slots__")
        assert not hasattr(each, "__post_init__")
        assert all(field.init for field in fields(each))
