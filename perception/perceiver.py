"""Frames in, twins out: the per-frame loop over detector, segmenter, depth and tracker.

On keyframes everything is looked at anew; between them the masks of known objects follow,
by the segmenter's memory where it is trained, else by prompting with predicted boxes. All
memory is bounded: nothing grows with the length of the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from .bundle import Bundle
from .depth import DepthEstimator
from .detector import Detector
from .domain import DomainWatch
from .memory_bank import MemoryBank
from .records import Detections, Masks
from .repeats import RepeatLimits, shared_parts
from .segmenter import Segmenter
from .timing import StageTime, Timings
from .tracker import Tracker, TrackerConfig
from .tracks import Track
from .twins import DepthHold, frame_twin

__all__ = ["DepthLike", "DetectorLike", "Perceiver", "PerceiverConfig", "SegmenterLike"]


Follow = Literal["auto", "memory", "boxes"]


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

        The result is :class:`Masks` or a subclass with more columns.
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


@dataclass(frozen=True, slots=True)
class PerceiverConfig:
    """Policy of the loop; the thresholds were chosen on validation worlds.

    ``keyframe_every`` 1 looks at every frame; with ``detect_between`` the detector looks at
    every frame and only depth waits for keyframes (it costs less than what it spares: without
    it a quarter of fast motions was missed). ``follow`` says how masks follow where the
    detector does not look: by ``"boxes"`` prompted where objects should be, by ``"memory"``
    (at most ``memories`` frames of it; three to six times the time of boxes), or ``"auto"``:
    by memory where the bundle's segmenter says that its memory is trained. ``scene_change``
    is the mean absolute difference of 32 × 32 grey copies (0–255) that makes a keyframe.
    ``detector_score`` and ``detector_support`` are upper bounds on the bundled detector's own
    thresholds, which suit single pictures: here a doubtful detection is confirmed by the next
    frames or dropped. ``max_side``: larger frames are worked on at this size, because no
    bundled network sees more.
    """

    keyframe_every: int = 4
    detect_between: bool = True
    follow: Follow = "boxes"
    memories: int = 4
    scene_change: float = 14.0
    detector_score: float = 0.3
    detector_support: float = 0.6
    min_mask_score: float = 0.3
    repeats: RepeatLimits = field(default_factory=RepeatLimits)
    max_side: int = 640
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        if self.keyframe_every < 1 or self.max_side < 32:
            raise InputError(
                "expected keyframe_every >= 1 and max_side >= 32, "
                f"got {self.keyframe_every} and {self.max_side}"
            )


class Perceiver:
    """Turns the frames of one stream into twins, one after another.

    ``vocabulary`` are the nouns to look for (None: all that the bundle was trained on).
    ``detector``, ``segmenter`` and ``depth`` replace the bundle's own.

    Not thread-safe; one perceiver per stream.

    Raises:
        ModelError: if the bundle lacks a network or its files do not match.
    """

    def __init__(
        self,
        bundle: Bundle,
        vocabulary: Sequence[str] | None = None,
        *,
        keyframe_every: int | None = None,
        config: PerceiverConfig | None = None,
        detector: DetectorLike | None = None,
        segmenter: SegmenterLike | None = None,
        depth: DepthLike | None = None,
    ) -> None:
        self.config = config or PerceiverConfig()
        self.vocabulary = None if vocabulary is None else tuple(vocabulary)
        self.detector: DetectorLike = detector or self._own_detector(bundle)
        self.segmenter: SegmenterLike = segmenter or Segmenter(bundle)
        self.depth: DepthLike = depth or DepthEstimator(bundle)
        self.tracker = Tracker(self.config.tracker)
        self.keyframes = 0
        self._every = self.config.keyframe_every if keyframe_every is None else keyframe_every
        if self._every < 1:
            raise InputError(f"expected keyframe_every >= 1, got {self._every}")
        self._fov_deg = bundle.fov_deg
        self._timings = Timings(
            "encoder", "detector", "segmenter", "memory", "depth", "tracker", "total"
        )
        self._domain = DomainWatch(bundle.manifest.statistics)
        self._hold = DepthHold()
        self._bank = self._new_bank(bundle)
        self._since_key = 0
        self._thumb: NDArray[np.float32] | None = None
        self._size_hw: tuple[int, int] | None = None

    @property
    def timings(self) -> dict[str, StageTime]:
        """Recent milliseconds per stage; detector and depth run on keyframes only."""
        return self._timings.summary()

    @property
    def domain_warning(self) -> str | None:
        """One line if the video does not look like the bundle's training data, else None."""
        return self._domain.warning

    def observe(self, frame: Frame) -> FrameTwin:
        """Perceive the next frame.

        Raises:
            InputError: if its time lies before the last frame's.
            ModelError: if a network fails.
        """
        with self._timings.stage("total"):
            image, scale = self._work_image(frame.image_hw3)
            size_hw = image.shape[:2]
            if self._size_hw not in (None, size_hw):
                self._reset()  # another picture size is another scene
            self._size_hw = size_hw
            key = self._is_key(image)
            with self._timings.stage("encoder"):
                features = self.segmenter.encode(image)
            if self._bank is not None:
                self._bank.advance()
            settling = self.tracker.settling(frame.timestamp_s)
            look = key or settling or self.config.detect_between
            if not look:
                key = look = self._follow(features, frame.timestamp_s, size_hw)
            found = self._look(image, features, frame.timestamp_s, size_hw) if look else None
            if key:
                self._measure(image)
                self._domain.observe(image, found or Detections.empty())
            self._since_key = 1 if key else self._since_key + 1
            return frame_twin(frame, self.tracker.reported(), self._hold, scale, self._fov_deg)

    # ---- what happens to a frame

    def _look(
        self, image: NDArray[np.uint8], features: Any, timestamp_s: float, size_hw: tuple[int, int]
    ) -> Detections:
        with self._timings.stage("detector"):
            found = self.detector.detect(image, self.vocabulary)
        with self._timings.stage("segmenter"):
            masks = self.segmenter.from_boxes(features, found.boxes_xyxy_n4)
            rows = self._distinct(found, masks)
            found, masks = found.take(rows), masks.take(rows)
        with self._timings.stage("tracker"):
            ids = self.tracker.update(found, masks, timestamp_s, size_hw)
        missed = self.tracker.missed()
        if missed:  # the mask at its place may show that the detector only overlooked it
            self._follow_boxes(missed, features, timestamp_s, size_hw)
        if self._bank is not None:
            known = [row for row, object_id in enumerate(ids) if object_id]
            self._remember(features, masks.take(known), [ids[row] for row in known])
        return found

    def _follow(self, features: Any, timestamp_s: float, size_hw: tuple[int, int]) -> bool:
        """Let masks follow; True if an object was lost, which asks for a look at this frame."""
        tracks = self.tracker.visible()
        if not tracks:
            return False
        if self._bank is None:
            return self._follow_boxes(tracks, features, timestamp_s, size_hw)
        known = self._bank.ids()
        ids = [t.id for t in tracks if t.id in known]
        with self._timings.stage("segmenter"):
            assert isinstance(self.segmenter, Segmenter)
            masks = self.segmenter.propagate(features, self._bank, ids)
        with self._timings.stage("tracker"):
            least = self.config.min_mask_score
            lost = self.tracker.follow(ids, masks, timestamp_s, size_hw, least)
        kept = [row for row, object_id in enumerate(ids) if object_id not in lost]
        self._remember(features, masks.take(kept), [ids[row] for row in kept])
        return bool(lost)

    def _follow_boxes(
        self,
        tracks: Sequence[Track],
        features: Any,
        timestamp_s: float,
        size_hw: tuple[int, int],
    ) -> bool:
        """Prompt with the boxes where objects should be now; True if one was lost."""
        height, width = size_hw
        boxes = np.array([t.predicted_box(timestamp_s) for t in tracks], np.float32)
        limit = np.array([width, height, width, height], np.float32)
        boxes = np.clip(boxes, 0, limit)
        with self._timings.stage("segmenter"):
            masks = self.segmenter.from_boxes(features, boxes, margin=0.2)
        with self._timings.stage("tracker"):
            ids = [t.id for t in tracks]
            least = self.config.min_mask_score
            return bool(self.tracker.follow(ids, masks, timestamp_s, size_hw, least))

    def _measure(self, image: NDArray[np.uint8]) -> None:
        self.keyframes += 1
        with self._timings.stage("depth"):
            depth_hw = self.depth.depth_m(image)
            self._hold.refresh(self.tracker.reported(), depth_hw, self.depth.metric)

    def _remember(self, features: Any, masks: Any, ids: Sequence[int]) -> None:
        """Store masks in the bank and forget what is not visible."""
        assert self._bank is not None
        assert isinstance(self.segmenter, Segmenter)
        with self._timings.stage("memory"):
            self.segmenter.remember(features, masks, self._bank, ids)
        seen = {t.id for t in self.tracker.visible()}
        self._bank.forget(set(self._bank.ids()) - seen)

    # ---- pieces

    def _own_detector(self, bundle: Bundle) -> Detector:
        own = Detector(bundle)
        own.config = replace(
            own.config,
            score_threshold=min(own.config.score_threshold, self.config.detector_score),
            min_support=min(own.config.min_support, self.config.detector_support),
        )
        return own

    def _new_bank(self, bundle: Bundle) -> MemoryBank | None:
        trained = "segmenter" in bundle.manifest.networks and bool(
            bundle.network("segmenter").config.get("memory", False)
        )
        if self.config.follow == "boxes" or (self.config.follow == "auto" and not trained):
            return None
        if not isinstance(self.segmenter, Segmenter):
            if self.config.follow == "auto":
                return None
            raise InputError("expected the bundle's own segmenter to follow by memory")
        return self.segmenter.new_bank(memories=self.config.memories)

    def _work_image(self, image_hw3: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """Return the picture to work on and how many frame pixels one of its pixels is wide."""
        longest = max(image_hw3.shape[:2])
        if longest <= self.config.max_side:
            return image_hw3, 1.0
        scale = longest / self.config.max_side
        height, width = (max(1, round(s / scale)) for s in image_hw3.shape[:2])
        small = cv2.resize(image_hw3, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, dtype=np.uint8), scale

    def _reset(self) -> None:
        self.tracker.forget()
        self._thumb = None
        if self._bank is not None:
            self._bank.clear()

    def _is_key(self, image: NDArray[np.uint8]) -> bool:
        small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
        thumb = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before, self._thumb = self._thumb, thumb
        if before is None or self._since_key >= self._every:
            return True
        return float(np.abs(thumb - before).mean()) > self.config.scene_change

    def _distinct(self, found: Detections, masks: Masks) -> NDArray[np.int64]:
        """Rows whose mask is good and that do not repeat a surer detection."""
        good = masks.masks_nhw.any(axis=(1, 2)) & (masks.scores_n >= self.config.min_mask_score)
        shared = shared_parts(found, masks)
        limits = self.config.repeats
        kept: list[int] = []
        for i in np.argsort(-found.scores_n, kind="stable").tolist():
            if good[i] and not any(shared[i, k] > limits.of(found, i, k) for k in kept):
                kept.append(i)
        return np.array(kept, dtype=np.int64)
