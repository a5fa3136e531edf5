"""The published schemas: the files that are shipped, what they ask for, and that they find what is wrong."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orch.mission import events as ev
from orch.schema import published
from orch.view.stream import Stream
from tests import contract
from tests.mission.samples import SAMPLES, a_mission, stamped

FILES = Path(published.__file__).parent
PROMISED = """
mission.started context.updated plan.accepted plan.rejected item.started item.submitted item.completed
item.rejected item.failed item.blocked session.started session.idle session.ended turn.started turn.finished
tool.called tool.finished lease.acquired lease.denied lease.released file.changed evidence.recorded
review.submitted review.refused issue.opened issue.closed retry heal compaction verification.started
verification.finished budget stagnation permission.denied mission.stopped mission.resumed mission.sealed
mission.failed
"""
OF_A_RESULT = """
type subtype is_error exit_code retryable mission goal resume todo issues blockers verification red_before
files_changed permission_denials usage num_sessions num_turns num_retries duration_s result
"""
OF_AN_ENTRY = """
mission goal status pid alive started updated duration_s todo issues sessions usage resume
"""
OF_A_SESSION = "session role item state turns tokens since last_activity"
STATUS_WORDS = """
running sealed answered planned unsealed blocked limit stagnated stopped timeout provider auth disk error
interrupted
"""


@pytest.mark.parametrize("name", published.SCHEMAS)
def test_the_shipped_file_is_what_the_models_say(name: str) -> None:
    """A file that differs is written anew by `python -m orch.schema NAME > orch/schema/NAME.json`."""
    assert (FILES / f"{name}.json").read_text() == published.text(name)


@pytest.mark.parametrize("name", published.SCHEMAS)
def test_each_is_a_schema_of_its_dialect_and_says_what_it_is(name: str) -> None:
    """Draft 2020-12, an id that is no address, and no word that the dialect does not know."""
    schema = published.SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)

    assert schema["$id"] == f"urn:orch:{name}:1"
    assert schema["title"]
    assert schema["description"]
    assert not {"discriminator", "gt", "None`"} & set(published.text(name).replace('"', " ").split())


def test_there_is_a_file_for_each_and_no_other() -> None:
    """What is not made of a model would rot."""
    assert {path.stem for path in FILES.glob("*.json")} == set(published.SCHEMAS)


def test_a_user_gets_at_them_with_one_command(tmp_path: Path) -> None:
    """`python -m orch.schema NAME`; a name that there is not is answered with those that there are."""

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orch.schema", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    told, wrong = ask("result"), ask("reslut")

    assert (told.returncode, told.stdout) == (0, published.text("result"))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert all(name in wrong.stderr for name in published.SCHEMAS)


def test_every_promised_event_and_key_is_in_the_schemas() -> None:
    """And each key of a result, an entry and a session is required: it is always there."""
    result, status = contract.schema("result"), contract.schema("status")

    assert set(PROMISED.split()) <= contract.event_types().keys()
    assert set(OF_A_RESULT.split()) <= set(result["required"]) == set(result["properties"])
    assert set(OF_AN_ENTRY.split()) <= set(status["$defs"]["MissionEntry"]["required"])
    assert set(OF_A_SESSION.split()) <= set(status["$defs"]["SessionEntry"]["required"])
    words = {word for name in ("Outcome", "Liveness") for word in status["$defs"][name]["enum"]}
    assert words == set(STATUS_WORDS.split())


def test_every_event_carries_the_envelope() -> None:
    """Whatever its type: version, number, time, type and mission; session and item where it has them."""
    for name in contract.event_types().values():
        definition = contract.schema("events")["$defs"][name]
        assert {"v", "seq", "ts", "type", "mission"} <= set(definition["required"]), name
        assert {definition["properties"][key]["type"] for key in ("session", "item")} == {"string"}, name


def test_times_and_hashes_are_described_as_what_they_are() -> None:
    """A time is RFC 3339, a hash is 64 digits."""
    definitions = contract.schema("events")["$defs"]

    assert definitions["ItemStarted"]["properties"]["ts"]["format"] == "date-time"
    hashes = [
        definitions["ContextUpdated"]["properties"]["sha256"],
        definitions["MissionSealed"]["properties"]["tree"],
        definitions["FileChanged"]["properties"]["before"]["anyOf"][0],
        definitions["PlanAccepted"]["properties"]["files"]["additionalProperties"]["anyOf"][0],
    ]
    assert {each["pattern"] for each in hashes} == {"^[0-9a-f]{64}$"}


def _printed(event: ev.Event) -> dict[str, Any]:
    lines: list[str] = []
    Stream(lines.append).show(stamped(event, 1), a_mission())
    return dict(json.loads(lines[0]))


def _without_patterns(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_patterns(each) for key, each in value.items() if key != "pattern"}
        case list():
            return [_without_patterns(each) for each in value]
        case _:
            return value


def test_every_kind_of_event_is_valid_as_it_is_printed() -> None:
    """But for the hashes and times of the samples, which are made up."""
    definitions = _without_patterns(contract.schema("events")["$defs"])
    seen = set()
    for sample, _ in SAMPLES:
        printed = _printed(sample)
        seen.add(printed["type"])
        definition = definitions[contract.event_types()[printed["type"]]]
        Draft202012Validator({**definition, "$defs": definitions}).validate(printed)

    assert set(PROMISED.split()) <= seen <= contract.event_types().keys()


@pytest.mark.parametrize(
    "settings",
    [
        'model = "openai/x"\nmax_parallel = 3\ntimeout = "1h30m"\n[models]\nworker = "a/b/c"\n',
        'verify = ["make test"]\n[limits]\nidle_timeout_s = 5\n[roles.worker]\nmax_turns = 4\n',
    ],
)
def test_settings_that_orch_takes_are_valid(settings: str) -> None:
    """In the workspace's file, and so in the user's."""
    for name in ("orch-toml", "config-toml"):
        assert _faults(name, tomllib.loads(settings)) == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("orch-toml", "max_paralel = 3\n"),
        ("orch-toml", "max_parallel = 0\n"),
        ("orch-toml", 'model = "x"\n'),
        ("orch-toml", 'pass_env = ["X"]\n'),
        ("config-toml", '[providers.x]\nkind = "openai"\n'),
        ("config-toml", "[limits]\nidle_timeout_s = 0\n"),
    ],
)
def test_settings_that_orch_refuses_are_not(name: str, settings: str) -> None:
    """An unknown key, a value out of range, what only the user's file may say, what is missing."""
    assert _faults(name, tomllib.loads(settings)) != []


def _faults(name: str, value: Mapping[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(contract.schema(name)).iter_errors(value)]
