"""Mask metrics against values computed by hand."""

import numpy as np
import pytest

from edgetwin.distill.metrics import (
    contour_accuracy,
    giou_ciou,
    inscribed_ellipse,
    intersection_over_union,
    region_similarity,
    video_scores,
)
from edgetwin.twin.errors import InputError


def box(height: int, width: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_region_similarity_by_hand() -> None:
    # 4x4 squares overlapping in a 4x2 strip: 8 / (16 + 16 - 8)
    assert region_similarity(box(10, 10, 0, 4, 0, 4), box(10, 10, 0, 4, 2, 6)) == pytest.approx(
        8 / 24
    )


def test_region_similarity_of_empties() -> None:
    empty = np.zeros((5, 7), bool)
    assert region_similarity(empty, empty) == 1.0
    assert region_similarity(empty, ~empty) == 0.0
    assert intersection_over_union(empty, empty) == 0.0


def test_contour_accuracy_tolerates_a_shift_within_the_disk_only() -> None:
    # diagonal of 60x80 is 100, so the tolerance is ceil(0.8) = 1 pixel
    target = box(60, 80, 20, 40, 20, 50)
    assert contour_accuracy(target, target) == 1.0
    assert contour_accuracy(box(60, 80, 21, 41, 20, 50), target) == 1.0
    assert contour_accuracy(box(60, 80, 24, 44, 24, 54), target) < 0.2


def test_contour_accuracy_by_hand() -> None:
    # Half planes split at column 10 and column 50: one vertical edge each. The prediction
    # also has the target's edge, so recall is 1 and precision is one half.
    gt = np.zeros((60, 80), bool)
    gt[:, :10] = True
    pred = gt.copy()
    pred[:, 50:] = True
    assert contour_accuracy(pred, gt) == pytest.approx(2 * 0.5 * 1.0 / 1.5)


def test_contour_accuracy_of_empties() -> None:
    empty = np.zeros((50, 50), bool)
    assert contour_accuracy(empty, empty) == 1.0
    assert contour_accuracy(empty, box(50, 50, 10, 20, 10, 20)) == 0.0
    assert contour_accuracy(box(50, 50, 10, 20, 10, 20), empty) == 0.0


def test_giou_ciou_protocols_differ_as_published() -> None:
    # sample 1: I = 2, U = 4 without void; the void pixel is predicted
    pred = np.array([[1, 1, 1, 0, 1]])
    gt = np.array([[0, 1, 1, 1, 255]])
    nothing = (np.zeros((1, 5)), np.zeros((1, 5)))
    giou, ciou = giou_ciou([(pred, gt), nothing], protocol="lisa")
    assert giou == pytest.approx((2 / (4 + 1e-5) + 1) / 2)
    assert ciou == pytest.approx(2 / 4)
    giou, ciou = giou_ciou([(pred, gt), nothing], protocol="seg-zero")
    assert giou == pytest.approx((3 / (5 + 1e-5) + 0) / 2)
    assert ciou == pytest.approx(3 / 5)


def test_giou_weighs_samples_and_ciou_weighs_pixels() -> None:
    small = (box(10, 10, 0, 1, 0, 1), box(10, 10, 0, 1, 0, 1))
    large = (box(10, 10, 0, 10, 0, 5), box(10, 10, 0, 10, 0, 10))
    giou, ciou = giou_ciou([small, large])
    assert giou == pytest.approx(0.75, abs=1e-4)
    assert ciou == pytest.approx(51 / 101)


def test_video_scores_average_over_frames() -> None:
    hit, empty = box(20, 20, 5, 15, 5, 15), np.zeros((20, 20), bool)
    assert video_scores([hit, empty], [hit, hit]) == (0.5, 0.5)


def test_inscribed_ellipse_fills_pi_quarters_of_its_box() -> None:
    mask = inscribed_ellipse((20, 30, 180, 130), 200, 200)
    assert mask.sum() / (160 * 100) == pytest.approx(np.pi / 4, abs=0.003)
    assert not mask[:30].any()
    assert not mask[:, 180:].any()


@pytest.mark.parametrize(
    ("pred", "gt", "words"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), bool), "boolean"),
        (np.zeros((2, 2), bool), np.zeros((2, 3), bool), "one shape"),
        (np.zeros(4, bool), np.zeros(4, bool), r"\(H, W\)"),
    ],
)
def test_wrong_masks_are_refused(pred: np.ndarray, gt: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        region_similarity(pred, gt)


def test_wrong_sets_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        giou_ciou([])
    with pytest.raises(InputError, match="protocol"):
        giou_ciou([], protocol="other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one shape"):
        giou_ciou([(np.zeros((1, 2)), np.zeros((2, 1)))])
    with pytest.raises(InputError, match="as many"):
        video_scores([], [np.zeros((2, 2), bool)])
