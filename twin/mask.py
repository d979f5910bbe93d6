"""Masks as compressed COCO run-length encoding, equal to pycocotools bit for bit, numpy only.

Runs go down the columns (column-major order) and begin with background. The string holds each
run as the difference to the run two before it (from the fourth run on), in groups of five bits,
least significant first, 32 marking "more follows", 48 added: printable ASCII
(cocoapi ``common/maskApi.c``, ``rleToString``).

Not covered: polygons, uncompressed RLE lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, SchemaError
from .geometry import Box
from .schema import Rle

__all__ = [
    "area",
    "counts_of",
    "decode",
    "encode",
    "encode_crop",
    "intersection",
    "iou",
    "to_box",
    "union",
]

Counts = NDArray[np.int64]

_MAX_PIXELS = 1 << 28  # 16384 x 16384: a hostile size must not allocate gigabytes
_MAX_GROUPS = 7  # 35 bits hold every difference of two runs below _MAX_PIXELS
_LIMITS = np.array([1 << (5 * k - 1) for k in range(1, _MAX_GROUPS)], dtype=np.int64)


def encode(mask_hw: NDArray[np.bool_]) -> Rle:
    """Encode a (H, W) mask; any dtype is read as "not zero".

    Raises:
        InputError: if the mask is not two-dimensional, has no pixels or over 2**28.
    """
    if mask_hw.ndim != 2 or not 0 < mask_hw.size <= _MAX_PIXELS:
        raise InputError(
            f"expected a mask of shape (H, W) with 1 to 2**28 pixels, got shape {mask_hw.shape}"
        )
    mask_hw = mask_hw if mask_hw.dtype == np.bool_ else mask_hw != 0
    flat = mask_hw.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lead = [0, 0] if flat[0] else [0]
    bounds = np.concatenate((lead, edges, [flat.size]))
    height, width = mask_hw.shape
    return Rle(size=(height, width), counts=_pack(np.diff(bounds)))


def encode_crop(pixels_hw: NDArray[np.bool_], x: int, y: int, size_hw: tuple[int, int]) -> Rle:
    """Encode a mask given as a crop with its top left corner at (x, y) of a larger picture.

    Equal to :func:`encode` of the whole picture; the time depends on the crop's size alone.

    Raises:
        InputError: if the crop does not lie within a picture of ``size_hw``, or that is one
            that :func:`encode` refuses.
    """
    height, width = size_hw
    if pixels_hw.ndim != 2 or not 0 < height * width <= _MAX_PIXELS:
        raise InputError(
            "expected a crop of shape (h, w) of a picture with 1 to 2**28 pixels, got shapes "
            f"{pixels_hw.shape} and {size_hw}"
        )
    rows, columns = pixels_hw.shape
    if x < 0 or y < 0 or x + columns > width or y + rows > height:
        raise InputError(
            f"expected a crop within {height} x {width} pixels, got {rows} x {columns} at ({x}, {y})"
        )
    padded = np.zeros((columns, rows + 2), np.bool_)  # every column begins and ends outside
    padded[:, 1:-1] = pixels_hw.T
    edges = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    column, row = np.divmod(edges, rows + 1)
    bounds = (x + column) * height + y + row
    if rows == height and bounds.size:  # a run over a column's end is one run
        joined = np.flatnonzero(bounds[1:-1:2] == bounds[2::2]) * 2 + 1
        bounds = np.delete(bounds, np.concatenate((joined, joined + 1)))
    last = [] if bounds.size and bounds[-1] == height * width else [height * width]
    edges = np.array([0, *bounds.tolist(), *last], np.int64)
    return Rle(size=(height, width), counts=_pack(np.diff(edges)))


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The (H, W) bool mask of an encoding, C-contiguous.

    Raises:
        SchemaError: if the string is not a valid encoding of a mask of that size.
    """
    counts = counts_of(rle)
    values = np.zeros(counts.size, dtype=np.bool_)
    values[1::2] = True
    height, width = rle.size
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def area(rle: Rle) -> int:
    """Number of pixels in the mask."""
    return int(counts_of(rle)[1::2].sum())


