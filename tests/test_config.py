"""Where each setting comes from, and what is said of one that cannot be used."""

import copy
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.config import Flags, ModelRef, ProviderKind, Secret, Settings, has_provider, load, model_for
from orch.errors import ConfigError, UsageError
from orch.mission.events import Role

KEY = "sk-live-0123456789abcdef"
USER_PROVIDER = """
[providers.small]
kind = "openai"
base_url = "http://127.0.0.1:8080/v1/"
api_key_env = "SMALL_API_KEY"
[providers.small.models."qwen2.5-coder"]
context_tokens = 16384
output_tokens = 4096
input_usd_per_mtok = 0.1
[providers.small.models.other]
output_tokens = 99
"""


class _Place:
    """A workspace and a user's home."""

    def __init__(self, root: Path) -> None:
        self.workspace = root / "workspace"
        self.project_file = self.workspace / ".opencode" / "orch.toml"
        self.user_file = root / "config" / "orch" / "config.toml"
        self.project_file.parent.mkdir(parents=True)
        self.user_file.parent.mkdir(parents=True)
        self.home = root

    def load(
        self,
        project: str = "",
        user: str = "",
        flags: Flags | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Settings:
        self.project_file.write_text(project)
        self.user_file.write_text(user)
        places = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config")}
        return load(flags or Flags(), self.workspace, places | dict(env or {}))


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    """A place without any settings."""
    return _Place(tmp_path)


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    """No file has to exist."""
    settings = load(Flags(), tmp_path, {})

    assert (settings.max_parallel, settings.max_turns, settings.verify, settings.baseline) == (
        50,
        200,
        (),
        True,
    )
    assert (settings.command_timeout_s, settings.idle_timeout_s, settings.pass_env) == (600, 120, ())
    assert (settings.turn_timeout_s, settings.session_timeout_s) == (600, 7200)
    assert settings.models == {}
    assert settings.providers.keys() == {"ollama"}


@pytest.mark.parametrize(
    ("flag", "env", "project", "user", "value"),
    [
        (1, "2", 3, 4, 1),
        (None, "2", 3, 4, 2),
        (None, None, 3, 4, 3),
        (None, None, None, 4, 4),
        (None, None, None, None, 50),
        (None, "", 3, None, 3),
        (1, None, None, 4, 1),
    ],
)
def test_the_first_source_that_says_something_wins(
    place: _Place, flag: int | None, env: str | None, project: int | None, user: int | None, value: int
) -> None:
    """Flags, variables, the project's file, the user's file, the default."""
    in_project, in_user = (f"max_parallel = {each}" if each else "" for each in (project, user))
    variables = {} if env is None else {"ORCH_MAX_PARALLEL": env}

    assert place.load(in_project, in_user, Flags(max_parallel=flag), variables).max_parallel == value


@pytest.mark.parametrize(
    ("flags", "env", "project", "user", "chosen"),
    [
        (Flags(model="a/flag"), {}, '[models]\nworker = "a/project"', "", ("a/flag", "a/flag")),
        (Flags(role_models={Role.WORKER: "a/w"}, model="a/flag"), {}, "", "", ("a/w", "a/flag")),
        (Flags(role_models={Role.WORKER: "a/w"}), {"ORCH_MODEL": "a/env"}, "", "", ("a/w", "a/env")),
        (Flags(), {"ORCH_MODEL_WORKER": "a/w"}, 'model = "a/p"', "", ("a/w", "a/p")),
        (Flags(), {}, '[models]\nworker = "a/w"', 'model = "a/u"', ("a/w", "a/u")),
        (Flags(), {}, "", 'model = "a/b/c:d"', ("a/b/c:d", "a/b/c:d")),
    ],
)
def test_a_model_for_every_role_in_a_higher_place_beats_one_for_a_role_in_a_lower(
    place: _Place, flags: Flags, env: dict[str, str], project: str, user: str, chosen: tuple[str, str]
) -> None:
    """Inside one place the role's own comes first."""
    models = place.load(project, user, flags, env).models

    assert (str(models[Role.WORKER]), str(models[Role.PLANNER])) == chosen


def test_everything_a_project_may_say_is_read(place: _Place) -> None:
    """By the names of the README."""
    settings = place.load(
        """
        max_turns = 9
        verify = ["make test", "make lint"]
        verify_before = false
        [diagnostics]
        "*.py" = "ruff check {path}"
        [limits]
        command_timeout_s = 30
        idle_timeout_s = 4.5
        turn_timeout_s = 60
        session_timeout_s = 900
        """
    )

    assert settings.max_turns == 9
    assert settings.verify == ("make test", "make lint")
    assert settings.baseline is False
    assert settings.diagnostics == {"*.py": "ruff check {path}"}
    assert (settings.command_timeout_s, settings.idle_timeout_s) == (30, 4.5)
    assert (settings.turn_timeout_s, settings.session_timeout_s) == (60, 900)


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("max_paralel = 3", "max_paralel", "is no setting; the nearest is max_parallel"),
        ("[limits]\nidle_timout_s = 3", "limits.idle_timout_s", "the nearest is idle_timeout_s"),
        ('[models]\nworkr = "a/b"', "models.workr", "the nearest is worker"),
        ("max_parallel = 0", "max_parallel", "a whole number from 1 to 500"),
        ("max_parallel = 501", "max_parallel", "a whole number from 1 to 500"),
        ("max_parallel = true", "max_parallel", "a whole number from 1 to 500"),
        ('max_turns = "9"', "max_turns", "a whole number from 1 to 10000"),
        ("verify = 'make'", "verify", "a list of commands"),
        ("verify = ['  ']", "verify[0]", "a list of commands"),
        ("verify_before = 1", "verify_before", "true or false"),
        ('[diagnostics]\n"*.py" = "ruff"', 'diagnostics."*.py"', "{path} in each command"),
        ("limits = 3", "limits", "a table of limits"),
        ("[limits]\ncommand_timeout_s = 0", "limits.command_timeout_s", "seconds from 1 to 86400"),
        ("[limits]\ncommand_timeout_s = nan", "limits.command_timeout_s", "seconds from 1 to 86400"),
        ('model = "gpt-4.1"', "model", "a model as PROVIDER/MODEL"),
        ('[providers.x]\nkind = "openai"', "providers", "counts only in the user's own config.toml"),
        ('pass_env = ["A"]', "pass_env", "counts only in the user's own config.toml"),
        ("a = ", None, "is no TOML"),
        ("a = '\x00'", None, "is no TOML"),
    ],
)
def test_what_a_project_file_cannot_say_is_named_with_file_key_and_remedy(
    place: _Place, text: str, key: str | None, says: str
) -> None:
    """One line, and nothing is started."""
    with pytest.raises(ConfigError) as caught:
        place.load(text)

    assert caught.value.source == str(place.project_file)
    assert caught.value.key == key
    assert str(place.project_file) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ('[providers.x]\nkind = "openai"', "providers.x.base_url", "is missing: expected an http://"),
        ('[providers.x]\nkind = "o"\nbase_url = "http://a"', "providers.x.kind", 'expected "openai"'),
        (
            '[providers.x]\nkind = "openai"\nbase_url = "a.b/v1"',
            "providers.x.base_url",
            "an http:// or https://",
        ),
        (
            '[providers.x]\nkind = "openai"\nbase_url = "http://a:x"',
            "providers.x.base_url",
            "https:// address",
        ),
        ('[providers."a/b"]\nkind = "openai"', 'providers."a/b"', "a table of providers"),
        (
            f'[providers.x]\nkind = "openai"\nbase_url = "http://a"\napi_key = "{KEY}"',
            "providers.x.api_key",
            "is no setting; the nearest is api_key_env",
        ),
        (
            '[providers.x]\nkind = "openai"\nbase_url = "http://a"\nmodels.m.context_tokens = 9',
            "providers.x.models.m.context_tokens",
            "a whole number from 1024",
        ),
    ],
)
def test_what_a_user_file_cannot_say_is_named_and_no_key_is_quoted(
    place: _Place, text: str, key: str, says: str
) -> None:
    """A key that was written into the file by mistake must not reach a log."""
    with pytest.raises(ConfigError) as caught:
        place.load(user=text)

    assert (caught.value.source, caught.value.key) == (str(place.user_file), key)
    assert says in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "env", "source"),
    [
        (Flags(max_parallel=0), {}, "--max-parallel"),
        (Flags(max_turns=-1), {}, "--max-turns"),
        (Flags(model="gpt"), {}, "--model"),
        (Flags(role_models={Role.WORKER: "/x"}), {}, "--model-worker"),
        (Flags(), {"ORCH_MAX_PARALLEL": "many"}, "ORCH_MAX_PARALLEL"),
        (Flags(), {"ORCH_MAX_PARALLEL": "501"}, "ORCH_MAX_PARALLEL"),
        (Flags(), {"ORCH_MODEL_REVIEWER": "x/"}, "ORCH_MODEL_REVIEWER"),
        (Flags(), {"OPENAI_BASE_URL": "localhost:8080"}, "OPENAI_BASE_URL"),
        (Flags(), {"OLLAMA_HOST": "http://"}, "OLLAMA_HOST"),
        (Flags(), {"OPENAI_API_KEY": f"{KEY} \n{KEY}"}, "OPENAI_API_KEY"),
    ],
)
def test_a_bad_flag_or_variable_is_named(
    place: _Place, flags: Flags, env: dict[str, str], source: str
) -> None:
    """By the name under which a person gave it."""
    with pytest.raises(ConfigError, match=f"^{source} ") as caught:
        place.load(flags=flags, env=env)

    assert caught.value.source == source
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("max_paralel = 3", 1, "max_paralel is no setting; the nearest is max_parallel"),
        ("\n\n[limits]\nidle_timeout_s = '5'", 4, "expected seconds from 1 to 86400, not a text"),
        ("max_turns = 4.5", 1, "expected a whole number from 1 to 10000, not a decimal number"),
        ("verify = [\n 'make',\n ' ',\n]", 1, "verify[1] cannot be used: expected a list of commands"),
        ("[models]\nmax_turns = 4", 2, "models.max_turns belongs to the top of the file"),
        ("session_timeout_s = 4", 1, "belongs into the table [limits]"),
        ("[roles.worker]\nmax_turn = 4", 2, "roles.worker.max_turn is no setting; the nearest is max_turns"),
        ("[roles.wrker]", 1, "the nearest is worker"),
        ('a = """\n[limits]\n"""\n[limits]\nx = 1', 0, "2 errors:\n  line 1: a is no setting"),
        ("\n[providers.x]\nkind = 'openai'", 2, "counts only in the user's own config.toml"),
    ],
)
def test_an_error_names_the_line_the_key_and_what_may_stand_there(
    place: _Place, text: str, line: int, says: str
) -> None:
    """Where the key begins, also behind texts of several lines."""
    with pytest.raises(ConfigError) as caught:
        place.load(text)

    assert says in str(caught.value)
    assert f"{place.project_file}:{line}: " in str(caught.value) or not line


