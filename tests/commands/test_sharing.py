"""Two processes of one user at the same endpoint: what one is told, the other heeds."""

from tests import play
from tests.endpoint import Entry, Step
from tests.program import Bench

A = play.item("a")
TOLD_S = 3.0
MINI = "openai/scripted-mini"


def _refused_first(scene: play.Scene) -> Step:
    is_first = scene.turn.attempt == 1 and scene.turn.number == 0 and "mini" not in scene.turn.model
    return play.refused(429, retry_after=f"{TOLD_S:g}") if is_first else play.lead(scene)


def _model(entry: Entry) -> str:
    assert entry.request is not None
    return str(entry.request["model"])


def test_a_second_process_makes_no_request_before_the_time_that_the_first_was_told(bench: Bench) -> None:
    """And both are sealed in the end."""
    other = bench.beside("other")
    with bench.served(play.mission(A, commander=_refused_first)) as endpoint:
        other.endpoint = endpoint
        first = bench.start_task()
        first.line("the provider asks to wait")
        second = other.task("-m", MINI)
        ended = first.end()

    assert (ended.code, second.code) == (0, 0), ended.err + second.err
    (refusal,) = [entry for entry in endpoint.ledger if entry.status == 429]
    assert refusal.first_byte is not None
    later = [entry for entry in endpoint.ledger if entry is not refusal]
    assert min(entry.arrival for entry in later) >= refusal.first_byte + TOLD_S
    assert {_model(entry) for entry in later} == {"test", "scripted-mini"}
