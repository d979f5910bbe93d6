"""Pictures for agents: masks as PNG, frames as JPEG with or without the objects drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.errors import InputError, OutputError
from ...twin.schema import FrameTwin, Rle
from ..stream.draw import Canvas, Caption

__all__ = ["MAX_SIDE", "drawn", "jpeg_of", "mask_png"]

MAX_SIDE = 1280  # a vision model sees no more, and a message of base64 stays under a megabyte
_MAX_MASK_PIXELS = 1 << 25  # 8K video; a hostile size must not become a huge picture
_QUALITY = 85


def mask_png(mask: Rle) -> bytes:
    """An (H, W) PNG of the mask: 255 inside, 0 outside.

    Raises:
        InputError: if it is larger than any video's frame.
        SchemaError: if the encoding is malformed.
    """
    height, width = mask.size
    if height * width > _MAX_MASK_PIXELS:
        raise InputError(f"expected a mask of at most 2**25 pixels, got {height} x {width}")
    return _encoded(".png", rle.decode(mask).astype(np.uint8) * 255)


def drawn(
    image_hw3: NDArray[np.uint8], twin: FrameTwin, ids: Sequence[int] = ()
) -> NDArray[np.uint8]:
    """The picture with the twin's objects on it, ``ids`` strongly; enlarged when it is small."""
    width, height = Canvas(twin.width, twin.height, []).size
    canvas = Canvas(twin.width, twin.height, [Caption("", "", tuple(ids))] if ids else [])
    return canvas.draw(image_hw3, twin)[:height, :width]


def jpeg_of(image_hw3: NDArray[np.uint8]) -> tuple[bytes, int, int]:
    """(JPEG, width, height) of an RGB picture, at most 1280 pixels on its longer side."""
    height, width = image_hw3.shape[:2]
    scale = min(1.0, MAX_SIDE / max(width, height))
    if scale < 1.0:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image_hw3 = np.asarray(
            cv2.resize(image_hw3, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    bgr = cv2.cvtColor(np.ascontiguousarray(image_hw3), cv2.COLOR_RGB2BGR)
    return _encoded(".jpg", np.asarray(bgr, np.uint8)), width, height


def _encoded(kind: str, image: NDArray[np.uint8]) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if kind == ".jpg" else []
    ok, data = cv2.imencode(kind, image, options)
    if not ok:
        raise OutputError(f"expected a {kind} picture, got none from the encoder for {image.shape}")
    return bytes(data)
