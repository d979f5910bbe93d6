"""The soak: exact scenes, exact counts of identities, and a memory limit that can fail."""

from __future__ import annotations

import mmap
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.distill.evaluate.soak import Identities, SoakReport, soak
from edgetwin.distill.evaluate.soak_scenes import Parade, Sighting, Sprite, Sprites, load_sprites
from edgetwin.perception.perceiver import PerceiverConfig
from edgetwin.perception.tracker import Tracker
from edgetwin.twin import mask
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import FrameTwin, ObjectTwin

from ..test_cli import embedded

SIZE = 256


def blocks() -> Sprites:
    """Plain squares: what a parade does shows without a renderer."""
    table = np.full((SIZE, SIZE, 3), 120, np.uint8)
    sprites = []
    for place, side in enumerate((20, 30, 40)):
        mask = np.zeros((side + 20, side + 20), np.bool_)
        mask[10:-10, 10:-10] = True
        rgb = np.full((*mask.shape, 3), 60 * place, np.uint8)
        shade = np.where(mask, 255, 200).astype(np.uint8)
        sprites.append(Sprite("box", "red", rgb, mask, shade))
    return Sprites(table, tuple(sprites))


def sprites(tmp_path_factory: pytest.TempPathFactory, count: int) -> Sprites:
    pytest.importorskip("mujoco", reason="rendering needs the [sim] extra")
    try:
        return load_sprites(tmp_path_factory.getbasetemp() / "soak", count)
    except Exception as error:
        if "GL" in str(error):
            pytest.skip(f"this machine has no libEGL to render with: {error}")
        raise


def test_the_same_seed_gives_the_same_frames() -> None:
    made = [list(Parade(blocks(), 3, seed, frames=60)) for seed in (5, 5, 6)]
    for (a, seen_a), (b, seen_b) in zip(made[0], made[1], strict=True):
        assert np.array_equal(a.image_hw3, b.image_hw3)
        assert [(s.id, s.box_xyxy) for s in seen_a] == [(s.id, s.box_xyxy) for s in seen_b]
    assert not np.array_equal(made[0][-1][0].image_hw3, made[2][-1][0].image_hw3)


def test_things_come_and_go_and_cover_each_other() -> None:
    parade = Parade(blocks(), 5, 1, frames=900)
    shown: dict[int, list[int]] = {}
    for frame, seen in parade:
        for sighting in seen:
            shown.setdefault(sighting.id, []).append(frame.index)
    assert parade.entered > 40
    assert len(shown) > 40
    lives = [(s[-1] - s[0] + 1, len(s)) for s in shown.values()]
    assert max(life for life, _ in lives) < 300  # nothing stays
    assert sum(count < life for life, count in lives) > 10  # some were out of sight for a while


def test_boxes_are_those_of_the_pixels() -> None:
    for frame, seen in islice(Parade(blocks(), 1, 2, frames=80), 20, 80):
        for sighting in seen:
            x0, y0, x1, y1 = (int(v) for v in sighting.box_xyxy)
            inside = frame.image_hw3[y0:y1, x0:x1, 0]
            assert np.isin(inside, (0, 60, 120)).all()
            assert (inside == inside[0, 0]).all()  # a block without its shadow
            assert sighting.mask_hw[y0:y1, x0:x1].all()
            assert sighting.mask_hw.sum() == inside.size


def test_staying_things_stay() -> None:
    for _, seen in Parade(blocks(), 6, 3, staying=True, frames=50):
        assert [s.id for s in sorted(seen, key=lambda s: s.id)] == [1, 2, 3, 4, 5, 6]


def twin_of(*boxes: tuple[int, int]) -> FrameTwin:
    objects = {
        id: ObjectTwin(
            id=id,
            semantic_label="box",
            confidence=1.0,
            mask=mask.encode(square(x)),
            box_xyxy=(x, 0, x + 10, 10),
            centroid=(x + 5, 5),
            area=100,
            first_seen=0,
            last_seen=0,
        )
        for id, x in boxes
    }
    return FrameTwin(index=0, timestamp_s=0, width=99, height=99, objects=objects)


