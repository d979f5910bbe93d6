"""Repeated detections by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.records import Detections, Masks
from edgetwin.perception.repeats import RepeatLimits, shared_parts


def found(*rows: tuple[list[float], str, str]) -> Detections:
    return Detections(
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.full(len(rows), 0.5, np.float32),
        tuple(r[1] for r in rows),
        tuple(r[2] for r in rows),
    )


def drawn(*rectangles: tuple[int, int, int, int]) -> Masks:
    masks = np.zeros((len(rectangles), 40, 40), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rectangles, strict=True):
        mask[y0:y1, x0:x1] = True
    return Masks(masks, np.ones(len(rectangles), np.float32))


def test_part_of_the_smaller_mask() -> None:
    rows = found(([0, 0, 20, 10], "mug", "red"), ([0, 0, 10, 10], "bowl", "red"))
    parts = shared_parts(rows, drawn((0, 0, 20, 10), (5, 0, 10, 10)))
    np.testing.assert_allclose(parts, [[0, 1], [1, 0]])  # 50 of 50 pixels


def test_boxes_count_under_one_noun_only() -> None:
    """Two halves of one thing: boxes share 20 x 5 of 20 x 10, the masks nothing."""
    halves = drawn((0, 0, 20, 5), (0, 5, 20, 15))
    one = found(([0, 0, 20, 10], "phone", "black"), ([0, 5, 20, 15], "phone", "black"))
    two = found(([0, 0, 20, 10], "phone", "black"), ([0, 5, 20, 15], "book", "black"))
    assert shared_parts(one, halves)[0, 1] == pytest.approx(0.5)
    assert shared_parts(two, halves)[0, 1] == 0.0


def test_limits() -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    rows = found(
        (box, "mug", "red"), (box, "mug", "red"), (box, "bowl", "red"), (box, "mug", "blue")
    )
    limits = RepeatLimits(0.3, 0.6, 0.9)
    assert [limits.of(rows, 0, k) for k in (1, 2, 3)] == [0.3, 0.6, 0.9]


def test_nothing_and_empty_masks() -> None:
    assert shared_parts(Detections.empty(), Masks.empty(8, 8)).shape == (0, 0)
    rows = found(([0, 0, 9, 9], "mug", "red"), ([20, 0, 29, 9], "mug", "red"))
    assert not shared_parts(rows, drawn((0, 0, 0, 0), (0, 0, 5, 5))).any()
