"""Where a time stands on a timeline that leaves out when nothing ran.

The runs of a mission share the width by how long they lasted; the time between two of them, be it a second
or a week, is a narrow fold. Positions are in thousandths of the width.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orch.mission.chronicle import Run

WIDTH = 1000.0
FOLD = 18.0
"""How wide a fold is, unless there are so many that they would take too much of the width."""
FOLDS_PART = 0.25
SHORTEST_RUN_S = 0.001
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
MOST_TICKS = 9
TICK_ROOM = 60.0
"""Between two ticks, so that their words do not touch."""


@dataclass(frozen=True, slots=True)
class Part:
    """One run on the scale."""

    began_s: float
    ended_s: float
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Scale:
    """The runs on the scale, in order."""

    parts: tuple[Part, ...]

    def at(self, time_s: float) -> float:
        """Return where a time stands; one between two runs stands at the end of the first."""
        number = bisect_right(self.parts, time_s, key=lambda part: part.began_s) - 1
        part = self.parts[max(0, number)]
        share = (time_s - part.began_s) / max(part.ended_s - part.began_s, SHORTEST_RUN_S)
        return part.left + min(1.0, max(0.0, share)) * (part.right - part.left)

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Yield (time, place) of round times that are far enough from each other."""
        total_s = sum(part.ended_s - part.began_s for part in self.parts)
        fitting = (step for step in STEPS_S if total_s / step <= MOST_TICKS)
        step_s = next(fitting, max(STEPS_S[-1], total_s / MOST_TICKS))
        last = -TICK_ROOM
        for part in self.parts:
            number = int(part.began_s / step_s)
            while number * step_s <= part.ended_s:
                place = self.at(number * step_s)
                if number * step_s >= part.began_s and place - last >= TICK_ROOM:
                    last = place
                    yield number * step_s, place
                number += 1


def scale(runs: Sequence[Run]) -> Scale:
    """Return the scale of all runs of a mission."""
    folds = max(0, len(runs) - 1)
    fold = min(FOLD, WIDTH * FOLDS_PART / folds) if folds else 0.0
    total_s = sum(max(run.ended_s - run.began_s, SHORTEST_RUN_S) for run in runs)
    parts, left = [], 0.0
    for run in runs:
        length_s = max(run.ended_s - run.began_s, SHORTEST_RUN_S)
        right = left + (WIDTH - folds * fold) * length_s / total_s
        parts.append(Part(run.began_s, run.ended_s, round(left, 3), round(right, 3)))
        left = right + fold
    return Scale(tuple(parts) or (Part(0.0, 0.0, 0.0, WIDTH),))
