"""The smoke run's verdict can fail: every kind of difference is a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.twin.mask import encode

from .verdict import compare, iou


def written(folder: Path, change: Callable[[dict[str, Any], list[dict[str, Any]]], None]) -> Path:
    """What `edgetwin run` writes, as far as it is read here: one object in two frames."""
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 10:30] = True
    rle = encode(mask).model_dump(mode="json")
    answer: dict[str, Any] = {
        "question": "Which one?",
        "status": "ok",
        "ids": [1],
        "objects": [
            {"id": 1, "label": "mug", "attributes": {}, "box_xyxy": [10.0, 10.0, 30.0, 30.0]}
        ],
        "intervals": [[0.0, 1.0]],
        "rationale": "Mug.",
        "plan": [{"tool": "find", "words": ["mug"]}],
        "results": [[1]],
        "transcript": "<answer>1</answer>",
    }
    frames = [{"index": index, "masks": {"1": dict(rle)}} for index in range(2)]
    change(answer, frames)
    folder.mkdir()
    (folder / "answer.json").write_text(json.dumps(answer))
    (folder / "masks.json").write_text(json.dumps({"frames": frames}))
    return folder


def nothing(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    """No change."""


def other_id(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    answer["ids"] = [2]


def other_label(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    answer["objects"][0]["label"] = "bowl"


def other_status(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    answer["status"] = "not_found"


def moved_box(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    answer["objects"][0]["box_xyxy"][2] += 2.0


def shifted_mask(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 11:31] = True
    frames[1]["masks"]["1"] = encode(mask).model_dump(mode="json")


def lost_mask(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    frames[1]["masks"] = {}


def test_the_same_is_the_same(tmp_path: Path) -> None:
    got = compare(
        written(tmp_path / "a", nothing), written(tmp_path / "b", nothing), lowest_iou=1, box_px=0
    )
    assert got.same
    assert (got.frames, got.masks, got.lowest_iou, got.mean_iou) == (2, 2, 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (other_id, "ids: "),
        (other_label, "objects: "),
        (other_status, "status: "),
        (moved_box, "boxes are 2 px apart"),
        (shifted_mask, "mask of object 1, frame 1: IoU 0.9048"),
        (lost_mask, "masks of frames and objects"),
    ],
)
def test_every_difference_is_a_fault(
    tmp_path: Path, change: Callable[[dict[str, Any], list[dict[str, Any]]], None], word: str
) -> None:
    folders = written(tmp_path / "a", nothing), written(tmp_path / "b", change)
    got = compare(*folders, lowest_iou=0.99, box_px=1)
    assert not got.same
    assert [fault for fault in got.faults if fault.startswith(word)]


def test_two_machines_that_find_nothing_are_no_proof(tmp_path: Path) -> None:
    def empty(answer: dict[str, Any], frames: list[dict[str, Any]]) -> None:
        answer.update(ids=[], objects=[])
        frames.clear()

    folders = written(tmp_path / "a", empty), written(tmp_path / "b", empty)
    faults = compare(*folders, lowest_iou=0.99, box_px=1).faults
    assert len(faults) == 2
    assert faults[0].startswith("expected an answer with an object")


def test_iou_of_one_column_more() -> None:
    small, wide = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    small[2:6, 2:5] = wide[2:6, 2:6] = True
    assert iou(encode(small), encode(wide)) == 0.75
    assert iou(encode(small), encode(np.zeros((4, 4), dtype=bool))) == 0.0
