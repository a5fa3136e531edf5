"""Keeps providers' keys out of everything that is recorded, where an environment without keys did not do.

A model can be given a key (in a goal, in a file), or a command may find one where orch cannot hide it.
Whatever an event says, the exact values are replaced before the event is reduced, so that journal, views
and every later request agree.
"""

from collections.abc import Collection

from orch.mission.events import EVENT, Event

SHORTEST = 8
"""A shorter value is a placeholder that may stand anywhere."""
MASK = "***"


class Redaction:
    """Replaces known secrets in events."""

    def __init__(self, secrets: Collection[str]) -> None:
        self.secrets = tuple(sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True))

    def __call__(self, event: Event) -> Event:
        """Return `event`, or what is left of it without the secrets."""
        if not self.secrets:
            return event
        text = event.model_dump_json()
        if not any(secret in text for secret in self.secrets):
            return event
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return EVENT.validate_json(text)
