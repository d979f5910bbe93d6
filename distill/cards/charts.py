"""Charts drawn from evaluation tables, and galleries drawn from worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..evaluate.report import Table
from .canvas import COLOURS, figure, tidy
from .worst import Case

__all__ = ["aims", "bars_of_groups", "blame", "by_noun", "confusion", "gallery", "levels"]


def by_noun(table: Table, columns: Sequence[str], x: str) -> Figure:
    """One row per noun, worst first by the first of ``columns``, a mark per column.

    Marks and not bars, since the axis does not begin at 0. Columns that lack and
    nouns without a figure are left out.
    """
    columns = [name for name in columns if name in table.columns]
    picks = [table.columns.index(name) for name in columns]
    held = [row for row in table.rows if np.isfinite(_number(row[picks[0]]))]
    rows = sorted(held, key=lambda row: _number(row[picks[0]]))
    made = figure(8.4, 1.0 + 0.24 * len(rows))
    axes = made.subplots()
    y = np.arange(len(rows))
    values = np.array([[_number(row[pick]) for pick in picks] for row in rows])
    axes.hlines(y, np.nanmin(values, 1), np.nanmax(values, 1), color="#BBBBBB", lw=1)
    for k, (name, mark) in enumerate(zip(columns, "oD^sv", strict=False)):
        axes.plot(values[:, k], y, mark, ms=6 if k == 0 else 5, color=COLOURS[k], label=name)
    axes.set_yticks(y, [f"{row[0]}  {_number(row[picks[0]]):.3f}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(np.floor(20 * np.nanmin(values) - 0.2) / 20, min(1.005, np.nanmax(values) + 0.04))
    tidy(axes, table.title, x, f"noun and {columns[0]}")
    made.legend(fontsize=8, frameon=False, ncols=len(picks), loc="outside lower right")
    return made


def bars_of_groups(tables: Sequence[Table], column: str) -> Figure:
    """Horizontal bars of ``column`` for every row of tables with the same rows, counts beside."""
    first = tables[0]
    names = [f"{row[0]} ({row[1]})" for row in first.rows]
    made = figure(8.0, 0.9 + 0.3 * len(names) + 0.1 * len(tables))
    axes = made.subplots()
    height = 0.8 / len(tables)
    for k, table in enumerate(tables):
        held = {str(row[0]): _number(row[table.columns.index(column)]) for row in table.rows}
        values = [held.get(str(row[0]), np.nan) for row in first.rows]
        y = np.arange(len(names)) + (k - (len(tables) - 1) / 2) * height
        axes.barh(y, values, height, color=COLOURS[k], label=table.title.split(",")[0])
        for place, value in zip(y, values, strict=True):
            if np.isfinite(value):
                axes.text(value + 0.005, place, f"{value:.3f}", va="center", fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.06)
    tidy(axes, first.title.partition(", ")[2], column, "questions (how many)")
    made.legend(fontsize=8, frameon=False, loc="outside lower right", ncols=len(tables))
    return made


def confusion(table: Table) -> Figure:
    """A confusion matrix: rows are true nouns and "extra", columns what was said or "missed".

    Shades are shares of the row; figures are counts.
    """
    columns = list(table.columns[1:])
    rows = [str(row[0]) for row in table.rows]
    counts = np.array([[_number(v) for v in row[1:]] for row in table.rows])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    made = figure(8.2, 7.0)
    axes = made.subplots()
    shades = np.where(shares > 0, np.sqrt(shares), 0.0)  # one of a hundred is visible
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1.1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        dark = shades[i, j] > 0.6
        axes.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", fontsize=7,
                  color="white" if dark else "black")  # fmt: skip
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    tidy(axes, "Objects by true noun and what the detector said", "said", "true")
    axes.grid(visible=False)
    axes.axvline(len(columns) - 1.5, color="#888888", lw=0.8)
    axes.axhline(len(rows) - 1.5, color="#888888", lw=0.8)
    return made


def gallery(cases: Sequence[Case], columns: int = 6) -> Figure:
    """Annotated crops with their captions; depth cases get their map of errors below."""
    maps = any(case.error_hw is not None for case in cases)
    lines = -(-len(cases) // columns)
    made = figure(8.8, (3.3 if maps else 1.95) * lines)
    grid = made.subplots(lines * (2 if maps else 1), columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    shade: Any = None
    for k, case in enumerate(cases):
        line, column = divmod(k, columns)
        axes = grid[line * (2 if maps else 1), column]
        axes.imshow(case.image_hw3, interpolation="nearest")
        axes.set_title(case.caption, fontsize=7)
        if case.error_hw is not None:
            shade = grid[line * 2 + 1, column].imshow(
                100 * case.error_hw, cmap="coolwarm", vmin=-30, vmax=30, interpolation="nearest"
            )
    if shade is not None:
        bar = made.colorbar(shade, ax=grid, fraction=0.02, pad=0.01, extend="both")
        bar.set_label("error of depth, %", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    return made


def levels(tables: Sequence[Table]) -> Figure:
    """Mean J and mean F by level and category, the paper's figures as marks where given."""
    made = figure(4.3 * len(tables), 3.3)
    grid = made.subplots(1, len(tables), squeeze=False)[0]
    for axes, table in zip(grid, tables, strict=True):
        kinds = [c for c in ("semantic", "spatial", "temporal", "all") if c in table.columns]
        width = 0.8 / len(kinds)
        for k, kind in enumerate(kinds):
            pick = table.columns.index(kind)
            x = np.arange(len(table.rows)) + (k - (len(kinds) - 1) / 2) * width
            heights = [_number(row[pick]) for row in table.rows]
            axes.bar(x, heights, width, color=COLOURS[k], label=kind)
        paper = [c for c in table.columns if c.startswith("paper")]
        if paper:
            marks = [_number(row[table.columns.index(paper[0])]) for row in table.rows]
            axes.plot(range(len(marks)), marks, "k_", ms=26, mew=2, label=paper[0])
        names = [f"{row[0]}\n({row[1]})" for row in table.rows]
        axes.set_xticks(range(len(names)), names)
        axes.set_ylim(0, 1)
        letter = table.title.split(",")[1].strip()
        tidy(axes, f"Pixels to masks: {letter}", "questions (how many)", letter)
    handles, names = grid[0].get_legend_handles_labels()
    made.legend(handles, names, fontsize=8, frameon=False, ncols=5, loc="outside lower center")
    return made


