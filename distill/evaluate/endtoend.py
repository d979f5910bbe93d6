"""Pixels in, masks out: J and F of every question, by category and level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.window import TwinWindow
from ..metrics import video_scores
from ..sim.questions import Question
from .report import Table

__all__ = ["PAPER_0_6B", "Scored", "end_to_end_tables", "score_question", "union_masks"]

PAPER_0_6B = {1: (0.760, 0.768), 2: (0.733, 0.763), 3: (0.714, 0.739)}
"""Mean J and F of FastReasonSeg-0.6B on JiTBench, levels 1-3 (its table 1)."""

CATEGORIES = ("semantic", "spatial", "temporal")


@dataclass(frozen=True)
class Scored:
    """One question with the J and F of its answered masks over all frames."""

    question: Question
    j: float
    f: float


def union_masks(window: TwinWindow, ids: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Per frame, the (H, W) union of the visible masks of some objects."""
    masks: list[NDArray[np.bool_]] = []
    for frame in window.frames:
        union = np.zeros((frame.height, frame.width), np.bool_)
        for id_ in ids:
            obj = frame.objects.get(id_)
            if obj is not None and obj.state == "visible" and obj.mask is not None:
                union |= rle.decode(obj.mask)
        masks.append(union)
    return masks


def score_question(
    question: Question, answered: Sequence[int], perceived: TwinWindow, truth: TwinWindow
) -> Scored:
    """Compare the answered objects' masks with the true ones, frame by frame."""
    j, f = video_scores(union_masks(perceived, answered), union_masks(truth, question.ids))
    return Scored(question, j, f)


def end_to_end_tables(scored: Sequence[Scored], where: str) -> list[Table]:
    """J and F per category and level, the paper's 0.6B figures beside them."""
    rows: list[tuple[str | int | float | None, ...]] = []
    for level in (1, 2, 3, 4):
        chosen = [s for s in scored if s.question.level == level]
        cells: list[str | int | float | None] = [f"level {level}", len(chosen)]
        for category in CATEGORIES:
            part = [s for s in chosen if s.question.category == category]
            cells += [_mean([s.j for s in part]), _mean([s.f for s in part])]
        cells += [_mean([s.j for s in chosen]), _mean([s.f for s in chosen])]
        paper = PAPER_0_6B.get(level)
        rows.append((*cells, *(paper if paper else (None, None))))
    cells = ["all", len(scored)]
    for category in CATEGORIES:
        part = [s for s in scored if s.question.category == category]
        cells += [_mean([s.j for s in part]), _mean([s.f for s in part])]
    cells += [_mean([s.j for s in scored]), _mean([s.f for s in scored])]
    rows.append((*cells, None, None))
    columns: tuple[str, ...] = ("questions", "count")
    for category in CATEGORIES:
        columns += (f"{category} J", "F")
    note = "paper: FastReasonSeg-0.6B on JiTBench, another benchmark with other videos"
    return [
        Table(
            f"Pixels to masks, {where}",
            (*columns, "mean J", "F", "paper 0.6B J", "F"),
            tuple(rows),
            (note,),
        )
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