def test_all_that_is_wrong_is_listed_by_line_up_to_a_bound(place: _Place) -> None:
    """So nobody has to try a dozen times."""
    with pytest.raises(ConfigError) as caught:
        place.load("\n".join(f"unknown_{number} = 1" for number in range(30)))

    head, *rows, last = str(caught.value).splitlines()
    assert head == f"{place.project_file} has 30 errors:"
    assert [row.split(":")[0] for row in rows] == [f"  line {number}" for number in range(1, 11)]
    assert last == "  ... and 20 more"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a = 'x'\nb = no\n", "toml:2:5: is no TOML: invalid value; correct the line"),
        (b"a = [", "toml:1: is no TOML"),
        (b"a = 1\na = 2\n", "toml:2:"),
        (b"#\n\nmodel = 'caf\xe9'", "toml:3: is no UTF-8"),
        (b"#" * (1024 * 1024 + 1), "toml is larger than 1,048,576 bytes"),
    ],
)
def test_what_is_no_toml_is_named_with_its_place(place: _Place, data: bytes, says: str) -> None:
    """Line and column as an editor counts them, and what to do."""
    place.project_file.write_bytes(data)

    with pytest.raises(ConfigError) as caught:
        load(Flags(), place.workspace, {"HOME": str(place.home)})

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbfmax_turns = 200\r\n", b"# nothing\n"])
def test_an_empty_file_and_a_byte_order_mark_are_fine(place: _Place, data: bytes) -> None:
    """Editors leave them."""
    place.project_file.write_bytes(data)

    assert load(Flags(), place.workspace, {"HOME": str(place.home)}).max_turns == 200


