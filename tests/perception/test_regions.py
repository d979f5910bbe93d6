"""Regions: shapes and names by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.regions import (
    BROAD_LABELS,
    border_share,
    mask_boxes,
    patch_weights,
    shared_areas,
    stability,
)
from edgetwin.twin.errors import InputError


def block(size: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(size, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_boxes_around_masks() -> None:
    masks = np.stack([block((8, 10), 2, 1, 5, 8), block((8, 10), 0, 0, 0, 0)])
    assert mask_boxes(masks).tolist() == [[2, 1, 5, 8], [0, 0, 0, 0]]
    assert mask_boxes(masks[:0]).shape == (0, 4)


def test_stability_is_the_iou_of_two_thresholds() -> None:
    logits = np.full((2, 4, 4), -5.0, np.float32)
    logits[0, 0] = (2, 0.5, -0.5, -3)  # above 1: one cell; above -1: three
    assert stability(logits, 1.0).tolist() == pytest.approx([1 / 3, 0])
    assert stability(logits, 4.0).tolist() == pytest.approx([0, 0])


def test_shared_areas_by_hand() -> None:
    a = np.stack([block((6, 6), 0, 0, 4, 4), block((6, 6), 5, 5, 6, 6)])
    b = np.stack([block((6, 6), 2, 2, 6, 6)])
    assert shared_areas(a, b).tolist() == [[4], [1]]
    assert shared_areas(a[:0], b).shape == (0, 1)


def test_a_table_holds_the_border_and_a_thing_does_not() -> None:
    table = ~block((10, 10), 3, 3, 7, 7)
    half = block((10, 10), 0, 0, 10, 5)  # 10 + 4 + 4 of 36 rim pixels
    thing = block((10, 10), 3, 3, 7, 7)
    assert border_share(np.stack([table, half, thing])).tolist() == pytest.approx([1, 0.5, 0])


class TestPatches:
    """A 2 x 2 grid on a picture of 40 x 20: its lower row of patches is padding."""

    BOXES = np.array([[0, 0, 20, 20], [20, 0, 40, 20], [0, 0, 1, 1], [0, 0, 1, 1]], np.float32)
    SEEN = np.array([1, 0.5, 1, 1], np.float32)

    def test_cover_fit_and_objectness(self) -> None:
        whole = block((20, 40), 0, 0, 40, 20)
        # IoU 1/2 with both patches' boxes, which count by objectness: 1 to .5.
        got = patch_weights(whole[None], self.BOXES, self.SEEN)
        assert got[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
        left = block((20, 40), 0, 0, 20, 20)
        got = patch_weights(left[None], self.BOXES, self.SEEN)
        assert got[0].tolist() == pytest.approx([1, 0, 0, 0])

    def test_where_no_patch_speaks_cover_does(self) -> None:
        right = block((20, 40), 20, 0, 40, 20)
        got = patch_weights(right[None], self.BOXES, np.zeros(4, np.float32))
        assert got[0].tolist() == pytest.approx([0, 1, 0, 0])

    def test_a_region_smaller_than_a_patch_and_no_region(self) -> None:
        got = patch_weights(block((20, 40), 30, 3, 31, 4)[None], self.BOXES, self.SEEN)
        assert got[0].argmax() == 1
        assert got.sum() == pytest.approx(1)
        empty = patch_weights(block((20, 40), 0, 0, 0, 0)[None], self.BOXES, self.SEEN)
        assert empty.sum() == pytest.approx(1)
        assert patch_weights(np.zeros((0, 20, 40), np.bool_), self.BOXES, self.SEEN).shape == (0, 4)

    def test_patches_that_are_no_square_grid(self) -> None:
        with pytest.raises(InputError, match="square grid"):
            patch_weights(block((4, 4), 0, 0, 1, 1)[None], self.BOXES[:3], self.SEEN[:3])


def test_the_broad_list_has_no_repeats() -> None:
    assert len(set(BROAD_LABELS)) == len(BROAD_LABELS) >= 100
    assert all(label == label.lower().strip() for label in BROAD_LABELS)
