"""Chains on a real local Ray cluster: a worker is killed, every item is there exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
psutil = pytest.importorskip("psutil")
if find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install 'edgetwin[ray]'", allow_module_level=True)

from edgetwin.distill.stages.chains import run_chains  # noqa: E402
from edgetwin.distill.stages.recipe import ChainsRecipe, write_recipe  # noqa: E402

torch.set_num_threads(1)
WORKERS, PARTS, GROUP = 3, 12, 2
PATIENCE_S = 300  # three workers start up together, perhaps beside other tests

# Ray is started in a process of its own: its own warnings are not this suite's.
RUN = """
import sys
from pathlib import Path
from edgetwin.distill.stages.chains import run_chains
from edgetwin.distill.stages.recipe import load_recipe
run_chains(load_recipe(sys.argv[1], "chains"), Path(sys.argv[2]), device="cpu")
"""


def recipe(engine: str) -> ChainsRecipe:
    return ChainsRecipe.model_validate(
        {
            "stage": "chains",
            "model": {"source": "embedded"},
            "data": {"worlds": {"first": 60, "count": PARTS, "per_world": 4}},
            "sampling": {"group": GROUP, "temperature": 1.0, "max_tokens": 96},
            "batch": 4,
            "engine": engine,
            "workers": WORKERS,
        }
    )


def started(work: Path) -> subprocess.Popen[bytes]:
    write_recipe(recipe("ray"), work / "ray.yaml")
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    with (work / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(work / "ray.yaml"), str(work)],
            stdout=log,
            stderr=log,
            env={**environment, "OMP_NUM_THREADS": "1"},
        )


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The actors of Ray Data below a process, busy ones only."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [one.pid for one in below if "MapWorker" in " ".join(one.cmdline())]


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process: subprocess.Popen[bytes], path: Path, lines: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while lines_of(path) < lines:
        assert process.poll() is None, (path.parents[1] / "log").read_text()[-2000:]
        assert time.monotonic() < deadline, "nothing was written in time"
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a run that did not end by itself, with all that it started."""
    if process.poll() is None:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for one in below:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_and_every_item_exactly_once(tmp_path: Path) -> None:
    process = started(tmp_path)
    below: list[psutil.Process] = []
    try:
        path = tmp_path / "chains" / "chains.jsonl"
        wait_for(process, path, 4 * GROUP)
        below = psutil.Process(process.pid).children(recursive=True)
        victims = workers_of(process)
        assert len(victims) == WORKERS
        os.kill(victims[0], signal.SIGKILL)
        there = lines_of(path)
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        stop(process)
    assert there < PARTS * 4 * GROUP, "it was over before the kill"
    report = json.loads((path.parent / "report.json").read_text())
    assert (report["engine"], report["workers"], report["items"]) == ("ray", WORKERS, 96)
    assert report["missing"] == 0
    assert sum(report["parts_by_process"]) - report["parts_again"] == PARTS
    items = [
        (one["index"], one["sample"]) for one in map(json.loads, path.read_text().splitlines())
    ]
    assert items == [(i, s) for i in range(PARTS * 4) for s in range(GROUP)]

    local = tmp_path / "local"
    run_chains(recipe("local"), local, device="cpu")
    for name in ("chains.jsonl", "twins.jsonl", "kept.jsonl"):
        assert (path.parent / name).read_bytes() == (local / "chains" / name).read_bytes()

    gone = time.monotonic() + 15
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below):
        assert time.monotonic() < gone, "Ray left processes behind"
        time.sleep(0.1)
