"""One decoded picture with its place in time: what flows from a source to perception."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .schema import Intrinsics

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded RGB picture.

    ``image_hw3`` is (H, W, 3) uint8 in RGB order; ``timestamp_s`` is seconds since the
    source began and never decreases within a source.

    Raises:
        InputError: if the picture has another shape or dtype.
    """

    index: int
    timestamp_s: float
    image_hw3: NDArray[np.uint8]
    source_id: str = "source"
    intrinsics: Intrinsics | None = None

    def __post_init__(self) -> None:
        image = self.image_hw3
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(
                "expected an RGB picture of shape (H, W, 3) and dtype uint8, "
                f"got shape {image.shape} and dtype {image.dtype}"
            )
