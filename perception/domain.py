"""Does this video look like what the networks were trained on? A plain, honest heuristic.

A few picture features are compared with their mean and spread over training pictures, and
the detector's confidence with what it has on its own kind of picture. Not covered: a
familiar-looking scene with unfamiliar objects that the detector is wrongly sure of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from .bundle import FrameStatistics
from .records import Detections

__all__ = ["FEATURES", "DomainWatch", "distance", "features", "fit_statistics"]

FEATURES = (
    "lightness",
    "lightness_spread",
    "a_mean",
    "b_mean",
    "chroma",
    "chroma_spread",
    "noise",
    "edges",
    "border_spread",
)

_WINDOW = 8  # keyframes looked back at
_ENOUGH = 3  # keyframes before confidence is judged


def features(image_hw3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the features of one RGB picture in the order of :data:`FEATURES`.

    Colours in CIE Lab of a 64 × 64 copy; ``noise`` is the median absolute Laplacian and
    ``edges`` the share of strong gradients, both of a 256 × 256 copy; ``border_spread`` is the
    lightness spread along the frame's border, which on a table is even.
    """
    small = cv2.resize(image_hw3, (64, 64), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float64)
    light, a, b = lab[..., 0], lab[..., 1] - 128, lab[..., 2] - 128
    chroma = np.hypot(a, b)
    gray = cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if max(gray.shape) > 256 else cv2.INTER_LINEAR
    gray = cv2.resize(gray, (256, 256), interpolation=how).astype(np.float32)
    laplacian = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    border = np.concatenate([light[:6].ravel(), light[-6:].ravel(), light[:, :6].ravel()])
    return np.array(
        [
            light.mean(), light.std(), a.mean(), b.mean(), chroma.mean(), chroma.std(),
            float(np.percentile(laplacian, 60)), 100.0 * float((slope > 100).mean()), border.std(),
        ]
    )  # fmt: skip


def distance(image_hw3: NDArray[np.uint8], statistics: FrameStatistics) -> float:
    """Return how many spreads a picture lies from the training pictures (root mean square)."""
    z = (features(image_hw3) - np.array(statistics.mean)) / np.array(statistics.std)
    return float(np.sqrt((z * z).mean()))


def fit_statistics(
    images: Iterable[NDArray[np.uint8]], min_confidence: float = 0.0, slack: float = 1.3
) -> FrameStatistics:
    """Measure training pictures; the limit is ``slack`` times their 99.5th percentile distance.

    Raises:
        InputError: if there are fewer than 20 pictures.
    """
    rows = np.array([features(image) for image in images])
    if len(rows) < 20:
        raise InputError(f"expected at least 20 pictures to measure, got {len(rows)}")
    mean, std = rows.mean(axis=0), np.maximum(rows.std(axis=0), 0.05)
    distances = np.sqrt((((rows - mean) / std) ** 2).mean(axis=1))
    return FrameStatistics(
        features=FEATURES,
        mean=tuple(round(float(x), 4) for x in mean),
        std=tuple(round(float(x), 4) for x in std),
        limit=round(slack * float(np.percentile(distances, 99.5)), 3),
        min_confidence=min_confidence,
    )


class DomainWatch:
    """Judges keyframes; :attr:`warning` is one line or None. Memory: eight numbers each."""

    def __init__(self, statistics: FrameStatistics | None) -> None:
        if statistics is not None and statistics.features != FEATURES:
            statistics = None  # measured by another version: better silent than wrong
        self._statistics = statistics
        self._distances: deque[float] = deque(maxlen=_WINDOW)
        self._confidences: deque[float] = deque(maxlen=_WINDOW)

    def observe(self, image_hw3: NDArray[np.uint8], found: Detections) -> None:
        """Take one keyframe and what was detected in it."""
        if self._statistics is None:
            return
        self._distances.append(distance(image_hw3, self._statistics))
        self._confidences.append(float(found.scores_n.mean()) if len(found) else 0.0)

    @property
    def warning(self) -> str | None:
        """Say why the recent frames look foreign to the networks, or None."""
        if self._statistics is None or not self._distances:
            return None
        reasons = []
        away = float(np.median(self._distances))
        if away > self._statistics.limit:
            reasons.append(
                f"its colours and textures are {away:.1f} spreads from the training pictures "
                f"(expected up to {self._statistics.limit:.1f})"
            )
        sure = float(np.mean(self._confidences))
        if len(self._confidences) >= _ENOUGH and sure < self._statistics.min_confidence:
            reasons.append(
                f"detections are {sure:.2f} sure on average "
                f"(expected {self._statistics.min_confidence:.2f} or more)"
            )
        if not reasons:
            return None
        return (
            "this video does not look like the simulated tabletop the embedded models were "
            f"trained on: {' and '.join(reasons)}; labels and masks may be wrong, "
            "a bundle trained on your kind of video (--models PATH) will do better"
        )
