"""Tiny data sets in exactly the layouts that the published ones have, oddities included."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from edgetwin.twin import mask as masks

SIZE_HW = (48, 64)


def box_hw(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    """(H, W) mask of a box."""
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def rle(mask_hw: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask as the data sets' JSON has it."""
    return masks.encode(mask_hw).model_dump(mode="json")


def put_picture(path: Path, size_hw: tuple[int, int] = SIZE_HW, seed: int = 0) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)


def put_json(path: Path, record: Any, encoding: str = "utf-8") -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(record, ensure_ascii=False).encode(encoding))


# ---- RefCOCO

# Two polygons that overlap: their sum holds 2.
TWO_PARTS = [
    [5.0, 5.0, 30.5, 5.0, 30.5, 25.0, 5.0, 25.0],
    [20.25, 10.0, 50.0, 12.0, 45.0, 40.0],
]
CROWD = np.array(box_hw(2, 3, 20, 30))


def references() -> list[dict[str, Any]]:
    """Four references: polygons, an uncompressed crowd, a compressed one, and one of val."""

    def reference(ref_id: int, ann_id: int, image_id: int, split: str, *sents: str) -> Any:
        return {
            "ref_id": ref_id,
            "ann_id": ann_id,
            "category_id": 1,
            "image_id": image_id,
            "split": split,
            "sent_ids": [10 * ref_id + k for k in range(len(sents))],
            # the annotation's number in the name: no such file exists
            "file_name": f"COCO_train2014_{image_id:012d}_{ann_id}.jpg",
            "sentences": [
                {"sent_id": 10 * ref_id + k, "sent": s, "raw": s.upper(), "tokens": s.split()}
                for k, s in enumerate(sents)
            ],
        }

    return [
        reference(1, 11, 501, "train", "the left one", "left one", "the left one"),
        reference(2, 12, 501, "train", "people in the back"),
        reference(3, 13, 502, "train", "café owner"),
        reference(4, 14, 503, "val", "a dog"),
    ]


