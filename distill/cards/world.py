"""The training world in one chart, from the tables of :mod:`..sim.statistics`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..evaluate.report import Table
from .canvas import COLOURS, figure, tidy
from .store import table_of

__all__ = ["draw_world"]


def draw_world(tables: Sequence[Table]) -> Figure | None:
    """Class balance, sizes and occlusion side by side; None without these tables."""
    nouns, seen = table_of(tables, "By category"), table_of(tables, "Visible share")
    if nouns is None or seen is None:
        return None
    made = figure(9.2, 4.0)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.1, 1.3, 1))
    names = [str(row[0]) for row in nouns.rows]
    y = np.arange(len(names))

    def column(name: str) -> list[float]:
        pick = nouns.columns.index(name)
        cells = [row[pick] for row in nouns.rows]
        return [float(cell) if isinstance(cell, int | float) else np.nan for cell in cells]

    left.barh(y, column("objects"), color=COLOURS[0])
    left.set_yticks(y, names)
    left.invert_yaxis()
    tidy(left, "Class balance", "objects", "")
    low, centre, high = column("side px 5 %"), column("median"), column("95 %")
    middle.hlines(y, low, high, color=COLOURS[0], lw=3, alpha=0.4)
    middle.plot(centre, y, "o", ms=4, color=COLOURS[0])
    middle.axvline(36, color=COLOURS[1], lw=1, ls="--")
    middle.text(37, -0.9, "small: under 36 px", fontsize=7, color=COLOURS[1], va="center")
    middle.set_yticks(y, [""] * len(names))
    middle.set_ylim(len(names) - 0.5, -1.4)
    left.set_ylim(len(names) - 0.5, -1.4)
    tidy(middle, "Longest side", "pixels of 256", "")
    shares = [float(row[2]) for row in seen.rows if isinstance(row[2], int | float)]
    right.bar(range(len(shares)), shares, color=COLOURS[2])
    for place, share in enumerate(shares):
        right.text(place, share + 0.01, f"{share:.3f}", ha="center", fontsize=7)
    right.set_xticks(
        range(len(shares)), [str(row[0]) for row in seen.rows], rotation=40, ha="right"
    )
    right.set_ylim(0, 1.05)
    tidy(right, "Visible share of an object", "share of what it shows alone", "share of objects")
    return made
