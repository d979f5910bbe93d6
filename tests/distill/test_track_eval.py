"""Tracking scores by hand on windows of rectangles."""

from __future__ import annotations

import numpy as np
import pytest

from edgetwin.distill.perception.track_eval import TrackScores, score_tracks
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import DepthStats, FrameTwin, ObjectTwin


def thing(
    id: int, x: int, label: str = "mug", color: str = "red", depth: float = 1.0, side: int = 10
) -> ObjectTwin:
    mask = np.zeros((40, 80), bool)
    mask[5 : 5 + side, x : x + side] = True
    stats = DepthStats(unit="m", variance=0, min=depth, max=depth, p5=depth, p50=depth, p95=depth)
    return ObjectTwin(
        id=id,
        semantic_label=label,
        attributes={"color": color},
        confidence=1,
        mask=rle.encode(mask),
        box_xyxy=(x, 5, x + side, 5 + side),
        centroid=(x + side / 2, 5 + side / 2),
        area=side * side,
        depth_stats=stats,
        first_seen=0,
        last_seen=0,
    )


def frame(k: int, *objects: ObjectTwin) -> FrameTwin:
    return FrameTwin(
        index=k, timestamp_s=k / 8, width=80, height=40, objects={o.id: o for o in objects}
    )


def test_perfect_window() -> None:
    truth = [frame(k, thing(1, 5 + k), thing(2, 50, "bowl", "blue")) for k in range(4)]
    scores = score_tracks(truth, truth).summary()
    ones = ("recall", "precision", "iou", "label", "color", "depth_10", "idf1")
    assert {k: scores[k] for k in ones} == dict.fromkeys(ones, 1.0)
    assert scores["switches_per_window"] == scores["extra_ids_per_window"] == 0


def test_switch_wrong_name_miss_and_extra_by_hand() -> None:
    truth = [frame(k, thing(1, 5), thing(2, 50)) for k in range(4)]
    seen = [
        frame(0, thing(7, 5), thing(8, 50, depth=1.2)),
        frame(1, thing(7, 5, "bowl")),  # 2 is missed
        frame(2, thing(9, 7), thing(8, 50)),  # 1 changes its id; IoU 80/120
        frame(3, thing(9, 5), thing(8, 50), thing(10, 30)),  # 10 is no object
    ]
    scores = score_tracks(truth, seen)
    assert (scores.true, scores.seen, scores.matched, scores.switches) == (8, 8, 7, 1)
    summary = scores.summary()
    assert summary["recall"] == summary["precision"] == 7 / 8
    assert summary["label"] == summary["depth_10"] == 6 / 7
    assert summary["iou"] == pytest.approx((6 + 80 / 120) / 7)
    # 1 shares two frames with 7 (or 9), 2 shares three with 8: 2 * 5 / 16
    assert summary["idf1"] == 2 * 5 / 16
    assert summary["extra_ids_per_window"] == 2


def test_slivers_neither_count_nor_hurt() -> None:
    truth = [frame(0, thing(1, 5), thing(2, 50, side=7))]
    for seen in ([frame(0, thing(1, 5))], [frame(0, thing(1, 5), thing(2, 50, side=7))]):
        summary = score_tracks(truth, seen).summary()
        assert summary["recall"] == summary["precision"] == summary["idf1"] == 1.0


def test_sums() -> None:
    truth = [frame(0, thing(1, 5))]
    total = score_tracks(truth, truth) + score_tracks(truth, [frame(0)])
    assert total.summary()["recall"] == 0.5
    assert TrackScores().summary()["recall"] == 0.0
