"""Geometry against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgetwin.twin import geometry as g
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import Intrinsics

CAMERA = Intrinsics(fx=200, fy=100, cx=128, cy=64)


def test_boxes() -> None:
    a, b = (0, 0, 4, 2), (2, 1, 6, 3)
    assert g.box_area(a) == 8
    assert g.box_area((3, 3, 1, 9)) == 0
    assert g.box_centroid(b) == (4, 2)
    assert g.box_intersection(a, b) == 2
    assert g.box_iou(a, b) == 2 / 14
    assert g.box_iou(a, (9, 9, 10, 10)) == 0
    assert g.box_iou((1, 1, 1, 1), (1, 1, 1, 1)) == 0


def test_back_projection_and_its_inverse() -> None:
    assert g.back_project(228, 14, 2.0, CAMERA) == (1.0, -1.0, 2.0)
    assert g.project((1.0, -1.0, 2.0), CAMERA) == (228, 14)
    with pytest.raises(InputError, match="in front of the camera"):
        g.project((0, 0, 0), CAMERA)


def test_sizes_in_metres() -> None:
    assert g.extents_m((10, 10, 50, 30), 0.5, CAMERA) == (0.1, 0.1)
    assert g.distance((0, 0, 0), (1, 2, 2)) == 3


def test_many_pixels_at_once() -> None:
    pixels = np.array([[228, 14], [128, 64]])
    got = g.back_project_pixels(pixels, np.array([2.0, 0.5]), CAMERA)
    assert got.tolist() == [[1.0, -1.0, 2.0], [0.0, 0.0, 0.5]]
    assert g.back_project_pixels(np.zeros((0, 2)), np.zeros(0), CAMERA).shape == (0, 3)


def test_sides_of_the_box_around_points() -> None:
    # 101 points per axis at 0, 1, ..., 100 mm: one percent at each end is one millimetre.
    axis = np.arange(101) / 1000
    points = np.stack([axis, 2 * axis, np.full(101, 0.5)], axis=1)
    assert g.point_extents(points) == pytest.approx((0.098, 0.196, 0))
    points[7] = (9, -9, 30)  # one wrong pixel of a hundred does not count
    assert g.point_extents(points) == pytest.approx((0.098, 0.196, 0), abs=0.004)
    assert g.point_extents(np.array([[1, 2, 3]])) == (0, 0, 0)
    for wrong in (np.zeros((0, 3)), np.zeros((4, 2)), np.zeros(3)):
        with pytest.raises(InputError, match="at least one point"):
            g.point_extents(wrong)


def test_intrinsics_from_a_field_of_view() -> None:
    camera = g.intrinsics_from_fov(256, 256, 45)
    assert camera.fx == camera.fy == pytest.approx(128 / math.tan(math.radians(22.5)))
    assert (camera.cx, camera.cy) == (128, 128)
    with pytest.raises(InputError, match="between 0 and 180"):
        g.intrinsics_from_fov(256, 256, 180)


def test_whole_numbers() -> None:
    values = [0.49, 0.5, 1.5, -0.5, -1.6, math.inf, -math.inf, math.nan, 1e300]
    assert [g.whole(v) for v in values] == [0, 1, 2, 0, -2, 999_999, -999_999, 0, 999_999]
