"""SAM 2's memory alone: objects prompted once with their true box, then never detected again.

An object is prompted in the first frame that shows at least ``MIN_AREA_PX`` pixels of it, those
that enter later too. From the next frame on its mask is what memory says. J is taken in every
later frame as DAVIS does (1 where neither mask has a pixel), averaged over frames, then over
objects. The baseline keeps the first mask where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle
from ...perception.segmenter import Segmenter
from ...twin import mask as rle
from ...twin.schema import FrameTwin
from ..metrics import region_similarity
from .detections import MIN_AREA_PX
from .report import Table
from .worlds import RenderedWorld

__all__ = ["MOVED_PX", "Followed", "follow", "memory_figures", "memory_tables", "score_memory"]

MOVED_PX = 6.0
"""An object moves if its centre gets this far from where it was prompted."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Followed:
    """One object over the frames after its prompt: mean J of memory and of the first mask kept.

    ``seen`` and ``kept_seen`` are over the frames that show it; None if none does. ``hidden`` is
    the number of frames that do not, ``clear`` of how many of them memory drew nothing.
    """

    frames: int
    moves: bool
    tracked: float
    kept: float
    seen: float | None
    kept_seen: float | None
    hidden: int
    clear: int


def score_memory(bundle: Bundle, worlds: Iterable[RenderedWorld]) -> list[Followed]:
    """Follow every object of every world."""
    segmenter = Segmenter(bundle)
    return [row for world in worlds for row in follow(segmenter, world)]


def follow(segmenter: Segmenter, world: RenderedWorld) -> list[Followed]:
    """Follow one world's objects; those first seen in its last frame are left out."""
    bank = segmenter.new_bank()
    first: dict[int, Mask] = {}
    begun: dict[int, tuple[float, float]] = {}
    farthest: dict[int, float] = {}
    rows: dict[int, list[tuple[float, float, bool, bool]]] = {}
    for index, (image, frame) in enumerate(zip(world.rgb_thw3, world.window.frames, strict=True)):
        if index:
            bank.advance()
        features = segmenter.encode(image)
        known = bank.ids()
        if known:
            masks = segmenter.propagate(features, bank, known)
            segmenter.remember(features, masks, bank, known)
            for i, mask in zip(known, masks.masks_nhw, strict=True):
                true = _true_mask(frame, i)
                shown = bool(true.any())
                j, j_kept = region_similarity(mask, true), region_similarity(first[i], true)
                rows.setdefault(i, []).append((j, j_kept, shown, bool(mask.any())))
                if shown:
                    away = np.subtract(frame.objects[i].centroid, begun[i])
                    farthest[i] = max(farthest[i], float(np.hypot(*away)))
        new = [
            obj
            for i, obj in frame.objects.items()
            if i not in first and obj.state == "visible" and obj.area >= MIN_AREA_PX
        ]
        if new:
            boxes = np.array([obj.box_xyxy for obj in new], np.float32)
            masks = segmenter.from_boxes(features, boxes)
            segmenter.remember(features, masks, bank, [obj.id for obj in new])
            for obj, mask in zip(new, masks.masks_nhw, strict=True):
                first[obj.id], begun[obj.id], farthest[obj.id] = mask, obj.centroid, 0.0
    return [_followed(rows[i], farthest[i] > MOVED_PX) for i in first if i in rows]


def _true_mask(frame: FrameTwin, id_: int) -> Mask:
    obj = frame.objects.get(id_)
    if obj is None or obj.state != "visible" or obj.mask is None:
        return np.zeros((frame.height, frame.width), np.bool_)
    return rle.decode(obj.mask)


def _followed(rows: Sequence[tuple[float, float, bool, bool]], moves: bool) -> Followed:
    shown = [row for row in rows if row[2]]
    hidden = [row for row in rows if not row[2]]
    return Followed(
        frames=len(rows),
        moves=moves,
        tracked=float(np.mean([row[0] for row in rows])),
        kept=float(np.mean([row[1] for row in rows])),
        seen=float(np.mean([row[0] for row in shown])) if shown else None,
        kept_seen=float(np.mean([row[1] for row in shown])) if shown else None,
        hidden=len(hidden),
        clear=sum(not row[3] for row in hidden),
    )


_GROUPS: dict[str, Callable[[Followed], bool]] = {
    "all": lambda row: True,
    "moving": lambda row: row.moves,
    "still": lambda row: not row.moves,
    "hidden or out for a while": lambda row: row.hidden > 0,
}


def memory_figures(followed: Sequence[Followed]) -> dict[str, Any]:
    """Mean J over objects per group, beside the first mask kept."""
    groups: dict[str, Any] = {}
    for name, keep in _GROUPS.items():
        rows = [row for row in followed if keep(row)]
        hidden = sum(row.hidden for row in rows)
        groups[name] = {
            "objects": len(rows),
            "j": _mean([row.tracked for row in rows]),
            "j_first_mask_kept": _mean([row.kept for row in rows]),
            "j_seen": _mean([row.seen for row in rows if row.seen is not None]),
            "j_seen_first_mask_kept": _mean(
                [row.kept_seen for row in rows if row.kept_seen is not None]
            ),
            "frames_hidden": hidden,
            "hidden_nothing_drawn": sum(r.clear for r in rows) / hidden if hidden else None,
        }
    return groups


def memory_tables(followed: Sequence[Followed], where: str) -> list[Table]:
    """Print the groups."""
    figures = memory_figures(followed)
    rows = tuple(
        (
            name,
            group["objects"],
            group["j"],
            group["j_first_mask_kept"],
            group["j_seen"],
            group["j_seen_first_mask_kept"],
            group["hidden_nothing_drawn"],
        )
        for name, group in figures.items()
    )
    columns = (
        "objects", "count", "mean J", "first mask kept", "mean J where seen",
        "first mask kept ", "hidden: nothing drawn",
    )  # fmt: skip
    notes = (
        "prompted once with the true box, no detection afterwards; J over all later frames, then "
        f"over objects; moving: the centre gets more than {MOVED_PX:g} px away",
    )
    return [Table(f"Memory tracking, {where}", columns, rows, notes)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
