"""Every tool there is: what a model is told of it, and how a call of it is read and shown."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from orch.agents.roles import ToolName
from orch.errors import ToolError
from orch.mission.transcript import ToolCall
from orch.tools import toolbox
from orch.tools.toolbox import TOOLS
from tests.tools.office import A, opened


def test_every_tool_of_the_grants_is_there() -> None:
    """No more and no less."""
    assert set(TOOLS) == set(ToolName)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_schema_is_plain(tool: str) -> None:
    """One object without references, defaults and titles, whatever endpoint reads it."""
    schema = TOOLS[tool].parameters()
    text = json.dumps(schema)

    assert schema["type"] == "object"
    assert not [word for word in ("$ref", "$defs", "anyOf", '"default"', '"title": "') if word in text]


def test_malformed_arguments_are_not_guessed_at() -> None:
    """The model hears what was wrong with its text."""
    call = ToolCall(id="c", name="read", arguments="{}", malformed="it ends too early.")

    with pytest.raises(
        ToolError, match=r"arguments of read cannot be read: it ends too early\. Send one JSON"
    ):
        TOOLS["read"].parse(call)


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("bash", '{"command": "make\\n  test"}', "bash make test"),
        ("submit_review", '{"verdict": "approve"}', "submit_review approve"),
        ("list_tasks", "{}", "list_tasks"),
        ("read", '{"path": "' + "x" * 500 + '"}', "read " + "x" * 120),
    ],
)
def test_a_call_in_one_line(name: str, arguments: str, line: str) -> None:
    """For people who watch."""
    assert toolbox.summary(ToolCall(id="c", name=name, arguments=arguments)) == line


@pytest.mark.anyio
async def test_the_looking_tools_look(tmp_path: Path) -> None:
    """`read`, `glob` and `grep`, as every role has them."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    async with opened(tmp_path) as office:
        desk = await office.worker(A)

        page = await office.call(desk, "read", path="a.txt", offset=2, limit=1)
        found = await office.call(desk, "glob", pattern="*.txt")
        hits = await office.call(desk, "grep", pattern="tw.", include="*.txt")

        assert "2\ttwo" in page.text
        assert "one" not in page.text
        assert found.text.splitlines()[0] == "a.txt"
        assert "two" in hits.text
        assert desk.session.seen.keys() == {"a.txt"}


@pytest.mark.anyio
@pytest.mark.parametrize("code", [errno.EACCES, errno.EISDIR, errno.ENAMETOOLONG, errno.ESTALE])
async def test_what_the_system_refuses_in_a_corner_is_told_to_the_model(tmp_path: Path, code: int) -> None:
    """No error of a file ends the run, whichever tool did not expect it."""

    def refuses(_content: str) -> str:
        raise OSError(code, os.strerror(code), "context.md")

    async with opened(tmp_path) as office:
        desk = await office.worker(A)
        desk = replace(desk, place=replace(desk.place, write_context=refuses))
        call = ToolCall(id="c", name="write_context", arguments='{"content": "x"}')

        with pytest.raises(ToolError, match=f"write_context broke off, .*{os.strerror(code)}.*another way"):
            await toolbox.run(desk, call)


def test_what_a_tool_takes_is_one_line() -> None:
    """What may be left out is marked; of no tool there is nothing to say."""
    assert toolbox.takes("read") == "read takes: path, offset?, limit?"
    assert toolbox.takes("list_background") == "list_background takes: nothing"
    assert toolbox.takes("nonsense") == ""
