"""Identity scores of a window: HOTA, IDF1 and switches by TrackEval, ids kept through hiding.

TrackEval's metric classes are used as they are, on mask IoU. As in
:mod:`~edgetwin.distill.perception.track_eval`, true slivers under ``MIN_AREA_PX`` neither
count nor hurt. Not covered: labels; every object is of one class.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.assignment import assign
from ...twin import mask as rle
from ...twin.errors import EdgeTwinError
from ...twin.schema import FrameTwin

__all__ = ["MIN_AREA_PX", "MIN_IOU", "Seen", "TrackingScores", "mask_iou", "seen_of"]

MIN_AREA_PX = 64
MIN_IOU = 0.5
RECOVERY_S = 0.5
"""How soon after coming back an object must have its old id."""

Seen = Mapping[int, NDArray[np.bool_]]
"""One frame of a tracker: object id -> mask (H, W), visible objects only."""


def seen_of(frame: FrameTwin) -> Seen:
    """Return the visible objects of a twin."""
    return {
        o.id: rle.decode(o.mask)
        for o in frame.objects.values()
        if o.state == "visible" and o.mask is not None
    }


def mask_iou(a_nhw: NDArray[np.bool_], b_mhw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (N, M) intersections over unions of two stacks of masks."""
    if not len(a_nhw) or not len(b_mhw):
        return np.zeros((len(a_nhw), len(b_mhw)))
    a = a_nhw.reshape(len(a_nhw), -1).astype(np.float32)
    b = b_mhw.reshape(len(b_mhw), -1).astype(np.float32)
    shared = (a @ b.T).astype(np.float64)
    union = a.sum(1)[:, None] + b.sum(1)[None] - shared
    iou: NDArray[np.float64] = shared / np.maximum(union, 1.0)
    return iou


@dataclass
class _Hiding:
    """One time that an object was out of sight and came back: frames are indices."""

    id: int
    gone: int  # first frame without it
    back: int  # first frame with it again


@dataclass
class TrackingScores:
    """Sums over windows: add each with :meth:`add`, read :meth:`summary` at the end."""

    windows: int = 0
    events: int = 0
    unseen_before: int = 0
    recovered: int = 0
    _results: dict[str, dict[str, Any]] = field(default_factory=dict)
    _metrics: dict[str, Any] = field(default_factory=dict)

    def add(self, truth: Sequence[FrameTwin], seen: Sequence[Seen]) -> None:
        """Score one window: the true twins and what a tracker saw, frame by frame.

        Raises:
            EdgeTwinError: if TrackEval is not installed.
        """
        metrics = self._metrics or _metrics()
        self._metrics = metrics
        data, pairs = _sequence(truth, seen)
        for name, metric in metrics.items():
            results = self._results.setdefault(name, {})
            results[f"w{self.windows}"] = metric.eval_sequence(data)
        self.windows += 1
        for hiding in _hidings(truth):
            verdict = _recovered(hiding, pairs, truth)
            self.events += verdict is not None
            self.unseen_before += verdict is None
            self.recovered += bool(verdict)

    def summary(self) -> dict[str, float]:
        """Return the figures over all windows, as TrackEval combines sequences."""
        totals = {n: m.combine_sequences(self._results[n]) for n, m in self._metrics.items()}
        hota, identity, clear = totals["HOTA"], totals["Identity"], totals["CLEAR"]
        return {
            "hota": float(np.mean(hota["HOTA"])),
            "deta": float(np.mean(hota["DetA"])),
            "assa": float(np.mean(hota["AssA"])),
            "idf1": float(identity["IDF1"]),
            "switches": float(clear["IDSW"]),
            "events": float(self.events),
            "recovered": self.recovered / self.events if self.events else float("nan"),
        }


