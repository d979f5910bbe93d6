"""One task: a twin, a question about it, and what the right answer covers.

The truth is a set of ids of the twin, or masks where a data set has them (then the ids are those
whose masks cover them best). :func:`iou_of` is the mask IoU of an answer: per frame the
intersection over the union of the answered and the true masks, averaged over the frames in which
either has a pixel, and 1 where neither ever has one (a right "none").

Twins of simulated worlds may come without masks (they are drawn without rendering): there the
pixels of different objects never overlap, so areas stand for masks and the IoU is the same.

Not covered: answers that are numbers or times; those are not trained by mask IoU.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from ...reasoner.prompts import Mode
from ...twin import mask as masks
from ...twin.errors import InputError
from ...twin.schema import FrameTwin, Rle
from ...twin.window import TwinWindow
from ..reasoner.records import Question

__all__ = ["Task", "Tasks", "iou_of"]


@dataclass(frozen=True, slots=True)
class Task:
    """A question with its truth.

    Args:
        key: stable name, unique in its source, such as ``worlds/17/3``.
        window: the twin that the prompt shows and the tools run on.
        question: its text.
        ids: the true answer, ascending; empty: no object fits.
        truth: true masks by frame index where the data has masks of its own; a frame that is
            missing has no true pixel. None: the masks of ``ids`` are the truth.
        mode: how the rationale is asked for.
        turns: earlier (question, ids) in the prompt.
        level: steps of the question's program, 1 to 4; 0 where unknown.
        source: where it comes from (``worlds``, ``refcocog`` …).
        reference: the generator's own chain, where there is one.
        pictures: folder of the frames (``00000.jpg`` …) or one picture, where there are pixels.
        whole: the twin as looking again would find it, where ``window`` shows it in part.
    """

    key: str
    window: TwinWindow
    question: str
    ids: tuple[int, ...]
    truth: Mapping[int, Rle] | None = None
    mode: Mode = "concise"
    turns: tuple[tuple[str, tuple[int, ...]], ...] = ()
    level: int = 0
    source: str = "worlds"
    reference: Question | None = None
    pictures: str | None = None
    whole: TwinWindow | None = None

    def __post_init__(self) -> None:
        missing = [i for i in self.ids if i not in self.scene]
        if missing:
            raise InputError(
                f"{self.key}: expected true ids of the twin {sorted(self.scene.ids())}, "
                f"got {missing[0]}; build the twin again"
            )

    @property
    def scene(self) -> TwinWindow:
        """Where answers are looked up: the whole twin."""
        return self.whole or self.window


class Tasks(Sequence[Task]):
    """Tasks that are made or read when they are asked for; a slice is a list of them."""

    @abstractmethod
    def at(self, place: int) -> Task:
        """The task at a place from 0 to ``len(self) - 1``."""

    @overload
    def __getitem__(self, place: int) -> Task: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Task]: ...
    def __getitem__(self, place: int | slice) -> Task | Sequence[Task]:
        if isinstance(place, slice):
            return [self.at(i) for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"expected a task below {len(self)}, got {place}")
        return self.at(place % len(self))


def iou_of(task: Task, ids: Collection[int]) -> float:
    """Mask IoU of the objects ``ids`` with the truth, in [0, 1]; ids the twin lacks cover nothing."""
    wanted, given = set(task.ids), set(ids)
    if task.truth is None and wanted == given:
        return 1.0
    found = []
    for frame in task.scene.frames:
        shared, joined = (
            _by_area(frame, given, wanted)
            if task.truth is None
            else _by_mask(frame, given, task.truth.get(frame.index))
        )
        if joined:
            found.append(shared / joined)
    return sum(found) / len(found) if found else 1.0


def _by_area(frame: FrameTwin, given: set[int], wanted: set[int]) -> tuple[float, float]:
    """Pixels of the intersection and the union of objects that never overlap."""
    areas = {i: float(obj.area) for i, obj in frame.objects.items() if obj.state == "visible"}
    shared = sum(areas.get(i, 0.0) for i in given & wanted)
    return shared, sum(areas.get(i, 0.0) for i in given | wanted)


def _by_mask(frame: FrameTwin, given: set[int], truth: Rle | None) -> tuple[float, float]:
    rles = [
        obj.mask
        for i, obj in frame.objects.items()
        if i in given and obj.state == "visible" and obj.mask is not None
    ]
    answered = masks.union(rles) if rles else None
    if answered is None or truth is None:
        return 0.0, float(sum(masks.area(m) for m in (answered, truth) if m is not None))
    shared = masks.intersection(answered, truth)
    return float(shared), float(masks.area(answered) + masks.area(truth) - shared)
