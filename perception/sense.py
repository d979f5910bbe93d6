"""The first two steps of the loop: prepare a frame, and what networks see in the picture alone.

Nothing here knows what was tracked before, so all of it may run ahead of the frames that are
still being settled (:mod:`.pipeline`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.frame import Frame
from .records import Detections
from .timing import Timings

__all__ = [
    "DepthLike",
    "DetectorLike",
    "Preparer",
    "SegmenterLike",
    "Sensed",
    "Senses",
    "View",
]

T = TypeVar("T")

THUMB = 64  # side of the thumbnail, cells
_SCENE = 32  # side of the copy on which scene changes are judged


class DetectorLike(Protocol):
    """What the perceiver needs of a detector."""

    def detect(
        self, image_hw3: NDArray[np.uint8], vocabulary: Sequence[str] | None = None
    ) -> Detections:
        """Find the vocabulary's objects in a picture."""
        ...


class SegmenterLike(Protocol):
    """What the perceiver needs of a segmenter; features are passed back as they came."""

    def encode(self, image_hw3: NDArray[np.uint8]) -> Any:
        """Encode a picture once for any number of prompts."""
        ...

    def from_boxes(
        self, features: Any, boxes_xyxy_n4: NDArray[np.float32], *, margin: float = 0.1
    ) -> Any:
        """Return one mask per box, cut to the box widened by ``margin`` of its sides.

        The result is :class:`~edgetwin.perception.records.Masks` or a subclass with more
        columns.
        """
        ...


class DepthLike(Protocol):
    """What the perceiver needs of a depth estimator."""

    @property
    def metric(self) -> bool:
        """Whether depths are metres."""
        ...

    def depth_m(self, image_hw3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return depth of every pixel."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A frame made ready.

    ``image_hw3`` is the picture to work on; one of its pixels is ``scale`` frame pixels wide.
    ``thumb_hw3`` is a copy of 64 × 64 cells, uint8 RGB; ``change`` the mean absolute difference
    to the frame before (of 32 × 32 grey copies, 0–255), infinite for the first frame and after
    a change of size. ``spent_ms`` gathers what this frame costs, stage by stage.
    """

    frame: Frame
    image_hw3: NDArray[np.uint8]
    scale: float
    thumb_hw3: NDArray[np.uint8]
    change: float
    spent_ms: list[float] = field(default_factory=list)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the picture to work on."""
        return self.image_hw3.shape[0], self.image_hw3.shape[1]


class Preparer:
    """Makes views of the frames of one stream, in order. Remembers one small picture.

    Frames whose longer side is above ``max_side`` pixels are worked on at that size.
    """

    def __init__(self, max_side: int, timings: Timings) -> None:
        self._max_side = max_side
        self._timings = timings
        self._before: NDArray[np.float32] | None = None
        self._size_hw: tuple[int, ...] | None = None

    def __call__(self, frame: Frame) -> View:
        """Prepare the next frame."""
        spent: list[float] = []
        with self._timings.stage("prepare", spent):
            image, scale = self._work_image(frame.image_hw3)
            thumb = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
            grey = cv2.cvtColor(thumb, cv2.COLOR_RGB2GRAY).astype(np.float32)
            scene = cv2.resize(grey, (_SCENE, _SCENE), interpolation=cv2.INTER_AREA)
            change = float("inf")
            if self._before is not None and self._size_hw == image.shape:
                change = float(cv2.absdiff(scene, self._before).mean())
            self._before = np.asarray(scene, np.float32)
            self._size_hw = image.shape
        return View(frame, image, scale, np.asarray(thumb, np.uint8), change, spent)

    def _work_image(self, image_hw3: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        longest = max(image_hw3.shape[:2])
        if longest <= self._max_side:
            return image_hw3, 1.0
        scale = longest / self._max_side
        height, width = (max(1, round(s / scale)) for s in image_hw3.shape[:2])
        small = cv2.resize(image_hw3, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, dtype=np.uint8), scale


class Senses:
    """The networks that need only the picture, timed. Each may have a thread of its own."""

    def __init__(
        self,
        detector: DetectorLike,
        segmenter: SegmenterLike,
        depth: DepthLike,
        timings: Timings,
    ) -> None:
        self.detector = detector
        self.segmenter = segmenter
        self.depth = depth
        self.timings = timings

    def encode(self, view: View) -> Any:
        """Encode the picture for masks."""
        with self.timings.stage("encoder", view.spent_ms):
            return self.segmenter.encode(view.image_hw3)

    def detect(self, view: View, vocabulary: tuple[str, ...] | None) -> Detections:
        """Look for the vocabulary's objects."""
        with self.timings.stage("detector", view.spent_ms):
            return self.detector.detect(view.image_hw3, vocabulary)

    def depth_m(self, view: View) -> NDArray[np.float32]:
        """Return the depth of every pixel."""
        with self.timings.stage("depth", view.spent_ms):
            return self.depth.depth_m(view.image_hw3)


class Sensed:
    """What the senses say of one view: begun ahead, or run when first asked for.

    Without ``lanes`` (stage → executor of one thread) everything runs in the caller's thread.
    Results never depend on what was begun ahead. Errors of a stage are raised where its
    result is asked for.
    """

    def __init__(
        self, view: View, senses: Senses, lanes: dict[str, Executor] | None = None
    ) -> None:
        self.view = view
        self._senses = senses
        self._lanes = lanes
        self._begun: dict[str, Future[Any]] = {}
        self._words: tuple[str, ...] | None = None

    def begin_encoder(self) -> None:
        """Start encoding."""
        self._begin("encoder", self._senses.encode, self.view)

    def begin_detector(self, vocabulary: tuple[str, ...] | None) -> None:
        """Start a look."""
        self._words = vocabulary
        self._begin("detector", self._senses.detect, self.view, vocabulary)

    def begin_depth(self) -> None:
        """Start measuring depth."""
        self._begin("depth", self._senses.depth_m, self.view)

    def features(self) -> Any:
        """Return the segmenter's features."""
        return self._ask("encoder", self._senses.encode, self.view)

    def found(self, vocabulary: tuple[str, ...] | None) -> Detections:
        """Return the detections of these words."""
        if "detector" in self._begun and self._words != vocabulary:
            del self._begun["detector"]  # the words were changed meanwhile
        result: Detections = self._ask("detector", self._senses.detect, self.view, vocabulary)
        return result

    def depth_m(self) -> NDArray[np.float32]:
        """Return the depth of every pixel, (H, W) float32."""
        result: NDArray[np.float32] = self._ask("depth", self._senses.depth_m, self.view)
        return result

    def run(self, lane: str, work: Callable[..., T], *args: Any) -> T:
        """Run something else on a network in its lane, and wait for it."""
        if self._lanes is None:
            return work(*args)
        return self._lanes[lane].submit(work, *args).result()

    def _begin(self, lane: str, work: Callable[..., Any], *args: Any) -> None:
        assert self._lanes is not None
        self._begun[lane] = self._lanes[lane].submit(work, *args)

    def _ask(self, lane: str, work: Callable[..., Any], *args: Any) -> Any:
        if self._lanes is None:
            return work(*args)
        if lane not in self._begun:  # not foreseen: still in its lane, engines serve one thread
            self._begin(lane, work, *args)
        return self._begun[lane].result()
