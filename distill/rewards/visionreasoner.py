"""VisionReasoner's rewards (Liu et al. 2025, "Reward design"): matched accuracy, non-repeat.

* ``matched_accuracy``: answered objects are matched one to one with true objects so that as many
  pairs as possible have a mask IoU above 0.5; their number, divided by the larger of the number
  of answered and of true objects. Naming everything therefore does not pay. The paper adds L1
  terms for boxes and points; here objects of the twin are named, so that masks say it all.
* ``non_repeat``: 1 if no sentence of the rationale comes twice, else 0; also 0 without a
  rationale, which has nothing to repeat (the paper gives 1, and with it a reason to say nothing).

Where the data has a mask of its own for the whole answer, true object i is the part of it under
the twin's mask of i; with one true object, or none that the twin found, it is the whole mask.

Not covered: repetition inside one sentence; that is the guard "repeats" of :mod:`.guards`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ...perception.assignment import assign
from ...twin import mask as masks
from ...twin.schema import FrameTwin, Rle
from ..rollouts.record import Rollout
from ..tasks.task import Task
from .base import Reward, answered, bodies, number

__all__ = ["matched_accuracy", "matched_share", "non_repeat"]

_SENTENCES = re.compile(r"[.;!?\n]+")
_Masks = dict[int, Rle]  # by position of the frame in the window


def matched_accuracy(*, threshold: float = 0.5) -> Reward:
    """Matched pairs over the larger number of objects; 0 without an answer.

    Raises:
        InputError: if the threshold is not in [0, 1].
    """
    least = number("matched_accuracy", "threshold", threshold, 0, 1)

    def one(r: Rollout) -> float:
        return matched_share(r.task, r.ids or (), least) if answered(r) else 0.0

    return lambda rollouts: [one(r) for r in rollouts]


def matched_share(task: Task, ids: Sequence[int], threshold: float = 0.5) -> float:
    """The reward of an answer, in [0, 1]; 1 for a right "none"."""
    given = sorted({*ids})
    true = _true_masks(task)
    most = max(len(given), len(task.ids) if true is None else len(true))
    if most == 0:
        return 1.0
    if true is None:  # the twin's own masks, or areas: an object is itself
        same = len({*given} & {*task.ids})
        return (same + _others(task, given, threshold)) / most
    good = np.array(
        [[_iou(_masks_of(task, i), mask) > threshold for mask in true] for i in given], bool
    ).reshape(len(given), len(true))
    return len(assign(np.where(good, 0.0, np.inf))) / most


def non_repeat() -> Reward:
    """1 for a rationale whose sentences all differ, else 0."""

    def one(r: Rollout) -> float:
        parts = _SENTENCES.split(" ".join(bodies(r, "reason")).casefold())
        sentences = [" ".join(part.split()) for part in parts if part.strip()]
        return float(bool(sentences) and len({*sentences}) == len(sentences))

    return lambda rollouts: [one(r) for r in rollouts]


def _others(task: Task, given: Sequence[int], threshold: float) -> int:
    """Matches of wrongly named with missed objects: two ids of a twin may be one object."""
    extra = [_masks_of(task, i) for i in given if i not in task.ids]
    missed = [_masks_of(task, i) for i in task.ids if i not in given]
    if not extra or not missed:
        return 0
    good = np.array([[bool(a) and _iou(a, b) > threshold for b in missed] for a in extra], bool)
    return len(assign(np.where(good, 0.0, np.inf)))


def _true_masks(task: Task) -> list[_Masks] | None:
    """Masks of the true objects; None where those of the twin are the truth."""
    if task.truth is None:
        return None
    whole = {k: task.truth[f.index] for k, f in enumerate(_frames(task)) if f.index in task.truth}
    if not any(masks.area(mask) for mask in whole.values()):
        return []
    if len(task.ids) < 2:
        return [whole]
    return [_overlap(_masks_of(task, i), whole) for i in task.ids]


def _frames(task: Task) -> tuple[FrameTwin, ...]:
    return task.scene.frames


def _masks_of(task: Task, id: int) -> _Masks:
    """An object's masks in the frames where it is visible."""
    found = {}
    for k, frame in enumerate(_frames(task)):
        obj = frame.objects.get(id)
        if obj is not None and obj.state == "visible" and obj.mask is not None:
            found[k] = obj.mask
    return found


def _overlap(a: _Masks, b: _Masks) -> _Masks:
    """What two objects share, frame by frame."""
    return {
        k: masks.encode(masks.decode(mask) & masks.decode(b[k])) for k, mask in a.items() if k in b
    }


def _iou(a: _Masks, b: _Masks) -> float:
    """Mask IoU averaged over the frames in which either has a pixel; 0 if there is none."""
    found = []
    for k in {*a, *b}:
        if k in a and k in b:
            if masks.area(a[k]) + masks.area(b[k]):
                found.append(masks.iou(a[k], b[k]))
        elif masks.area(a[k] if k in a else b[k]):
            found.append(0.0)
    return sum(found) / len(found) if found else 0.0
