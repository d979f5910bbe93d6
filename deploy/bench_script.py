"""A film for measuring speed, and networks whose answers are replaced by its script.

The networks run on the film's pictures; only what they find is replaced, because random
weights find nothing that could be tracked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..perception.bundle import Bundle
from ..perception.depth import DepthEstimator
from ..perception.detector import Detector
from ..perception.memory_bank import MemoryBank
from ..perception.records import Detections
from ..perception.segmenter import ImageFeatures, SegmentedMasks, Segmenter
from ..twin.frame import Frame

__all__ = [
    "FILM_HW",
    "NAMES",
    "Film",
    "Scene",
    "ScriptedDetector",
    "ScriptedParts",
    "ScriptedSegmenter",
]

FILM_HW = (360, 640)
_FPS = 30.0
_WORK_SIDE = 640  # of the pictures that small networks' perceivers work on
NAMES = ("mug", "bowl", "bottle", "book", "plate", "pan", "lamp", "phone")
_SURE = 6.0  # mask logit inside an object, and minus that outside


class Scene(Protocol):
    """Pictures with known boxes: a :class:`Film`, or a clip that was perceived before."""

    @property
    def words(self) -> tuple[str, ...]:
        """What there is to look for."""
        ...

    def frame(self, index: int) -> Frame:
        """Return a frame; any index, without end."""
        ...

    def boxes(self, index: int) -> NDArray[np.float32]:
        """Return the boxes (N, 4) of its objects."""
        ...


class Film:
    """``objects`` boxes that drift to and fro over a still, mottled picture, without end.

    ``size_hw`` is the picture's. Words repeat beyond the eighth object.

    The frame's number is written into its first pixels, so that what is scripted can be told
    from the picture alone, also when it was made smaller (to 640 pixels of width).
    """

    def __init__(self, objects: int, seed: int = 0, size_hw: tuple[int, int] = FILM_HW) -> None:
        height, width = self.size_hw = size_hw
        source = np.random.default_rng(seed)
        coarse = source.integers(90, 150, (height // 8, width // 8, 3), dtype=np.uint8)
        self._ground = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        self._colors = source.integers(0, 255, (objects, 3))
        self.objects = objects
        self.words = NAMES[:objects]
        self.labels = tuple(NAMES[k % len(NAMES)] for k in range(objects))

    def boxes(self, index: int, scale: float = 1.0) -> NDArray[np.float32]:
        """Return boxes (N, 4) of a frame, or of a copy that is ``scale`` times as large."""
        height, width = self.size_hw
        step = width / (self.objects + 1)
        k = np.arange(self.objects)
        x = step * (k + 1) + width / 53 * np.sin(index / 9 + k)
        y = height / 2 + height / 6 * np.cos(index / 13 + 2 * k)
        half_w, half_h = min(width * 3 / 64, step / 3), height / 9
        boxes = np.stack([x - half_w, y - half_h, x + half_w, y + half_h], 1)
        return (boxes * scale).astype(np.float32)

    def frame(self, index: int) -> Frame:
        """Return a frame."""
        image = self._ground.copy()
        for box, color in zip(self.boxes(index).round().astype(int), self._colors, strict=True):
            image[box[1] : box[3], box[0] : box[2]] = color
        side = 2 * max(1, -(-max(self.size_hw) // _WORK_SIDE))
        image[:side, :side] = (index >> 16) & 255, (index >> 8) & 255, index & 255
        return Frame(index, index / _FPS, np.asarray(image, np.uint8))

    def index_of(self, image_hw3: NDArray[np.uint8]) -> int:
        """Return the number of a frame's picture."""
        high, middle, low = image_hw3[0, 0].tolist()
        return int(high << 16 | middle << 8 | low)


