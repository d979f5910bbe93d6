"""Appearance vectors by hand, and on the embedded segmenter's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgetwin.perception.appearance import describe, unlikeness
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.segmenter import Segmenter
from edgetwin.twin.errors import InputError


@dataclass
class Grid:
    high_res_0: np.ndarray


def logits(*cells: tuple[slice, slice]) -> np.ndarray:
    result = np.full((len(cells), 4, 4), -5.0, np.float32)
    for row, where in zip(result, cells, strict=True):
        row[where] = 5.0
    return result


def test_mean_and_spread_by_hand() -> None:
    """One channel: 1 in the left half, -1 in the right, so mean 0 and deviation 1."""
    grid = np.ones((1, 1, 4, 4), np.float32)
    grid[..., 2:] = -1
    left, both = np.s_[:, :2], np.s_[:, 1:3]
    vectors = describe(Grid(grid), logits(left, both))
    np.testing.assert_allclose(vectors, [[1, 0], [0, 1]], atol=1e-4)
    assert unlikeness(vectors[0], vectors[0]) == pytest.approx(0.0, abs=1e-5)
    assert unlikeness(vectors[0], vectors[1]) == 1.0


def test_no_masks_and_empty_masks() -> None:
    grid = Grid(np.ones((1, 3, 4, 4), np.float32))
    assert describe(grid, np.zeros((0, 4, 4), np.float32)).shape == (0, 6)
    assert not describe(grid, np.full((1, 4, 4), -1.0, np.float32)).any()


def test_grids_must_agree() -> None:
    with pytest.raises(InputError, match=r"shape \(N, 4, 4\), got \(1, 5, 5\)"):
        describe(Grid(np.ones((1, 3, 4, 4), np.float32)), np.zeros((1, 5, 5), np.float32))


def test_moved_object_looks_more_like_itself_than_like_another() -> None:
    segmenter = Segmenter(load_bundle("embedded"))
    boxes = {"red": (40, 40, 90, 90), "blue": (150, 140, 200, 190)}
    moved = {"red": (160, 50, 210, 100), "blue": (50, 150, 100, 200)}
    vectors = []
    for places in (boxes, moved):
        image = np.full((256, 256, 3), 170, np.uint8)
        image[(np.indices((256, 256)).sum(0) // 8) % 2 == 0] -= 12
        for (x0, y0, x1, y1), color in zip(
            places.values(), ((200, 40, 40), (40, 60, 200)), strict=True
        ):
            image[y0:y1, x0:x1] = color
        features = segmenter.encode(image)
        masks = segmenter.from_boxes(features, np.array(list(places.values()), np.float32))
        vectors.append(describe(features, masks.logits_nhw))
    before, after = vectors
    assert unlikeness(before[0], after[0]) < 0.5 * unlikeness(before[0], after[1])
    assert unlikeness(before[1], after[1]) < 0.5 * unlikeness(before[1], after[0])