def square(x: int) -> NDArray[np.bool_]:
    mask_hw = np.zeros((99, 99), np.bool_)
    mask_hw[:10, x : x + 10] = True
    return mask_hw


def sight(id: int, x: int) -> Sighting:
    return Sighting(id, "box", "red", (x, 0.0, x + 10, 10.0), square(x))


def test_identities_are_counted_by_hand() -> None:
    held = Identities()
    held.add([sight(1, 0), sight(2, 50)], twin_of((7, 0), (8, 50)))
    held.add([sight(1, 0), sight(2, 50)], twin_of((7, 1)))  # 2 is missed
    held.add([sight(1, 0), sight(2, 50)], twin_of((7, 0), (9, 50), (10, 80)))  # 2 gets another id
    held.add([sight(1, 0), sight(2, 50)], twin_of((9, 0), (7, 50)))  # they swap
    assert (held.true, held.matched, held.extra, held.switches) == (8, 7, 1, 3)
    assert held.summary() == {
        "true_objects_shown": 2,
        "kept_one_id": 0.0,
        "switches": 3,
        "recall": 0.875,
        "extra_per_true": 0.125,
    }


def test_identities_remember_a_bounded_number() -> None:
    held = Identities()
    for number in range(1, 500):
        held.add([sight(number, 0)], twin_of((number, 0)))
    assert held.objects == 499
    assert len(held._ids) <= 66


def report(**change: object) -> SoakReport:
    values = {
        "frames": 20000, "settled": 1000, "rss_settled_mb": 300.0, "rss_end_mb": 303.0,
        "wall_ms": (20.0, 20.5), "cpu_ms": (20.0, 20.5), "entered": 9, "counts": {},
        "identities": Identities().summary(),
    }  # fmt: skip
    return SoakReport(**(values | change))


def test_limits_can_be_broken() -> None:
    assert report().failures() == []
    assert report(rss_end_mb=316.0).failures() == [
        "memory grew by 5.3% after frame 1000, allowed: 5%"
    ]
    assert report(wall_ms=(20.0, 30.0)).failures() == []  # the machine was busy
    assert report(wall_ms=(20.0, 30.0), cpu_ms=(20.0, 22.0)).failures() == [
        "latency grew by 50.0%, allowed: 5%"
    ]
    with pytest.raises(InputError, match="20 frames"):
        soak(frames=5)


@embedded
def test_memory_does_not_grow(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shown = sprites(tmp_path_factory, 30)
    assert len(shown.all) == 30
    cache = tmp_path_factory.getbasetemp() / "soak"
    count = 2000 if os.environ.get("EDGETWIN_SLOW") else 300
    config = PerceiverConfig(
        look_every=3, follow="boxes"
    )  # frames between looks have a path of their own
    got = soak(frames=count, objects=3, config=config, threads=1, store=tmp_path / "t.sqlite",
               cache=cache, loads=(), sprites=30)  # fmt: skip
    assert got.rss_settled_mb > 50
    assert got.growth["memory"] < 0.05
    assert got.identities["true_objects_shown"] >= 8
    assert got.identities["recall"] > 0.6
    assert got.counts["dropped_full"] == 0
    assert got.counts["created"] < 3 * got.identities["true_objects_shown"]


@embedded
def test_a_leak_is_seen(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprites(tmp_path_factory, 30)
    leaked: list[mmap.mmap] = []  # pages of its own: freed heap of other tests cannot hide it
    visible = Tracker.reported

    def leaking(self: Tracker) -> object:
        leaked.append(mmap.mmap(-1, 1 << 23))
        leaked[-1].write(b"1" * (1 << 23))
        return visible(self)

    monkeypatch.setattr(Tracker, "reported", leaking)
    cache = tmp_path_factory.getbasetemp() / "soak"
    got = soak(frames=40, objects=1, threads=1, cache=cache, loads=(), sprites=30)
    assert any("memory grew" in line for line in got.failures())
