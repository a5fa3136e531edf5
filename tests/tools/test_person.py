"""A person and a Worker on one file: in whatever order they act, no word of the person is lost unseen."""

import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orch.errors import Conflict, ToolError
from orch.tools import files
from orch.tools.files import Change

PATH = "a.txt"
texts = st.sampled_from(["one\n", "two\n", "one\ntwo\n", ""])
modes = st.sampled_from([0o600, 0o644, 0o755])


class Shared(RuleBasedStateMachine):
    """One file, the person who saves it, and the Worker who plans changes and commits them later.

    `content` and `mode` are what has to be on the disk; `seen` is what the Worker knows of, `planned` the
    changes that it is about to commit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.workspace = Path(tempfile.mkdtemp())
        self.file = self.workspace / PATH
        self.content: str | None = None
        self.mode = 0o644
        self.seen: str | None = None
        self.planned: list[tuple[Change, str | None]] = []
        self.conflicts = 0

    def teardown(self) -> None:
        """Clear away."""
        shutil.rmtree(self.workspace)

    @initialize(text=texts | st.none())
    def begin(self, text: str | None) -> None:
        """Find a file, or none."""
        if text is not None:
            self.saves(text, in_place=True)

    # ---- the person

    @rule(text=texts, in_place=st.booleans())
    def saves(self, text: str, *, in_place: bool) -> None:
        """Save it, as some editors do or as others do."""
        if in_place:
            self.file.write_text(text)
        else:
            saved = self.workspace / "saved~"
            saved.write_text(text)
            saved.chmod(self.mode)
            saved.replace(self.file)
        self.file.chmod(self.mode)
        self.content = text

    @rule()
    def removes(self) -> None:
        """Delete it."""
        self.file.unlink(missing_ok=True)
        self.content = None

    @precondition(lambda self: self.content is not None)
    @rule(mode=modes)
    def allows(self, mode: int) -> None:
        """Change who may do what with it."""
        self.file.chmod(mode)
        self.mode = mode

    # ---- the Worker

    def _now(self) -> str | None:
        return None if self.content is None else files._sha256(self.content.encode())

    @rule()
    def reads(self) -> None:
        """Look at it."""
        try:
            self.seen = files.read_page(self.workspace, PATH).sha256
        except ToolError:
            self.seen = None
        assert self.seen == self._now()

    def _plan(self, change: Change, text: str | None) -> None:
        assert self.seen in (None, self._now()), "what it had not seen was planned away"
        self.planned.append((change, text))

    @rule(text=texts)
    def plans_a_write(self, text: str) -> None:
        """Plan to write it whole: only what it has seen, or what is not there."""
        try:
            change = files.prepare_write(self.workspace, PATH, text, seen=self.seen)
        except ToolError:
            assert self.seen != self._now()
            return
        assert self.seen == self._now()
        self._plan(change, text)

    @precondition(lambda self: self.content is not None)
    @rule()
    def plans_an_edit(self) -> None:
        """Plan to edit it: the match shows that it is known."""
        try:
            change = files.prepare_edit(self.workspace, PATH, "one", "ONE", replace_all=False, seen=self.seen)
        except ToolError:
            assert self.seen not in (None, self._now()) or "one" not in (self.content or "")
            return
        self._plan(change, (self.content or "").replace("one", "ONE"))

    @rule()
    def plans_a_delete(self) -> None:
        """Plan to delete it."""
        try:
            change = files.prepare_delete(self.workspace, PATH, seen=self.seen)
        except ToolError:
            assert self.seen != self._now() or self.content is None
            return
        self._plan(change, None)

    @precondition(lambda self: self.planned)
    @rule()
    def commits(self) -> None:
        """Carry out a plan, however long ago it was made."""
        change, text = self.planned.pop(0)
        may = self._now() in (change.before, change.after)
        try:
            files.commit(self.workspace, change)
        except Conflict:
            assert not may
            self.conflicts += 1
            return
        assert may
        if self.content is None and text is not None:  # a new file has the mode that the umask gives it
            self.mode = stat.S_IMODE(self.file.stat().st_mode)
        self.content, self.seen = text, change.after

    # ---- what always holds

    @invariant()
    def the_disk_holds_what_it_should(self) -> None:
        """The last word that was said knowingly, its mode, and nothing beside it."""
        found = self.file.read_text() if self.file.exists() else None
        assert found == self.content
        if found is not None:
            assert stat.S_IMODE(self.file.stat().st_mode) == self.mode
        assert [path.name for path in self.workspace.iterdir()] in ([], [PATH])


Shared.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_a_persons_word_is_never_lost_unseen = pytest.mark.fault(41)(Shared.TestCase)
