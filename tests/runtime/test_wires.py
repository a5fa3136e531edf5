"""Whole missions on either wire: what was played on one seals on the other."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from orch.mission import events as ev
from tests import play
from tests.anthropic_endpoint import anthropic_endpoint
from tests.endpoint import Endpoint
from tests.runtime.house import House, Run

A, B = play.item("a"), play.item("b", after=["a"])


def _thoughtful(player: play.Player) -> play.Player:
    """Return `player`, who thinks before each answer."""
    return lambda scene: replace(player(scene), reasoning=f"What is due in turn {scene.turn.number}?")


THOUGHTFUL = play.mission(
    A,
    B,
    commander=_thoughtful(play.lead),
    worker=_thoughtful(play.build),
    reviewer=_thoughtful(play.approve),
)


def _cut_in_a_loop(house: House, run: Run) -> None:
    """Crash between a Worker's call and its next turn."""
    house.cut(next(event for event in run.all(ev.ToolFinished) if event.tool == "write"))


def test_a_mission_over_the_messages_api_seals(house: House) -> None:
    """Two items with their reviews; the strict endpoint refuses nothing."""
    house.serve = anthropic_endpoint
    run = house.begin(play.mission(A, B, verify=["cat a.txt b.txt"]))

    assert run.result.subtype == "sealed"
    assert run.result.usage.cached_tokens > 0


def test_a_resume_sends_back_the_thoughts_of_a_loop_that_it_finds_open(house: House) -> None:
    """They are in the journal; the endpoint proves the signature of each."""
    with anthropic_endpoint(THOUGHTFUL) as endpoint:
        house.serve = lambda _script: nullcontext(endpoint)
        run = house.begin(THOUGHTFUL)
        assert run.result.subtype == "sealed"
        asked = len(endpoint.ledger)

        _cut_in_a_loop(house, run)
        again = house.resume(THOUGHTFUL)

        assert again.result.subtype == "sealed"
        sent_back = [str(entry.request).count("'thinking':") for entry in endpoint.ledger[asked:]]
        assert sum(sent_back) > 5


@pytest.mark.parametrize("serve", [Endpoint, anthropic_endpoint])
def test_a_mission_of_thinkers_goes_on_at_another_endpoint(house: House, serve: type[Endpoint]) -> None:
    """Thoughts that it cannot read are left out, on either wire."""
    house.serve = anthropic_endpoint
    _cut_in_a_loop(house, house.begin(THOUGHTFUL))
    house.serve = serve

    assert house.resume(THOUGHTFUL).result.subtype == "sealed"
