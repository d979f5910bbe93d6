"""Number formats of the embedded graphs: accuracy, size, speed and memory of each, measured.

Every graph is replaced in turn by its variants (:mod:`...deploy.export.graphs`) in an otherwise
unchanged set and judged by the figure of its network, on validation worlds, through the code
that the device runs; then all graphs at once. Speed and memory are those of a process that does
nothing else. Ranges for int8 come from training worlds.

The language model's formats are its builder's own (:mod:`.precision_reasoner`). Not covered:
other providers than ONNX Runtime's CPU one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from ...deploy.export.calibrate import Recording
from ...deploy.export.graphs import VARIANTS, Feeds, Variant, make_variant, shipped_as
from ...deploy.models import bundle_identities
from ...perception.bundle import Bundle, Manifest, load_bundle
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector
from ...perception.segmenter import Segmenter
from ...reasoner.bundle import load_bundle as load_reasoner
from ...twin import mask as rle
from ...twin.errors import InputError, ModelError
from ...twin.files import sha256_of
from ...twin.schema import ObjectTwin
from ..metrics import intersection_over_union
from ..sim.questions import Question
from ..twinbench import SEEDS, load
from .depths import DepthScores
from .detections import MIN_AREA_PX, DetectorScores
from .memory import follow, memory_figures
from .perception import spread
from .precision_reasoner import reasoner_rows
from .report import Table
from .worlds import RenderedWorld, rendered_world

__all__ = ["ROLES", "Precision", "evaluate_precision", "replaced", "score_role"]

ROLES: dict[str, str] = {
    "detector_image.onnx": "detector",
    "detector_text.onnx": "detector",
    "segmenter_encoder.onnx": "segmenter",
    "segmenter_decoder.onnx": "segmenter",
    "segmenter_memory_encoder.onnx": "memory",
    "segmenter_memory_attention.onnx": "memory",
    "depth.onnx": "depth",
}
"""Graph -> what it is judged by."""

FIGURES = {
    "detector": "F1 of box and noun",
    "segmenter": "IoU from true boxes",
    "memory": "J, prompted once",
    "depth": "object pixels within 10 %",
}

WHOLE = "whole set"
_MEMORY_FRAMES, _CALIBRATION_CLIP = 32, 8
_MOST_FEEDS = 48  # inputs per graph that calibrate int8: some 150 MB of files


@dataclass
class Precision:
    """One row per graph and variant; ``figures`` is what the table shows, and more; ``weights``
    is role -> id and SHA-256 of what was measured."""

    tables: list[Table]
    figures: dict[str, Any]
    weights: dict[str, Any]


def evaluate_precision(
    models: str | Path = "embedded",
    *,
    graphs: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    worlds: int = 20,
    memory_worlds: int = 3,
    calibration_worlds: int = 12,
    rounds: int = 30,
    whole: bool = True,
    language: bool = True,
    work: Path = Path("runs/precision"),
    cache: Path = Path("runs/twinbench"),
) -> Precision:
    """Measure every variant of every graph; ``whole`` measures all graphs at once, too,
    ``language`` the language model.

    ``worlds`` are TwinBench's first validation worlds (four pictures each), ``memory_worlds``
    as many for the memory graphs. Variants are kept under ``work``, and every row as soon as it
    is measured, in ``rows.json``.

    Raises:
        InputError: if a graph or variant is unknown, or a number is not positive.
    """
    names = tuple(ROLES) if graphs is None else tuple(graphs)
    wanted = VARIANTS if variants is None else tuple(variants)
    unknown = {*names} - {*ROLES} | {*wanted} - {*VARIANTS}
    if unknown or min(worlds, memory_worlds, calibration_worlds, rounds) < 1:
        raise InputError(
            f"expected graphs out of {', '.join(ROLES)}, variants out of {', '.join(VARIANTS)} "
            f"and positive numbers, got {sorted(unknown)}, {worlds}, {memory_worlds}, "
            f"{calibration_worlds} and {rounds}"
        )
    chosen: tuple[Variant, ...] = tuple(v for v in VARIANTS if v in wanted)
    bundle = load_bundle(models, device="cpu", threads=1)
    seeds = SEEDS["val", "cell"]
    val = [rendered_world(seed, "cell", cache) for seed in seeds[:worlds]]
    clips = [rendered_world(seed, "cell", cache) for seed in seeds[:memory_worlds]]
    training = (rendered_world(seed, "cell", cache) for seed in range(calibration_worlds))
    shutil.rmtree(work / "inputs", ignore_errors=True)
    feeds = record(bundle, training, work / "inputs")
    bench = _Bench(bundle, val, clips, feeds, work, rounds)
    console = Console(stderr=True)
    jobs = [(name, variant) for name in names for variant in chosen]
    rows: list[dict[str, Any]] = []
    for name, variant in track(jobs, description="graphs", console=console):
        rows.append(bench.graph(name, variant))
        _note(rows, work)
    for variant in track(chosen if whole else (), description="sets", console=console):
        rows.append(bench.whole(variant))
        _note(rows, work)
    if language:
        rows += _language(models, bundle, val, work)
        _note(rows, work)
    where = f"{models} set, TwinBench val, cell tier, {len(val)} worlds"
    kinds = {name: shipped_as(bundle.path(name)) for name in ROLES}
    figures = {
        "rows": rows,
        "calibration_inputs": {name: len(fed) for name, fed in feeds.items()},
        "shipped_as": kinds,
    }
    return Precision([_table(rows, where, kinds)], figures, bundle_identities(bundle))


class _Bench:
    """What every row is measured on; remembers the variants that could be made and run."""

    def __init__(
        self,
        bundle: Bundle,
        val: Sequence[RenderedWorld],
        clips: Sequence[RenderedWorld],
        feeds: dict[str, Feeds],
        work: Path,
        rounds: int,
    ) -> None:
        self.bundle, self.val, self.clips, self.feeds = bundle, val, clips, feeds
        self.work, self.rounds = work, rounds
        self.files: dict[tuple[str, Variant], Path] = {}

    def graph(self, name: str, variant: Variant) -> dict[str, Any]:
        """One graph replaced, the others as shipped; a failure is told in the row."""
        file = self.work / variant.replace(" ", "_") / name
        role = ROLES[name]
        row: dict[str, Any] = {"graph": name, "variant": variant, "figure": FIGURES[role]}
        try:
            make_variant(self.bundle.path(name), file, variant, self.feeds[name])
            row["size_mb"] = file.stat().st_size / 1e6
            with_it = replaced(self.bundle, {name: file}, self.work / "bundle")
            row["score"] = score_role(role, with_it, self.val, self.clips)
            inputs = _stored_feed(self.feeds[name], self.work / f"{name}.npz")
            row |= _speeds("graph", file, inputs, self.rounds)
            self.files[name, variant] = file
        except (ModelError, RuntimeError, ValueError) as error:
            row["error"] = str(error).splitlines()[0][:200]
        return row

    def whole(self, variant: Variant) -> dict[str, Any]:
        """All graphs at once: every figure, and the perceiver's milliseconds per frame."""
        pictures = self.work / "frames.npy"
        np.save(pictures, self.clips[0].rgb_thw3)
        made = {name: file for (name, v), file in self.files.items() if v == variant}
        both = replaced(self.bundle, made, self.work / "sets" / variant.replace(" ", "_"))
        scores = {role: score_role(role, both, self.val, self.clips) for role in FIGURES}
        return {
            "graph": WHOLE,
            "variant": variant,
            "figure": "mean of the four",
            "score": float(np.mean(list(scores.values()))),
            "scores": scores,
            "replaced": sorted(made),
            "size_mb": sum(both.path(name).stat().st_size for name in ROLES) / 1e6,
            **_speeds("set", both.directory, pictures, self.rounds),
        }


