"""The bench: it counts frames and questions right and names the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from edgetwin.deploy.bench import bench
from edgetwin.deploy.machine import environment, peak_rss_mb
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
