"""Places and sides of objects in metres against the simulator's geometry.

Every object is measured by perception's own functions under its true mask, with the true depth
and with the depth network's. The truth is twofold: what is *seen* of the object (the points of
its true mask at their true depth: nothing better can be measured) and the *whole* object (the
corners of its shape, for objects that nothing hides), whose back no camera sees.

Run it with ``python -m edgetwin.distill.evaluate.metres``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import load_bundle
from ...perception.depth import DepthEstimator
from ...perception.tracks import Crop
from ...perception.twins import depth_sample, depth_stats
from ...twin import mask as rle
from ...twin.geometry import back_project, back_project_pixels, point_extents
from ...twin.schema import ObjectTwin
from ..sim.truth import SIZE, intrinsics
from ..sim.worlds import World
from ..twinbench import SEEDS
from .report import Table, show
from .worlds import RenderedWorld, rendered_world

__all__ = ["main", "metres_tables"]

Floats = NDArray[np.float64]

MIN_AREA_PX = 64
UNHIDDEN = 0.9
"""Part of an object's outline that must show for its whole shape to be the truth."""
_FRAMES = (0, 10, 21, 31)
_MM = 1000.0


def metres_tables(
    models: str = "embedded", *, worlds: int = 10, cache: Path = Path("runs/twinbench")
) -> list[Table]:
    """Measure on every fourth validation world of the cell."""
    estimator = DepthEstimator(load_bundle(models, device="cpu", threads=1))
    errors: dict[tuple[str, str], list[Floats]] = {}
    for seed in SEEDS["val", "cell"][::4][:worlds]:
        _measure(errors, estimator, rendered_world(seed, "cell", cache))
    rows: list[tuple[str | float, ...]] = []
    for (name, against), found in errors.items():
        all_mm = _MM * np.stack(found)
        place = np.linalg.norm(all_mm[:, :3], axis=1)
        sides = np.abs(all_mm[:, 3:])
        bias = all_mm[:, 3:].mean(axis=0)
        figures = (place.mean(), np.median(place), *sides.mean(axis=0), *bias)
        rows.append((f"{name}, {against}", len(found), *(float(v) for v in figures)))
    titles = ("depth, truth", "objects", "place", "median", "w", "h", "d", "±w", "±h", "±d")
    notes = (
        "millimetres: mean and median distance of the place, mean absolute errors of width, "
        "height and depth, and their mean errors with sign",
    )
    where = f"TwinBench val, cell tier, {worlds} worlds, true masks, {models} set"
    return [Table(f"Objects in metres, {where}", titles, tuple(rows), notes)]


def _measure(
    errors: dict[tuple[str, str], list[Floats]], estimator: DepthEstimator, rendered: RenderedWorld
) -> None:
    world = World(rendered.seed, "cell")
    for t in _FRAMES:
        frame = rendered.window.frames[t]
        true_m = rendered.depth_thw[t].astype(np.float32)
        predicted_m = estimator.depth_m(rendered.rgb_thw3[t])
        for obj in _seen(frame.objects.values()):
            crop = Crop.of(rle.decode(obj.mask)) if obj.mask is not None else None
            assert crop is not None
            seen = _points(crop, true_m)
            truths = {"what is seen": np.concatenate([seen.mean(axis=0), np.ptp(seen, axis=0)])}
            whole, shown = _whole(world, obj, frame.timestamp_s, crop.area)
            if shown >= UNHIDDEN:
                truths["the whole object"] = whole
            for name, depth_hw in (("true depth", true_m), ("predicted depth", predicted_m)):
                got = _as_perceived(crop, depth_hw)
                for against, truth in truths.items():
                    errors.setdefault((name, against), []).append(got - truth)


def _seen(objects: Iterable[ObjectTwin]) -> Iterable[ObjectTwin]:
    return (obj for obj in objects if obj.state == "visible" and obj.area >= MIN_AREA_PX)


def _points(crop: Crop, depth_hw: NDArray[np.float32]) -> Floats:
    """All points of a mask in camera coordinates, without a sample's bound."""
    rows, columns = np.nonzero(crop.pixels_hw)
    pixels = np.stack([columns + crop.x + 0.5, rows + crop.y + 0.5], axis=1)
    depth = depth_hw[rows + crop.y, columns + crop.x]
    return back_project_pixels(pixels, depth, intrinsics())


def _as_perceived(crop: Crop, depth_hw: NDArray[np.float32]) -> Floats:
    """Place and sides (6,) as the twin would hold them."""
    stats = depth_stats(crop, depth_hw, metric=True)
    assert stats is not None
    place = back_project(*crop.centroid, stats[0].p50, intrinsics())
    sample = depth_sample(crop, depth_hw)
    sides = point_extents(back_project_pixels(sample[:, :2], sample[:, 2], intrinsics()))
    return np.array([*place, *sides])


def _whole(world: World, obj: ObjectTwin, t: float, area: int) -> tuple[Floats, float]:
    """Middle and sides (6,) of the whole object in camera axes, and the part of it that shows."""
    thing = world.objects[obj.id - 1]
    position, turn = thing.pose(world.when(t))
    eye, axes = world.view.pose(world.when(t))
    corners = (np.concatenate(thing.shape.hulls) @ turn.T + position - eye) @ axes
    low, high = corners.min(axis=0), corners.max(axis=0)
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    for hull in thing.shape.hulls:
        pixels = world.view.project(hull @ turn.T + position, world.when(t), SIZE, SIZE)
        outline = cv2.convexHull(np.floor(pixels[:, :2]).astype(np.int32))
        cv2.fillConvexPoly(canvas, np.asarray(outline, np.int32), 1)
    shown = area / max(1, int(np.count_nonzero(canvas)))
    return np.concatenate([(low + high) / 2, high - low]), shown


def main() -> None:
    """Print the table."""
    show(metres_tables())


if __name__ == "__main__":
    main()
