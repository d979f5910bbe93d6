"""What ``edgetwin bench`` found: plain values, the table for README, comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..twin.errors import InputError
from .machine import environment

__all__ = ["BenchReport", "percentile", "percentiles", "replace_section"]


@dataclass
class BenchReport:
    """Measured figures, plain values throughout (:attr:`document` is what JSON gets).

    ``frame_ms`` and ``stage_ms`` are of frame-by-frame passes, ``stage_runs_ms`` every run of a
    stage in them; ``stream_ms`` (between one twin and the next) and ``stream_stage_ms`` of
    pipelined ones, empty if the perceiver cannot. ``answer_s`` is what the model's answers took
    in all. ``cold_ms``: loading, the first frame and the first answer of the process.
    ``peak_rss_mb`` is the most memory held until the first clip was perceived and answered;
    ``weights`` are role -> id and SHA-256; ``answers`` what was answered, clip by clip.
    """

    models: str
    size: str
    load_ms: float
    frame_ms: list[float] = field(default_factory=list)
    stream_ms: list[float] = field(default_factory=list)
    stream_stage_ms: dict[str, float] = field(default_factory=dict)
    stage_ms: dict[str, float] = field(default_factory=dict)
    stage_runs_ms: dict[str, list[float]] = field(default_factory=dict)
    first_answer_ms: list[float] = field(default_factory=list)
    next_answer_ms: list[float] = field(default_factory=list)
    answer_tokens: list[int] = field(default_factory=list)
    cold_ms: dict[str, float] = field(default_factory=dict)
    energy: dict[str, float | str] = field(default_factory=dict)
    peak_rss_mb: float = 0.0
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[Any] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        """Return everything as plain values, with the machine and its packages."""
        return {
            "models": self.models,
            "size": self.size,
            "environment": environment(),
            "weights": self.weights,
            "load_ms": self.load_ms,
            "cold_start_ms": self.cold_ms,
            "perception": self._perception(),
            "answer": self._answers(),
            "energy": self.energy or None,
            "peak_rss_mb": self.peak_rss_mb,
        }

    def _perception(self) -> dict[str, Any]:
        frames = max(1, len(self.frame_ms))
        return {
            "frames": len(self.frame_ms),
            "frames_per_s": _rate(self.stream_ms or self.frame_ms),
            "frames_per_s_unpipelined": _rate(self.frame_ms),
            "ms_median": _median(self.frame_ms),
            "ms_p95": round(percentile(self.frame_ms, 0.95), 2),
            "ms": percentiles(self.frame_ms),
            "stage_ms_per_frame": {k: round(v / frames, 2) for k, v in self.stage_ms.items()},
            "stage_share": _shares(self.stage_ms, sum(self.frame_ms)),
            "stage_ms_per_frame_pipelined": {
                k: round(v / frames, 2) for k, v in self.stream_stage_ms.items()
            },
            "stage_ms": {k: percentiles(v) for k, v in self.stage_runs_ms.items() if v},
        }

    def _answers(self) -> dict[str, Any]:
        every = [*self.first_answer_ms, *self.next_answer_ms]
        seconds = sum(every) / 1000
        return {
            "questions": len(self.answer_tokens),
            "first_ms_median": _median(self.first_answer_ms),
            "next_ms_median": _median(self.next_answer_ms),
            "first_ms": percentiles(self.first_answer_ms),
            "next_ms": percentiles(self.next_answer_ms),
            "ms_max": max(every, default=0.0),
            "tokens_mean": round(statistics.mean(self.answer_tokens), 1),
            "answers_per_s": round(len(every) / max(seconds, 1e-9), 2),
            "tokens_per_s": round(sum(self.answer_tokens) / max(seconds, 1e-9), 1),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return the figures for a table, each with its name."""
        document = self.document
        seen, said = document["perception"], document["answer"]
        shares, frame, first = seen["stage_share"], seen["ms"], said["first_ms"]
        stages = ", ".join(
            f"{k} {v:.1f} ({shares[k]:.0%})"
            for k, v in seen["stage_ms_per_frame"].items()
            if v >= 0.05
        )
        rows = [
            ("perception, frames/s", f"{seen['frames_per_s']}"),
            ("the same frame by frame, frames/s", f"{seen['frames_per_s_unpipelined']}"),
            ("one frame alone, ms (p50 / p95 / p99)", _three(frame)),
            ("its stages, mean ms per frame (share)", stages or "–"),
            ("first answer on a twin, ms (p50 / p95 / p99)", _three(first)),
            ("next answer on the same twin, ms (p50 / p95 / p99)", _three(said["next_ms"])),
            ("answers per second", f"{said['answers_per_s']}"),
            ("generated tokens per second, tools and all", f"{said['tokens_per_s']}"),
            ("answer, generated tokens (mean)", f"{said['tokens_mean']}"),
            ("load, ms", f"{self.load_ms}"),
            ("cold start: load, first frame, first answer, ms", _cold(self.cold_ms)),
            ("peak memory after the first clip and its answers, MB", f"{document['peak_rss_mb']}"),
        ]
        if self.energy:
            rows.append(
                ("energy per frame, J (mean W)",
                 f"{self.energy['joules_per_frame']} ({self.energy['mean_w']})")
            )  # fmt: skip
        return rows

    def markdown(self) -> str:
        """Return the figures as a table for README."""
        rows = [f"| {k} | {v} |" for k, v in self.rows()]
        return "\n".join([self.head(), "", "| figure | value |", "|---|---:|", *rows])

    def head(self) -> str:
        """Return the line that names set, pictures, runtime and machine."""
        machine = self.document["environment"]
        runtime = machine["packages"].get("onnxruntime", "onnxruntime")
        return (
            f"{self.models} set, {self.size}, {len(self.frame_ms)} frames, ONNX Runtime {runtime}, "
            f"{machine['cpu']}, {machine['cpus']} CPUs:"
        )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of them lie (the nearest one), 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99, mean and count of milliseconds."""
    shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
    found: dict[str, float] = {k: round(percentile(values, v), 3) for k, v in shares.items()}
    if values:
        found["p50"] = round(statistics.median(values), 3)
    found["mean"] = round(statistics.fmean(values), 3) if values else 0.0
    return found | {"count": len(values)}


def replace_section(path: Path, marker: str, text: str) -> None:
    """Replace what stands between ``<!-- marker:begin -->`` and ``<!-- marker:end -->``.

    Raises:
        InputError: if the file lacks the two markers.
    """
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    old = path.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise InputError(f"expected {begin} before {end} once in {path}: add the two lines")
    head, rest = old.split(begin)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def _three(found: Mapping[str, float]) -> str:
    if not found["count"]:
        return "–"
    return " / ".join(f"{found[k]:.1f}" for k in ("p50", "p95", "p99"))


def _cold(found: Mapping[str, float]) -> str:
    return " + ".join(f"{ms:.0f}" for ms in found.values()) or "–"


def _shares(stage_ms: dict[str, float], total_ms: float) -> dict[str, float]:
    return {k: round(v / max(total_ms, 1e-9), 4) for k, v in stage_ms.items()}


def _rate(frame_ms: list[float]) -> float:
    return round(1000 * len(frame_ms) / max(1e-9, sum(frame_ms)), 1)


def _median(values: list[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None
