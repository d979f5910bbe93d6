"""Two ways to do the same work, in one run: sets in turns, or ours against plain transformers.

The plain pipeline is what examples do: on every frame detector with its texts, the image
segmenter prompted with boxes, and depth, by transformers, eager, in float32; every question the
language model by transformers with no grammar and nothing kept from the question before. It is
given the boxes that ours found, so both segment the same objects; finding them in the detector's
output is not counted on its side.

Not covered: batching, compilation, other data types in the plain pipeline.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError, MissingExtraError
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow
from .bench import BENCH_QUESTIONS, bench_sets, warm_up
from .bench_plain import Straightforward, plain_of
from .bench_report import BenchReport, percentiles
from .machine import environment
from .models import load_models
from .stream.source import open_source

__all__ = [
    "Comparison",
    "PerceivedClip",
    "compare_cuda_graphs",
    "compare_sets",
    "compare_transformers",
]

_MOST_FRAMES = 96  # of a clip: the plain side takes long


@dataclass
class Comparison:
    """Columns of figures, the first of which the others are measured against."""

    head: str
    columns: dict[str, dict[str, float | None]]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "head": self.head,
            "environment": environment(),
            "columns": self.columns,
            "details": self.details,
        }

    def markdown(self) -> str:
        """Return the columns as a table."""
        names = list(self.columns)
        rows = dict.fromkeys(row for column in self.columns.values() for row in column)
        lines = [self.head, "", "| figure | " + " | ".join(names) + " |"]
        lines.append("|---" + "|---:" * len(names) + "|")
        for row in rows:
            cells = (_cell(self.columns[name].get(row)) for name in names)
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def compare_sets(
    clips: Sequence[Path],
    sets: Sequence[str | Path],
    questions: Sequence[str] = BENCH_QUESTIONS,
    repeat: int = 1,
    *,
    cuda_graphs: bool = False,
) -> Comparison:
    """Measure sets in turns; the share of equal answers is against the first.

    Raises:
        InputError: if there are fewer than two sets, or as :func:`.bench.bench`.
        SourceError, ModelError: as there.
    """
    if len(sets) < 2:
        raise InputError(f"expected at least two sets to compare, got {len(sets)}")
    switches = [cuda_graphs] * len(sets)
    reports = bench_sets(clips, sets, questions, repeat, cuda_graphs=switches)
    return _compared(_names(sets), reports)


def compare_cuda_graphs(
    clips: Sequence[Path],
    models: str | Path,
    questions: Sequence[str] = BENCH_QUESTIONS,
    repeat: int = 1,
) -> Comparison:
    """Measure one set in turns, its TensorRT plans launched kernel by kernel and as CUDA graphs.

    Raises:
        InputError: if the set has no TensorRT plans, or as :func:`.bench.bench`.
        SourceError, ModelError: as there.
    """
    reports = bench_sets(clips, [models] * 2, questions, repeat, cuda_graphs=(False, True))
    return _compared(["kernel by kernel", "CUDA graphs"], reports)


def _compared(names: Sequence[str], reports: Sequence[BenchReport]) -> Comparison:
    base = reports[0]
    columns = {}
    for name, report in zip(names, reports, strict=True):
        columns[name] = _column(report, base)
    head = f"{base.size}, {len(base.frame_ms)} frames, in turns in one run, {_machine()}:"
    return Comparison(head, columns, {n: r.document for n, r in zip(names, reports, strict=True)})


def compare_transformers(
    clips: Sequence[Path],
    models: str | Path = "embedded",
    questions: Sequence[str] = BENCH_QUESTIONS,
    repeat: int = 1,
) -> Comparison:
    """Measure a set against the plain pipeline of the same networks, clip by clip in turns.

    Raises:
        MissingExtraError: without torch and transformers.
        InputError, SourceError, ModelError: as :func:`.bench.bench`; ModelError too if the set's
            weights are not there for transformers.
    """
    if not clips or not questions or repeat < 1:
        raise InputError("expected clips, questions and repeat >= 1: give clips as arguments")
    pair = _Pair(models, questions)
    for clip in (clip for clip in clips for _ in range(repeat)):
        pair.run(list(islice(open_source(clip), _MOST_FRAMES)))
    head = f"{models} set, {pair.size}, {pair.frames} frames, in turns in one run, {_machine()}:"
    columns = {
        "transformers": _plain_column(pair.theirs, pair.theirs),
        "ours": _plain_column(pair.ours, pair.theirs),
    }
    sides = {"transformers": pair.theirs, "ours": pair.ours}
    details: dict[str, Any] = {
        "transformers_stage_ms_per_frame": {k: v / pair.frames for k, v in pair.stages.items()},
        "frame_ms": {name: percentiles(side["frame"]) for name, side in sides.items()},
        "answer_ms": {name: percentiles(side["answer"]) for name, side in sides.items()},
    }
    return Comparison(head, columns, details)


class _Pair:
    """Ours and plain transformers, with what was measured of both in milliseconds."""

    def __init__(self, models: str | Path, questions: Sequence[str]) -> None:
        self._models, self._questions = models, questions
        bundle = load_models(models).bundle
        assert bundle is not None  # load_models always has one
        self._words = bundle.words.nouns
        self._plain = plain_of(bundle)
        self._reasoner = _plain_reasoner(models, self._words)
        self.ours: dict[str, list[float]] = {"frame": [], "answer": []}
        self.theirs: dict[str, list[float]] = {"frame": [], "answer": []}
        self.stages: dict[str, float] = {}
        self.frames, self.size = 0, ""

    def run(self, frames: Sequence[Frame]) -> None:
        """Measure both on the frames of a clip: ours first, since it finds the boxes."""
        self.size = "{1}x{0}".format(*frames[0].image_hw3.shape[:2])
        self.frames += len(frames)
        ready, twins = load_models(self._models), list[FrameTwin]()
        warm_up(ready, frames[0])
        for frame in frames:
            start = time.perf_counter()
            twins.append(ready.perceiver.observe(frame))
            self.ours["frame"].append(1000 * (time.perf_counter() - start))
        self._run_plain(PerceivedClip(frames, twins, self._words), len(frames))
        window = TwinWindow(twins)
        for reasoner, to in ((ready.reasoner, self.ours), (self._reasoner, self.theirs)):
            for question in self._questions:
                start = time.perf_counter()
                reasoner.answer(question, window)
                to["answer"].append(1000 * (time.perf_counter() - start))

    def _run_plain(self, scene: PerceivedClip, frames: int) -> None:
        side = Straightforward(self._plain, scene)
        side.frame()  # the first is not counted
        before = side.spent_ms()
        for _ in range(frames):
            start = time.perf_counter()
            side.frame()
            self.theirs["frame"].append(1000 * (time.perf_counter() - start))
        for stage, ms in side.spent_ms().items():
            self.stages[stage] = self.stages.get(stage, 0.0) + ms - before.get(stage, 0.0)


class PerceivedClip:
    """A clip and the boxes that were found on it, as a scene that goes round for ever."""

    def __init__(
        self, frames: Sequence[Frame], twins: Sequence[FrameTwin], words: Sequence[str]
    ) -> None:
        self._frames, self._twins = list(frames), list(twins)
        self.words = tuple(words) or ("object",)

    def frame(self, index: int) -> Frame:
        """Return a frame."""
        return self._frames[index % len(self._frames)]

    def boxes(self, index: int) -> NDArray[np.float32]:
        """Return the boxes (N, 4) of the objects that are visible in it."""
        twin = self._twins[index % len(self._twins)]
        boxes = [o.box_xyxy for o in twin.objects.values() if o.state == "visible"]
        return np.asarray(boxes, np.float32).reshape(-1, 4)


def _plain_reasoner(models: str | Path, words: Sequence[str]) -> Any:
    """Return the same language model in transformers, no grammar, nothing kept."""
    from ..reasoner.bundle import EMBEDDED
    from ..reasoner.rollout import Reasoner
    from .models import set_folders

    place = set_folders(models)[1]
    folder = EMBEDDED if str(place) == "embedded" else Path(place)
    if not (folder / "model.safetensors").is_file():
        raise InputError(
            f"expected model.safetensors in {folder} to run the same language model in "
            "transformers, got none; compare the embedded set"
        )
    try:
        from ..reasoner.models.transformers import TransformersModel
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "export") from error

    class Forgetful:
        """A reasoner that is opened anew for every question, its model once."""

        def __init__(self) -> None:
            self.model = TransformersModel(folder, device="cpu", guided=False)

        def answer(self, question: str, window: TwinWindow) -> Any:
            return Reasoner(self.model, vocabulary=words).answer(question, window)

    return Forgetful()


def _column(report: BenchReport, base: BenchReport) -> dict[str, float | None]:
    seen, said = report.document["perception"], report.document["answer"]
    reference = base.document["perception"]["frames_per_s"]
    same = [a == b for a, b in zip(report.answers, base.answers, strict=True)]
    return {
        "perception, frames/s": seen["frames_per_s"],
        "times as fast": round(seen["frames_per_s"] / max(reference, 1e-9), 2),
        "frame by frame, frames/s": seen["frames_per_s_unpipelined"],
        "frame, ms p50": seen["ms"]["p50"],
        "frame, ms p95": seen["ms"]["p95"],
        "frame, ms p99": seen["ms"]["p99"],
        **{f"{k}, ms p50": v["p50"] for k, v in seen["stage_ms"].items() if k in _NETWORKS},
        "first answer, ms p50": said["first_ms"]["p50"],
        "next answer, ms p50": said["next_ms"]["p50"],
        "tokens/s": said["tokens_per_s"],
        "load, ms": report.load_ms,
        "same answers": round(sum(same) / len(same), 4) if same else None,
    }


_NETWORKS = ("encoder", "detector", "segmenter", "memory", "depth")


def _plain_column(
    side: dict[str, list[float]], base: dict[str, list[float]]
) -> dict[str, float | None]:
    frame, answer = percentiles(side["frame"]), percentiles(side["answer"])
    return {
        "frame by frame, frames/s": round(1000 / frame["mean"], 2),
        "times as fast": round(percentiles(base["frame"])["mean"] / frame["mean"], 2),
        "frame, ms p50": frame["p50"],
        "frame, ms p95": frame["p95"],
        "frame, ms p99": frame["p99"],
        "answer, ms p50": answer["p50"],
        "answers, times as fast": round(percentiles(base["answer"])["p50"] / answer["p50"], 2),
    }


def _names(sets: Sequence[str | Path]) -> list[str]:
    """Return short names that differ."""
    names = [Path(one).name for one in sets]
    return names if len(set(names)) == len(names) else [str(one) for one in sets]


def _machine() -> str:
    machine = environment()
    return f"{machine['cpu']}, {machine['cpus']} CPUs"


def _cell(value: float | None) -> str:
    return "–" if value is None else str(value)