class ScriptedDetector:
    """Runs the bundle's detector and returns the film's boxes."""

    def __init__(self, bundle: Bundle, film: Film) -> None:
        self._detector, self._film = Detector(bundle), film

    def detect(
        self, image_hw3: NDArray[np.uint8], vocabulary: Sequence[str] | None = None
    ) -> Detections:
        """See :class:`~edgetwin.perception.detector.Detector`."""
        self._detector.detect(image_hw3, vocabulary)
        film = self._film
        scores = np.linspace(0.9, 0.8, film.objects, dtype=np.float32)
        return Detections(
            boxes_xyxy_n4=film.boxes(
                film.index_of(image_hw3), image_hw3.shape[1] / film.size_hw[1]
            ),
            scores_n=scores,
            labels=film.labels,
            colors=(None,) * film.objects,
            label_scores_n=scores,
            color_scores_n=np.ones(film.objects, np.float32),
        )


class ScriptedSegmenter(Segmenter):
    """Runs the bundle's segmenter and returns masks that fill the film's boxes.

    Object ids are 1 … N in the order of the film's boxes, which is that of the scores.
    """

    def __init__(self, bundle: Bundle, film: Film) -> None:
        super().__init__(bundle)
        self._film, self._index = film, 0

    def encode(self, image_hw3: NDArray[np.uint8]) -> ImageFeatures:
        """See :class:`Segmenter`."""
        self._index = self._film.index_of(image_hw3)
        return super().encode(image_hw3)

    def from_boxes(
        self,
        features: ImageFeatures,
        boxes_xyxy_n4: NDArray[np.floating[Any]],
        *,
        margin: float | None = 0.1,
        points_xy_nk2: NDArray[np.floating[Any]] | None = None,
    ) -> SegmentedMasks:
        """See :class:`Segmenter`."""
        masks = super().from_boxes(
            features, boxes_xyxy_n4, margin=margin, points_xy_nk2=points_xy_nk2
        )
        centres = (np.asarray(boxes_xyxy_n4)[:, :2] + np.asarray(boxes_xyxy_n4)[:, 2:]) / 2
        true = self._film.boxes(self._index, features.width / self._film.size_hw[1])
        middles = (true[:, :2] + true[:, 2:]) / 2
        apart = np.linalg.norm(centres[:, None] - middles[None], axis=2)
        return self._filled(masks, features, true[apart.argmin(axis=1)])

    def propagate(
        self, features: ImageFeatures, bank: MemoryBank, ids: Sequence[int] | None = None
    ) -> SegmentedMasks:
        """See :class:`Segmenter`."""
        keys = list(bank.ids() if ids is None else ids)
        masks = super().propagate(features, bank, keys)
        rows = [(key - 1) % self._film.objects for key in keys]
        true = self._film.boxes(self._index, features.width / self._film.size_hw[1])
        return self._filled(masks, features, true[rows])

    def _filled(
        self, masks: SegmentedMasks, features: ImageFeatures, boxes_n4: NDArray[np.float32]
    ) -> SegmentedMasks:
        """Replace what was found by the boxes; nothing the networks did is skipped."""
        full, small = np.zeros_like(masks.masks_nhw), np.full_like(masks.logits_nhw, -_SURE)
        height, width = small.shape[1:]
        scale = np.array([width / features.width, height / features.height] * 2, np.float32)
        for row, box in enumerate(boxes_n4):
            x0, y0, x1, y1 = box.round().astype(int)
            full[row, max(y0, 0) : y1, max(x0, 0) : x1] = True
            x0, y0, x1, y1 = (box * scale).round().astype(int)
            small[row, max(y0, 0) : y1, max(x0, 0) : x1] = _SURE
        return replace(
            masks,
            masks_nhw=full,
            scores_n=np.full(len(full), 0.9, np.float32),
            logits_nhw=small,
            object_logits_n=np.full(len(full), _SURE, np.float32),
        )


class ScriptedParts:
    """The parts of a perceiver, opened once; several perceivers may use them in turn."""

    def __init__(self, bundle: Bundle, film: Film) -> None:
        self.bundle, self.film = bundle, film
        self.detector = ScriptedDetector(bundle, film)
        self.segmenter = ScriptedSegmenter(bundle, film)
        self.depth = DepthEstimator(bundle)
