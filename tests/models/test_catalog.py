"""What is known of a model, and where from."""

from dataclasses import replace

import pytest

from orch.config import ModelFacts, ModelRef, Provider, ProviderKind
from orch.models.catalog import facts

OPENAI = Provider("openai", ProviderKind.OPENAI, "https://api.openai.com/v1")
ANTHROPIC = Provider("anthropic", ProviderKind.ANTHROPIC, "https://api.anthropic.com")


def test_the_users_own_facts_come_first() -> None:
    """Whatever the table says of a model of that name."""
    own = ModelFacts(context_tokens=9000, input_usd_per_mtok=1.0)
    provider = Provider("openai", ProviderKind.OPENAI, OPENAI.base_url, models={"gpt-4o": own})
    told = facts(ModelRef("openai", "gpt-4o"), provider)

    assert (told.context_tokens, told.input_usd_per_mtok, told.assumed) == (9000, 1.0, False)


def test_what_the_user_does_not_say_is_taken_from_the_table() -> None:
    """One wish, such as thinking, must not cost the window and the prices."""
    own = ModelFacts(thinking="adaptive", assumed=True)
    provider = replace(ANTHROPIC, models={"claude-sonnet-4-5": own, "other": own})
    told = facts(ModelRef("anthropic", "claude-sonnet-4-5"), provider)

    assert told == replace(facts(ModelRef("anthropic", "claude-sonnet-4-5"), ANTHROPIC), thinking="adaptive")
    assert facts(ModelRef("anthropic", "other"), provider) == own


def test_a_well_known_model_has_its_window_and_prices() -> None:
    """Nothing is assumed of it."""
    known = facts(ModelRef("openai", "gpt-4o"), OPENAI)

    assert (known.context_tokens, known.output_tokens, known.assumed) == (128_000, 16_384, False)
    assert (known.input_usd_per_mtok, known.output_usd_per_mtok) == (2.5, 10.0)
    claude = facts(ModelRef("anthropic", "claude-haiku-4-5"), ANTHROPIC)
    assert (claude.context_tokens, claude.output_tokens, claude.cached_usd_per_mtok) == (200_000, 64_000, 0.1)


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("no-such-model", OPENAI),
        ("gpt-4o", Provider("openai", ProviderKind.OPENAI, "http://127.0.0.1:8080/v1")),
        ("gpt-4o", Provider("x", ProviderKind.OPENAI, "https://api.openai.com.example/v1")),
        ("claude-opus-5-5", OPENAI),
        ("gpt-4o", ANTHROPIC),
    ],
)
def test_an_unknown_model_counts_as_small_and_says_that_it_is_a_guess(name: str, provider: Provider) -> None:
    """At another address a well-known name may stand for anything."""
    assert facts(ModelRef("x", name), provider) == ModelFacts(context_tokens=32_768, assumed=True)
