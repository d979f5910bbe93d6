"""The cards' pictures: each drawn from tables, curves or cases, written small, with its caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..evaluate.report import Table
from ..sim.shards import Shards
from ..sim.sheet import category_sheet
from . import charts
from .canvas import save, save_array
from .curves import PANELS, draw_comparison, draw_curve
from .pages import Picture
from .store import table_of, tables_from
from .world import draw_world
from .worst import Worst

__all__ = ["Album"]

_BY_NOUN: dict[str, tuple[tuple[str, ...], str, str]] = {
    "detector": (
        ("recall with label", "recall", "label"),
        "share",
        "Per noun, worst first: found at IoU .5 with the right noun, found at all, and right "
        "nouns of the found.",
    ),
    "segmenter": (
        ("from true boxes", "from detected boxes", "from one point", "ellipse in it"),
        "mean IoU",
        "Per noun, worst first: mean IoU of the mask, beside the ellipse inscribed in the true "
        "box, which looks at no pixel.",
    ),
    "depth": (
        ("within 10 %",),
        "share of object pixels",
        "Per noun, worst first: pixels whose depth is within 10 % of the true metres.",
    ),
}
_FAILURES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "detector": (
        ("missed", "name", "extra"),
        4,
        "the largest objects missed, the surest wrong names, the surest boxes that meet no "
        "object at IoU .5. Green is true, magenta the detector's.",
    ),
    "segmenter": (
        ("mask",),
        12,
        "the lowest IoU from true boxes, at most two per noun. Green is true, magenta the "
        "segmenter's.",
    ),
    "depth": (
        ("depth",),
        6,
        "the largest median errors, at most two per noun; below, where it is too far (red) or "
        "too near (blue).",
    ),
}


class Album:
    """Pictures by net ("all" for everything together, "world" for the data), in page order."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.pictures: dict[str, list[Picture]] = {net: [] for net in ("all", *PANELS, "world")}
        self.written: list[Path] = []

    @property
    def kilobytes(self) -> float:
        """What the pictures take together."""
        return sum(path.stat().st_size for path in self.written) / 1000

    def curve(self, net: str, rows: Sequence[dict[str, float]]) -> None:
        """A learning curve."""
        caption = (
            "Scores on held-out worlds while it learnt, against what it had seen. The last "
            "point of a run may be measured on more worlds; baselines then move with it. "
            "Where a line falls back, training was started again at a higher rate or with other "
            "data. The legend names last values."
        )
        self._add(net, "curve", "Learning curve", caption, draw_curve(net, rows))

    def network(self, net: str, given: Sequence[Table], own: Sequence[Table]) -> None:
        """Scores per noun; of the detector its confusion, always on own stills: there are more."""
        columns, x, caption = _BY_NOUN[net]
        table = table_of([*given, *own], f"{net.capitalize()} by category")
        drawn = charts.by_noun(table, columns, x) if table else None
        caption = f"{caption} {_source(table)} {_heights(own) if net == 'depth' else ''}".strip()
        self._add(net, "categories", "By category", caption, drawn)
        if net != "detector":
            return
        table = table_of([*own, *given], "Detector: confusion")
        caption = (
            "Rows are true objects, columns what the detector called them. The last column are "
            "objects that no box met at IoU .5, the last row boxes that met no object; an object "
            f"with a loose box is in both. {_source(table)}"
        )
        drawn = charts.confusion(table) if table else None
        self._add(net, "confusion", "Confusion matrix", caption, drawn)

    def failures(self, net: str, worst: Worst | None, stills: int) -> None:
        """A gallery; with no cases the one that is there stays."""
        kinds, count, caption = _FAILURES[net]
        caption = f"Of {stills} stills: {caption}"
        if worst is None:
            self._keep(net, f"{net}_failures", "Failures", caption)
            return
        cases = [case for kind in kinds for case in worst.take(kind, count)]
        self._add(net, "failures", "Failures", caption, charts.gallery(cases) if cases else None)

    def language(self, given: Sequence[Table], own: Sequence[Table]) -> None:
        """Exact ids by level and wording; of tables with one name the first is drawn."""
        named: dict[str, Table] = {}
        for table in (*given, *own):
            if table.title.startswith("Reasoner on") and table.rows:
                named.setdefault(table.title.split(",")[0], table)
        order = list(named.values())
        drawn = charts.bars_of_groups(order, "exact ids") if order else None
        caption = (
            "Exactly the true ids named, by level, category and wording; noisy twins miss, double, "
            f"mislabel and shift objects as perception does. {_source(order[0] if order else None)}"
        )
        self._add("reasoner", "levels", "By level", caption, drawn)

    def together(self, given: Sequence[Table]) -> None:
        """Aims, pixels to masks, and whose fault wrong answers are."""
        table = table_of(given, "Aims")
        caption = (
            "What the embedded set is trained to reach, and what was measured. Aims of J and F "
            "are FastReasonSeg-0.6B's figures on JiTBench, another benchmark with other videos."
        )
        drawn = charts.aims(table) if table else None
        self._add("all", "aims", "Aims", f"{caption} {_source(table)}", drawn)
        masks = [table_of(given, f"Pixels to masks, mean {letter}") for letter in "JF"]
        both = [t for t in masks if t is not None]
        caption = (
            "Pixels in, masks out: every network and the reasoner together; the black marks are "
            f"FastReasonSeg-0.6B on JiTBench. {_source(both[0] if both else None)}"
        )
        drawn = charts.levels(both) if both else None
        self._add("all", "end_to_end", "End to end", caption, drawn)
        table = table_of(given, "Who was wrong")
        caption = (
            "A wrong answer is perception's if the reasoner is right on the true twin. The "
            "program is the question's own, computed on what perception saw: where it fails too, "
            f"no reasoner could have answered. {_source(table)}"
        )
        drawn = charts.blame(table) if table else None
        self._add("all", "blame", "Who was wrong", caption, drawn)

    def seeds(self, compared: Mapping[str, Mapping[str, Any]] | None) -> None:
        """Runs that differ in their seed."""
        caption = (
            "The same command with several seeds at equal visits: mean (thick), every run (thin), "
            "least to most (shade); ± is the standard deviation at the last visits all reached."
        )
        drawn = draw_comparison(compared) if compared else None
        self._add("all", "seeds", "Seeds", caption, drawn)

    def world(self, stills: Shards | None, kept: Mapping[str, Any] | None) -> None:
        """What is learnt from: crops of stills, and figures of ``distill statistics``."""
        title = "The sixteen categories"
        caption = (
            "What a 256-pixel picture holds of each category: windows of 72 pixels, not enlarged."
        )
        if stills is not None:
            sheet = category_sheet(stills, "cell", 5, 72, enlarge=1, blocks=2)
            save_array(sheet, self.out / "world_categories.png")
        self._keep("world", "world_categories", title, caption)
        drawn = draw_world(tables_from(kept["tables"])) if kept else None
        caption = (
            "Left: objects per category. Middle: longest side of the visible box, 5th to 95th "
            "percentile and median. Right: how much of an object shows."
        )
        self._add("world", "figures", "Training pictures in figures", caption, drawn)

    def _add(self, net: str, name: str, title: str, caption: str, drawn: Figure | None) -> None:
        """Write a picture and list it; remove an earlier one that cannot be drawn any more."""
        whole = name if net == "all" else f"{net}_{name}"
        path = self.out / f"{whole}.png"
        if drawn is None:
            path.unlink(missing_ok=True)
            return
        save(drawn, path)
        self._keep(net, whole, title, caption)

    def _keep(self, net: str, whole: str, title: str, caption: str) -> None:
        """List a picture that is there."""
        path = self.out / f"{whole}.png"
        if path.is_file():
            self.pictures[net].append(Picture(path.name, title, caption))
            self.written.append(path)


def _heights(own: Sequence[Table]) -> str:
    """How depth does on what rests and on what hangs in the air, in words."""
    table = table_of(own, "Depth by height")
    rows = table.rows if table else ()
    parts = [f"{row[2]:.3f} for {row[1]} objects {row[0]}" for row in rows]
    return f"On own stills: {', '.join(parts)}." if parts else ""


def _source(table: Table | None) -> str:
    return f"Measured on: {table.title.partition(', ')[2]}." if table else ""
