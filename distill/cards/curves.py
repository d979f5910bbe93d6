"""Learning curves: read, kept small for the repository, drawn, and compared over seeds.

A curve is a file of JSON lines, one per evaluation, as the training loops write it
(``curve.jsonl``). Its compact form holds only what is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...twin.errors import InputError
from .canvas import COLOURS, figure, tidy

__all__ = [
    "HEADLINES",
    "PANELS",
    "Panel",
    "compact",
    "compare",
    "draw_comparison",
    "draw_curve",
    "read_curve",
]

Row = dict[str, float]
_MOST_ROWS = 200  # of a compact curve: a line of a picture has no more points


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: what is on x and which columns are lines (dashed: baselines)."""

    title: str
    x: str
    x_label: str
    lines: Mapping[str, str]
    y_label: str = "score on validation worlds"
    dashed: tuple[str, ...] = ()


PANELS: dict[str, tuple[Panel, ...]] = {
    "detector": (
        Panel(
            "Detector",
            "visits",
            "pictures seen in training (repeats counted)",
            {
                "recall": "recall at IoU .5",
                "recall_small": "recall, longest side under 36 px",
                "color_noun": "colour and noun right, of the found",
                "unseen": "the same, pairs never trained on",
                "precision": "precision",
            },
        ),
    ),
    "segmenter": (
        Panel(
            "Masks of single pictures",
            "visits",
            "prompts seen in training",
            {
                "box": "from true boxes",
                "point": "from one inner point",
                "odd": "odd shapes, from boxes",
                "ellipse": "baseline: ellipse in the box",
                "odd_ellipse": "baseline, odd shapes",
            },
            "mean IoU on validation worlds",
            ("ellipse", "odd_ellipse"),
        ),
        Panel(
            "Memory: first frame prompted, 8 frames",
            "step",
            "training steps on clips",
            {
                "tracked": "later frames",
                "tracked_moving": "objects that move",
                "copied": "baseline: first mask kept",
                "copied_moving": "baseline, objects that move",
            },
            "mean IoU on validation clips",
            ("copied", "copied_moving"),
        ),
    ),
    "depth": (
        Panel(
            "Depth",
            "visits",
            "pictures seen in training (repeats counted)",
            {
                "objects_10": "object pixels within 10 %",
                "objects_median_10": "objects whose median is within 10 %",
                "objects_25": "object pixels within 25 %",
                "all_10": "all pixels within 10 %",
            },
            "share on validation worlds",
        ),
    ),
    "reasoner": (
        Panel(
            "Reasoner: exact ids",
            "visits",
            "questions seen in training",
            {
                "exact_L1": "level 1",
                "exact_L2": "level 2",
                "exact_L3": "level 3",
                "exact_L4": "level 4",
                "exact_seen": "wordings of training",
                "exact_wording": "wordings never seen",
                "exact_composition": "step combinations never seen",
            },
            "share of validation questions",
        ),
        Panel(
            "Loss per answer token",
            "visits",
            "questions seen in training",
            {"loss": "training loss"},
            "cross-entropy, nats",
        ),
    ),
}
HEADLINES: dict[str, tuple[str, ...]] = {
    "detector": ("recall", "color_noun"),
    "segmenter": ("box", "point"),
    "depth": ("objects_10",),
    "reasoner": ("exact_seen", "exact_wording"),
}
"""What is compared over seeds."""


def read_curve(path: str | Path) -> list[Row]:
    """Read a curve; a half-written last line is left out.

    Raises:
        InputError: if the file cannot be read or holds no row of numbers.
    """
    rows: list[Row] = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"expected a curve.jsonl of a training run at {path}, got: {error}; "
            "train first (edgetwin distill embedded)"
        ) from error
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append({k: v for k, v in row.items() if isinstance(v, int | float)})
    if not rows:
        raise InputError(f"expected lines of JSON with scores in {path}, got none")
    return rows


def compact(net: str, rows: Sequence[Row]) -> list[Row]:
    """Return what the net's panels draw, rounded to 4 digits, at most 200 rows."""
    keys = {k for panel in PANELS[net] for k in (panel.x, *panel.lines)} | {"seconds"}
    kept = [{k: _short(v) for k, v in row.items() if k in keys} for row in rows]
    if len(kept) > _MOST_ROWS:
        picks = sorted({int(i) for i in np.linspace(0, len(kept) - 1, _MOST_ROWS)})
        kept = [kept[i] for i in picks]
    return kept


def draw_curve(net: str, rows: Sequence[Row]) -> Figure | None:
    """Draw a network's panels side by side; None where no panel has two points."""
    panels = [panel for panel in PANELS[net] if _lines(panel, rows)]
    if not panels:
        return None
    made = figure(4.6 * len(panels) + (3.4 if len(panels) == 1 else 0.4), 4.3)
    grid = made.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel, _lines(panel, rows))
    return made


