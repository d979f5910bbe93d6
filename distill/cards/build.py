"""All cards at once: measure the shipped networks, draw every picture, write the pages.

:func:`make_cards` is the command behind ``edgetwin distill cards``. It replaces every picture
it knows in the cards' folder, so nothing of earlier weights stays; curves, seeds and the
world's figures are kept beside them as JSON and drawn again where no new ones are given.

Not covered: the sets of the model hub, the wild tier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ...perception.bundle import embedded_dir, load_bundle, sha256_of
from ...reasoner.bundle import EMBEDDED
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.rollout import Reasoner
from ...twin.errors import InputError
from ..evaluate.reasoner import reasoner_tables
from ..evaluate.report import Table
from ..sim.shards import Shards, render_images
from ..sim.sheet import category_sheet, pictures
from . import charts
from .canvas import save, save_array
from .curves import PANELS, compare, draw_comparison, draw_curve, read_curve
from .measure import Measured, measure
from .pages import Picture, put_section, rehash, section, wrong_table
from .questions import ask, wrong_answers
from .store import Store, read_tables, table_of, tables_from
from .world import draw_world

__all__ = ["GRAPHS", "Request", "make_cards"]

GRAPHS = {
    "detector": "detector_image.onnx",
    "segmenter": "segmenter_encoder.onnx",
    "depth": "depth.onnx",
    "reasoner": "model.onnx",
}
"""The file by whose hash a card knows its weights."""
_VAL_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What to make cards from.

    ``out`` is the cards' folder; ``data`` holds rendered pictures (``cell/val``), ``work``
    training runs with curves (``<net>/curve.jsonl``); ``curves`` names other files by net;
    ``tables`` a JSON file of ``edgetwin eval twinbench``, whose tables are drawn in place of own
    ones; ``seeds`` folders of runs to compare. ``stills`` and ``worlds`` bound what is measured.
    """

    out: Path = Path("docs/cards")
    data: Path = Path("runs/data")
    work: Path = Path("runs/embedded")
    cache: Path = Path("runs/twinbench")
    curves: Mapping[str, Path] = field(default_factory=dict)
    tables: Path | None = None
    seeds: Sequence[Path] = ()
    stills: int = 600
    worlds: int = 40
    perception: Path = field(default_factory=embedded_dir)
    reasoner: Path = EMBEDDED


def make_cards(request: Request, tell: Callable[[str], None] = print) -> list[Path]:
    """Draw everything and write the pages; returns the files written.

    Raises:
        InputError: for unknown nets, files that are no curves or tables, or cards that lack.
        ModelError: if the networks cannot be loaded.
        MissingExtraError: if validation pictures must be rendered and MuJoCo is missing.
    """
    unknown = set(request.curves) - set(PANELS)
    if unknown or request.stills < 1 or request.worlds < 1:
        raise InputError(
            f"expected curves of {', '.join(PANELS)} and at least one still and world, got "
            f"{sorted(unknown)}, {request.stills} and {request.worlds}"
        )
    return _Book(request, tell).make()


