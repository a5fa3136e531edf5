"""What makers state of their models: windows, limits of an answer, US dollars per million tokens.

Only what their public pages state (platform.openai.com/docs/models, platform.claude.com/docs/en/models, and
the pricing pages beside them). Where the input has a limit of its own below the window, that limit stands
here as the window. Where a price depends on the length of the prompt, none stands here: one figure would be
wrong. Light, because completions read the names.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Stated(NamedTuple):
    """What is stated of a model; `None` where nothing is, or no one figure."""

    context_tokens: int
    output_tokens: int
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    cached_usd_per_mtok: float | None = None


OPENAI: Mapping[str, Stated] = MappingProxyType(
    {
        "gpt-4.1": Stated(1_047_576, 32_768, 2.00, 8.00, 0.50),
        "gpt-4.1-mini": Stated(1_047_576, 32_768, 0.40, 1.60, 0.10),
        "gpt-4.1-nano": Stated(1_047_576, 32_768, 0.10, 0.40, 0.025),
        "gpt-4o": Stated(128_000, 16_384, 2.50, 10.00, 1.25),
        "gpt-4o-mini": Stated(128_000, 16_384, 0.15, 0.60, 0.075),
        "gpt-5": Stated(272_000, 128_000, 1.25, 10.00, 0.125),
        "gpt-5-mini": Stated(272_000, 128_000, 0.25, 2.00, 0.025),
        "gpt-5-nano": Stated(272_000, 128_000, 0.05, 0.40, 0.005),
        "o4-mini": Stated(200_000, 100_000, 1.10, 4.40, 0.275),
    }
)
_HAIKU_4_5 = Stated(200_000, 64_000, 1.00, 5.00, 0.10)
_SONNET_4_5 = Stated(200_000, 64_000, 3.00, 15.00, 0.30)
_OPUS_4_5 = Stated(200_000, 64_000, 5.00, 25.00, 0.50)
ANTHROPIC: Mapping[str, Stated] = MappingProxyType(
    {
        "claude-fable-5-1": Stated(1_000_000, 128_000, 10.00, 50.00, 0.25),
        "claude-opus-5-5": Stated(1_000_000, 128_000, 4.00, 20.00, 0.20),
        "claude-opus-5": Stated(1_000_000, 128_000, 5.00, 25.00, 0.50),
        "claude-opus-4-8": Stated(1_000_000, 128_000, 5.00, 25.00, 0.50),
        "claude-opus-4-6": Stated(1_000_000, 128_000, 5.00, 25.00, 0.50),
        "claude-opus-4-5": _OPUS_4_5,
        "claude-opus-4-5-20251101": _OPUS_4_5,
        "claude-sonnet-5-5": Stated(1_000_000, 128_000, 2.00, 10.00, 0.10),
        "claude-sonnet-5": Stated(1_000_000, 128_000, 2.00, 10.00, 0.20),
        "claude-sonnet-4-6": Stated(1_000_000, 128_000, 3.00, 15.00, 0.30),
        "claude-sonnet-4-5": _SONNET_4_5,
        "claude-sonnet-4-5-20250929": _SONNET_4_5,
        "claude-haiku-5-5": Stated(1_000_000, 128_000),
        "claude-haiku-4-5": _HAIKU_4_5,
        "claude-haiku-4-5-20251001": _HAIKU_4_5,
    }
)
MODELS: Mapping[str, Mapping[str, Stated]] = MappingProxyType({"openai": OPENAI, "anthropic": ANTHROPIC})
"""By the name of the provider that serves them at the maker's own address, then by their own."""
