"""The detector against exact boxes: recall, names, sizes, unseen pairs, confusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.boxes import box_iou
from ...perception.records import Detections
from ...twin.schema import ObjectTwin
from ..sim.catalogue import HELD_OUT_PAIRS
from .report import Table

__all__ = ["EXTRA", "MIN_AREA_PX", "MISSED", "SIZES", "DetectorScores", "Tally", "match"]

MIN_AREA_PX = 64
"""Smaller slivers of covered objects are asked of no network; a box on one is no error."""

SIZES = ("below 36 px", "36-60 px", "above 60 px")
"""Of the longest side of the true box."""

MISSED, EXTRA = "missed", "extra"


@dataclass
class Tally:
    """Counts of true objects: asked, found at IoU .5, with the right noun, and colour too."""

    objects: int = 0
    found: int = 0
    labelled: int = 0
    coloured: int = 0

    def figures(self) -> dict[str, float | int | None]:
        """Return the counts and their ratios; None where nothing was asked or found."""
        return {
            "objects": self.objects,
            "recall": _share(self.found, self.objects),
            "recall_labelled": _share(self.labelled, self.objects),
            "recall_coloured": _share(self.coloured, self.objects),
            "label": _share(self.labelled, self.found),
            "label_and_colour": _share(self.coloured, self.found),
        }


@dataclass
class DetectorScores:
    """Counts over frames. ``confusion`` is (true, predicted noun) -> objects.

    A true object that nothing found is predicted ``missed``; a box that matches no object is of
    the true noun ``extra``. ``unseen`` are objects whose pair of colour and noun no training
    picture holds, ``known`` those whose noun the detector has a word for.
    """

    nouns: tuple[str, ...] = ()
    frames: int = 0
    extra: int = 0
    total: Tally = field(default_factory=Tally)
    known: Tally = field(default_factory=Tally)
    unseen: Tally = field(default_factory=Tally)
    by_size: dict[str, Tally] = field(default_factory=dict)
    by_category: dict[str, Tally] = field(default_factory=dict)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, found: Detections, visible: Sequence[ObjectTwin]) -> dict[int, int]:
        """Count one frame; returns object id -> row of ``found`` of the asked objects' matches."""
        boxes = np.array([obj.box_xyxy for obj in visible], np.float32).reshape(-1, 4)
        row_of = {t: d for d, t in match(found.boxes_xyxy_n4, boxes)}
        self.frames += 1
        matched: dict[int, int] = {}
        for t, obj in enumerate(visible):
            if obj.area < MIN_AREA_PX:
                continue
            row = row_of.get(t)
            self._count(obj, found, row)
            if row is not None:
                matched[obj.id] = row
        for d in set(range(len(found))) - set(row_of.values()):
            self.extra += 1
            self.confusion[EXTRA, found.labels[d]] += 1
        return matched

    def _count(self, obj: ObjectTwin, found: Detections, row: int | None) -> None:
        noun, colour = obj.semantic_label, obj.attributes.get("color")
        tallies = [
            self.total,
            self.by_size.setdefault(_size(obj), Tally()),
            self.by_category.setdefault(noun, Tally()),
        ]
        if noun in self.nouns or not self.nouns:
            tallies.append(self.known)
        if (colour, noun) in HELD_OUT_PAIRS:
            tallies.append(self.unseen)
        labelled = row is not None and found.labels[row] == noun
        coloured = labelled and row is not None and found.colors[row] == colour
        for tally in tallies:
            tally.objects += 1
            tally.found += row is not None
            tally.labelled += labelled
            tally.coloured += coloured
        self.confusion[noun, MISSED if row is None else found.labels[row]] += 1

    def _given(self) -> int:
        """Boxes that are right or wrong: those on slivers are neither."""
        return self.total.found + self.extra

    def categories(self) -> list[str]:
        """Nouns of the detector, then others that occurred, as rows and columns of tables."""
        seen = {noun for pair in self.confusion for noun in pair} - {MISSED, EXTRA}
        return [*self.nouns, *sorted(seen - set(self.nouns))]

    def figures(self) -> dict[str, Any]:
        """Return every figure and the counts behind it as plain values."""
        nouns = self.categories()
        rows, columns = [*nouns, EXTRA], [*nouns, MISSED]
        return {
            **self.total.figures(),
            "f1": 2 * self.total.labelled / max(1, self._given() + self.total.objects),
            "extra_per_frame": self.extra / max(1, self.frames),
            "known_words": self.known.figures(),
            "unseen_pairs": self.unseen.figures(),
            "by_size": {s: self.by_size[s].figures() for s in SIZES if s in self.by_size},
            "by_category": {n: t.figures() for n, t in self.by_category.items()},
            "confusion": {
                "true": rows,
                "predicted": columns,
                "counts": [[self.confusion[t, p] for p in columns] for t in rows],
            },
        }

    def tables(self, where: str) -> list[Table]:
        """By size, by category, and the confusion matrix."""
        columns = ("objects", "recall", "label", "label and colour", "recall with label")
        keys = ("objects", "recall", "label", "label_and_colour", "recall_labelled")

        def row(name: str, tally: Tally) -> tuple[Any, ...]:
            figures = tally.figures()
            return (name, *(figures[key] for key in keys))

        sizes = [row(size, self.by_size[size]) for size in SIZES if size in self.by_size]
        sizes += [row("unseen colour and noun", self.unseen), row("all", self.total)]
        if self.known.objects < self.total.objects:
            sizes.append(row("all whose noun it knows", self.known))
        nouns = self.categories()
        kinds = [row(n, self.by_category[n]) for n in nouns if n in self.by_category]
        counts: list[tuple[Any, ...]] = [
            (true, *(self.confusion[true, guess] for guess in (*nouns, MISSED)))
            for true in (*nouns, EXTRA)
        ]
        note = "recall at IoU .5; label, and label and colour, of the matched; the last of all"
        return [
            Table(f"Detector by size, {where}", ("longest side", *columns), tuple(sizes), (note,)),
            Table(f"Detector by category, {where}", ("noun", *columns), tuple(kinds), (note,)),
            Table(f"Detector: confusion, {where}", ("true", *nouns, MISSED), tuple(counts)),
        ]


def match(detected: NDArray[np.float32], true: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pair detected with true boxes, best IoU first, each used once, IoU at least 0.5.

    Both are (N, 4) pixel boxes; returns (detected row, true row) pairs.
    """
    if not len(detected) or not len(true):
        return []
    iou = box_iou(detected, true)
    pairs: list[tuple[int, int]] = []
    for flat in np.argsort(-iou, axis=None):
        d, t = divmod(int(flat), iou.shape[1])
        if iou[d, t] < 0.5:
            break
        if all(d != pd and t != pt for pd, pt in pairs):
            pairs.append((d, t))
    return pairs


def _size(obj: ObjectTwin) -> str:
    x0, y0, x1, y1 = obj.box_xyxy
    side = max(x1 - x0, y1 - y0)
    return SIZES[0] if side < 36 else SIZES[1] if side <= 60 else SIZES[2]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
