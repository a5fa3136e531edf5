"""`orch status --session`: one session of a mission, as text for a person or as one JSON object."""

import json

from orch.commands.place import columns
from orch.mission.status import SessionStory
from orch.runtime import survey
from orch.store.folder import Folder
from orch.view import dialogue
from orch.view.stream import event_text, json_text

DEFAULT_COLUMNS = 80


def tell(folder: Folder, mission: str | None, session: str, *, as_json: bool, whole: bool) -> str:
    """Return what to print. Raises `UsageError` if there is no such mission or session."""
    story, state = survey.story(folder, mission, session)
    if as_json:
        return _object(story)
    return dialogue.render(story, state, columns(DEFAULT_COLUMNS), whole=whole)


def _object(story: SessionStory) -> str:
    """Return the session as JSON, its events as `stream-json` has them."""
    facts = json.loads(json_text(story, absent={"events"}))
    return json.dumps(facts | {"events": [json.loads(event_text(event)) for event in story.events]}, indent=2)