def put_refcoco(root: Path, name: str = "refcocog", owner: str = "umd", protocol: int = 2) -> Path:
    """RefCOCO's layout below ``root``; returns the pickle."""
    folder = root / "refer_seg" / name
    flat = CROWD.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    compressed = coco.encode(np.asfortranarray(CROWD.astype(np.uint8)))
    size = list(SIZE_HW)
    segmentations: list[Any] = [
        TWO_PARTS,
        {"size": size, "counts": runs},
        {"size": size, "counts": compressed["counts"].decode()},
        [[1, 1, 9, 1, 9, 9, 1, 9]],
    ]
    pictures = [(501, 501), (502, 501), (503, 503)]
    record = {
        "images": [
            {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": 48, "width": 64}
            for i, _ in pictures
        ],
        "annotations": [
            {"id": 11 + k, "image_id": 501, "category_id": 1, "iscrowd": int(k in (1, 2)),
             "segmentation": segmentation}
            for k, segmentation in enumerate(segmentations)
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }  # fmt: skip
    put_json(folder / "instances.json", record)
    for i, _ in pictures:
        put_picture(
            root / f"refer_seg/images/mscoco/images/train2014/COCO_train2014_{i:012d}.jpg", seed=i
        )
    path = folder / f"refs({owner}).p"
    path.write_bytes(pickle.dumps(references(), protocol))
    return path


# ---- ReasonSeg


def put_reasonseg(root: Path) -> None:
    """ReasonSeg's layout: flags, ignored parts, a small shape below a large one, cp1252."""

    def points(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
        return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]

    def put(split: str, name: str, record: Any, encoding: str = "utf-8") -> None:
        put_picture(root / f"ReasonSeg/{split}/{name}.jpg", seed=len(name))
        put_json(root / f"ReasonSeg/{split}/{name}.json", record, encoding)

    shapes = [
        # the small one first: painted last, because areas descend
        {"label": "target", "points": points(20.9, 20.9, 26.2, 26.2)},
        {"label": "Ignore_part", "points": points(10, 10, 40, 40)},
        {"label": "FLAG", "points": points(0, 0, 60, 45)},
    ]
    put("train", "a1", {"text": ["what is it?", " "], "is_sentence": True, "shapes": shapes})
    french = {"text": ["le café"], "is_sentence": False, "shapes": shapes[:1]}
    put("train", "b2", french, "cp1252")
    put("val", "v1", {"text": ["one", "two"], "is_sentence": False, "shapes": shapes[:1]})
    put("test", "t1", {"text": ["three"], "is_sentence": True, "shapes": shapes[:1]})
    put("test", "t2", {"text": ["no shapes here"], "is_sentence": True})
    put_json(
        root / "ReasonSeg/explanatory/train.json",
        [
            {"image": "a1.jpg", "query": "what is it?", "outputs": "It is a box."},
            {"image": "a1.jpg", "query": "and why?", "outputs": "Because."},
        ],
    )


# ---- ReVOS and MeViS

FIRST, SECOND = box_hw(0, 0, 10, 10), box_hw(5, 5, 20, 20)


def put_revos(root: Path) -> None:
    """ReVOS's layout: underscores, null masks, several annotations, type_id."""
    frames = ["00000", "00005", "00010"]
    folder = root / "ReVOS"

    def video(expressions: dict[str, Any]) -> dict[str, Any]:
        return {
            "vid_id": 7, "height": 48, "width": 64, "frames": frames, "expressions": expressions
        }  # fmt: skip

    def said(text: str, annotations: list[int], type_id: int) -> dict[str, Any]:
        return {"exp": text, "obj_id": [1], "anno_id": annotations, "type_id": type_id}

    train = {
        "clip/a": video(
            {"0": said("the two that meet", [3, 4], 1), "1": said("the left one", [3], 0)}
        ),
        "b": video({"0": said("a unicorn", [], 2)}),
    }
    put_json(folder / "meta_expressions_train_.json", {"videos": train})
    put_json(
        folder / "meta_expressions_valid_.json", {"videos": {"v": video({"0": said("it", [5], 0)})}}
    )
    dictionary = {
        "3": [rle(FIRST), None, rle(FIRST)],
        "4": [rle(SECOND), None, None],
        "5": [rle(FIRST), rle(FIRST), rle(FIRST)],
    }
    put_json(folder / "mask_dict.json", dictionary)
    front = {"clip/a": {"masks_rle": [rle(FIRST), None, None], "foreground_ratio": [0.1, 0, 0]}}
    put_json(folder / "mask_dict_foreground.json", front)
    for name in ("clip/a", "b", "v"):
        for place, frame in enumerate(frames):
            put_picture(folder / f"JPEGImages/{name}/{frame}.jpg", seed=place + len(name))


def put_mevis(root: Path) -> None:
    """MeViS's layout; ``valid`` without any ids."""
    frames = ["00000", "00001"]
    for split in ("train", "valid_u", "valid"):
        expression: dict[str, Any] = {"exp": f"the one that moves in {split}"}
        if split != "valid":
            expression |= {"obj_id": [0], "anno_id": [9]}
            put_json(root / f"MeViS/{split}/mask_dict.json", {"9": [None, rle(FIRST)]})
        video = {"vid_id": 0, "frames": frames, "expressions": {"0": expression}}
        put_json(root / f"MeViS/{split}/meta_expressions.json", {"videos": {f"{split}_v": video}})
        for frame in frames:
            put_picture(root / f"MeViS/{split}/JPEGImages/{split}_v/{frame}.jpg")


# ---- LLM-Seg40K


def put_llmseg(root: Path) -> None:
    """LLM-Seg40K's layout: one pair with run lengths, one with a drawn mask, one with both."""
    base = root / "LLM-Seg40K"
    drawn = np.where(SECOND, 255, 0).astype(np.uint8)
    (base / "masks").mkdir(parents=True)
    assert cv2.imwrite(str(base / "masks/1.png"), drawn)
    coded = {"question": "q1", "answer": "a1", "rle_seg": rle(FIRST)}
    painted = {"question": "q2", "answer": "a2", "segmentation_path": "masks/1.png"}
    both = {"question": "q3", "answer": "a3", "rle_seg": rle(FIRST)} | {
        "segmentation_path": "masks/1.png"
    }
    train = {
        "000000000009.jpg": {"from_dataset": "coco", "qa_pairs": [coded, painted]},
        "E1.jpg": {"from_dataset": "ego_objects", "qa_pairs": [both]},
    }
    put_json(base / "split/train.json", train)
    held = {"000000000009.jpg": {"from_dataset": "coco", "qa_pairs": [both]}}
    put_json(base / "split/validation.json", held)
    put_picture(base / "coco/train2017/000000000009.jpg")
    put_picture(base / "ego_objects/images/E1.jpg", seed=3)
