"""The networks that look again: opened when first needed, of refinement alone.

A stream's perceiver may be at work in another thread, and engines serve one thread; so these are
engines of their own. They cost their memory once (28 MB for the embedded set) and nothing until
a plan asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector
from ...perception.perceiver import Perceiver, PerceiverConfig
from ...perception.segmenter import Segmenter
from ...twin.frame import Frame
from ...twin.schema import FrameTwin

__all__ = ["MAX_SIDE", "Eyes", "Observer", "work_image"]

MAX_SIDE = 640  # pixels of the longer side that masks profit from, as the perceiver's


class Observer(Protocol):
    """Turns the frames of one stream into twins, in order, as the perceiver does."""

    def observe(self, frame: Frame) -> FrameTwin:
        """Return the twin of the next frame."""
        ...


class Eyes:
    """Detector, segmenter and depth of a bundle, each opened when first used.

    Args:
        bundle: a perception bundle.
        config: the stream's, so that what is found is found as the stream would have.

    A subclass may name other classes for the three networks.
    """

    detector_type: ClassVar[type[Detector]] = Detector
    segmenter_type: ClassVar[type[Segmenter]] = Segmenter
    depth_type: ClassVar[type[DepthEstimator]] = DepthEstimator

    def __init__(self, bundle: Bundle, config: PerceiverConfig | None = None) -> None:
        self.bundle = bundle
        self.config = replace(config or PerceiverConfig(), budget_ms=None, everything=False)

    @cached_property
    def detector(self) -> Detector:
        """What finds words."""
        own = self.detector_type(self.bundle)
        own.config = replace(
            own.config,
            score_threshold=min(own.config.score_threshold, self.config.detector_score),
            min_support=min(own.config.min_support, self.config.detector_support),
        )
        return own

    @cached_property
    def segmenter(self) -> Segmenter:
        """What makes masks."""
        return self.segmenter_type(self.bundle)

    @cached_property
    def depth(self) -> DepthEstimator:
        """What measures depth."""
        return self.depth_type(self.bundle)

    def open(self) -> None:
        """Open all three networks now."""
        for network in (self.detector, self.segmenter, self.depth):
            assert network is not None

    @property
    def remembers(self) -> bool:
        """Whether the segmenter's memory is trained, so that a mask can be followed."""
        return bool(self.bundle.network("segmenter").config.get("memory", False))

    def perceiver(self, words: Sequence[str] | None, *, every_frame: bool = False) -> Observer:
        """Return a perceiver of some words; ``every_frame``: look at each (they lie apart)."""
        config = replace(self.config, look_every=1, depth_every=1) if every_frame else self.config
        return Perceiver(
            self.bundle,
            words,
            config=config,
            detector=self.detector,
            segmenter=self.segmenter,
            depth=self.depth,
        )


def work_image(image_hw3: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Return a picture of at most :data:`MAX_SIDE` and how many frame pixels one of its has."""
    longest = max(image_hw3.shape[:2])
    if longest <= MAX_SIDE:
        return image_hw3, 1.0
    scale = longest / MAX_SIDE
    height, width = (max(1, round(side / scale)) for side in image_hw3.shape[:2])
    small = cv2.resize(image_hw3, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale
