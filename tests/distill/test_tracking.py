"""Identity scores by hand, the rivals' rules, and the worlds of hiding."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.distill.evaluate.tracking import evaluate_tracking
from edgetwin.distill.evaluate.tracking_rivals import IouTracker, TrueBoxes
from edgetwin.distill.evaluate.tracking_scores import TrackingScores, mask_iou, seen_of
from edgetwin.distill.evaluate.tracking_worlds import HIDING_SEEDS, TUNING_SEEDS, hiding_world
from edgetwin.distill.perception.track_eval import score_tracks
from edgetwin.distill.sim.truth import true_frames
from edgetwin.distill.twinbench import SEEDS
from edgetwin.perception.records import Detections, Masks
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import EdgeTwinError, InputError
from edgetwin.twin.schema import FrameTwin, ObjectTwin, State

SHAPE = (40, 80)


def square(x: int, side: int = 10) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[5 : 5 + side, x : x + side] = True
    return mask


def thing(id: int, x: int, state: State = "visible", side: int = 10) -> ObjectTwin:
    return ObjectTwin(
        id=id,
        semantic_label="mug",
        attributes={"color": "red"},
        confidence=1,
        state=state,
        mask=rle.encode(square(x, side)) if state == "visible" else None,
        box_xyxy=(x, 5, x + side, 5 + side),
        centroid=(x + side / 2, 5 + side / 2),
        area=side * side,
        first_seen=0,
        last_seen=0,
    )


def frame(k: int, *objects: ObjectTwin) -> FrameTwin:
    return FrameTwin(
        index=k, timestamp_s=k / 8, width=80, height=40, objects={o.id: o for o in objects}
    )


def test_mask_iou_by_hand() -> None:
    a = np.stack([square(0), square(5), square(40)])
    np.testing.assert_allclose(mask_iou(a, a[:1])[:, 0], [1.0, 50 / 150, 0.0])
    assert mask_iou(a[:0], a).shape == (0, 3)


def test_hota_idf1_and_switches_by_hand() -> None:
    """Object 1 is seen as 7, 7, 8 with perfect masks; object 2 never."""
    pytest.importorskip("trackeval")
    scores = TrackingScores()
    truth = [frame(k, thing(1, 5), thing(2, 50)) for k in range(3)]
    scores.add(truth, [{7: square(5)}, {7: square(5)}, {8: square(5)}])
    s = scores.summary()
    # Association: two matches of 2 / (3 + 2 - 2), one of 1 / (3 + 1 - 1), over three.
    assert s["deta"] == pytest.approx(3 / 6)
    assert s["assa"] == pytest.approx((2 * 2 / 3 + 1 / 3) / 3)
    assert s["hota"] == pytest.approx((0.5 * 5 / 9) ** 0.5)
    assert s["idf1"] == pytest.approx(2 * 2 / (6 + 3))
    assert s["switches"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_idf1_and_switches_agree_with_our_own(seed: int) -> None:
    pytest.importorskip("trackeval")
    rng = np.random.default_rng(seed)
    truth, seen = [], []
    for k in range(12):
        places = [5 + k, 30, 60 - k]
        truth.append(frame(k, *(thing(i + 1, x) for i, x in enumerate(places))))
        given = [(int(rng.choice([i + 1, i + 11])), x) for i, x in enumerate(places)]
        seen.append(frame(k, *(thing(i, x) for i, x in given if rng.random() < 0.8)))
    ours = score_tracks(truth, seen).summary()
    scores = TrackingScores()
    scores.add(truth, [seen_of(f) for f in seen])
    theirs = scores.summary()
    assert theirs["idf1"] == pytest.approx(ours["idf1"])
    assert theirs["switches"] == ours["switches_per_window"]


def test_slivers_neither_count_nor_hurt() -> None:
    pytest.importorskip("trackeval")
    for extra in ({}, {9: square(50, 7)}):
        scores = TrackingScores()
        scores.add([frame(0, thing(1, 5), thing(2, 50, side=7))], [{3: square(5)} | extra])
        assert scores.summary()["idf1"] == 1.0


@pytest.mark.parametrize(
    ("after", "events", "recovered"),
    [
        ([{}, {7: square(30)}], 1, 1),  # a frame late, the old id
        ([{8: square(30)}, {7: square(30)}], 1, 0),  # first another id
        ([{}, {}], 1, 0),  # never again
    ],
)
def test_coming_back_by_hand(after: list[dict[int, Any]], events: int, recovered: int) -> None:
    pytest.importorskip("trackeval")
    hidden = frame(2, thing(1, 5, "occluded"))
    truth = [frame(0, thing(1, 5)), frame(1, thing(1, 5)), hidden]
    truth += [frame(3, thing(1, 30)), frame(4, thing(1, 30))]
    scores = TrackingScores()
    scores.add(truth, [{7: square(5)}, {7: square(5)}, {}, *after])
    assert (scores.events, scores.recovered, scores.unseen_before) == (events, recovered, 0)


def test_what_was_never_seen_cannot_come_back() -> None:
    pytest.importorskip("trackeval")
    truth = [frame(0, thing(1, 5)), frame(1), frame(2, thing(1, 5))]
    scores = TrackingScores()
    scores.add(truth, [{}, {}, {7: square(5)}])
    assert (scores.events, scores.unseen_before) == (0, 1)


def test_missing_trackeval_says_which_line_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(EdgeTwinError, match="pip install --no-deps trackeval tabulate"):
        TrackingScores().add([frame(0, thing(1, 5))], [{}])


class Squares:
    """A segmenter whose masks are the boxes."""

    def encode(self, image: Any) -> Any:
        return image

    def from_boxes(self, features: Any, boxes: Any) -> Masks:
        masks = [square(int(b[0]), int(b[2] - b[0])) for b in boxes]
        stack = np.stack(masks) if masks else np.zeros((0, *SHAPE), bool)
        return Masks(stack, np.ones(len(boxes), np.float32))


class Script:
    """A detector that returns one list of places after the other."""

    def __init__(self, *looks: list[int]) -> None:
        self.looks = list(looks)

    def detect(self, image: Any, vocabulary: Any = None) -> Detections:
        places = self.looks.pop(0)
        boxes = np.array([[x, 5, x + 10, 15] for x in places], np.float32).reshape(-1, 4)
        n = len(places)
        return Detections(boxes, np.ones(n, np.float32), ("mug",) * n, (None,) * n)


def test_iou_tracker_forgets_after_one_miss() -> None:
    segmenter: Any = Squares()
    rival = IouTracker(segmenter, Script([5, 50], [52, 7], [52], [52, 7], [66, 7]))
    seen = [sorted(rival.see(np.zeros((*SHAPE, 3), np.uint8))) for _ in range(5)]
    assert seen == [[1, 2], [1, 2], [2], [2, 3], [3, 4]]


def test_true_boxes_tell_what_is_visible() -> None:
    boxes = TrueBoxes(words=False)
    boxes.frame = frame(0, thing(1, 5), thing(2, 30, "occluded"))
    found = boxes.detect(np.zeros((*SHAPE, 3), np.uint8))
    assert found.boxes_xyxy_n4.tolist() == [[5, 5, 15, 15]]
    assert (found.labels, found.colors) == (("object",), (None,))


def test_hiding_worlds_hide_and_show_again() -> None:
    frames = true_frames(hiding_world(HIDING_SEEDS[0]), 8.0, 8.0, render=False)
    back = set()
    for i in {i for f in frames for i in f.objects}:
        states = [f.objects[i].state if i in f.objects else "left" for f in frames]
        back |= {a for a, b in pairwise(states) if b == "visible" != a}
    assert back == {"occluded", "left"}


def test_seeds_belong_to_nobody_else() -> None:
    ours = {*HIDING_SEEDS, *TUNING_SEEDS}
    assert len(ours) == len(HIDING_SEEDS) + len(TUNING_SEEDS)
    assert min(ours) >= 1_000_000
    assert not any(ours & set(seeds) for seeds in SEEDS.values())


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(InputError, match="out of"):
        evaluate_tracking(settings=["boxen"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="positive limit"):
        evaluate_tracking(limit=0)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="renders a world: EDGETWIN_SLOW=1")
def test_ours_is_ahead_where_things_hide(tmp_path: Path) -> None:
    pytest.importorskip("trackeval")
    pytest.importorskip("mujoco")
    tables = evaluate_tracking(clips=("hiding",), settings=("boxes",), limit=1, cache=tmp_path)
    rows = {row[0]: dict(zip(tables[0].columns, row, strict=True)) for row in tables[0].rows}
    ours = rows.pop("EdgeTwin")
    for other in rows.values():
        assert ours["HOTA"] > other["HOTA"]  # type: ignore[operator]
        assert ours["IDF1"] > other["IDF1"]  # type: ignore[operator]