def test_a_file_that_cannot_be_read_is_an_error_not_a_default(place: _Place) -> None:
    """Unlike one that does not exist."""
    outside = place.home / "outside.toml"
    outside.write_text("max_turns = 7")
    file = place.project_file

    def refusal() -> str:
        with pytest.raises(ConfigError, match=r"orch\.toml ") as caught:
            load(Flags(), place.workspace, {"HOME": str(place.home)})
        file.unlink() if not file.is_dir() else file.rmdir()
        return str(caught.value)

    file.mkdir()
    assert "it is a directory" in refusal()
    os.mkfifo(file)
    assert "it is no regular file" in refusal()
    file.symlink_to(outside)
    assert "leads out of the workspace" in refusal()
    file.symlink_to("nowhere")
    assert "is a link to" in refusal()


def test_a_link_inside_the_workspace_is_followed(place: _Place) -> None:
    """As is any link of the user's own file."""
    (place.workspace / "settings.toml").write_text("max_turns = 7")
    place.project_file.symlink_to("../settings.toml")

    assert load(Flags(), place.workspace, {"HOME": str(place.home)}).max_turns == 7


@pytest.mark.parametrize(
    ("flags", "project", "user", "worker", "general"),
    [
        (Flags(), "[roles.worker]\nmax_turns = 40", "", 40, 200),
        (Flags(), "[roles.worker]\nmax_turns = 40", "max_turns = 9", 40, 9),
        (Flags(), "max_turns = 9", "[roles.worker]\nmax_turns = 40", 9, 9),
        (Flags(), "max_turns = 9\n[roles.worker]\nmax_turns = 40", "", 40, 9),
        (Flags(max_turns="50"), "[roles.worker]\nmax_turns = 40", "", 50, 50),
    ],
)
def test_a_limit_of_a_role_goes_before_that_of_all_but_not_of_a_higher_place(
    place: _Place, flags: Flags, project: str, user: str, worker: int, general: int
) -> None:
    """As with models."""
    settings = place.load(project, user, flags)

    assert settings.role_turns.get(Role.WORKER, settings.max_turns) == worker
    assert settings.max_turns == general
    assert Role.REVIEWER not in settings.role_turns


