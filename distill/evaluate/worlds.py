"""Rendered TwinBench worlds, kept on disk: rendering is the slow part of an evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...twin.schema import FrameTwin
from ...twin.window import TwinWindow
from ..sim.catalogue import Tier
from ..sim.scene import scene_for
from ..sim.truth import SIZE, true_frames
from ..sim.worlds import World

__all__ = ["FPS", "SECONDS", "RenderedWorld", "rendered_world"]

FPS = 8.0
SECONDS = 4.0
_LAYOUT = 1  # raised when what is kept on disk changes


@dataclass(frozen=True)
class RenderedWorld:
    """T frames of a world with their exact truth.

    ``rgb_thw3`` uint8, ``depth_thw`` float16 metres, ``window`` one true FrameTwin per frame.
    """

    seed: int
    rgb_thw3: NDArray[np.uint8]
    depth_thw: NDArray[np.float16]
    window: TwinWindow


def rendered_world(seed: int, tier: Tier, cache: Path, fps: float = FPS) -> RenderedWorld:
    """Render a world's four seconds, or read them from ``cache`` (.33 MB a frame).

    At another rate than TwinBench's the same things happen in the same time, in more frames.
    """
    rate = "" if fps == FPS else f"-{fps:g}fps"
    folder = cache / f"{tier}-v{_LAYOUT}{rate}"
    path = folder / f"{seed}.npy"
    twin = folder / f"{seed}.twin.jsonl"
    if path.is_file() and twin.is_file():
        frames = [FrameTwin.model_validate_json(line) for line in twin.read_text().splitlines()]
        packed = np.load(path)
    else:
        frames, packed = _render(World(seed, tier), fps)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{seed}.{os.getpid()}.npy"
        np.save(partial, packed)
        twin.write_text("".join(frame.model_dump_json() + "\n" for frame in frames))
        partial.replace(path)
    depth = np.ascontiguousarray(packed[..., 3:]).view(np.float16)[..., 0]
    return RenderedWorld(seed, np.ascontiguousarray(packed[..., :3]), depth, TwinWindow(frames))


def _render(world: World, fps: float) -> tuple[list[FrameTwin], NDArray[np.uint8]]:
    """The true frames, and (T, H, W, 5) uint8: RGB and the two bytes of a float16 depth."""
    frames = true_frames(world, fps, SECONDS)
    scene = scene_for(world.tier, world.set_index, SIZE, SIZE)
    shots = [scene.render(world, frame.timestamp_s) for frame in frames]
    rgb = np.stack([shot.rgb_hw3 for shot in shots])
    depth = np.stack([shot.depth_hw for shot in shots]).astype(np.float16)
    return frames, np.concatenate([rgb, depth[..., None].view(np.uint8)], axis=-1)
