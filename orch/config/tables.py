"""What a settings file may say, as tables: the schema of `orch.toml` and of the user's `config.toml`.

A field's description is what an editor shows of it; `Expected` is what its error says may stand there. A
constraint that needs more than pydantic's own words has its place in a validator, and in the JSON Schema as
far as that can say it.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from orch.mission import caps

LEAST_THINKING_TOKENS = 1024  # the smallest budget (Anthropic API reference, "Extended thinking")
MOST_TOKENS = 10**15
_MODEL = "a model as PROVIDER/MODEL, such as openai/gpt-4.1"
_SECONDS = "seconds from 1 to 86400"
_TURNS = "a whole number from 1 to 10000"


class Expected(str):
    """Metadata of a field: what its error says was expected."""

    __slots__ = ()


def web_address(text: str) -> str:
    """Return an address without a slash at its end. Raises `ValueError` for what is none."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(text)
    return text.rstrip("/")


def _model_name(text: str) -> str:
    provider, _, name = text.strip().partition("/")
    if not provider or not name:
        raise ValueError(text)
    return text


def _with_path(command: str) -> str:
    if "{path}" not in command:
        raise ValueError(command)
    return command


def _seconds(value: object) -> object:
    """Return the seconds of a duration; a number stands for itself."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    return caps.seconds(value if isinstance(value, str) else f"{value:f}")


class Table(BaseModel):
    """A table of a settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_Text = Annotated[str, Field(pattern=r"\S")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
_ModelName = Annotated[
    str,
    AfterValidator(_model_name),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[^/\s][^/]*/.*\S"}),
]
_Model = Annotated[_ModelName | None, Expected(_MODEL)]
_Price = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
    Expected("US dollars per million tokens, 0 or more"),
]
_Seconds = Annotated[Annotated[float, Field(ge=1, le=86_400)] | None, Expected(_SECONDS)]
_Turns = Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, Expected(_TURNS)]
_Duration = Annotated[
    float | None,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(?=.*[0-9])([0-9.]+h)?([0-9.]+m)?([0-9.]+s?)?$"},
                {"type": "number", "exclusiveMinimum": 0, "maximum": caps.LONGEST_S},
            ]
        }
    ),
    Expected(caps.DURATION),
]


class RoleModels(Table):
    """Models by role."""

    commander: _Model = Field(None, description="The model of the Commander, as PROVIDER/MODEL.")
    planner: _Model = Field(None, description="The model of the Planner, as PROVIDER/MODEL.")
    worker: _Model = Field(None, description="The model of the Workers, as PROVIDER/MODEL.")
    reviewer: _Model = Field(None, description="The model of the Reviewers, as PROVIDER/MODEL.")


class RoleTable(Table):
    """What one role is told, and its own limits."""

    model: _Model = Field(None, description="The role's model, as PROVIDER/MODEL; goes before [models].")
    max_turns: _Turns = Field(None, description="Turns of one session of this role.")
    session_timeout_s: _Seconds = Field(
        None, description="Seconds that a session of this role may work, answers and tools."
    )
    instructions: Annotated[_Text | None, Expected("a text")] = Field(
        None, description="What every agent of this role is told, besides what all are told."
    )
    instructions_file: Annotated[_Text | None, Expected("the name of a file")] = Field(
        None, description="A file with more of it, relative to the workspace (in config.toml: to its folder)."
    )


class Roles(Table):
    """Tables by role."""

    commander: Annotated[RoleTable, Expected("a table")] = Field(
        RoleTable(), description="The Commander, who explores, delegates and decides."
    )
    planner: Annotated[RoleTable, Expected("a table")] = Field(
        RoleTable(), description="The Planner, who splits the goal into items."
    )
    worker: Annotated[RoleTable, Expected("a table")] = Field(
        RoleTable(), description="The Workers, who write the files of an item."
    )
    reviewer: Annotated[RoleTable, Expected("a table")] = Field(
        RoleTable(), description="The Reviewers, who try an item out."
    )


class Limits(Table):
    """How long things may take."""

    command_timeout_s: _Seconds = Field(None, description="Seconds that a verification command may take.")
    idle_timeout_s: _Seconds = Field(
        None, description="Seconds after which a model that sends nothing is asked again."
    )
    turn_timeout_s: _Seconds = Field(None, description="Seconds that one answer of a model may take.")
    session_timeout_s: _Seconds = Field(
        None, description="Seconds that a session may work before it is told to finish, then replaced."
    )


