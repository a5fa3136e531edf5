"""Runs orch as its users do: as a process of its own, with a HOME and a workspace of its own.

`Bench` is the fixture's value: a place on disk, and how to run the program in it against a scripted endpoint.
Every wait has a limit and ends as soon as what is waited for is there. Whatever a run prints as JSON, and
every `result.json` it leaves, is held against the published schemas (`tests.contract`).
"""

import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tests import contract
from tests.endpoint import Endpoint, Script

LIMIT_S = 60.0
PAUSE_S = 0.02
ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-made-up-for-tests"
GOAL = "build it"


@dataclass(frozen=True)
class Ended:
    """What a run of the program left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of stdout, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """Stdout as one JSON object."""
        return cast("dict[str, Any]", json.loads(self.out))


@dataclass
class Bench:
    """A workspace, a HOME, and the environment of the program."""

    workspace: Path
    home: Path
    endpoint: Endpoint | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def served(self, script: Script, serve: Callable[[Script], Endpoint] = Endpoint) -> Iterator[Endpoint]:
        """Serve `script` as the provider `openai`, or the one whose wire `serve` speaks."""
        with serve(script) as endpoint:
            self.endpoint = endpoint
            yield endpoint

    def beside(self, name: str) -> "Bench":
        """Return a bench with a workspace of its own, the same endpoint and HOME."""
        workspace = self.workspace.parent / f"{self.workspace.name}-{name}"
        workspace.mkdir()
        return replace(self, workspace=workspace)

    def environment(self) -> dict[str, str]:
        """Return what the program is started with: the endpoint as its provider, if there is one."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        base = kept | {"HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        if self.endpoint is not None:
            base |= dict(zip(self.endpoint.variables, (self.endpoint.base_url, KEY), strict=True))
        return base | self.extra

    def start(self, *arguments: str, file_limit_bytes: int | None = None, **kwargs: Any) -> "Running":
        """Start `orch ARGUMENTS` in the workspace."""

        def limited() -> None:
            assert file_limit_bytes is not None
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_bytes, file_limit_bytes))

        streams: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.workspace,
            "env": self.environment() | whole_bytecode(file_limit_bytes),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "orch", *arguments],
            text=True,
            encoding="utf-8",
            preexec_fn=limited if file_limit_bytes is not None else None,  # noqa: PLW1509 - one thread forks
            **(streams | kwargs),
        )
        return Running(process, self.workspace)

    def run(self, *arguments: str, text: str | None = None, **kwargs: Any) -> Ended:
        """Run `orch ARGUMENTS` to its end; `text` is its stdin."""
        if text is not None:
            kwargs["stdin"] = subprocess.PIPE
        return self.start(*arguments, **kwargs).end(text)

    def task(self, *arguments: str, **kwargs: Any) -> Ended:
        """Run a mission against the endpoint to its end."""
        return self.run("task", GOAL, "-m", self.model, *arguments, **kwargs)

    def start_task(self, *arguments: str, **kwargs: Any) -> "Running":
        """Start a mission against the endpoint."""
        return self.start("task", GOAL, "-m", self.model, *arguments, **kwargs)

    def status(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the entries of `orch status --json`."""
        ended = self.run("status", "--json", *arguments)
        assert ended.code == 0, ended.err
        return cast("list[dict[str, Any]]", ended.result["missions"])

    @property
    def model(self) -> str:
        """The model of every role: one of the endpoint's provider."""
        return f"{self.endpoint.provider if self.endpoint else 'openai'}/test"

    @property
    def missions(self) -> list[Path]:
        """The missions' folders, oldest first."""
        return sorted((self.workspace / ".opencode/orch/missions").iterdir())

    def journal(self) -> list[dict[str, Any]]:
        """Return the events of the only mission."""
        (mission,) = self.missions
        return [json.loads(line) for line in (mission / "journal.jsonl").read_text().splitlines()]


def bench(folder: Path) -> Bench:
    """Return a bench in `folder`."""
    workspace, home = folder / "work", folder / "home"
    workspace.mkdir()
    home.mkdir()
    return Bench(workspace, home)


def whole_bytecode(file_limit_bytes: int | None) -> dict[str, str]:
    """Return what keeps a process whose files are limited from leaving half a module in the cache."""
    return {"PYTHONDONTWRITEBYTECODE": "1"} if file_limit_bytes else {}


def _arguments(command: Any) -> Sequence[str]:
    """Return what orch was started with, also by a shell or another Python that stands before it.

    Nothing where a shell closed its stdout: nobody can look at that.
    """
    words = [str(word) for word in command]
    found = [number for number, word in enumerate(words) if word in ("task", "resume", "status")]
    is_closed = any(re.search(r"(?<!2)>&-", word) for word in words)
    return words[found[0] :] if found and not is_closed else ()


class Running:
    """The program while it runs; `workspace` is where it leaves its results."""

    def __init__(self, process: "subprocess.Popen[str]", workspace: Path | None = None) -> None:
        self.process = process
        self.workspace = workspace

    def end(self, text: str | None = None, limit_s: float = LIMIT_S) -> Ended:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(text, timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {limit_s} s\n{out}\n{err}") from None
        if out is not None:  # else a test has it
            contract.check(_arguments(self.process.args), self.process.returncode, out)
        if self.workspace is not None:
            contract.check_stored(self.workspace)
        return Ended(self.process.returncode, out or "", err or "")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def line(self, words: str) -> str:
        """Read stderr up to the line that holds `words`; what comes after it is still there for `end`."""
        assert self.process.stderr is not None
        read = b""
        number = self.process.stderr.fileno()
        while words.encode() not in read.rpartition(b"\n")[0]:
            assert select.select([number], [], [], LIMIT_S)[0], f"no {words!r} in {read!r}"
            piece = os.read(number, 1)
            assert piece, f"no {words!r} in {read!r}"
            read += piece
        return read.decode().splitlines()[-1]


def wait(event: threading.Event) -> None:
    """Wait until a script has come to where it says so."""
    assert event.wait(LIMIT_S), "the mission never came there"


def until(is_so: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(PAUSE_S)


def marked(mission: str) -> Sequence[int]:
    """Return the pids of all processes whose environment names the mission."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if mission.encode() in environment:
            found.append(int(folder.name))
    return found


def check_result(ended: Ended, subtype: str, form: str) -> Mapping[str, Any]:
    """Assert that stdout ends with exactly one result, which tells the process's exit code; return it."""
    contract.check(("task", "--output-format", form), ended.code, ended.out)
    results = [ended.result] if form == "json" else [x for x in ended.lines if x["type"] == "result"]
    assert len(results) == 1
    if form == "stream-json":
        assert ended.lines[-1] == results[0]
    assert results[0]["subtype"] == subtype
    assert results[0]["exit_code"] == ended.code
    return results[0]
