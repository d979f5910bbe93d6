"""The examples, run as anyone would run them, against ``edgetwin serve`` in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgetwin.deploy.client import Client
from edgetwin.twin import read_frames

from ...test_cli import embedded
from .conftest import ROOT, TOKEN

pytestmark = embedded
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that has recorded some frames and answers questions."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    video = ROOT / "examples" / "affordance.mp4"
    command = [
        sys.executable, "-m", "edgetwin.cli", "serve", f"table={video}", "--loop", "--live",
        "--port", "0", "--token-file", str(folder / "token"), "-o", str(folder / "live"),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with Client(url, token=TOKEN) as client:
                deadline = time.monotonic() + 60
                while not client.ready() or client.stream("table").stored_frames < 8:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield url
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *words],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "EDGETWIN_TOKEN": TOKEN},
    )  # fmt: skip


def test_examples_are_short() -> None:
    assert len(EXAMPLES) >= 3
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name


def test_a_robot_learns_which_object_and_where(server: str, tmp_path: Path) -> None:
    masks = tmp_path / "masks.npz"
    done = run(
        "which_object.py", server, "table", "what is the largest object?", "--masks", str(masks)
    )
    assert done.returncode == 0, done.stderr
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert found["age_ms"] < 60_000
    assert len(found["position_m"]) == 3
    assert found["position_m"][2] > 0  # in front of the camera
    with np.load(masks) as arrays:
        assert list(arrays) == [str(found["id"])]
        mask_hw = arrays[str(found["id"])]
    assert mask_hw.shape == (256, 256)
    assert int(mask_hw.sum()) == found["mask_pixels"] > 0
    x0, y0, x1, y1 = found["box_xyxy"]
    assert mask_hw[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].any()


def test_an_example_that_fails_says_why_and_no_token(server: str) -> None:
    done = run("which_object.py", server, "nowhere", "what is the largest object?")
    assert done.returncode == 1
    assert "expected a stream" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_a_researcher_exports_what_was_seen_and_asked(server: str, tmp_path: Path) -> None:
    with Client(server, token=TOKEN) as client:
        client.ask("table", "what is the largest object?")
        label = client.lives("table")[0].label
    done = run("export_history.py", server, "table", str(tmp_path), "--label", label)
    assert done.returncode == 0, done.stderr
    rows = {}
    for name in ("train", "test"):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8") as file:
            rows[name] = list(csv.DictReader(file))
    assert rows["train"]
    assert rows["test"]
    assert {row["label"] for part in rows.values() for row in part} == {label}
    assert max(float(r["at"]) for r in rows["train"]) < min(float(r["at"]) for r in rows["test"])
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    assert answers[-1]["question"] == "what is the largest object?"
    assert answers[-1]["plan"] is not None


def test_a_camera_becomes_masks_on_disk(tmp_path: Path) -> None:
    video = str(ROOT / "examples" / "spatial.mp4")
    done = run("camera_to_masks.py", video, str(tmp_path), "--seconds", "20")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    frames = status["frames"]
    assert (
        frames["read"]
        == frames["processed"] + sum(frames["dropped"].values()) + frames["in_flight"]
    )
    twins = read_frames(tmp_path / "twin.jsonl")
    assert twins
    for twin in twins:
        image = cv2.imread(str(tmp_path / "masks" / f"{twin.index:06d}.png"), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape[:2] == (twin.height, twin.width)
    assert len(list((tmp_path / "masks").glob("*.png"))) == len(twins)
    assert any(obj.mask is not None for twin in twins for obj in twin.objects.values())
