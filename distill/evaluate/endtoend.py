"""Pixels in, masks out: J and F of every question by category and level, and who was wrong.

Perceived ids are matched to true ones by the frames in which their masks agree (IoU of at least
.5), one to one, so that exact ids can be asked for end to end. A wrong answer is perception's if
the reasoner is right about the same question on the true twin, else the reasoner's; of
perception's share, ``lost`` are those where even the question's own program fails on the
perceived twin (:mod:`.causes` says why), ``disturbed`` those where it would have done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...perception.assignment import assign
from ...twin import mask as rle
from ...twin.window import TwinWindow
from ..metrics import video_scores
from ..sim.questions import Question
from .causes import CAUSES, Cause
from .reasoner import Judged, program_ids
from .report import Table
from .tracking_scores import MIN_IOU, mask_iou, seen_of

__all__ = [
    "PAPER_0_6B",
    "Outcome",
    "Scored",
    "end_to_end_figures",
    "end_to_end_tables",
    "matched_ids",
    "outcome",
    "score_question",
    "union_masks",
]

PAPER_0_6B = {1: (0.760, 0.768), 2: (0.733, 0.763), 3: (0.714, 0.739)}
"""Mean J and F of FastReasonSeg-0.6B on JiTBench, levels 1-3 (its table 1)."""

PAPER_NOTE = "paper: FastReasonSeg-0.6B on JiTBench, another benchmark with other videos"

CATEGORIES = ("semantic", "spatial", "temporal")

Outcome = Literal["right", "lost", "disturbed", "reasoner"]
OUTCOMES: tuple[Outcome, ...] = ("right", "lost", "disturbed", "reasoner")


@dataclass(frozen=True)
class Scored:
    """One question with the J and F of its answered masks over all frames.

    ``shared`` and ``union`` count pixels of all frames together. ``answer`` is what
    ``answer.json`` would hold, ``outcome`` None where nobody asked, ``cause`` that of a lost one.
    """

    question: Question
    j: float
    f: float
    shared: int = 0
    union: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    cause: Cause | None = None


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
    question: Question,
    answered: Sequence[int],
    perceived: TwinWindow,
    truth: TwinWindow,
    answer: Mapping[str, Any] | None = None,
    how: Outcome | None = None,
    why: Cause | None = None,
) -> Scored:
    """Compare the answered objects' masks with the true ones, frame by frame."""
    given, true = union_masks(perceived, answered), union_masks(truth, question.ids)
    j, f = video_scores(given, true)
    pairs = list(zip(given, true, strict=True))
    shared = sum(int(np.count_nonzero(a & b)) for a, b in pairs)
    union = sum(int(np.count_nonzero(a | b)) for a, b in pairs)
    return Scored(question, j, f, shared, union, answer or {}, how, why)


def matched_ids(perceived: TwinWindow, truth: TwinWindow) -> dict[int, int]:
    """Perceived id -> true id, one to one, by the number of frames in which their masks agree."""
    rows, columns = perceived.ids(), truth.ids()
    together = np.zeros((len(rows), len(columns)))
    for seen_frame, true_frame in zip(perceived.frames, truth.frames, strict=True):
        seen, true = seen_of(seen_frame), seen_of(true_frame)
        if not seen or not true:
            continue
        agree = mask_iou(np.stack(list(seen.values())), np.stack(list(true.values()))) >= MIN_IOU
        for (a, b), yes in np.ndenumerate(agree):
            together[rows.index(list(seen)[a]), columns.index(list(true)[b])] += yes
    pairs = assign(np.where(together > 0, -together, np.inf))
    return {rows[a]: columns[b] for a, b in pairs}


def outcome(
    question: Question,
    answer: Mapping[str, Any],
    perceived: TwinWindow,
    same: Mapping[int, int],
    on_truth: Judged,
) -> Outcome:
    """Whether the answer names exactly the true objects, and if not, whose fault it is."""
    true = set(question.ids)
    if answer["status"] != "error" and {same.get(i) for i in answer["ids"]} == true:
        return "right"
    if not on_truth.exact:
        return "reasoner"
    ids = program_ids(question, perceived)
    would = ids is not None and {same.get(i) for i in ids} == true
    return "disturbed" if would else "lost"


def end_to_end_figures(scored: Sequence[Scored]) -> dict[str, Any]:
    """Every figure per level (``"1"`` … ``"4"``, ``"all"``) and, within it, per category."""
    found: dict[str, Any] = {}
    for level in (1, 2, 3, 4, None):
        chosen = [s for s in scored if level in (None, s.question.level)]
        row = _figures(chosen)
        for category in CATEGORIES:
            row[category] = _figures([s for s in chosen if s.question.category == category])
        if level in PAPER_0_6B:
            row["paper_0_6b"] = dict(zip(("j", "f"), PAPER_0_6B[level], strict=True))
        found[str(level) if level else "all"] = row
    return found


