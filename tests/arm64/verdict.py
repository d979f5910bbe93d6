"""Whether two machines answered alike: words exactly, pictures within a bound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetwin.twin.mask import decode
from edgetwin.twin.schema import Rle

# What must be the same to the letter in both answers.
EXACT = ("question", "status", "ids", "plan", "results", "rationale", "intervals", "transcript")


@dataclass(frozen=True)
class Verdict:
    """What was compared, and every fault in a line of its own; no fault means the same answer."""

    faults: tuple[str, ...]
    frames: int
    masks: int
    lowest_iou: float
    mean_iou: float
    box_px: float

    @property
    def same(self) -> bool:
        """No fault was found."""
        return not self.faults


def masks_of(folder: Path) -> dict[int, dict[str, Rle]]:
    """The masks that a run wrote: frame -> object -> mask."""
    frames = json.loads((folder / "masks.json").read_text(encoding="utf-8"))["frames"]
    return {
        frame["index"]: {name: Rle.model_validate(rle) for name, rle in frame["masks"].items()}
        for frame in frames
    }


def iou(left: Rle, right: Rle) -> float:
    """Intersection over union of two masks; 1 where both are empty, 0 where sizes differ."""
    if left.size != right.size:
        return 0.0
    a, b = decode(left), decode(right)
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def _answer(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return document


def compare(here: Path, there: Path, *, lowest_iou: float, box_px: float) -> Verdict:
    """Two folders that ``edgetwin run`` wrote with one question.

    An answer that is no answer is a fault too: two machines may fail alike.
    """
    a, b = _answer(here), _answer(there)
    faults = [f"{key}: {a[key]} here, {b[key]} there" for key in EXACT if a[key] != b[key]]
    if a["status"] != "ok" or not a["ids"]:
        faults.append(f"expected an answer with an object, got {a['status']} {a['ids']}")
    labels = [[(o["id"], o["label"], o["attributes"]) for o in d["objects"]] for d in (a, b)]
    if labels[0] != labels[1]:
        faults.append(f"objects: {labels[0]} here, {labels[1]} there")
    boxes = [np.array([o["box_xyxy"] for o in d["objects"]], dtype=float) for d in (a, b)]
    apart = float(np.abs(boxes[0] - boxes[1]).max(initial=0)) if labels[0] == labels[1] else 0.0
    if apart > box_px:
        faults.append(f"boxes are {apart:g} px apart, more than {box_px:g}")
    left, right = masks_of(here), masks_of(there)
    names = [[(i, sorted(frame)) for i, frame in sorted(m.items())] for m in (left, right)]
    if names[0] != names[1]:
        faults.append(f"masks of frames and objects: {names[0]} here, {names[1]} there")
    both = [(i, k) for i in left if i in right for k in left[i] if k in right[i]]
    ious = [iou(left[i][k], right[i][k]) for i, k in both]
    if not ious:
        faults.append("expected masks, got none")
    elif min(ious) < lowest_iou:
        frame, name = both[int(np.argmin(ious))]
        faults.append(f"mask of object {name}, frame {frame}: IoU {min(ious):.4f} < {lowest_iou}")
    return Verdict(
        tuple(faults),
        frames=len(left),
        masks=len(ious),
        lowest_iou=min(ious, default=0.0),
        mean_iou=float(np.mean(ious)) if ious else 0.0,
        box_px=apart,
    )