class _Book:
    """One call: pictures by net, and what they are drawn from."""

    def __init__(self, request: Request, tell: Callable[[str], None]) -> None:
        self.request, self.tell = request, tell
        self.store = Store(request.out / "data")
        self.pictures: dict[str, list[Picture]] = {net: [] for net in (*PANELS, "world", "all")}
        self.written: list[Path] = []
        self.bytes = 0

    def make(self) -> list[Path]:
        stills = self._stills()
        count = min(self.request.stills, len(stills))
        self.tell(f"networks on {count} validation pictures")
        measured = measure(load_bundle(self.request.perception, device="cpu"), stills, count)
        self.tell(f"reasoner on {self.request.worlds} validation worlds")
        reasoner = Reasoner(OrtGenAiModel(str(self.request.reasoner)))
        asked = ask(reasoner, self.request.worlds, self.request.cache)
        own = measured.tables(f"{measured.pictures} validation stills, cell tier")
        own += reasoner_tables([one for one, _ in asked], "TwinBench val, cell tier")
        given = read_tables(self.request.tables) if self.request.tables else []
        wrong = wrong_answers(asked)
        self.store.put(
            "measured",
            {
                "weights": self._weights(),
                "tables": [asdict(table) for table in (*given, *own)],
                "wrong": wrong,
                "asked": len(asked),
            },
        )
        self._curves()
        self._networks([*given, *own], measured)
        self._language([*given, *own])
        self._world(stills)
        self._seeds()
        self._pages(wrong_table(wrong, len(asked), level=3))
        self.tell(
            f"{len(self.written)} files, pictures {self.bytes / 1000:.0f} kB, in {self.request.out}"
        )
        return self.written

    def _stills(self) -> Shards:
        """The rendered validation stills; rendered now if they are not there."""
        folder = self.request.data / "cell" / "val"
        if not (folder / "spec.json").is_file():
            self.tell(f"rendering {self.request.stills} validation pictures into {folder}")
            render_images(folder, range(_VAL_SEED, _VAL_SEED + self.request.stills))
        with pictures(folder) as shards:
            return shards

    def _weights(self) -> dict[str, str]:
        r = self.request
        folders = {net: r.reasoner if net == "reasoner" else r.perception for net in GRAPHS}
        return {net: sha256_of(folders[net] / name) for net, name in GRAPHS.items()}

    def _add(self, net: str, name: str, title: str, caption: str, drawn: Figure | None) -> None:
        """Write a picture and list it; remove an earlier one that cannot be drawn any more."""
        path = self.request.out / f"{name}.png"
        if drawn is None:
            path.unlink(missing_ok=True)
            return
        self.bytes += save(drawn, path)
        self.pictures[net].append(Picture(path.name, title, caption))
        self.written.append(path)

    def _curves(self) -> None:
        for net in PANELS:
            source = self.request.curves.get(net)
            default = self.request.work / net / "curve.jsonl"
            if source is None and default.is_file():
                source = default
            rows = self.store.curve(net, source)
            caption = (
                "Scores on held-out worlds while it learnt, against what it had seen. The last "
                "point of a run may be measured on more worlds; baselines then move with it. "
                "Where a line falls back, training was started again at a full rate."
            )
            drawn = draw_curve(net, rows) if rows else None
            self._add(net, f"{net}_curve", "Learning curve", caption, drawn)

    def _networks(self, tables: Sequence[Table], measured: Measured) -> None:
        """Charts per noun, confusion and galleries of the three networks that see."""
        nouns: dict[str, tuple[tuple[str, ...], str, str]] = {
            "detector": (
                ("recall with label", "recall", "label"),
                "share",
                "Per noun, worst first: found at IoU .5 with the right noun, found at all, and right nouns of the found.",
            ),
            "segmenter": (
                ("from true boxes", "from detected boxes", "from one point", "ellipse in it"),
                "mean IoU",
                "Per noun, worst first: mean IoU of the mask, beside the ellipse inscribed in the true box, which looks at no pixel.",
            ),
            "depth": (
                ("within 10 %",),
                "share of object pixels",
                "Per noun, worst first: pixels whose depth is within 10 % of the true metres.",
            ),
        }
        for net, (columns, y, caption) in nouns.items():
            table = table_of(tables, f"{net.capitalize()} by category")
            drawn = charts.by_noun(table, columns, y) if table else None
            self._add(net, f"{net}_categories", "By category", f"{caption} {_source(table)}", drawn)
            if net == "detector":
                self._confusion(tables)
            self._gallery(net, measured)

    def _confusion(self, tables: Sequence[Table]) -> None:
        table = table_of(tables, "Detector: confusion")
        caption = (
            "Rows are true objects, columns what the detector called them. The last column are "
            "objects that no box met at IoU .5, the last row boxes that met no object; an object "
            f"with a loose box is in both. {_source(table)}"
        )
        drawn = charts.confusion(table) if table else None
        self._add("detector", "detector_confusion", "Confusion matrix", caption, drawn)

    def _gallery(self, net: str, measured: Measured) -> None:
        count, worst = measured.pictures, measured.worst
        if net == "detector":
            cases = [c for kind in ("missed", "name", "extra") for c in worst.take(kind, 4)]
            caption = (
                f"Of {count} stills: the largest objects missed, the surest wrong names, the "
                "surest boxes that meet no object at IoU .5. Green is true, magenta the detector's."
            )
        elif net == "segmenter":
            cases = worst.take("mask", 12)
            caption = f"Of {count} stills: the lowest IoU from true boxes, at most two per noun. Green is true, magenta the segmenter's."
        else:
            cases = worst.take("depth", 6)
            caption = f"Of {count} stills: the largest median errors, at most two per noun; below, where it is too far (red) or too near (blue)."
        drawn = charts.gallery(cases) if cases else None
        self._add(net, f"{net}_failures", "Failures", caption, drawn)

    def _language(self, tables: Sequence[Table]) -> None:
        held = [t for t in tables if t.title.startswith("Reasoner on") and t.rows]
        chosen = {t.title.split(",")[0]: t for t in reversed(held)}  # of one name the first
        order = [t for t in held if chosen[t.title.split(",")[0]] is t]
        drawn = charts.bars_of_groups(order, "exact ids", _where(order[0])) if order else None
        caption = (
            "Exactly the true ids named, by level, category and wording; noisy twins miss, double, "
            f"mislabel and shift objects as perception does. {_source(order[0] if order else None)}"
        )
        self._add("reasoner", "reasoner_levels", "By level", caption, drawn)
        masks = [table_of(tables, f"Pixels to masks, mean {letter}") for letter in "JF"]
        both = [t for t in masks if t is not None]
        caption = (
            "Pixels in, masks out: every network and the reasoner together. The black marks are "
            "FastReasonSeg-0.6B on JiTBench, another benchmark with other videos."
        )
        drawn = charts.levels(both) if both else None
        self._add(
            "all",
            "end_to_end",
            "End to end",
            f"{caption} {_source(both[0] if both else None)}",
            drawn,
        )

    def _world(self, stills: Shards) -> None:
        path = self.request.out / "world_categories.png"
        self.bytes += save_array(category_sheet(stills, "cell", 5, 72, enlarge=1, blocks=2), path)
        self.written.append(path)
        caption = (
            "What a 256-pixel picture holds of each category: windows of 72 pixels, not enlarged."
        )
        self.pictures["world"].append(Picture(path.name, "The sixteen categories", caption))
        kept: Any = self.store.get("world")
        drawn = draw_world(tables_from(kept["tables"])) if kept else None
        caption = (
            "Left: objects per category. Middle: longest side of the visible box, 5th to 95th "
            "percentile and median. Right: how much of an object shows."
        )
        self._add("world", "world", "Training pictures in figures", caption, drawn)

    def _seeds(self) -> None:
        if self.request.seeds:
            found = {net: _compared(net, self.request.seeds) for net in PANELS}
            self.store.put("seeds", {net: f for net, f in found.items() if f})
        kept = self.store.get("seeds")
        caption = (
            "The same command with several seeds at equal visits: mean (thick), every run (thin), "
            "least to most (shade); ± is the standard deviation at the last visits all reached."
        )
        drawn = draw_comparison(kept) if kept else None
        self._add("all", "seeds", "Seeds", caption, drawn)

    def _pages(self, wrong: str) -> None:
        weights, titles = self._weights(), {"all": "Together", "world": "The world they learn from"}
        parts = [_HEAD]
        for net in ("all", *PANELS, "world"):
            if not self.pictures[net]:
                continue
            parts.append(f"## {titles.get(net, net.capitalize())}")
            if net in weights:
                parts.append(f"`{GRAPHS[net]}` {weights[net][:12]}")
            parts.append(section(self.pictures[net], "", level=3))
            if net == "reasoner":
                parts.append(wrong)
        page = self.request.out / "README.md"
        page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        self.written.append(page)
        for net in PANELS:
            speaks = net == "reasoner"
            name = "card.md" if speaks else f"{net}.card.md"
            folder = self.request.reasoner if speaks else self.request.perception
            put_section(folder / name, self.pictures[net], self.request.out)
            if not speaks:
                rehash(folder, net, name)
            self.written.append(folder / name)


_HEAD = """# The embedded networks in pictures

Written by `edgetwin distill cards`; [how to read and remake them](../training.md). Measured on
validation worlds with the code that runs on the device; nothing here comes from the test split
unless a caption says so."""


def _compared(net: str, folders: Sequence[Path]) -> dict[str, Any]:
    paths = [folder / net / "curve.jsonl" for folder in folders]
    if not all(path.is_file() for path in paths) or len(paths) < 2:
        return {}
    return compare(net, [read_curve(path) for path in paths])


def _where(table: Table | None) -> str:
    """What a table is about and measured on, as a chart's title."""
    return table.title if table else ""


def _source(table: Table | None) -> str:
    return f"Measured on: {table.title.partition(', ')[2]}." if table else ""
