"""Worlds: decided by the seed, nothing collides, events do what their names say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgetwin.distill.sim.camera import Camera, focal_px
from edgetwin.distill.sim.catalogue import Tier
from edgetwin.distill.sim.happenings import box_at, overlap
from edgetwin.distill.sim.things import Move, Thing, clash, footprint_at
from edgetwin.distill.sim.worlds import SIZE_PX, World
from edgetwin.twin.errors import InputError

SEEDS = range(2_000_000, 2_000_060)


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    tiers: tuple[Tier, ...] = ("cell", "wild")
    for tier in tiers:
        a, b, c = World(7, tier), World(7, tier), World(8, tier)
        assert a.events == b.events
        assert a.view == b.view
        assert a.light == b.light
        for x, y in zip(a.objects, b.objects, strict=True):
            assert (x.category, x.color, x.rgb, x.centre) == (y.category, y.color, y.rgb, y.centre)
            assert all(np.array_equal(p, q) for p, q in zip(x.pose(1.3), y.pose(1.3), strict=True))
        assert a.view != c.view


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="seed >= 0"):
        World(-1)
    with pytest.raises(InputError, match="tier"):
        World(1, "village")  # type: ignore[arg-type]


def test_camera_looks_at_its_target_and_rays_return_to_their_pixel() -> None:
    camera = Camera(math.radians(45), 0.3, 0.75, (0.01, 0.02, 0.03))
    target = camera.project(np.array([camera.target]), 0.0, 256, 256)[0]
    assert target == pytest.approx([128, 128, 0.75])
    x, y = camera.on_plane(60.0, 200.0, 0.05)
    assert camera.project(np.array([[x, y, 0.05]]), 0.0, 256, 256)[0, :2] == pytest.approx(
        [60, 200]
    )
    assert focal_px(256) == pytest.approx(128 / math.tan(math.radians(22.5)))
    eye, frame = camera.pose(0.0)
    assert frame.T @ frame == pytest.approx(np.eye(3))
    assert np.linalg.det(frame) == pytest.approx(1)
    assert eye[2] == pytest.approx(0.03 + 0.75 * math.sin(math.radians(45)))


def test_cell_camera_stays_in_its_ranges() -> None:
    for seed in SEEDS:
        view = World(seed).view
        assert 38 <= math.degrees(view.elevation) <= 62
        assert abs(view.azimuth) <= 0.5
        assert 0.68 <= view.distance <= 0.85
        assert view.drift == 0


def test_footprints_clash_exactly_when_rectangles_meet() -> None:
    here = (0.0, 0.0, 0.1, 0.05, 0.0, 0.0, 0.1)
    assert clash(here, (0.19, 0.0, 0.1, 0.05, 0.0, 0.0, 0.1), 0.0)
    assert not clash(here, (0.21, 0.0, 0.1, 0.05, 0.0, 0.0, 0.1), 0.0)
    assert not clash(here, (0.16, 0.0, 0.1, 0.05, math.pi / 2, 0.0, 0.1), 0.0)
    assert clash(here, (0.14, 0.0, 0.1, 0.05, math.pi / 2, 0.0, 0.1), 0.0)
    assert not clash(here, (0.0, 0.0, 0.1, 0.05, 0.0, 0.12, 0.2), 0.0)


def test_moves_ease_fall_and_wait() -> None:
    ease = Move(1.0, 2.0, (0, 0, 0), (1, 0, 0))
    assert [ease.share(t) for t in (0.0, 1.0, 1.5, 2.0, 9.0)] == [0, 0, 0.5, 1, 1]
    assert Move(1.0, 2.0, (0, 0, 1), (0, 0, 0), "fall").share(1.5) == 0.25


def test_four_to_seven_objects_of_the_asked_sizes_inside_the_picture() -> None:
    for seed in SEEDS:
        world = World(seed)
        assert 4 <= len(world.objects) <= 7
        assert [t.id for t in world.objects] == list(range(1, len(world.objects) + 1))
        for thing in world.objects:
            if thing.moves or thing.parent:
                continue
            box = box_at(thing, world.view, 0.0)
            longest = max(box[2] - box[0], box[3] - box[1])
            assert SIZE_PX[0] - 2 <= longest <= SIZE_PX[1] + 8  # turned once more to hide well
            assert min(box) > 0
            assert max(box) < 256


def test_two_of_a_category_differ_in_colour() -> None:
    twins = 0
    for seed in range(120):
        for a, b in itertools.combinations(World(seed).objects, 2):
            if a.category == b.category:
                twins += 1
                assert a.color != b.color
    assert twins > 8


def test_nothing_runs_through_another_object() -> None:
    for seed in SEEDS:
        world = World(seed)
        for t in np.arange(0, 4, 0.125):
            for a, b in itertools.combinations(world.objects, 2):
                if a.id in (b.parent, a.id) and b.parent == a.id:
                    continue
                feet = footprint_at(a, t), footprint_at(b, t)
                assert not clash(*feet, margin=-0.004), (seed, t, a.category, b.category)


def test_events_do_what_they_say() -> None:
    seen = set()
    for seed in range(2_000_000, 2_000_250):
        world = World(seed)
        assert len(world.events) <= 3
        for event in world.events:
            seen.add(event.kind)
            thing = world.objects[event.id - 1]
            assert 0 < event.start_s < event.end_s < world.seconds
            _check(world, thing, event.kind)
        still = {t.id for t in world.objects} - {e.id for e in world.events}
        for number in still:
            assert world.objects[number - 1].centre_at(0) == world.objects[number - 1].centre_at(4)
    assert seen == {"slide", "lift", "drop", "roll", "occlude", "enter", "leave"}


def _check(world: World, thing: Thing, kind: str) -> None:
    first, last = thing.centre_at(0.0), thing.centre_at(4.0)
    before, after = box_at(thing, world.view, 0.0), box_at(thing, world.view, 4.0)
    if kind in ("slide", "roll", "occlude"):
        spots = world.view.project(np.array([first, last]), 0.0, 256, 256)[:, :2]
        assert np.linalg.norm(spots[1] - spots[0]) >= 40
        assert first[2] == pytest.approx(last[2])
    if kind == "roll":
        spin = abs(sum(m.spin for m in thing.moves))
        assert spin * thing.shape.roll_r == pytest.approx(math.dist(first, last))
    if kind == "lift":
        assert max(thing.centre_at(t)[2] for t in np.arange(0, 4, 0.1)) > first[2] + 0.09
    if kind == "drop":
        assert first[2] > last[2] + 0.09
    frame = (0.0, 0.0, 256.0, 256.0)
    if kind == "enter":
        assert overlap(before, frame) == 0
        assert overlap(after, frame) > 0.9
    if kind == "leave":
        assert overlap(after, frame) == 0


def test_what_rests_on_another_is_above_it() -> None:
    found = 0
    for seed in range(2_000_000, 2_000_150):
        world = World(seed, events=0)
        for thing in world.objects:
            if thing.parent:
                base = world.objects[thing.parent - 1]
                found += 1
                assert thing.centre[2] > base.centre[2]
                assert math.dist(thing.centre[:2], base.centre[:2]) < 0.06
    assert found > 10


def test_a_still_is_a_world_stopped_in_time() -> None:
    still = World.image(2_000_001)
    assert still.frozen_at is not None
    assert np.array_equal(still.pose(1, 0.0)[0], still.pose(1, 3.0)[0])
