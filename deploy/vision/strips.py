"""Numbered strips drawn on a picture: RSVP's region-aware visual prompt (its algorithm 1).

Two pictures, since one with both directions at once works worse (RSVP, table 7): one divided
into M horizontal strips, one into N vertical strips, numbered from 1 at the top and the left.
Green lines where strips begin, white numbers with a dark rim in the middle of each strip.

Strips are compared by their numbers, so the pictures are made large enough to be read: the
longer side is ``side`` pixels (1000, as in the paper, which distorts to 1000 x 1000; here the
aspect stays unless strips would be thinner than a number).
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError

__all__ = ["SIDE", "draw_strips", "region_box", "strip_edges"]

SIDE = 1000
_LEAST_STRIP = 28  # pixels that a number of two digits needs
_MAX_STRIPS = 32
_GREEN, _BLACK = (0, 200, 0), (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Image = NDArray[np.uint8]
Direction = Literal["horizontal", "vertical"]


def draw_strips(image_hw3: Image, count: int, direction: Direction, side: int = SIDE) -> Image:
    """Return the picture (H', W', 3) divided into ``count`` numbered strips.

    Raises:
        InputError: if there are fewer than 1 or more than 32 strips.
    """
    if not 1 <= count <= _MAX_STRIPS:
        raise InputError(f"expected 1 to {_MAX_STRIPS} strips, got {count}")
    canvas = _enlarged(image_hw3, count, direction, side)
    height, width = canvas.shape[:2]
    along = height if direction == "horizontal" else width
    edges = strip_edges(along, count)
    line = max(1, round(max(height, width) / 400))
    tall = _digit_height(along / count, min(height, width))
    for number in range(1, count + 1):
        start, end = edges[number - 1], edges[number]
        middle = (start + end) // 2
        if direction == "horizontal":
            cv2.line(canvas, (0, start), (width - 1, start), _GREEN, line)
            _number(canvas, number, (width // 2, middle), tall)
        else:
            cv2.line(canvas, (start, 0), (start, height - 1), _GREEN, line)
            _number(canvas, number, (middle, height // 2), tall)
    return canvas


def strip_edges(length: int, count: int) -> list[int]:
    """The pixel at which each strip begins, and the length at the end: ``count`` + 1 numbers."""
    return [round(length * k / count) for k in range(count + 1)]


def region_box(
    rows: tuple[int, int],
    columns: tuple[int, int],
    counts: tuple[int, int],
    size_hw: tuple[int, int],
) -> tuple[float, float, float, float]:
    """The box (x0, y0, x1, y1) of strips ``rows`` and ``columns``, each (first, last), from 1."""
    (height, width), (m, n) = size_hw, counts
    x0, x1 = (columns[0] - 1) * width / n, columns[1] * width / n
    y0, y1 = (rows[0] - 1) * height / m, rows[1] * height / m
    return x0, y0, x1, y1


def _enlarged(image_hw3: Image, count: int, direction: Direction, side: int) -> Image:
    height, width = image_hw3.shape[:2]
    scale = side / max(height, width)
    least = [_LEAST_STRIP * count if direction == way else 2 * _LEAST_STRIP for way in ("horizontal", "vertical")]  # fmt: skip
    size = max(round(width * scale), least[1]), max(round(height * scale), least[0])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(image_hw3, size, interpolation=how), np.uint8)


def _digit_height(strip: float, short_side: int) -> float:
    """Height of the digits, pixels: half of a strip, and no larger than is needed to read them."""
    return max(14.0, min(0.5 * strip, 0.09 * short_side, 40.0))


def _number(canvas: Image, number: int, centre: tuple[int, int], tall: float) -> None:
    """Write a number in white with a dark rim, which shows on any background."""
    text = str(number)
    thick = max(1, round(tall / 10))
    (_, unit), _ = cv2.getTextSize("8", _FONT, 1.0, thick)
    scale = tall / max(unit, 1)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, thick)
    rim = max(1, round(tall / 14))
    left, top = centre[0] - width // 2 - 2 * rim, centre[1] - height // 2 - 2 * rim
    ink = np.zeros((height + 4 * rim + height // 2, width + 4 * rim), np.uint8)
    cv2.putText(ink, text, (2 * rim, 2 * rim + height), _FONT, scale, 255, thick, cv2.LINE_AA)
    y0, x0 = max(top, 0), max(left, 0)
    patch = canvas[y0 : top + ink.shape[0], x0 : left + ink.shape[1]]
    ink = ink[y0 - top :, x0 - left :][: patch.shape[0], : patch.shape[1]]
    patch[cv2.dilate(ink, np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)) > 64] = _BLACK
    strength = ink[..., None].astype(np.float32) / 255.0
    patch[:] = np.round(patch * (1 - strength) + 255.0 * strength).astype(np.uint8)
