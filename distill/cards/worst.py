"""The worst cases of a run, bounded: what a gallery of failures is made of."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Case", "Worst", "crop_around"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Case:
    """One failure: ``kind`` groups cases, ``noun`` is the object's, ``caption`` says what is wrong.

    ``image_hw3`` is a small annotated RGB crop; ``error_hw`` an optional map of signed relative
    errors of the same size (NaN outside the object).
    """

    kind: str
    noun: str
    caption: str
    image_hw3: Image
    error_hw: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Worst:
    """Keeps the ``keep`` worst cases of each kind; the case is built only if it is kept.

    ``keep`` is several times what a gallery shows, so that :meth:`take` can leave out repeats
    of one noun.
    """

    keep: int = 40
    _heaps: dict[str, list[tuple[float, int, Case]]] = field(default_factory=dict)
    _serial: int = 0

    def add(self, kind: str, badness: float, build: Callable[[], Case]) -> None:
        """Offer a case; a larger ``badness`` is worse."""
        heap = self._heaps.setdefault(kind, [])
        if len(heap) >= self.keep and badness <= heap[0][0]:
            return
        self._serial += 1
        heapq.heappush(heap, (badness, -self._serial, build()))
        if len(heap) > self.keep:
            heapq.heappop(heap)

    def take(self, kind: str, count: int, per_noun: int = 2) -> list[Case]:
        """Return at most ``count`` cases of a kind, worst first, ``per_noun`` of each noun."""
        chosen: list[Case] = []
        seen: Counter[str] = Counter()
        for _, _, case in sorted(self._heaps.get(kind, []), reverse=True):
            if len(chosen) < count and seen[case.noun] < per_noun:
                chosen.append(case)
                seen[case.noun] += 1
        return chosen


def crop_around(
    box_xyxy: tuple[float, ...] | NDArray[np.float32], shape_hw: tuple[int, int], least: int = 72
) -> tuple[slice, slice]:
    """Return (rows, columns) of a square around a box with a margin, inside the picture."""
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    height, width = shape_hw
    side = int(min(max(1.3 * max(x1 - x0, y1 - y0), least), height, width))
    left = int(np.clip((x0 + x1 - side) / 2, 0, width - side))
    top = int(np.clip((y0 + y1 - side) / 2, 0, height - side))
    return slice(top, top + side), slice(left, left + side)
