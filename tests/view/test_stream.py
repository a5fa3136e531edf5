"""Events as JSON lines: each complete, in ASCII, and read by a program as they were meant."""

import json

from orch.mission import events as ev
from orch.mission.state import MissionState
from orch.view.stream import Stream, json_text

EVIL = 'é "##[error]" \x1b[2J \u202e ## ###[x]'


def test_an_event_is_one_line_that_says_what_the_event_says() -> None:
    """Parsed again it is the same event; what is absent is left out."""
    written: list[str] = []
    event = ev.Heal(seq=3, ts="2026-01-01T00:00:00.000Z", mission=ev.MissionId("m"), text=EVIL)
    Stream(written.append).show(event, MissionState())
    (line,) = written
    assert ev.EVENT.validate_json(line) == event
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert {"session", "item"}.isdisjoint(json.loads(line))


def test_a_line_cannot_steer_whoever_shows_it() -> None:
    """ASCII without escapes, and nothing that a CI runner takes for a command."""
    for indent in (None, 2):
        text = json_text(ev.Heal(text=EVIL), indent=indent)
        assert text.isascii()
        assert "\x1b" not in text
        assert "##" not in text
        assert json.loads(text)["text"] == EVIL
