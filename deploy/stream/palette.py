"""Indexed PNG as DAVIS keeps annotations: 8 bits, the 256-colour VOC palette, index = object id."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import OutputError

__all__ = ["davis_palette", "encode_png", "palette_index"]


def davis_palette() -> NDArray[np.uint8]:
    """Return the (256, 3) RGB palette of DAVIS and PASCAL VOC; index 0 is black."""
    palette = np.zeros((256, 3), np.uint8)
    for index in range(256):
        bits = index
        for place in range(8):
            for channel in range(3):
                palette[index, channel] |= (bits >> channel & 1) << (7 - place)
            bits >>= 3
    return palette


def palette_index(object_id: int) -> int:
    """Return the palette index of an object id.

    Ids 1 to 254 are their own index. Index 0 is background and 255 is DAVIS' void, so larger
    ids wrap onto 1 to 254 (255 becomes 1); ``masks.json`` always holds the true id.
    """
    if object_id < 1:
        raise OutputError(f"expected an object id of at least 1, got {object_id}")
    return (object_id - 1) % 254 + 1


def encode_png(index_hw: NDArray[np.uint8]) -> bytes:
    """Encode an (H, W) uint8 index picture as a palette PNG (PNG 1.2, colour type 3)."""
    if index_hw.ndim != 2 or index_hw.dtype != np.uint8 or 0 in index_hw.shape:
        raise OutputError(
            f"expected indices of shape (H, W) and dtype uint8, got {index_hw.shape} {index_hw.dtype}"
        )
    height, width = index_hw.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with filter type 0
    rows[:, 1:] = index_hw
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, body)
        for name, body in (
            (b"IHDR", header),
            (b"PLTE", davis_palette().tobytes()),
            (b"IDAT", zlib.compress(rows.tobytes(), 3)),
            (b"IEND", b""),
        )
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