def test_a_role_has_its_own_time_and_model(place: _Place) -> None:
    """The table of the role goes before that of the models."""
    settings = place.load(
        '[models]\nworker = "a/x"\nplanner = "a/y"\n'
        '[roles.worker]\nmodel = "a/z"\nsession_timeout_s = 900\n[limits]\nsession_timeout_s = 60'
    )

    assert settings.session_timeout_of(Role.WORKER) == 900
    assert settings.session_timeout_of(Role.COMMANDER) == 60
    assert (str(settings.models[Role.WORKER]), str(settings.models[Role.PLANNER])) == ("a/z", "a/y")


def test_instructions_add_up_the_users_first(place: _Place) -> None:
    """A file of the workspace is named by its path there, one of the user's lies beside the settings."""
    (place.workspace / "docs").mkdir()
    (place.workspace / "docs/agents.md").write_text("\ufeffFrom docs.\n")
    (place.user_file.parent / "mine.md").write_text("Mine.")

    settings = place.load(
        'instructions = " Use tabs. "\n[roles.worker]\ninstructions_file = "docs/agents.md"',
        'instructions_file = "mine.md"',
    )

    assert [(told.role, told.source, told.text) for told in settings.instructions] == [
        (None, "the user's mine.md", "Mine."),
        (None, ".opencode/orch.toml", "Use tabs."),
        (Role.WORKER, "docs/agents.md", "From docs."),
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../outside.md", "../outside.md leads out of the workspace"),
        ("/etc/passwd", "leads out of the workspace"),
        ("missing.md", "missing.md does not exist, looked for in "),
        ("blank.md", "blank.md is empty"),
        ("latin.md", "latin.md is no UTF-8"),
        (".opencode", ".opencode cannot be read: it is a directory"),
        (
            "large.md",
            "the instructions for the worker have 32,769 bytes, and 32,768 are the most: shorten large.md",
        ),
    ],
)
def test_instructions_that_cannot_be_used_are_named(place: _Place, name: str, says: str) -> None:
    """By the file that names them, its line and key, and what is wrong."""
    (place.home / "outside.md").write_text("secret")
    (place.workspace / "blank.md").write_text(" \n")
    (place.workspace / "latin.md").write_bytes(b"caf\xe9")
    (place.workspace / "large.md").write_text("x" * 32_769)

    with pytest.raises(ConfigError) as caught:
        place.load(f'[roles.worker]\ninstructions_file = "{name}"')

    assert says in str(caught.value)
    assert ":2: roles.worker.instructions_file " in str(caught.value) or name == "large.md"


