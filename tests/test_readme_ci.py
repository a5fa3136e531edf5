"""The README's jobs for GitHub and GitLab do what it says: each script runs as on a runner, in a clean shell.

Only what comes from elsewhere is stood in for: the installer (the package itself is built and installed by
`.ci/run`), the clone of orch, and the ten minutes of waiting for a provider.
"""

import os
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest
import yaml

from tests import contract, play, program
from tests.endpoint import Script, Step
from tests.program import KEY, Bench
from tests.test_readme import blocks

A = play.item("a")
GITHUB, _GITLAB = (yaml.safe_load(block) for block in blocks("yaml"))
GITLAB = _GITLAB["orch"]
JOB = GITHUB["jobs"]["orch"]
SHIM = """#!/bin/sh
echo "$(basename "$0") $*" >> "$STAGE/called"
case "$0 $*" in *install*) for last; do :; done; test -f "$last/pyproject.toml" || exit 9;; esac
case "$0 $*" in *clone*) for last; do :; done; cp -r "$STAGE/orch" "$last";; esac
"""


@dataclass(frozen=True)
class Job:
    """How a CI server runs its job: the script in one shell that stops at the first error."""

    script: str
    variables: dict[str, str]
    artifacts: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What a job left behind."""

    code: int
    said: str
    called: Sequence[str]
    checkout: Path
    summary: str


def _github() -> Job:
    (script,) = [step["run"] for step in JOB["steps"] if "run" in step]
    (upload,) = [step["with"]["path"] for step in JOB["steps"] if "upload" in step.get("uses", "")]
    return Job(script, {"CI": "true", "GITHUB_ACTIONS": "true"}, (upload,))


def _gitlab() -> Job:
    return Job("\n".join(GITLAB["script"]), {"CI": "true"}, tuple(GITLAB["artifacts"]["paths"]))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place to run a job in."""
    return program.bench(tmp_path)


JOBS: dict[str, Callable[[], Job]] = {"github": _github, "gitlab": _gitlab}


def _run(bench: Bench, tmp_path: Path, job: Job, script: Script) -> Done:
    stage, checkout = tmp_path / "stage", bench.workspace
    (stage / "bin").mkdir(parents=True)
    (stage / "orch").mkdir()
    (stage / "orch/pyproject.toml").touch()
    for name in ("pip", "pipx", "sleep", "git"):
        (stage / "bin" / name).write_text(SHIM)
        (stage / "bin" / name).chmod(0o755)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
    (checkout / "goal.md").write_text("build it\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "goal"]):
        subprocess.run([*git, *command], cwd=checkout, check=True, timeout=60, env=_plain(bench))
    (checkout / ".orch").mkdir()
    (checkout / ".orch/pyproject.toml").touch()
    lines = job.script.replace("/tmp/orch", str(tmp_path / "cloned")).replace("openai/gpt-4.1", "openai/test")
    with bench.served(script) as endpoint:
        own = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": endpoint.base_url,
            "STAGE": str(stage),
            "ORCH_URL": "elsewhere",
            "GITHUB_STEP_SUMMARY": str(stage / "summary.md"),
            "GITHUB_WORKSPACE": str(checkout),
        }
        path = f"{stage / 'bin'}:{sysconfig.get_path('scripts')}:/usr/local/bin:/usr/bin:/bin"
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-c", lines],  # noqa: S607 - the runner's own
            cwd=checkout,
            env={"HOME": str(bench.home), "PATH": path, **own, **job.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=program.LIMIT_S,
            check=False,
        )
    summary = stage / "summary.md"
    called = (stage / "called").read_text().splitlines()
    said = ran.stdout + ran.stderr
    return Done(ran.returncode, said, called, checkout, summary.read_text() if summary.exists() else "")


def _plain(bench: Bench) -> dict[str, str]:
    return {"HOME": str(bench.home), "PATH": os.environ["PATH"]}


def _look(done: Done, job: Job) -> None:
    """Assert that the files that the job uploads are there, and hold what they should."""
    (out,) = [done.checkout / path for path in job.artifacts]
    assert {"events.jsonl", "junit.xml", "report.html", "result.json"} <= {p.name for p in out.iterdir()}
    contract.check_result(yaml.safe_load((out / "result.json").read_text()))
    assert parse(out / "junit.xml").getroot().tag == "testsuites"  # noqa: S314 - our own
    assert "<html" in (out / "report.html").read_text()


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_seals_is_green_and_leaves_its_artifacts(bench: Bench, tmp_path: Path, name: str) -> None:
    """Events, result, page and test report; orch was installed from its checkout, and is not in the way."""
    job = JOBS[name]()
    done = _run(bench, tmp_path, job, play.mission(A))
    assert done.code == 0, done.said
    _look(done, job)
    out = done.checkout / job.artifacts[0]
    contract.check_stream((out / "events.jsonl").read_text(), 0)
    assert [line for line in done.called if "install" in line]
    assert not [line for line in done.said.splitlines() if line.startswith("::")]
    assert ("## orch: sealed" in done.summary) == (name == "github")


@pytest.mark.parametrize("name", JOBS)
def test_a_provider_that_was_down_is_asked_again_later(bench: Bench, tmp_path: Path, name: str) -> None:
    """Exit 75 waits, and the mission is resumed in the same job."""
    down = play.refused(503, retry_after="600")
    seen: list[str] = []

    def worker(scene: play.Scene) -> Step:
        seen.append(scene.role)
        return down if len(seen) == 1 else play.build(scene)

    job = JOBS[name]()
    done = _run(bench, tmp_path, job, play.mission(A, worker=worker))
    assert done.code == 0, done.said
    assert [line for line in done.called if line.startswith("sleep")] == ["sleep 600"]
    _look(done, job)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_fails_says_so_in_every_form(bench: Bench, tmp_path: Path, name: str) -> None:
    """A mission that asks a person: 3, with the artifacts; on GitHub the question is an annotation."""
    job = JOBS[name]()
    done = _run(bench, tmp_path, job, play.mission(A, commander=play.ask_first))
    assert done.code == 3, done.said
    _look(done, job)
    commands = [line for line in done.said.splitlines() if line.startswith("::")]
    expected = [f"::error title=orch%3A blocked::exit 3: {play.QUESTION}"] if name == "github" else []
    assert commands == expected
    assert (play.QUESTION in done.summary) == (name == "github")


def test_the_jobs_are_what_the_servers_take() -> None:
    """The keys that each of them knows, where they belong."""
    assert set(GITHUB) == {True, "jobs"}  # YAML 1.1 reads `on` as true, as GitHub's own schema has to
    assert set(JOB) == {"runs-on", "env", "steps"}
    known: set[str] = {"uses", "with", "run", "if", "env", "name"}
    assert all(set(step) <= known and ("uses" in step) != ("run" in step) for step in JOB["steps"])
    steps: list[dict[str, Any]] = JOB["steps"]
    assert steps[-1]["if"] == "always()"
    job = GITLAB
    assert set(job) == {"image", "script", "allow_failure", "artifacts"}
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"] == {"junit": "out/junit.xml"}
