"""What is known of a model: its window, its output limit, its prices.

The user's own facts come first, then what the makers state (`orch.models.makers`), then an assumption that
says so. The makers' words count only at their own addresses: elsewhere a name may stand for anything.
"""

from dataclasses import fields, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from orch.config import ModelFacts, ModelRef, Provider
from orch.models.makers import ANTHROPIC, OPENAI

_TABLES = MappingProxyType({"api.openai.com": OPENAI, "api.anthropic.com": ANTHROPIC})


def facts(ref: ModelRef, provider: Provider) -> ModelFacts:
    """Return what is known of the model `ref` at `provider`; `assumed` where its window is not."""
    table = _TABLES.get(urlsplit(provider.base_url).hostname or "", {})
    stated = table.get(ref.name)
    known = ModelFacts(assumed=True) if stated is None else ModelFacts(**stated._asdict())
    own = provider.models.get(ref.name)
    return known if own is None else _joined(own, known)


def _joined(own: ModelFacts, known: ModelFacts) -> ModelFacts:
    """Return the user's facts, and what is known where the user says nothing."""
    silent = {each.name for each in fields(own) if getattr(own, each.name) is None}
    silent |= {"context_tokens", "assumed"} if own.assumed else set()
    return replace(own, **{name: getattr(known, name) for name in silent})
