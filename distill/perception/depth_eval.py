"""Scores of a depth network on simulated pictures, at the pictures' own size."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from .depth_data import DepthPictures, pixels_of

__all__ = ["evaluate_depth"]

MIN_AREA = 40


@torch.no_grad()
def evaluate_depth(
    predict: Callable[[Tensor], Tensor],
    pictures: DepthPictures,
    size: int,
    limit: int | None = None,
) -> dict[str, float]:
    """Score ``predict``, (B, 3, S, S) normalised pixels to (B, S, S) metres.

    ``objects_10``: share of object pixels within 10 % of the truth; ``all_10`` of all
    pixels; ``objects_25`` the usual δ1; ``objects_relative`` the mean relative error;
    ``objects_median_10``: share of objects whose median depth is within 10 %. The first four
    are means over pictures.
    """
    near, wide, errors, everywhere, medians = [], [], [], [], []
    count = len(pictures) if limit is None else min(limit, len(pictures))
    for start in range(0, count, 8):
        rows = range(start, min(start + 8, count))
        frames = [np.array(pictures.rgb[row]) for row in rows]
        small = [cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA) for rgb in frames]
        found = predict(pixels_of(small)).cpu().numpy()  # type: ignore[arg-type]
        for row, got in zip(rows, found, strict=True):
            truth, ids = np.asarray(pictures.depth[row], np.float32), np.asarray(pictures.ids[row])
            depth = cv2.resize(got, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
            valid = np.isfinite(truth) & (truth > 0.05) & (truth < 10)
            error = np.abs(depth - truth) / np.where(valid, truth, 1)
            objects = valid & (ids > 0)
            everywhere.append(float((error[valid] < 0.1).mean()))
            if objects.any():
                near.append(float((error[objects] < 0.1).mean()))
                wide.append(float((error[objects] < 0.25).mean()))
                errors.append(float(error[objects].mean()))
            for k in range(1, int(ids.max()) + 1):
                mine = valid & (ids == k)
                if mine.sum() >= MIN_AREA:
                    middle, want = np.median(depth[mine]), np.median(truth[mine])
                    medians.append(float(abs(middle - want) < 0.1 * want))

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else 0.0

    return {
        "objects_10": mean(near),
        "objects_25": mean(wide),
        "objects_relative": mean(errors),
        "objects_median_10": mean(medians),
        "all_10": mean(everywhere),
    }