def compare(net: str, curves: Sequence[Sequence[Row]], points: int = 25) -> dict[str, Any]:
    """Put several runs of a net on one grid of visits.

    Returns {"visits": (P,), key: (runs, P)} for the headline figures that every run has,
    interpolated between the latest first and the earliest last visit of the runs. Where these
    do not overlap, because runs were too short for more than one evaluation, P is 1 and holds
    the last ones. Without any headline figure the training loss is taken; empty without that.
    """
    for keys in (HEADLINES[net], ("loss",)):
        held = {key: [_points(rows, "visits", key) for rows in curves] for key in keys}
        series = {key: runs for key, runs in held.items() if all(x for x, _ in runs)}
        if series:
            return _on_a_grid(series, points)
    return {}


def _on_a_grid(
    series: Mapping[str, list[tuple[list[float], list[float]]]], points: int
) -> dict[str, Any]:
    every = [x for runs in series.values() for x, _ in runs]
    low, high = max(x[0] for x in every), min(x[-1] for x in every)
    grid = np.linspace(low, high, points) if high > low else np.array([high])
    found: dict[str, Any] = {"visits": [round(float(v)) for v in grid]}
    for key, runs in series.items():
        if len(grid) == 1:
            found[key] = [[_short(y[-1])] for _, y in runs]
        else:
            found[key] = [[_short(float(v)) for v in np.interp(grid, x, y)] for x, y in runs]
    return found


def draw_comparison(compared: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw mean, spread (least to most) and every run, one panel per net.

    Raises:
        InputError: if nothing can be compared.
    """
    held = {net: found for net, found in compared.items() if found}
    if not held:
        raise InputError(
            "expected at least two runs with curves of the same network, got none: train "
            "longer or give other folders"
        )
    names = {k: v for panels in PANELS.values() for p in panels for k, v in p.lines.items()}
    columns = min(2, len(held))
    lines = -(-len(held) // columns)
    made = figure(8.6 if columns == 2 else 6.6, 3.6 * lines)
    grid = made.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(held) :]:
        axes.set_visible(False)
    for axes, (net, found) in zip(grid, held.items(), strict=False):
        _spread(axes, net, found, names)
    return made


def _spread(axes: Any, net: str, found: Mapping[str, Any], names: Mapping[str, str]) -> None:
    visits = np.array(found["visits"])
    keys = [key for key in found if key != "visits"]
    mark = "o" if len(visits) == 1 else None
    for key, colour in zip(keys, COLOURS, strict=False):
        runs = np.array(found[key])
        axes.fill_between(visits, runs.min(0), runs.max(0), color=colour, alpha=0.18, lw=0)
        axes.plot(visits, runs.T, color=colour, lw=0.6, alpha=0.7, marker=mark, ms=4)
        text = f"{names[key]}: {runs[:, -1].mean():.3f} ± {runs[:, -1].std(ddof=1):.3f}"
        axes.plot(visits, runs.mean(0), color=colour, lw=2, label=text, marker=mark)
    panel = next(p for p in PANELS[net] if keys[0] in p.lines)
    tidy(axes, f"{net}, {len(found[keys[0]])} seeds", panel.x_label, panel.y_label)
    axes.xaxis.set_major_formatter(_thousands)
    _legend(axes, 1)


def _draw(axes: Any, panel: Panel, lines: Mapping[str, tuple[list[float], list[float]]]) -> None:
    for (key, (x, y)), colour in zip(lines.items(), COLOURS, strict=False):
        style: dict[str, Any] = {"ls": "--", "lw": 1.2} if key in panel.dashed else {"lw": 1.6}
        label = f"{panel.lines[key]}: {y[-1]:.3f}"
        axes.plot(x, y, color=colour, marker=".", ms=3, label=label, **style)
    tidy(axes, panel.title, panel.x_label, panel.y_label)
    axes.xaxis.set_major_formatter(_thousands)
    if set(lines) == {"loss"}:
        axes.set_yscale("log")
    else:
        axes.set_ylim(top=1.02)
    _legend(axes, 2)


def _legend(axes: Any, columns: int) -> None:
    """Below the axes, where no line is."""
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.17)}
    axes.legend(fontsize=7, frameon=False, ncols=columns, **place)


def _lines(panel: Panel, rows: Sequence[Row]) -> dict[str, tuple[list[float], list[float]]]:
    held = {key: _points(rows, panel.x, key) for key in panel.lines}
    return {key: (x, y) for key, (x, y) in held.items() if len(x) >= 2}


def _points(rows: Sequence[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    """A line's points in the order of x; of several at one place the last counts."""
    found = {row[x]: row[y] for row in rows if x in row and y in row}
    places = sorted(found)
    return places, [found[place] for place in places]


def _short(value: float) -> float:
    return value if isinstance(value, int) else round(float(value), 4)


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
