"""What the platform shows of processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.tools.process_table import (
    Process,
    Sight,
    command_of,
    descendants,
    end_survivors,
    own_children,
    parse_stat,
    read_table,
    send_if,
    sight,
    survivors,
    ticks_now,
)

MARKER = f"m-table-{os.getpid()}"  # whoever carries it is ended: no other test run may
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
numbers = st.integers(0, 2**22)


@pytest.fixture
def marked() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that carries the marks of a mission and a command."""
    marks = {"ORCH_MISSION": MARKER, "ORCH_COMMAND": "c1"}
    with subprocess.Popen(["/bin/sleep", "100"], env=marks) as process:
        yield process
        process.kill()


@given(
    st.binary(max_size=15), st.sampled_from("RSDZTX"), st.tuples(numbers, numbers, numbers, numbers, numbers)
)
def test_a_stat_line_is_read_whatever_the_name(name: bytes, state: str, facts: tuple[int, ...]) -> None:
    """Brackets, blanks and line ends in the name of a program shift no field (proc(5))."""
    pid, parent, group, session, start = facts
    rest = f") {state} {parent} {group} {session} 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {start} 99 1\n"

    process = parse_stat(f"{pid} (".encode() + name.replace(b") ", b")") + rest.encode())

    assert process == Process(pid, parent, group, session, start, is_dead=state in "ZX")


@given(st.lists(st.integers(0, 12), max_size=12), st.sets(st.integers(1, 12), max_size=3))
def test_descendants_are_all_that_hang_from_the_roots(parents: list[int], roots: set[int]) -> None:
    """Every process whose chain of parents meets a root is one; cycles, which a torn look may show, end."""
    table = {pid: Process(pid, parent, 0, 0, 0, is_dead=False) for pid, parent in enumerate(parents, start=1)}

    def hangs(pid: int) -> bool:
        above = set()
        while pid in table and pid not in above:
            above.add(pid)
            pid = table[pid].parent
            if pid in roots:
                return True
        return False

    assert descendants(table, roots) == {pid for pid in table if pid not in roots and hangs(pid)}


@needs_proc
def test_the_table_shows_this_process() -> None:
    """Parent, group and session are those the kernel tells; the start lies in the past."""
    process = read_table()[os.getpid()]

    assert (process.parent, process.group, process.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert 0 < process.start <= ticks_now()
    assert not process.is_dead


@needs_proc
def test_a_child_is_among_the_own_children(marked: subprocess.Popen[bytes]) -> None:
    """Children are listed while they live and until they are reaped."""
    assert marked.pid in own_children()
    marked.kill()
    marked.wait()

    assert marked.pid not in own_children()


@needs_proc
def test_marks_are_found_and_only_exact_ones(marked: subprocess.Popen[bytes]) -> None:
    """A mission finds its own survivors, never those of a mission whose name starts alike."""
    assert command_of(marked.pid) == "c1"
    assert survivors(MARKER) == (marked.pid,)
    assert survivors(MARKER[:-1]) == ()


@needs_proc
def test_the_caller_is_no_survivor() -> None:
    """`survivors` never names the process that asks, even if it carries the mark."""
    code = f"from orch.tools.process_table import survivors; print(survivors({MARKER!r}))"

    asked = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ORCH_MISSION": MARKER, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert asked.stdout == "()\n"


@needs_proc
def test_survivors_can_be_ended(marked: subprocess.Popen[bytes]) -> None:
    """What a crashed orch left is killed, and seen to be gone."""
    assert end_survivors(MARKER) == ()
    assert marked.wait(timeout=30) == -9


@needs_proc
def test_a_process_that_is_gone_has_no_mark(marked: subprocess.Popen[bytes]) -> None:
    """A process that vanishes while it is looked at is as if it were not there."""
    marked.kill()
    marked.wait()

    assert command_of(marked.pid) is None


@needs_proc
def test_a_process_that_did_not_ask_for_orphans_sees_marks_only() -> None:
    """Without `harden_self` the platform shows /proc, and orphans go to process 1."""
    assert sight() is (Sight.ADOPTED if os.getpid() == 1 else Sight.MARKED)


@needs_proc
def test_hardening_hides_adopts_and_dumps_no_core() -> None:
    """After it orch is not dumpable (its environ is closed to its user), a subreaper, and without cores."""
    code = (
        "import ctypes, resource\n"
        "from orch.tools.process_table import harden_self, sight\n"
        "harden_self()\n"
        "print(sight(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )

    hardened = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert hardened.stdout == "adopted 0 0\n"


@pytest.mark.fault(14)
def test_only_the_process_that_was_meant_is_signalled(marked: subprocess.Popen[bytes]) -> None:
    """One that is not it any more hears nothing; one that is gone is no error."""
    send_if(marked.pid, signal.SIGKILL, lambda: False)
    assert marked.poll() is None

    send_if(marked.pid, signal.SIGTERM, lambda: True)
    assert marked.wait() == -signal.SIGTERM

    send_if(marked.pid, signal.SIGKILL, lambda: True)


@needs_proc
@pytest.mark.fault(14)
def test_a_number_that_changed_hands_after_the_look_is_not_signalled(
    marked: subprocess.Popen[bytes],
) -> None:
    """What was opened before the look is what is signalled, also if it dies in between."""

    def dies() -> bool:
        marked.kill()
        return bool(marked.wait())

    send_if(marked.pid, signal.SIGKILL, dies)
    assert marked.returncode == -signal.SIGKILL
