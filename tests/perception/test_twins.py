"""Depth by mask, and places and sides in metres, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.tracks import Crop, Track
from edgetwin.perception.twins import DepthHold, depth_sample, depth_stats, frame_twin
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import Intrinsics, ObjectTwin

CAMERA = Intrinsics(fx=100, fy=200, cx=0, cy=0)


def track(x0: int, y0: int, x1: int, y1: int, number: int = 1) -> Track:
    crop = Crop(x0, y0, np.ones((y1 - y0, x1 - x0), np.bool_))
    made = Track(
        id=number,
        box_xyxy=np.array([x0, y0, x1, y1], np.float64),
        centroid=np.array([(x0 + x1) / 2, (y0 + y1) / 2]),
        area=crop.area,
        crop=crop,
        score=0.9,
        first_seen=0.0,
        last_seen=0.0,
    )
    made.labels.add("mug", 1.0)
    return made


def twin_of(
    one: Track, hold: DepthHold, scale: float = 1.0, camera: Intrinsics | None = CAMERA
) -> ObjectTwin:
    side = round(100 * scale)
    frame = Frame(0, 0.0, np.zeros((side, side, 3), np.uint8), intrinsics=camera)
    return frame_twin(frame, [one], hold, scale, None).objects[1]


def test_sides_of_a_slanted_plate_by_hand() -> None:
    """40 x 20 pixels; the depth grows by 10 mm per row from 1 m on."""
    depth_hw = np.broadcast_to(1 + 0.01 * np.arange(100.0)[:, None], (100, 100)) - 0.3
    one, hold = track(0, 30, 40, 50), DepthHold()
    hold.refresh([one], depth_hw.astype(np.float32), metric=True)
    mug = twin_of(one, hold)
    # Rows 30 to 49 are 1.00 to 1.19 m away, 1.10 in the middle (the core's median: 1.095).
    assert mug.depth_stats is not None
    assert mug.depth_stats.p50 == pytest.approx(1.095)
    assert mug.centroid_m == pytest.approx((20 / 100 * 1.095, 40 / 200 * 1.095, 1.095))
    # Width: at the far edge 39.5 px / 100 * 1.19 m less the near edge of the first column.
    assert mug.extent_m is not None
    assert mug.extent_m[0] == pytest.approx(0.395 * 1.19 - 0.005, abs=0.025)
    # Height: row 30 is 30.5 / 200 * 1.00 m below the axis, row 49 49.5 / 200 * 1.19 m.
    assert mug.extent_m[1] == pytest.approx(0.2945 - 0.1525, abs=0.001)
    assert mug.extent_m[2] == pytest.approx(0.19, abs=0.001)


def test_a_frame_larger_than_the_depth_picture_gives_the_same_metres() -> None:
    depth_hw = np.full((100, 100), 0.5, np.float32)
    one, hold = track(10, 10, 50, 30), DepthHold()
    hold.refresh([one], depth_hw, metric=True)
    double = Intrinsics(fx=200, fy=400, cx=0, cy=0)
    small, large = twin_of(one, hold), twin_of(one, hold, 2.0, double)
    # 40 pixel centres are 39 px apart: 0.39 * 0.5 m, and 19 / 200 * 0.5 m.
    assert small.extent_m == pytest.approx((0.195, 0.0475, 0))
    assert large.extent_m == pytest.approx(small.extent_m, rel=1e-5)
    assert large.centroid_m == pytest.approx(small.centroid_m, rel=1e-5)
    # and a camera that changes between frames is not answered from memory
    wide = twin_of(one, hold, 1.0, Intrinsics(fx=50, fy=200, cx=0, cy=0))
    assert wide.extent_m == pytest.approx((2 * small.extent_m[0], *small.extent_m[1:]))


def test_no_metres_without_metric_depth_or_a_camera() -> None:
    depth_hw = np.full((100, 100), 2.0, np.float32)
    one, hold = track(10, 10, 50, 30), DepthHold()
    hold.refresh([one], depth_hw, metric=False)
    mug = twin_of(one, hold)
    assert mug.depth_stats is not None
    assert mug.depth_stats.unit == "relative"
    assert (mug.centroid_m, mug.extent_m) == (None, None)
    hold.refresh([one], depth_hw, metric=True)
    mug = twin_of(one, hold, camera=None)
    assert mug.mean_depth == 2.0
    assert (mug.centroid_m, mug.extent_m) == (None, None)


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0, -1.0])
def test_holes_of_a_depth_camera_do_not_count(hole: float) -> None:
    depth_hw = np.full((100, 100), 0.5, np.float32)
    depth_hw[:, ::2] = hole
    one, hold = track(10, 10, 50, 30), DepthHold()
    hold.refresh([one], depth_hw, metric=True)
    mug = twin_of(one, hold)
    assert mug.depth_stats is not None
    assert (mug.depth_stats.min, mug.depth_stats.max, mug.mean_depth) == (0.5, 0.5, 0.5)
    assert mug.extent_m is not None
    assert mug.extent_m[2] == 0
    hold.refresh([one], np.full((100, 100), hole, np.float32), metric=True)
    assert twin_of(one, hold).depth_stats == mug.depth_stats  # what was known stays
    other = DepthHold()
    other.refresh([one], np.full((100, 100), hole, np.float32), metric=True)
    assert other.get(1) is None
    assert twin_of(one, other).extent_m is None


def test_hidden_objects_keep_their_depth_and_others_are_forgotten() -> None:
    depth_hw = np.full((100, 100), 0.5, np.float32)
    one, two, hold = track(10, 10, 50, 30), track(60, 60, 80, 80, 2), DepthHold()
    hold.refresh([one, two], depth_hw, metric=True)
    seen = hold.extent_m(1, CAMERA, 1.0)
    one.state, one.crop = "occluded", None
    hold.refresh([one], 3 * depth_hw, metric=True)
    assert hold.extent_m(1, CAMERA, 1.0) == seen
    assert hold.get(2) is None
    assert hold.extent_m(2, CAMERA, 1.0) is None


def test_the_core_of_a_mask_is_measured_and_its_rim_where_nothing_is_left() -> None:
    depth_hw = np.full((9, 9), 2.0, np.float32)
    depth_hw[3:6, 3:6] = 1.0
    fat = depth_stats(Crop(2, 2, np.ones((5, 5), np.bool_)), depth_hw, True)
    thin = depth_stats(Crop(2, 4, np.ones((1, 5), np.bool_)), depth_hw, True)
    assert fat is not None
    assert thin is not None
    assert fat[1] == 1.0
    assert thin[1] == pytest.approx((2 + 1 + 1 + 1 + 2) / 5)


def test_the_sample_is_bounded_and_spread() -> None:
    depth_hw = np.arange(1, 401 * 400 + 1, dtype=np.float32).reshape(401, 400)
    sample = depth_sample(Crop(100, 100, np.ones((300, 200), np.bool_)), depth_hw)
    assert sample.shape == (1024, 3)
    assert sample[0].tolist() == [100.5, 100.5, depth_hw[100, 100]]
    assert sample[-1].tolist() == [299.5, 399.5, depth_hw[399, 299]]
    small = depth_sample(Crop(1, 2, np.ones((2, 1), np.bool_)), depth_hw)
    assert small.tolist() == [[1.5, 2.5, depth_hw[2, 1]], [1.5, 3.5, depth_hw[3, 1]]]


def test_what_is_looked_for_is_written_as_plain_words() -> None:
    frame = Frame(0, 0.0, np.zeros((8, 8, 3), np.uint8))

    def written(words: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return frame_twin(frame, [], DepthHold(), 1.0, None, words).vocabulary

    assert written(None) is None
    assert written(("mug", "red  ball", "mug", " ", "x" * 99)) == ("mug", "red ball", "x" * 64)
    assert written(("caf\udce9",)) == ("caf?",)
