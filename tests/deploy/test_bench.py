"""The bench: it counts frames and questions right and names the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from edgetwin.deploy.bench import bench, bench_sets
from edgetwin.deploy.bench_energy import PowerReader
from edgetwin.deploy.bench_report import percentiles, replace_section
from edgetwin.deploy.machine import environment, peak_rss_mb
from edgetwin.deploy.models import load_models
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin

from .scenes import PLAN_RED, SquareFinder, square_models, write_clip


def test_figures_of_a_small_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 6)
    models = square_models([PLAN_RED, "<answer>$1</answer>"] * 4)
    models.identities = {"depth": {"id": "own", "sha256": "0" * 64}}
    report = bench([clip], models, questions=["red?", "which is red?"], repeat=2)
    document = report.document
    assert document["weights"] == models.identities
    assert document["perception"]["frames"] == 12
    assert document["answer"]["questions"] == 4
    assert document["size"] == "128x96"
    assert document["perception"]["frames_per_s"] > 0
    assert document["environment"]["cpu"] == environment()["cpu"] != ""
    assert 10 < document["peak_rss_mb"] <= peak_rss_mb()
    text = report.markdown()
    assert str(environment()["cpu"]) in text
    assert "| perception, frames/s |" in text


class StreamingFinder(SquareFinder):
    """Also takes a stream, and remembers that it did."""

    streamed = 0

    def stream(self, frames: Iterable[Frame]) -> Iterator[FrameTwin]:
        for frame in frames:
            self.streamed += 1
            yield self.observe(frame)


def test_both_ways_are_measured_on_the_same_frames(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 6)
    models = square_models([PLAN_RED, "<answer>$1</answer>"] * 4)
    finder = models.perceiver = StreamingFinder()
    spent = {"detector": 0.0}
    models.stage_ms = lambda: spent
    report = bench([clip], models, questions=["red?", "which is red?"], repeat=2)
    assert finder.streamed == len(report.stream_ms) == len(report.frame_ms) == 12
    seen = report.document["perception"]
    assert seen["frames_per_s"] == round(12000 / sum(report.stream_ms), 1)
    assert seen["frames_per_s_unpipelined"] == round(12000 / sum(report.frame_ms), 1)
    assert "| the same frame by frame, frames/s |" in report.markdown()


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(InputError, match="give clips"):
        bench([])


def test_every_run_of_a_stage_is_heard(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 8)
    report = bench([clip], load_models("embedded"), questions=["What is red?"])
    stages = report.document["perception"]["stage_ms"]
    assert stages["encoder"]["count"] == 8
    assert stages["depth"]["count"] == 2  # every fourth frame
    assert len(report.stage_runs_ms["encoder"]) == 8
    for found in stages.values():
        assert 0 < found["p50"] <= found["p95"] <= found["p99"]
    assert sum(report.stage_runs_ms["total"]) == pytest.approx(
        sum(sum(v) for k, v in report.stage_runs_ms.items() if k != "total"), rel=0.01
    )
    assert list(report.cold_ms) == ["load", "frame", "answer"]
    said = report.document["answer"]
    assert said["tokens_per_s"] == pytest.approx(
        report.answer_tokens[0] / report.first_answer_ms[0] * 1000, rel=0.02
    )


def test_percentiles_by_hand() -> None:
    found = percentiles([float(k) for k in range(1, 101)])
    assert found == {"p50": 50.5, "p95": 96.0, "p99": 100.0, "mean": 50.5, "count": 100}
    assert percentiles([])["count"] == 0


def test_sets_take_turns(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 4)
    order: list[str] = []

    class Named(SquareFinder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def observe(self, frame: Frame) -> FrameTwin:
            order.append(self.name)
            return super().observe(frame)

    sets = []
    for name in ("a", "b"):
        models = square_models([PLAN_RED, "<answer>$1</answer>"] * 3, Named(name))
        models.name = name
        sets.append(models)
    first, second = bench_sets([clip], sets, ["red?"], repeat=3)
    runs = [name for k, name in enumerate(order) if k == 0 or order[k - 1] != name]
    assert runs == ["a", "b", "a", "b"]  # a b, then b a, then a b
    assert len(first.frame_ms) == len(second.frame_ms) == 12
    assert first.answers == second.answers
    assert first.peak_rss_mb == 0  # of one process, so of neither
    assert not first.energy


def test_energy_is_told_per_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 4)
    models = square_models([PLAN_RED, "<answer>$1</answer>"])
    reader = PowerReader("test rail", lambda: 10.0)
    report = bench_sets([clip], [models], ["red?"], reader=reader)[0]
    assert report.energy["reader"] == "test rail"
    assert report.energy["mean_w"] == 10.0
    assert "| energy per frame, J (mean W) |" in report.markdown()


def test_the_section_of_a_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "R.md"
    file.write_text("a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nz\n")
    replace_section(file, "bench", "new\n")
    assert file.read_text() == "a\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nz\n"
    with pytest.raises(InputError, match="add the two lines"):
        replace_section(file, "other", "x")
