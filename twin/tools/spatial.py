"""Tools on where an object is, read from each object's latest visible record.

Image-plane relations compare centroids in pixels, depth relations the median depth; an object
without depth is neither in front nor behind. Members of ``of`` and ``to`` are never results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from ..geometry import box_area, box_intersection, whole
from ..motion import depth_of
from ..schema import ObjectTwin
from ..window import TwinWindow
from .base import AtLeast, Ids, Number, Numbers

__all__ = [
    "above",
    "behind",
    "below",
    "distance",
    "extreme",
    "farthest",
    "in_front_of",
    "inside",
    "left_of",
    "nearest",
    "on",
    "right_of",
    "size",
]

_Measure = Callable[[ObjectTwin], float | None]

_INSIDE_FRACTION = 0.7
_INSIDE_DEPTH_M = 0.12
_INSIDE_DEPTH_RELATIVE = 0.2
_ON_TOP_FRACTION = 0.15
_ON_OVERLAP = 0.5


def _x(obj: ObjectTwin) -> float:
    return obj.centroid[0]


def _y(obj: ObjectTwin) -> float:
    return obj.centroid[1]


def _compare(
    window: TwinWindow, ids: list[int] | None, of: list[int], measure: _Measure, sign: int
) -> list[int]:
    """Ids whose measure is under every measure in ``of`` (sign 1) or over every one (-1)."""
    bounds = [sign * v for i in of if (v := measure(window.latest(i))) is not None]
    if not bounds:
        return []
    bound = min(bounds)
    found = []
    for i in window.ids() if ids is None else ids:
        value = measure(window.latest(i))
        if i not in of and value is not None and sign * value < bound:
            found.append(i)
    return sorted(found)


def left_of(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids whose centroid is left of every centroid in of (image plane)."""
    return _compare(window, ids, of, _x, 1)


def right_of(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids whose centroid is right of every centroid in of (image plane)."""
    return _compare(window, ids, of, _x, -1)


def above(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids whose centroid is higher in the image than every centroid in of."""
    return _compare(window, ids, of, _y, 1)


def below(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids whose centroid is lower in the image than every centroid in of."""
    return _compare(window, ids, of, _y, -1)


def in_front_of(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids nearer to the camera (median depth) than everything in of."""
    return _compare(window, ids, of, depth_of, 1)


def behind(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids farther from the camera (median depth) than everything in of."""
    return _compare(window, ids, of, depth_of, -1)


def _point_distance(a: ObjectTwin, b: ObjectTwin, metric: bool) -> float:
    if metric and a.centroid_m is not None and b.centroid_m is not None:
        return math.dist(a.centroid_m, b.centroid_m)
    return math.dist(a.centroid, b.centroid)


def _ranked(window: TwinWindow, ids: list[int] | None, to: list[int]) -> list[tuple[float, int]]:
    """(distance to the closest of ``to``, id), ascending; metres only if all are placed in 3-D."""
    candidates = [i for i in (window.ids() if ids is None else ids) if i not in to]
    targets = [window.latest(i) for i in to]
    if not targets:
        return []
    metric = all(
        o.centroid_m is not None for o in [*targets, *(window.latest(i) for i in candidates)]
    )
    return sorted(
        (min(_point_distance(window.latest(i), t, metric) for t in targets), i) for i in candidates
    )


def nearest(
    window: TwinWindow, *, ids: Ids | None = None, to: Ids, k: Annotated[int, AtLeast(1)] = 1
) -> Ids:
    """The k ids closest to any of to (3-D metres when known, else pixels)."""
    return sorted(i for _, i in _ranked(window, ids, to)[:k])


def farthest(
    window: TwinWindow, *, ids: Ids | None = None, to: Ids, k: Annotated[int, AtLeast(1)] = 1
) -> Ids:
    """The k ids whose closest of to is farthest away (3-D metres when known, else pixels)."""
    ranked = sorted((-d, i) for d, i in _ranked(window, ids, to))
    return sorted(i for _, i in ranked[:k])


_EXTREMES: dict[str, tuple[_Measure, int]] = {
    "largest": (lambda o: o.area, -1),
    "smallest": (lambda o: o.area, 1),
    "leftmost": (_x, 1),
    "rightmost": (_x, -1),
    "highest": (_y, 1),
    "lowest": (_y, -1),
    "closest": (depth_of, 1),
    "farthest": (depth_of, -1),
}


def extreme(
    window: TwinWindow,
    *,
    ids: Ids | None = None,
    by: Literal[
        "largest", "smallest", "leftmost", "rightmost", "highest", "lowest", "closest", "farthest"
    ],
) -> Ids:
    """The one id that is largest or smallest (px area), leftmost ... lowest, closest or farthest."""
    measure, sign = _EXTREMES[by]
    ranked = [
        (sign * value, i)
        for i in (window.ids() if ids is None else ids)
        if (value := measure(window.latest(i))) is not None
    ]
    return [min(ranked)[1]] if ranked else []


def _is_inside(a: ObjectTwin, of: ObjectTwin) -> bool:
    area = box_area(a.box_xyxy)
    if not 0 < area < box_area(of.box_xyxy):
        return False
    if box_intersection(a.box_xyxy, of.box_xyxy) < _INSIDE_FRACTION * area:
        return False
    depth, of_depth = depth_of(a), depth_of(of)
    if depth is None or of_depth is None:
        return True
    metric = all(o.depth_stats is not None and o.depth_stats.unit == "m" for o in (a, of))
    limit = _INSIDE_DEPTH_M if metric else _INSIDE_DEPTH_RELATIVE * max(abs(depth), abs(of_depth))
    return abs(depth - of_depth) <= limit


def _is_on(a: ObjectTwin, of: ObjectTwin) -> bool:
    ax0, _, ax1, bottom = a.box_xyxy
    x0, top, x1, of_bottom = of.box_xyxy
    slack = _ON_TOP_FRACTION * (of_bottom - top)
    overlap = min(ax1, x1) - max(ax0, x0)
    return (
        top - slack <= bottom <= of_bottom
        and ax1 > ax0
        and overlap >= _ON_OVERLAP * (ax1 - ax0)
        and a.centroid[1] < of.centroid[1]
        and not _is_inside(a, of)
    )


def inside(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids whose box lies at least 70 % in a larger box of of, at about its depth."""
    return _related(window, ids, of, _is_inside)


def on(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids that rest on any of of: bottom edge over its box, centroid above, not inside."""
    return _related(window, ids, of, _is_on)


def _related(
    window: TwinWindow,
    ids: list[int] | None,
    of: list[int],
    relation: Callable[[ObjectTwin, ObjectTwin], bool],
) -> list[int]:
    return sorted(
        i
        for i in (window.ids() if ids is None else ids)
        if i not in of and any(relation(window.latest(i), window.latest(j)) for j in of)
    )


def distance(
    window: TwinWindow, a: Ids, b: Ids, space: Literal["pixel", "metric"] = "pixel"
) -> Number:
    """Distance of the closest centroids of a and b: whole pixels, or metres when metric."""
    pairs = [(window.latest(i), window.latest(j)) for i in a for j in b]
    if space == "pixel":
        return whole(min(math.dist(p.centroid, q.centroid) for p, q in pairs)) if pairs else None
    placed = [
        math.dist(p.centroid_m, q.centroid_m)
        for p, q in pairs
        if p.centroid_m is not None and q.centroid_m is not None
    ]
    return min(placed) if placed else None


def size(window: TwinWindow, ids: Ids) -> Numbers:
    """Area of each id in pixels, in the order given."""
    return [window.latest(i).area for i in ids]
