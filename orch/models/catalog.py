"""What is known of a model: its window, its output limit, its prices.

The user's own facts come first, then a small table, then an assumption that says so. The table holds only
what OpenAI's public model pages (platform.openai.com/docs/models, and the pricing page beside it) state, and
counts only at OpenAI's own address: elsewhere a name may stand for anything. Where the input has a limit of
its own below the window, that limit stands here as the window.
"""

from types import MappingProxyType
from urllib.parse import urlsplit

from orch.config import ModelFacts, ModelRef, Provider

_OPENAI_HOST = "api.openai.com"


def _openai(
    context_tokens: int, output_tokens: int, input_usd: float, output_usd: float, cached_usd: float
) -> ModelFacts:
    return ModelFacts(
        context_tokens=context_tokens,
        output_tokens=output_tokens,
        input_usd_per_mtok=input_usd,
        output_usd_per_mtok=output_usd,
        cached_usd_per_mtok=cached_usd,
    )


_OPENAI_MODELS = MappingProxyType(
    {
        "gpt-4.1": _openai(1_047_576, 32_768, 2.00, 8.00, 0.50),
        "gpt-4.1-mini": _openai(1_047_576, 32_768, 0.40, 1.60, 0.10),
        "gpt-4.1-nano": _openai(1_047_576, 32_768, 0.10, 0.40, 0.025),
        "gpt-4o": _openai(128_000, 16_384, 2.50, 10.00, 1.25),
        "gpt-4o-mini": _openai(128_000, 16_384, 0.15, 0.60, 0.075),
        "gpt-5": _openai(272_000, 128_000, 1.25, 10.00, 0.125),
        "gpt-5-mini": _openai(272_000, 128_000, 0.25, 2.00, 0.025),
        "gpt-5-nano": _openai(272_000, 128_000, 0.05, 0.40, 0.005),
        "o4-mini": _openai(200_000, 100_000, 1.10, 4.40, 0.275),
    }
)


def facts(ref: ModelRef, provider: Provider) -> ModelFacts:
    """Return what is known of the model `ref` at `provider`; `assumed` where its window is not."""
    own = provider.models.get(ref.name)
    if own is not None:
        return own
    if urlsplit(provider.base_url).hostname == _OPENAI_HOST and ref.name in _OPENAI_MODELS:
        return _OPENAI_MODELS[ref.name]
    return ModelFacts(assumed=True)
