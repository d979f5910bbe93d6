"""Depth against the renderer's: metres on objects, and which of two objects is nearer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.schema import ObjectTwin
from .report import Table

__all__ = ["MARGINS", "DepthScores", "PixelCounts"]

MARGINS: dict[str, tuple[float, float]] = {"2 cm": (0.02, 0.0), "5 %": (0.0, 0.05)}
"""Pairs are asked about whose true median depths differ by more than so many metres, and by
more than such a part of the nearer one's."""


@dataclass
class PixelCounts:
    """Object pixels, those within 10 % of the truth, those within a factor of 1.25."""

    pixels: int = 0
    within_10: int = 0
    within_125: int = 0

    def figures(self) -> dict[str, Any]:
        """Return the counts' ratios; None without pixels."""
        whole = max(1, self.pixels)
        return {
            "pixels": self.pixels,
            "within_10": self.within_10 / whole if self.pixels else None,
            "delta_125": self.within_125 / whole if self.pixels else None,
        }


@dataclass
class DepthScores:
    """Counts over frames; ``order`` is margin -> [pairs in the right order, pairs]."""

    metric: bool = True
    total: PixelCounts = field(default_factory=PixelCounts)
    by_category: dict[str, PixelCounts] = field(default_factory=dict)
    order: dict[str, list[int]] = field(default_factory=lambda: {m: [0, 0] for m in MARGINS})

    def add(
        self,
        predicted: NDArray[np.float32],
        true_m: NDArray[np.floating[Any]],
        asked: Sequence[ObjectTwin],
    ) -> None:
        """Count one frame: depths (H, W), and the objects whose masks are looked at."""
        medians: list[tuple[float, float]] = []
        for obj in asked:
            if obj.mask is None:
                continue
            mask = rle.decode(obj.mask)
            got, want = predicted[mask].astype(np.float64), true_m[mask].astype(np.float64)
            medians.append((float(np.median(got)), float(np.median(want))))
            ratio = np.maximum(got, 1e-6) / want
            near = int(np.count_nonzero(np.abs(got - want) <= 0.1 * want))
            loose = int(np.count_nonzero(np.maximum(ratio, 1 / ratio) < 1.25))
            for counts in (
                self.total,
                self.by_category.setdefault(obj.semantic_label, PixelCounts()),
            ):
                counts.pixels += got.size
                counts.within_10 += near
                counts.within_125 += loose
        for a, b in combinations(medians, 2):
            self._compare(a, b)

    def _compare(self, a: tuple[float, float], b: tuple[float, float]) -> None:
        gap = abs(a[1] - b[1])
        for name, (metres, part) in MARGINS.items():
            if gap > metres and gap > part * min(a[1], b[1]):
                self.order[name][0] += (a[0] - b[0]) * (a[1] - b[1]) > 0
                self.order[name][1] += 1

    def figures(self) -> dict[str, Any]:
        """Return every figure and the counts behind it; metres only of a metric network."""
        total = self.total.figures()
        if not self.metric:
            total |= {"within_10": None, "delta_125": None}
        return {
            **total,
            "order": {
                name: {"pairs": pairs, "right": right / pairs if pairs else None}
                for name, (right, pairs) in self.order.items()
            },
            "by_category": {n: c.figures() for n, c in self.by_category.items()},
        }

    def tables(self, where: str) -> list[Table]:
        """Pixels by category."""
        rows = tuple(
            (noun, c["pixels"], c["within_10"], c["delta_125"])
            for noun, c in sorted(self.figures()["by_category"].items())
        )
        columns = ("noun", "pixels", "within 10 %", "within a factor of 1.25")
        return [Table(f"Depth by category, {where}", columns, rows)]
