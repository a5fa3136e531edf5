"""Kill missions at random moments, resume them until they are sealed, and look whether all promises hold.

    python -m tests.chaos --kills 1000 --seed 7 --jobs 2
    python -m tests.chaos --kills 0 --stops 100

Prints a line per mission and a summary. On a violation the exit code is 1, and the folder of the mission is
kept: `work` is its workspace, `out` what the program said.
"""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.loop import KILLS, STOPS, Campaign


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--stops", type=int, default=0)
    parser.add_argument("--seed", default=secrets.token_hex(3))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--items", type=int, default=12, help="the most items of a mission")
    parser.add_argument("--skip", type=int, default=0, help="begin after so many missions of the seed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="orch-chaos-"))
    is_sound = True
    for name, blows, strikes in (("kills", options.kills, KILLS), ("stops", options.stops, STOPS)):
        if blows:
            _say(f"seed {options.seed}: {blows} {name}, {options.jobs} missions at once, in {folder}")
            began = time.monotonic()
            campaign = Campaign(
                options.seed, blows, folder / name, strikes, options.items, _say, number=options.skip
            )
            figures = campaign.run(options.jobs)
            for line in (f"seed {options.seed}, {time.monotonic() - began:.0f} s", *figures.lines()):
                _say(line)
            is_sound &= not figures.violations
    if is_sound:
        shutil.rmtree(folder)
    return 0 if is_sound else 1


if __name__ == "__main__":
    raise SystemExit(main())
