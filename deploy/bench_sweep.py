"""How speed changes with the number of objects, or with the camera's picture size.

Both sweeps run on a film with known boxes (:mod:`.bench_script`): the networks work on its
pictures, what they find is replaced by the script, so every point is of exactly that many
objects. Points take turns, round by round; medians of rounds are reported.

Not covered: what the number of objects does to answers (more tokens in the twin).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..perception.bundle import Bundle
from ..perception.perceiver import Perceiver, PerceiverConfig
from ..perception.tracker_config import TrackerConfig
from ..twin.errors import InputError, ModelError
from .bench_script import FILM_HW, Film, ScriptedParts
from .machine import cpu_name, environment, usable_cpus

__all__ = ["OBJECTS", "SIZES_HW", "Axis", "Point", "Sweep", "sweep"]

Axis = Literal["objects", "resolution"]
OBJECTS = (1, 2, 4, 8, 16)
SIZES_HW = ((256, 256), (360, 640), (720, 1280), (1080, 1920))


@dataclass(frozen=True, slots=True)
class Point:
    """One point: milliseconds per frame, median over rounds, and of it by stage (mean)."""

    label: str
    objects: int
    size_hw: tuple[int, int]
    frame_ms: float
    stage_ms: dict[str, float]


@dataclass
class Sweep:
    """The points of a sweep, in order."""

    axis: Axis
    models: str
    points: list[Point] = field(default_factory=list)
    rounds: int = 0
    frames: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "axis": self.axis,
            "models": self.models,
            "environment": environment(),
            "rounds": self.rounds,
            "frames_per_round": self.frames,
            "points": [
                {
                    "label": p.label,
                    "objects": p.objects,
                    "width": p.size_hw[1],
                    "height": p.size_hw[0],
                    "frame_ms": round(p.frame_ms, 3),
                    "frames_per_s": round(1000 / p.frame_ms, 2),
                    "stage_ms": {k: round(v, 3) for k, v in p.stage_ms.items()},
                }
                for p in self.points
            ],
        }

    def markdown(self) -> str:
        """Return a table: one row per point, one column per stage."""
        stages = list(dict.fromkeys(s for p in self.points for s in p.stage_ms))
        lines = [
            f"{self.models} set, frame by frame, {self.rounds} rounds of {self.frames} frames in "
            f"turns, {cpu_name()}, {usable_cpus()} CPUs:",
            "",
            f"| {self.axis} | frames/s | ms | " + " | ".join(stages) + " |",
            "|---" + "|---:" * (len(stages) + 2) + "|",
        ]
        for p in self.points:
            cells = [f"{p.stage_ms.get(s, 0):.1f}" for s in stages]
            lines.append(
                f"| {p.label} | {1000 / p.frame_ms:.1f} | {p.frame_ms:.1f} | "
                + " | ".join(cells) + " |"
            )  # fmt: skip
        return "\n".join(lines)


def sweep(
    bundle: Bundle,
    axis: Axis,
    *,
    objects: Sequence[int] = OBJECTS,
    sizes_hw: Sequence[tuple[int, int]] = SIZES_HW,
    rounds: int = 3,
    frames: int = 16,
) -> Sweep:
    """Measure every point of an axis; the other one stays at four objects, 640 x 360 pixels.

    Raises:
        InputError: if a number is below 1.
        ModelError: if the bundle is incomplete, or a frame does not hold the scripted objects.
    """
    if min([rounds, frames, *objects, *(s for size in sizes_hw for s in size)]) < 1:
        raise InputError("expected rounds, frames, objects and sizes of at least 1")
    if axis == "objects":
        scenes = [(str(n), n, FILM_HW) for n in objects]
    else:
        scenes = [(f"{hw[1]}x{hw[0]}", 4, hw) for hw in sizes_hw]
    sides = [_Side(bundle, label, count, size) for label, count, size in scenes]
    for side in sides:
        side.run(max(2, frames // 4))
    times: list[list[float]] = [[] for _ in sides]
    before = [side.spent_ms() for side in sides]
    for _ in range(rounds):
        for side, to in zip(sides, times, strict=True):
            to.append(side.run(frames) / frames)
    found = Sweep(axis, bundle.name, rounds=rounds, frames=frames)
    for side, to, base in zip(sides, times, before, strict=True):
        spent = {
            stage: (ms - base.get(stage, 0.0)) / (rounds * frames)
            for stage, ms in side.spent_ms().items()
        }
        found.points.append(
            Point(side.label, side.film.objects, side.film.size_hw, statistics.median(to), spent)
        )
    return found


class _Side:
    """A perceiver on an endless film of its own."""

    def __init__(self, bundle: Bundle, label: str, objects: int, size_hw: tuple[int, int]) -> None:
        self.label, self.film, self._next = label, Film(objects, 0, size_hw), 0
        parts = ScriptedParts(bundle, self.film)
        self._perceiver = Perceiver(
            bundle,
            self.film.words,
            config=PerceiverConfig(tracker=TrackerConfig(settle_s=0.0)),
            detector=parts.detector,
            segmenter=parts.segmenter,
            depth=parts.depth,
        )
        self._spent: dict[str, float] = {}
        self._perceiver.listen(self._heard)

    def run(self, frames: int) -> float:
        """Observe so many frames; returns milliseconds, without those of drawing them."""
        spent = 0.0
        for _ in range(frames):
            frame = self.film.frame(self._next)
            start = time.perf_counter()
            twin = self._perceiver.observe(frame)
            spent += 1000 * (time.perf_counter() - start)
            self._next += 1
            if len(twin.objects) != self.film.objects:
                raise ModelError(
                    f"expected {self.film.objects} scripted objects in frame {self._next - 1} of "
                    f"the point {self.label}, got {len(twin.objects)}: points would not be of "
                    "the work they say"
                )
        return spent

    def spent_ms(self) -> dict[str, float]:
        """Return milliseconds per stage since the start."""
        return dict(self._spent)

    def _heard(self, stage: str, ms: float) -> None:
        if stage != "total":
            self._spent[stage] = self._spent.get(stage, 0.0) + ms
