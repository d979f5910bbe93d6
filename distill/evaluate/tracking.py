"""Identities over time, judged with TrackEval: the command behind ``edgetwin eval tracking``.

Three trackers on the same clips with the same segmenter: ours (the whole perceiver), per-frame
detection with IoU matching, and SAM 2 prompted once on the first frame
(:mod:`.tracking_rivals`). Three settings of detections: true boxes with true names, true boxes
without names, and the model set's own detector.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from ...perception.bundle import Bundle, load_bundle
from ...perception.detector import Detector
from ...perception.perceiver import DetectorLike, Follow, Perceiver, PerceiverConfig
from ...twin.errors import InputError
from ...twin.frame import Frame
from ...twin.schema import FrameTwin
from ..sim.catalogue import Tier
from ..twinbench import BenchSplit, load
from .report import Table
from .tracking_rivals import IouTracker, PromptedOnce, SharedSegmenter, TrueBoxes
from .tracking_scores import Seen, TrackingScores, seen_of
from .tracking_worlds import HIDING_SEEDS, TUNING_SEEDS, Clip, bench_clip, hiding_clip

__all__ = [
    "CLIPS",
    "SETTINGS",
    "TRACKERS",
    "Clips",
    "Setting",
    "evaluate_following",
    "evaluate_tracking",
]

Cell = str | int | float | None
Clips = Literal["bench", "hiding"]
Setting = Literal["boxes", "unnamed", "detector"]
CLIPS: tuple[Clips, ...] = ("bench", "hiding")
SETTINGS: tuple[Setting, ...] = ("boxes", "unnamed", "detector")
DEFAULT_SETTINGS: tuple[Setting, ...] = ("boxes", "detector")
_NAMES: dict[Setting, str] = {
    "boxes": "true boxes and names",
    "unnamed": "true boxes, no names",
    "detector": "own detector",
}
OURS, PER_FRAME, ONCE = "EdgeTwin", "per-frame detection + IoU", "SAM 2 prompted once"
TRACKERS = (OURS, PER_FRAME, ONCE)
COLUMNS = ("tracker", "HOTA", "DetA", "AssA", "IDF1", "id switches", "id kept", "ms a frame")


def evaluate_tracking(
    split: BenchSplit = "val",
    tier: Tier = "cell",
    *,
    models: str = "embedded",
    clips: Sequence[Clips] = CLIPS,
    settings: Sequence[Setting] = DEFAULT_SETTINGS,
    limit: int | None = None,
    trackers: Sequence[str] | None = None,
    fps: float = 8.0,
    cache: Path = Path("runs/twinbench"),
    config: PerceiverConfig | None = None,
) -> list[Table]:
    """Score three trackers on TwinBench's worlds and on worlds of hiding and coming back.

    ``limit`` keeps the first clips of each kind only; ``trackers`` (out of ``TRACKERS``) the
    quicker ones, since SAM 2 prompted once takes most of the time; ``fps`` is that of the hiding clips;
    ``config`` is our perceiver's. Rendered clips are kept under ``cache``.

    Raises:
        InputError: if a setting or a kind of clips is unknown or ``limit`` is not positive.
        EdgeTwinError: if TrackEval is not installed.
    """
    chosen = TRACKERS if trackers is None else tuple(trackers)
    unknown = {*settings} - {*SETTINGS} | {*clips} - {*CLIPS} | {*chosen} - {*TRACKERS}
    if unknown or (limit is not None and limit < 1) or fps <= 0:
        raise InputError(
            f"expected settings out of {SETTINGS}, clips out of {CLIPS}, trackers out of "
            f"{TRACKERS}, a positive limit and fps, got {sorted(unknown)}, {limit} and {fps}"
        )
    bundle = load_bundle(models)
    tables = []
    for kind in clips:
        if kind == "bench":
            seeds = list(dict.fromkeys(item.seed for item in load(split, tier)))[:limit]
            where = f"TwinBench {split}, {tier} tier, {len(seeds)} worlds"
            shown = (bench_clip(seed, tier, cache) for seed in track(seeds, "TwinBench"))
        else:
            seeds = list(HIDING_SEEDS)[:limit]
            where = f"{len(seeds)} hiding worlds at {fps:g} frames/s"
            shown = (hiding_clip(seed, cache, fps) for seed in track(seeds, "hiding"))
        scores = score_trackers(bundle, shown, settings, config, chosen)
        tables += [_table(s, scores[s], f"{where}, {models} set") for s in settings]
    return tables


def evaluate_following(
    *,
    models: str = "embedded",
    limit: int = 6,
    intervals: Sequence[int] = (1, 4),
    follows: Sequence[Follow] = ("boxes", "hybrid", "memory"),
    cache: Path = Path("runs/twinbench"),
) -> Table:
    """Compare ways to follow between looks of the detector, on tuning worlds of hiding.

    One row per interval between looks (frames, 8 a second) and way to follow; the model set's
    own detector. This is what the default of ``PerceiverConfig.follow`` was settled by.
    """
    bundle = load_bundle(models)
    clips = [hiding_clip(seed, cache) for seed in TUNING_SEEDS[:limit]]
    rows: list[tuple[Cell, ...]] = []
    for every in intervals:
        for follow in follows:
            config = PerceiverConfig(look_every=every, follow=follow)
            result = score_trackers(bundle, clips, ("detector",), config, (OURS,))
            name = f"look every {every}, follow by {follow}"
            rows.append(_row(name, *result["detector"][OURS]))
    return Table(f"Following, {len(clips)} tuning worlds, {models} set", COLUMNS, tuple(rows))


class _Ours:
    """The perceiver, seeing what a stream's caller would get."""

    def __init__(
        self,
        bundle: Bundle,
        segmenter: SharedSegmenter,
        detector: DetectorLike | None,
        config: PerceiverConfig | None,
    ) -> None:
        self.perceiver = Perceiver(
            bundle, config=config, detector=detector, segmenter=segmenter, depth=_Flat()
        )

    def see(self, image_hw3: NDArray[np.uint8], at: FrameTwin) -> Seen:
        twin = self.perceiver.observe(Frame(at.index, at.timestamp_s, image_hw3, "clip"))
        return seen_of(twin)


