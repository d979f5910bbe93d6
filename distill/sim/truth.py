"""The true twin of a world: what a perfect perception would write down.

``render=True`` reads masks, ids and depth from the renderer. ``render=False`` fills the convex
hulls of projected parts, far to near, which is close (see the tests) and needs no renderer.

Not covered: reflections and shadows are not part of objects; ``confidence`` is always 1;
without the renderer ``extent_m`` is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.errors import InputError
from ...twin.geometry import back_project_pixels, point_extents
from ...twin.schema import DepthStats, FrameTwin, Intrinsics, ObjectTwin, Rle, State
from ...twin.window import TwinWindow
from .camera import focal_px
from .scene import scene_for
from .things import Thing
from .worlds import World

__all__ = [
    "MIN_PIXELS",
    "MIN_SHARE",
    "SIZE",
    "intrinsics",
    "true_frame",
    "true_frames",
    "true_window",
]

SIZE = 256
MIN_PIXELS = 12
MIN_SHARE = 0.1
"""Seen are at least 12 pixels and a tenth of what would show without the other objects."""

Floats = NDArray[np.float64]
Ids = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one frame shows of one object."""

    state: State
    area: int = 0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    centroid: tuple[float, float] = (0.0, 0.0)
    depth: DepthStats | None = None
    mean_depth: float = 0.0
    mask: Rle | None = None
    extent: tuple[float, float, float] | None = None


def intrinsics(size: int = SIZE) -> Intrinsics:
    """The camera's intrinsics for a square picture."""
    return Intrinsics(fx=focal_px(size), fy=focal_px(size), cx=size / 2, cy=size / 2)


def true_window(
    world: World, fps: float = 8.0, seconds: float = 4.0, render: bool = True
) -> TwinWindow:
    """Frames at 0, 1/fps, … below ``seconds``; a still gives one frame.

    Raises:
        InputError: if there would be no frame.
        MissingExtraError: with ``render`` and without MuJoCo.
    """
    return TwinWindow(true_frames(world, fps, seconds, render))


def true_frames(
    world: World, fps: float = 8.0, seconds: float = 4.0, render: bool = True
) -> list[FrameTwin]:
    """The frames of :func:`true_window` as a list."""
    count = 1 if world.frozen_at is not None else round(fps * seconds)
    if count < 1 or fps <= 0:
        raise InputError(f"expected fps and seconds for at least 1 frame, got {fps} and {seconds}")
    frames: list[FrameTwin] = []
    quick = None if render else _Sketch(world)
    for index in range(count):
        t = index / fps
        sights = _rendered(world, t) if quick is None else quick.look(t)
        frames.append(true_frame(world, index, t, sights, frames[-1] if frames else None))
    return frames


def true_frame(
    world: World,
    index: int,
    t: float,
    sights: dict[int, _Sight],
    previous: FrameTwin | None,
) -> FrameTwin:
    """One frame out of what is seen now and the frame before; unseen newcomers are left out."""
    before = previous.objects if previous else {}
    gap = t - previous.timestamp_s if previous else 0.0
    camera = intrinsics()
    objects: dict[int, ObjectTwin] = {}
    for thing in world.objects:
        sight, last = sights[thing.id], before.get(thing.id)
        if sight.state == "visible":
            objects[thing.id] = _record(thing, sight, last, t, gap, camera)
        elif last is not None:
            objects[thing.id] = last.model_copy(
                update={"state": sight.state, "mask": None, "velocity": (0.0, 0.0)}
            )
    return FrameTwin(
        source_id=f"sim:{world.tier}:{world.seed}",
        index=index,
        timestamp_s=t,
        width=SIZE,
        height=SIZE,
        intrinsics=camera,
        objects=objects,
    )


