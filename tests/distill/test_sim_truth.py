"""The true twin against independent arithmetic: depth of the table, boxes, states."""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
import pytest

from edgetwin.distill.sim.camera import focal_px
from edgetwin.distill.sim.scene import scene_for
from edgetwin.distill.sim.truth import intrinsics, true_frames, true_window
from edgetwin.distill.sim.worlds import World
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, MissingExtraError
from edgetwin.twin.schema import FrameTwin

pytest.importorskip("mujoco")
FIRST = 2_000_000


def box_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[list[FrameTwin], list[FrameTwin], World]]:
    """(rendered, sketched, world) of some test worlds at 2 frames per second."""
    worlds = [World(FIRST + k) for k in range(24)]
    return [(true_frames(w, 2), true_frames(w, 2, render=False), w) for w in worlds]


def test_depth_of_the_table_is_that_of_the_plane() -> None:
    world = World(FIRST)
    shot = scene_for("cell", world.set_index).render(world, 0.0)
    eye, frame = world.camera(0.0)
    ys, xs = np.mgrid[0:256, 0:256] + 0.5
    local = np.stack([(xs - 128) / focal_px(256), (ys - 128) / focal_px(256), np.ones_like(xs)], -1)
    expected = -eye[2] / (local @ frame.T)[..., 2]  # local z is 1, so the scale is the z-depth
    bare = (shot.ids_hw == 0) & (expected < 2)
    assert bare.sum() > 20_000
    assert np.abs(shot.depth_hw - expected)[bare].max() < 2e-3


def test_object_pixels_lie_inside_their_projected_shape_and_at_its_depth() -> None:
    for seed in range(FIRST, FIRST + 6):
        world = World(seed, events=0)
        shot = scene_for("cell", world.set_index).render(world, 0.0)
        assert set(np.unique(shot.ids_hw)) <= {0, *(t.id for t in world.objects)}
        for thing in world.objects:
            mask = shot.ids_hw == thing.id
            position, turn = thing.pose(0.0)
            vertices = np.concatenate([p.mesh.vertices_n3 for p in thing.shape.parts])
            pixels = world.view.project(vertices @ turn.T + position, 0.0, 256, 256)
            rows, columns = np.nonzero(mask)
            assert pixels[:, 0].min() - 1 <= columns.min()
            assert columns.max() <= pixels[:, 0].max() + 1
            assert pixels[:, 1].min() - 1 <= rows.min()
            assert rows.max() <= pixels[:, 1].max() + 1
            depth = shot.depth_hw[mask]
            assert pixels[:, 2].min() - 2e-3 <= depth.min()
            assert depth.max() <= pixels[:, 2].max() + 2e-3


def test_rendering_twice_is_the_same_and_survives_other_scenes_being_closed() -> None:
    worlds = [World.image(500 * k) for k in range(5)]  # five sets: more than are kept
    first = [scene_for("cell", w.set_index).render(w, 0.0) for w in worlds]
    again = [scene_for("cell", w.set_index).render(w, 0.0) for w in worlds]
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.rgb_hw3, b.rgb_hw3)
        assert np.array_equal(a.ids_hw, b.ids_hw)
        assert np.array_equal(a.depth_hw, b.depth_hw)
        assert a.rgb_hw3.std() > 10


def test_records_agree_with_their_masks(
    pairs: list[tuple[list[FrameTwin], list[FrameTwin], World]],
) -> None:
    frames, _, world = pairs[0]
    shot = scene_for("cell", world.set_index).render(world, frames[3].timestamp_s)
    ratios: list[float] = []
    for number, thing in frames[3].objects.items():
        if thing.state != "visible":
            continue
        assert thing.mask is not None
        assert thing.depth_stats is not None
        assert thing.centroid_m is not None
        mask = rle.decode(thing.mask)
        assert np.array_equal(mask, shot.ids_hw == number)
        rows, columns = np.nonzero(mask)
        assert thing.area == mask.sum()
        assert thing.box_xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert thing.centroid == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5))
        assert thing.mean_depth == pytest.approx(shot.depth_hw[mask].mean(), abs=1e-4)
        stats = thing.depth_stats
        assert stats.min <= stats.p5 <= stats.p50 <= stats.p95 <= stats.max
        assert thing.extent_m is not None
        assert stats.p95 - stats.p5 <= thing.extent_m[2]
        # What is seen is never larger than the whole object, whose corners are known.
        position, turn = world.objects[number - 1].pose(frames[3].timestamp_s)
        corners = np.concatenate(world.objects[number - 1].shape.hulls) @ turn.T + position
        whole = np.ptp(corners @ world.view.pose(frames[3].timestamp_s)[1], axis=0)
        assert (np.array(thing.extent_m) < whole + 0.003).all()
        ratios.append(thing.extent_m[0] / whole[0])
        x, y, z = thing.centroid_m
        back = (x / z * intrinsics().fx + 128, y / z * intrinsics().fy + 128)
        assert back == pytest.approx(thing.centroid)
    assert max(ratios) > 0.85  # what nothing hides is seen in its whole width


