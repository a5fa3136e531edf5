"""What settings and AGENTS.md tell the agents, and the limits of single roles, as an endpoint sees them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest

from tests import play, program
from tests.endpoint import Script, Step, Turn
from tests.play import Scene
from tests.program import Bench

A, B = play.item("a", "api/a.txt"), play.item("b", after=["a"])


class _Listener:
    """Plays a script, and keeps the system prompts of each session, by role and brief."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.heard: dict[tuple[str, str], list[str]] = defaultdict(list)

    def __call__(self, turn: Turn) -> Step:
        scene = play.scene_of(turn)
        self.heard[scene.role, scene.field("id")].append(turn.system)
        return self._script(turn)

    @property
    def systems(self) -> Mapping[tuple[str, str], str]:
        """The system prompt of each session, which never changed."""
        assert all(len(set(systems)) == 1 for systems in self.heard.values())
        return {session: systems[0] for session, systems in self.heard.items()}

    def who_heard(self, words: str) -> set[tuple[str, str]]:
        """Return the sessions whose prompt holds `words`."""
        return {session for session, system in self.systems.items() if words in system}


def _write(bench: Bench, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = bench.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _users(bench: Bench, text: str) -> None:
    folder = bench.home / ".config" / "orch"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)


def _dawdle(scene: Scene) -> Step:
    """Worker: look here and there, for ever."""
    return play.call("glob", pattern=f"{scene.turn.number}.*")


def test_instructions_reach_the_roles_that_they_are_for(bench: Bench) -> None:
    """The user's first, then the workspace's, those for all before a role's own; all of it is on record."""
    _users(bench, 'instructions = "Speak plainly."\n')
    _write(
        bench,
        {
            ".opencode/orch.toml": 'instructions = "Use tabs."\n[roles.worker]\ninstructions_file = "w.md"\n'
            '[roles.reviewer]\ninstructions = "Run it twice."\n',
            "w.md": "Never touch vendor/.",
        },
    )
    listener = _Listener(play.mission(A))
    with bench.served(listener):
        ended = bench.task()

    assert ended.code == 0, ended.err
    everybody = set(listener.systems)
    assert {role for role, _ in everybody} == {"Commander", "Planner", "Worker", "Reviewer"}
    assert listener.who_heard("From the user's config.toml:\nSpeak plainly.") == everybody
    assert listener.who_heard("From .opencode/orch.toml:\nUse tabs.") == everybody
    assert listener.who_heard("From w.md:\nNever touch vendor/.") == {("Worker", "a")}
    assert listener.who_heard("Run it twice.") == {("Reviewer", "a")}
    section = listener.systems["Worker", "a"].partition("<instructions>")[2].partition("</instructions>")[0]
    places = [section.index(words) for words in ("Speak plainly.", "Use tabs.", "Never touch")]
    assert places == sorted(places)
    assert [told["role"] for told in bench.journal()[0]["instructions"]] == [None, None, "worker", "reviewer"]


def test_agents_md_of_an_items_folders_is_read_when_its_session_is_briefed(bench: Bench) -> None:
    """A session keeps the words that it began with, the next one gets the new ones; CLAUDE.md is not read."""
    _write(
        bench,
        {
            "AGENTS.md": "Old words.",
            "api/AGENTS.md": "Of the API.",
            "web/AGENTS.md": "No.",
            "CLAUDE.md": "No.",
        },
    )

    def worker(scene: Scene) -> Step:
        _write(bench, {"AGENTS.md": "New words."})
        return play.build(scene)

    listener = _Listener(play.mission(A, B, worker=worker))
    with bench.served(listener):
        ended = bench.task()

    assert ended.code == 0, ended.err
    old = listener.who_heard("# AGENTS.md\n\nOld words.")
    assert old == {("Commander", ""), ("Planner", ""), ("Worker", "a")}
    assert listener.who_heard("# AGENTS.md\n\nNew words.") == set(listener.systems) - old
    assert listener.who_heard("# api/AGENTS.md\n\nOf the API.") == {("Worker", "a"), ("Reviewer", "a")}
    assert listener.who_heard("No.") == set()


def test_a_roles_own_limit_binds_that_role_and_a_resume_goes_by_the_settings_as_they_are_then(
    bench: Bench,
) -> None:
    """A limit for all roles in a higher place goes before it; the way on that is named makes room."""
    settings = 'model = "openai/test"\n[roles.worker]\nmodel = "openai/test-worker"\nmax_turns = 2\n'
    _write(bench, {".opencode/orch.toml": settings})
    with bench.served(play.mission(play.item("a"), worker=_dawdle)):
        limited = bench.run("task", program.GOAL, "--output-format", "json")
    _write(bench, {".opencode/orch.toml": settings + 'instructions = "Hurry up."\n'})
    listener = _Listener(play.mission(play.item("a")))
    with bench.served(listener):
        resumed = bench.run("resume", "--max-turns", "50")

    assert (limited.code, resumed.code) == (4, 0), resumed.err
    assert "it used up its 2 turns ([roles.worker] max_turns)" in limited.result["blockers"][0]["text"]
    assert "--max-turns 200" in limited.err
    started, again = (e for e in bench.journal() if e["type"] in ("mission.started", "mission.resumed"))
    assert (started["role_turns"], again["role_turns"]) == ({"worker": 2}, {})
    assert started["models"]["worker"] == "openai/test-worker"
    assert ("Worker", "a") in listener.who_heard("Hurry up.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-j", "abc"), ["orch: --max-parallel cannot be used: expected a whole number from 1 to 500"]),
        (("-j", "0"), ["orch: --max-parallel cannot be used: expected a whole number from 1 to 500"]),
        (
            ("--max-tokens", "1e6", "--max-budget-usd", "1,5"),
            [
                "orch: the command line has 2 errors:",
                "  --max-budget-usd cannot be used: expected US dollars, more than 0 and at most 1000000000",
                f"  --max-tokens cannot be used: expected a whole number from 1 to {10**15}, such as 2000000",
            ],
        ),
        (
            ("--max-turns", "9" * 30),
            ["orch: --max-turns cannot be used: expected a whole number from 1 to 10000"],
        ),
    ],
)
def test_a_number_that_is_none_is_refused_in_plain_words(
    bench: Bench, arguments: Sequence[str], says: Sequence[str]
) -> None:
    """Each flag with what may stand there; whoever asked for JSON gets a result."""
    ended = bench.run("task", "x", "--json", *arguments)

    assert (ended.code, ended.err.splitlines()) == (2, list(says))
    assert program.check_result(ended, "error", "stream-json")