def _note(rows: Sequence[dict[str, Any]], work: Path) -> None:
    (work / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")


def _language(
    models: str | Path, bundle: Bundle, val: Sequence[RenderedWorld], work: Path
) -> list[dict[str, Any]]:
    asked: dict[int, list[Question]] = {}
    for item in load("val", "cell"):
        asked.setdefault(item.seed, []).append(item.question)
    pairs = [(world.window, asked[world.seed]) for world in val]
    own = Path(models) / "reasoner"
    reasoner = load_reasoner(own if own.is_dir() else "embedded")
    return reasoner_rows(reasoner, pairs, bundle.words.nouns, work)


def _table(rows: Sequence[dict[str, Any]], where: str, kinds: dict[str, Variant]) -> Table:
    keys = ("score", "size_mb", "ms_1", "ms_2", "peak_mb")
    columns = ("graph", "numbers", "score", "MB", "ms, 1 thread", "ms, 2 threads", "peak MB")
    lines = [
        (
            row["graph"].removesuffix(".onnx"),
            row["variant"],
            *(row.get(key) for key in keys),
        )
        for row in rows
    ]
    before = next((r["before_mb"] for r in rows if "before_mb" in r), 0.0)
    notes = [
        f"the set ships as {' and '.join(sorted(set(kinds.values())))}; ms of a graph: "
        "one run on recorded inputs, of the whole set: one frame with tracking; peak MB: of a "
        f"process of its own, one thread; one that has opened nothing holds {before:.0f}",
        "scores: "
        + "; ".join(f"{role}: {name}" for role, name in FIGURES.items())
        + "; whole set: the mean of the four; reasoner: exact ids on true twins (ms: an answer)",
    ]
    notes += [f"{r['graph']}, {r['variant']}: {r['error']}" for r in rows if "error" in r]
    return Table(f"Number formats, {where}", columns, tuple(lines), tuple(notes))


# ---- recorded inputs


def record(bundle: Bundle, worlds: Iterable[RenderedWorld], folder: Path) -> dict[str, Feeds]:
    """Run every network on worlds as a device would; keeps a sample of each graph's inputs.

    Four pictures of each world, and a clip of its first frames for the memory.
    """
    watched = Recording(bundle, folder, _MOST_FEEDS)
    detector, segmenter, depth = Detector(watched), Segmenter(watched), DepthEstimator(watched)
    for world in worlds:
        for t in spread(len(world.rgb_thw3), 4):
            detector.detect(world.rgb_thw3[t])
            depth.depth_m(world.rgb_thw3[t])
            _segment(segmenter, world, t)
        follow(segmenter, _beginning(world, _CALIBRATION_CLIP))
    kept = watched.kept("feeds")
    return {name: kept.get(name, ()) for name in ROLES}


def _stored_feed(feeds: Feeds, file: Path) -> Path:
    """Write the last recorded input: of the memory, one with many memories."""
    arrays: dict[str, Any] = dict(feeds[-1])
    np.savez(file, **arrays)
    return file


# ---- sets and scores


def replaced(bundle: Bundle, files: dict[str, Path], folder: Path) -> Bundle:
    """Return a set in ``folder`` that is ``bundle`` with other files in place of some."""
    folder.mkdir(parents=True, exist_ok=True)
    record = json.loads(bundle.manifest.model_dump_json(by_alias=True))
    for entry in record["networks"].values():
        for name in entry["files"]:
            source = files.get(name, bundle.directory / name).resolve()
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(source)
            entry["files"][name] = sha256_of(source)
    manifest = Manifest.model_validate(record)
    (folder / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))
    return Bundle(folder, manifest, device="cpu", threads=1)


