"""What viewers of a live stream see: the frame with outlines, tints and names, at its own size.

Lighter than :class:`~edgetwin.deploy.stream.draw.Canvas`, which enlarges small frames and writes
questions below: a live picture is made many times a second and must keep the frame's pixels, so
that a click on it is a place in the twin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.errors import OutputError
from ...twin.schema import FrameTwin, ObjectTwin, Rle
from ..stream.draw import ascii_text, free_plate

if TYPE_CHECKING:
    from ..live.moments import Moment

__all__ = ["colour_of", "draw", "encode_jpeg", "even", "outlines", "overlaid"]

Image = NDArray[np.uint8]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_JPEG_QUALITY = 82  # outlines stay sharp; a 256x256 frame is about 15 kB
_MAX_POINTS = 60  # of one outline; finer ones are not seen at video size


def draw(overlay: bool, ids: frozenset[int]) -> Callable[[Moment], NDArray[np.uint8]]:
    """Return what makes a viewer's picture of a moment, (H, W, 3) RGB."""
    if not overlay:
        return lambda moment: moment.frame.image_hw3
    return lambda moment: overlaid(moment.frame.image_hw3, moment.twin, ids)


def overlaid(image_hw3: Image, twin: FrameTwin, ids: Collection[int] = ()) -> Image:
    """Return a copy of the (H, W, 3) RGB frame with its visible objects drawn on it.

    With ``ids`` only those are tinted strongly and the others are left as they are.
    """
    canvas = np.ascontiguousarray(image_hw3).copy()
    shown = [
        obj
        for obj in twin.objects.values()
        if obj.state == "visible" and obj.mask is not None and (not ids or obj.id in ids)
    ]
    shown.sort(key=lambda obj: -obj.area)
    strength = 0.45 if ids else 0.2
    for obj in shown:
        _tint(canvas, obj, strength, 2 if ids else 1)
    taken: list[tuple[int, int, int, int]] = []
    for obj in reversed(shown):
        taken.append(_name(canvas, obj, taken))
    return canvas


def outlines(mask: Rle) -> list[list[list[int]]]:
    """Return the outer outlines of a mask, largest first, as [[x, y], …] in pixels of the frame.

    At most 8 pieces and about 60 points in all; smaller pieces are left out.
    """
    left, top, crop_hw = _crop(mask)
    if not crop_hw.size:
        return []
    found, _ = cv2.findContours(
        crop_hw.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    pieces = sorted(found, key=cv2.contourArea, reverse=True)[:8]
    fineness = 0.75
    while True:
        simple = [cv2.approxPolyDP(piece, fineness, True)[:, 0] for piece in pieces]
        if sum(len(piece) for piece in simple) <= _MAX_POINTS or fineness > 16:
            break
        fineness *= 1.6
    kept = [piece.tolist() for piece in simple if len(piece) >= 3]
    return kept or [piece.tolist() for piece in simple[:1]]


def encode_jpeg(image_hw3: Image) -> bytes:
    """Return an (H, W, 3) RGB picture as JPEG.

    Raises:
        OutputError: if it cannot be encoded.
    """
    done, data = cv2.imencode(
        ".jpg",
        cv2.cvtColor(image_hw3, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    if not done:
        raise OutputError(f"expected a picture that JPEG holds, got shape {image_hw3.shape}")
    return data.tobytes()


def even(image_hw3: Image) -> Image:
    """Return the picture without its last row or column where their number is odd (for video)."""
    height, width = image_hw3.shape[:2]
    return image_hw3[: height - height % 2, : width - width % 2]


def colour_of(object_id: int) -> tuple[int, int, int]:
    """Return an object's RGB colour; neighbours in number differ (golden angle)."""
    hue = int(object_id * 0.618034 % 1 * 180)
    pixel = np.array([[[hue, 130, 235]]], np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB).flatten()
    return int(red), int(green), int(blue)


def _tint(canvas: Image, obj: ObjectTwin, strength: float, width: int) -> None:
    assert obj.mask is not None
    left, top, crop_hw = _crop(obj.mask)
    patch = canvas[top : top + crop_hw.shape[0], left : left + crop_hw.shape[1]]
    if patch.shape[:2] != crop_hw.shape:
        return  # a mask of another size than the frame's
    colour = colour_of(obj.id)
    mixed = (1 - strength) * patch[crop_hw] + strength * np.array(colour, np.float32)
    patch[crop_hw] = mixed.astype(np.uint8)
    lines, _ = cv2.findContours(
        crop_hw.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left, top)
    )
    cv2.drawContours(canvas, lines, -1, colour, width, cv2.LINE_AA)


def _name(
    canvas: Image, obj: ObjectTwin, taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """Write id and label near the object; return the place taken."""
    text = ascii_text(f"{obj.id} {obj.semantic_label}")
    unit = max(0.3, min(canvas.shape[:2]) / 1300)
    (width, height), base = cv2.getTextSize(text, _FONT, unit, 1)
    size = (min(width + 4, canvas.shape[1]), min(height + base + 2, canvas.shape[0]))
    x0, y0, _, y1 = obj.box_xyxy
    place = free_plate(canvas.shape[:2], size, [(x0, y0 - size[1] - 1), (x0, y1 + 1)], taken)
    plate = canvas[place[1] : place[3], place[0] : place[2]]
    plate[:] = (plate * 0.35).astype(np.uint8)
    where = (place[0] + 2, place[1] + height + 1)
    cv2.putText(canvas, text, where, _FONT, unit, colour_of(obj.id), 1, cv2.LINE_AA)
    return place


def _crop(mask: Rle) -> tuple[int, int, NDArray[np.bool_]]:
    """Return left, top and the pixels of a mask's box."""
    x0, y0, x1, y1 = (int(edge) for edge in rle.to_box(mask))
    return x0, y0, np.ascontiguousarray(rle.decode(mask)[y0:y1, x0:x1])