def test_the_users_file_lies_under_home_where_nothing_else_is_said(tmp_path: Path) -> None:
    """An empty or relative XDG_CONFIG_HOME counts as none (XDG Base Directory Specification)."""
    path = tmp_path / ".config" / "orch" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("max_turns = 7")

    for elsewhere in ("", "relative"):
        environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": elsewhere}
        assert load(Flags(), tmp_path / "w", environment).max_turns == 7


@pytest.mark.parametrize(
    ("env", "addresses"),
    [
        ({}, {"ollama": "http://127.0.0.1:11434/v1"}),
        ({"OLLAMA_HOST": "0.0.0.0"}, {"ollama": "http://127.0.0.1:11434/v1"}),  # noqa: S104 - what Ollama binds
        ({"OLLAMA_HOST": "gpu:9"}, {"ollama": "http://gpu:9/v1"}),
        ({"OLLAMA_HOST": "https://gpu.example/"}, {"ollama": "https://gpu.example/v1"}),
        ({"OPENAI_API_KEY": KEY}, {"openai": "https://api.openai.com/v1"}),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1/"}, {"openai": "http://127.0.0.1:8080/v1"}),
        ({"ANTHROPIC_API_KEY": KEY}, {"anthropic": "https://api.anthropic.com"}),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/"}, {"anthropic": "http://127.0.0.1:9"}),
        ({"OPENROUTER_API_KEY": KEY}, {"openrouter": "https://openrouter.ai/api/v1"}),
    ],
)
def test_providers_come_from_the_environment(
    place: _Place, env: dict[str, str], addresses: dict[str, str]
) -> None:
    """A base address alone serves a local server; Ollama is always known by name."""
    providers = place.load(env=env).providers

    assert addresses.items() <= {name: provider.base_url for name, provider in providers.items()}.items()
    assert providers.keys() == {"ollama", *addresses}


def test_a_user_names_providers_with_keys_by_variable_and_facts_by_model(place: _Place) -> None:
    """A window that is not told is assumed."""
    small = place.load(user=USER_PROVIDER, env={"SMALL_API_KEY": KEY}).providers["small"]

    assert small.base_url == "http://127.0.0.1:8080/v1"
    assert small.api_key is not None
    assert small.api_key.reveal() == KEY
    assert small.models["qwen2.5-coder"].context_tokens == 16_384
    assert small.models["qwen2.5-coder"].input_usd_per_mtok == 0.1
    assert not small.models["qwen2.5-coder"].assumed
    assert (small.models["other"].context_tokens, small.models["other"].assumed) == (32_768, True)


def test_a_provider_says_which_wire_it_speaks_and_a_model_how_it_thinks(place: _Place) -> None:
    """Both wires may be told about; a budget for thinking is a number of tokens."""
    table = '[providers.mine]\nkind = "anthropic"\nbase_url = "http://127.0.0.1:9"\n[providers.mine.models]\n'
    models = place.load(user=f'{table}a.thinking = "adaptive"\nb.thinking = 4096').providers["mine"].models

    assert place.load(user=table).providers["mine"].kind is ProviderKind.ANTHROPIC
    assert (models["a"].thinking, models["b"].thinking) == ("adaptive", 4096)


