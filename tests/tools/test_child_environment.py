"""What commands get to see of orch's environment, and what never."""

from hypothesis import given
from hypothesis import strategies as st

from orch.tools.child_environment import child_environment

SECRET = "sk-0123456789abcdef"
KEY_NAMES = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "OPENROUTER_API_KEY",
    "SMALL_API_KEY",
    "openai_api_key",
    "OPENAI_API_KEY_2",
    "API_KEY",
)
ORDINARY_NAMES = (
    "PATH",
    "HOME",
    "LC_ALL",
    "GOPATH",
    "HTTPS_PROXY",
    "MY_TOKEN",
    "DATABASE_URL",
    "TERM",
    "ORCH_MODEL",
)

environments = st.dictionaries(
    st.sampled_from(KEY_NAMES + ORDINARY_NAMES),
    st.one_of(st.just(SECRET), st.just(f"https://x:{SECRET}@host/"), st.text(max_size=10)),
)


@given(environments, st.sets(st.sampled_from(KEY_NAMES + ORDINARY_NAMES)))
def test_no_secret_passes_whatever_a_person_allows(environ: dict[str, str], extra: set[str]) -> None:
    """Neither the name of a key nor its value, under any name, reaches a child; nor what is orch's own."""
    environ |= {"OPENAI_API_KEY": SECRET}

    passed = child_environment(environ, extra)

    assert not passed.keys() & set(KEY_NAMES)
    assert not any(SECRET in value for value in passed.values())
    assert not any(name.upper().startswith("ORCH_") for name in passed)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_is_not_known_stays_out(environ: dict[str, str]) -> None:
    """A child sees no variable of a name that orch does not know."""
    environ = {f"X{name}": value for name, value in environ.items()}

    assert child_environment(environ) == child_environment({})


def test_tools_find_their_home_and_nobody_is_asked() -> None:
    """HOME, PATH, locale and toolchains stay as they are; prompts, pagers and colours are off."""
    kept = {
        "HOME": "/home/me",
        "PATH": "/bin",
        "LC_CTYPE": "C.UTF-8",
        "CARGO_HOME": "/c",
        "no_proxy": "local",
    }

    passed = child_environment(
        {**kept, "TERM": "xterm", "PAGER": "less", "LD_PRELOAD": "/x.so", "BASH_ENV": "/x"}
    )

    assert passed == {
        **kept,
        "CI": "1",
        "DEBIAN_FRONTEND": "noninteractive",
        "EDITOR": "true",
        "GIT_EDITOR": "true",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "NO_COLOR": "1",
        "PAGER": "cat",
        "TERM": "dumb",
        "VISUAL": "true",
    }


def test_a_name_that_a_person_allows_passes_as_it_is() -> None:
    """Only the exact name is allowed, not what starts like it."""
    passed = child_environment({"DATABASE_URL": "db://", "DATABASE_URL_2": "db://2"}, ["DATABASE_URL"])

    assert passed["DATABASE_URL"] == "db://"
    assert "DATABASE_URL_2" not in passed


def test_a_proxy_with_a_password_stays_out() -> None:
    """A proxy passes without `user:password@` only."""
    passed = child_environment({"https_proxy": "http://me:pw@proxy:3128", "HTTP_PROXY": "http://proxy:3128"})

    assert "https_proxy" not in passed
    assert passed["HTTP_PROXY"] == "http://proxy:3128"


def test_a_placeholder_for_a_key_takes_nothing_else_away() -> None:
    """Local servers take any key: a short one that is part of PATH does not empty PATH."""
    passed = child_environment({"OPENAI_API_KEY": "lm-studio", "PATH": "/opt/lm-studio/bin"})

    assert passed["PATH"] == "/opt/lm-studio/bin"
