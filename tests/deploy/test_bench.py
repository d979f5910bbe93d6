"""The bench: it counts frames and questions right and names the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetwin.deploy.bench import bench
from edgetwin.deploy.machine import environment, peak_rss_mb
from edgetwin.twin.errors import InputError

from .scenes import PLAN_RED, square_models, write_clip


def test_figures_of_a_small_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 6)
    models = square_models([PLAN_RED, "<answer>$1</answer>"] * 4)
    report = bench([clip], models, questions=["red?", "which is red?"], repeat=2)
    document = report.document
    assert document["perception"]["frames"] == 12
    assert document["answer"]["questions"] == 4
    assert document["size"] == "128x96"
    assert document["perception"]["frames_per_s"] > 0
    assert document["environment"]["cpu"] == environment()["cpu"] != ""
    assert 10 < document["peak_rss_mb"] <= peak_rss_mb()
    text = report.markdown()
    assert str(environment()["cpu"]) in text
    assert "| perception, frames/s |" in text


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(InputError, match="give clips"):
        bench([])
