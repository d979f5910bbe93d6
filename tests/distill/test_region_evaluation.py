"""The evaluations of everything mode and of metres: their counting, and one world of each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgetwin.distill.evaluate.everything import EverythingScores, _count, everything_tables
from edgetwin.distill.evaluate.metres import metres_tables
from edgetwin.perception.records import Detections

SLOW = pytest.mark.skipif(
    not os.environ.get("EDGETWIN_SLOW"), reason="renders a world: set EDGETWIN_SLOW=1"
)


def block(x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((10, 40), np.bool_)
    mask[:, x0:x1] = True
    return mask


def test_what_counts_as_found_named_and_real() -> None:
    masks = np.stack([block(0, 10), block(11, 19), block(20, 30), block(33, 35)])
    n = len(masks)
    found = Detections(
        boxes_xyxy_n4=np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)),
        scores_n=np.ones(n, np.float32),
        labels=("mug", "object", "pan", "mug"),
        colors=("red", "blue", "blue", None),
    )
    truth = [
        (block(0, 10), "mug", "red"),  # hidden: found, named, coloured
        (block(10, 20), "box", "red"),  # hidden: found with IoU .8, unsure, another colour
        (block(20, 30), "pan", "blue"),  # asked for: a region of it is real, but not asked of us
        (block(31, 40), "ball", "red"),  # hidden: a region of IoU 2/9 is no find, and not real
    ]
    scores = EverythingScores()
    _count(scores, found, masks, truth, {"pan"})
    assert (scores.objects, scores.found, scores.regions, scores.real) == (3, 2, 4, 3)
    assert (scores.label_right, scores.label_unsure, scores.colour_right) == (1, 1, 1)
    assert scores.iou == pytest.approx([1.0, 0.8])
    _count(scores, Detections.empty(), masks[:0], truth, set())
    assert (scores.objects, scores.found, scores.regions, scores.frames) == (7, 2, 4, 2)


@pytest.mark.slow
@SLOW
def test_one_world_of_each(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    (table,) = metres_tables(worlds=1, cache=tmp_path)
    rows = {str(row[0]): row[1:] for row in table.rows}
    objects, place, _, width, *_ = rows["true depth, what is seen"]
    assert float(objects or 0) >= 8
    assert float(place or 0) < 20
    assert float(width or 0) < 15
    assert float(rows["predicted depth, what is seen"][1] or 0) > float(place or 0)
    (table,) = everything_tables(worlds=1, cache=tmp_path)
    recall, _, precision, *_ = table.rows[0][1:]
    assert float(recall or 0) > 0.7
    assert float(precision or 0) > 0.6
