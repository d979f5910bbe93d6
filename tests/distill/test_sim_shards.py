"""Shards: what is written is what the renderer shows; a stopped rendering goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgetwin.distill.sim import shards
from edgetwin.distill.sim.scene import scene_for
from edgetwin.distill.sim.worlds import World
from edgetwin.twin.errors import InputError

pytest.importorskip("mujoco")
SEEDS = [3, 1, 4]


def test_images_hold_what_the_renderer_shows(tmp_path: Path) -> None:
    assert shards.render_images(tmp_path, SEEDS) == 3
    data = shards.open_images(tmp_path)
    assert len(data) == 3
    for index, seed in enumerate(SEEDS):
        world = World.image(seed)
        shot = scene_for("cell", world.set_index).render(world, 0.0)
        assert np.array_equal(data.rgb[index], shot.rgb_hw3)
        assert np.array_equal(data.ids[index], shot.ids_hw)
        assert data.depth[index] == pytest.approx(shot.depth_hw, rel=1e-3)
        record = data.objects[index]
        assert record["seed"] == seed
        for thing in record["objects"]:
            rows, columns = np.nonzero(shot.ids_hw == thing["id"])
            assert thing["box_xyxy"] == [
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            ]
            assert thing["area"] == len(rows)
            assert world.objects[thing["id"] - 1].category == thing["category"]


def test_clips_have_a_list_of_objects_per_frame(tmp_path: Path) -> None:
    shards.render_clips(tmp_path, [5], frames=3, fps=5.0)
    data = shards.open_clips(tmp_path)
    assert data.rgb.shape == (1, 3, 256, 256, 3)
    assert data.ids.shape == data.depth.shape == (1, 3, 256, 256)
    assert [len(frame) > 0 for frame in data.objects[0]["objects"]] == [True] * 3
    assert np.diff(data.objects[0]["times_s"]) == pytest.approx([0.2, 0.2])


def test_a_stopped_rendering_goes_on_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_CHUNK", 1)
    shards.render_images(tmp_path / "whole", SEEDS)
    real = shards._chunk

    def dies_at_the_second(job: tuple[str, int, list[int], str, int, float]) -> list[str]:
        if job[1] == 1:
            raise KeyboardInterrupt
        return real(job)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "_chunk", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        shards.render_images(tmp_path / "part", SEEDS)
    assert len(shards.open_images(tmp_path / "part")) == 1
    # A run that was killed between the record and the mark of progress leaves a line too much.
    with (tmp_path / "part" / "objects.jsonl").open("a") as file:
        file.write('{"seed": 99}\n')
    monkeypatch.setattr(shards, "_chunk", real)
    shards.render_images(tmp_path / "part", SEEDS)
    a, b = shards.open_images(tmp_path / "whole"), shards.open_images(tmp_path / "part")
    assert a.objects == b.objects
    assert np.array_equal(a.rgb, b.rgb)
    assert np.array_equal(a.depth, b.depth)
    assert json.loads((tmp_path / "part" / "progress.json").read_text()) == {"done": 3}


def test_another_order_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    shards.render_images(tmp_path, [1])
    with pytest.raises(InputError, match="other arguments"):
        shards.render_images(tmp_path, [2])
    with pytest.raises(InputError, match="open_images"):
        shards.open_clips(tmp_path)
    with pytest.raises(InputError, match="render it first"):
        shards.open_images(tmp_path / "nowhere")


def test_more_seeds_are_added_to_what_is_there(tmp_path: Path) -> None:
    shards.render_images(tmp_path / "grown", SEEDS[:2])
    stamp = (tmp_path / "grown" / "objects.jsonl").read_text()
    shards.render_images(tmp_path / "grown", SEEDS)
    shards.render_images(tmp_path / "whole", SEEDS)
    grown, whole = shards.open_images(tmp_path / "grown"), shards.open_images(tmp_path / "whole")
    assert (tmp_path / "grown" / "objects.jsonl").read_text().startswith(stamp)
    assert grown.objects == whole.objects
    assert np.array_equal(grown.rgb, whole.rgb)
    assert np.array_equal(grown.ids, whole.ids)
    with pytest.raises(InputError, match="other arguments"):
        shards.render_images(tmp_path / "grown", SEEDS[:2])


def test_records_say_what_hangs_in_the_air(tmp_path: Path) -> None:
    def lifted(seed: int) -> bool:
        world = World.image(seed)
        lift = [e for e in world.events if e.kind == "lift" and e.start_s < world.when(0) < e.end_s]
        return bool(lift) and world.objects[lift[0].id - 1].parent is None

    seed = next(s for s in range(300) if lifted(s))
    shards.render_images(tmp_path, [seed])
    world = World.image(seed)
    height = {o["id"]: o["lift_m"] for o in shards.open_images(tmp_path).objects[0]["objects"]}
    event = next(e for e in world.events if e.kind == "lift")
    assert height[event.id] > 0
    bottom = world.objects[event.id - 1].centre_at(world.when(0))[2]
    assert height[event.id] == pytest.approx(bottom - world.objects[event.id - 1].half_z, abs=1e-4)
    still = {e.id for e in world.events}
    assert all(height[k] < 1e-6 for k in height if k not in still)