@pytest.mark.parametrize("thinking", ['"deep"', "1023", "true", "4096\noutput_tokens = 4096", "2048.5"])
def test_a_budget_that_leaves_no_room_to_answer_is_refused(place: _Place, thinking: str) -> None:
    """The endpoint would refuse every request."""
    user = f"{USER_PROVIDER}[providers.small.models.m]\nthinking = {thinking}"

    with pytest.raises(
        ConfigError, match=r'models\.m\.thinking cannot be used: expected "adaptive", or a number'
    ):
        place.load(user=user)


def test_nothing_that_is_printed_shows_a_key(place: _Place) -> None:
    """Settings end up in logs."""
    settings = place.load(user=USER_PROVIDER, env={"SMALL_API_KEY": KEY, "OPENAI_API_KEY": KEY})

    assert KEY not in repr(settings)
    assert KEY not in f"{settings.providers}"
    assert settings.environment["OPENAI_API_KEY"] == KEY


def test_a_secret_is_neither_shown_nor_written_down() -> None:
    """Only its `reveal` gives it away."""
    secret = Secret(KEY)

    assert f"{secret} {secret!r} {secret!s}" == "Secret(***) Secret(***) Secret(***)"
    assert secret.reveal() == KEY
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(secret)


def test_a_model_of_a_known_provider_is_found(place: _Place) -> None:
    """Ollama needs no configuration."""
    settings = place.load(flags=Flags(model="ollama/qwen2.5-coder:7b"))

    assert model_for(settings, Role.WORKER) == ModelRef("ollama", "qwen2.5-coder:7b")


def test_without_any_provider_the_ways_to_get_going_are_listed_the_demo_first(place: _Place) -> None:
    """The first run of a person who has configured nothing."""
    settings = place.load()

    assert not has_provider(settings)
    with pytest.raises(UsageError, match=r"no model provider is configured.*\n +orch task --demo"):
        model_for(settings, Role.COMMANDER)


@pytest.mark.parametrize("env", [{"OPENAI_API_KEY": KEY}, {"OLLAMA_HOST": "gpu"}])
def test_with_a_provider_and_no_model_the_endpoints_models_are_named(
    place: _Place, env: dict[str, str]
) -> None:
    """What to write after -m."""
    settings = place.load(env=env)

    assert has_provider(settings)
    with pytest.raises(UsageError, match=r"-m, such as\n  openai/a\n  openai/b$"):
        model_for(settings, Role.WORKER, ["openai/a", "openai/b"])
    with pytest.raises(UsageError, match=r"-m PROVIDER/MODEL \(providers: .*ollama"):
        model_for(settings, Role.WORKER)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("openai/gpt", "set OPENAI_API_KEY"),
        ("anthropic/claude", "set ANTHROPIC_API_KEY"),
        ("openrouter/a/b", "set OPENROUTER_API_KEY"),
        ("olama/x", "did you mean ollama"),
        ("opena/x", "did you mean openai"),
        ("zzz/x", r"\[providers.zzz\]"),
    ],
)
def test_a_model_of_an_unknown_provider_is_refused_with_what_to_do(
    place: _Place, model: str, says: str
) -> None:
    """One that lacks its key, one that is misspelt, one that nobody configured."""
    settings = place.load(flags=Flags(model=model))

    with pytest.raises(UsageError, match=says):
        model_for(settings, Role.WORKER)


@given(st.from_regex(r"[\w.-]+", fullmatch=True), st.from_regex(r"[\w./:-]+", fullmatch=True))
def test_a_model_is_split_at_its_first_slash_and_written_back(provider: str, name: str) -> None:
    """Names of models hold slashes."""
    ref = ModelRef.parse(f"{provider}/{name}")

    assert (ref.provider, ref.name, str(ref)) == (provider, name, f"{provider}/{name}")
