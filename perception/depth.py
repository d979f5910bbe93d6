"""Depth Anything V2 around its graph: picture to metres (or to relative depth)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError, ModelError
from .bundle import Bundle
from .resample import KERNELS, resize

__all__ = ["DepthConfig", "DepthEstimator", "input_size"]


@dataclass(frozen=True, slots=True)
class DepthConfig:
    """The depth network's entry in a bundle's manifest.

    ``fit``: ``"stretch"`` resizes every frame to ``image_size`` squared; ``"keep_aspect"`` is
    the published preprocessing (DPT's: both sides scaled by the factor nearer to one, then
    rounded to ``multiple``), for a graph of free shape; with ``input_hw``, the shape that an
    exported graph is fixed to, frames of another aspect ratio are stretched to it.
    ``resize``: ``"area"`` is OpenCV's, ``"bilinear"`` and ``"bicubic"`` the published kernels.
    ``metric``: the output is metres up to ``max_depth``; else inverse depth without a unit.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: str = "stretch"
    multiple: int = 14
    metric: bool = True
    max_depth: float = 2.0
    resize: str = "area"
    input_hw: tuple[int, int] | None = None

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any]) -> DepthConfig:
        """Read the manifest's ``config``; keys of other readers are left alone.

        Raises:
            ModelError: if a needed key is missing or a value makes no sense.
        """
        names = {f.name for f in fields(cls)}
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list | tuple) else v
            for k, v in values.items()
            if k in names
        }
        try:
            config = cls(**known)
            sound = (
                len(config.mean) == len(config.std) == 3
                and config.image_size >= config.multiple > 0
            )
        except TypeError as error:
            raise ModelError(
                f"expected the depth config with image_size, mean and std, got {error}"
            ) from error
        if (
            not sound
            or config.image_size % config.multiple
            or config.fit not in ("stretch", "keep_aspect")
        ):
            raise ModelError(
                f"expected image_size a multiple of {config.multiple} and fit 'stretch' or "
                f"'keep_aspect', got {config.image_size} and {config.fit!r}"
            )
        fixed = config.input_hw
        if config.resize not in ("area", *KERNELS) or (
            fixed is not None and (len(fixed) != 2 or any(s % config.multiple for s in fixed))
        ):
            raise ModelError(
                f"expected resize area, {' or '.join(KERNELS)} and input_hw two multiples of "
                f"{config.multiple}, got {config.resize!r} and {fixed}"
            )
        return config


class DepthEstimator:
    """Depth of every pixel of one picture.

    ``metric`` says whether :meth:`depth_m` is in metres. Otherwise the network gives inverse
    depth without a unit; it is turned around (1 at the nearest pixel, growing with distance)
    so that "larger is farther" holds for every model set.

    Raises:
        ModelError: if the bundle's depth network is incomplete or malformed.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.config = DepthConfig.from_manifest(bundle.network("depth").config)
        self._engine = bundle.engine("depth.onnx")

    @property
    def metric(self) -> bool:
        """Whether depths are metres."""
        return self.config.metric

    def depth_m(self, image_hw3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return depth (H, W) float32 of the picture's own size.

        Raises:
            InputError: if the picture is not (H, W, 3) uint8.
        """
        if image_hw3.dtype != np.uint8 or image_hw3.ndim != 3 or image_hw3.shape[2] != 3:
            raise InputError(
                f"expected a picture (H, W, 3) uint8, got {image_hw3.shape} {image_hw3.dtype}"
            )
        height, width = image_hw3.shape[:2]
        new_h, new_w = input_size(height, width, self.config)
        pixels: NDArray[Any] = image_hw3
        kernel = self.config.resize
        if kernel != "area":
            pixels = resize(image_hw3, (new_h, new_w), kernel)
        elif (new_h, new_w) != (height, width):
            shrinks = new_h * new_w < height * width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            pixels = cv2.resize(image_hw3, (new_w, new_h), interpolation=how)
        scale = (1.0 / (255.0 * np.asarray(self.config.std))).astype(np.float32)
        shift = (-np.asarray(self.config.mean) / np.asarray(self.config.std)).astype(np.float32)
        planes = (pixels.astype(np.float32) * scale + shift).transpose(2, 0, 1)[None]
        depth = self._engine.run({"pixel_values": np.ascontiguousarray(planes)})["depth"][0]
        depth = depth.astype(np.float32)
        if not self.config.metric:
            nearest = max(float(depth.max()), 1e-6)
            depth = nearest / np.maximum(depth, 1e-3 * nearest)
        if depth.shape != (height, width):
            depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(depth, dtype=np.float32)


def input_size(height: int, width: int, config: DepthConfig) -> tuple[int, int]:
    """Return the (height, width) that the graph is given for a frame of this size.

    ``keep_aspect`` follows DPT's ``get_resize_output_image_size``: of the two factors that
    bring a side to ``image_size``, the one nearer to 1 scales both; each side is rounded to
    the nearest multiple, and never below one patch.
    """
    side, multiple = config.image_size, config.multiple
    if config.input_hw is not None:
        return config.input_hw
    if config.fit == "stretch":
        return side, side
    factors = side / height, side / width
    factor = min(factors, key=lambda f: abs(1 - f))

    def fit(length: int) -> int:
        return max(multiple, round(factor * length / multiple) * multiple)

    return fit(height), fit(width)
