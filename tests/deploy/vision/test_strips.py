"""Strips as drawn: lines where regions begin, numbers that can be read, at any size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgetwin.deploy.vision.strips import draw_strips, region_box, strip_edges
from edgetwin.twin.errors import InputError


@pytest.mark.parametrize("count", [2, 5, 9, 13])
@pytest.mark.parametrize("size_hw", [(256, 256), (30, 40), (90, 3000), (2160, 3840), (1000, 20)])
def test_lines_and_numbers_are_where_the_regions_are(count: int, size_hw: tuple[int, int]) -> None:
    image = np.full((*size_hw, 3), 120, np.uint8)
    flat = draw_strips(image, count, "horizontal")
    tall = draw_strips(image, count, "vertical")
    for drawn, axis in ((flat, 0), (tall, 1)):
        length, across = drawn.shape[axis], drawn.shape[1 - axis]
        assert max(drawn.shape) >= 1000
        edges = strip_edges(length, count)
        lines = np.take(drawn, 3, axis=1 - axis)  # away from the numbers
        green = (lines == (0, 200, 0)).all(axis=1)
        assert green[edges[:-1]].all()
        for start, end in pairwise(edges):
            assert end - start >= 28
            strip = np.take(drawn, range(start + 3, end - 3), axis=axis)
            white = (strip > 180).all(axis=2)
            dark = (strip < 20).all(axis=2)
            assert white.sum() >= 8  # ink of a number, whole within its strip
            assert dark.sum() >= 8  # and its rim
            ys, xs = np.nonzero(white)
            middle = (ys, xs)[1 - axis].mean()
            assert abs(middle - across / 2) < max(14.0, 0.05 * across)
        assert (drawn != 120).any(axis=2).mean() < 0.6  # most of the scene stays


def test_numbers_differ_from_each_other() -> None:
    image = np.full((256, 256, 3), 120, np.uint8)
    drawn = draw_strips(image, 13, "horizontal")
    edges = strip_edges(1000, 13)
    shapes = [drawn[e + 5 : e + 70, 450:550].tobytes() for e in edges[:-1]]
    assert len(set(shapes)) == 13


def test_the_picture_stays_visible_and_untouched() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    before = image.copy()
    drawn = draw_strips(image, 9, "horizontal")
    assert (image == before).all()
    assert (drawn == image).all(axis=2).mean() > 0.95


def test_regions_are_boxes_of_strips() -> None:
    assert region_box((1, 9), (1, 9), (9, 9), (90, 180)) == (0, 0, 180, 90)
    assert region_box((2, 3), (4, 4), (9, 9), (90, 180)) == (60, 10, 80, 30)


@pytest.mark.parametrize("count", [0, 33])
def test_too_many_strips_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="1 to 32 strips"):
        draw_strips(np.zeros((8, 8, 3), np.uint8), count, "vertical")
