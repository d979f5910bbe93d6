"""Measured figures beside what the embedded set is trained to reach, in one short table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .report import Table

__all__ = ["AIMS", "NOISE_LOSS", "aims_table"]

NOISE_LOSS = 0.05
"""How much less than on true twins the reasoner may get right on noisy ones."""

Path = tuple[str, ...]

AIMS: tuple[tuple[str, float | None, Path, Path | None], ...] = (
    (
        "detector: recall at IoU .5 with the right label",
        0.95,
        ("perception", "detector", "recall_labelled"),
        None,
    ),
    (
        "detector: unseen colour and noun, both right, of all",
        0.90,
        ("perception", "detector", "unseen_pairs", "recall_coloured"),
        None,
    ),
    (
        "segmenter: mean IoU from true boxes",
        0.90,
        ("perception", "segmenter", "box"),
        ("perception", "segmenter", "ellipse"),
    ),
    (
        "segmenter: from detected boxes",
        0.87,
        ("perception", "segmenter", "detected"),
        ("perception", "segmenter", "detected_ellipse"),
    ),
    (
        "segmenter: from one point",
        0.80,
        ("perception", "segmenter", "point"),
        ("perception", "segmenter", "disc"),
    ),
    (
        "segmenter: true boxes, odd shapes",
        None,
        ("perception", "segmenter", "odd", "box"),
        ("perception", "segmenter", "odd", "ellipse"),
    ),
    (
        "memory: mean J over 60 frames, prompted once",
        0.85,
        ("memory", "all", "j"),
        ("memory", "all", "j_first_mask_kept"),
    ),
    (
        "memory: objects that move",
        None,
        ("memory", "moving", "j"),
        ("memory", "moving", "j_first_mask_kept"),
    ),
    ("depth: object pixels within 10 %", 0.92, ("perception", "depth", "within_10"), None),
    (
        "depth: order of two objects (2 cm apart) right",
        0.95,
        ("perception", "depth", "order", "2 cm", "right"),
        None,
    ),
    ("reasoner, true twin: all", 0.95, ("reasoner", "groups", "all", "exact"), None),
    (
        "reasoner: tokens of rationale (aim: at most)",
        25.0,
        ("reasoner", "groups", "all", "rationale_tokens"),
        None,
    ),
    (
        "reasoner, true twin: seen wordings",
        0.97,
        ("reasoner", "groups", "seen wordings", "exact"),
        None,
    ),
    (
        "reasoner, true twin: unseen wordings",
        0.85,
        ("reasoner", "groups", "unseen wordings", "exact"),
        None,
    ),
    (
        "reasoner, true twin: unseen compositions",
        0.85,
        ("reasoner", "groups", "unseen compositions", "exact"),
        None,
    ),
)
"""Name, least value aimed at, where the figure is, and where its baseline is."""


def aims_table(figures: Mapping[str, Any], where: str, bounds: bool = True) -> Table:
    """The figures that were measured, beside aim and baseline; ``bounds`` False shows no aim."""
    rows: list[tuple[Any, ...]] = []
    for name, aim, path, base in AIMS:
        value = _at(figures, path)
        if value is not None:
            rows.append((name, aim, value, None if base is None else _at(figures, base)))
    rows += [_noisy(figures)] if "noisy" in figures and "reasoner" in figures else []
    for level, row in (figures.get("end_to_end") or {}).items():
        paper = row.get("paper_0_6b", {})
        if level == "all" or row["j"] is None:
            continue
        for key in ("j", "f"):
            name = f"pixels to masks, level {level}: mean {key.upper()}"
            rows.append((name, paper.get(key), row[key], None))
    if not bounds:
        rows = [(name, None, value, base) for name, _, value, base in rows]
    notes = (
        "baselines: the ellipse in the box, a disc of mean size around the point, the first mask "
        "kept, the true twin; aims of J and F are FastReasonSeg-0.6B's figures on JiTBench, "
        "another benchmark",
    )
    columns = ("figure", "aim: at least", "measured", "baseline")
    return Table(f"Aims, {where}", columns, tuple(rows), notes)


def _noisy(figures: Mapping[str, Any]) -> tuple[Any, ...]:
    path = ("groups", "all", "exact")
    clean, noisy = _at(figures["reasoner"], path), _at(figures["noisy"], path)
    aim = None if clean is None else clean - NOISE_LOSS
    return ("reasoner, noisy twins: all", aim, noisy, clean)


def _at(figures: Mapping[str, Any], path: Path) -> Any:
    value: Any = figures
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
