"""The caps of a run: from the settings, the mission and where orch runs; and whether they can be kept."""

import os
from collections.abc import Callable, Iterable, Mapping

from orch.commands import demo as demo_mode
from orch.config import ModelFacts, ModelRef, Settings
from orch.errors import UsageError
from orch.mission.caps import Cap, Caps, setting
from orch.mission.events import Usage
from orch.models import catalog

DEFAULTS = Caps(timeout_s=2 * 60 * 60, max_tokens=10_000_000)
"""What bounds a run that nobody watches, where nobody set anything."""
_STDIN, _STDOUT = 0, 1


def is_interactive(environment: Mapping[str, str]) -> bool:
    """Say whether a person sits there: at a terminal for input and output, and no CI job's."""
    return not environment.get("CI") and os.isatty(_STDIN) and os.isatty(_STDOUT)


def chosen(settings: Settings, had: Caps, say: Callable[[str], None]) -> Caps:
    """Return the settings' caps, else those that the mission `had`; else, where nobody watches, the defaults.

    Those are told with `say`.
    """
    given = Caps(
        timeout_s=settings.timeout_s,
        max_tokens=settings.max_tokens,
        max_budget_usd=settings.max_budget_usd,
    )
    caps = had.model_copy(update=given.model_dump(exclude_none=True))
    if is_interactive(settings.environment):
        return caps
    added = [
        (cap, amount) for cap in Cap if caps.of(cap) is None and (amount := DEFAULTS.of(cap)) is not None
    ]
    if added:
        words = " and ".join(setting(cap, amount) for cap, amount in added)
        say(f"no terminal, or CI is set, so it has caps: {words}; flags set others")
    return DEFAULTS.model_copy(update=caps.model_dump(exclude_none=True))


def facts_of(settings: Settings, *, demo: bool) -> Callable[[ModelRef], ModelFacts]:
    """Return what says what is known of a model, also of one whose provider is gone."""

    def facts(ref: ModelRef) -> ModelFacts:
        provider = demo_mode.PROVIDER if demo else settings.providers.get(ref.provider)
        return catalog.facts(ref, provider) if provider is not None else ModelFacts(assumed=True)

    return facts


def check_prices(
    caps: Caps,
    models: Iterable[ModelRef],
    spent: Mapping[str, Usage],
    facts: Callable[[ModelRef], ModelFacts],
) -> None:
    """Raise `UsageError` if dollars are capped and not every model that was or will be asked has a price."""
    if caps.max_budget_usd is None:
        return
    unpriced = (ModelRef.parse(model) for model, usage in spent.items() if usage.cost_usd is None)
    for ref in sorted({*models, *unpriced}, key=str):
        known = facts(ref)
        if known.input_usd_per_mtok is None or known.output_usd_per_mtok is None:
            raise UsageError(
                f"{Cap.USD.flag} cannot be kept: the price of {ref} is unknown. Set input_usd_per_mtok and "
                f'output_usd_per_mtok under [providers.{ref.provider}.models."{ref.name}"] in the user\'s '
                f"config.toml (0 if it costs nothing), or use {Cap.TOKENS.flag}"
            )
