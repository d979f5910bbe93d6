"""Everything mode on drawn pictures, with a segmenter that knows flat colours, and for real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.detector import Detector
from edgetwin.perception.everything import EverythingConfig, EverythingFinder
from edgetwin.perception.segmenter import SegmentedMasks, Segmenter
from edgetwin.twin.errors import InputError

SIZE = 128
Box = tuple[int, int, int, int]


class Flat:
    """A segmenter for pictures of flat colours: a point's mask is its colour's region.

    Points on the table (0) give a speck that differs from point to point, as small networks do,
    or with ``table`` the whole table. Logits have ``side`` cells a side: 64 as those of the
    embedded network, or more.
    """

    def __init__(self, *, table: bool = False, side: int = 64) -> None:
        self.table, self.side = table, side
        self.batches: list[int] = []
        self.points: list[tuple[float, float]] = []

    def from_points(self, features: Any, points_xy_nk2: np.ndarray) -> SegmentedMasks:
        self.batches.append(len(points_xy_nk2))
        self.points += [(float(x), float(y)) for x, y in points_xy_nk2]
        masks = np.zeros((len(points_xy_nk2), *features.shape), np.bool_)
        for row, (x, y) in enumerate(points_xy_nk2.astype(int)):
            color = features[y, x]
            masks[row] = features == color
            if color == 0 and not self.table:
                masks[row] = False
                masks[row, y : y + 6, x : x + 6] = True
        return answer(masks, self.side)

    def from_boxes(
        self, features: Any, boxes_xyxy_n4: np.ndarray, *, margin: float = 0.1
    ) -> SegmentedMasks:
        masks = np.zeros((len(boxes_xyxy_n4), *features.shape), np.bool_)
        for row, (x0, y0, x1, y1) in enumerate(boxes_xyxy_n4.astype(int)):
            inside = features[y0:y1, x0:x1]
            values, counts = np.unique(inside[inside > 0], return_counts=True)
            if values.size:
                masks[row, y0:y1, x0:x1] = inside == values[counts.argmax()]
        return answer(masks, self.side)


def answer(masks: np.ndarray, side: int) -> SegmentedMasks:
    n, height, width = masks.shape
    small = masks[:, :: height // side, :: width // side]
    return SegmentedMasks(
        masks_nhw=masks,
        scores_n=np.full(n, 0.9, np.float32),
        logits_nhw=np.where(small, 8, -8).astype(np.float32),
        pointers_nc=np.zeros((n, 4), np.float32),
        object_logits_n=np.ones(n, np.float32),
        prompted=True,
    )


def scene(*boxes: Box) -> np.ndarray:
    ids = np.zeros((SIZE, SIZE), np.int64)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        ids[y0:y1, x0:x1] = number
    return ids


def find(ids: np.ndarray, known: list[int], flat: Flat | None = None, **config: Any) -> Any:
    finder = EverythingFinder(flat or Flat(), None, EverythingConfig(**({"share": 1} | config)))
    masks = np.stack([ids == k for k in known]) if known else None
    return finder.find(np.zeros((SIZE, SIZE, 3), np.uint8), ids, masks)


BOXES = ((10, 10, 40, 40), (60, 20, 100, 50), (30, 70, 70, 110))


@pytest.mark.parametrize("side", [64, 128])
def test_objects_that_nobody_knew(side: int) -> None:
    found, masks = find(scene(*BOXES), [], Flat(side=side))
    assert sorted(tuple(box) for box in found.boxes_xyxy_n4.astype(int).tolist()) == sorted(BOXES)
    assert found.labels == ("object",) * 3
    assert found.colors == (None,) * 3
    assert found.scores_n.tolist() == pytest.approx([0.9] * 3)
    assert masks.masks_nhw.sum(axis=(1, 2)).tolist() == [
        (x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in found.boxes_xyxy_n4.tolist()
    ]
    assert masks.logits_nhw.shape[0] == masks.pointers_nc.shape[0] == 3


def test_known_objects_are_neither_found_nor_pointed_at() -> None:
    flat = Flat()
    found, _ = find(scene(*BOXES), [1, 3], flat)
    assert [tuple(box) for box in found.boxes_xyxy_n4.astype(int).tolist()] == [BOXES[1]]
    for x0, y0, x1, y1 in (BOXES[0], BOXES[2]):
        assert not any(x0 <= x < x1 and y0 <= y < y1 for x, y in flat.points)


def test_a_part_of_a_known_object_is_no_object() -> None:
    ids = scene((20, 20, 80, 80), (30, 30, 50, 50))
    known = (ids > 0)[None]
    known[:, 30:50, 30:34] = False  # points still fall on the part through a gap in the mask
    finder = EverythingFinder(Flat(), None, EverythingConfig(points_per_side=32, share=1))
    found, _ = finder.find(np.zeros((SIZE, SIZE, 3), np.uint8), ids, known)
    assert len(found) == 0


def test_masks_keep_clear_of_known_ones() -> None:
    ids = scene((20, 20, 60, 60))
    known = np.zeros((1, SIZE, SIZE), np.bool_)
    known[0, 20:60, 52:70] = True  # covers a fifth of the new object
    finder = EverythingFinder(Flat(), None, EverythingConfig(share=1))
    found, masks = finder.find(np.zeros((SIZE, SIZE, 3), np.uint8), ids, known)
    assert found.boxes_xyxy_n4.tolist() == [[20, 20, 52, 60]]
    assert not (masks.masks_nhw & known).any()


def test_the_table_is_no_object() -> None:
    found, _ = find(scene(BOXES[0]), [], Flat(table=True))
    assert found.boxes_xyxy_n4.astype(int).tolist() == [list(BOXES[0])]
    # large and away from the border, or small and all along it: neither is a thing
    large = scene((10, 10, 110, 110))
    assert len(find(large, [])[0]) == 0
    assert len(find(large, [], max_area=0.7)[0]) == 1
    rim = np.where(scene((6, 6, 122, 122)) == 0, 1, 0)
    assert len(find(rim, [], max_area=0.7, min_area=0.01)[0]) == 0
    assert len(find(rim, [], max_area=0.7, min_area=0.01, max_border=1.0)[0]) == 1


def test_lone_specks_need_agreement() -> None:
    assert len(find(scene(), [])[0]) == 0
    assert len(find(scene(), [], min_support=1, min_area=0.0)[0]) > 0


def test_the_grid_is_cut_into_batches_and_shares() -> None:
    flat = Flat()
    find(scene(), [], flat, points_per_side=10, points_per_batch=16)
    assert flat.batches[:7] == [16] * 6 + [4]
    halves = Flat()
    config = EverythingConfig(points_per_side=10, share=2)
    finder = EverythingFinder(halves, None, config)
    seen = []
    for _ in range(3):
        halves.points.clear()
        finder.find(np.zeros((SIZE, SIZE, 3), np.uint8), scene(), None)
        seen.append(set(halves.points))
    assert len(seen[0]) == len(seen[1]) == 50
    assert not seen[0] & seen[1]
    assert seen[2] == seen[0]


def test_the_number_of_regions_is_bounded() -> None:
    boxes = [(x, y, x + 12, y + 12) for x in range(4, 120, 20) for y in range(4, 120, 20)]
    settings = {"points_per_side": 24, "min_area": 0.0}
    assert len(find(scene(*boxes), [], **settings, max_regions=99)[0]) == 36
    found, masks = find(scene(*boxes), [], **settings, max_regions=5)
    assert len(found) == len(masks) == 5


def test_inputs_that_cannot_be() -> None:
    finder = EverythingFinder(Flat())
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    with pytest.raises(InputError, match="known masks"):
        finder.find(image, scene(), np.zeros((1, 5, 5), np.bool_))
    with pytest.raises(InputError, match="known masks"):
        finder.find(image, scene(), np.zeros((1, SIZE, SIZE), np.uint8))  # type: ignore[arg-type]
    for wrong in ({"points_per_side": 65}, {"points_per_batch": 0}, {"share": 0}):
        with pytest.raises(InputError, match="expected"):
            EverythingConfig(**wrong)


def test_large_segmenters_get_the_published_thresholds() -> None:
    flat: Any = Flat()
    assert EverythingFinder(flat).config == EverythingConfig()
    flat.config = replace(Segmenter(load_bundle("embedded")).config, image_size=1024)
    assert EverythingFinder(flat).config == EverythingConfig.published()


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, list[tuple[str, str | None, np.ndarray]]]:
    pytest.importorskip("mujoco")
    from edgetwin.distill.sim.scene import scene_for
    from edgetwin.distill.sim.truth import true_frames
    from edgetwin.distill.sim.worlds import World
    from edgetwin.twin import mask as rle

    world = World(500_003, "cell")
    (frame, *_) = true_frames(world, fps=0.5, seconds=2.0)
    image = scene_for("cell", world.set_index).render(world, 0.0).rgb_hw3
    truth = [
        (o.semantic_label, o.attributes.get("color"), rle.decode(o.mask))
        for o in frame.objects.values()
        if o.mask is not None and o.area > 200
    ]
    return image, truth


class TestEmbedded:
    """The real networks on a rendered world: half of the nouns are hidden from the detector."""

    def test_hidden_nouns_are_found_and_named(self, world: Any) -> None:
        image, truth = world
        bundle = load_bundle("embedded", device="cpu", threads=1)
        detector, segmenter = Detector(bundle), Segmenter(bundle)
        asked, hidden = [truth[0][0]], [t for t in truth if t[0] != truth[0][0]]
        view, features = detector.look(image), segmenter.encode(image)
        known = segmenter.from_boxes(features, detector.read(view, asked).boxes_xyxy_n4)
        finder = EverythingFinder(segmenter, detector)
        found, masks = finder.find(image, features, known.masks_nhw, view=view)
        assert len(hidden) >= 3
        right = 0
        for label, color, mask in hidden:
            both = (masks.masks_nhw & mask).sum(axis=(1, 2))
            iou = both / (masks.masks_nhw | mask).sum(axis=(1, 2))
            row = int(iou.argmax())
            right += iou[row] > 0.5 and (found.labels[row], found.colors[row]) == (label, color)
        assert right >= len(hidden) - 1
        again, _ = finder.find(image, features, known.masks_nhw | masks.masks_nhw.any(axis=0))
        assert len(again) == 0  # all is explained: nothing is found twice

    def test_names_only_out_of_the_labels_given(self, world: Any) -> None:
        image, _ = world
        bundle = load_bundle("embedded", device="cpu", threads=1)
        detector, segmenter = Detector(bundle), Segmenter(bundle)
        finder = EverythingFinder(
            segmenter, detector, EverythingConfig(points_per_side=0, label_score=0.0)
        )
        found, _ = finder.find(image, segmenter.encode(image), None, labels=["mug", "bowl"])
        assert len(found) >= 3
        assert set(found.labels) <= {"mug", "bowl"}
        with pytest.raises(InputError, match="at least one label"):
            finder.find(image, segmenter.encode(image), None, labels=["zebra"])
