"""Everything mode against exact truth: some nouns are hidden, and their objects are to be found.

The detector looks for one half of the trained nouns; what it finds is known. Everything mode is
then judged on the objects of the other half: how many it finds (mask IoU of .5), how many of
its regions are objects at all, and how often the name is right when it may use all nouns.

The embedded detector's objectness was trained on objects of all nouns, so its box proposals do
better here than on things that nobody trained for; the rows with points alone do not know of
nouns, but the segmenter too was trained on these categories. In the wild tier the objects
asked for are those of categories (and in surroundings) that no embedded network has ever seen.

Run it with ``python -m edgetwin.distill.evaluate.everything``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle, load_bundle
from ...perception.detector import Detector
from ...perception.everything import EverythingConfig, EverythingFinder
from ...perception.records import Detections
from ...perception.regions import UNSURE
from ...perception.segmenter import Segmenter
from ...twin import mask as rle
from ..sim.catalogue import Tier
from ..twinbench import SEEDS
from .report import Table, show
from .worlds import RenderedWorld, rendered_world

__all__ = ["EverythingScores", "everything_tables", "main", "score_everything"]

MIN_AREA_PX = 64
_FRAMES = (3, 17, 28)


@dataclass
class EverythingScores:
    """Counts over frames; ``label_right`` and ``label_unsure`` are of matched regions."""

    frames: int = 0
    objects: int = 0
    found: int = 0
    regions: int = 0
    real: int = 0
    label_right: int = 0
    label_unsure: int = 0
    colour_right: int = 0
    iou: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)


def score_everything(
    bundle: Bundle,
    worlds: Iterable[RenderedWorld],
    config: EverythingConfig,
    hidden: Sequence[str] | None,
) -> EverythingScores:
    """Run the finder on three frames of each world.

    ``hidden`` are the nouns kept from the detector's vocabulary; None means those objects whose
    noun it was never trained on.
    """
    detector, segmenter = Detector(bundle), Segmenter(bundle)
    finder = EverythingFinder(segmenter, detector, config)
    asked = [noun for noun in detector.nouns if noun not in (hidden or ())]
    scores = EverythingScores()
    for world in worlds:
        for t in _FRAMES:
            image = world.rgb_thw3[t]
            truth = [
                (rle.decode(obj.mask), obj.semantic_label, obj.attributes.get("color"))
                for obj in world.window.frames[t].objects.values()
                if obj.state == "visible" and obj.mask is not None and obj.area >= MIN_AREA_PX
            ]
            view, features = detector.look(image), segmenter.encode(image)
            known = segmenter.from_boxes(features, detector.read(view, asked).boxes_xyxy_n4)
            start = time.process_time()
            found, masks = finder.find(image, features, known.masks_nhw, view=view)
            scores.ms.append(1000 * (time.process_time() - start))
            _count(scores, found, masks.masks_nhw, truth, set(asked))
    return scores


def _count(
    scores: EverythingScores,
    found: Detections,
    masks_nhw: NDArray[np.bool_],
    truth: Sequence[tuple[NDArray[np.bool_], str, str | None]],
    asked: set[str],
) -> None:
    scores.frames += 1
    scores.regions += len(found)
    scores.objects += sum(label not in asked for _, label, _ in truth)
    iou = np.zeros((len(found), len(truth)))
    for i, mask in enumerate(masks_nhw):
        for k, (true, _, _) in enumerate(truth):
            iou[i, k] = np.count_nonzero(mask & true) / np.count_nonzero(mask | true)
    scores.real += int((iou.max(axis=1, initial=0.0) >= 0.5).sum())
    for k, (_, label, color) in enumerate(truth):
        if label in asked or not len(found) or iou[:, k].max() < 0.5:
            continue
        row = int(iou[:, k].argmax())
        scores.found += 1
        scores.iou.append(float(iou[row, k]))
        scores.label_right += found.labels[row] == label
        scores.label_unsure += found.labels[row] == UNSURE
        scores.colour_right += found.colors[row] == color


def everything_tables(
    models: str = "embedded",
    tier: Tier = "cell",
    *,
    worlds: int = 20,
    hidden: Sequence[str] | None = None,
    config: EverythingConfig | None = None,
    cache: Path = Path("runs/twinbench"),
) -> list[Table]:
    """Measure everything mode on TwinBench's validation worlds, the later ones first.

    In the cell, ``hidden`` None hides every other trained noun, then the rest (two passes).
    """
    bundle = load_bundle(models, device="cpu", threads=1)
    own = config or EverythingConfig()
    ways = (
        ("boxes and points", own),
        ("points alone", replace(own, min_objectness=2.0)),
        ("boxes alone", replace(own, points_per_side=0)),
    )
    nouns = Detector(bundle).nouns
    halves = [hidden] if hidden is not None else [nouns[0::2], nouns[1::2]]
    seeds = list(SEEDS["val", tier])[-worlds:]
    rows: list[tuple[str | float, ...]] = []
    for name, way in ways:
        total = EverythingScores()
        for half in [None] if tier == "wild" else halves:
            rendered = (rendered_world(seed, tier, cache) for seed in seeds)
            _add(total, score_everything(bundle, rendered, way, half))
        rows.append((name, *_figures(total)))
        counts = f"{total.objects} objects in {total.frames} frames"
    titles = ("proposals", "recall", "IoU", "precision", "label", "unsure", "colour", "ms")
    note = (
        f"{counts} that the vocabulary leaves out; recall and precision at mask IoU .5 (a region "
        "of any true object is right), label, unsure and colour of the matched; ms is the median of "
        "CPU time without the detector's look and the encoder"
    )
    where = f"TwinBench val, {tier} tier, {len(seeds)} worlds, {models} set"
    return [Table(f"Everything mode, {where}", titles, tuple(rows), (note,))]


def _add(total: EverythingScores, part: EverythingScores) -> None:
    for name in vars(total):
        setattr(total, name, getattr(total, name) + getattr(part, name))


def _figures(scores: EverythingScores) -> tuple[float, ...]:
    found = max(1, scores.found)
    return (
        scores.found / max(1, scores.objects),
        float(np.mean(scores.iou or [0.0])),
        scores.real / max(1, scores.regions),
        scores.label_right / found,
        scores.label_unsure / found,
        scores.colour_right / found,
        float(np.median(scores.ms or [0.0])),
    )


def main() -> None:
    """Print the tables of both tiers' validation worlds."""
    for tier in ("cell", "wild"):
        show(everything_tables(tier=tier, worlds=20 if tier == "cell" else 6))


if __name__ == "__main__":
    main()
