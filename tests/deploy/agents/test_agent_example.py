"""The example for agents runs as it says, on a clip that stands in for a camera."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from edgetwin.twin.geometry import box_iou

from ...test_cli import embedded
from .serving import ROOT, truth

EXAMPLE = ROOT / "examples" / "agent_mcp.py"


@embedded
def test_the_agent_asks_points_and_tracks(tmp_path: Path) -> None:
    question = "what could I drink from?"
    clip = ROOT / "examples" / "affordance.mp4"
    got = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), str(clip), question],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert got.returncode == 0, got.stderr
    lines = got.stdout.splitlines()
    assert lines[0].startswith("stream cell: ")
    assert lines[1].startswith("ok: [")
    (glass,) = [line for line in lines if re.match(r"#\d+ glass: ", line)]
    box = [float(part) for part in re.findall(r"box \[(.*?)\]", glass)[0].split(", ")]
    true = tuple(truth("affordance", "glass")["box_xyxy"])  # it stands still all the time
    assert box_iou(tuple(box), true) > 0.7
    assert "metres [" in glass
    seconds = [float(found) for found in re.findall(r"^at (\S+) s: moved", got.stdout, re.M)]
    assert len(seconds) == 3
    assert seconds == sorted(seconds)
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (256, 256)
    assert set(np.unique(mask)) == {0, 255}


@embedded
def test_a_source_that_is_none_is_told(tmp_path: Path) -> None:
    got = subprocess.run(
        [sys.executable, str(EXAMPLE), "nothing.mp4", "where is it?"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert got.returncode != 0
    assert "error: " in got.stderr
    assert "nothing.mp4" in got.stderr


def test_it_is_as_short_as_it_says() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assert len(lines) <= 60
    page = (ROOT / "docs" / "agents.md").read_text()
    assert f"in {len(lines)} lines" in page
