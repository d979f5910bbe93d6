"""Resizing as the published image processors do it: with antialiasing, by Pillow's kernels.

OpenCV's kernels differ: its bicubic has a = -0.75 (Pillow and torchvision's antialiased one
-0.5), and none but ``INTER_AREA`` takes in more pixels when a picture shrinks. Networks see
the difference, so hub checkpoints get their own kernel; the embedded set was trained with
OpenCV's and keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["KERNELS", "gaussian_square", "resize"]

KERNELS = ("bilinear", "bicubic")

_Floats = NDArray[np.float32]
_Taps = tuple[NDArray[np.intp], _Floats]


def resize(
    image_hw3: NDArray[np.uint8], size_hw: tuple[int, int], kernel: str
) -> NDArray[np.uint8]:
    """Return the picture at ``size_hw``; within one grey level of ``PIL.Image.resize``.

    Raises:
        InputError: if the kernel is unknown or a side is not positive.
    """
    height, width = size_hw
    if kernel not in KERNELS or height < 1 or width < 1:
        raise InputError(f"expected {' or '.join(KERNELS)} and a size, got {kernel!r}, {size_hw}")
    if image_hw3.shape[:2] == size_hw:
        return image_hw3
    if kernel == "bilinear" and height >= image_hw3.shape[0] and width >= image_hw3.shape[1]:
        # Enlarging, the two definitions are one.
        enlarged = cv2.resize(image_hw3, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(enlarged, np.uint8)
    pixels = image_hw3.astype(np.float32)
    passes = [(1, width), (0, height)]
    # Pillow's order (found by trying: it matters where a bicubic overshoot is cut off).
    if pixels.shape[0] - height > 2 * max(0, pixels.shape[1] - width):
        passes.reverse()
    for axis, length in passes:
        if length != pixels.shape[axis]:
            pixels = _along(pixels, axis, _antialiased(pixels.shape[axis], length, kernel))
            np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels)  # after each, as Pillow
    return pixels.astype(np.uint8)


def gaussian_square(image_hw3: NDArray[np.uint8], size: int, value: float) -> _Floats:
    """Return OWLv2's square (size, size, 3) float32 on the 0–255 scale.

    Padding at the bottom and on the right with ``value`` (0–1), a Gaussian of standard
    deviation (factor − 1) / 2 where the picture shrinks, then linear interpolation with
    mirrored edges: scikit-image's ``resize(anti_aliasing=True)``, which OWLv2 was trained with.
    """
    height, width = image_hw3.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), np.float32(255 * value), np.float32)
    square[:height, :width] = image_hw3
    if side == size:
        return square
    sigma = (side / size - 1) / 2
    reach = int(4 * sigma + 0.5)
    if reach > 0:
        window = (2 * reach + 1, 2 * reach + 1)
        cv2.GaussianBlur(square, window, sigma, square, sigma, cv2.BORDER_REFLECT_101)
    taps = _mirrored(side, size)
    return _along(_along(square, 0, taps), 1, taps)


def _along(pixels: _Floats, axis: int, taps: _Taps) -> _Floats:
    """Return the weighted sums of the lines that each new line reads."""
    lines, weights = taps
    shape = (1, -1, 1) if axis else (-1, 1, 1)
    total = np.take(pixels, lines[:, 0], axis=axis) * weights[:, 0].reshape(shape)
    part = np.empty_like(total)
    for k in range(1, lines.shape[1]):
        np.take(pixels, lines[:, k], axis=axis, out=part, mode="clip")
        part *= weights[:, k].reshape(shape)
        total += part
    return total


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_SHAPES: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}


@lru_cache(maxsize=16)  # bounded: a stream has one picture size
def _antialiased(old: int, new: int, kernel: str) -> _Taps:
    """Return which lines each new line reads and their weights (Pillow's ``precompute_coeffs``)."""
    shape, reach = _SHAPES[kernel]
    scale = old / new
    wide = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum(0, np.floor(centres - reach * wide + 0.5)).astype(np.intp)
    end = np.minimum(old, np.floor(centres + reach * wide + 0.5)).astype(np.intp)
    lines = first[:, None] + np.arange(int((end - first).max()))
    weights = shape((lines - centres[:, None] + 0.5) / wide) * (lines < end[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(lines, old - 1), weights.astype(np.float32)


@lru_cache(maxsize=16)
def _mirrored(old: int, new: int) -> _Taps:
    """Return the two lines and weights of linear interpolation between pixel centres."""
    places = np.abs((np.arange(new) + 0.5) * (old / new) - 0.5)
    places = np.minimum(places, 2 * (old - 1) - places) if old > 1 else places * 0
    low = np.minimum(np.floor(places).astype(np.intp), max(0, old - 2))
    part = places - low
    lines = np.stack([low, np.minimum(low + 1, old - 1)], axis=1)
    return lines, np.stack([1 - part, part], axis=1).astype(np.float32)
