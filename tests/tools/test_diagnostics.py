"""A Worker learns of syntax errors and dead imports, of nothing that is right, and no project code runs."""

import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.tools import diagnostics
from orch.tools.diagnostics import diagnose, near_miss, site_packages

fuzzed = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A project with packages in the root, in src/ and beside the file, and a folder of installed ones."""
    for path in (
        *("app/__init__.py", "app/models.py", "app/web/views.py", "src/lib/__init__.py", "tool.py"),
        *("services/pay/src/pay/__init__.py", "services/pay/tests/test_pay.py", "services/pay/fast.abi3.so"),
        *("site/yaml/__init__.py", "site/six.py", "site/native.cpython-311-x86_64-linux-gnu.so"),
        "site/fancy-1.0.dist-info/top_level.txt",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("fancy_name\n" if path.endswith("txt") else "")
    return tmp_path


def check(root: Path, text: str, path: str = "app/new.py", planned: Collection[str] = ()) -> list[str]:
    """Return the findings as lines."""
    return (diagnose(root, path, text.encode(), planned, [root / "site"]) or "").splitlines()


@pytest.mark.parametrize(
    "line",
    [
        *("import os.path", "from __future__ import annotations", "import tomllib, json as j"),
        *(
            "import app",
            "import app.models",
            "from app.models import User",
            "from app import models, anything",
        ),
        *("import tool", "from lib import x", "import web.views", "from app.web import views"),
        *("import yaml.nodes", "import six", "import native", "import fancy_name"),
        *("from . import models", "from .models import User", "from .web.views import x", "from . import *"),
        *("try:\n import gone\nexcept ImportError:\n import lost", "try:\n import gone\nexcept:\n pass"),
        *("try:\n import gone\nexcept (OSError, ModuleNotFoundError):\n pass",),
        *("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import gone",),
        *(
            "import typing as t\nif t.TYPE_CHECKING:\n import gone",
            "import sys\nif sys.version_info < (3,):\n import gone",
        ),
        *("import contextlib\nwith contextlib.suppress(ImportError):\n import gone", r"x = '\d'", ""),
    ],
)
def test_what_resolves_is_not_mentioned(workspace: Path, line: str) -> None:
    """Standard library, workspace, installed packages, and guarded imports are fine."""
    assert check(workspace, line) == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("import gone", "line 1: import gone resolves to nothing"),
        ("\nfrom gone.x import y", "line 2: from gone.x import … resolves"),
        ("import app.gone", "line 1: import app.gone resolves"),
        ("from app.models.deep import x", "line 1: from app.models.deep import … resolves"),
        ("def f():\n    import gone", "line 2: import gone"),
        ("from .gone import x", "line 1: from .gone import … resolves"),
        ("from ..gone import x", "line 1: from ..gone import …"),
        ("from .... import x", "line 1: from .... import … leaves the workspace"),
        ("try:\n import gone\nexcept OSError:\n pass", "line 2: import gone"),
        ("try:\n pass\nexcept ImportError:\n pass\nelse:\n import gone", "line 6: import gone"),
        ("async def f():\n  class A:\n    import gone", "line 3: import gone"),
    ],
)
def test_an_import_of_nothing_is_found(workspace: Path, text: str, finding: str) -> None:
    """The line and the import are named, wherever in the file it stands."""
    (found,) = check(workspace, text)
    assert found.startswith(finding)


def test_planned_files_count_as_there(workspace: Path) -> None:
    """What other Workers will write may be imported already, also relatively and as a package."""
    text = "import soon.core\nfrom .later import x\nfrom app.later import y\nimport flat\nfrom .sub import z"
    planned = {"soon/core.py", "app/later.py", "src/flat.py", "app/sub/__init__.py"}
    assert len(check(workspace, text)) == 5
    assert check(workspace, text, planned=planned) == []


def test_a_member_of_a_folder_without_init_must_be_a_module(workspace: Path) -> None:
    """`from . import x` means a module where no `__init__` could define it."""
    assert check(workspace, "from . import views", "app/web/new.py") == []
    (found,) = check(workspace, "from . import gone", "app/web/new.py")
    assert found.startswith("line 1: from . import gone resolves to nothing")


def test_every_folder_above_the_file_is_a_root(workspace: Path) -> None:
    """A service inside a larger repository finds its own packages."""
    path = "services/pay/tests/test_more.py"
    assert check(workspace, "import pay, test_pay, fast", path) == []
    assert len(check(workspace, "import pay", "app/new.py")) == 1


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("def f(:\n  pass", "line 1: syntax error (Python 3."),
        ("x = (\n", "line 1: syntax error"),
        ("if True:\npass", "line 2: syntax error"),
        ("x = 1\0", ""),
        ("-" * 100_000 + "1", "the code is nested too deeply"),
        ("a" + ".b" * 50_000, "the code is nested too deeply"),
    ],
)
def test_code_that_does_not_parse_is_found(workspace: Path, text: str, finding: str) -> None:
    """Syntax errors come with line and text; what the parser gives up on is one finding too."""
    (found,) = check(workspace, text)
    assert found.startswith(finding)


def test_findings_have_a_limit(workspace: Path) -> None:
    """Ten lines at most, the last of which says how many more there are."""
    found = check(workspace, "\n".join(f"import gone{nth}" for nth in range(12)))
    assert len(found) == diagnostics.FINDINGS_MAX
    assert found[-1] == "and 3 more findings"
    assert len(check(workspace, "\n".join(f"import gone{nth}" for nth in range(10)))) == 10


@pytest.mark.parametrize(
    ("path", "text", "finding"),
    [
        ("a.json", '{"a": 1,}', "line 1, column 9: no valid JSON"),
        ("a.json", "", "line 1, column 1: no valid JSON"),
        ("a.json", '{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs twice"),
        ("a.json", "[" * 100_000, "the JSON is nested too deeply"),
        ("a.toml", "a = 1\na = 2", "no valid TOML: Cannot overwrite a value (at"),
        ("a.toml", "a = [", "no valid TOML"),
        ("a.toml", "a = " + "[" * 50_000, "the TOML is nested too deeply"),
    ],
)
def test_broken_data_files_are_found(workspace: Path, path: str, text: str, finding: str) -> None:
    """JSON and TOML are parsed, and keys that hide each other are named."""
    (found,) = check(workspace, text, path)
    assert found.startswith(finding)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("a.json", b'\xef\xbb\xbf{"a": [1e999, ' + b"1" * 5000 + b"]}"),
        ("a.toml", b"[a]\nb = 1\n"),
        ("tsconfig.json", b"{ // comments are fine here\n}"),
        ("a.js", b"import gone from 'gone'"),
        ("Makefile", b"\xff\0"),
        ("a.py", b"#" * 300_000 + b"\n("),
        ("latin.py", b"# coding: latin-1\nx = '\xe9'\n"),
    ],
)
def test_other_files_have_no_findings(workspace: Path, path: str, data: bytes) -> None:
    """What is right, unknown or too large is passed over."""
    assert diagnose(workspace, path, data, (), ()) is None


@pytest.mark.parametrize("path", ["a.json", "a.toml"])
def test_data_files_must_be_utf8(workspace: Path, path: str) -> None:
    """Other encodings are named."""
    assert "not UTF-8" in str(diagnose(workspace, path, b"\xff", (), ()))


@fuzzed
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".py", ".json", ".toml"]))
def test_no_bytes_make_it_raise(workspace: Path, data: bytes, suffix: str) -> None:
    """Whatever a model writes is judged, never an error of the tool."""
    diagnose(workspace, f"x{suffix}", data, (), ())


def test_no_code_runs(workspace: Path) -> None:
    """Neither the file nor what it imports is executed."""
    (workspace / "app" / "models.py").write_text("raise SystemExit('executed')")
    text = "import app.models\nraise SystemExit('executed')"
    assert check(workspace, text) == []
    assert "app.models" not in sys.modules


@pytest.mark.anyio
async def test_the_projects_environment_is_found_without_running_it(workspace: Path) -> None:
    """The folders of `.venv` and of its `.pth` files come first; its own interpreter is never started."""
    packages = workspace / ".venv" / "lib" / "python3.99" / "site-packages"
    (workspace / ".venv" / "bin").mkdir(parents=True)
    packages.mkdir(parents=True)
    (packages / "editable.pth").write_text(f"import hostile\n{workspace / 'site'}\n/does/not/exist\n")
    python = workspace / ".venv" / "bin" / "python3"
    python.write_text(f"#!/bin/sh\ntouch {workspace}/executed\n")
    python.chmod(0o755)
    found = await site_packages(workspace)
    assert found[:2] == (packages, workspace / "site")
    assert any((folder / "json" / "__init__.py").exists() for folder in found[2:])
    assert not (workspace / "executed").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "exec sleep 60"])
async def test_a_python_that_does_not_answer_is_done_without(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A broken or a hanging interpreter means no folders, in limited time."""
    python = tmp_path_factory.mktemp("bin") / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}:/usr/bin:/bin")
    monkeypatch.setattr(diagnostics, "SITE_PACKAGES_TIMEOUT_S", 0.3)
    assert await site_packages(workspace) == ()


