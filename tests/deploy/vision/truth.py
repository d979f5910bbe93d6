"""The example clip with its exact truth, and a model that answers from it over a real socket."""

from __future__ import annotations

import base64
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.deploy.stream.source import open_source
from edgetwin.tests.reasoner.loopback import Asked
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import FrameTwin

CLIP = Path(__file__).parents[3] / "examples" / "affordance.mp4"
SEED = 3_000_163  # the clip's world: a purple glass, a black book, a blue pan, ...

Image = NDArray[np.uint8]


@cache
def frames() -> tuple[Image, ...]:
    return tuple(frame.image_hw3 for frame in open_source(CLIP))


def short_clip(folder: Path) -> Path:
    """Every fourth frame of the clip as a video: frame k has the truth ``truths()[k]``."""
    path = folder / "short.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=round(open_source(CLIP).fps / 4))
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        stream.options = {"crf": "12", "bf": "0"}
        for image in frames()[::4]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@cache
def truths() -> tuple[FrameTwin, ...]:
    """The true twins of every fourth frame of the clip, first to last."""
    pytest.importorskip("mujoco")
    from edgetwin.distill.sim.truth import true_frames
    from edgetwin.distill.sim.worlds import World

    fps = open_source(CLIP).fps
    return tuple(true_frames(World(SEED, "cell"), fps / 4, len(frames()) / fps))


def true_mask(object_id: int, step: int = 0) -> NDArray[np.bool_]:
    code = truths()[step].objects[object_id].mask
    assert code is not None
    return rle.decode(code)


def true_box(object_id: int) -> tuple[float, float, float, float]:
    return truths()[0].objects[object_id].box_xyxy


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def strips_of(object_id: int, count: int = 9, size: int = 256) -> tuple[list[int], list[int]]:
    """Ids of the horizontal and the vertical strips that hold a part of the object."""
    x0, y0, x1, y1 = true_box(object_id)

    def between(low: float, high: float) -> list[int]:
        return list(range(int(low * count / size) + 1, math.ceil(high * count / size) + 1))

    return between(y0, y1), between(x0, x1)


def pictures_of(asked: Asked) -> list[Image]:
    """The pictures of a request's first message, decoded, RGB."""
    parts = asked.body["messages"][0]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    found: list[Image] = []
    for url in urls:
        kind, _, data = url.partition(";base64,")
        assert kind == "data:image/png"
        raw = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
        bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR)
        assert bgr is not None
        found.append(np.asarray(bgr[:, :, ::-1], np.uint8))
    return found


def text_of(asked: Asked) -> str:
    """The text of a request's first message."""
    parts = asked.body["messages"][0]["content"]
    return "".join(part["text"] for part in parts if part["type"] == "text")


def rsvp_answer(*objects: tuple[int, str, str]) -> str:
    """What a model that sees well says: (true id, name, description) each."""
    entries: list[dict[str, Any]] = []
    for object_id, name, description in objects:
        rows, columns = strips_of(object_id)
        entries.append(
            {"object": name, "description": description, "horizontal": rows, "vertical": columns}
        )
    return (
        "<think>A glass is made to drink from.</think><answer>"
        f"{json.dumps({'objects': entries})}</answer>"
    )
