"""What is known of a model: its window, its output limit, its prices.

The user's own facts come first, then a small table, then an assumption that says so. The tables hold only
what the makers' public pages state (platform.openai.com/docs/models, platform.claude.com/docs/en/models, and
the pricing pages beside them), and count only at the makers' own addresses: elsewhere a name may stand for
anything. Where the input has a limit of its own below the window, that limit stands here as the window. Where
a price depends on the length of the prompt, none stands here: one figure would be wrong.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from orch.config import ModelFacts, ModelRef, Provider


def _known(
    context_tokens: int, output_tokens: int, input_usd: float, output_usd: float, cached_usd: float
) -> ModelFacts:
    return ModelFacts(
        context_tokens=context_tokens,
        output_tokens=output_tokens,
        input_usd_per_mtok=input_usd,
        output_usd_per_mtok=output_usd,
        cached_usd_per_mtok=cached_usd,
    )


_OPENAI_MODELS: Mapping[str, ModelFacts] = MappingProxyType(
    {
        "gpt-4.1": _known(1_047_576, 32_768, 2.00, 8.00, 0.50),
        "gpt-4.1-mini": _known(1_047_576, 32_768, 0.40, 1.60, 0.10),
        "gpt-4.1-nano": _known(1_047_576, 32_768, 0.10, 0.40, 0.025),
        "gpt-4o": _known(128_000, 16_384, 2.50, 10.00, 1.25),
        "gpt-4o-mini": _known(128_000, 16_384, 0.15, 0.60, 0.075),
        "gpt-5": _known(272_000, 128_000, 1.25, 10.00, 0.125),
        "gpt-5-mini": _known(272_000, 128_000, 0.25, 2.00, 0.025),
        "gpt-5-nano": _known(272_000, 128_000, 0.05, 0.40, 0.005),
        "o4-mini": _known(200_000, 100_000, 1.10, 4.40, 0.275),
    }
)
_HAIKU_4_5 = _known(200_000, 64_000, 1.00, 5.00, 0.10)
_SONNET_4_5 = _known(200_000, 64_000, 3.00, 15.00, 0.30)
_OPUS_4_5 = _known(200_000, 64_000, 5.00, 25.00, 0.50)
_CLAUDE_MODELS: Mapping[str, ModelFacts] = MappingProxyType(
    {
        "claude-fable-5-1": _known(1_000_000, 128_000, 10.00, 50.00, 0.25),
        "claude-opus-5-5": _known(1_000_000, 128_000, 4.00, 20.00, 0.20),
        "claude-opus-5": _known(1_000_000, 128_000, 5.00, 25.00, 0.50),
        "claude-opus-4-8": _known(1_000_000, 128_000, 5.00, 25.00, 0.50),
        "claude-opus-4-6": _known(1_000_000, 128_000, 5.00, 25.00, 0.50),
        "claude-opus-4-5": _OPUS_4_5,
        "claude-opus-4-5-20251101": _OPUS_4_5,
        "claude-sonnet-5-5": _known(1_000_000, 128_000, 2.00, 10.00, 0.10),
        "claude-sonnet-5": _known(1_000_000, 128_000, 2.00, 10.00, 0.20),
        "claude-sonnet-4-6": _known(1_000_000, 128_000, 3.00, 15.00, 0.30),
        "claude-sonnet-4-5": _SONNET_4_5,
        "claude-sonnet-4-5-20250929": _SONNET_4_5,
        "claude-haiku-5-5": ModelFacts(context_tokens=1_000_000, output_tokens=128_000),
        "claude-haiku-4-5": _HAIKU_4_5,
        "claude-haiku-4-5-20251001": _HAIKU_4_5,
    }
)
_TABLES = MappingProxyType({"api.openai.com": _OPENAI_MODELS, "api.anthropic.com": _CLAUDE_MODELS})


def facts(ref: ModelRef, provider: Provider) -> ModelFacts:
    """Return what is known of the model `ref` at `provider`; `assumed` where its window is not."""
    table = _TABLES.get(urlsplit(provider.base_url).hostname or "", {})
    known = table.get(ref.name, ModelFacts(assumed=True))
    own = provider.models.get(ref.name)
    return known if own is None else _joined(own, known)


def _joined(own: ModelFacts, known: ModelFacts) -> ModelFacts:
    """Return the user's facts, and what is known where the user says nothing."""
    silent = {each.name for each in fields(own) if getattr(own, each.name) is None}
    silent |= {"context_tokens", "assumed"} if own.assumed else set()
    return replace(own, **{name: getattr(known, name) for name in silent})
