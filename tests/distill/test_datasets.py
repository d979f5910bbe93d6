"""Readers of training data, each on a tiny data set of exactly its layout, and on hostile files."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from edgetwin.distill.datasets.choose import DATASETS, read_dataset
from edgetwin.distill.datasets.coco_masks import mask_of, paint_polygon
from edgetwin.distill.datasets.plain_pickle import loads
from edgetwin.distill.datasets.reasonseg import explanations, reasonseg
from edgetwin.distill.datasets.refcoco import OWNERS, RefName, categories, refcoco
from edgetwin.distill.datasets.revos import foreground, videos
from edgetwin.distill.datasets.sample import Sample
from edgetwin.twin import mask as masks
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import Rle

from . import made_datasets as made


def coco_masks(polygons: list[list[float]], height: int, width: int) -> list[Any]:
    """The (H, W) masks of polygons as pycocotools paints them."""
    found = coco.frPyObjects(polygons, height, width)
    return [masks.decode(Rle(size=(height, width), counts=r["counts"].decode())) for r in found]


def all_of(name: str, root: Path, split: str = "train") -> list[Sample]:
    return list(read_dataset(name, root, split))


# ---- masks


@pytest.mark.parametrize("seed", range(40))
def test_polygons_are_painted_as_coco_paints_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 90, 2))
    corners = rng.uniform(-8, 98, (int(rng.integers(3, 14)), 2))
    if seed % 3 == 0:
        corners = np.round(corners)  # upright edges and equal corners
    corners[-1] = corners[0] if seed % 4 == 0 else corners[-1]
    (wanted,) = coco_masks([corners.ravel().tolist()], height, width)
    assert np.array_equal(paint_polygon(corners, (height, width)), wanted)


@pytest.mark.parametrize(
    "hostile",
    [
        None, [], "x", [[1, 2, 3]], [[1, 2, 3, 4, 5, float("nan")]], [[0, 0, 1e9, 0, 1e9, 5]],
        [["a", "b", "c", "d", "e", "f"]], {"size": [48, 64]},
        {"size": [48, 64], "counts": [5, -5, 48 * 64]}, {"size": [48, 64], "counts": [1, 2, 3]},
        {"size": [2**20, 2**20], "counts": [2**40]}, {"size": [48, 64], "counts": "garbage"},
        {"size": [8, 8], "counts": [64]}, {"size": [48, 64], "counts": [0.5, 3071.5]},
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused_where_it_stands(hostile: Any) -> None:
    with pytest.raises(InputError, match=r"^here: expected"):
        mask_of(hostile, made.SIZE_HW, "here")


# ---- RefCOCO


@pytest.mark.parametrize("protocol", range(6))
def test_refcoco_reads_polygons_crowds_and_all_sentences(tmp_path: Path, protocol: int) -> None:
    made.put_refcoco(tmp_path, protocol=protocol)
    first, crowd, compressed = all_of("refcocog", tmp_path)
    assert first.key == "refcocog/train/1"
    assert first.questions == ("the left one", "left one")  # the third repeats the first
    assert first.group == "COCO_train2014_000000000501.jpg"  # not the reference's own file_name
    parts = np.stack(coco_masks(made.TWO_PARTS, *made.SIZE_HW))
    assert parts.sum(axis=0).max() == 2
    assert np.array_equal(masks.decode(first.truth[0]), parts.any(axis=0))
    assert np.array_equal(masks.decode(crowd.truth[0]), made.CROWD)
    assert np.array_equal(masks.decode(compressed.truth[0]), made.CROWD)
    assert compressed.questions == ("café owner",)
    assert [s.key for s in refcoco(tmp_path / "refer_seg", "val")] == ["refcocog/val/4"]
    assert categories(tmp_path) == ("person", "dog")


@pytest.mark.parametrize("name", ["refcoco", "refcoco+"])
def test_the_other_two_have_other_owners_and_splits(tmp_path: Path, name: RefName) -> None:
    made.put_refcoco(tmp_path, name, "unc")
    assert len(all_of(name, tmp_path)) == 3
    assert all_of(name, tmp_path, "testB") == []
    with pytest.raises(InputError, match="expected a split of"):
        all_of(name, tmp_path, "test")
    with pytest.raises(InputError, match=r"umd"):
        list(refcoco(tmp_path, "train", name, "umd"))
    assert "umd" in OWNERS["refcocog"]


class Bomb:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path = made.put_refcoco(tmp_path)
    mark = tmp_path / "mark"
    path.write_bytes(pickle.dumps([Bomb(os.mkdir, str(mark))], protocol))
    with pytest.raises(InputError, match="could run code"):
        all_of("refcocog", tmp_path)
    assert not mark.exists()


def test_pickles_hold_plain_values_only() -> None:
    plain = [{"a": (1, 2.5, None, True, False, -3, 2**70)}, [], {}, (), ("x",), "ü" * 300, [[1]]]
    for protocol in range(6):
        assert loads(pickle.dumps(plain, protocol)) == plain
    shared = [[1]] * 3
    assert loads(pickle.dumps(shared, 2)) == shared
    assert loads(b"(lp0\nS'cafe'\np1\na.") == ["cafe"]
    assert loads(b"]q\x00U\x05caf\xc3\xa9a.") == ["café"]  # Python 2's bytes
    for value in (OrderedDict(a=1), {1, 2}, complex(1, 2), len, Path("x"), np.float64(1), b"x" * 9):
        with pytest.raises(InputError):
            loads(pickle.dumps(value, 2))
    data = pickle.dumps(plain, 2)
    for end in range(len(data)):
        with pytest.raises(InputError):
            loads(data[:end])
    for hostile in (b"", b"a.", b"0.", b"(.", b"]a.", b"}s.", b"h\x05.", b"Kx", b"\x85."):
        with pytest.raises(InputError):
            loads(hostile)


def test_missing_pictures_and_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refcocog.*download the references"):
        all_of("refcocog", tmp_path)
    made.put_refcoco(tmp_path)
    gone = next((tmp_path / "refer_seg/images").rglob("*501.jpg"))
    gone.unlink()
    with pytest.raises(InputError, match=rf"{gone.name}.*download COCO's train2014\.zip"):
        all_of("refcocog", tmp_path)
    (tmp_path / "refer_seg/refcocog/refs(umd).p").unlink()
    with pytest.raises(InputError, match=r"refs\(umd\)\.p.*download the references"):
        all_of("refcocog", tmp_path)


@pytest.mark.parametrize(
    "name", ["../../secret.jpg", "/etc/hostname", "a/../../b.jpg", "", "..\\b.jpg", "c:x", "a\0b"]
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    made.put_refcoco(tmp_path)
    path = tmp_path / "refer_seg/refcocog/instances.json"
    record = json.loads(path.read_text())
    record["images"][0]["file_name"] = name
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="expected a name below"):
        all_of("refcocog", tmp_path)


def test_broken_references_are_refused_by_name(tmp_path: Path) -> None:
    path = made.put_refcoco(tmp_path)
    for change, message in (
        ({"ann_id": 999}, "expected annotation 999"),
        ({"image_id": "501"}, "expected 'image_id' as int"),
        ({"image_id": True}, "expected 'image_id' as int"),
        ({"sentences": "x"}, "expected 'sentences' as list"),
    ):
        broken = made.references()
        broken[0] |= change
        path.write_bytes(pickle.dumps(broken, 2))
        with pytest.raises(InputError, match=message):
            all_of("refcocog", tmp_path)


# ---- ReasonSeg


def test_reasonseg_paints_by_falling_area_with_flags_left_out(tmp_path: Path) -> None:
    made.put_reasonseg(tmp_path)
    first, second = all_of("reasonseg", tmp_path)
    assert (first.questions, first.kind) == (("what is it?",), "long")
    assert (second.questions, second.kind) == (("le café",), "short")  # cp1252
    target = np.zeros(made.SIZE_HW, bool)
    target[20:27, 20:27] = True  # corners are cut off to 20 and 26, the outline belongs to it
    around = np.zeros(made.SIZE_HW, bool)
    around[10:41, 10:41] = True
    assert np.array_equal(masks.decode(first.truth[0]), target)
    assert np.array_equal(masks.decode(first.ignore[0]), around & ~target)
    assert second.ignore is None


def test_reasonseg_as_the_authors_read_it(tmp_path: Path) -> None:
    """The published painting, written out: areas by sum, reversed order, polylines and fillPoly."""
    made.put_reasonseg(tmp_path)
    record = json.loads((tmp_path / "ReasonSeg/train/a1.json").read_text())
    shapes = [s for s in record["shapes"] if s["label"].lower() != "flag"]
    corners: list[Any] = [np.array([s["points"]], np.int32) for s in shapes]

    def paint(canvas: Any, at: int, shade: int) -> Any:
        cv2.polylines(canvas, corners[at], True, shade, 1)
        cv2.fillPoly(canvas, corners[at], shade)
        return canvas

    areas = [int(paint(np.zeros(made.SIZE_HW, np.uint8), k, 1).sum()) for k in range(len(shapes))]
    canvas = np.zeros(made.SIZE_HW, np.uint8)
    for k in list(np.argsort(areas)[::-1]):
        canvas = paint(canvas, k, 255 if "ignore" in shapes[k]["label"].lower() else 1)
    (sample, _) = all_of("reasonseg", tmp_path)
    assert np.array_equal(masks.decode(sample.truth[0]), canvas == 1)
    assert np.array_equal(masks.decode(sample.ignore[0]), canvas == 255)


def test_reasonseg_without_shapes_is_left_out_and_counted(tmp_path: Path) -> None:
    made.put_reasonseg(tmp_path)
    skipped: Counter[str] = Counter()
    assert [s.key for s in reasonseg(tmp_path, "test", skipped)] == ["reasonseg/test/t1"]
    assert skipped == {"no shapes": 1}
    (val,) = reasonseg(tmp_path / "ReasonSeg", "val")
    assert val.questions == ("one",)  # the first text alone is scored
    pairs = explanations(tmp_path)["a1.jpg"]
    assert pairs == (("what is it?", "It is a box."), ("and why?", "Because."))


def test_reasonseg_says_what_is_wrong(tmp_path: Path) -> None:
    made.put_reasonseg(tmp_path)
    (tmp_path / "ReasonSeg/val/v1.jpg").unlink()
    with pytest.raises(InputError, match=r"v1\.jpg.*download ReasonSeg"):
        all_of("reasonseg", tmp_path, "val")
    path = tmp_path / "ReasonSeg/test/t1.json"
    for points in ("x", [[1, 2, 3]], [[1e12, 0]], [[None, 1]]):
        made.put_json(path, {"text": ["?"], "shapes": [{"label": "a", "points": points}]})
        with pytest.raises(InputError, match="expected points"):
            all_of("reasonseg", tmp_path, "test")
    path.write_bytes(b"\xff\xfe\x81")
    with pytest.raises(InputError, match=r"t1\.json"):
        all_of("reasonseg", tmp_path, "test")


# ---- videos


def test_revos_unites_annotations_and_knows_null_masks(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    both, left, absent = all_of("revos", tmp_path)
    assert both.key == "revos/train/clip/a/0"
    assert [p.name for p in both.pictures] == ["00000.jpg", "00005.jpg", "00010.jpg"]
    assert set(both.truth) == {0, 2}  # null in frame 1
    assert np.array_equal(masks.decode(both.truth[0]), made.FIRST | made.SECOND)
    assert np.array_equal(masks.decode(both.truth[2]), made.FIRST)
    assert (both.kind, left.kind, absent.kind) == ("reason", "referring", "other")
    assert absent.truth == {}
    assert absent.group == "b"
    assert both.folder == tmp_path / "ReVOS/JPEGImages/clip/a"
    assert videos(tmp_path, "revos", "valid") == ("v",)
    per_frame, share = foreground(tmp_path)["clip/a"]
    assert np.array_equal(masks.decode(per_frame[0]), made.FIRST)
    assert per_frame[1:] == (None, None)
    assert share == [0.1, 0, 0]


def test_revos_with_masks_of_another_video_length_is_refused(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    made.put_json(tmp_path / "ReVOS/mask_dict.json", {"3": [None]})
    with pytest.raises(InputError, match=r"clip/a/0.*for 3 frames.*got 1"):
        all_of("revos", tmp_path)
    (tmp_path / "ReVOS/JPEGImages/clip/a/00005.jpg").unlink()
    with pytest.raises(InputError, match=r"00005\.jpg.*download ReVOS"):
        all_of("revos", tmp_path)


def test_a_hostile_video_name_is_refused(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    path = tmp_path / "ReVOS/meta_expressions_train_.json"
    videos_ = json.loads(path.read_text())["videos"]
    made.put_json(path, {"videos": {"../../x": videos_["b"]}})
    with pytest.raises(InputError, match="expected a name below"):
        all_of("revos", tmp_path)


def test_mevis_has_masks_but_in_valid(tmp_path: Path) -> None:
    made.put_mevis(tmp_path)
    (train,) = all_of("mevis", tmp_path)
    assert set(train.truth) == {1}
    (valid,) = all_of("mevis", tmp_path, "valid")
    assert valid.truth is None
    assert videos(tmp_path, "mevis", "valid_u") == ("valid_u_v",)


# ---- LLM-Seg40K


def test_llmseg_takes_the_mask_that_the_splits_own_reader_takes(tmp_path: Path) -> None:
    made.put_llmseg(tmp_path)
    found = {s.key: masks.decode(s.truth[0]) for s in all_of("llmseg40k", tmp_path)}
    assert np.array_equal(found["llmseg40k/train/000000000009.jpg/0"], made.FIRST)
    assert np.array_equal(found["llmseg40k/train/000000000009.jpg/1"], made.SECOND)
    assert np.array_equal(found["llmseg40k/train/E1.jpg/0"], made.FIRST)
    (held,) = all_of("llmseg40k", tmp_path, "validation")
    assert np.array_equal(masks.decode(held.truth[0]), made.SECOND)
    path = tmp_path / "LLM-Seg40K/split/train.json"
    for pair, message in (
        ({"question": "q"}, "got neither"),
        ({"question": "q", "segmentation_path": "../../x.png"}, "expected a name below"),
    ):
        record = {"E1.jpg": {"from_dataset": "ego_objects", "qa_pairs": [pair]}}
        made.put_json(path, record)
        with pytest.raises(InputError, match=message):
            all_of("llmseg40k", tmp_path)


# ---- the table


def test_every_data_set_is_read_by_its_name(tmp_path: Path) -> None:
    made.put_refcoco(tmp_path)
    made.put_refcoco(tmp_path, "refcoco", "unc")
    made.put_refcoco(tmp_path, "refcoco+", "unc")
    for put in (made.put_reasonseg, made.put_revos, made.put_mevis, made.put_llmseg):
        put(tmp_path)
    for name, entry in DATASETS.items():
        samples = all_of(name, tmp_path)
        assert {s.dataset for s in samples} == {name}
        assert len({s.key for s in samples}) == len(samples) > 0
        assert set(entry.held_out) == set(entry.splits) - {"train"}
        assert all(p.is_file() for s in samples for p in s.pictures)
    with pytest.raises(InputError, match="expected a data set in"):
        read_dataset("imagenet", tmp_path)
    with pytest.raises(InputError, match="expected a split of revos"):
        read_dataset("revos", tmp_path, "test")
