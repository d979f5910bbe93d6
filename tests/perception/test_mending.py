"""Split and doubled identities by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.perception.mending import doubles, reunion_cost
from edgetwin.perception.tracks import Crop, Track


def track(id: int, x: int, *, hits: int = 5, seen: tuple[float, float] = (0.0, 1.0)) -> Track:
    crop = Crop(x, 10, np.ones((20, 20), bool))
    return Track(
        id=id,
        box_xyxy=np.array(crop.box_xyxy),
        centroid=np.array(crop.centroid),
        area=crop.area,
        crop=crop,
        score=0.9,
        first_seen=seen[0],
        last_seen=seen[1],
        hits=hits,
    )


def named(t: Track, noun: str, angle: float | None = None) -> Track:
    t.labels.add(noun, 1.0)
    t.colors.add("red", 1.0)
    if angle is not None:
        a = np.radians(angle)
        t.resembles(np.array([np.cos(a), np.sin(a)], np.float32))
    return t


def test_the_less_known_of_two_on_one_mask_is_the_double() -> None:
    known, new, other = track(1, 10, hits=9), track(2, 12, hits=3), track(3, 30, hits=1)
    assert doubles([known, new, other]) == [new]
    missed = track(4, 11, hits=20)
    missed.misses = 2  # memory alone shows it
    assert doubles([missed, known]) == [missed]
    assert doubles([track(1, 10), track(2, 16)]) == []  # IoU 14 / 26


def test_reunion_by_hand() -> None:
    old = named(track(1, 10), "mug", 0.0)
    new = named(track(2, 60, seen=(1.5, 2.0)), "mug", 0.0)
    assert reunion_cost(old, new, 100.0) == pytest.approx(0.2 * 0.5)
    assert reunion_cost(old, new, 40.0) == np.inf  # too far
    old.state = "left"
    assert reunion_cost(old, new, 40.0) == pytest.approx(0.2)  # anywhere


def test_no_reunion_with_what_was_seen_beside_it_or_is_another() -> None:
    old = named(track(1, 10), "mug", 0.0)
    beside = named(track(2, 60, seen=(0.5, 2.0)), "mug", 0.0)
    unlike = named(track(2, 60, seen=(1.5, 2.0)), "mug", 30.0)
    misread = named(track(2, 60, seen=(1.5, 2.0)), "pan", 3.0)
    blue = named(track(2, 60, seen=(1.5, 2.0)), "mug", 0.0)
    blue.colors.weights = {"blue": 1.0}
    assert reunion_cost(old, beside, 100.0) == np.inf
    assert reunion_cost(old, unlike, 100.0) == np.inf
    assert reunion_cost(old, blue, 100.0) == np.inf
    assert reunion_cost(old, misread, 100.0) == pytest.approx(0.4 + 0.1, abs=0.01)


def test_without_appearance_the_noun_must_agree() -> None:
    old, new = named(track(1, 10), "mug"), named(track(2, 60, seen=(1.5, 2.0)), "mug")
    assert reunion_cost(old, new, 100.0) == pytest.approx(0.3 * 0.5)
    assert reunion_cost(old, named(track(3, 60, seen=(1.5, 2.0)), "pan"), 100.0) == np.inf


def test_absorbing_goes_on_as_the_other_under_the_own_id() -> None:
    old, new = named(track(1, 10), "mug"), named(track(2, 60, hits=3, seen=(1.5, 2.0)), "mug")
    old.state = "occluded"
    old.absorb(new)
    assert (old.id, old.state, old.hits, old.first_seen, old.last_seen) == (
        (1, "visible", 8, 0.0, 2.0)
    )
    assert old.centroid == pytest.approx([70, 20])
    assert old.labels.weights == {"mug": 2.0}
