"""What the tracker remembers of one object: place, motion, shape and votes on its name."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..twin.schema import State

__all__ = ["Crop", "Track", "Votes"]

_VOTE_CAP = 12.0  # about a dozen sure detections: a name can still change when it was wrong
_SHRINK = 0.04  # how fast the full area follows a smaller one, per frame
_WHOLE = 0.7  # part of the full area that must show for a look to say what an object looks like
_RENEW = 0.1  # weight of a new look in the running mean
_COAST_S = 0.7  # an unseen object is taken to slow down with this time constant


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A mask cut to its bounding box: ``pixels_hw`` bool with its top left corner at (x, y)."""

    x: int
    y: int
    pixels_hw: NDArray[np.bool_]

    @classmethod
    def of(cls, mask_hw: NDArray[np.bool_]) -> Crop | None:
        """Cut a full-size mask; None if it is empty."""
        rows = np.flatnonzero(mask_hw.any(axis=1))
        if rows.size == 0:
            return None
        band = mask_hw[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(band.any(axis=0))
        return cls(int(columns[0]), int(rows[0]), band[:, columns[0] : columns[-1] + 1].copy())

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(np.count_nonzero(self.pixels_hw))

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The box around the mask, exclusive right and bottom edges."""
        height, width = self.pixels_hw.shape
        return float(self.x), float(self.y), float(self.x + width), float(self.y + height)

    @property
    def centroid(self) -> tuple[float, float]:
        """Mean (x, y) of the mask's pixel centres, which lie half a pixel off whole numbers."""
        ys, xs = np.nonzero(self.pixels_hw)
        return float(xs.mean() + self.x + 0.5), float(ys.mean() + self.y + 0.5)

    def shared(self, other: Crop, shift_xy: tuple[float, float] = (0.0, 0.0)) -> int:
        """Count the pixels in common with ``other`` after moving this mask by whole pixels."""
        dx, dy = round(shift_xy[0]), round(shift_xy[1])
        ah, aw = self.pixels_hw.shape
        bh, bw = other.pixels_hw.shape
        x0, x1 = max(self.x + dx, other.x), min(self.x + dx + aw, other.x + bw)
        y0, y1 = max(self.y + dy, other.y), min(self.y + dy + ah, other.y + bh)
        if x1 <= x0 or y1 <= y0:
            return 0
        a = self.pixels_hw[y0 - self.y - dy : y1 - self.y - dy, x0 - self.x - dx : x1 - self.x - dx]
        b = other.pixels_hw[y0 - other.y : y1 - other.y, x0 - other.x : x1 - other.x]
        return int(np.count_nonzero(a & b))

    def iou(self, other: Crop, shift_xy: tuple[float, float] = (0.0, 0.0)) -> float:
        """Intersection over union with ``other`` after moving this mask."""
        shared = self.shared(other, shift_xy)
        return shared / max(self.area + other.area - shared, 1)


@dataclass(slots=True)
class Votes:
    """Weighted votes on a word, bounded in total weight and in the number of words.

    The winner changes only when another word has a tenth more weight, so a name that is
    nearly a draw does not flicker.
    """

    weights: dict[str, float] = field(default_factory=dict)
    winner: str | None = None

    def add(self, word: str, weight: float) -> None:
        """Count one vote; old votes fade once the cap is reached."""
        self.weights[word] = self.weights.get(word, 0.0) + max(weight, 0.0)
        total = sum(self.weights.values())
        if total > _VOTE_CAP:
            scaled = {w: x * _VOTE_CAP / total for w, x in self.weights.items()}
            self.weights = {w: x for w, x in scaled.items() if x > 0.05}
        best = max(self.weights, key=lambda w: (self.weights[w], w))
        current = self.weights.get(self.winner, 0.0) if self.winner is not None else -1.0
        if self.weights[best] > 1.1 * current:
            self.winner = best

    def share(self, word: str) -> float:
        """Return the part of all votes that went to a word; 0.5 before the first vote."""
        total = sum(self.weights.values())
        return self.weights.get(word, 0.0) / total if total > 0 else 0.5


@dataclass(slots=True, eq=False)
class Track:
    """One object over time. Boxes and points are pixels, times seconds, velocity px/s.

    ``id`` is 0 until the track is confirmed. ``misses`` counts looks of the detector in a row
    that did not find it; ``looks`` and ``hits`` count all of them;
    ``lost_at`` is when it last stopped being visible. ``full_area`` is about the largest area
    it had lately: less shows when something covers it. ``appearance`` is the running mean of
    its vectors (:mod:`.appearance`). Counted in frames or looks in a row: ``held`` visible by
    memory alone, ``back`` seen by memory while hidden, ``doubled`` drawn on another object.
    """

    id: int
    box_xyxy: NDArray[np.float64]
    centroid: NDArray[np.float64]
    area: int
    crop: Crop | None
    score: float
    first_seen: float
    last_seen: float
    state: State = "visible"
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    labels: Votes = field(default_factory=Votes)
    colors: Votes = field(default_factory=Votes)
    hits: int = 1
    looks: int = 1
    misses: int = 0
    needed: int = 2
    lost_at: float = -1.0
    full_area: float = 0.0
    appearance: NDArray[np.float32] | None = None
    held: int = 0
    back: int = 0
    doubled: int = 0

    def __post_init__(self) -> None:
        self.full_area = max(self.full_area, float(self.area))

    @property
    def size(self) -> float:
        """Side of the square with the box's area, at least 4 px."""
        width, height = self.box_xyxy[2:] - self.box_xyxy[:2]
        return float(max(np.sqrt(max(width, 0.0) * max(height, 0.0)), 4.0))

    def shift(self, timestamp_s: float) -> NDArray[np.float64]:
        """Predict how far (x, y) it has moved since it was last seen (constant velocity).

        Beyond 0.25 s unseen the speed fades, because things that hide usually stop.
        """
        age = max(timestamp_s - self.last_seen, 0.0)
        steady = min(age, 0.25)
        coasting = _COAST_S * (1.0 - float(np.exp(-(age - steady) / _COAST_S)))
        moved: NDArray[np.float64] = self.velocity * (steady + coasting)
        return moved

    def predicted_box(self, timestamp_s: float) -> NDArray[np.float64]:
        """Return the last box moved by :meth:`shift`."""
        return self.box_xyxy + np.tile(self.shift(timestamp_s), 2)

    def see(
        self,
        box_xyxy: NDArray[np.floating],
        centroid: tuple[float, float],
        area: int,
        crop: Crop | None,
        timestamp_s: float,
    ) -> None:
        """Take a new place; velocity is the smoothed displacement per second."""
        new = np.asarray(centroid, dtype=np.float64)
        dt = timestamp_s - self.last_seen
        if dt > 1e-6:
            measured = (new - self.centroid) / dt
            gain = 0.5 if self.state == "visible" else 0.2  # a jump out of hiding is no speed
            self.velocity = (1.0 - gain) * self.velocity + gain * measured
        self.box_xyxy = np.asarray(box_xyxy, dtype=np.float64).copy()
        self.centroid, self.area, self.crop = new, area, crop
        self.full_area = max(float(area), self.full_area + _SHRINK * (area - self.full_area))
        self.last_seen = max(self.last_seen, timestamp_s)
        self.state = "visible"

    def resembles(self, vector: NDArray[np.float32]) -> None:
        """Take note of how it looks now, if most of it shows. Call after :meth:`see`."""
        if self.appearance is None:
            self.appearance = vector.copy()
        elif self.area >= _WHOLE * self.full_area:
            mixed = (1.0 - _RENEW) * self.appearance + _RENEW * vector
            self.appearance = (mixed / max(float(np.linalg.norm(mixed)), 1e-9)).astype(np.float32)

    def absorb(self, other: Track) -> None:
        """Go on as another track that turned out to be the same object, under the own id."""
        for name in ("box_xyxy", "centroid", "area", "crop", "velocity", "state", "last_seen"):
            setattr(self, name, getattr(other, name))
        self.full_area = max(self.full_area, other.full_area)
        self.hits, self.looks = self.hits + other.hits, self.looks + other.looks
        self.misses, self.held, self.back, self.doubled = other.misses, 0, 0, 0
        self.score = other.score
        for own, votes in ((self.labels, other.labels), (self.colors, other.colors)):
            for word, weight in votes.weights.items():
                own.add(word, weight)
