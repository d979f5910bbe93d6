"""Figures of standing questions in a running hub: ``python -m edgetwin.tests.deploy.live.measure_standing``.

A simulated live stream and its questions: milliseconds per evaluation, from a frame's capture to
its event, and whether perception keeps its rate. Say which machine, and what else ran on it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import load_models
from edgetwin.distill.sim.live import openers

WISHES = (
    "tell me when something moves", "tell me when something appears",
    "tell me when something disappears", "tell me when there are more than 5 objects",
    "tell me when someone puts something near the edge", "alert me when something moves to the left",
    "tell me when the mug moves", "tell me when a ball is behind the box",
)  # fmt: skip


def measure(questions: int, seconds: float) -> dict[str, object]:
    """Run one stream of eight frames a second with so many questions."""
    with LiveHub(
        load_models("embedded"), folder=Path(tempfile.mkdtemp()), openers=openers()
    ) as hub:
        spec = StreamSpec(id="sim", source="sim:cell?seed=1400000&seconds=12&events=4", fps=8)
        stream = hub.add(spec)
        assert stream.wait(0, 60) is not None
        for k in range(questions):
            hub.standing.add("sim", WISHES[k % len(WISHES)])
        before, began = stream.counts(), time.monotonic()
        time.sleep(seconds)
        counts, rate = stream.counts(), (stream.counts().processed - before.processed)
        delays = [event.delay_ms for event in hub.standing.events(limit=500)]
        told = hub.standing.counts()
        return {
            "questions": questions,
            "fps": round(rate / (time.monotonic() - began), 2),
            "dropped": counts.dropped,
            "events": len(delays),
            "delay_ms_p50": round(float(np.percentile(delays, 50)), 1) if delays else None,
            "delay_ms_p95": round(float(np.percentile(delays, 95)), 1) if delays else None,
            "evaluation_ms": told["evaluation_ms"],
            "evaluations": told["evaluations"],
            "skipped": told["skipped"],
        }


if __name__ == "__main__":
    for number in (0, 1, 8, 32):
        print(measure(number, float(sys.argv[1]) if len(sys.argv) > 1 else 30.0), flush=True)
