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
    """Mean J and mean F by level and category, the paper's 0.6B figures beside them."""
    js, fs = [s.j for s in scored], [s.f for s in scored]
    return [
        _table("J", scored, js, {level: paper[0] for level, paper in PAPER_0_6B.items()}, where),
        _table("F", scored, fs, {level: paper[1] for level, paper in PAPER_0_6B.items()}, where),
    ]


def _table(
    name: str,
    scored: Sequence[Scored],
    values: Sequence[float],
    paper: dict[int, float],
    where: str,
) -> Table:
    rows: list[tuple[str | int | float | None, ...]] = []
    for level in (1, 2, 3, 4, None):
        chosen = [
            (s.question.category, value)
            for s, value in zip(scored, values, strict=True)
            if level in (None, s.question.level)
        ]
        parts = [_mean([v for kind, v in chosen if kind == category]) for category in CATEGORIES]
        rows.append(
            (
                f"level {level}" if level else "all",
                len(chosen),
                *parts,
                _mean([v for _, v in chosen]),
                paper.get(level) if level else None,
            )
        )
    return Table(
        f"Pixels to masks, mean {name}, {where}",
        ("questions", "count", *CATEGORIES, "all", "paper 0.6B"),
        tuple(rows),
        ("paper: FastReasonSeg-0.6B on JiTBench, another benchmark with other videos",),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
