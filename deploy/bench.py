"""Speed and memory of a model set on this machine: one command, the machine named.

Perception is timed after decoding, on the same frames frame by frame (``observe``) and with
networks ahead (``stream``), the two in turns, so that whatever else the machine does meets
both. Answers are timed question by question on the finished twin. Figures are of this process
alone; run nothing else beside it.

Not covered: decoding (``edgetwin run`` reports it), frames after the first 512 of a clip.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..twin.errors import InputError
from ..twin.frame import Frame
from ..twin.window import TwinWindow
from .machine import environment, peak_rss_mb
from .models import Models, Streamer, load_models
from .stream.source import open_source

__all__ = ["BENCH_QUESTIONS", "BenchReport", "bench"]

BENCH_QUESTIONS = (
    "What could I drink from?",
    "Which object is closest to the camera?",
    "What moved to the left?",
)

_MOST_FRAMES = 512  # of a clip, held decoded so that decoding is not measured


@dataclass
class BenchReport:
    """Measured figures, plain values throughout (:attr:`document` is what JSON gets).

    ``frame_ms`` and ``stage_ms`` are of frame-by-frame passes; ``stream_ms`` (between one twin
    and the next) and ``stream_stage_ms`` of pipelined ones, empty if the perceiver cannot.
    ``peak_rss_mb`` is the most memory held until the first clip was perceived and answered;
    ``weights`` are role -> id and SHA-256.
    """

    models: str
    size: str
    load_ms: float
    frame_ms: list[float] = field(default_factory=list)
    stream_ms: list[float] = field(default_factory=list)
    stream_stage_ms: dict[str, float] = field(default_factory=dict)
    stage_ms: dict[str, float] = field(default_factory=dict)
    first_answer_ms: list[float] = field(default_factory=list)
    next_answer_ms: list[float] = field(default_factory=list)
    answer_tokens: list[int] = field(default_factory=list)
    peak_rss_mb: float = 0.0
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """Return everything as plain values, with the machine and its packages."""
        frames = max(1, len(self.frame_ms))
        return {
            "models": self.models,
            "size": self.size,
            "environment": environment(),
            "weights": self.weights,
            "load_ms": self.load_ms,
            "perception": {
                "frames": len(self.frame_ms),
                "frames_per_s": _rate(self.stream_ms or self.frame_ms),
                "frames_per_s_unpipelined": _rate(self.frame_ms),
                "ms_median": _median(self.frame_ms),
                "ms_p95": round(_percentile(self.frame_ms, 0.95), 2),
                "stage_ms_per_frame": {k: round(v / frames, 2) for k, v in self.stage_ms.items()},
                "stage_share": _shares(self.stage_ms, sum(self.frame_ms)),
                "stage_ms_per_frame_pipelined": {
                    k: round(v / frames, 2) for k, v in self.stream_stage_ms.items()
                },
            },
            "answer": {
                "questions": len(self.answer_tokens),
                "first_ms_median": _median(self.first_answer_ms),
                "next_ms_median": _median(self.next_answer_ms),
                "ms_max": max([*self.first_answer_ms, *self.next_answer_ms], default=0.0),
                "tokens_mean": round(statistics.mean(self.answer_tokens), 1),
            },
            "peak_rss_mb": self.peak_rss_mb,
        }

    def markdown(self) -> str:
        """Return the figures as a table for README."""
        document = self.document
        machine, seen, said = (document[k] for k in ("environment", "perception", "answer"))
        shares = seen["stage_share"]
        stages = ", ".join(
            f"{k} {v:.1f} ({shares[k]:.0%})"
            for k, v in seen["stage_ms_per_frame"].items()
            if v >= 0.05
        )
        rows = [
            ("perception, frames/s", f"{seen['frames_per_s']}"),
            ("the same frame by frame, frames/s", f"{seen['frames_per_s_unpipelined']}"),
            ("one frame alone, ms (median / p95)", f"{seen['ms_median']} / {seen['ms_p95']}"),
            ("its stages, mean ms per frame (share)", stages or "–"),
            ("first answer on a twin, ms (median)", f"{said['first_ms_median']}"),
            ("next answer on the same twin, ms (median)", f"{said['next_ms_median']}"),
            ("answer, generated tokens (mean)", f"{said['tokens_mean']}"),
            ("load, ms", f"{self.load_ms}"),
            ("peak memory after the first clip and its answers, MB", f"{document['peak_rss_mb']}"),
        ]
        runtime = machine["packages"].get("onnxruntime", "onnxruntime")
        head = (
            f"{self.models} set, {self.size}, {seen['frames']} frames, ONNX Runtime {runtime}, "
            f"{machine['cpu']}, {machine['cpus']} CPUs:"
        )
        return "\n".join(
            [head, "", "| figure | value |", "|---|---:|", *(f"| {k} | {v} |" for k, v in rows)]
        )


def bench(
    clips: Sequence[Path],
    models: str | Path | Models = "embedded",
    questions: Sequence[str] = BENCH_QUESTIONS,
    repeat: int = 1,
) -> BenchReport:
    """Measure a model set on clips.

    Each clip is perceived ``repeat`` times in both ways, each time by a perceiver that has
    forgotten all, after one unmeasured frame that warms the engines up; then every question is
    asked once per pass.

    Raises:
        InputError: if there is no clip or no question.
        SourceError, ModelError: as :func:`edgetwin.deploy.run.run`.
    """
    if not clips or not questions or repeat < 1:
        raise InputError(
            f"expected clips, questions and repeat >= 1, got {len(clips)}, {len(questions)} "
            f"and {repeat}: give clips as arguments"
        )
    report: BenchReport | None = None
    for place, clip in enumerate(clip for clip in clips for _ in range(repeat)):
        frames = list(islice(open_source(clip), _MOST_FRAMES))
        started = time.perf_counter()
        ready = models if isinstance(models, Models) else load_models(models)
        if report is None:
            load_ms = round((time.perf_counter() - started) * 1000, 1)
            height, width = frames[0].image_hw3.shape[:2]
            report = BenchReport(ready.name, f"{width}x{height}", load_ms)
            report.weights = ready.identities
        later = [_later(frame, frames[-1].timestamp_s + 1.0) for frame in frames]
        if place % 2 == 0:
            window = _measure(ready, frames, report)
            _measure_stream(ready, later, report)
        else:
            _measure_stream(ready, frames, report)
            window = _measure(ready, later, report)
        _measure_answers(ready, questions, window, report)
        # Later passes load the networks again, which no stream does.
        report.peak_rss_mb = report.peak_rss_mb or peak_rss_mb()
    assert report is not None
    return report


def _measure(ready: Models, frames: Sequence[Frame], to: BenchReport) -> TwinWindow:
    """Frame by frame."""
    window = TwinWindow()
    _warm(ready, frames[0])
    before = ready.stage_ms()
    for frame in frames:
        started = time.perf_counter()
        window.append(ready.perceiver.observe(frame))
        to.frame_ms.append((time.perf_counter() - started) * 1000)
    _add(to.stage_ms, ready.stage_ms(), before)
    return window


def _measure_answers(
    ready: Models, questions: Sequence[str], window: TwinWindow, to: BenchReport
) -> None:
    for place, question in enumerate(questions):
        started = time.perf_counter()
        answer = ready.reasoner.answer(question, window).model_dump(mode="json")
        took = round((time.perf_counter() - started) * 1000, 1)
        (to.next_answer_ms if place else to.first_answer_ms).append(took)
        to.answer_tokens.append(_generated(answer.get("tokens", {})))


def _measure_stream(ready: Models, frames: Sequence[Frame], to: BenchReport) -> None:
    """With networks ahead, where the perceiver can."""
    perceiver = ready.perceiver
    if not isinstance(perceiver, Streamer):
        return
    _warm(ready, frames[0])
    before = ready.stage_ms()
    window = TwinWindow()
    started = time.perf_counter()
    for twin in perceiver.stream(frames):
        window.append(twin)
        now = time.perf_counter()
        to.stream_ms.append((now - started) * 1000)
        started = now
    _add(to.stream_stage_ms, ready.stage_ms(), before)


def _warm(ready: Models, frame: Frame) -> None:
    """Perceive one frame of half the size: engines warm up, and what was seen is forgotten."""
    ready.perceiver.observe(replace(frame, image_hw3=frame.image_hw3[::2, ::2].copy()))


def _later(frame: Frame, seconds: float) -> Frame:
    return replace(frame, timestamp_s=frame.timestamp_s + seconds)


def _add(total: dict[str, float], now: dict[str, float], before: dict[str, float]) -> None:
    for stage, ms in now.items():
        total[stage] = total.get(stage, 0.0) + ms - before.get(stage, 0.0)


def _shares(stage_ms: dict[str, float], total_ms: float) -> dict[str, float]:
    return {k: round(v / max(total_ms, 1e-9), 4) for k, v in stage_ms.items()}


def _rate(frame_ms: list[float]) -> float:
    return round(1000 * len(frame_ms) / max(1e-9, sum(frame_ms)), 1)


def _median(values: list[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None


def _generated(tokens: dict[str, int]) -> int:
    return sum(tokens.get(part, 0) for part in ("rationale", "plan", "answer"))


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
