"""The published JSON Schemas (draft 2020-12), each made from the model of what it describes.

`SCHEMAS` names them; a file of that name lies beside this module, and a test compares the two. What orch
prints is described as it is printed: a key is required if it is always there, and more keys may come. What
orch reads is described as it may be written: all is optional but for what an error would ask for.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from orch.config.tables import ProjectFile, UserFile
from orch.mission import events as ev
from orch.mission.result import Result
from orch.mission.status import Missions

DIALECT = GenerateJsonSchema.schema_dialect
_LEFT_OUT = ("session", "item")
"""What an event does not carry where it has none; everything else that is unknown is `null`."""
_EVENTS = (
    "One line of `orch task --output-format stream-json`, but for the last one, which is a result "
    "(urn:orch:result:1). `type` says which event it is; a later orch may know more of them."
)


class _Printed(GenerateJsonSchema):
    """Describes a value as it is printed: with all its fields."""

    def field_is_required(self, field: object, total: bool) -> bool:  # noqa: ARG002 - pydantic passes both
        """Return whether a field is always there."""
        return True


def events() -> dict[str, Any]:
    """Return the schema of an event as `stream-json` prints it."""
    schema = _printed(ev.EVENT)
    schema.pop("discriminator")
    for definition in schema["$defs"].values():
        if "seq" in definition.get("properties", ()):
            _leave_out(definition)
    return _headed("events", "Event", _EVENTS, schema)


def result() -> dict[str, Any]:
    """Return the schema of the result: stdout of `--output-format json`, and `result.json`."""
    schema = _printed(TypeAdapter(Result))
    return _headed("result", "Result", "How a run ended; its `exit_code` is the process's.", schema)


def status() -> dict[str, Any]:
    """Return the schema of what `orch status --json` prints."""
    schema = _printed(TypeAdapter(Missions))
    return _headed("status", "Status", "What `orch status --json` prints: missions, newest first.", schema)


def orch_toml() -> dict[str, Any]:
    """Return the schema of `.opencode/orch.toml`."""
    return _headed("orch-toml", "orch.toml", "Settings of orch for one workspace.", _written(ProjectFile))


def config_toml() -> dict[str, Any]:
    """Return the schema of the user's `config.toml`."""
    return _headed("config-toml", "config.toml", "Settings of orch for one user.", _written(UserFile))


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "events": events,
    "result": result,
    "status": status,
    "orch-toml": orch_toml,
    "config-toml": config_toml,
}
"""What makes each schema, by its name."""


def text(name: str) -> str:
    """Return a published schema as its file holds it."""
    return json.dumps(SCHEMAS[name](), indent=2) + "\n"


def _printed(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    schema = adapter.json_schema(mode="serialization", schema_generator=_Printed)
    definitions = schema.get("$defs", {})
    for definition in (schema, *definitions.values()):
        _open(definition)
    return schema


def _open(definition: dict[str, Any]) -> None:
    """Let more keys come, and leave out what says nothing: a field's name once more, and its default."""
    definition.pop("additionalProperties", None)
    if "description" in definition:
        words = " ".join(definition["description"].split())
        definition["description"] = words.replace("`None`", "`null`")
    for field in definition.get("properties", {}).values():
        field.pop("title", None)
        field.pop("default", None)
        if "gt" in field:  # pydantic's word, where the field is a union
            field["exclusiveMinimum"] = field.pop("gt")


def _written(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation")
    for definition in (schema, *schema.get("$defs", {}).values()):
        for name, field in definition.get("properties", {}).items():
            definition["properties"][name] = _without_null(field)
    return schema


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return a key of a TOML file, which knows no null; what it comes to where it is not set is in words."""
    kept = {name: value for name, value in field.items() if name not in ("title", "default")}
    choices = [choice for choice in kept.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**choices[0], **kept}
    return {"anyOf": choices, **kept} if choices else kept


def _leave_out(definition: dict[str, Any]) -> None:
    """Describe what an event carries only where it has it."""
    for name in _LEFT_OUT:
        field = definition["properties"][name]
        if "anyOf" in field:
            definition["properties"][name] = field["anyOf"][0]
            definition["required"].remove(name)


def _headed(name: str, title: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    about = {"title": title, "description": description}
    return {"$schema": DIALECT, "$id": f"urn:orch:{name}:1", **(schema | about)}