@pytest.mark.anyio
async def test_a_python_inside_the_workspace_is_not_asked(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activated environment of the project is still the project's code."""
    python = workspace / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ntouch {workspace}/executed\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(python.parent))
    assert await site_packages(workspace) == ()
    assert not (workspace / "executed").exists()


TEXT = "def f(x):\n    return x + 1\n\n\ndef g(x):\n\treturn f(x)\n"


@pytest.mark.parametrize(
    ("old", "hint"),
    [
        (
            "def f(x):\n  return x + 1",
            "Line 2 differs in blanks: it is '    return x + 1', yours is '  return x + 1'.",
        ),
        ("def g(x):\n    return f(x)", r"it is '\treturn f(x)', yours is '    return f(x)'"),
        (
            "def f(x):\n    return x + 2",
            "Line 2 differs: it is '    return x + 1', yours is '    return x + 2'.",
        ),
        ("def g(y):\n", "The closest lines: 5: 'def g(x):'"),
        ("\treturn f(x)\n\nmore", "Line 8 differs: it is the end of the file, yours is 'more'."),
        ("    1\tdef f(x):", "Leave out the line numbers"),
        ("completely different", "Nothing like it is there"),
        ("\n\n\n\n", "Nothing like it is there"),
    ],
)
def test_a_near_miss_names_the_line_and_the_difference(old: str, hint: str) -> None:
    """Blanks, a later line, a similar line: each is told apart."""
    assert hint in near_miss(TEXT, old)


@fuzzed
@given(text=st.text("ab \n\t", max_size=80), old=st.text("ab \n\t", min_size=1, max_size=20))
def test_a_near_miss_is_always_one_short_answer(text: str, old: str) -> None:
    """Any two texts give one line of bounded length."""
    found = near_miss(text, old)
    assert found
    assert "\n" not in found


def test_a_near_miss_in_a_repetitive_file_is_bounded() -> None:
    """A large file of equal lines costs no more than its limits allow."""
    assert near_miss("}\n" * 400_000, "}\n" * 5000 + "x")
    assert near_miss("some words here again\n" * 40_000, "some words here againn")
