"""Twins of a tiny data set over a real local Ray cluster: the same data as one process builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")
if find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install 'edgetwin[ray]'", allow_module_level=True)

from edgetwin.distill.datasets.twins import build_twins  # noqa: E402
from edgetwin.distill.tasks.cached import read_tasks  # noqa: E402

PICTURES = 4

# Ray is started in a process of its own: its own warnings are not this suite's.
RUN = """
import json, sys
from edgetwin.distill.stages.twins_ray import build_twins_with_ray
report = build_twins_with_ray(
    "reasonseg", sys.argv[1], "train", sys.argv[2], workers=2, keep_uncovered=True, device="cpu"
)
print(json.dumps(report))
"""


def put_pictures(root: Path) -> None:
    """ReasonSeg's layout with a box in each picture that its question means."""
    folder = root / "ReasonSeg" / "train"
    folder.mkdir(parents=True)
    for number in range(PICTURES):
        image = np.random.default_rng(number).integers(0, 90, (96, 128, 3), np.uint8)
        image[30:60, 40:80] = (0, 0, 200)
        assert cv2.imwrite(str(folder / f"{number}.jpg"), image)
        points = [[40, 30], [80, 30], [80, 60], [40, 60]]
        record = {
            "text": [f"what glows in room {number}?", f"where would lamp {number} stand?"],
            "is_sentence": True,
            "shapes": [{"label": "target", "points": points}],
        }
        (folder / f"{number}.json").write_text(json.dumps(record))


@pytest.mark.slow
def test_two_workers_build_the_data_that_one_process_builds(tmp_path: Path) -> None:
    put_pictures(tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), str(tmp_path / "ray")],
        capture_output=True, text=True, timeout=400, check=False,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["workers"], report["pieces"], report["groups"]) == (2, PICTURES, PICTURES)
    assert report["by_caller"] == 0, "workers left twins to the caller"
    assert report["kept"] == 2 * PICTURES

    alone = build_twins(
        "reasonseg", tmp_path, "train", tmp_path / "local", keep_uncovered=True, device="cpu"
    )
    assert report["sha256"] == alone.sha256
    tasks = read_tasks(tmp_path / "ray")
    assert len({task.key for task in tasks}) == len(tasks) == 2 * PICTURES
    names = sorted(p.name for p in (tmp_path / "ray").rglob("*") if p.is_file())
    assert names == sorted(p.name for p in (tmp_path / "local").rglob("*") if p.is_file())
