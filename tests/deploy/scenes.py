"""Small real videos, and a perceiver that knows two coloured squares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from edgetwin.deploy.models import Models
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin import mask as rle
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin, ObjectTwin

RED, BLUE = (200, 30, 30), (30, 30, 200)
PLAN_RED = (
    '<reason>the red one</reason><plan>[{"tool":"attribute","name":"color","value":"red"}]</plan>'
)


def picture(step: int = 0, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """Grey with a red square at x = 10 + 2 · step, y = 20 and a blue one at (80, 50)."""
    image = np.full((height, width, 3), 120, np.uint8)
    image[20:40, 10 + 2 * step : 30 + 2 * step] = RED
    image[50:80, 80:110] = BLUE
    return image


def write_clip(path: Path, frames: int = 12, rate: int = 10, **options: str) -> Path:
    """Encode ``picture(0) …`` as H.264."""
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"crf": "10", "bf": "0"}
        for step in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(step), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_timed(path: Path, seconds: Sequence[float]) -> Path:
    """Encode one frame at each time: a variable frame rate."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for step, at in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(picture(step), format="rgb24")
            frame.pts, frame.time_base = round(at * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class SquareFinder:
    """Perceives exactly the red and the blue square."""

    def __init__(self) -> None:
        self.seen = 0
        self.fail_at: int | None = None

    def observe(self, frame: Frame) -> FrameTwin:
        self.seen += 1
        if self.fail_at is not None and self.seen > self.fail_at:
            raise KeyboardInterrupt
        height, width = frame.image_hw3.shape[:2]
        return FrameTwin(
            source_id=frame.source_id,
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            width=width,
            height=height,
            objects={o.id: o for o in self._objects(frame)},
        )

    def _objects(self, frame: Frame) -> Iterator[ObjectTwin]:
        image = frame.image_hw3.astype(np.int16)
        for number, (color, rgb) in enumerate({"red": RED, "blue": BLUE}.items(), 1):
            mask_hw = np.abs(image - np.array(rgb)).sum(axis=2) < 120
            if not mask_hw.any():
                continue
            code = rle.encode(mask_hw)
            box = rle.to_box(code)
            yield ObjectTwin(
                id=number,
                semantic_label="box",
                attributes={"color": color},
                confidence=0.9,
                mask=code,
                box_xyxy=box,
                centroid=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
                area=int(mask_hw.sum()),
                first_seen=0.0,
                last_seen=frame.timestamp_s,
            )


def square_models(replies: Sequence[str], finder: SquareFinder | None = None) -> Models:
    """Real rollout and tools over a scripted language model."""
    model = ScriptedModel(replies)
    identities = {"detector": {"id": "squares/detector", "sha256": {}}}
    return Models("squares", finder or SquareFinder(), identities, reasoner=Reasoner(model))
