"""Videos of worlds: they decode to what was rendered and their truth can be read back."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from edgetwin.distill.sim.scene import scene_for
from edgetwin.distill.sim.video import EXAMPLES, encode_video, write_video
from edgetwin.distill.sim.worlds import World
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import FrameTwin, Rle

pytest.importorskip("mujoco")
ROOT = Path(__file__).resolve().parents[2]


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def test_a_video_and_its_truth(tmp_path: Path) -> None:
    world = World(2_000_003)
    paths = write_video(world, tmp_path, fps=5, seconds=1)
    pictures = decode(paths["video"])
    frames = [FrameTwin.model_validate_json(s) for s in paths["twin"].read_text().splitlines()]
    masks = json.loads(paths["masks"].read_text())
    assert len(pictures) == len(frames) == len(masks["frames"]) == 5
    scene = scene_for("cell", world.set_index)
    for picture, frame, listed in zip(pictures, frames, masks["frames"], strict=True):
        shot = scene.render(world, frame.timestamp_s)
        assert np.abs(picture.astype(int) - shot.rgb_hw3).mean() < 6
        for number, encoded in listed["masks"].items():
            assert np.array_equal(rle.decode(Rle(**encoded)), shot.ids_hw == int(number))


def test_odd_or_missing_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even sides"):
        encode_video(tmp_path / "x.mp4", [], 8)
    with pytest.raises(InputError, match="even sides"):
        encode_video(tmp_path / "x.mp4", [np.zeros((5, 4, 3), np.uint8)], 8)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_the_worlds_they_say(name: str) -> None:
    truth = json.loads((ROOT / "examples" / f"{name}.truth.json").read_text())
    world = World(EXAMPLES[name])
    assert truth["seed"] == world.seed
    assert [(o["category"], o["color"]) for o in truth["objects"]] == [
        (t.category, t.color) for t in world.objects
    ]
    pictures = decode(ROOT / "examples" / f"{name}.mp4")
    assert len(pictures) == 32
    shot = scene_for("cell", world.set_index).render(world, 31 / 8)
    assert np.abs(pictures[-1].astype(int) - shot.rgb_hw3).mean() < 6
