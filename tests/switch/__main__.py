"""Every case of the switch, by hand: `python -m tests.switch --all`. Says what went wrong, and a summary.

`--crashes`, `--refusals` and `--twice` are its parts.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.switch.cases import Case, Verdict, counted, crash, deaths, play, refusals, refuse
from tests.switch.switch import Death, When

TWICE = 150
"""Pairs of a crash and a crash in the resume after it, drawn from a seed that is printed."""


def main() -> int:
    """Play the parts that were asked for; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--all", "--crashes", "--refusals", "--twice"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=Path, help="where the missions work; kept if something went wrong")
    options = parser.parse_args()
    place = options.place or Path(tempfile.mkdtemp(prefix="orch-switch-"))
    points = counted(place / "counted")
    say(f"{len(points)} points, seed {options.seed}, in {place}")
    verdicts: list[Verdict] = []
    if options.all or options.crashes:
        verdicts += _part("crashes", [Case(death) for death in deaths(points)], place)
    if options.all or options.twice:
        verdicts += _part("crashes in a resume", pairs(points, options.seed), place)
    if options.all or options.refusals:
        verdicts += _part("refusals", [Case(failure) for failure in refusals(points)], place)
    if not any(verdict.wrong for verdict in verdicts):
        shutil.rmtree(place)
        return 0
    return 1


def pairs(points: list[str], seed: int) -> list[Case]:
    """Draw crashes, each with one in the resume after it."""
    dice = Random(seed)  # noqa: S311 - replayable
    first = dice.sample(list(deaths(points)), TWICE)
    whens = (When.BEFORE, When.AFTER)
    return [Case(death, Death("", dice.randrange(1, 80), dice.choice(whens))) for death in first]


def _part(name: str, cases: list[Case], place: Path) -> list[Verdict]:
    began = time.monotonic()
    verdicts = play(cases, place, refuse if name == "refusals" else crash, say)
    violations = sum(bool(verdict.wrong) for verdict in verdicts)
    missed = [verdict.case.name for verdict in verdicts if not verdict.reached]
    seconds = time.monotonic() - began
    say(f"{name}: {len(cases)} cases, {len(missed)} not reached, {violations} violations, {seconds:.0f} s")
    for words in missed:
        say(f"not reached: {words}")
    return verdicts


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201 - what a person asked for


if __name__ == "__main__":
    sys.exit(main())
