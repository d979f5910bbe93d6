"""Speed and memory of a model set on this machine: one command, the machine named.

Perception is timed after decoding, on the same frames frame by frame (``observe``) and with
networks ahead (``stream``), the two in turns, so that whatever else the machine does meets
both. Answers are timed question by question on the finished twin. Figures are of this process
alone; run nothing else beside it.

Not covered: decoding (``edgetwin run`` reports it), frames after the first 512 of a clip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..twin.errors import InputError
from ..twin.frame import Frame
from ..twin.window import TwinWindow
from .bench_energy import EnergyMeter, PowerReader, find_reader
from .bench_report import BenchReport
from .machine import peak_rss_mb
from .models import Models, Streamer, load_models
from .stream.source import open_source

__all__ = ["BENCH_QUESTIONS", "BenchReport", "bench", "bench_sets", "warm_up"]

BENCH_QUESTIONS = (
    "What could I drink from?",
    "Which object is closest to the camera?",
    "What moved to the left?",
)

_MOST_FRAMES = 512  # of a clip, held decoded so that decoding is not measured

Progress = Callable[[str, int, int | None], None]


def bench(
    clips: Sequence[Path],
    models: str | Path | Models = "embedded",
    questions: Sequence[str] = BENCH_QUESTIONS,
    repeat: int = 1,
) -> BenchReport:
    """Measure a model set on clips.

    Each clip is perceived ``repeat`` times in both ways, each time by a perceiver that has
    forgotten all, after one frame that warms the engines up; then every question is asked once
    per pass.

    Raises:
        InputError: if there is no clip or no question.
        SourceError, ModelError: as :func:`edgetwin.deploy.run.run`.
    """
    return bench_sets(clips, [models], questions, repeat)[0]


def bench_sets(
    clips: Sequence[Path],
    sets: Sequence[str | Path | Models],
    questions: Sequence[str] = BENCH_QUESTIONS,
    repeat: int = 1,
    *,
    reader: PowerReader | None = None,
    progress: Progress | None = None,
    cuda_graphs: Sequence[bool] = (),
) -> list[BenchReport]:
    """Measure several sets in one run: pass by pass in turns, so that all meet the same machine.

    ``reader`` gives the power (None: what the board has, :func:`.bench_energy.find_reader`);
    energy is of the whole process, so it is told for one set alone, as is peak memory.
    ``cuda_graphs`` says for each set whether TensorRT's plans are launched as CUDA graphs.

    Raises:
        InputError, SourceError, ModelError: as :func:`bench`.
    """
    if not clips or not questions or repeat < 1 or not sets:
        raise InputError(
            f"expected clips, questions, sets and repeat >= 1, got {len(clips)}, {len(questions)}, "
            f"{len(sets)} and {repeat}: give clips as arguments"
        )
    switches = cuda_graphs or [False] * len(sets)
    benches = [_Bench(*one, questions) for one in zip(sets, switches, strict=True)]
    passes = [clip for clip in clips for _ in range(repeat)]
    with EnergyMeter((reader or find_reader()) if len(sets) == 1 else None) as meter:
        for place, clip in enumerate(passes):
            frames = list(islice(open_source(clip), _MOST_FRAMES))
            turn = place % len(benches)
            for one in (*benches[turn:], *benches[:turn]):
                one.run(frames, stream_first=place % 2 == 1)
                if len(benches) == 1 and not one.report.peak_rss_mb:
                    # Later passes load the networks again, which no stream does.
                    one.report.peak_rss_mb = peak_rss_mb()
            if progress is not None:
                progress("passes", place + 1, len(passes))
    if meter.joules is not None and meter.reader is not None:
        _note_energy(benches[0].report, meter, meter.reader.name)
    return [one.report for one in benches]


class _Bench:
    """One set and what was measured of it."""

    def __init__(
        self, models: str | Path | Models, cuda_graphs: bool, questions: Sequence[str]
    ) -> None:
        self._models, self._cuda_graphs, self._questions = models, cuda_graphs, questions
        name = models.name if isinstance(models, Models) else str(models)
        self.report = BenchReport(name, "", 0.0)

    def run(self, frames: Sequence[Frame], *, stream_first: bool) -> None:
        """Perceive frames in both ways, and answer."""
        report, given = self.report, self._models
        started = time.perf_counter()
        if isinstance(given, Models):
            ready = given
        else:
            ready = load_models(given, cuda_graphs=self._cuda_graphs)
        if not report.size:
            report.load_ms = round((time.perf_counter() - started) * 1000, 1)
            height, width = frames[0].image_hw3.shape[:2]
            report.models, report.size = ready.name, f"{width}x{height}"
            report.weights = ready.identities
        later = [_later(frame, frames[-1].timestamp_s + 1.0) for frame in frames]
        if stream_first:
            _measure_stream(ready, frames, report)
            window = _measure(ready, later, report)
        else:
            window = _measure(ready, frames, report)
            _measure_stream(ready, later, report)
        _measure_answers(ready, self._questions, window, report)


def _measure(ready: Models, frames: Sequence[Frame], to: BenchReport) -> TwinWindow:
    """Frame by frame."""
    window = TwinWindow()
    first = warm_up(ready, frames[0])
    to.cold_ms = to.cold_ms or {"load": to.load_ms, "frame": first}
    before = ready.stage_ms()
    ready.listen(lambda stage, ms: to.stage_runs_ms.setdefault(stage, []).append(ms))
    try:
        for frame in frames:
            started = time.perf_counter()
            window.append(ready.perceiver.observe(frame))
            to.frame_ms.append((time.perf_counter() - started) * 1000)
    finally:
        ready.listen(None)
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
        to.answers.append([answer.get("status"), answer.get("ids"), answer.get("value")])
    to.cold_ms.setdefault("answer", to.first_answer_ms[0])


def _measure_stream(ready: Models, frames: Sequence[Frame], to: BenchReport) -> None:
    """With networks ahead, where the perceiver can."""
    perceiver = ready.perceiver
    if not isinstance(perceiver, Streamer):
        return
    first = warm_up(ready, frames[0])
    to.cold_ms = to.cold_ms or {"load": to.load_ms, "frame": first}
    before = ready.stage_ms()
    window = TwinWindow()
    started = time.perf_counter()
    for twin in perceiver.stream(frames):
        window.append(twin)
        now = time.perf_counter()
        to.stream_ms.append((now - started) * 1000)
        started = now
    _add(to.stream_stage_ms, ready.stage_ms(), before)


def warm_up(ready: Models, frame: Frame) -> float:
    """Perceive one frame of half the size: engines warm up, and what was seen is forgotten.

    Returns its milliseconds.
    """
    started = time.perf_counter()
    ready.perceiver.observe(replace(frame, image_hw3=frame.image_hw3[::2, ::2].copy()))
    return round((time.perf_counter() - started) * 1000, 1)


def _later(frame: Frame, seconds: float) -> Frame:
    return replace(frame, timestamp_s=frame.timestamp_s + seconds)


def _add(total: dict[str, float], now: dict[str, float], before: dict[str, float]) -> None:
    for stage, ms in now.items():
        total[stage] = total.get(stage, 0.0) + ms - before.get(stage, 0.0)


def _generated(tokens: dict[str, int]) -> int:
    return sum(tokens.get(part, 0) for part in ("rationale", "plan", "answer"))


def _note_energy(report: BenchReport, meter: EnergyMeter, name: str) -> None:
    """Note what both ways and the answers took together, per frame of both."""
    frames = max(1, len(report.frame_ms) + len(report.stream_ms))
    joules = meter.joules or 0.0
    report.energy = {
        "reader": name,
        "joules": round(joules, 3),
        "mean_w": round(meter.mean_w or 0.0, 2),
        "joules_per_frame": round(joules / frames, 4),
    }
