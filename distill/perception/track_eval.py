"""How well a perceived window follows the true one: recall, names, identities.

Per frame, true and perceived visible objects are paired by mask IoU of at least .5 at the
best total. Over the window, true and perceived ids are paired one to one by the number of
frames they share; IDF1 (Ristani et al. 2016, arXiv 1609.01775) counts those frames. Not
covered: objects smaller than ``min_area`` pixels, which neither count nor hurt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ...perception.assignment import assign
from ...twin import mask as rle
from ...twin.schema import FrameTwin, ObjectTwin

__all__ = ["TrackScores", "score_tracks"]


@dataclass
class TrackScores:
    """Sums over windows; add them up with ``+``, read ratios from :meth:`summary`."""

    windows: int = 0
    frames: int = 0
    true: int = 0
    seen: int = 0
    matched: int = 0
    iou: float = 0.0
    named: int = 0
    coloured: int = 0
    depth_10: int = 0
    switches: int = 0
    true_ids: int = 0
    seen_ids: int = 0
    id_frames: int = 0

    def __add__(self, other: TrackScores) -> TrackScores:
        names = [f.name for f in fields(self)]
        return TrackScores(**{n: getattr(self, n) + getattr(other, n) for n in names})

    def summary(self) -> dict[str, float]:
        """Return the ratios."""
        matched, windows = max(self.matched, 1), max(self.windows, 1)
        return {
            "recall": self.matched / max(self.true, 1),
            "precision": self.matched / max(self.seen, 1),
            "iou": self.iou / matched,
            "label": self.named / matched,
            "color": self.coloured / matched,
            "depth_10": self.depth_10 / matched,
            "idf1": 2 * self.id_frames / max(self.true + self.seen, 1),
            "switches_per_window": self.switches / windows,
            "extra_ids_per_window": (self.seen_ids - self.true_ids) / windows,
        }


def score_tracks(
    truth: Sequence[FrameTwin], seen: Sequence[FrameTwin], min_area: int = 64
) -> TrackScores:
    """Compare two windows frame by frame.

    Perceived objects that lie mostly on true slivers under ``min_area`` are left out.
    """
    scores = TrackScores(windows=1, frames=len(truth))
    shared: dict[tuple[int, int], int] = {}
    before: dict[int, int] = {}
    true_ids: set[int] = set()
    seen_ids: set[int] = set()
    for frame, other in zip(truth, seen, strict=True):
        everything = list(_visible(frame))
        wanted = [o for o in everything if o.area >= min_area]
        slivers = [o for o in everything if o.area < min_area]
        given = list(_visible(other))
        pairs = _pairs(wanted, given)
        used = {p for _, p in pairs}
        spare = {p for _, p in _pairs(slivers, given, least=0.2)} - used
        scores.true += len(wanted)
        scores.seen += len(given) - len(spare)
        scores.matched += len(pairs)
        true_ids |= {o.id for o in wanted}
        seen_ids |= {o.id for k, o in enumerate(given) if k not in spare}
        for t, p in pairs:
            _count_pair(scores, wanted[t], given[p])
            key = (wanted[t].id, given[p].id)
            shared[key] = shared.get(key, 0) + 1
            scores.switches += before.get(key[0], key[1]) != key[1]
            before[key[0]] = key[1]
    scores.true_ids, scores.seen_ids = len(true_ids), len(seen_ids)
    rows, columns = sorted(true_ids), sorted(seen_ids)
    gain = np.array([[shared.get((r, c), 0) for c in columns] for r in rows], np.float64)
    for r, c in assign(-gain.reshape(len(rows), len(columns))):
        scores.id_frames += int(gain[r, c])
    return scores


def _visible(frame: FrameTwin) -> Iterable[ObjectTwin]:
    return (o for o in frame.objects.values() if o.state == "visible" and o.mask is not None)


def _pairs(
    true: Sequence[ObjectTwin], seen: Sequence[ObjectTwin], least: float = 0.5
) -> list[tuple[int, int]]:
    iou: NDArray[np.float64] = np.zeros((len(true), len(seen)))
    for i, a in enumerate(true):
        for j, b in enumerate(seen):
            assert a.mask is not None
            assert b.mask is not None
            iou[i, j] = rle.iou(a.mask, b.mask)
    return assign(np.where(iou >= least, -iou, np.inf))


def _count_pair(scores: TrackScores, true: ObjectTwin, seen: ObjectTwin) -> None:
    assert true.mask is not None
    assert seen.mask is not None
    scores.iou += rle.iou(true.mask, seen.mask)
    named = true.semantic_label == seen.semantic_label
    scores.named += named
    scores.coloured += true.attributes.get("color") == seen.attributes.get("color")
    a, b = true.depth_stats, seen.depth_stats
    if a is not None and b is not None:
        scores.depth_10 += abs(a.p50 - b.p50) <= 0.1 * a.p50