def _record(
    thing: Thing,
    sight: _Sight,
    last: ObjectTwin | None,
    t: float,
    gap: float,
    camera: Intrinsics,
) -> ObjectTwin:
    x, y = sight.centroid
    z = sight.depth.p50 if sight.depth else 0.0
    velocity = (0.0, 0.0)
    if last is not None and last.state == "visible" and gap > 0:
        velocity = ((x - last.centroid[0]) / gap, (y - last.centroid[1]) / gap)
    return ObjectTwin(
        id=thing.id,
        semantic_label=thing.category,
        attributes={"color": thing.color},
        confidence=1.0,
        state="visible",
        mask=sight.mask,
        box_xyxy=sight.box,
        centroid=(x, y),
        area=sight.area,
        mean_depth=sight.mean_depth,
        depth_stats=sight.depth,
        centroid_m=((x - camera.cx) / camera.fx * z, (y - camera.cy) / camera.fy * z, z),
        extent_m=sight.extent,
        velocity=velocity,
        first_seen=t if last is None else last.first_seen,
        last_seen=t,
    )


def _span(mask_hw: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _centre(mask_hw: NDArray[np.bool_], area: int) -> tuple[float, float]:
    """Mean pixel centre (x, y)."""
    columns, rows = mask_hw.sum(0), mask_hw.sum(1)
    x = float(columns @ np.arange(mask_hw.shape[1])) / area + 0.5
    return x, float(rows @ np.arange(mask_hw.shape[0])) / area + 0.5


def _extent(mask_hw: NDArray[np.bool_], depth_m_n: Floats) -> tuple[float, float, float]:
    """Sides in metres of the visible part's box in camera axes, as perception measures it."""
    rows, columns = np.nonzero(mask_hw)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=1)
    return point_extents(back_project_pixels(pixels, depth_m_n, intrinsics(SIZE)))


def _rendered(world: World, t: float) -> dict[int, _Sight]:
    """Sights from the renderer."""
    scene = scene_for(world.tier, world.set_index, SIZE, SIZE)
    shot = scene.render(world, t, rgb=False)
    sketch = _Sketch(world)
    sights = {}
    for thing in world.objects:
        mask = shot.ids_hw == thing.id
        area = int(mask.sum())
        state: State = "visible"
        # The filled hull is never smaller than the object: enough of it needs no second look.
        if area < MIN_PIXELS or area < MIN_SHARE * sketch.alone(thing, t):
            whole = int((scene.render(world, t, only=thing.id, rgb=False).ids_hw == thing.id).sum())
            if whole < MIN_PIXELS:
                state = "left"
            elif area < max(MIN_PIXELS, MIN_SHARE * whole):
                state = "occluded"
        if state != "visible":
            sights[thing.id] = _Sight(state)
            continue
        depth = shot.depth_hw[mask].astype(np.float64)
        low, middle, high = (float(v) for v in np.percentile(depth, (5, 50, 95)))
        stats = DepthStats(
            unit="m",
            variance=float(depth.var()),
            min=float(depth.min()),
            max=float(depth.max()),
            p5=low,
            p50=middle,
            p95=high,
        )
        sights[thing.id] = _Sight(
            state,
            area,
            _span(mask),
            _centre(mask, area),
            stats,
            float(depth.mean()),
            rle.encode(mask),
            _extent(mask, depth),
        )
    return sights


