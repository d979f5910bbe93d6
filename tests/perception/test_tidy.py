"""Tidied masks by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.records import Masks
from edgetwin.perception.tidy import tidy
from edgetwin.twin.errors import InputError


def masks(*drawn: np.ndarray) -> Masks:
    return Masks(np.stack(drawn), np.full(len(drawn), 0.5, np.float32))


def drawn(*rectangles: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    for x0, y0, x1, y1 in rectangles:
        mask[y0:y1, x0:x1] = True
    return mask


def test_leak_outside_the_widened_box_goes() -> None:
    leaking = drawn((10, 10, 50, 20))  # the box ends at x = 30; 10 % of 20 px is 2 px more
    out = tidy(masks(leaking), np.array([[10, 10, 30, 20]]))
    np.testing.assert_array_equal(out.masks_nhw[0], drawn((10, 10, 32, 20)))
    assert out.scores_n.tolist() == [0.5]
    assert leaking[15, 45]  # the given masks stay as they are


def test_crumbs_go_but_halves_stay() -> None:
    halves = drawn((10, 10, 16, 20), (22, 10, 30, 20))
    crumbed = halves | drawn((18, 12, 20, 14))  # 4 of 80 pixels
    out = tidy(masks(crumbed, halves), np.array([[10, 10, 30, 20]] * 2))
    np.testing.assert_array_equal(out.masks_nhw[0], halves)
    np.testing.assert_array_equal(out.masks_nhw[1], halves)


def test_empty_boxes_masks_and_lists() -> None:
    out = tidy(masks(drawn((0, 0, 60, 40))), np.array([[70, 50, 70, 50]]))
    assert not out.masks_nhw.any()
    out = tidy(masks(drawn()), np.array([[0, 0, 10, 10]]))
    assert not out.masks_nhw.any()
    assert len(tidy(Masks.empty(40, 60), np.zeros((0, 4)))) == 0


def test_one_box_per_mask() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 4\), got \(2, 4\)"):
        tidy(masks(drawn()), np.zeros((2, 4)))
    with pytest.raises(InputError, match="expected masks of shape"):
        masks(drawn()).with_masks(np.zeros((2, 40, 60), bool))
