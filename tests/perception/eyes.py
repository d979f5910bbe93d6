"""Drawn pictures, and small classical vision in the networks' places.

The "detector" finds patches of known colours, the "segmenter" thresholds inside a box, the
"depth" reads brightness: all look at the pixels, so results can be computed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgetwin.perception.bundle import Bundle, FrameStatistics, Manifest, embedded_dir
from edgetwin.perception.perceiver import Perceiver, PerceiverConfig
from edgetwin.perception.policy import PolicyConfig
from edgetwin.perception.records import Detections, Masks
from edgetwin.perception.tracker import TrackerConfig
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin

RED, BLUE = (200, 0, 0), (0, 0, 200)
NAMES = {RED: ("mug", "red"), BLUE: ("bowl", "blue")}
Box = tuple[int, int, int, int]
Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def bundle(statistics: FrameStatistics | None = None) -> Bundle:
    manifest = Manifest(name="drawn", schema_version=1, fov_deg=90.0, statistics=statistics)
    return Bundle(embedded_dir(), manifest)


def picture(
    *patches: tuple[tuple[int, int, int], Box], height: int = 64, width: int = 96
) -> Picture:
    image = np.full((height, width, 3), 40, np.uint8)
    for color, (x0, y0, x1, y1) in patches:
        image[y0:y1, x0:x1] = color
    return image


class Clock:
    """A clock that only moves when it is told to; seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Eyes:
    """Detector, segmenter and depth in one; counts its calls.

    ``costs`` are milliseconds by which each call moves ``clock``; ``quality`` is the
    segmenter's opinion of every mask.
    """

    def __init__(self, clock: Clock | None = None, **costs: float) -> None:
        self.clock = clock or Clock()
        self.costs = costs
        self.quality = 0.9
        self.calls = {"detect": 0, "encode": 0, "boxes": 0, "depth": 0}
        self.blind_to: set[str] = set()
        self.metric = True

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        self.clock.now += self.costs.get(name, 0.0) / 1000

    def detect(self, image_hw3: Picture, vocabulary: Sequence[str] | None = None) -> Detections:
        self._call("detect")
        boxes, labels, colors = [], [], []
        for color, (label, word) in NAMES.items():
            ys, xs = np.nonzero((image_hw3 == color).all(axis=2))
            if len(xs) and label not in self.blind_to and label in (vocabulary or [label]):
                boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                labels.append(label)
                colors.append(word)
        n = len(labels)
        return Detections(
            np.array(boxes, np.float32).reshape(n, 4),
            np.full(n, 0.9, np.float32),
            tuple(labels),
            tuple(colors),
        )

    def encode(self, image_hw3: Picture) -> Picture:
        self._call("encode")
        return image_hw3

    def from_boxes(
        self, image: Picture, boxes_xyxy_n4: np.ndarray, *, margin: float = 0.1
    ) -> Masks:
        """Take the colour in the middle of the box, and a margin of 4 px around the box."""
        self._call("boxes")
        masks = np.zeros((len(boxes_xyxy_n4), *image.shape[:2]), bool)
        scores = np.zeros(len(boxes_xyxy_n4), np.float32)
        for mask, i, (x0, y0, x1, y1) in zip(
            masks, range(len(masks)), boxes_xyxy_n4.round().astype(int), strict=True
        ):
            color = image[min((y0 + y1) // 2, 63), min((x0 + x1) // 2, 95)]
            window = np.s_[max(y0 - 4, 0) : y1 + 4, max(x0 - 4, 0) : x1 + 4]
            mask[window] = (image[window] == color).all(axis=2) & (color.max() > 40)
            scores[i] = self.quality if mask.any() else 0.0
        return Masks(masks, scores)

    def depth_m(self, image_hw3: Picture) -> np.ndarray:
        self._call("depth")
        return np.where(image_hw3.max(axis=2) > 40, 0.5, 2.0).astype(np.float32)


def perceiver(eyes: Eyes, every: int = 1, **kwargs: object) -> Perceiver:
    """Look and measure every so many frames, and for no reason in the picture but a loss."""
    kwargs = {
        "tracker": TrackerConfig(settle_s=0.0),
        "policy": PolicyConfig(scene_change=60.0, new_change=255.0),
    } | kwargs
    config = PerceiverConfig(**{"look_every": every, "depth_every": every} | kwargs)
    return Perceiver(
        bundle(), config=config, detector=eyes, segmenter=eyes, depth=eyes, clock=eyes.clock
    )


def play(p: Perceiver, pictures: list[Picture], dt: float = 0.1) -> list[FrameTwin]:
    return [p.observe(Frame(k, k * dt, image)) for k, image in enumerate(pictures)]
