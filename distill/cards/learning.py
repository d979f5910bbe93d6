"""Pictures of a distillation: how GRPO learns over steps and seeds, and what the ablation says.

Not covered: curves of the supervised embedded networks (:mod:`.curves`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...twin.errors import InputError
from .canvas import COLOURS, figure, tidy
from .curves import Row, read_curve

__all__ = ["draw_ablation", "draw_learning", "read_runs"]

_PANELS = (
    ("reward", "Reward", "mean of the step's completions"),
    ("val/exact", "Validation: exact ids", "share of questions"),
    ("tokens/rationale", "Tokens of the rationale", "mean of the step's completions"),
)
_SMOOTH = 9  # steps: single steps have too few questions for a line that can be read


def read_runs(folders: Sequence[Path]) -> list[list[Row]]:
    """The curves of a stage's folders (or work folders with ``grpo/``), one per seed.

    Raises:
        InputError: if a folder has no curve.
    """
    found = []
    for folder in folders:
        inner = folder / "grpo" / "curve.jsonl"
        found.append(read_curve(inner if inner.is_file() else folder / "curve.jsonl"))
    return found


def draw_learning(runs: Mapping[str, Sequence[Sequence[Row]]], smooth: int = _SMOOTH) -> Figure:
    """Reward, validation and tokens over steps: mean of seeds with the range from least to most.

    Args:
        runs: by name (a colour each) the curves of its seeds.
        smooth: width, in steps, of the running mean over what is logged at every step;
            validation scores are drawn as they are.

    Raises:
        InputError: if no curve has any of the panels' values.
    """
    made = figure(11.4, 3.7)
    grid = made.subplots(1, len(_PANELS))
    drawn = 0
    for axes, (key, title, unit) in zip(grid, _PANELS, strict=True):
        for (name, curves), colour in zip(runs.items(), COLOURS, strict=False):
            steps, values = _together(curves, key)
            if not steps.size:
                continue
            if not key.startswith("val/"):
                values = np.stack([_running(one, smooth) for one in values])
            label = f"{name} ({len(values)} seeds)" if len(values) > 1 else name
            mark = "o" if key.startswith("val/") else None
            axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
            axes.plot(steps, values.mean(0), color=colour, lw=1.8, marker=mark, ms=3, label=label)
            drawn += 1
        tidy(axes, title, "GRPO step", unit)
    if not drawn:
        raise InputError("expected curves with reward, val/exact or tokens/rationale, got none")
    handles, names = next(a for a in grid if a.lines).get_legend_handles_labels()
    made.legend(handles, names, fontsize=8, frameon=False, ncols=4, loc="outside lower center")
    return made


def draw_ablation(
    names: Sequence[str],
    exact: Sequence[Sequence[float]],
    ious: Sequence[Sequence[float]],
    paper: Sequence[float | None],
    title: str,
) -> Figure:
    """One line per configuration: every seed as a dot, the mean as a bar, beside the paper's J.

    Args:
        names: configurations, from above.
        exact: share of exact ids, one value per seed.
        ious: J, one value per seed.
        paper: the paper's J, None where it has none.
        title: what was asked.
    """
    made = figure(9.4, 1.3 + 0.36 * len(names))
    panels = made.subplots(1, 2, sharey=True)
    for axes, values, label in zip(panels, (exact, ious), ("exact ids", "J"), strict=True):
        for y, seeds in enumerate(values):
            axes.plot(seeds, [y] * len(seeds), "o", ms=4, color=COLOURS[0], alpha=0.5)
            axes.plot(np.mean(seeds), y, "|", ms=15, mew=2.5, color=COLOURS[0])
        if values:
            axes.axvline(np.mean(values[0]), color=COLOURS[7], lw=0.8, ls=":")
        tidy(axes, title if label == "exact ids" else "", label, "")
    for y, mark in enumerate(paper):
        if mark is not None:
            panels[1].plot(mark, y, "x", ms=6, color=COLOURS[1])
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    panels[1].plot([], [], "o", color=COLOURS[0], ms=4, label="one seed (bar: mean)")
    panels[1].plot([], [], "x", color=COLOURS[1], label="paper: 1.7B on JiTBench")
    made.legend(fontsize=7, frameon=False, ncols=2, loc="outside lower center")
    return made


def _together(curves: Sequence[Sequence[Row]], key: str) -> tuple[Any, Any]:
    """Steps (P,) that every curve has a value at, and the values (seeds, P)."""
    held = [
        {row["step"]: row[key] for row in rows if key in row and "step" in row} for rows in curves
    ]
    held = [one for one in held if one]
    if not held:
        return np.array([]), np.zeros((0, 0))
    steps = sorted(set.intersection(*(set(one) for one in held)))
    return np.array(steps), np.array([[one[step] for step in steps] for one in held])


def _running(values: Any, width: int) -> Any:
    """Mean over the neighbours within ``width`` // 2 places; shorter at both ends."""
    half = max(0, width // 2)
    ends = np.arange(len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low, high = np.maximum(ends - half, 0), np.minimum(ends + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
