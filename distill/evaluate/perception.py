"""Perception judged alone: detector, segmenter and depth on single pictures against exact truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...perception.bundle import Bundle
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector
from ...perception.segmenter import Segmenter
from .depths import DepthScores
from .detections import MIN_AREA_PX, DetectorScores
from .report import Table
from .segments import SegmentScores
from .worlds import RenderedWorld

__all__ = ["PerceptionScores", "perception_tables", "score_perception", "spread"]


@dataclass
class PerceptionScores:
    """What the three networks gave on ``frames`` pictures."""

    frames: int = 0
    detector: DetectorScores = field(default_factory=DetectorScores)
    segmenter: SegmentScores = field(default_factory=SegmentScores)
    depth: DepthScores = field(default_factory=DepthScores)

    def figures(self) -> dict[str, Any]:
        """Return every figure with the counts behind it as plain values."""
        return {
            "frames": self.frames,
            "min_area_px": MIN_AREA_PX,
            "detector": self.detector.figures(),
            "segmenter": self.segmenter.figures(),
            "depth": self.depth.figures(),
        }


def score_perception(
    bundle: Bundle, worlds: Iterable[RenderedWorld], frames_per_world: int = 4
) -> PerceptionScores:
    """Run the three networks on evenly spread frames of each world.

    The detector has the thresholds of its bundle, which suit single pictures; the perceiver's
    own are lower.
    """
    detector, segmenter, depth = Detector(bundle), Segmenter(bundle), DepthEstimator(bundle)
    scores = PerceptionScores(
        detector=DetectorScores(nouns=detector.nouns), depth=DepthScores(metric=depth.metric)
    )
    for world in worlds:
        for t in spread(len(world.rgb_thw3), frames_per_world):
            visible = [
                obj
                for obj in world.window.frames[t].objects.values()
                if obj.state == "visible" and obj.mask is not None
            ]
            asked = [obj for obj in visible if obj.area >= MIN_AREA_PX]
            image = world.rgb_thw3[t]
            found = detector.detect(image)
            scores.frames += 1
            row_of = scores.detector.add(found, visible)
            scores.segmenter.add(segmenter, segmenter.encode(image), asked, found, row_of)
            scores.depth.add(depth.depth_m(image), world.depth_thw[t], asked)
    return scores


def spread(count: int, wanted: int) -> list[int]:
    """Return up to ``wanted`` of ``count`` indices, the first and the last among them."""
    return sorted({round(k * (count - 1) / max(1, wanted - 1)) for k in range(wanted)})


def perception_tables(scores: PerceptionScores, where: str) -> list[Table]:
    """Print the scores beside their baselines; ``where`` names the data."""
    figures = scores.figures()
    detector, segmenter, depth = (figures[k] for k in ("detector", "segmenter", "depth"))
    unseen = detector["unseen_pairs"]
    rows: list[tuple[Any, ...]] = [
        ("detector: recall at IoU 0.5", detector["recall"]),
        ("detector: recall at IoU 0.5 with the right label", detector["recall_labelled"]),
        ("detector: label right, of the matched", detector["label"]),
        ("detector: label and colour right, of the matched", detector["label_and_colour"]),
        ("unseen colour and noun: both right, of the matched", unseen["label_and_colour"]),
        ("unseen colour and noun: both right, of all", unseen["recall_coloured"]),
        ("detector: boxes that match nothing, per frame", detector["extra_per_frame"]),
        ("segmenter: mean IoU from true boxes", segmenter["box"]),
        ("segmenter: mean IoU from detected boxes, of the matched", segmenter["detected"]),
        ("baseline: inscribed ellipse", segmenter["ellipse"]),
        ("segmenter: mean IoU from one point", segmenter["point"]),
        ("baseline: a disc around it", segmenter["disc"]),
        ("depth: object pixels within 10 %", depth["within_10"]),
        ("depth: object pixels within a factor of 1.25", depth["delta_125"]),
    ]
    rows += [
        (f"depth: order of two objects more than {name} apart", order["right"])
        for name, order in depth["order"].items()
    ]
    if detector["known_words"]["objects"] < detector["objects"]:
        known = detector["known_words"]["recall_labelled"]
        rows.insert(2, ("the same, of objects whose noun it knows", known))
    pairs = ", ".join(f"{o['pairs']} pairs ({name})" for name, o in depth["order"].items())
    note = (
        f"{detector['objects']} objects of at least {MIN_AREA_PX} px in {scores.frames} frames, "
        f"{unseen['objects']} of them unseen colour and noun; {pairs}"
    )
    return [
        Table(f"Perception alone, {where}", ("figure", "score"), tuple(rows), (note,)),
        *scores.detector.tables(where),
        *scores.segmenter.tables(where),
        *scores.depth.tables(where),
    ]