def score_role(
    role: str, bundle: Bundle, val: Sequence[RenderedWorld], clips: Sequence[RenderedWorld]
) -> float:
    """The figure of a network: see ``FIGURES``."""
    if role == "memory":
        segmenter = Segmenter(bundle)
        rows = [r for w in clips for r in follow(segmenter, _beginning(w, _MEMORY_FRAMES))]
        return float(memory_figures(rows)["all"]["j"])
    shots = [(world, t) for world in val for t in spread(len(world.rgb_thw3), 4)]
    if role == "detector":
        detector = Detector(bundle)
        found = DetectorScores(nouns=detector.nouns)
        for world, t in shots:
            found.add(detector.detect(world.rgb_thw3[t]), _visible(world, t))
        return float(found.figures()["f1"])
    if role == "depth":
        depth, metres = DepthEstimator(bundle), DepthScores()
        for world, t in shots:
            got = depth.depth_m(world.rgb_thw3[t])
            metres.add(got, world.depth_thw[t], _asked(world, t))
        return float(metres.figures()["within_10"])
    segmenter = Segmenter(bundle)
    return float(np.mean([iou for w, t in shots for iou in _segment(segmenter, w, t)]))


def _visible(world: RenderedWorld, t: int) -> list[ObjectTwin]:
    objects = world.window.frames[t].objects.values()
    return [obj for obj in objects if obj.state == "visible" and obj.mask is not None]


def _asked(world: RenderedWorld, t: int) -> list[ObjectTwin]:
    return [obj for obj in _visible(world, t) if obj.area >= MIN_AREA_PX]


def _segment(segmenter: Segmenter, world: RenderedWorld, t: int) -> list[float]:
    """IoU of every asked object from its true box."""
    truth = [(obj.box_xyxy, obj.mask) for obj in _asked(world, t) if obj.mask is not None]
    if not truth:
        return []
    boxes = np.array([box for box, _ in truth], np.float32)
    masks = segmenter.from_boxes(segmenter.encode(world.rgb_thw3[t]), boxes).masks_nhw
    return [
        intersection_over_union(mask, rle.decode(true))
        for mask, (_, true) in zip(masks, truth, strict=True)
    ]


def _beginning(world: RenderedWorld, frames: int) -> RenderedWorld:
    window = type(world.window)(world.window.frames[:frames])
    return RenderedWorld(world.seed, world.rgb_thw3[:frames], world.depth_thw[:frames], window)


def _speeds(what: str, model: Path, inputs: Path, rounds: int) -> dict[str, float]:
    """Milliseconds with one thread and with two, and memory with one."""
    command = [sys.executable, "-m", f"{__package__}.precision_probe", what, str(model)]
    found: dict[str, float] = {}
    for threads in (1, 2):
        extra = [str(inputs), "--threads", str(threads), "--rounds", str(rounds)]
        done = subprocess.run([*command, *extra], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ModelError(
                f"expected figures of {model}, got: {done.stderr.strip().splitlines()[-1:]}"
            )
        measured = json.loads(done.stdout)
        found |= {f"ms_{threads}": measured["ms"], f"cpu_ms_{threads}": measured["cpu_ms"]}
        if threads == 1:
            found |= {key: measured[key] for key in ("peak_mb", "before_mb")}
    return found