class _Sketch:
    """Draws a world with filled convex hulls, far to near; remembers what stands still."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._drift = bool(world.view.drift)
        self._resting: dict[int, tuple[list[NDArray[np.int32]], Floats]] = {}
        self._last: tuple[float, dict[int, _Sight]] | None = None

    def look(self, t: float) -> dict[int, _Sight]:
        """Sights at time ``t``."""
        when = self._world.when(t)
        if self._last is not None and not self._stirs(self._last[0], when):
            return self._last[1]
        canvas = np.zeros((SIZE, SIZE), dtype=np.uint8)
        order, alone = [], {}
        for thing in self._world.distractors:  # they hide, but are not told
            hulls, depths = self._polygons(thing, when)
            order.append((float(depths.mean()), 0, hulls, depths))
        for thing in self._world.objects:
            hulls, depths = self._outline(thing, when)
            base = self._world.objects[thing.parent - 1] if thing.parent else None
            far = float(depths.mean()) if base is None else self._far(base, when) - 1e-3
            order.append((far, thing.id, hulls, depths))
        for _, number, hulls, _ in sorted(order, key=lambda item: -item[0]):
            for hull in hulls:
                cv2.fillConvexPoly(canvas, hull, number)
            alone[number] = hulls
        sights = {
            number: self._sight(canvas, number, alone[number], depths)
            for _, number, _, depths in order
            if number
        }
        self._last = (when, sights)
        return sights

    def alone(self, thing: Thing, t: float) -> int:
        """Pixels that the hulls of a thing fill in the empty picture."""
        return _filled(self._outline(thing, self._world.when(t))[0])

    def _far(self, thing: Thing, when: float) -> float:
        return float(self._outline(thing, when)[1].mean())

    def _stirs(self, before: float, now: float) -> bool:
        if self._drift and before != now:
            return True
        return any(
            move.start_s < now and move.end_s > before
            for thing in self._world.objects
            for move in thing.moves
        )

    def _outline(self, thing: Thing, when: float) -> tuple[list[NDArray[np.int32]], Floats]:
        """Convex polygons in pixels and the z-depths of all points."""
        steady = not thing.moves and not self._drift
        if steady and thing.id in self._resting:
            return self._resting[thing.id]
        outline = self._polygons(thing, when)
        if steady:
            self._resting[thing.id] = outline
        return outline

    def _polygons(self, thing: Thing, when: float) -> tuple[list[NDArray[np.int32]], Floats]:
        position, turn = thing.pose(when)
        polygons, depths = [], []
        for points in thing.shape.hulls:
            pixels = self._world.view.project(points @ turn.T + position, when, SIZE, SIZE)
            flat = np.floor(pixels[:, :2]).astype(np.int32)
            polygons.append(np.asarray(cv2.convexHull(flat), dtype=np.int32))
            depths.append(pixels[:, 2])
        return polygons, np.concatenate(depths)

    def _sight(
        self, canvas: Ids, number: int, hulls: list[NDArray[np.int32]], depths: Floats
    ) -> _Sight:
        every = np.concatenate(hulls)[:, 0]
        x0, y0 = np.maximum(every.min(0), 0)
        x1, y1 = np.minimum(every.max(0) + 1, SIZE)
        if x1 <= x0 or y1 <= y0:
            return _Sight("left")
        mask = canvas[y0:y1, x0:x1] == number
        area = int(np.count_nonzero(mask))
        if area < max(MIN_PIXELS, 0.9 * mask.size):  # a full box is surely seen
            whole = _filled(hulls)
            if whole < MIN_PIXELS:
                return _Sight("left")
            if area < max(MIN_PIXELS, MIN_SHARE * whole):
                return _Sight("occluded")
        left, top, right, bottom = _span(mask)
        x, y = _centre(mask, area)
        near, far = float(depths.min()), float(depths.max())
        middle = near + 0.42 * (far - near)
        stats = DepthStats(
            unit="m",
            variance=((far - near) / 4) ** 2,
            min=near,
            max=far,
            p5=near + 0.08 * (far - near),
            p50=middle,
            p95=near + 0.85 * (far - near),
        )
        box = (left + float(x0), top + float(y0), right + float(x0), bottom + float(y0))
        return _Sight("visible", area, box, (x + float(x0), y + float(y0)), stats, middle)


def _filled(hulls: list[NDArray[np.int32]]) -> int:
    canvas = np.zeros((SIZE, SIZE), dtype=np.uint8)
    for hull in hulls:
        cv2.fillConvexPoly(canvas, hull, 1)
    return int(np.count_nonzero(canvas))
