"""What is known of a model, and where from."""

import pytest

from orch.config import ModelFacts, ModelRef, Provider, ProviderKind
from orch.models.catalog import facts

OPENAI = Provider("openai", ProviderKind.OPENAI, "https://api.openai.com/v1")


def test_the_users_own_facts_come_first() -> None:
    """Whatever the table says of a model of that name."""
    own = ModelFacts(context_tokens=9000)
    provider = Provider("openai", ProviderKind.OPENAI, OPENAI.base_url, models={"gpt-4o": own})

    assert facts(ModelRef("openai", "gpt-4o"), provider) is own


def test_a_well_known_model_has_its_window_and_prices() -> None:
    """Nothing is assumed of it."""
    known = facts(ModelRef("openai", "gpt-4o"), OPENAI)

    assert (known.context_tokens, known.output_tokens, known.assumed) == (128_000, 16_384, False)
    assert (known.input_usd_per_mtok, known.output_usd_per_mtok) == (2.5, 10.0)


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("no-such-model", OPENAI),
        ("gpt-4o", Provider("openai", ProviderKind.OPENAI, "http://127.0.0.1:8080/v1")),
        ("gpt-4o", Provider("x", ProviderKind.OPENAI, "https://api.openai.com.example/v1")),
    ],
)
def test_an_unknown_model_counts_as_small_and_says_that_it_is_a_guess(name: str, provider: Provider) -> None:
    """At another address a well-known name may stand for anything."""
    assert facts(ModelRef("x", name), provider) == ModelFacts(context_tokens=32_768, assumed=True)
