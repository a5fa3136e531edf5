"""Several starters at once, on one mission or in one workspace: who wins, and what the others are told.

    python -m tests.commands.rush --rounds 50

goes through many rounds of six starters, half of them of `orch resume`, and prints what it saw.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests import play, program
from tests.program import GOAL, Bench, Ended, Running

STARTERS = 6
HANGING = play.mission(play.item("a"), planner=play.always(play.SILENCE))
"""A mission that does not end by itself."""

_HELD_BACK = """
import sys
import orch.commands.parts, orch.main
print("ready", file=sys.stderr, flush=True)
sys.stdin.read()
orch.main.main()
"""


@dataclass(frozen=True)
class Rush:
    """What became of six starters: `winner` was stopped in the end, `losers` ended by themselves."""

    winner: Ended
    losers: tuple[Ended, ...]
    pid: int
    mission: str
    slowest_s: float

    def check(self) -> None:
        """Assert that one won, and that the others were refused and told its name."""
        assert self.winner.code == 143, self.winner.err
        assert [loser.code for loser in self.losers] == [2] * (STARTERS - 1)
        for loser in self.losers:
            assert f"mission {self.mission} " in loser.err, loser.err
            assert f"(pid {self.pid})" in loser.err, loser.err


def rush(bench: Bench, *arguments: str) -> Rush:
    """Start six at once: each waits, with all imported, until the others are there too."""
    hold, gate = os.pipe()
    running = [_start(bench, hold, arguments) for _ in range(STARTERS)]
    os.close(hold)
    for each in running:
        each.line("ready")
    began = time.monotonic()
    os.close(gate)
    losers: list[Running] = []
    while len(losers) < STARTERS - 1:
        ended = [each for each in running if each not in losers and each.process.poll() is not None]
        losers += ended
        time.sleep(program.PAUSE_S / 4)
    slowest_s = time.monotonic() - began
    (winner,) = (each for each in running if each not in losers)
    (entry,) = bench.status()
    winner.signal(signal.SIGQUIT)
    told = tuple(each.end() for each in losers)
    return Rush(winner.end(), told, winner.process.pid, entry["mission"], slowest_s)


def _start(bench: Bench, hold: int, arguments: tuple[str, ...]) -> Running:
    return Running(
        subprocess.Popen(
            [sys.executable, "-c", _HELD_BACK, *arguments],
            cwd=bench.workspace,
            env=bench.environment(),
            stdin=hold,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
    )


def rounds(bench: Bench, count: int) -> list[Rush]:
    """Let six begin a mission, then six resume it, again and again."""
    done = []
    with bench.served(HANGING):
        for number in range(count):
            begins = ("task", GOAL, "-m", bench.model)
            done.append(rush(bench, *(("resume",) if number % 2 else begins)))
            done[-1].check()
    return done


def main() -> None:
    """Run the long profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        seen = rounds(program.bench(Path(place)), options.rounds)
    slowest = sorted(each.slowest_s for each in seen)
    sys.stdout.write(
        f"{len(seen)} rounds of {STARTERS} starters: 1 winner each, {len(seen) * (STARTERS - 1)} losers exit "
        f"2 and name it; the last of a round after p50 {slowest[len(slowest) // 2]:.2f} s, "
        f"max {slowest[-1]:.2f} s\n"
    )


if __name__ == "__main__":
    main()
