"""Pictures as a vision-language model is sent them, and its coordinates back in the frame.

What a model calls a pixel is one of the picture that it saw, so the picture is brought to a size
here that its own pre-processing leaves alone; or it says parts of a thousand, whatever the size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ...reasoner.models.endpoint import Picture
from ...twin.errors import InputError

__all__ = ["FAMILIES", "Family", "encode_picture", "family_of"]

Image = NDArray[np.uint8]
_MAX_ASPECT = 100.0  # beyond it a side would round to nothing


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of models sees.

    Attributes:
        coordinates: ``"pixels"`` of the picture that it saw, or ``"thousand"``: 0-1000 along
            each side.
        multiple: sides are multiples of this many pixels (patch times merge).
        least: fewest pixels of the picture, in all.
        most: most pixels of the picture, in all.
        square: the picture is distorted to this side; None keeps its aspect.
    """

    coordinates: Literal["pixels", "thousand"]
    multiple: int = 28
    least: int = 448 * 448
    most: int = 1280 * 28 * 28
    square: int | None = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in pixels at which a frame is sent.

        Raises:
            InputError: if one side is more than 100 times the other.
        """
        if self.square is not None:
            return self.square, self.square
        if max(height, width) > _MAX_ASPECT * min(height, width):
            raise InputError(
                f"expected a picture whose sides differ by a factor of at most {_MAX_ASPECT:.0f}, "
                f"got {width}x{height}: cut it first"
            )
        unit, pixels = self.multiple, height * width
        tall, wide = (max(unit, round(side / unit) * unit) for side in (height, width))
        if tall * wide > self.most:
            scale = math.sqrt(pixels / self.most)
            tall, wide = (max(unit, int(side / scale / unit) * unit) for side in (height, width))
        elif tall * wide < self.least:
            scale = math.sqrt(self.least / pixels)
            tall, wide = (math.ceil(side * scale / unit) * unit for side in (height, width))
        return tall, wide

    def picture(self, image_hw3: Image) -> Image:
        """The frame as the model sees it."""
        tall, wide = self.size(*image_hw3.shape[:2])
        if (tall, wide) == image_hw3.shape[:2]:
            return image_hw3
        how = cv2.INTER_AREA if tall * wide < image_hw3[..., 0].size else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(image_hw3, (wide, tall), interpolation=how), np.uint8)

    def to_frame(self, size_hw: tuple[int, int]) -> tuple[float, float]:
        """What x and y of the model are multiplied with to be pixels of a frame of that size."""
        seen = (1000, 1000) if self.coordinates == "thousand" else self.size(*size_hw)
        return size_hw[1] / seen[1], size_hw[0] / seen[0]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "qwen2-vl": Family("thousand"),
        "qwen2.5-vl": Family("pixels"),
        "qwen3-vl": Family("thousand", multiple=32, most=1280 * 32 * 32),
        "seg-zero": Family("pixels", square=840),
        "pixels": Family("pixels"),
        "thousand": Family("thousand"),
    }
)
"""By name. ``seg-zero`` (VisionReasoner, WISE, DR2Seg, which follow it) reads 840 x 840 pixels."""


def family_of(name: str, model: str = "") -> Family:
    """The family of that name; ``"auto"`` goes by the model's name, else parts of a thousand.

    Raises:
        InputError: for any other name.
    """
    if name == "auto":
        plain = model.casefold().replace("_", "-").replace(".", "").replace("-", "")
        known = {"qwen25vl": "qwen2.5-vl", "qwen3vl": "qwen3-vl", "qwen2vl": "qwen2-vl",
                 "segzero": "seg-zero", "visionreasoner": "seg-zero"}  # fmt: skip
        name = next((family for part, family in known.items() if part in plain), "thousand")
    if name not in FAMILIES:
        raise InputError(f"expected a model family of {', '.join(FAMILIES)} or auto, got {name!r}")
    return FAMILIES[name]


def encode_picture(image_hw3: Image) -> Picture:
    """The picture as PNG, which loses nothing of thin lines and small numbers."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image_hw3[:, :, ::-1]))
    if not done:
        raise InputError(f"expected a picture that can be sent, got one of {image_hw3.shape}")
    return Picture(data.tobytes())
