"""RISE's semantic reward (section "Self-supervised Reward Mechanism", equation 5).

``semantic``: how much the picture of what was answered looks like the question, by a frozen
image-text model (:mod:`.similarities`), without any true mask. The paper crops one box; here an
answer may be several objects, each is compared alone, and the mean counts. An object is shown in
the newest frame in which it is visible and that has a picture.

None where a task has no pictures, or the model knows no word of the question. 0 without an
answer, and for "none": there is nothing to see, and whether that is right needs the truth.

The paper's two format rewards are ``format`` here. As the paper says of itself, the crop shows
what an object is, not where it stands: of two red mugs, this reward cannot prefer the left one.

Not covered: questions about time; one picture of each object is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, SourceError
from ...twin.schema import ObjectTwin
from ..rollouts.record import Rollout
from ..tasks.task import Task
from .base import Reward, answered
from .similarities import Similarity, View

__all__ = ["picture_of", "semantic", "views_of"]

_MAX_OBJECTS = 16  # of one answer that are looked at: bounds the time of "everything"
_MAX_PICTURES = 64  # decoded at once; 64 frames of 640 x 480 are 59 MB
_SUFFIXES = (".jpg", ".jpeg", ".png")

Image = NDArray[np.uint8]


def semantic(similarity: Similarity) -> Reward:
    """Mean similarity of the answered objects and the question.

    The rewards' function raises SourceError for pictures that are named and cannot be read.
    """

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        pictures: dict[Path, Image] = {}
        places: list[tuple[int, range]] = []
        views: list[View] = []
        found: list[float | None] = [None] * len(rollouts)
        for k, r in enumerate(rollouts):
            if r.task.pictures is None:
                continue
            found[k] = 0.0
            if answered(r) and r.ids:
                mine = views_of(r.task, r.ids, pictures)
                places.append((k, range(len(views), len(views) + len(mine))))
                views += mine
        scores = similarity.compare(views) if views else []
        if len(scores) != len(views):
            raise InputError(
                f"reward semantic: expected {len(views)} similarities, got {len(scores)}"
            )
        for k, mine_at in places:
            known = [s for s in (scores[place] for place in mine_at) if s is not None]
            if len(mine_at):
                found[k] = sum(known) / len(known) if known else None
        return found

    return reward


def views_of(
    task: Task, ids: Sequence[int], pictures: dict[Path, Image] | None = None
) -> list[View]:
    """What each object looks like, for at most 16 objects that were ever visible.

    Args:
        task: with pictures.
        ids: of its twin.
        pictures: those that were read, kept for the next call; at most 64.

    Raises:
        SourceError: if a picture is missing or cannot be read.
    """
    kept = {} if pictures is None else pictures
    views = []
    for i in list(dict.fromkeys(ids))[:_MAX_OBJECTS]:
        seen = _newest(task, i)
        if seen is not None:
            path, obj = seen
            views.append(View(_read(path, kept), obj.box_xyxy, task.question))
    return views


def picture_of(task: Task, index: int) -> Path | None:
    """The file of frame ``index``: ``00007.jpg`` (or .png) in the task's folder, or its picture.

    Raises:
        SourceError: if there is neither such a folder nor such a file.
    """
    place = Path(task.pictures or "")
    if place.is_file():
        return place
    if not task.pictures or not place.is_dir():
        raise SourceError(
            f"{task.key}: expected a folder of frames or a picture, got {task.pictures!r}; "
            "build the tasks again where the pictures are"
        )
    names = (place / f"{index:05d}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in names if path.is_file()), None)


def _newest(task: Task, id: int) -> tuple[Path, ObjectTwin] | None:
    """The newest record of an object that can be seen in a picture."""
    visible = False
    for frame in reversed(task.scene.frames):
        obj = frame.objects.get(id)
        if obj is not None and obj.state == "visible":
            visible = True
            if (path := picture_of(task, frame.index)) is not None:
                return path, obj
    if visible:
        raise SourceError(
            f"{task.key}: expected a picture of a frame that shows object {id} in "
            f"{task.pictures}, got none; frames are named 00000.jpg, 00001.jpg and so on"
        )
    return None


def _read(path: Path, kept: dict[Path, Image]) -> Image:
    """A picture (H, W, 3) uint8 RGB."""
    if path not in kept:
        read = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if read is None:
            raise SourceError(f"expected a picture in {path}, got a file that OpenCV cannot read")
        if len(kept) >= _MAX_PICTURES:
            kept.pop(next(iter(kept)))
        kept[path] = np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)
    return kept[path]