def aims(table: Table) -> Figure:
    """Measured figures as marks, filled where they reach their aim (a bar), baselines as crosses."""
    pick = {name: table.columns.index(name) for name in table.columns}
    names = [str(row[0]) for row in table.rows]
    made = figure(8.8, 0.9 + 0.22 * len(names))
    axes = made.subplots()
    for y, row in enumerate(table.rows):
        aim, got = _number(row[pick["aim: at least"]]), _number(row[pick["measured"]])
        reached = not np.isfinite(aim) or got >= aim
        colour = COLOURS[6] if not np.isfinite(aim) else COLOURS[2 if reached else 1]
        axes.plot(got, y, "o", ms=7, mec=colour, mfc=colour if reached else "white", mew=1.5)
        axes.plot(aim, y, "|", ms=13, mew=2, color="black")
        axes.plot(_number(row[pick["baseline"]]), y, "x", ms=5, color=COLOURS[7])
        axes.text(1.012, y, f"{got:.3f}", va="center", fontsize=7, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(right=1.0)
    tidy(axes, table.title, "score", "")
    marks = (("|", "aim", "black"), ("o", "reached", COLOURS[2]), ("x", "baseline", COLOURS[7]))
    for mark, label, colour in marks:
        axes.plot([], [], mark, color=colour, label=label, ms=7, mew=1.5)
    axes.plot([], [], "o", mec=COLOURS[1], mfc="white", mew=1.5, ms=7, label="not reached")
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="upper right", bbox_to_anchor=(1, -0.08))
    return made


def blame(table: Table) -> Figure:
    """Stacked bars per row: right answers, then whose fault the wrong ones are."""
    kinds = table.columns[2:]
    names = [f"{row[0]} ({row[1]})" for row in table.rows]
    counts = np.array([[_number(v) for v in row[2:]] for row in table.rows])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    made = figure(8.4, 1.0 + 0.3 * len(names))
    axes = made.subplots()
    left = np.zeros(len(names))
    colours = (COLOURS[2], COLOURS[1], COLOURS[4], COLOURS[3])
    for kind, part, colour in zip(kinds, shares.T, colours, strict=False):
        axes.barh(range(len(names)), part, left=left, color=colour, label=kind)
        for y, share in enumerate(part):
            if share > 0.03:
                place = left[y] + share / 2
                axes.text(place, y, f"{share:.2f}", ha="center", va="center", fontsize=7)
        left += part
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    tidy(axes, "Pixels to answers: right, or whose fault", "share of questions", "")
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="upper right", bbox_to_anchor=(1, -0.18))
    return made


def _number(cell: object) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")
