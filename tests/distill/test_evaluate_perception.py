"""Counts of the detector, the segmenter's prompts, depth order and memory, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetwin.distill.evaluate.depths import DepthScores
from edgetwin.distill.evaluate.detections import DetectorScores, match
from edgetwin.distill.evaluate.memory import Followed, follow, memory_figures, memory_tables
from edgetwin.distill.evaluate.perception import spread
from edgetwin.distill.evaluate.segments import Segmented, SegmentScores, disc, innermost
from edgetwin.distill.evaluate.worlds import RenderedWorld, rendered_world
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.records import Detections
from edgetwin.perception.segmenter import Segmenter
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow

Box = tuple[int, int, int, int]


def thing(id_: int, noun: str, colour: str, box: Box, size: int = 128) -> ObjectTwin:
    x0, y0, x1, y1 = box
    mask = np.zeros((size, size), bool)
    mask[y0:y1, x0:x1] = True
    return ObjectTwin(
        id=id_,
        semantic_label=noun,
        attributes={"color": colour},
        confidence=1,
        mask=rle.encode(mask),
        box_xyxy=box,
        centroid=((x0 + x1) / 2, (y0 + y1) / 2),
        area=int(mask.sum()),
        first_seen=0,
        last_seen=0,
    )


def found(*rows: tuple[Box, str, str]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.full(len(rows), 0.9, np.float32),
        tuple(noun for _, noun, _ in rows),
        tuple(colour for _, _, colour in rows),
    )


def test_match_takes_the_best_pair_first_and_each_box_once() -> None:
    true = np.array([[0, 0, 10, 10], [8, 0, 18, 10]], np.float32)
    seen = np.array([[1, 0, 11, 10], [0, 0, 10, 9], [30, 30, 40, 40]], np.float32)
    # IoU: box 0 with true 0 is 90/110, box 1 with true 0 is 90/100; box 0 with true 1
    # is 30/170, which is below one half
    assert match(seen, true) == [(1, 0)]
    assert match(seen[:0], true) == []
    assert match(seen, true[:0]) == []


def test_detector_counts_of_one_frame() -> None:
    visible = [
        thing(1, "mug", "red", (0, 0, 30, 30)),  # found and named; a pair never trained on
        thing(2, "box", "blue", (40, 0, 90, 30)),  # found as a book
        thing(3, "ball", "green", (0, 50, 20, 70)),  # missed
        thing(4, "pan", "white", (100, 100, 107, 107)),  # 49 pixels: not asked, nor its box
        thing(5, "mug", "green", (40, 60, 110, 90)),  # named, wrong colour
    ]
    seen = found(
        ((0, 0, 30, 29), "mug", "red"),
        ((40, 0, 90, 31), "book", "blue"),
        ((100, 100, 107, 107), "pan", "white"),
        ((40, 60, 110, 90), "mug", "blue"),
        ((90, 90, 120, 120), "mug", "red"),  # overlaps nothing by half
    )
    scores = DetectorScores(nouns=("mug", "box", "ball", "book"))
    assert scores.add(seen, visible) == {1: 0, 2: 1, 5: 3}
    figures = scores.figures()
    assert (figures["objects"], scores.extra) == (4, 1)
    assert figures["recall"] == 3 / 4
    assert figures["recall_labelled"] == 2 / 4
    assert figures["label"] == 2 / 3
    assert figures["label_and_colour"] == 1 / 3
    assert figures["unseen_pairs"]["recall_coloured"] == 1.0
    assert figures["unseen_pairs"]["objects"] == 1
    assert figures["by_size"]["below 36 px"]["recall"] == 1 / 2
    assert figures["by_size"]["36-60 px"]["recall_labelled"] == 0.0
    assert figures["by_size"]["above 60 px"]["objects"] == 1
    table = figures["confusion"]
    counts = dict(zip(table["true"], table["counts"], strict=True))
    column = {name: k for k, name in enumerate(table["predicted"])}
    assert counts["mug"][column["mug"]] == 2
    assert counts["box"][column["book"]] == 1
    assert counts["ball"][column["missed"]] == 1
    assert counts["extra"][column["mug"]] == 1
    assert sum(map(sum, table["counts"])) == 4 + 1
    confusion = next(t for t in scores.tables("here") if t.title.startswith("Detector: confusion"))
    assert confusion.columns == ("true", "mug", "box", "ball", "book", "missed")
    assert confusion.rows[-1][0] == "extra"


def test_words_that_the_detector_lacks_are_told_apart() -> None:
    scores = DetectorScores(nouns=("mug",))
    scores.add(found(), [thing(1, "mug", "red", (0, 0, 30, 30))])
    scores.add(found(), [thing(1, "kettle", "red", (0, 0, 30, 30))])
    assert (scores.total.objects, scores.known.objects) == (2, 1)
    assert "all whose noun it knows" in [row[0] for row in scores.tables("here")[0].rows]
    assert scores.categories() == ["mug", "kettle"]


def test_the_innermost_pixel_lies_in_the_thickest_part() -> None:
    mask = np.zeros((40, 60), bool)
    mask[18:21, 0:40] = True  # a handle
    mask[10:31, 40:59] = True  # its head, 21 high and 19 wide: centre (49, 20)
    x, y = innermost(mask)
    assert mask[y, x]
    assert abs(x - 49) <= 1
    assert abs(y - 20) <= 1
    full = np.ones((9, 9), bool)
    assert innermost(full) == (4, 4)  # the picture's edge counts as outside
    assert int(disc((4, 4), 1.0, (9, 9)).sum()) == 5


def test_segment_means_leave_out_what_was_not_detected() -> None:
    square = rle.encode(np.pad(np.ones((10, 10), bool), 5))
    rows = [
        Segmented("mug", square, (10, 10), 0.9, 0.8, 0.7, 0.6, 0.5),
        Segmented("spoon", square, (10, 10), 0.5, 0.3, 0.1),
    ]
    figures = SegmentScores(rows).figures()
    assert figures["box"] == pytest.approx(0.7)
    assert figures["detected"] == pytest.approx(0.6)
    assert (figures["objects"], figures["objects_detected"]) == (2, 1)
    assert figures["odd"]["objects"] == 1
    assert figures["odd"]["point"] == pytest.approx(0.1)
    assert figures["odd"]["detected"] is None
    assert figures["disc_radius_px"] == pytest.approx(np.sqrt(100 / np.pi))
    assert figures["disc"] > 0.75  # a disc of the square's own area around its middle
    assert figures["by_category"]["spoon"]["box"] == pytest.approx(0.5)


def test_depth_pixels_and_order() -> None:
    asked = [
        thing(1, "mug", "red", (0, 0, 10, 10)),
        thing(2, "box", "red", (20, 0, 30, 10)),
        thing(3, "box", "red", (40, 0, 50, 10)),
    ]
    true = np.full((128, 128), 1.0, np.float32)
    true[:, 20:30], true[:, 40:50] = 1.03, 1.5
    got = true.copy()
    got[:, 0:10] = 1.08  # within 10 %, but behind the box
    got[:5, 40:50] = 1.95  # half of it 30 % off
    scores = DepthScores()
    scores.add(got, true, asked)
    figures = scores.figures()
    assert figures["within_10"] == pytest.approx(250 / 300)
    assert figures["delta_125"] == pytest.approx(250 / 300)
    assert figures["order"]["2 cm"] == {"pairs": 3, "right": 2 / 3}
    assert figures["order"]["5 %"] == {"pairs": 2, "right": 1.0}  # 3 cm of a metre is no 5 %
    assert figures["by_category"]["mug"]["within_10"] == 1.0
    scores.metric = False
    assert scores.figures()["within_10"] is None


def test_frames_are_spread_over_a_clip() -> None:
    assert spread(32, 4) == [0, 10, 21, 31]
    assert spread(1, 4) == [0]


def test_memory_follows_what_moves_and_enters() -> None:
    """The embedded segmenter on squares of plain colour: one slides, one enters at frame 2."""
    images, frames = [], []
    for t in range(6):
        image = np.full((256, 256, 3), 120, np.uint8)
        boxes: dict[int, Box] = {1: (40 + 6 * t, 60, 90 + 6 * t, 110)}
        if t >= 2:
            boxes[2] = (150, 150, 200, 200)
        for id_, (x0, y0, x1, y1) in boxes.items():
            image[y0:y1, x0:x1] = (200, 40, 40) if id_ == 1 else (40, 60, 200)
        objects = {i: thing(i, "box", "red", box, 256) for i, box in boxes.items()}
        frames.append(
            FrameTwin(index=t, timestamp_s=t / 15, width=256, height=256, objects=objects)
        )
        images.append(image)
    depth = np.ones((6, 256, 256), np.float16)
    world = RenderedWorld(0, np.stack(images), depth, TwinWindow(frames))
    rows = follow(Segmenter(load_bundle("embedded", threads=1)), world)
    assert [row.frames for row in rows] == [5, 3]
    assert [row.moves for row in rows] == [True, False]
    assert all(row.hidden == 0 and row.seen == row.tracked for row in rows)
    # at shift s the kept first mask shares 50 - s of 50 + s columns: at best, s = 6 … 30
    best = np.mean([(50 - s) / (50 + s) for s in (6, 12, 18, 24, 30)])
    assert rows[0].kept <= best + 0.02
    assert rows[0].tracked > rows[0].kept


def test_memory_groups() -> None:
    followed = [
        Followed(59, True, 0.8, 0.2, 0.8, 0.2, 0, 0),
        Followed(59, False, 0.6, 0.6, 0.7, 0.7, 10, 5),
    ]
    figures = memory_figures(followed)
    assert figures["all"]["j"] == pytest.approx(0.7)
    assert figures["moving"]["j_first_mask_kept"] == pytest.approx(0.2)
    assert figures["hidden or out for a while"]["hidden_nothing_drawn"] == 0.5
    assert memory_tables(followed[:1], "here")[0].rows[-1][1:3] == (0, None)


def test_other_rates_are_kept_apart(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    slow = rendered_world(5, "cell", tmp_path, 0.5)
    assert slow.rgb_thw3.shape == (2, 256, 256, 3)
    assert len(rendered_world(5, "cell", tmp_path, 0.25).window.frames) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cell-v1-0.25fps", "cell-v1-0.5fps"]
    again = rendered_world(5, "cell", tmp_path, 0.5)
    np.testing.assert_array_equal(again.rgb_thw3, slow.rgb_thw3)
    assert again.window.frames[1].model_dump() == slow.window.frames[1].model_dump()
