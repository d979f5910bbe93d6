"""Pictures with depth for training: batches and what is learnt from them.

Besides the depth itself, every picture has targets that a throw-away head learns (see
:mod:`.depth_loss`): what each patch shows, how far it stands off the table, and the table's
plane, since the inverse depth of a plane is linear in the picture's coordinates.

Not covered: cameras that roll, and scenes without one plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...perception.graphs.configs_depth import IMAGENET_MEAN, IMAGENET_STD
from .detector_data import photometric, targets

__all__ = ["DepthBatch", "DepthPictures", "chances", "depth_batch", "pixels_of", "table_plane"]

PLANE_MEAN, PLANE_STD = (1.245, 0.940), (0.076, 0.228)
"""Of :func:`table_plane` over 300 cell pictures: brings both numbers to one size."""


class DepthPictures(Protocol):
    """Picture shards: ``rgb`` (N, H, W, 3), ``ids``, ``depth`` (N, H, W), and their records."""

    @property
    def rgb(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def ids(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def depth(self) -> NDArray[np.float16]: ...  # noqa: D102
    @property
    def objects(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102
    def __len__(self) -> int: ...


@dataclass
class DepthBatch:
    """B pictures of S × S pixels and P patches.

    ``pixels`` (B, 3, S, S) normalised; ``depth`` (B, S, S) metres; ``objects`` (B, S, S) bool;
    ``noun`` (B, P) int64, 0 for the table and −1 where a patch shows too little of an object;
    ``height`` (B, P) mean of (plane's depth / depth − 1); ``plane`` (B, 2) standardised.
    """

    pixels: Tensor
    depth: Tensor
    objects: Tensor
    noun: Tensor
    height: Tensor
    plane: Tensor

    def to(self, device: str) -> DepthBatch:
        """Move to a device."""
        return DepthBatch(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


def chances(records: Sequence[Mapping[str, Any]], lifted: float) -> NDArray[np.float64]:
    """How likely each picture is drawn (N,): ``lifted`` times more with an object in the air.

    Only its shadow tells that it does not stand farther away, and 3 % of the objects are.
    """
    shares = np.ones(len(records))
    for row, record in enumerate(records):
        if any(o.get("lift_m", 0.0) > 0.015 for o in record["objects"]):
            shares[row] = lifted
    drawn: NDArray[np.float64] = shares / shares.sum()
    return drawn


def table_plane(
    depth_hw: NDArray[np.float32], objects_hw: NDArray[np.bool_]
) -> tuple[float, float]:
    """Fit 1 / depth = a + b · y to the table, y from −.5 (top) to .5; returns (a, b) in 1/m.

    Rows only, since the cameras do not roll. A second fit leaves out what lies off the first.
    """
    step = max(1, depth_hw.shape[0] // 64)
    depth, free = depth_hw[::step, ::step], ~objects_hw[::step, ::step]
    free &= np.isfinite(depth) & (depth > 0.05) & (depth < 10)
    rows = (np.arange(0, depth_hw.shape[0], step) + 0.5) / depth_hw.shape[0] - 0.5
    y, inverse = np.broadcast_to(rows[:, None], depth.shape)[free], 1 / depth[free]
    a, b = PLANE_MEAN
    for keep in (inverse > 0, None):
        near = np.abs(inverse - a - b * y) < 0.02 if keep is None else keep
        if near.sum() >= 50:
            b, a = np.polyfit(y[near], inverse[near], 1)
    return float(a), float(b)


def pixels_of(frames: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return (B, 3, S, S) normalised pixels of (S, S, 3) pictures."""
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    normalised: Tensor = (pixels - mean) / std
    return normalised


def depth_batch(
    data: DepthPictures,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
    size: int,
    patch: int,
    nouns: Mapping[str, int],
) -> DepthBatch:
    """Read, augment (mirror, light, noise) and label the pictures ``rows``."""
    columns: list[list[Any]] = [[] for _ in range(6)]
    for row in rows.tolist():
        rgb, ids = np.array(data.rgb[row]), np.array(data.ids[row])
        depth = np.asarray(data.depth[row], np.float32)
        if rng.random() < 0.5:
            rgb, ids, depth = (np.ascontiguousarray(a[:, ::-1]) for a in (rgb, ids, depth))
        rgb = photometric(rgb, rng)
        if size != rgb.shape[0]:
            rgb = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
            ids = cv2.resize(ids, (size, size), interpolation=cv2.INTER_NEAREST)
            near = cv2.resize(depth, (size, size), interpolation=cv2.INTER_NEAREST)
            depth = np.asarray(near, np.float32)
        a, b = table_plane(depth, ids > 0)
        y = (np.arange(size) + 0.5) / size - 0.5
        height = 1 / np.maximum(depth, 0.05) / (a + b * y)[:, None] - 1
        tiles = height.reshape(size // patch, patch, size // patch, patch).mean(axis=(1, 3))
        plane = [(v - m) / s for v, m, s in zip((a, b), PLANE_MEAN, PLANE_STD, strict=True)]
        noun = _nouns(ids, data.objects[row]["objects"], nouns, patch)
        values = (rgb, depth, ids > 0, noun, tiles.ravel(), plane)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    depths, masks, words, heights, planes = (np.stack(c) for c in columns[1:])
    return DepthBatch(
        pixels_of(columns[0]),
        torch.from_numpy(depths),
        torch.from_numpy(masks),
        torch.from_numpy(words),
        torch.from_numpy(heights.astype(np.float32)),
        torch.from_numpy(planes.astype(np.float32)).clamp(-4, 4),
    )


def _nouns(
    ids: NDArray[np.uint8],
    records: Sequence[Mapping[str, Any]],
    nouns: Mapping[str, int],
    patch: int,
) -> NDArray[np.int64]:
    count = max((int(o["id"]) for o in records), default=0)
    names = np.full(count + 1, -1, np.int64)
    for record in records:
        names[record["id"]] = nouns.get(record["category"], -2) + 1
    patches, owners, _, ignored = targets(ids, count, patch)
    labels = np.zeros(len(ignored), np.int64)
    labels[ignored] = -1
    labels[patches] = names[owners + 1]
    return labels
