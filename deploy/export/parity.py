"""How far two sets are apart: graph by graph, twin by twin, answer by answer.

Three views, since each hides what another shows: outputs of single graphs on the same inputs;
twins of the same clip, where small differences meet thresholds and a tracker; answers to the
same questions on the same twins.

Not covered: which of the two is right. That takes ground truth (``edgetwin eval twinbench``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...perception.assignment import assign
from ...perception.bundle import Bundle
from ...perception.perceiver import Perceiver
from ...reasoner.rollout import Reasoner
from ...twin import mask as rle
from ...twin.errors import InputError
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from .clip import Clip
from .graphs import Feeds

__all__ = [
    "AnswerDifference",
    "GraphDifference",
    "TwinDifference",
    "asked",
    "compare_answers",
    "compare_graph",
    "compare_twins",
    "perceive",
]

Ask = Callable[[str, TwinWindow], Any]


@dataclass(frozen=True, slots=True)
class GraphDifference:
    """Of the worst output: largest and mean |a - b|, relative to max(1, max |a|)."""

    inputs: int
    largest: float
    mean: float


@dataclass(slots=True)
class TwinDifference:
    """Objects of two series of twins, matched frame by frame by mask IoU.

    ``ious`` has one value per matched pair and a 0 for every object that the other has not.
    ``box_px`` are mean differences of a box's four numbers, ``depth`` relative ones. ``pairs``
    counts matched (reference id, candidate id); it means something within one clip only.
    """

    frames: int = 0
    ious: list[float] = field(default_factory=list)
    box_px: list[float] = field(default_factory=list)
    depth: list[float] = field(default_factory=list)
    unmatched: int = 0
    relabelled: int = 0
    other_ids: int = 0
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)

    def partner(self) -> dict[int, int]:
        """Id in the reference -> the id that it was matched to most often."""
        best: dict[int, int] = {}
        for (a, b), _ in sorted(self.pairs.items(), key=lambda pair: (-pair[1], pair[0])):
            best.setdefault(a, b)
        return best

    @property
    def mean_iou(self) -> float:
        """Mean mask IoU, unmatched objects counting 0; 1 where neither has any object."""
        return float(np.mean(self.ious)) if self.ious else 1.0

    def figures(self) -> dict[str, float | int]:
        """Everything as plain numbers."""
        matched = len(self.box_px)
        return {
            "frames": self.frames,
            "objects": len(self.ious),
            "mask_iou_mean": self.mean_iou,
            "mask_iou_p05": float(np.percentile(self.ious, 5)) if self.ious else 1.0,
            "box_px_mean": float(np.mean(self.box_px)) if matched else 0.0,
            "depth_relative_mean": float(np.mean(self.depth)) if self.depth else 0.0,
            "unmatched": self.unmatched,
            "relabelled": self.relabelled,
            "other_ids": self.other_ids,
        }


@dataclass(slots=True)
class AnswerDifference:
    """Questions of which two reasoners wrote the same plan, and gave the same answer: status,
    ids, and a number within 2 %."""

    questions: int = 0
    same_plans: int = 0
    same_ids: int = 0
    examples: list[str] = field(default_factory=list)  # the first few that differ

    @property
    def same(self) -> float:
        """Share of questions with the same ids."""
        return self.same_ids / self.questions if self.questions else 1.0


_EXAMPLES = 5
_VALUE = 0.02  # of a number that is answered: twins of other precisions measure a little apart
_LEAST_IOU = 1e-6  # pairs that share a pixel may match


def compare_graph(reference: Bundle, candidate: Bundle, name: str, feeds: Feeds) -> GraphDifference:
    """Run one graph of both on the same inputs.

    Raises:
        InputError: without inputs.
    """
    if not feeds:
        raise InputError(f"expected inputs for {name}, got none; give clips that show objects")
    one, other = reference.engine(name), candidate.engine(name)
    largest, mean, count = 0.0, 0.0, 0
    for fed in feeds:
        given = dict(fed)
        pairs = zip(one.run(given).values(), other.run(given).values(), strict=True)
        worst = 0.0
        for a, b in pairs:
            scale = max(1.0, float(np.abs(a).max(initial=0.0)))
            gap = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)) / scale
            largest = max(largest, float(gap.max(initial=0.0)))
            worst = max(worst, float(gap.mean()) if gap.size else 0.0)
        mean += worst
        count += 1
    return GraphDifference(count, largest, mean / count)


def perceive(bundle: Bundle, clip: Clip, words: Sequence[str] | None = None) -> list[FrameTwin]:
    """The twins of a clip, frame by frame, by a new perceiver."""
    perceiver = Perceiver(bundle, words)
    return [perceiver.observe(frame) for frame in clip.frames]


def compare_twins(
    reference: Sequence[FrameTwin], candidate: Sequence[FrameTwin], to: TwinDifference
) -> None:
    """Add the differences of one clip's twins.

    Raises:
        InputError: if the two are not of the same frames.
    """
    if len(reference) != len(candidate):
        raise InputError(
            f"expected twins of the same frames, got {len(reference)} and {len(candidate)}"
        )
    for a, b in zip(reference, candidate, strict=True):
        to.frames += 1
        _compare_frame(_seen(a), _seen(b), to)


def _compare_frame(a: list[ObjectTwin], b: list[ObjectTwin], to: TwinDifference) -> None:
    shared = np.array([[_iou(x, y) for y in b] for x in a]).reshape(len(a), len(b))
    cost = np.where(shared > _LEAST_IOU, 1.0 - shared, np.inf)
    pairs = assign(cost)
    for i, j in pairs:
        x, y = a[i], b[j]
        to.ious.append(float(shared[i, j]))
        to.box_px.append(float(np.abs(np.subtract(x.box_xyxy, y.box_xyxy)).mean()))
        if x.mean_depth and y.mean_depth is not None:
            to.depth.append(abs(x.mean_depth - y.mean_depth) / abs(x.mean_depth))
        to.relabelled += x.semantic_label != y.semantic_label
        to.other_ids += x.id != y.id
        to.pairs[x.id, y.id] += 1
    lonely = len(a) + len(b) - 2 * len(pairs)
    to.ious += [0.0] * lonely
    to.unmatched += lonely


def compare_answers(
    reference: tuple[Ask, TwinWindow],
    candidate: tuple[Ask, TwinWindow],
    questions: Sequence[str],
    to: AnswerDifference,
    partner: Mapping[int, int] | None = None,
) -> None:
    """Ask both the same, each about its own twin.

    Args:
        reference: :meth:`Reasoner.answer` or alike, and the twin.
        candidate: the same.
        questions: what is asked.
        to: gets the counts.
        partner: reference id -> candidate id where the twins are not the same.
    """
    for question in questions:
        a, b = reference[0](question, reference[1]), candidate[0](question, candidate[1])
        ids = [i if partner is None else partner.get(i, -1) for i in a.ids]
        to.questions += 1
        to.same_plans += a.plan == b.plan
        named = (a.status, sorted(ids)) == (b.status, sorted(b.ids))
        same = named and _alike(a.value, b.value)
        to.same_ids += same
        if not same and len(to.examples) < _EXAMPLES:
            to.examples.append(f"{question!r}: {a.status} {ids} became {b.status} {b.ids}")


def asked(reasoner: Reasoner) -> Ask:
    """A reasoner's answers, each from the beginning."""

    def answer(question: str, window: TwinWindow) -> Any:
        reasoner.forget()
        return reasoner.answer(question, window)

    return answer


def _alike(a: float | None, b: float | None) -> bool:
    """Whether two answered numbers are the same, or neither answer has one."""
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_VALUE)


def _seen(frame: FrameTwin) -> list[ObjectTwin]:
    return [o for _, o in sorted(frame.objects.items()) if o.state == "visible" and o.mask]


def _iou(a: ObjectTwin, b: ObjectTwin) -> float:
    assert a.mask is not None
    assert b.mask is not None
    return rle.iou(a.mask, b.mask)
