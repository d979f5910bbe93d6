"""What an object looks like, as one short vector: to know it again after it was hidden.

The segmenter's finest features under the mask, their mean and their spread, each channel
measured in the picture's own mean and deviation. On tuning worlds, among objects that had
moved or were partly covered since (24 worlds, 4 to 7 objects each), the same object was the
most similar one in .88 of the cases; for the mask's mean colour that is .85, for the mean of
the coarse image embedding .71, for SAM 2's object pointers .47. Not covered: the other side
of an object, light that changes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["FineFeatures", "describe", "unlikeness"]

_TYPICAL = 0.10  # 1 - cosine of two different objects: median .11, of one object .00 to .05


class FineFeatures(Protocol):
    """What is needed of a segmenter's encoded picture."""

    @property
    def high_res_0(self) -> NDArray[np.float32]:
        """Features (1, C, S, S) of a fine grid over the whole picture."""
        ...


def describe(features: FineFeatures, logits_nhw: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return one vector of length 1 per mask, (N, 2C) float32; zeros for an empty mask.

    ``logits_nhw`` are mask logits (N, S, S) on the same grid as the features.

    Raises:
        InputError: if masks and features are not on the same grid.
    """
    grid = features.high_res_0[0]
    if logits_nhw.ndim != 3 or logits_nhw.shape[1:] != grid.shape[1:]:
        raise InputError(
            f"expected mask logits of shape (N, {grid.shape[1]}, {grid.shape[2]}), "
            f"got {logits_nhw.shape}"
        )
    cells = grid.reshape(len(grid), -1).astype(np.float32)
    mean, deviation = cells.mean(axis=1), cells.std(axis=1) + 1e-6
    vectors = np.zeros((len(logits_nhw), 2 * len(cells)), np.float32)
    # Cell by cell rather than as a matrix product: BLAS's threads wait for each other, up to half
    # a second on a device whose other cores are busy.
    for vector, logits in zip(vectors, logits_nhw, strict=True):
        inside = np.flatnonzero(logits > 0)
        if inside.size:
            scaled = (cells[:, inside] - mean[:, None]) / deviation[:, None]
            vector[:] = np.concatenate([scaled.mean(axis=1), scaled.std(axis=1)])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return unit


def unlikeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return 0 for one object's vectors to 1 for those of different ones; see :func:`describe`."""
    return float(np.clip((1.0 - float(a @ b)) / _TYPICAL, 0.0, 1.0))