def test_the_sketch_agrees_with_the_rendering(
    pairs: list[tuple[list[FrameTwin], list[FrameTwin], World]],
) -> None:
    overlaps, same, depths = [], [], []
    for exact, quick, _ in pairs:
        for a, b in zip(exact, quick, strict=True):
            for number, thing in a.objects.items():
                other = b.objects.get(number)
                same.append(other is not None and other.state == thing.state)
                if other is not None and other.state == thing.state == "visible":
                    overlaps.append(box_iou(thing.box_xyxy, other.box_xyxy))
                    assert thing.depth_stats is not None
                    assert other.depth_stats is not None
                    depths.append(abs(thing.depth_stats.p50 - other.depth_stats.p50))
    assert np.mean(overlaps) > 0.9
    assert np.mean(same) > 0.98
    assert np.mean(depths) < 0.03


def test_sizes_are_between_30_and_90_pixels(
    pairs: list[tuple[list[FrameTwin], list[FrameTwin], World]],
) -> None:
    longest = [
        max(o.box_xyxy[2] - o.box_xyxy[0], o.box_xyxy[3] - o.box_xyxy[1])
        for exact, _, _ in pairs
        for o in exact[0].objects.values()
    ]
    inside = [30 <= size <= 90 for size in longest]
    assert np.mean(inside) > 0.9


def test_states_follow_the_script(
    pairs: list[tuple[list[FrameTwin], list[FrameTwin], World]],
) -> None:
    checked = set()
    for exact, _, world in pairs:
        for event in world.events:
            first, last = exact[0].objects.get(event.id), exact[-1].objects.get(event.id)
            if event.kind == "enter":
                assert first is None
                assert last is not None
                assert last.first_seen > 0.3
            elif event.kind == "leave":
                assert last is not None
                assert last.state == "left"
                assert last.mask is None
                assert last.last_seen < exact[-1].timestamp_s
            elif event.kind == "drop" and first is not None and last is not None:
                assert last.centroid[1] > first.centroid[1]
            checked.add(event.kind)
    assert {"enter", "leave", "drop"} <= checked


def test_hidden_objects_are_occluded() -> None:
    world = World(3_000_498)  # the temporal example: a teapot goes behind a lamp
    window = true_window(world, fps=2)
    hidden = next(e for e in world.events if e.kind == "occlude")
    record = window.frames[-1].objects[hidden.id]
    assert record.state == "occluded"
    assert record.mask is None
    assert record.velocity == (0.0, 0.0)
    assert record.last_seen < window.frames[-1].timestamp_s


def test_velocity_is_the_centroids_step_per_second() -> None:
    frames = true_frames(World(FIRST + 1), fps=4, render=False)
    for before, after in itertools.pairwise(frames):
        for number, thing in after.objects.items():
            old = before.objects.get(number)
            if thing.state == "visible" and old is not None and old.state == "visible":
                step = ((thing.centroid[k] - old.centroid[k]) * 4 for k in (0, 1))
                assert thing.velocity == pytest.approx(tuple(step))


def test_a_still_gives_one_frame_and_no_frames_is_refused() -> None:
    assert len(true_window(World.image(FIRST), render=False)) == 1
    with pytest.raises(InputError, match="at least 1 frame"):
        true_window(World(FIRST), seconds=0, render=False)


def test_the_sketch_is_fast() -> None:
    worlds = [World(FIRST + k) for k in range(12)]
    start = time.process_time()
    for world in worlds:
        true_window(world, render=False)
    assert len(worlds) / (time.process_time() - start) > 30


def test_without_mujoco_the_message_is_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    world = World.image(FIRST + 999_999 - 499, "wild")
    with pytest.raises(MissingExtraError, match=r"edgetwin\[sim\]"):
        scene_for("wild", world.set_index, 64, 64)


def test_distractors_hide_but_are_never_told() -> None:
    worlds = [World(seed, "wild", events=0) for seed in range(FIRST, FIRST + 8)]
    world = next(w for w in worlds if w.distractors)
    frame = true_frames(world, fps=1, seconds=1)[0]
    shot = scene_for("wild", world.set_index).render(world, 0.0)
    assert {o.semantic_label for o in frame.objects.values()}.isdisjoint({"distractor"})
    thing = world.distractors[0]
    spot = world.view.project(np.array([thing.centre_at(0.0)]), 0.0, 256, 256)[0]
    top = world.view.project(np.array([[*thing.centre[:2], 0.0]]), 0.0, 256, 256)[0]
    assert spot[1] < top[1]
    assert set(np.unique(shot.ids_hw)) <= {0, *(t.id for t in world.objects)}
    assert not any(World(seed, "cell").distractors for seed in range(FIRST, FIRST + 8))