def _metrics() -> dict[str, Any]:
    try:
        metrics: Any = importlib.import_module("trackeval.metrics")
    except ImportError as error:
        raise EdgeTwinError(
            "expected TrackEval for the scores of tracking, which is not installed: "
            "pip install --no-deps trackeval tabulate"
        ) from error
    quiet = {"PRINT_CONFIG": False, "THRESHOLD": MIN_IOU}
    return {
        "HOTA": metrics.HOTA(),
        "Identity": metrics.Identity(quiet),
        "CLEAR": metrics.CLEAR(quiet),
    }


# ---- one window


def _sequence(
    truth: Sequence[FrameTwin], seen: Sequence[Seen]
) -> tuple[dict[str, Any], list[dict[int, int]]]:
    """TrackEval's data of a sequence, and the id that each true object is seen under."""
    true_rows: dict[int, int] = {}
    seen_rows: dict[int, int] = {}
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    pairs: list[dict[int, int]] = []
    for frame, masks in zip(truth, seen, strict=True):
        shape = (frame.height, frame.width)
        everything = seen_of(frame)
        wanted = {i: m for i, m in everything.items() if frame.objects[i].area >= MIN_AREA_PX}
        slivers = [m for i, m in everything.items() if i not in wanted]
        given = {i: m for i, m in masks.items() if m.any()}
        iou = mask_iou(_stack(wanted.values(), shape), _stack(given.values(), shape))
        small = mask_iou(_stack(slivers, shape), _stack(given.values(), shape))
        matched = assign(np.where(iou >= MIN_IOU, -iou, np.inf))
        used = {k for _, k in matched}
        spare = {k for _, k in assign(np.where(small >= 0.2, -small, np.inf))} - used
        keep = [k for k in range(len(given)) if k not in spare]
        names, ids = list(wanted), list(given)
        pairs.append({names[i]: ids[k] for i, k in matched})
        data["gt_ids"].append(_rows(names, true_rows))
        data["tracker_ids"].append(_rows([ids[k] for k in keep], seen_rows))
        data["similarity_scores"].append(iou[:, keep])
    data["num_gt_ids"], data["num_tracker_ids"] = len(true_rows), len(seen_rows)
    data["num_gt_dets"] = sum(len(x) for x in data["gt_ids"])
    data["num_tracker_dets"] = sum(len(x) for x in data["tracker_ids"])
    data["num_timesteps"] = len(truth)
    return data, pairs


def _stack(masks: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    listed = list(masks)
    return np.stack(listed) if listed else np.zeros((0, *shape), np.bool_)


def _rows(ids: Sequence[int], rows: dict[int, int]) -> NDArray[np.int64]:
    return np.array([rows.setdefault(i, len(rows)) for i in ids], np.int64)


def _hidings(truth: Sequence[FrameTwin]) -> list[_Hiding]:
    """All times that an object is not visible in at least one frame, and then is again.

    Only visible objects of at least ``MIN_AREA_PX`` count as back or as not yet gone, and
    slivers between do not: the gap must hold a frame that truly shows nothing of it.
    """
    events: list[_Hiding] = []
    for i in sorted({i for frame in truth for i in frame.objects}):
        last: int | None = None
        blank = False
        for k, frame in enumerate(truth):
            thing = frame.objects.get(i)
            if thing is None or thing.state != "visible":
                blank = True
            elif thing.area >= MIN_AREA_PX:
                if last is not None and blank:
                    events.append(_Hiding(i, last + 1, k))
                last, blank = k, False
    return events


def _recovered(
    hiding: _Hiding, pairs: Sequence[Mapping[int, int]], truth: Sequence[FrameTwin]
) -> bool | None:
    """Whether the id after is the id before; None if it had none in the last second before."""
    earliest = truth[hiding.gone - 1].timestamp_s - 1.0
    before = None
    for k in range(hiding.gone - 1, -1, -1):
        if truth[k].timestamp_s < earliest or before is not None:
            break
        before = pairs[k].get(hiding.id)
    if before is None:
        return None
    latest = truth[hiding.back].timestamp_s + RECOVERY_S
    for k in range(hiding.back, len(truth)):
        if truth[k].timestamp_s > latest:
            break
        if hiding.id in pairs[k]:
            return pairs[k][hiding.id] == before
    return False
