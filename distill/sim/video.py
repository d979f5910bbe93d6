"""Worlds as H.264 video with their truth beside it, and the example clips of the repository.

To write the examples again: ``write_examples("examples")``. The seeds are in ``EXAMPLES``.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, OutputError
from ...twin.schema import FrameTwin
from .scene import scene_for
from .truth import SIZE, true_frames
from .worlds import World

__all__ = ["EXAMPLES", "encode_video", "write_examples", "write_video"]

EXAMPLES: dict[str, int] = {
    "affordance": 3_000_163,  # scissors, bottle, pan, lamp, book, glass: what are they for
    "spatial": 3_000_380,  # a ball in a pan; a bottle comes in from the right
    "temporal": 3_000_498,  # a teapot slides behind a lamp; another lamp comes in
}
"""Name of an example clip -> seed of its world (cell tier, 4 s at 8 frames per second)."""


def write_video(
    world: World, out_dir: str | Path, fps: float = 8.0, seconds: float = 4.0
) -> dict[str, Path]:
    """Render a world to ``video.mp4``, ``twin.jsonl`` (a FrameTwin per line) and ``masks.json``.

    ``masks.json`` is {"fps", "frames": [{"index", "timestamp_s", "masks": {id: RLE}}]}.
    Returns the paths by the names ``video``, ``twin``, ``masks``.

    Raises:
        InputError: if there would be no frame.
        OutputError: if the folder cannot be written.
        MissingExtraError: without MuJoCo.
    """
    folder = Path(out_dir)
    paths = {
        "video": folder / "video.mp4",
        "twin": folder / "twin.jsonl",
        "masks": folder / "masks.json",
    }
    frames = true_frames(world, fps, seconds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        encode_video(paths["video"], _pictures(world, frames), fps)
        paths["twin"].write_text("".join(f.model_dump_json() + "\n" for f in frames))
        paths["masks"].write_text(json.dumps(_masks(frames, fps), separators=(",", ":")))
    except OSError as error:
        raise OutputError(
            f"cannot write a video into {folder}: {error}; choose another folder or free space"
        ) from error
    return paths


def write_examples(folder: str | Path) -> list[Path]:
    """Write the example clips and their truth: ``<name>.mp4`` and ``<name>.truth.json``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, seed in EXAMPLES.items():
        world = World(seed)
        frames = true_frames(world)
        video, truth = target / f"{name}.mp4", target / f"{name}.truth.json"
        encode_video(video, _pictures(world, frames), 8.0)
        truth.write_text(json.dumps(_summary(world, frames), indent=1) + "\n")
        written += [video, truth]
    return written


def encode_video(path: str | Path, pictures: list[NDArray[np.uint8]], fps: float) -> None:
    """Write (H, W, 3) RGB pictures as H.264, yuv420p, crf 18.

    One encoder thread, so that the same pictures give the same bytes with the same libx264.

    Raises:
        InputError: if there is no picture or a side is odd.
    """
    if not pictures or pictures[0].shape[0] % 2 or pictures[0].shape[1] % 2:
        shape = pictures[0].shape if pictures else None
        raise InputError(f"expected pictures with even sides, got {len(pictures)} of shape {shape}")
    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "18", "preset": "medium"}
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _pictures(world: World, frames: list[FrameTwin]) -> list[NDArray[np.uint8]]:
    scene = scene_for(world.tier, world.set_index, SIZE, SIZE)
    return [scene.render(world, frame.timestamp_s).rgb_hw3 for frame in frames]


def _masks(frames: list[FrameTwin], fps: float) -> dict[str, Any]:
    listed = []
    for frame in frames:
        masks = {
            str(number): thing.mask.model_dump()
            for number, thing in frame.objects.items()
            if thing.mask is not None
        }
        listed.append({"index": frame.index, "timestamp_s": frame.timestamp_s, "masks": masks})
    return {"fps": fps, "frames": listed}


def _summary(world: World, frames: list[FrameTwin]) -> dict[str, Any]:
    """Who is there, what happens, and the state and box of each object at start and end."""

    def boxes(frame: FrameTwin) -> dict[str, Any]:
        return {
            str(number): {"state": thing.state, "box_xyxy": list(thing.box_xyxy)}
            for number, thing in frame.objects.items()
        }

    return {
        "seed": world.seed,
        "tier": world.tier,
        "objects": [
            {"id": t.id, "category": t.category, "color": t.color, "rests_on": t.parent}
            for t in world.objects
        ],
        "events": [
            {
                "kind": e.kind,
                "id": e.id,
                "other": e.other,
                "start_s": round(e.start_s, 3),
                "end_s": round(e.end_s, 3),
            }
            for e in world.events
        ],
        "first_frame": boxes(frames[0]),
        "last_frame": boxes(frames[-1]),
    }
