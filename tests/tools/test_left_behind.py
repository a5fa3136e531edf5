"""What agents' commands started is gone after orch was killed, as soon as the mission is taken up again."""

import sys
from pathlib import Path

import pytest

from tests import play, program

LEAVE = (
    "nohup sleep 300 & setsid sleep 301 & (setsid sh -c 'sleep 302; :' &) ; sleep 303 & disown; "
    "(trap '' TERM HUP INT; while :; do sleep 1; done) & mkfifo held; sleep 304 > held & "
    "env -i setsid sleep 305 & exec sleep 306"
)
COMMANDS = 8


@pytest.mark.fault(43)
@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
@pytest.mark.parametrize("then", ["resume", "task"])
def test_nothing_of_a_killed_run_lives_on_after_a_resume(tmp_path: Path, then: str) -> None:
    """Background, nohup, setsid, forked twice, disowned, deaf, holding a pipe, without marks: all end.

    Also if another mission is started in its place.
    """
    bench = program.bench(tmp_path)

    def sleeping() -> list[str]:
        """Return the sleepers that were started in this workspace, marked or not."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "cwd").samefile(bench.workspace):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    with bench.served(play.mission(play.item("a"), reviewer=play.run(LEAVE))):
        running = bench.start_task()
        program.until(lambda: any("sleep 306" in command for command in sleeping()))
        program.until(lambda: len(sleeping()) >= COMMANDS + 1)  # and orch itself
        running.process.kill()
        assert running.end().code == -9
        assert len(sleeping()) >= COMMANDS
        mission = bench.missions[0].name
        again = play.mission(play.item("a")) if then == "task" else None
        resumed = bench.run("resume", "--json") if again is None else None
    if again is not None:
        with bench.served(again):
            assert bench.task("-q").code == 0
    assert program.marked(mission) == []
    assert sleeping() == []
    if resumed is None:
        return
    assert program.check_result(resumed, "sealed", "stream-json")["num_sessions"] == 4
    said = [
        line["text"] for line in resumed.lines if line["type"] == "tool.finished" and line["tool"] == "bash"
    ]
    assert said[0].startswith("interrupted: ")
