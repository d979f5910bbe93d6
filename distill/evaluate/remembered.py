"""Networks that remember what they said about a picture, so that a world is sensed once.

An evaluation perceives the same frames under many vocabularies. What depends on the picture alone
(detector, image encoder, depth) is computed once per frame, and what a perceiver said of the same
words after the same frames is looked up. Results are the same; milliseconds mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...deploy.refine.eyes import Eyes, Observer
from ...perception.bundle import Bundle
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector, PatchView
from ...perception.segmenter import ImageFeatures, Segmenter
from ...twin.frame import Frame
from ...twin.schema import FrameTwin

__all__ = ["RememberingEyes"]

_MOST = 128  # pictures remembered: a world's 32 frames and crops of them; 1 MB each
_MOST_TWINS = 2048  # 64 clips of 32 frames, about 10 kB each
Picture = NDArray[np.uint8]
T = TypeVar("T")


class _Memo(Generic[T]):
    """What was said of the last pictures; the pictures are kept, so that their places are."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Picture, T]] = {}

    def get(self, image: Picture, more: object) -> T | None:
        found = self._known.get((*_place(image), more))
        return found[1] if found is not None else None

    def put(self, image: Picture, more: object, value: T) -> T:
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[(*_place(image), more)] = (image, value)
        return value


def _place(image: Picture) -> tuple[object, ...]:
    where = image.__array_interface__
    return where["data"][0], where["shape"], where["strides"]


class _Detector(Detector):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._memo: _Memo[PatchView] = _Memo()

    def look(
        self,
        image_hw3: Picture,
        vocabulary: Sequence[str] | None = None,
        *,
        also: Sequence[str] = (),
    ) -> PatchView:
        # A detector of trained nouns is always asked for all of them: the view is the same.
        words = None if self.nouns else (tuple(vocabulary or ()), tuple(also))
        known = self._memo.get(image_hw3, words)
        if known is not None:
            return known
        return self._memo.put(image_hw3, words, super().look(image_hw3, vocabulary, also=also))


class _Segmenter(Segmenter):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._memo: _Memo[ImageFeatures] = _Memo()

    def encode(self, image_hw3: Picture) -> ImageFeatures:
        known = self._memo.get(image_hw3, None)
        return known or self._memo.put(image_hw3, None, super().encode(image_hw3))


class _Depth(DepthEstimator):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._memo: _Memo[NDArray[np.float32]] = _Memo()

    def depth_m(self, image_hw3: Picture) -> NDArray[np.float32]:
        known = self._memo.get(image_hw3, None)
        return (
            self._memo.put(image_hw3, None, super().depth_m(image_hw3)) if known is None else known
        )


class RememberingEyes(Eyes):
    """Eyes that look at each picture once, and at each clip once per set of words."""

    detector_type = _Detector
    segmenter_type = _Segmenter
    depth_type = _Depth

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.twins: dict[object, FrameTwin] = {}

    def perceiver(self, words: Sequence[str] | None, *, every_frame: bool = False) -> Observer:
        """Return a perceiver that knows what one of the same words said."""
        return _Replay(self, None if words is None else tuple(words), every_frame)

    def new_perceiver(self, words: Sequence[str] | None, every_frame: bool) -> Observer:
        """Return one that perceives."""
        return super().perceiver(words, every_frame=every_frame)


class _Replay:
    """A perceiver that runs from the first frame on which nobody was before it."""

    def __init__(self, eyes: RememberingEyes, words: tuple[str, ...] | None, every: bool) -> None:
        self._eyes, self._words, self._every = eyes, words, every
        nouns = frozenset(eyes.detector.nouns if words is None else words)
        self._trail: tuple[object, ...] = (nouns, every)
        self._frames: list[Frame] = []
        self._real: Observer | None = None

    def observe(self, frame: Frame) -> FrameTwin:
        self._trail = (hash(self._trail), *_place(frame.image_hw3), frame.timestamp_s)
        known = self._eyes.twins.get(self._trail)
        if known is None:
            if self._real is None:
                self._real = self._eyes.new_perceiver(self._words, self._every)
                for before in self._frames:
                    self._real.observe(before)
            known = self._real.observe(frame)
            if len(self._eyes.twins) >= _MOST_TWINS:
                del self._eyes.twins[next(iter(self._eyes.twins))]
            self._eyes.twins[self._trail] = known
        elif self._real is not None:
            self._real.observe(frame)
        self._frames.append(frame)
        return known.model_copy(update={"index": frame.index, "vocabulary": self._words})