def to_box(rle: Rle) -> Box:
    """Tight box (x0, y0, x1, y1) in pixels with exclusive right and bottom; zeros if empty."""
    starts, ends = _runs(counts_of(rle))
    if not starts.size:
        return 0.0, 0.0, 0.0, 0.0
    height = rle.size[0]
    lasts = ends - 1
    x0, x1 = int(starts[0]) // height, int(lasts[-1]) // height + 1
    if np.any(starts // height != lasts // height):  # a run over a column's end fills both edges
        return float(x0), 0.0, float(x1), float(height)
    y0, y1 = int((starts % height).min()), int((lasts % height).max()) + 1
    return float(x0), float(y0), float(x1), float(y1)


def intersection(a: Rle, b: Rle) -> int:
    """Number of pixels in both masks.

    Raises:
        InputError: if the sizes differ.
    """
    _same_size(a, b)
    return _shared(counts_of(a), counts_of(b))


def iou(a: Rle, b: Rle) -> float:
    """Intersection over union in [0, 1]; 0 when both masks are empty.

    Raises:
        InputError: if the sizes differ.
    """
    _same_size(a, b)
    counts_a, counts_b = counts_of(a), counts_of(b)
    shared = _shared(counts_a, counts_b)
    total = int(counts_a[1::2].sum()) + int(counts_b[1::2].sum()) - shared
    return shared / total if total else 0.0


def union(rles: Sequence[Rle]) -> Rle:
    """The mask of pixels that are in any of the masks.

    Raises:
        InputError: if there is no mask or the sizes differ.
    """
    if not rles:
        raise InputError("expected at least one mask to unite, got none")
    whole_hw = decode(rles[0])
    for rle in rles[1:]:
        _same_size(rles[0], rle)
        whole_hw |= decode(rle)
    return encode(whole_hw)


def counts_of(rle: Rle) -> Counts:
    """The run lengths of an encoding, background first.

    Raises:
        SchemaError: if the string is not a valid encoding of a mask of that size.
    """
    height, width = rle.size
    if height * width > _MAX_PIXELS:
        raise SchemaError(f"expected a mask of at most 2**28 pixels, got {height} x {width}")
    counts = _unpack(rle.counts)
    total = int(counts.sum())
    if total != height * width or bool((counts < 0).any()):
        raise SchemaError(
            f"expected mask runs that add up to {height} x {width} = {height * width} pixels, "
            f"got {counts.size} runs of {total}"
        )
    return counts


def _pack(counts: Counts) -> str:
    deltas = counts.copy()
    deltas[3:] -= counts[1:-2]
    groups = 1 + np.searchsorted(_LIMITS, np.where(deltas < 0, -deltas - 1, deltas), side="right")
    ends = np.cumsum(groups)
    # position of every character within its number, and its five bits
    place = np.arange(int(ends[-1])) - np.repeat(ends - groups, groups)
    chars = (np.repeat(deltas, groups) >> (5 * place)) & 31
    chars += 48 + 32
    chars[ends - 1] -= 32
    return chars.astype(np.uint8).tobytes().decode("ascii")


def _unpack(text: str) -> Counts:
    if not text or not text.isascii():
        raise SchemaError("expected mask counts as ASCII text, got none or other characters")
    chars = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((chars & 32) == 0)
    if bool(((chars < 0) | (chars > 63)).any()) or not ends.size or ends[-1] != chars.size - 1:
        raise SchemaError("expected mask counts in COCO's compressed form, got other characters")
    starts = np.concatenate(([0], ends[:-1] + 1))
    groups = ends - starts + 1
    if int(groups.max()) > _MAX_GROUPS:
        raise SchemaError(f"expected mask runs of at most {_MAX_GROUPS} characters, got longer")
    place = np.arange(chars.size) - np.repeat(starts, groups)
    counts = np.add.reduceat((chars & 31) << (5 * place), starts)
    counts -= np.where(chars[ends] & 16, np.int64(1) << (5 * groups), 0)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts


def _runs(counts: Counts) -> tuple[Counts, Counts]:
    """(starts, ends) of the foreground runs that hold a pixel, ends exclusive."""
    edges = np.cumsum(counts)
    starts, ends = edges[:-1:2], edges[1::2]
    filled = ends > starts
    return starts[filled], ends[filled]


def _shared(counts_a: Counts, counts_b: Counts) -> int:
    """Pixels in both: foreground of ``a`` before each end of a run of ``b``, less before its start."""
    edges = np.cumsum(counts_a)
    ones = np.where(np.arange(counts_a.size) % 2 == 1, counts_a, 0)
    before = np.cumsum(ones)
    starts, ends = _runs(counts_b)

    def foreground_before(at: Counts) -> Counts:
        run = np.minimum(np.searchsorted(edges, at, side="right"), edges.size - 1)
        rest = np.where(run % 2 == 1, np.maximum(edges[run] - at, 0), 0)
        return np.asarray(before[run] - rest)

    return int((foreground_before(ends) - foreground_before(starts)).sum())


def _same_size(a: Rle, b: Rle) -> None:
    if a.size != b.size:
        raise InputError(f"expected two masks of one size, got {a.size} and {b.size}")
