"""The perceiver on drawn pictures, with classical vision in the networks' places (eyes.py)."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.bundle import FrameStatistics, embedded_dir, load_bundle
from edgetwin.perception.domain import FEATURES, DomainWatch, features, fit_statistics
from edgetwin.perception.perceiver import Perceiver, PerceiverConfig
from edgetwin.perception.records import Detections
from edgetwin.perception.timing import Timings
from edgetwin.perception.tracker import TrackerConfig
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import Intrinsics

from .eyes import BLUE, RED, Eyes, Picture, bundle, perceiver, picture, play


def test_every_field_of_an_object_by_hand() -> None:
    twin = play(perceiver(Eyes()), [picture((RED, (10, 20, 30, 40)))])[0]
    assert (twin.width, twin.height, twin.index, twin.timestamp_s) == (96, 64, 0, 0.0)
    mug = twin.objects[1]
    assert (mug.semantic_label, mug.attributes, mug.state) == ("mug", {"color": "red"}, "visible")
    assert mug.box_xyxy == (10, 20, 30, 40)
    assert mug.centroid == (20.0, 30.0)
    assert mug.area == 400
    assert mug.mask is not None
    assert rle.decode(mug.mask)[20:40, 10:30].all()
    assert mug.confidence == pytest.approx(0.9)
    stats = mug.depth_stats
    assert stats is not None
    assert (stats.unit, stats.p5, stats.p50, stats.p95, stats.variance) == ("m", 0.5, 0.5, 0.5, 0)
    assert mug.mean_depth == 0.5
    # fov 90 degrees over 64 rows: f = 32 px; ((20 - 48) / 32 * 0.5, (30 - 32) / 32 * 0.5, 0.5)
    assert mug.centroid_m == pytest.approx((-0.4375, -0.03125, 0.5))
    camera = twin.intrinsics
    assert camera is not None
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((32, 32, 48, 32))


def test_intrinsics_of_the_frame_win() -> None:
    camera = Intrinsics(fx=100, fy=100, cx=0, cy=0)
    p = perceiver(Eyes())
    twin = p.observe(Frame(0, 0.0, picture((RED, (10, 20, 30, 40))), intrinsics=camera))
    assert twin.objects[1].centroid_m == pytest.approx((0.1, 0.15, 0.5))
    assert twin.intrinsics == camera


def test_relative_depth_has_no_place_in_metres() -> None:
    eyes = Eyes()
    eyes.metric = False
    mug = play(perceiver(eyes), [picture((RED, (10, 20, 30, 40)))])[0].objects[1]
    assert mug.depth_stats is not None
    assert mug.depth_stats.unit == "relative"
    assert mug.centroid_m is None


def test_following_between_keyframes() -> None:
    """Every fourth frame is looked at; in between, masks follow a moving object exactly."""
    eyes = Eyes()
    p = perceiver(eyes, every=4)
    twins = play(p, [picture((RED, (10 + 2 * k, 20, 30 + 2 * k, 40))) for k in range(9)])
    assert eyes.calls == {"detect": 3, "encode": 9, "boxes": 9, "depth": 3}
    assert p.counts.looks == {"start": 1, "interval": 2}
    assert (p.counts.frames, p.counts.measured) == (9, 3)
    for k, twin in enumerate(twins):
        assert set(twin.objects) == {1}
        assert twin.objects[1].box_xyxy == (10 + 2 * k, 20, 30 + 2 * k, 40)
    assert twins[-1].objects[1].velocity[0] == pytest.approx(20.0, rel=0.01)
    assert twins[-1].objects[1].velocity[1] == 0.0


def test_looks_and_measurements_have_intervals_of_their_own() -> None:
    eyes = Eyes()
    p = perceiver(eyes, every=4, look_every=1)
    play(p, [picture((RED, (10, 20, 30, 40)))] * 8)
    assert eyes.calls == {"detect": 8, "encode": 8, "boxes": 8, "depth": 2}


def test_first_moments_are_looked_at_frame_by_frame() -> None:
    """An object that the first look overlooks was there all along: it has not appeared."""
    eyes = Eyes()
    eyes.blind_to = {"bowl"}
    p = perceiver(eyes, every=10, tracker=TrackerConfig(settle_s=0.3))
    image = picture((RED, (10, 20, 30, 40)), (BLUE, (60, 16, 90, 44)))
    assert set(p.observe(Frame(0, 0.0, image)).objects) == {1}
    eyes.blind_to = set()
    assert set(p.observe(Frame(1, 0.2, image)).objects) == {1, 2}
    for k in range(2, 6):
        p.observe(Frame(k, 0.2 * k, image))
    assert eyes.calls["detect"] == 2


def test_lost_object_is_looked_for_in_the_same_frame() -> None:
    eyes = Eyes()
    p = perceiver(eyes, every=10)
    here, away = picture((RED, (10, 20, 30, 40))), picture((RED, (45, 20, 65, 40)))
    twins = play(p, [here, here, away])
    assert eyes.calls["detect"] == 2
    assert twins[2].objects[1].state == "visible"
    assert twins[2].objects[1].box_xyxy == (45, 20, 65, 40)


def test_scene_change_makes_a_keyframe() -> None:
    eyes = Eyes()
    p = perceiver(eyes, every=10)
    bright = np.full((64, 96, 3), 220, np.uint8)
    play(p, [picture(), picture(), bright, bright])
    assert eyes.calls["detect"] == 2


def test_hidden_object_keeps_its_last_place_and_its_id() -> None:
    """The blue bowl slides over the red mug and away again."""
    bowl_at = [60, 40, 20, 6, 6, 20, 40, 60]
    pictures = [picture((RED, (10, 20, 30, 40)), (BLUE, (x, 16, x + 30, 44))) for x in bowl_at]
    twins = play(perceiver(Eyes()), pictures)
    states = [twin.objects[1].state for twin in twins]
    assert states[0] == states[1] == "visible"
    assert states[3] == states[4] == "occluded"
    assert states[-1] == "visible"
    hidden = twins[4].objects[1]
    assert hidden.mask is None
    assert hidden.velocity == (0.0, 0.0)
    assert hidden.last_seen == pytest.approx(0.2)
    assert hidden.depth_stats is not None
    assert {i for twin in twins for i in twin.objects} == {1, 2}
    assert [twins[-1].objects[i].semantic_label for i in (1, 2)] == ["mug", "bowl"]


def test_object_that_leaves_is_reported_as_left_and_forgotten_later() -> None:
    pictures = [picture((RED, (max(x, 0), 20, max(x + 20, 0), 40))) for x in range(30, -31, -6)]
    twins = play(perceiver(Eyes()), pictures + [picture()] * 3)
    assert twins[-1].objects[1].state == "left"
    p = perceiver(Eyes())
    play(p, pictures)
    late = p.observe(Frame(99, 30.0, picture()))
    later = p.observe(Frame(100, 30.1, picture()))
    assert (late.objects, later.objects) == ({}, {})


def test_vocabulary_is_passed_on() -> None:
    eyes = Eyes()
    image = picture((RED, (10, 20, 30, 40)), (BLUE, (60, 16, 90, 44)))
    p = Perceiver(bundle(), ["bowl"], detector=eyes, segmenter=eyes, depth=eyes)
    twin = p.observe(Frame(0, 0.0, image))
    assert [o.semantic_label for o in twin.objects.values()] == ["bowl"]
    assert twin.vocabulary == ("bowl",)
    assert perceiver(eyes).observe(Frame(0, 0.0, image)).vocabulary is None


def test_large_frames_are_worked_on_small_and_written_large() -> None:
    eyes = Eyes()
    image = np.kron(picture((RED, (10, 20, 30, 40))), np.ones((4, 4, 1), np.uint8))
    twin = play(perceiver(eyes, max_side=96), [image])[0]
    mug = twin.objects[1]
    assert (twin.width, twin.height) == (384, 256)
    assert mug.box_xyxy == (40, 80, 120, 160)
    assert mug.centroid == (80.0, 120.0)
    assert mug.area == 6400
    assert mug.mask is not None
    assert mug.mask.size == (256, 384)


def test_change_of_picture_size_starts_anew_with_new_ids() -> None:
    p = perceiver(Eyes())
    p.observe(Frame(0, 0.0, picture((RED, (10, 20, 30, 40)))))
    twin = p.observe(Frame(1, 0.1, picture((RED, (10, 20, 30, 40)), height=128)))
    assert list(twin.objects) == [2]


def test_timings_and_bounds() -> None:
    p = perceiver(Eyes(encode=5.0, detect=7.0, boxes=1.0, depth=12.0), every=4)
    play(p, [picture((RED, (10, 20, 30, 40)))] * 9)
    timings = p.timings
    assert timings["total"].runs == 9
    assert timings["detector"].runs == timings["depth"].runs == 3
    assert timings["detector"].mean_ms == pytest.approx(7.0)
    assert timings["total"].mean_ms == pytest.approx(5 + 1 + (7 + 12) / 3)
    assert timings["total"].p95_ms == pytest.approx(25.0)
    with pytest.raises(InputError, match="look_every, depth_every"):
        PerceiverConfig(depth_every=0)
    with pytest.raises(InputError, match="max_side >= 32"):
        PerceiverConfig(max_side=8)
    with pytest.raises(InputError, match="own segmenter to follow by memory"):
        perceiver(Eyes(), follow="memory")


def test_timings_history_is_bounded() -> None:
    timings = Timings("a", "b")
    for _ in range(1000):
        with timings.stage("a"):
            pass
    summary = timings.summary()
    assert list(summary) == ["a"]
    assert summary["a"].runs == 1000
    assert len(timings._recent["a"]) == 256


# ---- foreign video


def _noise(seed: int, low: int, high: int) -> Picture:
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, (64, 64, 3)).astype(np.uint8)


def test_domain_watch_warns_of_foreign_pictures_only() -> None:
    statistics = fit_statistics(_noise(k, 80 + k % 7, 140) for k in range(40))
    assert statistics.features == FEATURES
    found = Eyes().detect(picture((RED, (10, 20, 30, 40))))
    watch = DomainWatch(statistics)
    assert watch.warning is None
    watch.observe(_noise(99, 83, 140), found)
    assert watch.warning is None
    foreign = DomainWatch(statistics)
    foreign.observe(_noise(99, 0, 255), found)
    assert foreign.warning is not None
    assert "\n" not in foreign.warning
    assert "spreads from the training pictures" in foreign.warning


def test_domain_watch_warns_of_unsure_detections() -> None:
    measured = fit_statistics((_noise(k, 80 + k % 7, 140) for k in range(40)), min_confidence=0.5)
    watch = DomainWatch(measured)
    for k in range(3):
        assert watch.warning is None
        watch.observe(_noise(k, 82, 140), Detections.empty())
    assert watch.warning is not None
    assert "0.00 sure on average (expected 0.50" in watch.warning


def test_statistics_of_another_version_are_left_alone() -> None:
    other = FrameStatistics(features=("x",), mean=(0.0,), std=(1.0,), limit=0.1)
    watch = DomainWatch(other)
    watch.observe(_noise(0, 0, 255), Detections.empty())
    assert watch.warning is None
    with pytest.raises(InputError, match="at least 20 pictures"):
        fit_statistics([_noise(0, 0, 9)])


def test_features_by_hand() -> None:
    values = dict(zip(FEATURES, features(np.full((64, 64, 3), 128, np.uint8)), strict=True))
    assert values["lightness"] == pytest.approx(137, abs=1)  # L of mid grey, scaled to 255
    assert {k: v for k, v in values.items() if k != "lightness"} == pytest.approx(
        dict.fromkeys(FEATURES[1:], 0.0)
    )


# ---- the shipped networks


@pytest.mark.skipif(
    not all((embedded_dir() / f).is_file() for f in ("detector_image.onnx", "depth.onnx")),
    reason="no embedded weights yet",
)
def test_embedded_bundle_perceives_any_picture() -> None:
    shipped = load_bundle("embedded", device="cpu", threads=1)
    p = Perceiver(shipped, look_every=2)
    rng = np.random.default_rng(0)
    for k, shape in enumerate([(256, 256, 3)] * 3 + [(90, 160, 3)] * 2):
        twin = p.observe(Frame(k, k / 8, rng.integers(0, 255, shape).astype(np.uint8)))
        assert (twin.height, twin.width) == shape[:2]
    assert p.timings["total"].runs == 5
