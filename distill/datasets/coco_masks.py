"""Masks in every form that COCO annotations have, as compressed run lengths.

A polygon is painted as COCO's own code does (cocoapi ``common/maskApi.c``, ``rleFrPoly``): its
edges are walked on a grid five times finer, and a pixel belongs to it if its centre lies between
an odd number of edges of its column. Parts of one object are united: where parts overlap, summing
them gives 2, which is still one object.

Not covered: keypoints, panoptic pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ...twin import mask as masks
from ...twin.errors import InputError, SchemaError
from ...twin.schema import Rle

__all__ = ["mask_of", "paint_polygon", "rle_of", "united"]

_FINER = 5
_MAX_POINTS = 100_000
_MAX_PIXELS = 1 << 28


def mask_of(segmentation: Any, size_hw: tuple[int, int], where: str) -> Rle:
    """The mask of an annotation: a list of polygons, or run lengths in either form.

    Args:
        segmentation: ``[[x0, y0, x1, y1, …], …]``, ``{"size", "counts": [int, …]}`` or
            ``{"size", "counts": str}``.
        size_hw: height and width of the picture; run lengths must be of this size.
        where: what is read, for errors.

    Raises:
        InputError: for anything else.
    """
    if isinstance(segmentation, dict):
        rle = rle_of(segmentation, where)
        if rle.size != size_hw:
            raise InputError(f"{where}: expected a mask of size {size_hw}, got {rle.size}")
        return rle
    if not isinstance(segmentation, list) or not segmentation:
        raise InputError(
            f"{where}: expected polygons or run lengths, got {str(segmentation)[:60]!r}"
        )
    height, width = size_hw
    if not 0 < height * width <= _MAX_PIXELS:
        raise InputError(f"{where}: expected a picture of 1 to 2**28 pixels, got {size_hw}")
    whole_hw = np.zeros(size_hw, np.bool_)
    for part in segmentation:
        whole_hw |= paint_polygon(_corners(part, where), size_hw)
    return masks.encode(whole_hw)


def rle_of(record: Any, where: str) -> Rle:
    """Run lengths as COCO writes them, compressed (``counts`` is text) or not (a list).

    Raises:
        InputError: if they are no mask of their size.
    """
    try:
        size, counts = record["size"], record["counts"]
        if isinstance(counts, list):
            return masks.encode(_spread(counts, size))
        rle = Rle(size=tuple(size), counts=counts)
        masks.area(rle)
    except (KeyError, TypeError, ValueError, OverflowError, ValidationError, SchemaError) as error:
        raise InputError(
            f"{where}: expected run lengths {{size, counts}}, got {str(record)[:60]!r} "
            f"({str(error).splitlines()[0][:120]})"
        ) from error
    return rle


def united(rles: Sequence[Rle]) -> Rle | None:
    """The union of masks of one size; None if there is none."""
    return masks.union(rles) if len(rles) > 1 else next(iter(rles), None)


def paint_polygon(corners_xy: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) mask of a polygon with corners (N, 2) in pixels, as cocoapi's ``rleFrPoly``."""
    height, width = size_hw
    fine = np.trunc(_FINER * corners_xy + 0.5).astype(np.int64)
    edges = [_walk(a, b) for a, b in zip(fine, np.roll(fine, -1, axis=0), strict=True)]
    points = np.concatenate([fine[:1], *edges])
    before, after = points[:-1], points[1:]
    turned = after[:, 0] != before[:, 0]
    before, after = before[turned], after[turned]
    column = (np.minimum(before[:, 0], after[:, 0]) + 0.5) / _FINER - 0.5
    row = (np.minimum(before[:, 1], after[:, 1]) + 0.5) / _FINER - 0.5
    kept = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    down = np.ceil(np.clip(row[kept], 0, height)).astype(np.int64)
    toggles = np.bincount(column[kept].astype(np.int64) * height + down, minlength=height * width)
    flat = (np.cumsum(toggles[: height * width]) & 1).astype(np.bool_)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _walk(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """The grid points of an edge from start to end, both included, (N, 2)."""
    span = np.abs(end - start)
    axis = 0 if span[0] >= span[1] else 1
    if not span[axis]:
        return start[None]
    flip = start[axis] > end[axis]
    low, high = (end, start) if flip else (start, end)
    steps = np.arange(span[axis] + 1)
    slope = (high[1 - axis] - low[1 - axis]) / span[axis]
    found = np.empty((steps.size, 2), np.int64)
    found[:, axis] = low[axis] + steps
    found[:, 1 - axis] = np.trunc(low[1 - axis] + slope * steps + 0.5)
    return found[::-1] if flip else found


def _corners(part: Any, where: str) -> NDArray[np.float64]:
    try:
        flat = np.asarray(part, np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected a polygon of numbers, got {error}") from error
    fits = flat.ndim == 1 and flat.size % 2 == 0 and 6 <= flat.size <= 2 * _MAX_POINTS
    if not fits or not np.isfinite(flat).all() or np.abs(flat).max() > 65_536:
        raise InputError(
            f"{where}: expected a polygon [x0, y0, x1, y1, x2, y2, …] in pixels, got "
            f"{str(part)[:60]}"
        )
    return flat.reshape(-1, 2)


def _spread(counts: list[Any], size: Any) -> NDArray[np.bool_]:
    """Uncompressed run lengths, down the columns, background first, as a (H, W) mask."""
    height, width = (int(side) for side in size)
    if min(height, width) < 1 or height * width > _MAX_PIXELS:
        raise ValueError(f"a size of 1 to 2**28 pixels, got {height} x {width}")
    runs = np.asarray(counts)
    if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any():
        raise ValueError("run lengths as whole numbers")
    if runs.sum() != height * width:
        raise ValueError(f"runs that add up to {height * width} pixels, got {runs.sum()}")
    values = np.arange(runs.size) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)
