"""What is shipped: facts of the package, a quiet import, a whole wheel, documents that name what exists."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "orch", "tests", "completions"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME_PATHS = (
    ".opencode/",
    "~/.config/orch/",
    ".venv",
    "demo/",
    "config.toml",
    "AGENTS.md",
    "CLAUDE.md",
    "context.md",
)
"""What the documents name that is made when orch runs, or lies in a user's project."""
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
REGISTRY_HOSTS = ("pypi" + ".org", "pypi" + ".python.org", "python" + "hosted.org", "registry" + ".npmjs.org")

IMPORT_EVERYTHING = """
import importlib, json, os, pkgutil, sys

class Watched(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while frame.f_globals["__name__"] in ("os", "_collections_abc"):
            frame = frame.f_back
        if frame.f_globals["__name__"].partition(".")[0] == "orch":
            seen.append(["environ", str(key)])
        return super().__getitem__(key)

def hear(event, args):
    if event == "open" and args[0] != os.devnull and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.append([event, str(args[0])])
    elif event in ("os.mkdir", "os.remove", "os.rename", "subprocess.Popen", "socket.connect"):
        seen.append([event, str(args[0])])

seen = []
os.environ.__class__ = Watched
sys.addaudithook(hear)
import orch
names = [module.name for module in pkgutil.walk_packages(orch.__path__, "orch.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, seen]))
"""


def python(*args: str, cwd: Path) -> str:
    """Run this Python in `cwd` and return what it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    assert "-m" in args or ran.stderr == ""
    return ran.stdout


def tracked() -> list[str]:
    """Return the files that git knows; skips where there is no git or no repository."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git metadata here")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built of a copy of the tree, without the network."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "orch", tree / "orch", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-c", BUILD, str(tree / "dist")],
        cwd=tree,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return zipfile.ZipFile(next((tree / "dist").glob("*.whl")))


def test_the_package_is_orch_and_so_is_its_program() -> None:
    """A name, a program, and nothing older than Python 3.11."""
    assert PROJECT["name"] == "orch"
    assert PROJECT["scripts"] == {"orch": "orch.__main__:main"}
    assert PROJECT["requires-python"] == ">=3.11"


def test_it_depends_on_seven_packages_only() -> None:
    """Every other one is for development."""
    names = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["dependencies"]}

    assert names == {"filelock", "httpx", "httpx-sse", "pydantic", "rich", "tenacity", "typer"}


def test_python_dash_m_is_the_program(tmp_path: Path) -> None:
    """Both ways in say the same version."""
    assert python("-m", "orch", "--version", cwd=tmp_path) == f"orch {PROJECT['version']}\n"


def test_importing_orch_loads_nothing_else(tmp_path: Path) -> None:
    """One module, and not a word."""
    code = "import sys; before = set(sys.modules); import orch; print(*sorted(set(sys.modules) - before))"

    assert python("-c", code, cwd=tmp_path) == "orch\n"


def test_importing_any_module_touches_nothing(tmp_path: Path) -> None:
    """No file, no process, no connection, and no look at the environment."""
    names, seen = json.loads(python("-c", IMPORT_EVERYTHING, cwd=tmp_path))

    assert "orch.runtime.orchestrator" in names
    assert seen == []
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Code, prompts, the demo's texts and the mark of a typed package; nothing of the tests."""
    sources = (path for path in (ROOT / "orch").rglob("*") if path.is_file() and path.suffix != ".pyc")
    expected = {path.relative_to(ROOT).as_posix() for path in sources}
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert {"orch/py.typed", "orch/agents/worker.md", "orch/models/demo/plan.json"} <= shipped
    assert shipped == expected


def test_the_wheel_carries_its_licence_and_its_program(wheel: zipfile.ZipFile) -> None:
    """What a packager looks for."""
    inside = {name.partition(".dist-info/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}

    assert wheel.read(inside["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    assert b"orch = orch.__main__:main" in wheel.read(inside["entry_points.txt"])


@pytest.mark.parametrize("document", ["README.md", "orch/README.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    """In the tree, beside the document, or when orch runs."""
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`([\w.~/-]+(?:/|\.(?:md|py|toml)))`|\]\(([\w./-]+)\)", text))
    paths = {path or target for path, target in named} | set(re.findall(r"`(\.ci/\w+)`", text))
    places = (ROOT, (ROOT / document).parent)
    missing = [
        path
        for path in paths
        if not path.startswith(RUNTIME_PATHS)
        and path != ".md"
        and not any((place / path).exists() for place in places)
    ]

    assert len(paths) >= 5
    assert missing == []


def test_the_top_level_is_what_it_is_meant_to_be() -> None:
    """Whatever else lies there is a dot-file."""
    first = {name.partition("/")[0] for name in tracked()}

    assert {name for name in first if not name.startswith(".")} == TOP_LEVEL


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is for whoever installs to say."""
    texts = {name: (ROOT / name).read_text(errors="replace") for name in tracked()}

    assert len(texts) > 50
    assert [name for name, text in texts.items() for host in REGISTRY_HOSTS if host in text] == []
