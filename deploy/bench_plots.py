"""Pictures of what the bench found; needs matplotlib (``[viz]`` extra)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..twin.errors import MissingExtraError, OutputError
from .bench_compare import Comparison
from .bench_report import BenchReport
from .bench_sweep import Sweep

__all__ = ["plot_comparison", "plot_report", "plot_sweep"]

_INK = "#333333"
_SHADES = ("#1f5582", "#d9822b", "#4a8f5d", "#8a5a9e", "#b8433f", "#7a7a7a", "#3aa0a8", "#c2a83e")


def plot_report(report: BenchReport, path: Path) -> Path:
    """Draw every stage's p50 and p95 and the histogram of frames; returns the PNG.

    Raises:
        MissingExtraError: without matplotlib.
        OutputError: if the file cannot be written.
    """
    document = report.document["perception"]
    stages = {k: v for k, v in document["stage_ms"].items() if k != "total"}
    with _figure(path, 2) as (left, right):
        names = list(stages)
        for offset, share, shade in ((-0.2, "p50", _SHADES[0]), (0.2, "p95", _SHADES[1])):
            places = [k + offset for k in range(len(names))]
            left.barh(places, [stages[n][share] for n in names], 0.38, color=shade, label=share)
        left.set_yticks(range(len(names)), names)
        left.invert_yaxis()
        left.set_xlabel("ms per run")
        left.legend(frameon=False)
        for values, label, shade in (
            (report.frame_ms, "frame by frame", _SHADES[0]),
            (report.stream_ms, "networks ahead", _SHADES[2]),
        ):
            if values:
                right.hist(values, bins=40, alpha=0.6, color=shade, label=label)
        right.set_xlabel("ms per frame")
        right.set_ylabel("frames")
        right.legend(frameon=False)
        left.figure.suptitle(report.head().rstrip(":"), fontsize=9, color=_INK)
    return path


def plot_sweep(sweep: Sweep, path: Path) -> Path:
    """Draw milliseconds per frame by stage, stacked, over the sweep's points; returns the PNG.

    Raises:
        MissingExtraError, OutputError: as :func:`plot_report`.
    """
    stages = list(dict.fromkeys(s for p in sweep.points for s in p.stage_ms))
    places = range(len(sweep.points))
    with _figure(path, 1) as (axes,):
        below = [0.0] * len(sweep.points)
        for k, stage in enumerate(stages):
            heights = [p.stage_ms.get(stage, 0.0) for p in sweep.points]
            shade = _SHADES[k % len(_SHADES)]
            axes.bar(places, heights, 0.7, below, color=shade, label=stage)
            below = [a + b for a, b in zip(below, heights, strict=True)]
        axes.set_xticks(places, [p.label for p in sweep.points])
        axes.set_xlabel(sweep.axis)
        axes.set_ylabel("ms per frame")
        axes.legend(frameon=False, fontsize=8)
        axes.set_title(f"{sweep.models} set", fontsize=10, color=_INK)
    return path


def plot_comparison(comparison: Comparison, path: Path) -> Path:
    """Draw the rows that are milliseconds, one bar per column; returns the PNG.

    Raises:
        MissingExtraError, OutputError: as :func:`plot_report`.
    """
    names = list(comparison.columns)
    rows = [
        row
        for row in comparison.columns[names[0]]
        if ", ms" in row and all(isinstance(c.get(row), float) for c in comparison.columns.values())
    ]
    width = 0.8 / len(names)
    with _figure(path, 1) as (axes,):
        for k, name in enumerate(names):
            places = [row + (k - (len(names) - 1) / 2) * width for row in range(len(rows))]
            values = [float(comparison.columns[name][row] or 0) for row in rows]
            axes.barh(places, values, width * 0.9, color=_SHADES[k % len(_SHADES)], label=name)
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.set_xlabel("ms")
        axes.legend(frameon=False)
        axes.set_title(comparison.head.rstrip(":"), fontsize=9, color=_INK)
    return path


@contextmanager
def _figure(path: Path, count: int) -> Iterator[tuple[Any, ...]]:
    """Give ``count`` axes side by side; the picture is written at the end."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "viz") from error
    figure = Figure(figsize=(6.0 * count + 1, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, count, k + 1) for k in range(count)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    yield tuple(axes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; choose another folder") from error