def _figures(scored: Sequence[Scored]) -> dict[str, Any]:
    if not scored:
        return {"count": 0, "j": None, "f": None}
    figures: dict[str, Any] = {
        "count": len(scored),
        "j": float(np.mean([s.j for s in scored])),
        "f": float(np.mean([s.f for s in scored])),
        "giou": float(np.mean([s.shared / (s.union + 1e-5) if s.union else 1 for s in scored])),
        "ciou": sum(s.shared for s in scored) / (sum(s.union for s in scored) + 1e-10),
    }
    if all(s.outcome for s in scored):
        figures |= {name: sum(s.outcome == name for s in scored) for name in OUTCOMES}
        figures["exact"] = figures["right"] / len(scored)
        figures["causes"] = {why: sum(s.cause == why for s in scored) for why in CAUSES}
    answers = [s.answer for s in scored if s.answer]
    if len(answers) == len(scored):
        figures["rationale_tokens"] = float(np.mean([a["tokens"]["rationale"] for a in answers]))
        figures["median_ms"] = float(np.median([a["ms"]["total"] for a in answers]))
    return figures


def end_to_end_tables(scored: Sequence[Scored], where: str) -> list[Table]:
    """J and F by level and category beside the paper's 0.6B, together and apart; then the rest."""
    figures = end_to_end_figures(scored)
    return [
        _both(figures, where),
        _one("J", "j", figures, where),
        _one("F", "f", figures, where),
        _others(figures, where),
        _budget(figures, where),
        _causes(figures, where),
    ]


def _levels(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(f"level {name}" if name != "all" else name, row) for name, row in figures.items()]


def _both(figures: Mapping[str, Any], where: str) -> Table:
    rows = [
        (
            name,
            row["count"],
            *(row[c][key] for key in "jf" for c in CATEGORIES),
            row["j"],
            row.get("paper_0_6b", {}).get("j"),
            row["f"],
            row.get("paper_0_6b", {}).get("f"),
        )
        for name, row in _levels(figures)
    ]
    columns = (
        "questions", "count", *(f"{key} {c}" for key in "JF" for c in CATEGORIES),
        "J", "paper J", "F", "paper F",
    )  # fmt: skip
    return Table(f"Pixels to masks, J and F, {where}", columns, tuple(rows), (PAPER_NOTE,))


def _one(name: str, key: str, figures: Mapping[str, Any], where: str) -> Table:
    rows = [
        (
            level,
            row["count"],
            *(row[c][key] for c in CATEGORIES),
            row[key],
            row.get("paper_0_6b", {}).get(key),
        )
        for level, row in _levels(figures)
    ]
    return Table(
        f"Pixels to masks, mean {name}, {where}",
        ("questions", "count", *CATEGORIES, "all", "paper 0.6B"),
        tuple(rows),
        (PAPER_NOTE,),
    )


def _others(figures: Mapping[str, Any], where: str) -> Table:
    keys = ("giou", "ciou", "exact", "rationale_tokens", "median_ms")
    rows = [(n, row["count"], *(row.get(key) for key in keys)) for n, row in _levels(figures)]
    columns = ("questions", "count", "gIoU", "cIoU", "exact ids", "rationale tokens", "median ms")
    note = (
        "gIoU and cIoU by LISA's protocol, one sample a question with all its frames; ms of "
        "language alone"
    )
    return Table(f"Pixels to masks, other figures, {where}", columns, tuple(rows), (note,))


def _by_kind(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [*_levels(figures), *((c, figures["all"][c]) for c in CATEGORIES)]


def _budget(figures: Mapping[str, Any], where: str) -> Table:
    rows = [(n, row["count"], *(row.get(o) for o in OUTCOMES)) for n, row in _by_kind(figures)]
    columns = (
        "questions", "count", "exact", "perception: program fails too",
        "perception: program would do", "reasoner",
    )  # fmt: skip
    note = (
        "wrong answers are perception's if the reasoner is right on the true twin; program: the "
        "question's own, computed on the perceived twin"
    )
    return Table(f"Who was wrong, {where}", columns, tuple(rows), (note,))


def _causes(figures: Mapping[str, Any], where: str) -> Table:
    rows = [
        (n, row.get("lost"), *(row.get("causes", {}).get(why) for why in CAUSES))
        for n, row in _by_kind(figures)
    ]
    note = (
        "of the questions whose program fails too: the first of these that, put right, makes the "
        "program give the right objects"
    )
    columns = ("questions", "program fails", *CAUSES)
    return Table(f"What perception lost, {where}", columns, tuple(rows), (note,))