class _Flat:
    """No depth: identities do not ask for it, and it would be the slowest part."""

    metric = True

    def depth_m(self, image_hw3: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones(image_hw3.shape[:2], np.float32)


Result = dict[str, tuple[TrackingScores, list[float]]]


def score_trackers(
    bundle: Bundle,
    clips: Iterable[Clip],
    settings: Sequence[Setting],
    config: PerceiverConfig | None = None,
    trackers: Sequence[str] = TRACKERS,
) -> dict[Setting, Result]:
    """Run every tracker over every clip in every setting; per tracker scores and milliseconds.

    The picture's encoding is shared, so milliseconds leave it out.
    """
    results: dict[Setting, Result] = {
        s: {name: (TrackingScores(), []) for name in trackers} for s in settings
    }
    segmenter, own = SharedSegmenter(bundle), Detector(bundle)
    for clip in clips:
        runs: dict[tuple[Setting, str], tuple[Callable[..., Seen], list[Seen]]] = {}
        told: list[TrueBoxes] = []
        for setting in settings:
            knowing = TrueBoxes(words=setting == "boxes")
            told.append(knowing)
            detector: DetectorLike = own if setting == "detector" else knowing
            ours = _Ours(bundle, segmenter, None if setting == "detector" else knowing, config)
            iou, once = IouTracker(segmenter, detector), PromptedOnce(segmenter, detector)
            sees: dict[str, Callable[..., Seen]] = {
                OURS: ours.see,
                PER_FRAME: lambda image, _, iou=iou: iou.see(image),
                ONCE: lambda image, _, once=once: once.see(image),
            }
            runs |= {(setting, name): (sees[name], []) for name in trackers}
        for image, frame in zip(clip.rgb_thw3, clip.frames, strict=True):
            segmenter.encode(image)
            for knowing in told:
                knowing.frame = frame
            for (setting, name), (see, seen) in runs.items():
                start = time.perf_counter()
                seen.append(see(image, frame))
                results[setting][name][1].append(1000 * (time.perf_counter() - start))
        for (setting, name), (_, seen) in runs.items():
            results[setting][name][0].add(clip.frames, seen)
    return results


def _table(setting: Setting, results: Result, where: str) -> Table:
    rows = tuple(_row(name, scores, ms) for name, (scores, ms) in results.items())
    events = ", ".join(
        f"{name}: {scores.events}, not seen before hiding {scores.unseen_before}"
        for name, (scores, _) in results.items()
    )
    notes = (
        f"id kept: of the times that an object hid or left and came back ({events}), "
        "the share in which it has its old id when first seen again, within 0.5 s",
        "ms a frame: mean without encoding the picture, which all three share, and no depth",
    )
    return Table(f"Identities with {_NAMES[setting]}, {where}", COLUMNS, rows, notes)


def _row(name: str, scores: TrackingScores, ms: Sequence[float]) -> tuple[Cell, ...]:
    s = scores.summary()
    kept = s["recovered"] if scores.events else None
    figures = (s["hota"], s["deta"], s["assa"], s["idf1"], int(s["switches"]), kept)
    return (name, *figures, float(np.mean(ms)))