class ProjectFile(Table):
    """Settings of orch for a workspace; what every source may say, `None` where it says nothing."""

    model: _Model = Field(None, description="The model of every role, as PROVIDER/MODEL.")
    models: Annotated[RoleModels, Expected("a table of models by role")] = Field(
        RoleModels(), description="Models by role."
    )
    fallback_models: Annotated[
        list[_ModelName] | None, Expected("a list of models, each as PROVIDER/MODEL")
    ] = Field(None, description="Models to go on with, in this order, when one is down or refuses.")
    max_parallel: Annotated[
        Annotated[int, Field(ge=1, le=500)] | None, Expected("a whole number from 1 to 500")
    ] = Field(None, description="Sessions at once.")
    max_turns: _Turns = Field(None, description="Turns of one session.")
    timeout: _Duration = Field(None, description="Wall clock of one run: 90s, 15m, 2h, 1h30m, or seconds.")
    max_tokens: Annotated[
        Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None,
        Expected(f"a whole number from 1 to {MOST_TOKENS}, such as 2000000"),
    ] = Field(None, description="Cap on the tokens of a mission, over all its runs.")
    max_budget_usd: Annotated[
        Annotated[float, Field(gt=0, le=10**9)] | None,
        Expected("US dollars, more than 0 and at most 1000000000"),
    ] = Field(None, description="Cap on the cost of a mission in US dollars; every model needs a price.")
    verify: Annotated[list[_Text] | None, Expected("a list of commands, none of them blank")] = Field(
        None, description="Commands that must exit 0 on the final tree, besides the plan's."
    )
    verify_before: Annotated[bool | None, Expected("true or false")] = Field(
        None, description="Run the verification once before the first write too."
    )
    instructions: Annotated[_Text | None, Expected("a text")] = Field(
        None, description="What every agent is told, in its system prompt."
    )
    instructions_file: Annotated[_Text | None, Expected("the name of a file")] = Field(
        None, description="A file with more of it, relative to the workspace (in config.toml: to its folder)."
    )
    roles: Annotated[Roles, Expected("a table of roles: commander, planner, worker, reviewer")] = Field(
        Roles(), description="Models, limits and instructions of single roles."
    )
    diagnostics: Annotated[
        dict[str, Annotated[str, AfterValidator(_with_path)]] | None,
        Expected('a table of "GLOB" = "COMMAND", {path} in each command'),
    ] = Field(None, description="Glob of written files -> command that looks at one, {path} in it.")
    limits: Annotated[Limits, Expected("a table of limits")] = Field(
        Limits(), description="How long things may take, in seconds."
    )
    notify: Annotated[bool | None, Expected("true or false")] = Field(
        None, description="Tell the desktop and the terminal's bell when a long run ends; true unless set."
    )


class Facts(Table):
    """What is known of a model."""

    context_tokens: Annotated[Annotated[int, Field(ge=1024)] | None, Expected("a whole number from 1024")] = (
        Field(None, description="The window, in tokens; without it, 32768 is assumed.")
    )
    output_tokens: Annotated[Annotated[int, Field(ge=1)] | None, Expected("a whole number from 1")] = Field(
        None, description="The longest answer, in tokens."
    )
    input_usd_per_mtok: _Price = Field(None, description="US dollars per million tokens of input.")
    output_usd_per_mtok: _Price = Field(None, description="US dollars per million tokens of output.")
    cached_usd_per_mtok: _Price = Field(None, description="US dollars per million tokens of cached input.")
    thinking: Annotated[
        int | Literal["adaptive"] | None,
        Expected('"adaptive", or a number of tokens from 1024 and below output_tokens'),
    ] = Field(None, description="On Anthropic's wire: as the model sees fit, or a budget in tokens.")

    @field_validator("thinking", mode="before")
    @classmethod
    def _leaves_room_to_answer(cls, value: object, others: ValidationInfo) -> object:
        limit = others.data.get("output_tokens")
        is_budget = isinstance(value, int) and value >= LEAST_THINKING_TOKENS
        if value == "adaptive" or (is_budget and (limit is None or value < limit)):
            return value
        raise ValueError(value)


class ProviderTable(Table):
    """An endpoint and how to speak to it."""

    kind: Annotated[Literal["openai", "anthropic"], Expected('"openai" or "anthropic"')] = Field(
        description="The wire it speaks."
    )
    base_url: Annotated[
        str,
        AfterValidator(web_address),
        WithJsonSchema({"type": "string", "pattern": "^https?://"}),
        Expected("an http:// or https:// address"),
    ] = Field(description="Its address: with /v1 for openai, without it for anthropic.")
    api_key_env: Annotated[_Text | None, Expected("the name of a variable")] = Field(
        None, description="The name of the variable that holds the key."
    )
    models: Annotated[dict[str, Facts], Expected("a table of models")] = Field(
        {}, description="What is known of its models, by name."
    )


class UserFile(ProjectFile):
    """Settings of orch for a user: all that a workspace may say, and what only the user may."""

    providers: Annotated[
        dict[_Name, ProviderTable], Expected("a table of providers, named with letters, digits, . _ and -")
    ] = Field({}, description="Endpoints by name; then -m NAME/MODEL.")
    pass_env: Annotated[list[_Text], Expected("a list of variable names")] = Field(
        [], description="Variables that the agents' commands may see besides the usual harmless ones."
    )
    notify_command: Annotated[list[_Text], Expected("a list: a program and its arguments")] = Field(
        [], description="Program and arguments that notify; {title} and {text} in them. No shell reads them."
    )


ONLY_USER = frozenset(UserFile.model_fields) - frozenset(ProjectFile.model_fields)
