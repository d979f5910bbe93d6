"""Speed and memory of a model set on this machine: one command, the machine named.

Perception is timed frame by frame after decoding, answers question by question on the
finished twin. Figures are of this process alone; run nothing else beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..twin.errors import InputError
from ..twin.window import TwinWindow
from .machine import environment, peak_rss_mb
from .models import Models, load_models
from .stream.source import Source, open_source

__all__ = ["BENCH_QUESTIONS", "BenchReport", "bench"]

BENCH_QUESTIONS = (
    "What could I drink from?",
    "Which object is closest to the camera?",
    "What moved to the left?",
)


@dataclass
class BenchReport:
    """Measured figures, plain values throughout (:attr:`document` is what JSON gets)."""

    models: str
    size: str
    load_ms: float
    frame_ms: list[float] = field(default_factory=list)
    stage_ms: dict[str, float] = field(default_factory=dict)
    first_answer_ms: list[float] = field(default_factory=list)
    next_answer_ms: list[float] = field(default_factory=list)
    answer_tokens: list[int] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        """Return everything as plain values, with the machine and its packages."""
        frames = max(1, len(self.frame_ms))
        return {
            "models": self.models,
            "size": self.size,
            "environment": environment(),
            "load_ms": self.load_ms,
            "perception": {
                "frames": len(self.frame_ms),
                "frames_per_s": round(1000 * frames / max(1e-9, sum(self.frame_ms)), 1),
                "ms_median": _median(self.frame_ms),
                "ms_p95": round(_percentile(self.frame_ms, 0.95), 2),
                "stage_ms_per_frame": {k: round(v / frames, 2) for k, v in self.stage_ms.items()},
            },
            "answer": {
                "questions": len(self.answer_tokens),
                "first_ms_median": _median(self.first_answer_ms),
                "next_ms_median": _median(self.next_answer_ms),
                "ms_max": max([*self.first_answer_ms, *self.next_answer_ms], default=0.0),
                "tokens_mean": round(statistics.mean(self.answer_tokens), 1),
            },
            "peak_rss_mb": peak_rss_mb(),
        }

    def markdown(self) -> str:
        """Return the figures as a table for README."""
        document = self.document
        machine, seen, said = (document[k] for k in ("environment", "perception", "answer"))
        stages = ", ".join(f"{k} {v:.1f}" for k, v in seen["stage_ms_per_frame"].items())
        rows = [
            ("perception, frames/s", f"{seen['frames_per_s']}"),
            ("perception, ms per frame (median / p95)", f"{seen['ms_median']} / {seen['ms_p95']}"),
            ("stages, mean ms per frame", stages or "–"),
            ("first answer on a twin, ms (median)", f"{said['first_ms_median']}"),
            ("next answer on the same twin, ms (median)", f"{said['next_ms_median']}"),
            ("answer, generated tokens (mean)", f"{said['tokens_mean']}"),
            ("load, ms", f"{self.load_ms}"),
            ("peak memory, MB", f"{document['peak_rss_mb']}"),
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

    Each clip is perceived ``repeat`` times by a fresh perceiver, after one unmeasured frame
    that warms the engines up; then every question is asked once per pass.

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
    for clip in [clip for clip in clips for _ in range(repeat)]:
        started = time.perf_counter()
        ready = models if isinstance(models, Models) else load_models(models)
        if report is None:
            load_ms = round((time.perf_counter() - started) * 1000, 1)
            frame = next(iter(open_source(clip)))
            height, width = frame.image_hw3.shape[:2]
            report = BenchReport(ready.name, f"{width}x{height}", load_ms)
            ready.perceiver.observe(frame)
            ready = models if isinstance(models, Models) else load_models(models)
        _measure(ready, open_source(clip), questions, report)
    assert report is not None
    return report


def _measure(ready: Models, clip: Source, questions: Sequence[str], to: BenchReport) -> None:
    window = TwinWindow()
    for frame in clip:  # decoded outside the clock: decoding is not perception
        started = time.perf_counter()
        window.append(ready.perceiver.observe(frame))
        to.frame_ms.append((time.perf_counter() - started) * 1000)
    for stage, ms in ready.stage_ms().items():
        to.stage_ms[stage] = to.stage_ms.get(stage, 0.0) + ms
    for place, question in enumerate(questions):
        started = time.perf_counter()
        answer = ready.reasoner.answer(question, window).model_dump(mode="json")
        took = round((time.perf_counter() - started) * 1000, 1)
        (to.next_answer_ms if place else to.first_answer_ms).append(took)
        to.answer_tokens.append(_generated(answer.get("tokens", {})))


def _median(values: list[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None


def _generated(tokens: dict[str, int]) -> int:
    return sum(tokens.get(part, 0) for part in ("rationale", "plan", "answer"))


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
