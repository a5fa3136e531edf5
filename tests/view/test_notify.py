"""Who looks elsewhere is told of the end: by arguments of their own, and only where a person is."""

import os
import sys
import time
from pathlib import Path
from types import MappingProxyType

import pytest

from orch import config
from orch.commands import announce
from orch.config import Flags, Settings
from orch.errors import ConfigError
from orch.mission.events import Outcome
from orch.mission.result import Count, IssueCount, Result, nothing_started
from orch.view import notify
from orch.view.notify import Notice

TOLD = Notice("orch: sealed", "1 of 1 done: $(touch x); -e `y` <b>&")
DESKTOP = {"DISPLAY": ":0"}


def _result(outcome: Outcome, goal: str = "build it") -> Result:
    ended = nothing_started(goal, outcome, 0, "")
    counts = {"todo": Count(done=2, total=3), "issues": IssueCount(open=1, closed=0)}
    return ended.model_copy(update={"mission": "m1", **counts})


@pytest.mark.parametrize(
    "outcome", [Outcome.SEALED, Outcome.UNSEALED, Outcome.BLOCKED, Outcome.LIMIT, Outcome.ERROR]
)
def test_an_end_is_told_with_what_was_done(outcome: Outcome) -> None:
    """And with what is open."""
    told = notify.notice(_result(outcome))
    assert told == Notice(f"orch: {outcome}", "2 of 3 done, 1 open issue: build it")


def test_who_stopped_a_run_knows() -> None:
    """And a run that never began is no news."""
    assert notify.notice(_result(Outcome.STOPPED)) is None
    assert notify.notice(nothing_started("x", Outcome.ERROR, 1, "")) is None


def test_a_goal_cannot_steer_the_terminal() -> None:
    """Neither end the sequence that carries it, nor begin another."""
    told = notify.notice(_result(Outcome.SEALED, "a\a\x1b]52;c;eHg=\a\x9c\nb" + "x" * 500))
    assert told is not None
    rung = notify.ring(told, {"TERM": "xterm-kitty"})
    assert rung.startswith("\x1b]9;orch: sealed, 2 of 3 done")
    assert (rung.count("\x1b"), rung.count("\a"), "\n" in rung) == (1, 1, False)
    assert len(rung) < 300


@pytest.mark.parametrize(
    ("environment", "rung"),
    [
        ({"TERM": "xterm-256color"}, "\a"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, "\a"),
        ({"TERM": "xterm-256color", "SSH_CONNECTION": "a b"}, ""),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "\x1b]9;t, x\a"),
        ({"TERM": "xterm-ghostty", "SSH_TTY": "/dev/pts/1"}, "\x1b]9;t, x\a"),
    ],
    ids=["any", "tmux", "ssh", "known", "known over ssh"],
)
def test_a_terminal_is_asked_for_what_it_can(environment: dict[str, str], rung: str) -> None:
    """A bell where no more is known; over SSH nothing then."""
    assert notify.ring(Notice("t", "x"), environment) == rung


@pytest.mark.skipif(sys.platform != "linux", reason="the desktop of freedesktop.org")
def test_the_desktop_is_told_by_arguments() -> None:
    """Options end before the texts; its markup is escaped."""
    args = notify.command(TOLD, (), DESKTOP, lambda name: f"/bin/{name}")
    assert args[0] == "/bin/notify-send"
    assert args[-3:-1] == ("--", "orch: sealed")
    assert args[-1].endswith("&lt;b&gt;&amp;")


def test_there_is_no_desktop_over_ssh_or_without_a_display() -> None:
    """Nor where its program is not there."""
    find = "/bin/{}".format
    assert notify.command(TOLD, (), DESKTOP | {"SSH_TTY": "/dev/pts/1"}, find) == ()
    assert notify.command(TOLD, (), DESKTOP, lambda _name: None) == ()
    if sys.platform == "linux":
        assert notify.command(TOLD, (), {}, find) == ()


def test_a_persons_own_program_gets_the_texts_where_they_belong() -> None:
    """Each in one piece, and not read again for places."""
    told = Notice("{text}", "a b")
    assert notify.command(told, ("say", "{title}: {text}", "{x}"), {}, lambda _: None) == (
        "say",
        "{text}: a b",
        "{x}",
    )


def _settings(**extra: str) -> Settings:
    environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-made-up-for-tests", **extra}
    return Settings(
        models=MappingProxyType({}),
        providers=MappingProxyType({}),
        environment=MappingProxyType(environment),
    )


def test_a_program_gets_no_key_and_no_shell(tmp_path: Path) -> None:
    """What looks like a command is an argument."""
    out = tmp_path / "out"
    code = (
        "import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2] + repr(dict(os.environ)))"
    )
    announce.run((sys.executable, "-c", code, str(out), TOLD.text), _settings(DISPLAY=":7"), limit_s=60.0)
    said = out.read_text()
    assert said.startswith(TOLD.text)
    assert "sk-made-up" not in said
    assert "':7'" in said


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """It was given its time."""
    pid = tmp_path / "pid"
    began = time.monotonic()
    announce.run(("/bin/sh", "-c", f"sleep 300 & echo $! > {pid}; wait"), _settings(), limit_s=1.0)
    assert time.monotonic() - began < 60
    assert not _lives(int(pid.read_text()))


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_program_that_is_not_there_is_no_error() -> None:
    """The run's end is said all the same."""
    announce.run(("/nowhere/at/all",), _settings())
    announce.run(("/bin/true", "a\0b"), _settings())


def test_a_short_run_and_one_in_ci_ring_nothing() -> None:
    """Nor does one whose settings say so."""
    rung: list[str] = []
    for settings, took_s in ((_settings(), 1.0), (_settings(CI="1"), 900.0)):
        announce.Announcer(settings, rung.append).announce(_result(Outcome.SEALED), took_s)
    assert not rung


def test_a_workspace_can_turn_notifications_off_but_names_no_program(tmp_path: Path) -> None:
    """A program that runs outside the agents' bounds is the person's choice alone."""
    home, work = tmp_path / "home", tmp_path / "work"
    (home / ".config/orch").mkdir(parents=True)
    project = work / ".opencode/orch.toml"
    project.parent.mkdir(parents=True)
    environment = {"HOME": str(home)}
    (home / ".config/orch/config.toml").write_text('notify_command = ["say", "{title}"]\n')
    assert config.load(Flags(), work, environment).notify_command == ("say", "{title}")
    project.write_text("notify = false\n")
    assert not config.load(Flags(), work, environment).notify
    project.write_text('notify_command = ["evil"]\n')
    with pytest.raises(ConfigError, match="notify_command") as refused:
        config.load(Flags(), work, environment)
    assert len(str(refused.value).splitlines()) <= 2
