"""What the live view costs: milliseconds a frame with fifty sessions, and its part of a core.

python tests/bench/bench_frame.py

Each frame is made for a later second, so that most of its lines are others, and its styles are rendered
as for a terminal. Counted is the CPU time of this process; four frames a second are then said as a part of
one core. That is the most it costs: the live view makes a frame anew where something changed, or each second.
"""

import statistics
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orch.view.frame import Scene, frame
from tests.view.crowd import SIZES, crowd

FRAMES = 200
FRAMES_PER_S = 4


def measure(scene: Scene, columns: int, rows: int) -> None:
    """Print what a frame of a size costs."""
    console = Console(force_terminal=True, color_system="256", width=columns, height=rows)
    times_s = []
    for second in range(FRAMES):
        later = replace(scene, now=scene.now + timedelta(seconds=second % 30))
        began = time.process_time()
        for line in frame(later, columns, rows):
            for piece in line.render(console):
                if piece.style:
                    piece.style.render(piece.text)
        times_s.append(time.process_time() - began)
    frame_s = statistics.median(times_s)
    sys.stdout.write(
        f"{columns}x{rows}: {frame_s * 1e3:.2f} ms a frame (of {FRAMES}, first {times_s[0] * 1e3:.1f}); "
        f"{FRAMES_PER_S} frames/s: {frame_s * FRAMES_PER_S:.2%} of a core\n"
    )


if __name__ == "__main__":
    busy = crowd()
    for size in SIZES:
        measure(busy, *size)
