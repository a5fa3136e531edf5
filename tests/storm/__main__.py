"""Run a mission through a storm and print what came of it.

python -m tests.storm --lasts-s 60 --seed 7
"""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.program import bench
from tests.storm import storm


def main() -> int:
    """Run it; return 1 if a session was lost, or asked before the time that it was told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lasts-s", type=float, default=60.0)
    parser.add_argument("--seed", default=secrets.token_hex(3))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-storm-") as folder:
        figures = storm.run(bench(Path(folder)), options.lasts_s, options.seed)
    sys.stdout.write(f"seed {options.seed}: {figures.text()}\n")
    return 0 if figures.sealed and not figures.early_of_session else 1


if __name__ == "__main__":
    sys.exit(main())
